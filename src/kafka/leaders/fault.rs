//! Why a broker does not say what it is asked.

use std::io;

use super::messages::Garbled;

/// Why a broker does not say what it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It may say it later.
    Passing(String),
    /// It, or this client, is not made for it.
    Refused(String),
}

impl Fault {
    pub(super) fn words(&self) -> &str {
        match self {
            Fault::Passing(words) | Fault::Refused(words) => words,
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Fault::Passing("it does not answer".to_owned()),
            _ => Fault::Passing(error.to_string()),
        }
    }
}

impl From<Garbled> for Fault {
    fn from(_: Garbled) -> Self {
        Fault::Refused("its answer is not Kafka's".to_owned())
    }
}
