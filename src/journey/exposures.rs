//! Exposures: a customer's first decision about an intervention, and what became of its goal until that is measured. Knows
//! nothing of the customer around them.

use uuid::Uuid;

use super::Outcome;
use super::arm::{open_arm, pack_arm};
use super::packed::bytes::{Bytes, Damaged, push_number, push_signed};
use super::packed::words::Words;
use super::recent::{push_word, read_word};
use super::sums::{ArmOf, Measured};
use crate::time::Timestamp;
use crate::touchpoint::{Currency, Money};

/// Exposures that are kept of one customer; what was measured is kept so that nobody is measured twice.
pub(super) const MAX_EXPOSURES: usize = 64;
/// Reached goals that are kept of one exposure.
pub(super) const MAX_GOALS: usize = 16;

/// A customer's first decision about an intervention, in one version of its model.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exposure {
    pub(super) of: ArmOf,
    /// When it was decided.
    pub(super) at: Timestamp,
    /// What happens from here on is too late.
    pub(super) until: Timestamp,
    /// What is to be measured; `None` once it was.
    pub(super) pending: Option<Pending>,
}

/// What is kept until an exposure is measured.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pending {
    /// The outcome id of the intervention.
    pub(super) id: Uuid,
    /// When it is measured.
    pub(super) due: Timestamp,
    /// How often the goal had been reached in the time before.
    pub(super) before: u64,
    /// Another id of the customer has drawn another arm.
    pub(super) crossed: bool,
    /// The goals reached since, by outcome.
    pub(super) goals: Vec<Goal>,
}

/// A goal that was reached.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Goal {
    /// The outcome id.
    pub(super) id: Uuid,
    pub(super) at: Timestamp,
    pub(super) value: Option<Money>,
}

impl Exposure {
    /// When it is measured; [`Timestamp::MAX`] once it was.
    pub(super) fn due(&self) -> Timestamp {
        self.pending.as_ref().map_or(Timestamp::MAX, |pending| pending.due)
    }

    pub(super) fn spans(&self, at: Timestamp) -> bool {
        (self.at..self.until).contains(&at)
    }

    pub(super) fn pack(&self, words: &mut Words, out: &mut Vec<u8>) {
        let Exposure { of, at, until, pending } = self;
        push_word(out, words, &of.intervention);
        push_number(out, of.version.into());
        pack_arm(of.arm, of.variant.as_ref(), words, out);
        push_signed(out, at.as_millis());
        push_signed(out, until.as_millis().wrapping_sub(at.as_millis()));
        let Some(Pending { id, due, before, crossed, goals }) = pending else { return out.push(0) };
        out.push(1 + u8::from(*crossed));
        out.extend_from_slice(id.as_bytes());
        push_signed(out, due.as_millis().wrapping_sub(at.as_millis()));
        push_number(out, *before);
        push_number(out, goals.len() as u64);
        for goal in goals {
            out.extend_from_slice(goal.id.as_bytes());
            push_signed(out, goal.at.as_millis().wrapping_sub(at.as_millis()));
            out.push(u8::from(goal.value.is_some()));
            if let Some(value) = goal.value {
                push_word(out, words, value.currency.as_str());
                push_signed(out, value.micros);
            }
        }
    }

    pub(super) fn open(bytes: &mut Bytes<'_>, words: &Words) -> Result<Self, Damaged> {
        let (intervention, version) = (read_word(bytes, words)?, bytes.small()?);
        let (arm, variant) = open_arm(bytes, words)?;
        let of = ArmOf { intervention, version, arm, variant };
        let at = Timestamp::from_millis(bytes.signed()?);
        let since =
            |bytes: &mut Bytes<'_>| bytes.signed().map(|millis| Timestamp::from_millis(at.as_millis().wrapping_add(millis)));
        let until = since(bytes)?;
        let crossed = match bytes.byte()? {
            0 => return Ok(Exposure { of, at, until, pending: None }),
            1 => false,
            2 => true,
            _ => return Err(Damaged),
        };
        let (id, due, before) = (Uuid::from_bytes(bytes.array()?), since(bytes)?, bytes.number()?);
        let mut goals = Vec::new();
        for _ in 0..bytes.count()? {
            let (id, at) = (Uuid::from_bytes(bytes.array()?), since(bytes)?);
            let value = match bytes.byte()? {
                0 => None,
                1 => {
                    let currency = Currency::parse(&read_word(bytes, words)?).ok_or(Damaged)?;
                    Some(Money { currency, micros: bytes.signed()? })
                }
                _ => return Err(Damaged),
            };
            goals.push(Goal { id, at, value });
        }
        Ok(Exposure { of, at, until, pending: Some(Pending { id, due, before, crossed, goals }) })
    }
}

impl Pending {
    /// What holds now. Amounts in another currency than that of the first goal are left out.
    pub(super) fn measured(&self) -> Measured {
        let mut goals: Vec<&Goal> = self.goals.iter().collect();
        goals.sort_by_key(|goal| (goal.at, goal.id));
        let mut values = goals.iter().filter_map(|goal| goal.value);
        let value = values.next().map(|first| {
            let micros = values.filter(|one| one.currency == first.currency).map(|one| one.micros);
            Money { micros: micros.fold(first.micros, i64::saturating_add), ..first }
        });
        Measured { converted: !goals.is_empty(), value, before: self.before, due: self.due }
    }

    /// Takes what is said of a goal: the latest word about an outcome counts.
    pub(super) fn note(&mut self, outcome: &Outcome, counts: bool) {
        self.goals.retain(|goal| goal.id != outcome.id);
        if counts && self.goals.len() < MAX_GOALS {
            self.goals.push(Goal { id: outcome.id, at: outcome.at, value: outcome.value });
        }
    }
}

impl Exposure {
    /// Two decisions about one customer are one exposure, the earlier; what was measured of either is not measured again.
    pub(super) fn unite(&mut self, mut theirs: Exposure) {
        let (Some(mine), Some(other)) = (&mut self.pending, &mut theirs.pending) else {
            if self.pending.is_some() {
                *self = theirs;
            }
            return;
        };
        if theirs.at < self.at {
            std::mem::swap(mine, other);
            std::mem::swap(&mut self.at, &mut theirs.at);
            std::mem::swap(&mut self.until, &mut theirs.until);
            std::mem::swap(&mut self.of, &mut theirs.of);
        }
        mine.crossed |= other.crossed || self.of != theirs.of;
        for goal in std::mem::take(&mut other.goals) {
            let is_new = mine.goals.iter().all(|known| known.id != goal.id);
            if is_new && mine.goals.len() < MAX_GOALS && (self.at..self.until).contains(&goal.at) {
                mine.goals.push(goal);
            }
        }
    }
}
