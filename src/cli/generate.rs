//! `sillage generate`: the demo's synthetic load, to a file or to Kafka.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Failure, signals};
use crate::config::is_plain_property;
use crate::generate::{Load, Opening, Settings};
use crate::kafka::produce::Feed;
use crate::port::Now;
use crate::runtime::clock::Clock;
use crate::runtime::crew::Stop;
use crate::terminal::keep_secret;
use crate::time::{Span, Timestamp};
use crate::touchpoint::Touchpoint;
use crate::wire::{self, Format};

/// The longest sleep between two looks at whether to stop.
const LOOK: Duration = Duration::from_millis(100);
/// Event times begin here unless told otherwise: the same seed gives the same file whenever it is written.
const START: &str = "2026-01-05T08:00:00Z";

/// Synthetic touchpoints of customers who behave by published figures.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to write, one JSON object a line; compressed where the name ends in .gz or .zst; `-` for standard output.
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Write to Kafka at these brokers instead.
    #[arg(long, value_name = "HOST:PORT,…", requires = "topics", conflicts_with = "file")]
    brokers: Option<String>,
    /// The topic; given more than once, the types of touchpoints are spread over the topics.
    #[arg(long = "topic", value_name = "NAME", requires = "brokers")]
    topics: Vec<String>,
    /// A librdkafka property for the producer.
    #[arg(short = 'X', long = "property", value_name = "NAME=VALUE", value_parser = property, requires = "brokers")]
    properties: Vec<(String, String)>,
    /// How many touchpoints; 0 for no end.
    #[arg(long, default_value_t = 100_000)]
    count: u64,
    /// How many customers.
    #[arg(long, default_value_t = 3_000)]
    customers: u32,
    /// Same seed, same touchpoints. By default 1; with --live, another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Touchpoints a second; 0 for as many as possible. By default that; with --live, as they happen: a customer does
    /// something a few times a day.
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// The first instant (RFC 3339).
    #[arg(long, value_name = "INSTANT", value_parser = Timestamp::parse, default_value = START, conflicts_with = "live")]
    start: Timestamp,
    /// Everything happens now, as it is written, in a shop that has been open for weeks.
    #[arg(long)]
    live: bool,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let stop = Stop::default();
    signals::heed(&stop)?;
    let now = Clock::starting_now(1.0).handle();
    let begun = now();
    let seed = args.seed.unwrap_or(if args.live { begun.as_millis().unsigned_abs() } else { 1 });
    let (start, opening) =
        if args.live { (begun, Opening::InFullSwing) } else { (args.start, Opening::AllNew { within: Span::from_days(1) }) };
    let load = Load::new(&Settings { seed, customers: args.customers, start, opening });
    let pace = Pace::of(&args, now());
    let mut target = Target::open(&args).map_err(Failure::could_not_run)?;
    let written = write(load, &args, &pace, &now, &stop, &mut target);
    let (written, ended) = match written {
        Ok(written) => (written, target.finish()),
        Err(fault) => (0, Err(fault)),
    };
    match ended {
        Ok(()) => {
            super::say(&format!("{written} touchpoints of {} customers, seed {seed}", args.customers));
            Ok(())
        }
        // Whoever reads our output has read enough.
        Err(Fault::Closed) => Ok(()),
        Err(Fault::Other(reason)) => Err(Failure::could_not_run(reason)),
    }
}

fn write(load: Load, args: &Args, pace: &Pace, now: &Now, stop: &Stop, target: &mut Target) -> Result<u64, Fault> {
    let mut written = 0;
    for mut touchpoint in load {
        if (args.count > 0 && written == args.count) || !pace.wait(written, touchpoint.event_time, now, stop) {
            break;
        }
        if args.live {
            touchpoint.event_time = now();
        }
        target.write(&touchpoint)?;
        written += 1;
    }
    Ok(written)
}

fn rate(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "a number of touchpoints a second is expected".to_owned())?;
    if number.is_finite() && number >= 0.0 { Ok(number) } else { Err("0 or more is expected".to_owned()) }
}

fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE, such as linger.ms=20")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// When the next touchpoint may be written.
#[derive(Clone, Copy, Debug)]
enum Pace {
    /// At once.
    Unbounded,
    /// So many a second since then.
    Rate { per_second: f64, since: Timestamp },
    /// When it happens.
    Natural,
}

impl Pace {
    fn of(args: &Args, since: Timestamp) -> Self {
        match args.rate {
            None if args.live => Pace::Natural,
            None | Some(0.0) => Pace::Unbounded,
            Some(per_second) => Pace::Rate { per_second, since },
        }
    }

    /// Waits for the turn of the next touchpoint; false where there is to be none.
    fn wait(&self, written: u64, happens: Timestamp, now: &Now, stop: &Stop) -> bool {
        let due = match *self {
            Pace::Unbounded => return !stop.is_set(),
            Pace::Rate { per_second, since } => since + Span::from_millis((written as f64 * 1e3 / per_second) as i64),
            Pace::Natural => happens,
        };
        while !stop.is_set() {
            let left = due.since(now());
            if left == Span::ZERO {
                return true;
            }
            std::thread::sleep(LOOK.min(Duration::from_millis(left.as_millis().unsigned_abs())));
        }
        false
    }
}

/// Why nothing more can be written.
enum Fault {
    /// The reader has gone.
    Closed,
    Other(String),
}

enum Target {
    Lines { sheet: Sheet, name: String, line: Vec<u8> },
    Kafka { feed: Feed, topics: Vec<String>, value: Vec<u8> },
}

impl Target {
    fn open(args: &Args) -> Result<Self, String> {
        if let Some(brokers) = &args.brokers {
            let properties: BTreeMap<String, String> = args.properties.iter().cloned().collect();
            let secret = properties.iter().filter(|(name, _)| !is_plain_property(name));
            secret.for_each(|(_, value)| keep_secret(value));
            let feed = Feed::open(brokers, &args.topics, &properties)?;
            return Ok(Target::Kafka { feed, topics: args.topics.clone(), value: Vec::new() });
        }
        let name = args.file.display().to_string();
        let sheet = Sheet::open(&args.file).map_err(|error| format!("cannot write {name}: {error}"))?;
        Ok(Target::Lines { sheet, name, line: Vec::new() })
    }

    fn write(&mut self, touchpoint: &Touchpoint) -> Result<(), Fault> {
        match self {
            Target::Lines { sheet, name, line } => {
                line.clear();
                wire::encode_touchpoint(Format::Json, touchpoint, line);
                line.push(b'\n');
                sheet.write_all(line).map_err(|error| unwritable(name, &error))
            }
            Target::Kafka { feed, topics, value } => {
                value.clear();
                wire::encode_touchpoint(Format::Json, touchpoint, value);
                let topic = &topics[topic_of(&touchpoint.kind, topics.len())];
                // Stamped with its event time, so that a backlog written at once is decided as it would have been live.
                feed.send(topic, touchpoint.identity.id.as_bytes(), value, touchpoint.event_time).map_err(Fault::Other)
            }
        }
    }

    fn finish(self) -> Result<(), Fault> {
        match self {
            Target::Lines { sheet, name, .. } => sheet.finish().map_err(|error| unwritable(&name, &error)),
            Target::Kafka { feed, .. } => feed.finish().map(drop).map_err(Fault::Other),
        }
    }
}

fn unwritable(name: &str, error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Fault::Closed,
        _ => Fault::Other(format!("cannot write {name}: {error}")),
    }
}

/// The same type always goes to the same topic, and one customer's types to several.
fn topic_of(kind: &str, topics: usize) -> usize {
    (xxhash_rust::xxh3::xxh3_64(kind.as_bytes()) % topics.max(1) as u64) as usize
}

/// A file being written, compressed by its name.
enum Sheet {
    Plain(BufWriter<Box<dyn Write>>),
    Gzip(GzEncoder<BufWriter<Box<dyn Write>>>),
    Zstd(zstd::Encoder<'static, BufWriter<Box<dyn Write>>>),
}

impl Sheet {
    fn open(path: &Path) -> io::Result<Self> {
        let raw: Box<dyn Write> =
            if path.as_os_str() == "-" { Box::new(io::stdout()) } else { Box::new(File::create(path)?) };
        let buffered = BufWriter::with_capacity(1 << 16, raw);
        let suffix = path.extension().and_then(|suffix| suffix.to_str());
        Ok(match suffix {
            Some("gz") => Sheet::Gzip(GzEncoder::new(buffered, Compression::default())),
            Some("zst") => Sheet::Zstd(zstd::Encoder::new(buffered, zstd::DEFAULT_COMPRESSION_LEVEL)?),
            Some(_) | None => Sheet::Plain(buffered),
        })
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Sheet::Plain(file) => file.write_all(bytes),
            Sheet::Gzip(file) => file.write_all(bytes),
            Sheet::Zstd(file) => file.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Sheet::Plain(mut file) => file.flush(),
            Sheet::Gzip(file) => file.finish()?.flush(),
            Sheet::Zstd(file) => file.finish()?.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_has_one_topic_and_types_are_spread() {
        let kinds = ["ad.seen", "cart.added", "checkout.started", "checkout.step", "order.completed", "product.viewed"];
        let topics = kinds.map(|kind| topic_of(kind, 2));
        assert_eq!(topics, kinds.map(|kind| topic_of(kind, 2)));
        assert!(topics.contains(&0) && topics.contains(&1), "{topics:?}");
        assert_eq!(kinds.map(|kind| topic_of(kind, 1)), [0; 6]);
    }

    #[test]
    fn rates_are_numbers_from_zero_up() {
        assert_eq!((rate("0"), rate("2.5")), (Ok(0.0), Ok(2.5)));
        for text in ["-1", "many", "inf", "NaN"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_is_kept_from_the_beginning_on() {
        let since = Timestamp::from_millis(1_000_000);
        let pace = Pace::Rate { per_second: 100.0, since };
        let stopped = Stop::default();
        stopped.set();
        let at = |millis: i64| -> Now { std::sync::Arc::new(move || since + Span::from_millis(millis)) };
        assert!(pace.wait(50, Timestamp::MIN, &at(500), &Stop::default()), "the fiftieth is due after half a second");
        assert!(!pace.wait(51, Timestamp::MIN, &at(500), &stopped), "whoever stops waits for nothing more");
    }
}
