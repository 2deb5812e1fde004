//! Which arm a customer is in: drawn from the customer and a salt alone, so that everybody who draws draws the same.

use compact_str::CompactString;
use sha2::{Digest, Sha256};

use super::packed::bytes::{Bytes, Damaged};
use super::packed::words::Words;
use super::recent::{push_word, read_word};
use crate::touchpoint::Identity;

/// So many buckets there are: hundredths of a percent.
pub const BUCKETS: u32 = 10_000;
/// What draws of this kind begin with. Never to be changed: arms must stay the same for ever.
const DRAW: &[u8] = b"sillage.arm.1";

/// Whether a customer gets an intervention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arm {
    /// The customer gets it.
    Treated,
    /// The customer is left alone, for comparison with those who get it.
    HeldOut,
    /// The customer is left alone by all interventions.
    HeldOutOfAll,
}

impl Arm {
    /// Whether the customer gets nothing.
    pub fn is_held_out(self) -> bool {
        match self {
            Arm::Treated => false,
            Arm::HeldOut | Arm::HeldOutOfAll => true,
        }
    }

    /// The word in outcomes.
    pub fn as_str(self) -> &'static str {
        match self {
            Arm::Treated => "treated",
            Arm::HeldOut => "held-out",
            Arm::HeldOutOfAll => "held-out-of-all",
        }
    }
}

/// The customer's bucket, from 0 to 9,999: evenly spread, and for another salt another one.
pub fn bucket(salt: &str, identity: &Identity) -> u32 {
    let kind = identity.kind.as_str();
    let mut hash = Sha256::new().chain_update(DRAW);
    for part in [salt, kind, &identity.id] {
        hash = hash.chain_update([0]).chain_update(part.as_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    let scaled = (u128::from(u64::from_be_bytes(first)) * u128::from(BUCKETS)) >> 64;
    scaled as u32
}

/// The place of the variant that a bucket draws among those with these weights. The first `held_out` buckets draw none: the
/// hold-out lies below, so that a larger one only adds customers to it.
pub fn variant(bucket: u32, held_out: u32, weights: impl Iterator<Item = u32> + Clone) -> Option<usize> {
    let place = u64::from(bucket.checked_sub(held_out)?);
    let whole: u64 = weights.clone().map(u64::from).sum();
    let mut below = 0;
    weights.into_iter().position(|weight| {
        below += u64::from(weight);
        place * whole < below * u64::from(BUCKETS - held_out)
    })
}

/// Appends a word that may be absent.
pub(super) fn pack_word(word: Option<&CompactString>, words: &mut Words, out: &mut Vec<u8>) {
    out.push(u8::from(word.is_some()));
    if let Some(word) = word {
        push_word(out, words, word);
    }
}

/// Reads what [`pack_word`] wrote.
pub(super) fn open_word(bytes: &mut Bytes<'_>, words: &Words) -> Result<Option<CompactString>, Damaged> {
    if flag(bytes)? { read_word(bytes, words).map(Some) } else { Ok(None) }
}

/// Appends an arm and its variant.
pub(super) fn pack_arm(arm: Arm, variant: Option<&CompactString>, words: &mut Words, out: &mut Vec<u8>) {
    out.push(match arm {
        Arm::Treated => 0,
        Arm::HeldOut => 1,
        Arm::HeldOutOfAll => 2,
    });
    pack_word(variant, words, out);
}

/// Reads what [`pack_arm`] wrote.
pub(super) fn open_arm(bytes: &mut Bytes<'_>, words: &Words) -> Result<(Arm, Option<CompactString>), Damaged> {
    let arm = match bytes.byte()? {
        0 => Arm::Treated,
        1 => Arm::HeldOut,
        2 => Arm::HeldOutOfAll,
        _ => return Err(Damaged),
    };
    Ok((arm, open_word(bytes, words)?))
}

/// Reads a byte that says yes or no.
pub(super) fn flag(bytes: &mut Bytes<'_>) -> Result<bool, Damaged> {
    match bytes.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `salt kind id bucket`, a line each: whoever draws elsewhere can hold itself against it.
    const VECTORS: &str = include_str!("../../tests/arms.txt");

    #[test]
    fn buckets_are_those_of_the_vectors() {
        let mut lines = 0;
        for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
            let [salt, kind, id, expected] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let identity = if kind == "customer" { Identity::customer(id) } else { Identity::anonymous(id) };
            assert_eq!(bucket(salt, &identity).to_string(), expected, "{line}");
            lines += 1;
        }
        assert!(lines >= 4);
    }

    #[test]
    fn variants_share_what_the_hold_out_leaves() {
        let weights = || [1, 3].into_iter();
        let mut counts = [0; 3];
        for bucket in 0..BUCKETS {
            counts[variant(bucket, 1_000, weights()).map_or(2, |place| place)] += 1;
        }
        assert_eq!(counts, [2_250, 6_750, 1_000]);
        assert_eq!(variant(5, 0, std::iter::empty()), None);
    }
}
