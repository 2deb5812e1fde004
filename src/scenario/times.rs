//! The times of a story: spans after its beginning, or instants.

use std::ops::Range;

use crate::time::{Span, Timestamp};

use super::START;

/// The last instant that a story may reach: the end of the year 9999.
const LAST: Timestamp = Timestamp::from_millis(253_402_300_799_999);

/// What to write where a time cannot be read.
pub(super) const HOW: &str =
    "write how long after the beginning, such as 0m, 1h 30m or 1d 10m, or an instant such as 2026-01-05T10:00:00Z";

/// When a story begins, and how far it has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    beginning: Option<Beginning>,
    latest: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
enum Beginning {
    /// The story has instants; the first is its beginning.
    At(Timestamp),
    /// The story counts from a beginning that nobody needs to know.
    Anywhen,
}

/// Why a time cannot be had: what is wrong, and what to do.
pub(super) type Trouble = (&'static str, String, String);

impl Times {
    /// The instant of a row, which is not before the row above.
    pub(super) fn row(&mut self, text: &str) -> Result<Timestamp, Trouble> {
        if self.beginning.is_none() {
            self.beginning = Some(match instant(text) {
                Some(at) => Beginning::At(at),
                None => Beginning::Anywhen,
            });
        }
        let at = self.read(text)?;
        if self.latest.is_some_and(|latest| at < latest) {
            let help = "order the rows by time; what happened earlier than it came in is written with at=";
            return Err(("S004", format!("`{text}` lies before the row above"), help.to_owned()));
        }
        self.latest = Some(at);
        Ok(at)
    }

    /// An instant or a span from the beginning; `_` stands for a space.
    pub(super) fn read(&self, text: &str) -> Result<Timestamp, Trouble> {
        let trouble = |cause: String, help: &str| Err(("S003", cause, help.to_owned()));
        let at = match (instant(text), self.beginning) {
            (Some(at), Some(Beginning::At(_))) => at,
            (Some(_), Some(Beginning::Anywhen) | None) => {
                let help = "begin the first row with an instant, or write how long after the beginning, such as 1d 10m";
                return trouble(format!("`{text}` is an instant in a story that counts from its beginning"), help);
            }
            (None, _) => match Span::parse(&text.replace('_', " ")) {
                Ok(span) => self.start() + span,
                Err(_) => return trouble(format!("{} is not a time", crate::diagnostic::quoted(text)), HOW),
            },
        };
        if at > LAST {
            return trouble(format!("`{text}` lies beyond the year 9999"), "choose an earlier time");
        }
        Ok(at)
    }

    fn start(&self) -> Timestamp {
        match self.beginning {
            Some(Beginning::At(at)) => at,
            Some(Beginning::Anywhen) | None => START,
        }
    }
}

/// RFC 3339, or a date alone for its midnight in UTC.
fn instant(text: &str) -> Option<Timestamp> {
    let date = |bytes: &[u8]| bytes.len() == 10 && bytes[4] == b'-' && bytes[7] == b'-';
    if date(text.as_bytes()) {
        return Timestamp::parse(&format!("{text}T00:00:00Z")).ok();
    }
    Timestamp::parse(text).ok()
}

/// A part of a source that begins at `start`.
pub(super) fn within(start: usize, part: &Range<usize>) -> Range<usize> {
    start + part.start..start + part.end
}
