//! Which properties of touchpoints anybody reads; the others are skipped where they stand, without being made into values.
//!
//! Knows models only as far as they say what they read.

use std::collections::BTreeMap;

use compact_str::CompactString;

use super::losses::Expected;
use crate::model::Model;
use crate::touchpoint::{Decimal, SumOfList};

/// Which properties of a record are to be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there are few, and a worker keeps one")]
pub enum Wanted {
    /// All of them: for whoever shows touchpoints or passes them on.
    All,
    /// Those that somebody reads. The others are left out, and cannot make a record unusable.
    Only(Names),
}

/// Names of properties, looked up for each property of each record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    names: Table,
    /// What their values must be, in the order of the names.
    expected: Box<[Expected]>,
    /// What stands before a dot of a name, each once: objects of these names are looked into.
    above: Table,
    /// What is summed up over lists: few, and mostly none.
    sums: Box<[Sum]>,
    /// Some are amounts without a currency of the model.
    needs_currency: bool,
}

/// A property whose value is summed up over a list, where a record has none of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) name: CompactString,
    pub(super) of: SumOfList,
    pub(super) decimal: Decimal,
}

impl Sum {
    /// What its parts must be, in words.
    pub(super) fn expected(&self) -> &'static str {
        match self.decimal {
            Decimal::Point => "a number in each entry",
            Decimal::Comma => "a number with a decimal comma in each entry",
        }
    }
}

/// Names by their [`mark`]: most that nobody wants have one of their own, and are known by it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Table {
    names: Box<[Box<str>]>,
    /// Where the names of each mark begin, and where those of the last end.
    begins: [usize; MARKS + 1],
}

/// So many marks there are.
const MARKS: usize = 64;

impl Default for Table {
    fn default() -> Self {
        Table { names: Box::default(), begins: [0; MARKS + 1] }
    }
}

impl Table {
    fn new(names: impl IntoIterator<Item = Box<str>>) -> Self {
        let mut names: Vec<Box<str>> = names.into_iter().collect();
        names.sort_unstable_by(|left, right| (mark(left), left).cmp(&(mark(right), right)));
        names.dedup();
        let mut begins = [names.len(); MARKS + 1];
        for (at, name) in names.iter().enumerate().rev() {
            begins[..=mark(name)].fill(at);
        }
        Table { names: names.into(), begins }
    }

    fn place(&self, name: &str) -> Option<usize> {
        let mark = mark(name);
        let begin = self.begins[mark];
        let place = self.names[begin..self.begins[mark + 1]].iter().position(|known| **known == *name)?;
        Some(begin + place)
    }
}

/// What is wanted of the property of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interest {
    /// Its value, where it is no object.
    pub(super) value: bool,
    /// If it is an object, something within.
    pub(super) within: bool,
    /// If it is a list, something is summed up over it.
    pub(super) summed: bool,
    /// What the value must be to be of use to those who read it.
    pub(super) expected: Expected,
}

impl Interest {
    pub(super) const NONE: Interest = Interest { value: false, within: false, summed: false, expected: Expected::ANYTHING };
}

impl Wanted {
    /// The properties that these models read.
    pub fn of<'a>(models: impl IntoIterator<Item = &'a Model>) -> Wanted {
        let mut expected: BTreeMap<CompactString, Expected> = BTreeMap::new();
        let mut sums: Vec<Sum> = Vec::new();
        for model in models {
            let of_model = model.sums_of_lists.iter().map(|(name, of)| {
                let decimal = model.form(name).decimal;
                Sum { name: name.clone(), of: of.clone(), decimal }
            });
            sums.extend(of_model);
            for (name, declared) in model.properties.iter().zip(&model.declared) {
                let expects = Expected::of(model, name, *declared);
                expected.entry(name.clone()).and_modify(|known| *known = known.and(expects)).or_insert(expects);
            }
        }
        // Where models do not agree, the first of them counts.
        sums.sort_by(|left, right| left.name.cmp(&right.name));
        sums.dedup_by(|later, first| later.name == first.name);
        Wanted::expecting(expected, sums)
    }

    /// The properties of these names, whatever their values are.
    pub fn only(names: impl IntoIterator<Item = CompactString>) -> Wanted {
        Wanted::expecting(names.into_iter().map(|name| (name, Expected::ANYTHING)).collect(), Vec::new())
    }

    fn expecting(properties: BTreeMap<CompactString, Expected>, sums: Vec<Sum>) -> Wanted {
        let names = Table::new(properties.keys().map(|name| name.as_str().into()));
        let expected = names.names.iter().map(|name| properties.get(&**name).copied().unwrap_or_default()).collect();
        let lists = sums.iter().map(|sum| sum.of.list.as_str());
        let looked_at = names.names.iter().map(|name| &**name).chain(lists);
        let dots = looked_at.flat_map(|name| name.match_indices('.').map(|(at, _)| name[..at].into()));
        let above = Table::new(dots.collect::<Vec<_>>());
        let needs_currency = properties.values().any(|expected| expected.lacks_currency());
        Wanted::Only(Names { names, expected, above, sums: sums.into(), needs_currency })
    }

    /// What is wanted of the property of this name.
    pub(super) fn interest(&self, name: &str) -> Interest {
        match self {
            Wanted::All => Interest { value: true, within: true, summed: false, expected: Expected::ANYTHING },
            Wanted::Only(known) => {
                let place = known.names.place(name);
                Interest {
                    value: place.is_some(),
                    // An object without a name leaves its properties their own names.
                    within: name.is_empty() || known.above.place(name).is_some(),
                    summed: known.sums.iter().any(|sum| sum.of.list == name),
                    expected: place.map_or(Expected::ANYTHING, |place| known.expected[place]),
                }
            }
        }
    }

    /// Whether anything is summed up over lists.
    pub(super) fn sums_lists(&self) -> bool {
        !self.sums().is_empty()
    }

    /// What is summed up over lists.
    pub(super) fn sums(&self) -> &[Sum] {
        match self {
            Wanted::All => &[],
            Wanted::Only(known) => &known.sums,
        }
    }

    /// Whether an amount is read for which a model names no currency.
    pub(super) fn needs_currency(&self) -> bool {
        match self {
            Wanted::All => false,
            Wanted::Only(known) => known.needs_currency,
        }
    }

    /// So many values of one record can be wanted, each name once; `None` where all are.
    pub(super) fn most(&self) -> Option<usize> {
        match self {
            Wanted::All => None,
            Wanted::Only(known) => Some(known.expected.len()),
        }
    }
}

/// A number below [`MARKS`], by the length and the ends of a name.
fn mark(name: &str) -> usize {
    let bytes = name.as_bytes();
    let ends = bytes.first().zip(bytes.last()).map_or(0, |(first, last)| first.wrapping_mul(7) ^ last.wrapping_mul(3));
    (usize::from(ends) + bytes.len()) % MARKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_whole_and_by_what_they_are_within() {
        let wanted = Wanted::only(["cart.items.total", "cart", "sku", "sku"].map(CompactString::from));
        for (name, value, within) in [
            ("cart", true, true),
            ("cart.items", false, true),
            ("cart.items.total", true, false),
            ("sku", true, false),
            ("", false, true),
            ("items", false, false),
            ("car", false, false),
            ("cart.", false, false),
            ("uks", false, false),
        ] {
            let interest = |value, within| Interest { value, within, ..Interest::NONE };
            assert_eq!(wanted.interest(name), interest(value, within), "{name}");
            assert_eq!(Wanted::All.interest(name), interest(true, true));
        }
    }
}
