//! `sillage replay`: touchpoints from files through the same core at full speed, without a log.
//!
//! Log time is event time (rule 2): touchpoints of all files are sorted by it, in memory or in temporary files. Ends at the last
//! touchpoint unless `--until` says otherwise.

mod files;
mod journeys;
mod offers;
mod shards;
mod source;
mod summary;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Failure;
use super::files as read;
use crate::journey::Outcome;
use crate::model::Model;
use crate::runtime::clock::Clock;
use crate::terminal::{plain, plain_json};
use crate::time::Timestamp;
use crate::wire::{self, Format, Mapping, Wanted};

use files::{Files, Heard, Unusable};
use journeys::Stories;
use shards::Shards;
use source::{Order, Source};
use summary::Summary;

/// The most unusable lines that are shown one by one.
const SHOWN_FAULTS: u64 = 10;

/// Run touchpoints from files through models, without Kafka.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files of touchpoints in any order: JSON one a line or in an array, or CSV with a header; plain, gzip or zstd. `-` is
    /// standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The model's file; several models run side by side.
    #[arg(short, long = "model", required = true, value_name = "FILE")]
    models: Vec<PathBuf>,
    /// Each file is by time: decide while reading, without sorting. One that is not is refused.
    #[arg(long)]
    sorted: bool,
    /// Let time pass until this instant (RFC 3339); by default it ends at the last touchpoint.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    until: Option<Timestamp>,
    /// Where outcomes go as NDJSON; by default to standard output.
    #[arg(short, long, value_name = "FILE")]
    outcomes: Option<PathBuf>,
    /// Where the final journeys go as NDJSON.
    #[arg(short, long, value_name = "FILE")]
    journeys: Option<PathBuf>,
    /// Where lines that cannot be used go as NDJSON, with their places and reasons.
    #[arg(long, value_name = "FILE")]
    dead_letters: Option<PathBuf>,
    /// A table on standard error, or JSON on standard output (outcomes then go to a file or nowhere).
    #[arg(long, value_enum, default_value_t = Shape::Text)]
    summary: Shape,
    /// Which field of the source holds what: `type=event`, `customer_id=context.user.id`.
    #[arg(long = "field", value_name = "NAME=PATH", value_parser = field)]
    fields: Vec<(String, String)>,
    /// A file of such fields, one `name: path` a line.
    #[arg(long, value_name = "FILE")]
    fields_file: Option<PathBuf>,
    /// Touchpoints kept in a customer's history.
    #[arg(long, default_value_t = 20)]
    history: usize,
    /// So many partitions, which hand customers to each other: it changes nobody's story.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    partitions: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Shape {
    Text,
    Json,
}

fn instant(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|error| error.to_string())
}

fn field(text: &str) -> Result<(String, String), String> {
    let (name, path) = text.split_once('=').ok_or("write NAME=PATH, such as type=event")?;
    Ok((name.trim().to_owned(), path.trim().to_owned()))
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let mut models = read::models(&args.models)?;
    let mapping = mapping(&args)?;
    read::in_zone_of(mapping.as_ref(), &mut models);
    let mapping = Mapping::for_models(mapping.as_ref(), models.iter().map(Arc::as_ref));
    let wanted = Wanted::of(models.iter().map(Arc::as_ref));
    let now = Clock::starting_now(1.0).now();
    let order = if args.sorted { Order::ByTime } else { Order::Any };
    let mut source = Source::new(Files::open(&args.files, mapping, wanted, now)?, order, args.until);
    let mut results = Results {
        outcomes: outcomes(&args)?,
        dead_letters: args.dead_letters.as_deref().map(create).transpose()?,
        stories: args.journeys.is_some().then(Stories::default),
        summary: Summary::new(&models),
        line: Vec::new(),
        unusable: 0,
    };
    let mut replay = Shards::new(&models, args.history, args.partitions);
    while let Some(next) = source.next_touchpoint()? {
        match next {
            Ok(touchpoint) => {
                if replay.receive(touchpoint) {
                    replay.decide(&mut source);
                    results.take(&mut replay)?;
                }
            }
            Err(unusable) => results.refuse(&unusable)?,
        }
    }
    replay.decide(&mut source);
    if let Some(until) = args.until {
        replay.wait(until);
    }
    results.take(&mut replay)?;
    results.finish(args, &models, replay, source.finish())
}

type Output = BufWriter<Box<dyn Write>>;

/// Where everything goes that comes out.
struct Results {
    outcomes: Option<Output>,
    dead_letters: Option<Output>,
    stories: Option<Stories>,
    summary: Summary,
    line: Vec<u8>,
    unusable: u64,
}

impl Results {
    fn take(&mut self, replay: &mut Shards) -> Result<(), Failure> {
        replay.outcomes().try_for_each(|outcome| self.outcome(&outcome))
    }

    fn outcome(&mut self, outcome: &Outcome) -> Result<(), Failure> {
        self.summary.count(outcome);
        if let Some(stories) = &mut self.stories {
            stories.tell(outcome);
        }
        let Some(output) = &mut self.outcomes else { return Ok(()) };
        self.line.clear();
        wire::encode_outcome(Format::Json, outcome, &mut self.line);
        self.line.push(b'\n');
        output.write_all(&plain_json(&self.line)).map_err(written)
    }

    fn refuse(&mut self, unusable: &Unusable) -> Result<(), Failure> {
        self.unusable += 1;
        if self.unusable <= SHOWN_FAULTS {
            eprintln!("{}:{}: {}", plain(&unusable.file), unusable.line, plain(&unusable.reason));
        } else if self.unusable == SHOWN_FAULTS + 1 {
            eprintln!("… further ones that cannot be used are counted; --dead-letters FILE keeps them all");
        }
        match &mut self.dead_letters {
            Some(output) => serde_json::to_writer(&mut *output, unusable)
                .map_err(io::Error::from)
                .and_then(|()| output.write_all(b"\n"))
                .map_err(written),
            None => Ok(()),
        }
    }

    fn finish(mut self, args: Args, models: &[Arc<Model>], replay: Shards, heard: Heard) -> Result<(), Failure> {
        for output in [&mut self.outcomes, &mut self.dead_letters].into_iter().flatten() {
            output.flush().map_err(written)?;
        }
        let (touchpoints, last) = (replay.touchpoints, replay.last);
        let (customers, counts, refusals, sums) = replay.finish();
        if let (Some(stories), Some(path)) = (self.stories, &args.journeys) {
            stories.write(models, &customers, &mut create(path)?).map_err(written)?;
        }
        self.summary.refuse(&refusals);
        self.summary.measured(models, &sums);
        self.summary.finish(models, &customers, counts, (self.unusable, heard), last);
        match args.summary {
            Shape::Text => eprintln!("{}", self.summary.text(models)),
            Shape::Json => println(&self.summary.json(models).to_string())?,
        }
        match touchpoints {
            0 => Err(Failure::answer_is_no(nothing(self.unusable))),
            _ => Ok(()),
        }
    }
}

/// What to do where no touchpoint was found.
fn nothing(unusable: u64) -> String {
    match unusable {
        0 => "the files hold no touchpoint".to_owned(),
        _ => "nothing in the files can be used as a touchpoint; the reasons are above. If the source names things otherwise, say \
              how: --field customer_id=user.id --field occurred_at=timestamp --field type=event"
            .to_owned(),
    }
}

fn println(line: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{line}").map_err(written)
}

/// A reader that has gone (`| head`) is no fault, yet there is nothing more to do.
fn written(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::answer_is_no(""),
        _ => Failure::could_not_run(format!("cannot write: {error}")),
    }
}

fn outcomes(args: &Args) -> Result<Option<Output>, Failure> {
    match (&args.outcomes, args.summary) {
        (Some(path), _) if path.as_os_str() != "-" => create(path).map(Some),
        (None, Shape::Json) => Ok(None),
        (Some(_), Shape::Json) => {
            Err(Failure::could_not_run("outcomes and the JSON summary cannot both go to standard output; name a file"))
        }
        (Some(_) | None, Shape::Text) => Ok(Some(BufWriter::new(Box::new(io::stdout())))),
    }
}

fn create(path: &Path) -> Result<Output, Failure> {
    let file = File::create(path);
    let file = file.map_err(|error| Failure::could_not_run(format!("cannot write {}: {error}", path.display())))?;
    Ok(BufWriter::with_capacity(1 << 16, Box::new(file)))
}

fn mapping(args: &Args) -> Result<Option<Mapping>, Failure> {
    let mut pairs: BTreeMap<String, String> = BTreeMap::new();
    if let Some(file) = &args.fields_file {
        for (number, line) in (1..).zip(read::text(file)?.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let (name, path) = line.split_once(':').ok_or_else(|| {
                Failure::could_not_run(format!("{}:{number}: write `name: path`, such as `type: event`", file.display()))
            })?;
            pairs.insert(name.trim().to_owned(), path.trim().to_owned());
        }
    }
    pairs.extend(args.fields.iter().cloned());
    if pairs.is_empty() {
        return Ok(None);
    }
    let pairs: Vec<(String, String)> = pairs.into_iter().collect();
    Mapping::new(&pairs).map(Some).map_err(Failure::could_not_run)
}

/// Whether somebody looks at standard error.
fn is_watched() -> bool {
    io::stderr().is_terminal()
}
