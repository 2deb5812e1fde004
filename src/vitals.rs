//! What the parts of a process do and hear, as they tell it themselves. Judges nothing: `runtime::health` does.
//!
//! What is told costs next to nothing and waits for nobody, so that whoever judges sees a part that stands still.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// What the parts of a process tell.
#[derive(Debug, Default)]
pub struct Vitals {
    workers: Mutex<Vec<Weak<Beat>>>,
    inputs: Mutex<BTreeMap<String, Taken>>,
    brokers: Mutex<Option<Heard>>,
}

/// Records of one input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// All of them.
    pub records: u64,
    /// Those that went to the dead letters.
    pub unusable: u64,
}

/// When brokers were last heard of.
#[derive(Clone, Debug)]
struct Heard {
    at: Instant,
    /// Why nobody has been heard since.
    error: Option<String>,
}

/// Something that does not come to an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// For how long.
    pub since: Duration,
    /// What was said about it last, if anything.
    pub reason: Option<String>,
}

impl Vitals {
    /// A worker, until it drops what it gets.
    pub fn worker(&self) -> Arc<Beat> {
        let beat = Arc::new(Beat { made: Instant::now(), turned: AtomicU64::new(0), failing: Mutex::new(None) });
        let mut workers = locked(&self.workers);
        workers.retain(|known| known.strong_count() > 0);
        workers.push(Arc::downgrade(&beat));
        beat
    }

    /// So many more records of an input were taken.
    pub fn took(&self, input: &str, more: Taken) {
        let mut inputs = locked(&self.inputs);
        let known = match inputs.get_mut(input) {
            Some(known) => known,
            None => inputs.entry(input.to_owned()).or_default(),
        };
        known.records += more.records;
        known.unusable += more.unusable;
    }

    /// Records of each input so far.
    pub fn taken(&self) -> BTreeMap<String, Taken> {
        locked(&self.inputs).clone()
    }

    /// A broker has answered; or from now on one is expected to.
    pub fn brokers_answered(&self) {
        *locked(&self.brokers) = Some(Heard { at: Instant::now(), error: None });
    }

    /// No broker answers.
    pub fn brokers_are_silent(&self, error: &str) {
        if let Some(heard) = &mut *locked(&self.brokers) {
            heard.error = Some(error.to_owned());
        }
    }

    /// For how long no broker has answered; `None` where none is needed.
    pub fn silence(&self) -> Option<Stuck> {
        let heard = locked(&self.brokers).clone()?;
        Some(Stuck { since: heard.at.elapsed(), reason: heard.error })
    }

    /// Of the worker that is stuck longest: for how long it has not come round, or has committed nothing of what it has tried
    /// to. `None` before the first round of a first worker.
    pub fn stuck(&self) -> Option<Stuck> {
        let beats: Vec<Arc<Beat>> = locked(&self.workers).iter().filter_map(Weak::upgrade).collect();
        beats.iter().filter_map(|beat| beat.stuck()).max_by_key(|stuck| stuck.since)
    }
}

/// What one worker tells.
#[derive(Debug)]
pub struct Beat {
    made: Instant,
    /// Milliseconds from `made` to its latest round; 0 before the first.
    turned: AtomicU64,
    /// Since when commits have failed, and why the last one did.
    failing: Mutex<Option<(Instant, String)>>,
}

impl Beat {
    /// The worker has come round.
    pub fn turned(&self) {
        self.turned.store(u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX).max(1), Ordering::Release);
    }

    /// A commit has failed. Says whether it is the first since one succeeded.
    pub fn failed(&self, reason: &str) -> bool {
        let mut failing = locked(&self.failing);
        if let Some((_, known)) = &mut *failing {
            reason.clone_into(known);
            return false;
        }
        *failing = Some((Instant::now(), reason.to_owned()));
        true
    }

    /// Whether the latest commit has failed.
    pub fn is_failing(&self) -> bool {
        locked(&self.failing).is_some()
    }

    /// A commit has succeeded, or nothing is left to be committed.
    pub fn committed(&self) {
        let mut failing = locked(&self.failing);
        if failing.is_some() {
            *failing = None;
        }
    }

    fn stuck(&self) -> Option<Stuck> {
        let turned = match self.turned.load(Ordering::Acquire) {
            0 => return None,
            turned => self.made.elapsed().saturating_sub(Duration::from_millis(turned)),
        };
        let failing = locked(&self.failing).clone();
        Some(match failing {
            Some((since, reason)) => Stuck { since: since.elapsed().max(turned), reason: Some(reason) },
            None => Stuck { since: turned, reason: None },
        })
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_known_from_its_first_round_until_it_goes() {
        let vitals = Vitals::default();
        let beat = vitals.worker();
        assert_eq!(vitals.stuck(), None, "it may have to read much before its first round");
        beat.turned();
        assert_eq!(vitals.stuck().map(|stuck| stuck.reason), Some(None));
        assert!(beat.failed("the disk is full"));
        assert!(!beat.failed("the disk is broken"));
        assert_eq!(vitals.stuck().and_then(|stuck| stuck.reason).as_deref(), Some("the disk is broken"));
        beat.committed();
        assert_eq!(vitals.stuck().map(|stuck| stuck.reason), Some(None));
        drop(beat);
        assert_eq!(vitals.stuck(), None);
    }

    #[test]
    fn brokers_are_missed_only_where_they_are_expected() {
        let vitals = Vitals::default();
        vitals.brokers_are_silent("nobody is there");
        assert_eq!(vitals.silence(), None);
        vitals.brokers_answered();
        vitals.brokers_are_silent("connection refused");
        assert_eq!(vitals.silence().and_then(|stuck| stuck.reason).as_deref(), Some("connection refused"));
        vitals.brokers_answered();
        assert_eq!(vitals.silence().map(|stuck| stuck.reason), Some(None));
    }
}
