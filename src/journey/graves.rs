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
/// What is hashed begins with this. Never to be changed: what was remembered before must be found.
const GRAVE: &[u8] = b"sillage.grave.1";

/// Erasures by the hash of who was erased.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graves(BTreeMap<[u8; 16], Grave>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Grave {
    /// Log time of the latest erasure.
    at: Timestamp,
    /// Of an anonymous id: a customer, or several, had claimed it.
    was_claimed: bool,
}

impl Graves {
    /// Remembers that somebody was erased.
    pub fn remember(&mut self, who: &Identity, at: Timestamp, was_claimed: bool) {
        let known = self.0.entry(hash(who)).or_insert(Grave { at, was_claimed });
        *known = Grave { at: at.max(known.at), was_claimed: known.was_claimed || was_claimed };
        if self.0.len() > MAX_GRAVES {
            let oldest = self.0.iter().min_by_key(|(hash, grave)| (grave.at, **hash)).map(|(hash, _)| *hash);
            oldest.map(|oldest| self.0.remove(&oldest));
        }
    }

    /// Forgets the erasures of long before.
    pub fn forget(&mut self, now: Timestamp) {
        self.0.retain(|_, grave| grave.at + KEPT > now);
    }

    /// When the next of them is to be forgotten.
    pub fn next_end(&self) -> Option<Timestamp> {
        self.0.values().map(|grave| grave.at + KEPT).min()
    }

    /// Whether somebody was erased when this had entered the log already.
    pub fn was_erased_since(&self, who: &Identity, entered: Timestamp) -> bool {
        self.get(who).is_some_and(|grave| entered <= grave.at)
    }

    /// Whether an anonymous id that was erased had been claimed by then.
    pub fn was_claimed(&self, anonymous: &Identity) -> bool {
        self.get(anonymous).is_some_and(|grave| grave.was_claimed)
    }

    fn get(&self, who: &Identity) -> Option<&Grave> {
        if self.0.is_empty() { None } else { self.0.get(&hash(who)) }
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
        for (hash, grave) in &self.0 {
            out.extend_from_slice(hash);
            out.push(u8::from(grave.was_claimed));
            push_signed(out, grave.at.as_millis());
        }
    }

    /// Reads what [`Graves::pack`] wrote.
    pub(super) fn open(&mut self, mut bytes: Bytes<'_>) -> Result<(), Damaged> {
        self.clear();
        for _ in 0..bytes.count()? {
            let hash = bytes.array()?;
            let was_claimed = match bytes.byte()? {
                0 => false,
                1 => true,
                _ => return Err(Damaged),
            };
            self.0.insert(hash, Grave { at: Timestamp::from_millis(bytes.signed()?), was_claimed });
        }
        if bytes.is_empty() { Ok(()) } else { Err(Damaged) }
    }
}

fn hash(who: &Identity) -> [u8; 16] {
    let mut hash = Sha256::new().chain_update(GRAVE);
    for part in [who.kind.as_str(), who.id.as_str()] {
        hash = hash.chain_update([0]).chain_update(part.as_bytes());
    }
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
    fn what_entered_before_the_erasure_is_told_and_nobody_elses() {
        let (who, mut graves) = (Identity::customer("c"), Graves::default());
        graves.remember(&who, at(10), false);
        graves.remember(&who, at(5), false);
        assert!(graves.was_erased_since(&who, at(10)) && !graves.was_erased_since(&who, at(11)), "the latest counts");
        for other in [Identity::anonymous("c"), Identity::customer("d")] {
            assert!(!graves.was_erased_since(&other, at(10)));
        }
        assert!(!graves.was_claimed(&who));
        graves.remember(&who, at(4), true);
        assert!(graves.was_claimed(&who));
    }

    #[test]
    fn an_erasure_is_forgotten_after_a_week_or_when_there_are_too_many() {
        const WEEK: i64 = 7 * 86_400;
        let (who, mut graves) = (Identity::customer("c"), Graves::default());
        assert_eq!(graves.next_end(), None);
        graves.remember(&who, at(0), false);
        graves.remember(&Identity::customer("d"), at(1), false);
        assert_eq!(graves.next_end(), Some(at(WEEK)));
        graves.forget(at(WEEK - 1));
        assert!(graves.was_erased_since(&who, at(0)));
        graves.forget(at(WEEK));
        assert!(!graves.was_erased_since(&who, at(0)) && !graves.0.is_empty());
        for number in 0..MAX_GRAVES as i64 {
            graves.remember(&Identity::customer(number.to_string()), at(2 + number / 1_000), false);
        }
        assert_eq!(graves.0.len(), MAX_GRAVES);
        let is_known = |id: &str| graves.was_erased_since(&Identity::customer(id), at(0));
        assert!(!is_known("d") && is_known("0"));
    }

    #[test]
    fn what_is_packed_is_read_and_a_part_of_it_is_refused() {
        let (mut graves, mut packed, mut read) = (Graves::default(), Vec::new(), Graves::default());
        graves.pack(&mut packed);
        assert!(packed.is_empty(), "nobody pays for what is not there");
        graves.remember(&Identity::customer("c"), at(10), false);
        graves.remember(&Identity::anonymous("a"), at(12), true);
        graves.pack(&mut packed);
        assert_eq!((read.open(Bytes(&packed)), &read), (Ok(()), &graves));
        assert!(!String::from_utf8_lossy(&packed).contains("anonymous"));
        for end in 0..packed.len() {
            assert_eq!(read.open(Bytes(&packed[..end])), Err(Damaged), "{end}");
        }
    }
}
