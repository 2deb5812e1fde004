//! What goes on happening is told now and then, and not each time.

use std::time::{Duration, Instant};

/// When something was told last.
#[derive(Debug)]
pub struct Seldom {
    every: Duration,
    told: Option<Instant>,
}

impl Seldom {
    /// Told at once, and then no more often than this.
    pub const fn new(every: Duration) -> Self {
        Seldom { every, told: None }
    }

    /// Whether it is to be told now; then that counts as told.
    pub fn is_due(&mut self) -> bool {
        let is_due = self.told.is_none_or(|told| told.elapsed() >= self.every);
        if is_due {
            self.told = Some(Instant::now());
        }
        is_due
    }

    /// It happens no more. Says whether it was told that it did.
    pub fn ends(&mut self) -> bool {
        self.told.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_at_once_and_anew_after_its_end() {
        let mut seldom = Seldom::new(Duration::MAX);
        assert!(!seldom.ends());
        assert!(seldom.is_due() && !seldom.is_due());
        assert!(seldom.ends() && !seldom.ends());
        assert!(seldom.is_due());
        let mut always = Seldom::new(Duration::ZERO);
        assert!(always.is_due() && always.is_due());
    }
}
