//! Chance, in whole numbers: the same on every machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::figures::Figure;
use crate::time::Span;

/// A source of chance for one chapter of one customer's life. Chapters do not share one, so that what a customer does hangs
/// neither on how many customers there are nor on who comes before whom.
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    pub(super) fn new(seed: u64, customer: u32, chapter: u32) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..12].copy_from_slice(&customer.to_le_bytes());
        bytes[12..16].copy_from_slice(&chapter.to_le_bytes());
        Dice(ChaCha8Rng::from_seed(bytes))
    }

    /// Whether what happens in that share of all cases happens.
    pub(super) fn happens(&mut self, figure: &Figure) -> bool {
        self.below(1_000) < u64::from(figure.permille)
    }

    /// A whole number from `low` to `high`, both included, each as likely as the others.
    pub(super) fn number(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(u64::from(high.saturating_sub(low)) + 1) as u32
    }

    /// One of these.
    pub(super) fn one_of<T: Copy, const N: usize>(&mut self, choices: [T; N]) -> T {
        choices[self.below(N as u64) as usize]
    }

    /// A span from `low` to `high`, each as likely as the others.
    pub(super) fn span(&mut self, low: Span, high: Span) -> Span {
        let width = high.as_millis().saturating_sub(low.as_millis()).max(0).unsigned_abs();
        Span::from_millis(low.as_millis() + self.below(width + 1) as i64)
    }

    /// A span from `low` to `high` as people take their time: short ones often, long ones rarely. Every doubling is as
    /// likely as the others (a logarithm in whole numbers).
    pub(super) fn pause(&mut self, low: Span, high: Span) -> Span {
        let [low, high] = [low, high].map(|span| span.as_millis().max(1).unsigned_abs());
        let octaves = u64::from(high.ilog2() - low.ilog2().min(high.ilog2()));
        let base = low << self.below(octaves + 1);
        Span::from_millis((base + self.below(base)).min(high) as i64)
    }

    /// A whole number below `bound`, for bounds far below 2⁶⁴: the upper half of a product, without a division.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}
