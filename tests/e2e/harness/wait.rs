//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// Asks until there is an answer; panics with `what` after `within`.
pub(crate) fn until<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < within, "waited {within:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for a condition; panics with `what` after `within`.
pub(crate) fn until_true(what: &str, within: Duration, mut ask: impl FnMut() -> bool) {
    until(what, within, || ask().then_some(()));
}
