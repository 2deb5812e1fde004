//! `sillage demo`: synthetic customers, the real worker, the embedded log, and what comes of it, live.
//!
//! Generator and worker share one clock that runs faster than time does, so that half an hour's silence over a basket is
//! noticed after a second or two.

mod engine;
mod screen;
mod tally;
mod trials;
mod view;

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;

use super::{Failure, files, signals};
use crate::model::{self, Model};
use crate::runtime::clock::Clock;
use crate::runtime::crew::Stop;
use crate::time::Span;

use engine::{Engine, Plan};
use screen::{Asked, Screen};
use tally::{Snapshot, Tally};

/// The model of the demo, ready-made.
const MODEL: &str = include_str!("../../models/five-stages.yaml");
/// How its customers may be contacted: the synthetic ones never say, and agree.
const CONTACTS: &str = "
consents: { chat: { given: consent.given, otherwise: given }, email: { given: consent.given, otherwise: given } }
contact: { at most: [{ 2 within: 1d }, { 6 within: 30d }] }
";
/// Between two pictures of the live view.
const FRAME: Duration = Duration::from_millis(250);
/// So many sentences are shown a second where there is no terminal.
const SENTENCES: usize = 4;

/// Show Sillage at work.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// End after so many seconds; otherwise on q or ctrl-C.
    #[arg(long)]
    seconds: Option<u64>,
    /// How many times as fast as time the customers live: 1200 shows twenty minutes a second.
    #[arg(long, default_value_t = 1_200.0, value_parser = speed)]
    speed: f64,
    /// How many customers there are.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    customers: u32,
    /// Same seed, same customers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// On Kafka instead of the embedded log: in topics of the demo's own, which are removed at the end.
    #[arg(long, value_name = "HOST:PORT,…")]
    brokers: Option<String>,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let stop = Stop::default();
    signals::heed(&stop)?;
    let model = model()?;
    let clock = Clock::starting_now(args.speed);
    let now = clock.handle();
    let begun = now();
    let tally = Arc::new(Mutex::new(Tally::new(&model)));
    let plan = Plan {
        model: Arc::clone(&model),
        customers: args.customers,
        seed: args.seed,
        speed: args.speed,
        brokers: args.brokers.clone(),
    };
    let engine = Engine::start(&plan, &now, &stop, &tally).map_err(Failure::could_not_run)?;

    let watched = Watched { args: &args, model: &model, tally: &tally, stop: &stop, engine: &engine };
    let real = |until: crate::time::Timestamp| scaled_down(until.since(begun), args.speed);
    let shown = if io::stdout().is_terminal() {
        watched.live(|| (now(), real(now())))
    } else {
        watched.plainly(|| (now(), real(now())))
    };
    stop.set();
    let ended = engine.finish();
    let snapshot = locked(&tally).snapshot(now(), real(now()));
    ended.map_err(Failure::could_not_run)?;
    shown
        .or_else(closed_is_fine)
        .map_err(|error| Failure::could_not_run(format!("cannot write to the terminal: {error}")))?;
    sum_up(&snapshot, &args)
}

fn model() -> Result<Arc<Model>, Failure> {
    let (model, mut faults) = model::load("five-stages.yaml", MODEL);
    let (contacts, told) = model::load_contacts("contacts.yaml", CONTACTS);
    faults.extend(told);
    let Some((mut model, contacts)) = model.zip(contacts) else { return Err(files::refused(&faults)) };
    let told = model.contact_by(Some(&Arc::new(contacts)));
    if told.is_empty() { Ok(Arc::new(model)) } else { Err(files::refused(&told)) }
}

fn speed(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "a number is expected".to_owned())?;
    if (1.0..=100_000.0).contains(&number) { Ok(number) } else { Err("1 to 100000 is expected".to_owned()) }
}

/// The real time that passes while the customers live for so long.
fn scaled_down(span: Span, speed: f64) -> Duration {
    Duration::from_secs_f64(span.as_millis() as f64 / 1e3 / speed)
}

fn locked(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whoever reads our output may have read enough, or have closed the terminal.
fn closed_is_fine(error: io::Error) -> io::Result<()> {
    let has_closed = error.kind() == io::ErrorKind::BrokenPipe || error.raw_os_error() == Some(Errno::IO.raw_os_error());
    if has_closed { Ok(()) } else { Err(error) }
}

/// What the demo looks at while it runs. Its clocks are handed in: the customers' now, and the real time since the start.
struct Watched<'a> {
    args: &'a Args,
    model: &'a Model,
    tally: &'a Mutex<Tally>,
    stop: &'a Stop,
    engine: &'a Engine,
}

impl Watched<'_> {
    fn goes_on(&self, elapsed: Duration) -> bool {
        let over = self.args.seconds.is_some_and(|seconds| elapsed >= Duration::from_secs(seconds));
        !over && !self.stop.is_set() && !self.engine.has_failed()
    }

    fn header(&self, elapsed: Duration) -> view::Header<'_> {
        let left = self.args.seconds.map(|seconds| Duration::from_secs(seconds).saturating_sub(elapsed));
        view::Header { model: &self.model.name, customers: self.args.customers, speed: self.args.speed, left }
    }

    fn live(&self, time: impl Fn() -> (crate::time::Timestamp, Duration)) -> io::Result<()> {
        let mut screen = Screen::open()?;
        loop {
            let (now, elapsed) = time();
            if !self.goes_on(elapsed) {
                return Ok(());
            }
            let snapshot = locked(self.tally).snapshot(now, elapsed);
            let (width, height) = screen.size();
            screen.show(&view::picture(&self.header(elapsed), &snapshot, width, height))?;
            match screen.wait(FRAME)? {
                Asked::GoOn => {}
                Asked::End => return Ok(()),
            }
        }
    }

    fn plainly(&self, time: impl Fn() -> (crate::time::Timestamp, Duration)) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let (_, elapsed) = time();
        writeln!(out, "{}", view::title(&self.header(elapsed)))?;
        let mut told = 0;
        for second in 1.. {
            loop {
                let (_, elapsed) = time();
                if !self.goes_on(elapsed) {
                    return Ok(());
                }
                let left = Duration::from_secs(second).saturating_sub(elapsed);
                if left.is_zero() {
                    break;
                }
                std::thread::sleep(left.min(FRAME));
            }
            let (now, elapsed) = time();
            let snapshot = locked(self.tally).snapshot(now, elapsed);
            writeln!(out, "{}", view::line(&snapshot))?;
            let fresh = usize::try_from(snapshot.told - told).unwrap_or(usize::MAX);
            for sentence in snapshot.latest.iter().take(fresh.min(SENTENCES)).rev() {
                writeln!(out, "      {}", view::sentence(sentence))?;
            }
            told = snapshot.told;
            out.flush()?;
        }
        Ok(())
    }
}

/// What it came to. A demo that has shown nothing has failed.
fn sum_up(snapshot: &Snapshot, args: &Args) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = view::summary(snapshot, args.speed).iter().try_for_each(|line| writeln!(out, "{line}"));
    written.or_else(closed_is_fine).map_err(|error| Failure::could_not_run(error.to_string()))?;
    if snapshot.counts.transitions == 0 {
        return Err(Failure::answer_is_no(format!(
            "no customer moved in {:.0} s; run it for longer, or with more customers or a higher --speed",
            snapshot.elapsed.as_secs_f64()
        )));
    }
    Ok(())
}
