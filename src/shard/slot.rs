//! The handle of a customer's row in its shard: what the wheel and the lists of a shard hold instead of an identity.

/// The place of a row among the rows of its shard. Says nothing outside of it, is never stored, and may be another customer's
/// once the first has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u32);

impl Slot {
    /// The handle of the row at this index.
    pub fn new(index: usize) -> Self {
        Slot(u32::try_from(index).unwrap_or_else(|_| unreachable!("a shard has fewer than 2^32 rows")))
    }

    /// The index of its row.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
