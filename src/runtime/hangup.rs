//! The closed terminal: SIGHUP ends what ctrl-C ends, except where `nohup` has said that it shall not.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What listens for a terminal that is closed.
pub struct Hangup(Option<Signal>);

impl Hangup {
    /// Begins to listen, within a runtime.
    pub fn listen() -> io::Result<Self> {
        if is_ignored() {
            return Ok(Hangup(None));
        }
        signal(SignalKind::hangup()).map(|signal| Hangup(Some(signal)))
    }

    /// Waits until the terminal is closed.
    pub async fn heard(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

/// Whether this process was started with SIGHUP ignored. Signal 1 is the lowest bit of the mask, in hexadecimal digits.
fn is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).map(str::trim);
    mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
