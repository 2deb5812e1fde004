//! How a process ends: by which signals, and what it says then.

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

use super::crew::Stop;
use super::hangup::Hangup;

/// Signals that come so soon after the first are the same wish.
const ONE_WISH: Duration = Duration::from_secs(1);

/// What to do where no broker answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Try again until there is one.
    Endless,
    /// End.
    None,
}

/// How the service ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// By a signal, with everything committed.
    Asked,
    /// It cannot run, or not go on.
    Unable(String),
    /// The machine's clock is wrong (rule 3).
    ClockIsWrong(String),
}

pub(super) fn unable(what: &str, error: impl std::fmt::Display) -> Ended {
    Ended::Unable(format!("{what}: {error}"))
}

/// The first signal stops, a later one ends at once.
pub(super) fn heed_signals(runtime: &Runtime, stop: &Stop) -> Result<Receiver<()>, Ended> {
    let (told, signals) = channel();
    let fault = |error| unable("cannot listen for signals", error);
    let _inside = runtime.enter();
    let mut terminate = signal(SignalKind::terminate()).map_err(fault)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fault)?;
    let mut hangup = Hangup::listen().map_err(fault)?;
    let stop = stop.clone();
    runtime.spawn(async move {
        let mut first: Option<Instant> = None;
        loop {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {}, () = hangup.heard() => {} }
            // A supervisor may tell a process and its group, which is one wish and not two.
            if first.is_some_and(|first| first.elapsed() < ONE_WISH) {
                continue;
            }
            if first.replace(Instant::now()).is_some() {
                warn!("a second signal: ending without a commit");
                std::process::exit(130);
            }
            stop.set();
            let _ = told.send(());
        }
    });
    Ok(signals)
}
