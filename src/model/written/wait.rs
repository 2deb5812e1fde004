//! Spans as they are written: fixed, computed by a condition-language line, or by segment.

use super::{DURATIONS, Name, duration};
use crate::diagnostic::{Faults, Place, Spanned};
use crate::time::Span;
use crate::yaml::Value;

/// How long after an abandonment a recovery counts, unless the model says otherwise.
const RECOVERED_WITHIN: Span = Span::from_days(7);

/// How long an absence is waited for.
#[derive(Debug)]
pub enum Wait {
    /// Always so long.
    Fixed(Spanned<Span>),
    /// As long as a line says that is computed.
    Computed(Name),
    /// By segment; none of them by segment again.
    BySegment {
        /// Where the map stands.
        place: Place,
        /// The names of segments, with what is written for each.
        waits: Vec<(Name, Wait)>,
    },
    /// It could not be read; told already.
    Unread,
}

/// How an absence is told again.
#[derive(Debug)]
pub struct Again {
    /// So long after each time, and where that is written.
    pub every: Spanned<Span>,
    /// At most so often, the first time included.
    pub at_most: u32,
}

/// At most so often an absence is told, unless the model says otherwise.
const AT_MOST: u64 = 3;

/// For how long after an abandonment coming back counts as a recovery.
#[derive(Debug)]
pub struct Recovery {
    /// The time.
    pub within: Span,
    /// Where it is written; the default has no place.
    pub place: Option<Place>,
}

impl Wait {
    /// How long and where, if it is always the same.
    pub fn fixed(&self) -> Option<&Spanned<Span>> {
        match self {
            Wait::Fixed(span) => Some(span),
            Wait::Computed(_) | Wait::BySegment { .. } | Wait::Unread => None,
        }
    }

    pub(super) fn read(value: Option<Value<'_>>, faults: &mut Faults) -> Option<Wait> {
        let value = value?;
        if !value.is_map() {
            return Some(Wait::read_one(&value, faults));
        }
        if value.is_empty_map() {
            faults.error("M007", value.place(), format!("{} is empty", value.label()), "give each segment a duration");
            return Some(Wait::Unread);
        }
        let entries = value.entries("segments", faults).unwrap_or_default();
        let waits = entries.iter().map(|entry| (entry.key.clone(), Wait::read_one(&Value::from(entry), faults))).collect();
        Some(Wait::BySegment { place: value.place().clone(), waits })
    }

    /// What looks like a span is one, well or badly written; anything else is computed.
    fn read_one(value: &Value<'_>, faults: &mut Faults) -> Wait {
        let computed = value.as_text().filter(|text| Span::parse(text).is_err() && !looks_like_a_span(text));
        if computed.is_some() {
            return value.text(faults).map_or(Wait::Unread, Wait::Computed);
        }
        value.duration(&DURATIONS, faults).map_or(Wait::Unread, Wait::Fixed)
    }
}

impl Again {
    /// `every: 1d` and `at most: 3` beside it.
    pub(super) fn read(every: Option<Value<'_>>, at_most: Option<Value<'_>>, faults: &mut Faults) -> Option<Again> {
        let Some(every) = every else {
            if let Some(at_most) = at_most {
                let help = "add `every` with a duration, or remove this line";
                faults.warning("M035", at_most.key_place(), "`at most` has no effect without `every`", help);
            }
            return None;
        };
        let at_most = at_most.map(|value| value.integer(2..=1_000, faults).map(|most| most.value));
        let every = duration(Some(every), faults)?;
        let at_most = at_most.unwrap_or(Some(AT_MOST))?;
        Some(Again { every, at_most: u32::try_from(at_most).unwrap_or(u32::MAX) })
    }
}

impl Recovery {
    pub(super) fn read(value: Option<Value<'_>>, faults: &mut Faults) -> Recovery {
        match duration(value, faults) {
            Some(written) => Recovery { within: written.value, place: Some(written.place) },
            None => Recovery { within: RECOVERED_WITHIN, place: None },
        }
    }
}

/// Digits, letters and what people put between them: no line of conditions that yields a duration has no other character.
fn looks_like_a_span(text: &str) -> bool {
    let numeric = text.trim_start_matches(['-', '+', ' ']).starts_with(|c: char| c.is_ascii_digit());
    let apart = |c: char| c == ' ' || (numeric && matches!(c, '-' | '+' | '.' | ','));
    text.chars().all(|c| c.is_alphanumeric() || apart(c))
}
