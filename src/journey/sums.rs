//! What interventions have brought about, summed up by arm: integers only, so that whoever adds them up in whatever order has
//! the same. Nobody is in them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use compact_str::CompactString;

use super::arm::{Arm, open_arm, pack_arm};
use super::packed::bytes::{Bytes, Damaged, push_number, push_signed, push_wide};
use super::packed::words::Words;
use super::recent::{push_word, read_word};
use crate::time::Timestamp;
use crate::touchpoint::{Currency, Money};

/// At most so many arms are summed up in one shard; of more, the one measured longest ago is forgotten.
pub(super) const MAX_ARMS: usize = 1_024;
/// At most so many currencies are summed up of one arm.
pub(super) const MAX_CURRENCIES: usize = 8;
/// An amount counts as no more than this, so that no sum of squares overflows: a million million euros.
const MOST: i64 = 100_000_000_000_000;

/// Whose sums they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArmOf {
    /// The intervention: `model/name`.
    pub intervention: CompactString,
    /// The version of its model.
    pub version: u32,
    /// The arm.
    pub arm: Arm,
    /// The variant, of those who were treated with one.
    pub variant: Option<CompactString>,
}

/// What is summed up of one arm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArmSums {
    /// Customers measured.
    pub measured: u64,
    /// Of them, those who reached the goal.
    pub converted: u64,
    /// How often they had reached it in the 30 days before.
    pub before: u64,
    /// The squares of that.
    pub before_squared: u64,
    /// That of those who reached the goal.
    pub before_converted: u64,
    /// By currency: what it was worth, in the order of the currencies.
    pub values: Vec<ValueSums>,
    /// Customers left out since two of their ids had drawn different arms.
    pub crossed: u64,
    /// Customers left out since they were erased before they could be measured.
    pub erased: u64,
    /// What was told of goals after its customer had been measured, and changed nothing.
    pub late: u64,
    /// When the last one was due.
    pub latest: Option<Timestamp>,
}

/// What reaching the goal was worth, in the currency's smallest units: cents of a euro, yen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueSums {
    /// The currency.
    pub currency: Currency,
    /// Customers with a value.
    pub customers: u64,
    /// Their values.
    pub value: i128,
    /// The squares of them.
    pub squared: i128,
    /// Each times how often its customer had reached the goal before.
    pub before: i128,
}

/// One customer's measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Whether the goal was reached.
    pub converted: bool,
    /// What that was worth.
    pub value: Option<Money>,
    /// How often it had been reached in the 30 days before.
    pub before: u64,
    /// When it was due.
    pub due: Timestamp,
}

/// The sums of a shard, or of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums(BTreeMap<ArmOf, ArmSums>);

impl Sums {
    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all of it.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// By arm, in order: what is summed up.
    pub fn iter(&self) -> impl Iterator<Item = (&ArmOf, &ArmSums)> {
        self.0.iter()
    }

    /// The sums of an arm.
    pub fn get(&self, of: &ArmOf) -> Option<&ArmSums> {
        self.0.get(of)
    }

    /// Adds a customer.
    pub fn measure(&mut self, of: ArmOf, measured: Measured) {
        let Measured { converted, value, before, due } = measured;
        let once = u64::from(converted);
        let values = value.map(|value| {
            let units = i128::from(smallest_units(value));
            let (squared, before) = (units * units, units * i128::from(before));
            ValueSums { currency: value.currency, customers: 1, value: units, squared, before }
        });
        let one = ArmSums {
            measured: 1,
            converted: once,
            before,
            before_squared: before.saturating_mul(before),
            before_converted: before * once,
            values: values.into_iter().collect(),
            latest: Some(due),
            ..ArmSums::default()
        };
        self.add(of, &one);
    }

    /// Counts a customer whose arms differ.
    pub(super) fn cross(&mut self, of: ArmOf) {
        self.add(of, &ArmSums { crossed: 1, ..ArmSums::default() });
    }

    /// Counts a customer who was erased.
    pub(super) fn erase(&mut self, of: ArmOf) {
        self.add(of, &ArmSums { erased: 1, ..ArmSums::default() });
    }

    /// Counts what came after its customer had been measured.
    pub(super) fn late(&mut self, of: ArmOf) {
        self.add(of, &ArmSums { late: 1, ..ArmSums::default() });
    }

    /// Adds what was summed up elsewhere.
    pub fn append(&mut self, other: &Sums) {
        for (of, sums) in &other.0 {
            self.add(of.clone(), sums);
        }
    }

    fn add(&mut self, of: ArmOf, sums: &ArmSums) {
        match self.0.entry(of) {
            Entry::Occupied(mut known) => known.get_mut().add(sums),
            Entry::Vacant(free) => {
                free.insert(sums.clone());
            }
        }
        if self.0.len() > MAX_ARMS {
            let oldest = self.0.iter().min_by_key(|(of, sums)| (sums.latest, *of)).map(|(of, _)| of.clone());
            oldest.map(|oldest| self.0.remove(&oldest));
        }
    }

    /// Appends all of it.
    pub(super) fn pack(&self, words: &mut Words, out: &mut Vec<u8>) {
        push_number(out, self.0.len() as u64);
        for (of, sums) in &self.0 {
            push_word(out, words, &of.intervention);
            push_number(out, of.version.into());
            pack_arm(of.arm, of.variant.as_ref(), words, out);
            let ArmSums { measured, converted, before, before_squared, before_converted, .. } = sums;
            let ArmSums { values, crossed, erased, late, latest, .. } = sums;
            for number in
                [measured, converted, before, before_squared, before_converted, crossed, erased, late].into_iter().copied()
            {
                push_number(out, number);
            }
            out.push(u8::from(latest.is_some()));
            latest.iter().for_each(|latest| push_signed(out, latest.as_millis()));
            push_number(out, values.len() as u64);
            for ValueSums { currency, customers, value, squared, before } in values {
                push_word(out, words, currency.as_str());
                push_number(out, *customers);
                [value, squared, before].into_iter().for_each(|sum| push_wide(out, *sum));
            }
        }
    }

    /// Reads what [`Sums::pack`] wrote.
    pub(super) fn open(&mut self, bytes: &mut Bytes<'_>, words: &Words) -> Result<(), Damaged> {
        for _ in 0..bytes.count()? {
            let (intervention, version) = (read_word(bytes, words)?, bytes.small()?);
            let (arm, variant) = open_arm(bytes, words)?;
            let mut sums = ArmSums {
                measured: bytes.number()?,
                converted: bytes.number()?,
                before: bytes.number()?,
                before_squared: bytes.number()?,
                before_converted: bytes.number()?,
                crossed: bytes.number()?,
                erased: bytes.number()?,
                late: bytes.number()?,
                latest: match bytes.byte()? {
                    0 => None,
                    1 => Some(Timestamp::from_millis(bytes.signed()?)),
                    _ => return Err(Damaged),
                },
                values: Vec::new(),
            };
            for _ in 0..bytes.count()? {
                let currency = Currency::parse(&read_word(bytes, words)?).ok_or(Damaged)?;
                let customers = bytes.number()?;
                let (value, squared, before) = (bytes.wide()?, bytes.wide()?, bytes.wide()?);
                sums.values.push(ValueSums { currency, customers, value, squared, before });
            }
            self.0.insert(ArmOf { intervention, version, arm, variant }, sums);
        }
        Ok(())
    }
}

impl ArmSums {
    /// Adds what was summed up elsewhere. Of amounts in too many currencies, those in the last ones by name are left out.
    pub fn add(&mut self, other: &ArmSums) {
        let ArmSums { measured, converted, before, before_squared, before_converted, .. } = other;
        let ArmSums { values, crossed, erased, late, latest, .. } = other;
        self.measured += measured;
        self.converted += converted;
        self.before += before;
        self.before_squared = self.before_squared.saturating_add(*before_squared);
        self.before_converted += before_converted;
        self.crossed += crossed;
        self.erased += erased;
        self.late += late;
        self.latest = self.latest.max(*latest);
        for sums in values {
            match self.values.binary_search_by_key(&sums.currency, |known| known.currency) {
                Ok(place) => {
                    let known = &mut self.values[place];
                    known.customers += sums.customers;
                    known.value = known.value.saturating_add(sums.value);
                    known.squared = known.squared.saturating_add(sums.squared);
                    known.before = known.before.saturating_add(sums.before);
                }
                Err(place) => self.values.insert(place, *sums),
            }
        }
        self.values.truncate(MAX_CURRENCIES);
    }
}

/// An amount in the currency's smallest units, rounded.
fn smallest_units(value: Money) -> i64 {
    let smallest = 1_000_000 / 10_i64.pow(value.currency.decimals());
    let half = if value.micros < 0 { -smallest / 2 } else { smallest / 2 };
    (value.micros.saturating_add(half) / smallest).clamp(-MOST, MOST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn money(micros: i64, currency: &str) -> Money {
        Money { micros, currency: Currency::parse(currency).expect("a currency") }
    }

    fn of(name: &str, arm: Arm) -> ArmOf {
        ArmOf { intervention: name.into(), version: 3, arm, variant: None }
    }

    fn summed(all: &[(u8, Option<i64>, u64, i64)]) -> Sums {
        let mut sums = Sums::default();
        for (arm, micros, before, due) in all {
            let arm = if arm % 2 == 0 { Arm::Treated } else { Arm::HeldOut };
            let value = micros.map(|micros| money(micros, ["EUR", "USD"][usize::from(micros % 2 == 0)]));
            let due = Timestamp::from_millis(*due);
            sums.measure(of("shop/help", arm), Measured { converted: micros.is_some(), value, before: *before, due });
        }
        sums
    }

    proptest! {
        #[test]
        fn the_parts_add_up_to_the_whole_in_whatever_order(
            all in prop::collection::vec((any::<u8>(), prop::option::of(any::<i64>()), 0_u64..500, any::<i32>()), 0..40),
            cut in 0_usize..40,
        ) {
            let all: Vec<_> = all.into_iter().map(|(arm, value, before, due)| (arm, value, before, due.into())).collect();
            let (front, back) = all.split_at(cut.min(all.len()));
            let mut parts = summed(back);
            parts.append(&summed(front));
            prop_assert_eq!(&parts, &summed(&all));
            let (mut words, mut packed, mut read) = (Words::default(), Vec::new(), Sums::default());
            parts.pack(&mut words, &mut packed);
            let mut bytes = Bytes(&packed);
            prop_assert_eq!(read.open(&mut bytes, &words), Ok(()));
            prop_assert!(bytes.is_empty());
            prop_assert_eq!(read, parts);
        }
    }

    #[test]
    fn amounts_are_summed_up_in_the_smallest_units_of_their_currency() {
        for (micros, currency, expected) in [
            (1_234_567, "EUR", 123),
            (1_235_000, "EUR", 124),
            (-1_235_000, "EUR", -124),
            (1_500_000, "JPY", 2),
            (-1_499_999, "JPY", -1),
            (1_234_500, "KWD", 1_235),
            (i64::MAX, "EUR", MOST),
            (i64::MIN, "KWD", -MOST),
        ] {
            assert_eq!(smallest_units(money(micros, currency)), expected, "{micros} {currency}");
        }
        let sums = summed(&[(0, Some(19_900_001), 2, 7), (0, None, 1, 9), (0, Some(5_000_001), 0, 8)]);
        let arm = sums.get(&of("shop/help", Arm::Treated)).expect("summed up");
        let value =
            ValueSums { currency: arm.values[0].currency, customers: 2, value: 2_490, squared: 4_210_100, before: 3_980 };
        let expected = ArmSums {
            measured: 3,
            converted: 2,
            before: 3,
            before_squared: 5,
            before_converted: 2,
            values: vec![value],
            latest: Some(Timestamp::from_millis(9)),
            ..ArmSums::default()
        };
        assert_eq!(*arm, expected);
    }

    #[test]
    fn of_too_many_arms_the_one_measured_longest_ago_is_forgotten() {
        let mut sums = Sums::default();
        for version in 0..MAX_ARMS as u32 + 2 {
            let due = Timestamp::from_millis(i64::from(version));
            let arm = ArmOf { version, ..of("shop/help", Arm::Treated) };
            sums.measure(arm, Measured { converted: false, value: None, before: 0, due });
        }
        assert_eq!(sums.0.len(), MAX_ARMS);
        assert_eq!(sums.iter().next().map(|(of, _)| of.version), Some(2));
    }
}
