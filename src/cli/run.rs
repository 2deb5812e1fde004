//! `sillage run`: the service.

use std::io::{self, Write};
use std::path::PathBuf;

use tracing_subscriber::util::SubscriberInitExt;

use super::{Failure, dry_run, files};
use crate::config::{self, Config, Log, LogFormat, LogLevel, Surroundings};
use crate::runtime::machine;
use crate::runtime::service::{self, Ended, Patience, Service};
use crate::runtime::standby::Standby;
use crate::terminal;

/// Run the service.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration; without one, `SILLAGE_…` variables alone.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// End with exit code 2 instead of trying again where no broker answers within ten seconds.
    #[arg(long)]
    exit_on_unreachable: bool,
    /// Stand by for the member with this very configuration: follow the state, and take its place at SIGUSR1.
    #[arg(long)]
    standby: bool,
    /// Stand by, and take its place as well when its HTTP side, such as `http://host:8080`, does not answer three times.
    #[arg(long, value_name = "URL")]
    standby_of: Option<String>,
    /// Read the configuration and the models, ask the brokers what the inputs promise, and end.
    #[arg(long)]
    dry_run: bool,
    /// Write the address that HTTP is served on to this file, once it is.
    #[arg(long, value_name = "FILE")]
    announce: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let config = configuration(args.config.as_deref())?;
    let mut models = files::models_with(&config.models, config.contacts.as_deref())?;
    files::in_zone_of(config.fields.as_ref(), &mut models);
    let deliver = config.deliver.as_deref().map(files::destinations).transpose()?;
    if args.dry_run {
        return dry_run::run(&config);
    }
    log_to_stderr(&config);
    machine::give_memory_back();
    let patience = if args.exit_on_unreachable { Patience::None } else { Patience::Endless };
    let standby = match args.standby_of {
        Some(url) => Some(Standby::UntilSilent(url)),
        None => args.standby.then_some(Standby::UntilAsked),
    };
    match service::run(Service { config, models, deliver, patience, announce: args.announce, standby }) {
        Ended::Asked => Ok(()),
        Ended::Unable(reason) => Err(Failure::could_not_run(reason)),
        Ended::ClockIsWrong(reason) => Err(Failure::clock_is_wrong(reason)),
    }
}

/// Reads the configuration of a command that works on what `sillage run` works on.
pub(super) fn configuration(file: Option<&std::path::Path>) -> Result<Config, Failure> {
    let text = match file {
        Some(file) => files::text(file)?,
        None => String::new(),
    };
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let surroundings =
        Surroundings { variables: variables.collect(), host: host.trim().to_owned(), memory: machine::memory() };
    let file = file.unwrap_or_else(|| std::path::Path::new("(no file)"));
    let (config, faults) = config::load(file, &text, &surroundings);
    files::show(&faults);
    config.iter().flat_map(|config| config.tokens.iter()).for_each(|(_, token)| terminal::keep_secret(token));
    // The client library quotes values in its errors: what may be a secret is left out wherever they are shown.
    if let Some(Log::Kafka(log)) = config.as_ref().map(|config| &config.log) {
        let secret = log.connection.properties.iter().filter(|(name, _)| !config::is_plain_property(name));
        secret.for_each(|(_, value)| terminal::keep_secret(value));
    }
    config.ok_or_else(|| files::refused(&faults))
}

/// The service's own log lines go to standard error; `RUST_LOG` is not read, so that there is one place for the level.
pub(super) fn log_to_stderr(config: &Config) {
    let level = match config.log_level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
    };
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(LogLines::default).with_target(false);
    match config.log_format {
        LogFormat::Text => log_to(lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).finish(), level),
        LogFormat::Json => log_to(lines.json().flatten_event(true).finish(), level),
    }
}

/// What libraries say by themselves, such as rdkafka of a client that was fenced, is for those who look closely: what matters of it
/// comes as an error to whoever uses them, who tells it.
fn log_to(lines: impl tracing::Subscriber + Send + Sync + 'static, level: tracing::Level) {
    let begun = match level {
        tracing::Level::DEBUG => lines.try_init().is_ok(),
        _ => tracing::subscriber::set_global_default(lines).is_ok(),
    };
    assert!(begun, "the log is begun once");
}

/// One log line on its way to standard error: no secrets, and nothing that steers a terminal but the colours of ours.
#[derive(Default)]
struct LogLines(Vec<u8>);

impl io::Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLines {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            // Where standard error is gone, nobody is there to be told.
            let _ = io::stderr().write_all(log_line(&String::from_utf8_lossy(&self.0)).as_bytes());
        }
    }
}

fn log_line(text: &str) -> String {
    let text = terminal::without_secrets(text.strip_suffix('\n').unwrap_or(text));
    let mut line = String::with_capacity(text.len() + 1);
    for (index, part) in text.split("\u{1b}[").enumerate() {
        // A colour: digits and semicolons up to an `m`. `tracing` has written out every other escape by now.
        let end = part.find(|c: char| !c.is_ascii_digit() && c != ';').filter(|end| part[*end..].starts_with('m'));
        let colour = end.filter(|_| index > 0).map_or(0, |end| end + 1);
        if index > 0 {
            line.push_str(if colour > 0 { "\u{1b}[" } else { "\\u{1b}[" });
        }
        line.push_str(&part[..colour]);
        line.push_str(&terminal::plain(&part[colour..]));
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_keep_their_colours_and_write_out_what_steers() {
        assert_eq!(
            log_line("\u{1b}[2mat\u{1b}[0m a\rb\nc\u{202e}\u{1b}[2J\u{7}\n"),
            "\u{1b}[2mat\u{1b}[0m a\\u{d}b\\u{a}c\\u{202e}\\u{1b}[2J\\u{7}\n"
        );
    }
}
