//! `sillage ingest`: touchpoints from files to a running service, in batches that may be sent again.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::Failure;
use super::client::{Answer, Client, DEFAULT_URL, Request};
use super::input::{Piece, Pieces};
use super::ndjson;
use super::sort::{Sorter, temporary};
use crate::time::{Span, Timestamp};
use crate::wire::{self, Arrival, Format, Limits};

/// The longest touchpoint; a post may have 16 MiB.
const LINE: usize = 15 << 20;
/// A batch that has grown so large is sent before it is complete.
const ENOUGH: usize = 4 << 20;
/// Between two words about how far it has come.
const BETWEEN_WORDS: Duration = Duration::from_secs(10);
/// What is left out, named one by one.
const NAMED: u64 = 20;

/// Send touchpoints from files to a running service (embedded log).
///
/// Touchpoints that cannot be used go to the dead letters. Running the same command again after an interruption is safe:
/// what is in the log already is dropped as a repeat.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files of touchpoints: JSON one a line or in an array, or CSV with a header; plain, gzip or zstd. `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where the service listens.
    #[arg(long, value_name = "URL", default_value = DEFAULT_URL)]
    url: String,
    /// Load a history: log time is event time, and live posts wait until it is over. Touchpoints are sorted by `occurred_at`
    /// before they are sent; where that is found elsewhere in the source, they stay where they stand.
    #[arg(long)]
    history: bool,
    /// The time of the first touchpoint of the history, where it cannot be read from the first line.
    #[arg(long, value_name = "INSTANT", requires = "history", value_parser = Timestamp::parse)]
    first: Option<Timestamp>,
    /// The history is by time already: send it while reading, without sorting.
    #[arg(long, requires = "history")]
    sorted: bool,
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
    let ended = if args.history && !args.sorted { load.sorted(&args.files) } else { load.files(&args.files) };
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
    let sums = &load.sums;
    if sums.left_out > 0 {
        let count = sums.left_out;
        return Err(Failure::answer_is_no(format!("{count} were left out; mend them and send them again")));
    }
    match (sums.accepted + sums.duplicates).saturating_sub(sums.unusable) {
        0 if sums.unusable == 0 => Err(Failure::answer_is_no("the files hold no touchpoint")),
        0 => Err(Failure::answer_is_no("nothing in the files can be used as a touchpoint; the dead letters say why")),
        _ => Ok(()),
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
        let mut pieces = open(path)?;
        while let Some(piece) = next(&mut pieces, path)? {
            match piece {
                Piece::Whole { line, bytes } => self.line(&format!("{}:{line}", path.display()), bytes)?,
                Piece::TooLong { .. } | Piece::Misshapen { .. } => self.leave_out(path, piece),
            }
        }
        Ok(())
    }

    /// Sends the touchpoints of all files by time. What has none that can be read here keeps its place behind its neighbour.
    fn sorted(&mut self, files: &[PathBuf]) -> Result<(), Failure> {
        let mut sorter = Sorter::default();
        // A history begins with the earliest; what stands before any that can be read is sent before it.
        let (mut time, mut earliest) = (Timestamp::MIN, None::<Timestamp>);
        for path in files {
            let mut pieces = open(path)?;
            while let Some(piece) = next(&mut pieces, path)? {
                match piece {
                    Piece::Whole { bytes, .. } => {
                        if let Ok(read) = time_of(bytes) {
                            time = read;
                            earliest = Some(earliest.map_or(read, |earliest| earliest.min(read)));
                        }
                        sorter.push(time, |place| place.extend_from_slice(bytes)).map_err(temporary)?;
                    }
                    Piece::TooLong { .. } | Piece::Misshapen { .. } => self.leave_out(path, piece),
                }
            }
        }
        if matches!(self.history, History::ToBegin(None)) {
            self.history = History::ToBegin(earliest);
        }
        let mut sorted = sorter.sorted().map_err(temporary)?;
        while let Some((_, bytes)) = sorted.next_one().map_err(temporary)? {
            self.line("the earliest touchpoint", bytes)?;
        }
        self.send()
    }

    fn leave_out(&mut self, path: &Path, piece: Piece<'_>) {
        self.sums.left_out += 1;
        if self.sums.left_out > NAMED {
            return;
        }
        let path = path.display();
        match piece {
            Piece::TooLong { line, length } => {
                super::say(&format!("sillage: {path}:{line}: {length} bytes are too long for a touchpoint; left out"));
            }
            Piece::Misshapen { line, columns, expected } => {
                super::say(&format!(
                    "sillage: {path}:{line}: the row has {columns} columns, and the header {expected}; left out"
                ));
            }
            Piece::Whole { .. } => {}
        }
    }

    fn line(&mut self, place: &str, bytes: &[u8]) -> Result<(), Failure> {
        if let History::ToBegin(first) = self.history {
            let first = match first {
                Some(first) => first,
                None => time_of(bytes).map_err(|reason| {
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
        // On one line: between values, an end of a line is a space.
        self.batch.extend(bytes.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
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

fn open(path: &Path) -> Result<Pieces, Failure> {
    let reader = ndjson::open(path).map_err(Failure::could_not_run)?;
    let fault = |cause| Failure::could_not_run(format!("{} cannot be read: {cause}", path.display()));
    Pieces::new(reader, LINE).map_err(fault)
}

fn next<'a>(pieces: &'a mut Pieces, path: &Path) -> Result<Option<Piece<'a>>, Failure> {
    let fault = |cause| Failure::could_not_run(format!("{} cannot be read further: {cause}", path.display()));
    pieces.next_piece().map_err(fault)
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
    left_out: u64,
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
        if self.left_out > 0 {
            text += &format!("; {} too long or misshapen, left out", self.left_out);
        }
        writeln!(std::io::stdout(), "{text}").map_err(|cause| Failure::could_not_run(format!("standard output: {cause}")))
    }
}
