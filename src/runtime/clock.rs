//! The one clock (rule 3). Nothing else in the project asks what time it is.
//!
//! Worker clock = wall clock at start + time since by a clock that counts suspension, slewed towards the wall clock by at
//! most 1 %. A wall clock that jumps therefore moves no deadline; one that stays away is a fault that ends the worker.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::port::Now;
use crate::time::{Span, Timestamp};

/// The clocks may disagree by so much before it counts as a fault.
const TOLERANCE: Span = Span::from_secs(60);
/// They must disagree for so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// The clock is slewed by at most one part in so many.
const SLEW: i64 = 100;

/// The worker clock.
#[derive(Debug)]
pub struct Clock {
    state: Mutex<State>,
    /// How fast time runs; other than 1 only in the demo, where generator and worker share the clock.
    speed: f64,
}

#[derive(Debug)]
struct State {
    /// Reading of the clock that counts suspension.
    read: Duration,
    /// The worker clock at that reading, in nanoseconds since the epoch, so that slewing is not lost to rounding.
    nanos: i64,
    /// Since when worker and wall clock disagree beyond tolerance.
    disagreeing: Option<Duration>,
}

fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[allow(clippy::disallowed_methods)] // This is the one clock.
fn wall_nanos() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

impl Clock {
    /// A clock that starts at the wall clock's time and runs `speed` times as fast as time does.
    pub fn starting_now(speed: f64) -> Arc<Self> {
        let state = State { read: since_boot(), nanos: wall_nanos(), disagreeing: None };
        Arc::new(Clock { state: Mutex::new(state), speed })
    }

    /// What the worker clock shows.
    pub fn now(&self) -> Timestamp {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.read(&mut state, since_boot(), wall_nanos())
    }

    /// Whether the clocks have disagreed for too long.
    ///
    /// # Errors
    /// By how much they disagree, in words.
    pub fn check(&self) -> Result<(), String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.read(&mut state, since_boot(), wall_nanos());
        match state.disagreeing {
            Some(since) if state.read.saturating_sub(since) >= PATIENCE => Err(format!(
                "the wall clock is {} away from the worker's clock; restart once the machine's time is right",
                Span::from_millis((wall_nanos() - state.nanos).abs() / 1_000_000)
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// A handle for those who need the time.
    pub fn handle(self: &Arc<Self>) -> Now {
        let clock = Arc::clone(self);
        Arc::new(move || clock.now())
    }

    fn read(&self, state: &mut State, read: Duration, wall: i64) -> Timestamp {
        let passed = i64::try_from(read.saturating_sub(state.read).as_nanos()).unwrap_or(i64::MAX);
        state.read = state.read.max(read);
        if self.speed == 1.0 {
            state.nanos += passed;
            let drift = wall - state.nanos;
            state.nanos += drift.clamp(-(passed / SLEW), passed / SLEW);
            let apart = (wall - state.nanos).abs() / 1_000_000 > TOLERANCE.as_millis();
            state.disagreeing = if apart { state.disagreeing.or(Some(read)) } else { None };
        } else {
            state.nanos += (passed as f64 * self.speed) as i64;
        }
        Timestamp::from_millis(state.nanos / 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn clock() -> Clock {
        let state = State { read: at(0), nanos: 0, disagreeing: None };
        Clock { state: Mutex::new(state), speed: 1.0 }
    }

    #[test]
    fn a_wall_clock_that_jumps_moves_the_worker_clock_by_one_percent_at_most() {
        for (wall_after_100_s, expected) in [(100, 100_000), (3_700, 101_000), (-3_500, 99_000), (100 + 30, 101_000)] {
            let clock = clock();
            let mut state = clock.state.lock().expect("unpoisoned");
            let now = clock.read(&mut state, at(100), wall_after_100_s * 1_000_000_000);
            assert_eq!(now.as_millis(), expected, "wall clock at {wall_after_100_s} s");
        }
    }

    #[test]
    fn disagreement_counts_from_its_beginning_and_ends_when_the_clocks_agree() {
        let clock = clock();
        let mut state = clock.state.lock().expect("unpoisoned");
        for (read, wall, since) in [(1, 3_600, Some(1)), (9, 3_609, Some(1)), (10, 10, None), (11, 500, Some(11))] {
            clock.read(&mut state, at(read), wall * 1_000_000_000);
            assert_eq!(state.disagreeing, since.map(at), "at {read} s");
        }
    }
}
