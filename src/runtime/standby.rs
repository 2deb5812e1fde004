//! Standing by for another process, and when to take its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

use super::crew::Stop;

/// Between two questions whether the other is alive, and how long an answer may take.
const LOOK: Duration = Duration::from_millis(500);
/// So many questions in a row must go unanswered.
const MISSES: u32 = 3;

/// What decides that a standby takes the place of the member whose configuration it shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standby {
    /// The signal SIGUSR1.
    UntilAsked,
    /// The same, or that the other's HTTP side, at this address, does not answer.
    UntilSilent(String),
}

/// The decision, once it is taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Decision(Arc<AtomicBool>);

impl Decision {
    /// Waits for it on the runtime, until `stop`.
    pub(super) fn awaited(standby: &Standby, runtime: &Runtime, stop: &Stop) -> std::io::Result<Self> {
        let decision = Decision::default();
        let mut asked = {
            let _inside = runtime.enter();
            signal(SignalKind::user_defined1())?
        };
        let taken = decision.clone();
        runtime.spawn(async move {
            asked.recv().await;
            warn!("asked to take over");
            taken.0.store(true, Ordering::Release);
        });
        if let Standby::UntilSilent(url) = standby {
            let (taken, url, stop) = (decision.clone(), format!("{}/livez", url.trim_end_matches('/')), stop.clone());
            runtime.spawn_blocking(move || {
                watch(&url, &stop, &taken);
            });
        }
        Ok(decision)
    }

    pub(super) fn is_taken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

fn watch(url: &str, stop: &Stop, taken: &Decision) {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(LOOK)).build().into();
    let mut misses = 0;
    while !stop.is_set() && !taken.is_taken() {
        match agent.get(url).call() {
            Ok(_) => misses = 0,
            Err(error) => {
                misses += 1;
                warn!(url, %error, misses, "the member that this process stands by for does not answer");
            }
        }
        if misses >= MISSES {
            taken.0.store(true, Ordering::Release);
        }
        std::thread::sleep(LOOK);
    }
}
