//! How a command ends when it does not end well.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use crate::terminal;

/// Why a command did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// The command ran, and the answer is no (exit code 1). The message says what is wrong and what to do; empty where the
    /// command has said so already.
    pub fn answer_is_no(message: impl Into<String>) -> Self {
        Failure { code: 1, message: message.into() }
    }

    /// The command could not run (exit code 2).
    pub fn could_not_run(message: impl Into<String>) -> Self {
        Failure { code: 2, message: message.into() }
    }

    /// The machine's clock is wrong: the service must be started again once it is right (exit code 75).
    pub fn clock_is_wrong(message: impl Into<String>) -> Self {
        Failure { code: 75, message: message.into() }
    }

    /// Says why on standard error, and hands out the exit code.
    pub fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            // Where standard error is gone, nobody is there to be told.
            let text = terminal::plain_lines(&terminal::without_secrets(&self.message));
            let _ = writeln!(std::io::stderr(), "sillage: {text}");
        }
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
