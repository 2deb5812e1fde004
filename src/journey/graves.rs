//! Who was erased lately, as hashes: what another shard was still handing over when somebody was erased must not bring them back.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::packed::bytes::{Bytes, Damaged, push_number, push_signed};
use crate::time::{Span, Timestamp};
use crate::touchpoint::Identity;

/// For so long an erasure is remembered: as long as the hand-off topic keeps records.
const KEPT: Span = Span::from_days(7);
/// At most so many erasures are remembered in one shard; of more, the oldest is forgotten.
pub(super) const MAX_GRAVES: usize = 16_384;
/// What is hashed begins with this. Never to be changed: graves that were dug before must be found.
const GRAVE: &[u8] = b"sillage.grave.1";

/// Erasures by the hash of who was erased: the log time of the latest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graves(BTreeMap<[u8; 16], Timestamp>);

impl Graves {
    /// Remembers that somebody was erased; forgets erasures of long before.
    pub fn dig(&mut self, who: &Identity, at: Timestamp) {
        let known = self.0.entry(hash(who)).or_insert(at);
        *known = at.max(*known);
        self.0.retain(|_, erased| *erased + KEPT >= at);
        while self.0.len() > MAX_GRAVES {
            let oldest = self.0.iter().min_by_key(|(hash, erased)| (**erased, **hash)).map(|(hash, _)| *hash);
            oldest.map(|oldest| self.0.remove(&oldest));
        }
    }

    /// Whether somebody was erased when this had entered the log already.
    pub fn hold(&self, who: &Identity, entered: Timestamp) -> bool {
        !self.0.is_empty() && self.0.get(&hash(who)).is_some_and(|erased| entered <= *erased)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Appends all of them; nothing where there is none.
    pub(super) fn pack(&self, out: &mut Vec<u8>) {
        if self.0.is_empty() {
            return;
        }
        push_number(out, self.0.len() as u64);
        for (hash, at) in &self.0 {
            out.extend_from_slice(hash);
            push_signed(out, at.as_millis());
        }
    }

    /// Reads what [`Graves::pack`] wrote.
    pub(super) fn open(&mut self, mut bytes: Bytes<'_>) -> Result<(), Damaged> {
        self.clear();
        for _ in 0..bytes.count()? {
            let hash = bytes.array()?;
            self.0.insert(hash, Timestamp::from_millis(bytes.signed()?));
        }
        if bytes.is_empty() { Ok(()) } else { Err(Damaged) }
    }
}

fn hash(who: &Identity) -> [u8; 16] {
    let parts = [who.kind.as_str(), who.id.as_str()];
    let hash = parts
        .into_iter()
        .fold(Sha256::new().chain_update(GRAVE), |hash, part| hash.chain_update([0]).chain_update(part.as_bytes()));
    let mut first = [0; 16];
    first.copy_from_slice(&hash.finalize()[..16]);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(0) + Span::from_secs(seconds)
    }

    #[test]
    fn what_entered_before_the_erasure_is_held_and_nobody_elses() {
        let (who, mut graves) = (Identity::customer("c"), Graves::default());
        graves.dig(&who, at(10));
        graves.dig(&who, at(5));
        assert!(graves.hold(&who, at(10)) && !graves.hold(&who, at(11)), "the latest counts");
        assert!(!graves.hold(&Identity::anonymous("c"), at(10)) && !graves.hold(&Identity::customer("d"), at(10)));
    }

    #[test]
    fn an_erasure_is_forgotten_after_a_week_or_when_there_are_too_many() {
        let (who, mut graves) = (Identity::customer("c"), Graves::default());
        graves.dig(&who, at(0));
        graves.dig(&Identity::customer("d"), at(7 * 86_400));
        assert!(graves.hold(&who, at(0)));
        graves.dig(&Identity::customer("e"), at(7 * 86_400 + 1));
        assert!(!graves.hold(&who, at(0)));
        for number in 0..MAX_GRAVES as i64 {
            graves.dig(&Identity::customer(number.to_string()), at(7 * 86_400 + 2 + number / 1_000));
        }
        assert_eq!(graves.0.len(), MAX_GRAVES);
        assert!(!graves.hold(&Identity::customer("d"), at(0)) && graves.hold(&Identity::customer("0"), at(0)));
    }

    #[test]
    fn what_is_packed_is_read_and_a_part_of_it_is_refused() {
        let (mut graves, mut packed, mut read) = (Graves::default(), Vec::new(), Graves::default());
        graves.pack(&mut packed);
        assert!(packed.is_empty(), "nobody pays for what is not there");
        graves.dig(&Identity::customer("c"), at(10));
        graves.dig(&Identity::anonymous("a"), at(12));
        graves.pack(&mut packed);
        assert_eq!((read.open(Bytes(&packed)), &read), (Ok(()), &graves));
        assert!(!String::from_utf8_lossy(&packed).contains("anonymous"));
        for end in 0..packed.len() {
            assert_eq!(read.open(Bytes(&packed[..end])), Err(Damaged), "{end}");
        }
    }
}
