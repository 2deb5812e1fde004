//! Synthetic load whose customers behave by the figures of the source articles; seeded: same seed, same touchpoints.
//!
//! A [`Load`] is an endless stream of touchpoints in the order of their event times, computed from whole numbers only, so
//! that a seed gives the same bytes on every machine. It lives in natural time: a basket is left for hours, an answer is
//! awaited for minutes; who wants it faster runs a faster clock. Pure: knows no clock, no file, no topic.

mod deed;
mod dice;
pub mod figures;
mod life;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::time::{Span, Timestamp};
use crate::touchpoint::{Identity, Touchpoint};

use dice::Dice;
use life::Life;

/// How long before the start the lives of a shop in full swing began: longer than most of them take from first sight to
/// the end of service, so that every stage is peopled.
const SWING: Span = Span::from_days(21);

/// What a load is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Same seed and settings, same touchpoints.
    pub seed: u64,
    /// How many customers there are; the load is endless for any number but none.
    pub customers: u32,
    /// No touchpoint happens before.
    pub start: Timestamp,
    /// What the customers did before the start.
    pub opening: Opening,
}

/// What the customers did before the load starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Nothing: the first sees its first message at the start, the last so much later.
    AllNew {
        /// Within what span they turn up.
        within: Span,
    },
    /// All sorts: the shop has been open for weeks, and customers are found in the midst of their journeys.
    InFullSwing,
}

/// Touchpoints in the order of their event times; of two at the same instant, the lower customer's comes first.
pub struct Load {
    seed: u64,
    lives: Vec<Life>,
    /// The next instant of every customer, with its number; and instants at which somebody was to do something before an offer
    /// came.
    due: BinaryHeap<Reverse<(Timestamp, u32)>>,
}

impl Load {
    /// Begins the load. Takes time and memory by the number of customers (about 300 bytes each).
    pub fn new(settings: &Settings) -> Self {
        let Settings { seed, customers, start, opening } = *settings;
        let mut lives: Vec<Life> = Vec::new();
        for number in 0..customers {
            let mut dice = Dice::new(seed, number, 0);
            let mut life = match opening {
                Opening::AllNew { within } => Life::new(number, start + dice.span(Span::ZERO, within), &mut dice),
                Opening::InFullSwing => Life::new(number, start - dice.span(Span::ZERO, SWING), &mut dice),
            };
            while life.due(seed) < start {
                life.skip();
            }
            lives.push(life);
        }
        let due = lives.iter_mut().zip(0..).map(|(life, number)| Reverse((life.due(seed), number))).collect();
        Load { seed, lives, due }
    }

    /// When the next touchpoint happens; `None` where there are no customers.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    /// Something is offered to a customer; `now` must not lie before a touchpoint already returned. Some of those who have left a
    /// basket or a checkout come back to it; who is not of this load hears nothing.
    pub fn offer(&mut self, to: &Identity, now: Timestamp) {
        let number = to.id.get(2..).and_then(|number| number.parse::<u32>().ok());
        let Some((number, life)) = number.and_then(|number| Some((number, self.lives.get_mut(number as usize)?))) else {
            return;
        };
        if life.hear_offer(now, self.seed) {
            self.due.push(Reverse((life.due(self.seed), number)));
            self.drop_what_is_not_due();
        }
    }

    /// Who comes back for an offer does not do what was planned before.
    fn drop_what_is_not_due(&mut self) {
        while let Some(Reverse((due, number))) = self.due.peek()
            && self.lives.get_mut(*number as usize).is_none_or(|life| life.due(self.seed) != *due)
        {
            self.due.pop();
        }
    }
}

impl Iterator for Load {
    type Item = Touchpoint;

    fn next(&mut self) -> Option<Touchpoint> {
        let mut first = self.due.peek_mut()?;
        let Reverse((_, number)) = *first;
        let life = self.lives.get_mut(number as usize)?;
        let touchpoint = life.act(self.seed)?;
        *first = Reverse((life.due(self.seed), number));
        drop(first);
        self.drop_what_is_not_due();
        Some(touchpoint)
    }
}

#[cfg(test)]
mod tests;
