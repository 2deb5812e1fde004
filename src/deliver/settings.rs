//! `deliver.yaml`: the destinations, what each gets and how it is asked. Every fault at once.
//!
//! Secrets stand in variables or files that it names, never in it.

mod preset;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ureq::http::Uri;

use super::lanes::lane::Limits;
use super::request::{Destination, Private, Secret};
use super::signature::Secrets;
use super::widget;
use crate::diagnostic::{Diagnostic, Faults, Spanned, nearest};
use crate::time::Span;
use crate::yaml::{self, Guard, Reader, Value};

pub use preset::PRESETS;
use preset::Preset;

/// Destinations of one process.
const DESTINATIONS: usize = 64;
/// A file that holds a secret or certificates is no larger.
const MAX_FILE_BYTES: u64 = 256 << 10;

/// What `sillage deliver` needs to know beside the service's configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The service's configuration: where its topics are.
    pub service: PathBuf,
    /// The consumer group; without it, that of the service and `-deliver`.
    pub group: Option<String>,
    /// Where a group without offsets begins.
    pub start: Start,
    /// Where health and metrics are served.
    pub listen: SocketAddr,
    /// Where interventions go.
    pub destinations: Vec<Destination>,
    /// What the widget's listener serves, where there is one.
    pub widget: Option<widget::Settings>,
}

/// Where a group without offsets begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what is published from now on.
    Latest,
    /// With the oldest record that is kept.
    Earliest,
}

/// What surrounds the file: variables by name.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads and checks the file; paths in it count from its folder. `Some` only where there is no error.
pub fn load(file: &Path, text: &str, variables: Variables<'_>) -> (Option<Settings>, Vec<Diagnostic>) {
    let source = Guard { is_name: &is_name, is_plain: &is_plain }.source(&file.display().to_string(), text);
    let mut faults = Faults::default();
    let base = file.parent().unwrap_or_else(|| Path::new(""));
    let root = yaml::parse(&source, &mut faults);
    let settings = root.and_then(|root| {
        let mut reader = Reader::open(&root, "the file", &root.place, &mut faults)?;
        let settings = read(&mut reader, &Around { base, variables }, &mut faults);
        reader.finish(&mut faults);
        settings
    });
    faults.settle(settings)
}

/// What may be shown of the file: its own names, those that people give to destinations and keys, and plain settings. What is
/// filled into requests may hold a secret, and the address of a receiver may be one.
fn is_name(above: &[&str], name: &str) -> bool {
    let names = || NAMES.iter().chain(OF_FILE).chain(OF_DESTINATION).chain(OF_WIDGET).chain(OF_KEY).copied();
    matches!(above, ["destinations"] | ["widget", "keys"])
        || nearest(name, names()).is_some()
        || names().any(|known| known == name)
}

/// Only where such a setting stands: the same name below a key that may hold a secret says nothing.
fn is_plain(above: &[&str], name: &str) -> bool {
    let plain = match above {
        [] => OF_FILE,
        ["destinations", _] => OF_DESTINATION,
        ["widget"] => OF_WIDGET,
        ["widget", "keys", _] => OF_KEY,
        _ => return false,
    };
    plain.contains(&name)
}

/// Keys of the file whose values may be secrets, or lead to them.
const NAMES: &[&str] = &[
    "destinations",
    "widget",
    "keys",
    "url",
    "values",
    "secret",
    "signing_secret",
    "variable",
    "file",
    "public_key",
    "authorities",
    "offer",
    "withdrawal",
    "signed",
    "post",
    "put",
    "patch",
    "get",
    "delete",
    "headers",
    "body",
    "keep",
    "fine",
];

/// Keys whose values anybody may read: of the file itself.
const OF_FILE: &[&str] = &["service", "group", "start", "listen"];
/// Of a destination.
const OF_DESTINATION: &[&str] = &[
    "preset",
    "channels",
    "interventions",
    "withdrawals",
    "at_once",
    "rate",
    "burst",
    "waiting",
    "timeout",
    "private_addresses",
];
/// Of the widget.
const OF_WIDGET: &[&str] = &["origins", "audience", "connections", "trusted_proxies"];
/// Of one of its keys.
const OF_KEY: &[&str] = &["algorithm"];

/// What values may refer to.
pub(super) struct Around<'a> {
    base: &'a Path,
    variables: Variables<'a>,
}

fn read(reader: &mut Reader<'_>, around: &Around<'_>, faults: &mut Faults) -> Option<Settings> {
    let service = reader.optional("service").and_then(|value| value.text(faults));
    let service = around.base.join(service.map_or("sillage.yaml".to_owned(), |service| service.value));
    let group = reader.optional("group").and_then(|value| value.text(faults)).map(|group| group.value);
    let starts = [("latest", Start::Latest), ("earliest", Start::Earliest)];
    let start = reader.optional("start").and_then(|value| value.word(&starts, faults));
    let listen = reader.optional("listen").and_then(|value| address(&value, faults));
    let mut destinations = Vec::new();
    if let Some(value) = reader.optional("destinations") {
        for entry in value.entries("destinations", faults).unwrap_or_default() {
            destinations.extend(destination(&entry.key, &Value::from(entry), around, faults));
        }
        if destinations.len() > DESTINATIONS {
            let cause = format!("there are {} destinations, more than {DESTINATIONS}", destinations.len());
            faults.error("Y014", value.place(), cause, "let another process with another `group` have some of them");
        }
    }
    let widget = reader.optional("widget").and_then(|value| widget::settings::read(&value, around, faults));
    faults.usable().then_some(Settings {
        service,
        group,
        start: start.map_or(Start::Latest, |start| start.value),
        listen: listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8081))),
        destinations,
        widget,
    })
}

/// An address to listen on.
pub(super) fn address(value: &Value<'_>, faults: &mut Faults) -> Option<SocketAddr> {
    let text = value.text(faults)?;
    let parsed = text.value.parse();
    if parsed.is_err() {
        let cause = format!("{} is no address to listen on", text.place.quoted(&text.value));
        faults.error("Y013", &text.place, cause, "write address and port, such as 127.0.0.1:8081");
    }
    parsed.ok()
}

fn destination(name: &Spanned<String>, value: &Value<'_>, around: &Around<'_>, faults: &mut Faults) -> Option<Destination> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if name.value.is_empty() || name.value.len() > 64 || !name.value.chars().all(is_name) {
        let cause = format!("{} cannot be a destination's name", name.place.quoted(&name.value));
        faults.error("Y013", &name.place, cause, "use up to 64 letters, digits, hyphens and underscores");
    }
    let mut reader = value.map(format!("destination `{}`", name.value), faults)?;
    let preset = preset::chosen(&mut reader, faults);
    let url = reader.required("url", "url: https://chat.example.com", faults).and_then(|value| url(&value, faults));
    let texts = |reader: &mut Reader<'_>, key, faults: &mut Faults| -> Vec<String> {
        let found = reader.optional(key).and_then(|value| value.texts("a name", faults)).unwrap_or_default();
        found.into_iter().map(|text| text.value).collect()
    };
    let channels = texts(&mut reader, "channels", faults);
    let interventions = texts(&mut reader, "interventions", faults);
    let withdrawals = reader.optional("withdrawals").and_then(|value| value.flag(faults));
    let number = |reader: &mut Reader<'_>, key, usual: u64, most: u64, faults: &mut Faults| {
        let found = reader.optional(key).and_then(|value| value.integer(1..=most, faults));
        found.map_or(usual, |found| found.value)
    };
    let at_once = number(&mut reader, "at_once", 4, 64, faults) as usize;
    let rate = number(&mut reader, "rate", 10, 10_000, faults) as u32;
    let burst = number(&mut reader, "burst", u64::from(rate), 10_000, faults) as u32;
    let waiting = number(&mut reader, "waiting", 10_000, 1_000_000, faults) as usize;
    let bounds = Span::from_millis(100)..=Span::from_secs(120);
    let timeout = reader.optional("timeout").and_then(|value| value.duration(&bounds, faults));
    let values = values(&mut reader, faults);
    let secret = reader.optional("secret").and_then(|value| around.secret(&value, faults));
    let signing_text = reader.optional("signing_secret").and_then(|value| Some((around.secret(&value, faults)?, value)));
    let signing = signing_text.and_then(|(text, value)| match Secrets::read(&text) {
        Ok(secrets) => Some(secrets),
        Err(cause) => {
            faults.error("Y013", value.place(), cause, "make one with `echo whsec_$(openssl rand -base64 32)`");
            None
        }
    });
    let private = private(&mut reader, url.as_deref(), faults);
    let authorities = reader.optional("authorities").and_then(|value| around.file(&value.text(faults)?, faults));
    reader.finish(faults);
    let preset: Preset = preset?;
    preset.check(value.key_place(), &values, (secret.is_some(), signing.is_some()), faults);
    let withdrawals = withdrawals.is_none_or(|wanted| wanted.value) && !preset.withdrawal.is_empty();
    Some(Destination {
        name: Arc::from(name.value.as_str()),
        limits: Limits { channels, interventions, withdrawals, at_once, rate, burst, waiting },
        url: url?,
        offer: preset.offer.into(),
        withdrawal: preset.withdrawal.into(),
        values,
        secret: secret.map(Secret),
        signing,
        timeout: timeout.map_or(Span::from_secs(10), |timeout| timeout.value),
        private,
        authorities,
    })
}

/// Scheme, host, perhaps a port and the beginning of a path.
fn url(value: &Value<'_>, faults: &mut Faults) -> Option<String> {
    let text = value.text(faults)?;
    let plain = text.value.trim_end_matches('/');
    let is_fit = plain.parse::<Uri>().is_ok_and(|uri| {
        let has_scheme = matches!(uri.scheme_str(), Some("http" | "https"));
        let authority = uri.authority().map(|authority| authority.as_str());
        has_scheme && uri.query().is_none() && authority.is_some_and(|name| !name.contains('@') && !name.is_empty())
    });
    if !is_fit || plain.contains(['{', '#', '?']) {
        let cause = format!("{} is no address of a receiver", text.place.quoted(&text.value));
        let help = "write scheme, host and the beginning of the path, such as https://chat.example.com; \
                    no user, no query, and nothing to be filled in";
        faults.error("Y013", &text.place, cause, help);
        return None;
    }
    Some(plain.to_owned())
}

fn values(reader: &mut Reader<'_>, faults: &mut Faults) -> BTreeMap<String, String> {
    let entries = reader.optional("values").and_then(|value| value.entries("values", faults)).unwrap_or_default();
    let text = |entry| Some((Value::from(entry).text(&mut Faults::default())?.value, entry));
    let mut values = BTreeMap::new();
    for entry in entries {
        match text(entry) {
            Some((text, entry)) => drop(values.insert(entry.key.value.clone(), text)),
            None => drop(Value::from(entry).text(faults)),
        }
    }
    values
}

fn private(reader: &mut Reader<'_>, url: Option<&str>, faults: &mut Faults) -> Private {
    let named = reader.optional("private_addresses").and_then(|value| value.texts("an address or the host", faults));
    let host = url.and_then(|url| Some(url.parse::<Uri>().ok()?.host()?.to_ascii_lowercase()));
    let mut private = Private::default();
    for name in named.unwrap_or_default() {
        match name.value.parse::<IpAddr>() {
            Ok(address) => private.addresses.push(address.to_canonical()),
            Err(_) if Some(name.value.to_ascii_lowercase()) == host => private.host = true,
            Err(_) => {
                let cause = format!("{} is neither an address nor the host of `url`", name.place.quoted(&name.value));
                faults.error("Y013", &name.place, cause, "write an address such as 10.0.0.7, or the host as in `url`");
            }
        }
    }
    private
}

impl Around<'_> {
    /// A secret: `{ variable: NAME }` or `{ file: PATH }`.
    pub(super) fn secret(&self, value: &Value<'_>, faults: &mut Faults) -> Option<String> {
        let mut reader = value.map(format!("a secret ({})", value.label()), faults)?;
        let variable = reader.optional("variable").and_then(|value| value.text(faults));
        let file = reader.optional("file").and_then(|value| value.text(faults));
        reader.finish(faults);
        let text = match (variable, file) {
            (Some(name), None) => {
                let found = (self.variables)(&name.value).filter(|text| !text.trim().is_empty());
                if found.is_none() {
                    let cause = format!("the variable {} is not set", name.place.quoted(&name.value));
                    faults.error("Y013", &name.place, cause, "set it to the secret, or name a `file` that holds it");
                }
                found?
            }
            (None, Some(path)) => String::from_utf8(self.file(&path, faults)?).ok()?,
            (_, _) => {
                let help = "write `{ variable: NAME }` or `{ file: PATH }`";
                faults.error("Y013", value.place(), format!("{} names no secret", value.label()), help);
                return None;
            }
        };
        let text = text.trim().to_owned();
        crate::terminal::keep_secret(&text);
        Some(text)
    }

    /// What a file holds.
    fn file(&self, path: &Spanned<String>, faults: &mut Faults) -> Option<Vec<u8>> {
        let full = self.base.join(&path.value);
        let fit = std::fs::metadata(&full).is_ok_and(|about| about.len() <= MAX_FILE_BYTES);
        let read = if fit { std::fs::read(&full).ok() } else { None };
        if read.is_none() {
            let cause = format!("the file {} cannot be read", path.place.quoted(&path.value));
            faults.error(
                "Y013",
                &path.place,
                cause,
                "name a readable file of at most 256 KiB; its path counts from this file",
            );
        }
        read
    }
}
