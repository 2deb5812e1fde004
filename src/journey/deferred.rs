//! What asks for an intervention, and what is kept of it where that waits until quiet hours are over.

use compact_str::CompactString;
use uuid::Uuid;

use super::arm::{flag, open_word, pack_word};
use super::outcome::name_of;
use super::packed::bytes::{Bytes, Damaged, push_id, push_number, push_signed};
use super::packed::words::Words;
use super::recent::{push_word, read_word};
use super::{About, Id, Outcome, Subject};
use crate::time::Timestamp;
use crate::touchpoint::{Currency, Money};

/// Interventions that wait at once, for one customer.
pub(super) const MAX_DEFERRED: usize = 16;

/// The outcome that asks, as far as an intervention is about it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AskingOutcome {
    /// Its outcome id; nil where it was taken back when an anonymous id was handed over.
    pub(super) id: Uuid,
    pub(super) at: Timestamp,
    /// `abandonment`, `friction` …
    pub(super) kind: CompactString,
    /// The rule, the stage or the episode.
    pub(super) name: Option<CompactString>,
    pub(super) about: Option<About>,
    pub(super) value: Option<Money>,
    pub(super) segment: Option<CompactString>,
    pub(super) cause: Option<Id>,
    pub(super) channel: Option<CompactString>,
    pub(super) session: Option<CompactString>,
}

/// What conditions can know of the outcome that asks.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) kind: &'a str,
    pub(super) name: Option<&'a str>,
    pub(super) value: Option<Money>,
    pub(super) segment: Option<&'a CompactString>,
}

impl<'a> From<&'a Outcome> for Asker<'a> {
    fn from(outcome: &'a Outcome) -> Self {
        let (kind, name) = (outcome.what.kind(), name_of(&outcome.what));
        Asker { kind, name, value: outcome.value, segment: outcome.segment.as_ref() }
    }
}

impl<'a> From<&'a AskingOutcome> for Asker<'a> {
    fn from(kept: &'a AskingOutcome) -> Self {
        Asker { kind: &kept.kind, name: kept.name.as_deref(), value: kept.value, segment: kept.segment.as_ref() }
    }
}

/// An intervention that waits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Deferred {
    /// The intervention's id.
    pub(super) of: CompactString,
    pub(super) asker: AskingOutcome,
    /// When it is judged again.
    pub(super) due: Timestamp,
}

impl AskingOutcome {
    pub(super) fn of(outcome: &Outcome) -> Self {
        AskingOutcome {
            id: outcome.id,
            at: outcome.at,
            kind: outcome.what.kind().into(),
            name: name_of(&outcome.what).map(Into::into),
            about: outcome.what.about().cloned(),
            value: outcome.value,
            segment: outcome.segment.clone(),
            cause: outcome.cause.clone(),
            channel: outcome.channel.clone(),
            session: outcome.session.clone(),
        }
    }

    fn pack(&self, words: &mut Words, out: &mut Vec<u8>) {
        let AskingOutcome { id, at, kind, name, about, value, segment, cause, channel, session } = self;
        out.extend_from_slice(id.as_bytes());
        push_signed(out, at.as_millis());
        push_word(out, words, kind);
        pack_word(name.as_ref(), words, out);
        maybe(about.as_ref(), out, |about, out| pack_about(about, words, out));
        maybe(value.as_ref(), out, |value, out| {
            push_word(out, words, value.currency.as_str());
            push_signed(out, value.micros);
        });
        pack_word(segment.as_ref(), words, out);
        maybe(cause.as_ref(), out, |cause, out| push_id(out, cause));
        pack_word(channel.as_ref(), words, out);
        maybe(session.as_ref(), out, |session, out| push_id(out, &Id::of(session)));
    }

    fn open(bytes: &mut Bytes<'_>, words: &Words) -> Result<Self, Damaged> {
        Ok(AskingOutcome {
            id: Uuid::from_bytes(bytes.array()?),
            at: Timestamp::from_millis(bytes.signed()?),
            kind: read_word(bytes, words)?,
            name: open_word(bytes, words)?,
            about: if flag(bytes)? { Some(open_about(bytes, words)?) } else { None },
            value: if flag(bytes)? {
                let currency = Currency::parse(&read_word(bytes, words)?).ok_or(Damaged)?;
                Some(Money { currency, micros: bytes.signed()? })
            } else {
                None
            },
            segment: open_word(bytes, words)?,
            cause: if flag(bytes)? { Some(bytes.id()?) } else { None },
            channel: open_word(bytes, words)?,
            session: if flag(bytes)? { Some(bytes.id()?.to_text()) } else { None },
        })
    }
}

impl Deferred {
    pub(super) fn pack(&self, words: &mut Words, out: &mut Vec<u8>) {
        push_word(out, words, &self.of);
        push_signed(out, self.due.as_millis());
        self.asker.pack(words, out);
    }

    pub(super) fn open(bytes: &mut Bytes<'_>, words: &Words) -> Result<Self, Damaged> {
        let (of, due) = (read_word(bytes, words)?, Timestamp::from_millis(bytes.signed()?));
        Ok(Deferred { of, due, asker: AskingOutcome::open(bytes, words)? })
    }
}

fn maybe<T>(held: Option<T>, out: &mut Vec<u8>, pack: impl FnOnce(T, &mut Vec<u8>)) {
    out.push(u8::from(held.is_some()));
    if let Some(held) = held {
        pack(held, out);
    }
}

/// What the subject is.
mod subject {
    pub(super) const STAGE: u8 = 0;
    pub(super) const EPISODE: u8 = 1;
    pub(super) const SESSION: u8 = 2;
    pub(super) const JOURNEY: u8 = 3;
}

fn pack_about(about: &About, words: &mut Words, out: &mut Vec<u8>) {
    let About { subject, opened_by, opened_at, last_progress, last_progress_at, progress_count, abandonments } = about;
    match subject {
        Subject::Stage(name) => {
            out.push(subject::STAGE);
            push_word(out, words, name);
        }
        Subject::Episode { kind, number, ids } => {
            out.push(subject::EPISODE);
            push_word(out, words, kind);
            push_number(out, (*number).into());
            push_number(out, ids.len() as u64);
            for (name, id) in ids {
                push_word(out, words, name);
                push_id(out, &Id::of(id));
            }
        }
        Subject::Session(id) => {
            out.push(subject::SESSION);
            push_id(out, &Id::of(id));
        }
        Subject::Journey => out.push(subject::JOURNEY),
    }
    for (id, at) in [(opened_by, opened_at), (last_progress, last_progress_at)] {
        push_id(out, id);
        push_signed(out, at.as_millis());
    }
    push_number(out, (*progress_count).into());
    push_number(out, (*abandonments).into());
}

fn open_about(bytes: &mut Bytes<'_>, words: &Words) -> Result<About, Damaged> {
    let subject = match bytes.byte()? {
        subject::STAGE => Subject::Stage(read_word(bytes, words)?),
        subject::EPISODE => {
            let (kind, number) = (read_word(bytes, words)?, bytes.small()?);
            let mut ids = Vec::new();
            for _ in 0..bytes.count()? {
                ids.push((read_word(bytes, words)?, bytes.id()?.to_text()));
            }
            Subject::Episode { kind, number, ids }
        }
        subject::SESSION => Subject::Session(bytes.id()?.to_text()),
        subject::JOURNEY => Subject::Journey,
        _ => return Err(Damaged),
    };
    let moment = |bytes: &mut Bytes<'_>| Ok((bytes.id()?, Timestamp::from_millis(bytes.signed()?)));
    let ((opened_by, opened_at), (last_progress, last_progress_at)) = (moment(bytes)?, moment(bytes)?);
    let (progress_count, abandonments) = (bytes.small()?, bytes.small()?);
    Ok(About { subject, opened_by, opened_at, last_progress, last_progress_at, progress_count, abandonments })
}
