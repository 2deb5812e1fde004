//! `sillage ingest`: touchpoints from files to a running service, in batches that may be sent again.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::Failure;
use super::client::{Answer, Client, DEFAULT_URL, Request};
use super::ndjson::{self, Line, Lines};
use crate::time::{Span, Timestamp};
use crate::wire::{self, Arrival, Format, Limits};

/// The longest line; a post may have 16 MiB.
const LINE: usize = 15 << 20;
/// A batch that has grown so large is sent before it is complete.
const ENOUGH: usize = 4 << 20;
/// Between two words about how far it has come.
const BETWEEN_WORDS: Duration = Duration::from_secs(10);
/// Lines that are too long, named one by one.
const NAMED: u64 = 20;

/// Send touchpoints from files to a running service (embedded log).
///
/// Touchpoints that cannot be used go to the dead letters. Running the same command again after an interruption is safe:
/// what is in the log already is dropped as a repeat.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files of one JSON object a line: plain, gzip or zstd; `-` for standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where the service listens.
    #[arg(long, value_name = "URL", default_value = DEFAULT_URL)]
    url: String,
    /// Load a history: log time is event time, and live posts wait until it is over.
    #[arg(long)]
    history: bool,
    /// The time of the first touchpoint of the history, where it cannot be read from the first line.
    #[arg(long, value_name = "INSTANT", requires = "history", value_parser = Timestamp::parse)]
    first: Option<Timestamp>,
    /// Leave the load of the history open for the next command.
    #[arg(long, requires = "history")]
    keep_open: bool,
    /// Touchpoints sent at once.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: u16,
    /// Keep trying for so long while the service is away, busy or full.
    #[arg(long, value_name = "SPAN", default_value = "5m", value_parser = Span::parse)]
    patience: Span,
}

/// Runs the command.
///
/// # Errors
/// Exit code 1: the service refused, or lines were left out. Exit code 2: a file or the service is not there.
pub fn run(args: Args) -> Result<(), Failure> {
    let mut load = Load {
        client: Client::new(&args.url)?,
        patience: Duration::from_millis(args.patience.as_millis().unsigned_abs()),
        history: History::of(&args),
        most: usize::from(args.batch),
        batch: Vec::new(),
        lines: 0,
        number: 0,
        owner: owner(),
        sums: Sums::default(),
        said: Instant::now(),
    };
    let ended = load.files(&args.files);
    load.sums.print(&args)?;
    if ended.is_err() && matches!(load.history, History::Begun) {
        super::say(&format!(
            "sillage: the history stays open for five minutes, and live touchpoints are refused so long; run the same command again \
             to go on with it (repeats are dropped), or end it with: curl -X DELETE {}/v1/history",
            args.url
        ));
    }
    ended?;
    load.end(args.keep_open)?;
    match load.sums.too_long {
        0 => Ok(()),
        count => Err(Failure::answer_is_no(format!(
            "{count} lines are too long and were left out; shorten them and send them again"
        ))),
    }
}

/// Where the load of a history stands.
enum History {
    /// Touchpoints enter live.
    No,
    /// The load is opened with the first touchpoint, whose time may be given.
    ToBegin(Option<Timestamp>),
    /// The load is open.
    Begun,
}

impl History {
    fn of(args: &Args) -> Self {
        if args.history { History::ToBegin(args.first) } else { History::No }
    }
}

/// A load on its way.
struct Load {
    client: Client,
    patience: Duration,
    history: History,
    most: usize,
    batch: Vec<u8>,
    lines: usize,
    /// How many batches went before.
    number: u64,
    /// Whose the load of a history is: the same for all commands of this machine, so that one goes on where another was killed.
    owner: String,
    sums: Sums,
    said: Instant,
}

impl Load {
    fn files(&mut self, files: &[PathBuf]) -> Result<(), Failure> {
        for file in files {
            self.file(file)?;
        }
        self.send()
    }

    fn file(&mut self, path: &Path) -> Result<(), Failure> {
        let mut lines = Lines::new(ndjson::open(path).map_err(Failure::could_not_run)?, LINE);
        loop {
            let line = lines.next_line();
            match line
                .map_err(|cause| Failure::could_not_run(format!("{} cannot be read further: {cause}", path.display())))?
            {
                None => return Ok(()),
                Some(Line::Whole { number, bytes }) => self.line(path, number, bytes)?,
                Some(Line::TooLong { number, length }) => {
                    self.sums.too_long += 1;
                    if self.sums.too_long <= NAMED {
                        super::say(&format!(
                            "sillage: {}:{number}: {length} bytes are too long for a touchpoint; left out",
                            path.display()
                        ));
                    }
                }
            }
        }
    }

    fn line(&mut self, path: &Path, number: u64, bytes: &[u8]) -> Result<(), Failure> {
        if let History::ToBegin(first) = self.history {
            let first = match first {
                Some(first) => first,
                None => time_of(bytes).map_err(|reason| {
                    let place = format!("{}:{number}", path.display());
                    Failure::could_not_run(format!(
                        "{place}: the history's beginning cannot be read ({reason}); give it with --first"
                    ))
                })?,
            };
            self.begin(first)?;
        }
        if self.lines > 0 && self.batch.len() + bytes.len() > ENOUGH {
            self.send()?;
        }
        self.batch.extend_from_slice(bytes);
        self.batch.push(b'\n');
        self.lines += 1;
        if self.lines == self.most { self.send() } else { Ok(()) }
    }

    fn begin(&mut self, first: Timestamp) -> Result<(), Failure> {
        let body = json!({"first": first.to_string(), "owner": self.owner}).to_string();
        let headers = [("content-type", "application/json")];
        let request = Request { method: "POST", path: "/v1/history", headers: &headers, body: body.as_bytes() };
        accepted(self.client.insist(&request, self.patience)?)?;
        self.history = History::Begun;
        Ok(())
    }

    /// Sends the batch, until it is in.
    fn send(&mut self) -> Result<(), Failure> {
        if self.lines == 0 {
            return Ok(());
        }
        let path = match self.history {
            History::No => "/v1/touchpoints?unusable=dead-letter",
            History::ToBegin(_) | History::Begun => "/v1/touchpoints?unusable=dead-letter&history=true",
        };
        // Made of what is sent: the same command makes the same keys when it is run again.
        let key = format!("{:016x}-{}", xxh3_64(&self.batch), self.number);
        let headers = [
            ("content-type", "application/x-ndjson"),
            ("idempotency-key", key.as_str()),
            ("sillage-load", self.owner.as_str()),
        ];
        let request = Request { method: "POST", path, headers: &headers, body: &self.batch };
        let answer = accepted(self.client.insist(&request, self.patience)?)?;
        self.sums.add(&answer.json());
        self.batch.clear();
        self.lines = 0;
        self.number += 1;
        if self.said.elapsed() >= BETWEEN_WORDS {
            super::say(&format!("sillage: {} touchpoints sent so far", self.sums.accepted + self.sums.duplicates));
            self.said = Instant::now();
        }
        Ok(())
    }

    /// Ends the load of a history.
    fn end(&self, keep_open: bool) -> Result<(), Failure> {
        match (&self.history, keep_open) {
            (History::Begun, false) => {
                let request = Request { method: "DELETE", path: "/v1/history", headers: &[], body: b"" };
                accepted(self.client.insist(&request, self.patience)?).map(drop)
            }
            (History::Begun, true) => {
                super::say(
                    "sillage: the load stays open for five minutes; live touchpoints wait until a command with --history ends it",
                );
                Ok(())
            }
            (History::No | History::ToBegin(_), _) => Ok(()),
        }
    }
}

fn accepted(answer: Answer) -> Result<Answer, Failure> {
    if answer.is_success() { Ok(answer) } else { Err(answer.refusal()) }
}

fn owner() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.trim().chars().filter(char::is_ascii_graphic).take(100).collect();
    format!("ingest@{host}")
}

/// The event time of a touchpoint in the canonical form.
fn time_of(bytes: &[u8]) -> Result<Timestamp, String> {
    let limits = Limits { bytes: LINE, ..Limits::default() };
    let arrival = Arrival { log_time: Timestamp::MAX, topic: "", partition: 0, offset: 0, limits };
    Ok(wire::decode(Format::Json, None, bytes, &arrival)?.touchpoint.event_time)
}

/// What the service said about all batches together.
#[derive(Default)]
struct Sums {
    accepted: u64,
    duplicates: u64,
    unusable: u64,
    too_long: u64,
}

impl Sums {
    fn add(&mut self, answer: &Value) {
        let count = |name: &str| answer[name].as_u64().unwrap_or(0);
        self.accepted += count("accepted");
        self.duplicates += count("duplicates");
        self.unusable += count("unusable");
    }

    fn print(&self, args: &Args) -> Result<(), Failure> {
        let mut text = format!("accepted {}, repeats dropped {}", self.accepted, self.duplicates);
        if self.unusable > 0 {
            text += &format!(
                "; {} of them cannot be used: see `sillage outcomes --topic dead-letters --url {}`",
                self.unusable, args.url
            );
        }
        if self.too_long > 0 {
            text += &format!("; {} lines too long, left out", self.too_long);
        }
        writeln!(std::io::stdout(), "{text}").map_err(|cause| Failure::could_not_run(format!("standard output: {cause}")))
    }
}
