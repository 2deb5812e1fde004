//! A number that a source does not send as such, but as a list of parts: the products of a basket, each with its price.

use std::fmt;

use compact_str::CompactString;

use super::{Decimal, Value};

/// What is summed up over the objects of a list: `products[].price`, or `products[].price * quantity`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SumOfList {
    /// The property that is a list, by its dotted name.
    pub list: CompactString,
    /// The entry of each of its objects that is added, by its dotted name.
    pub entry: CompactString,
    /// The entry by which that is multiplied, as it is written beside it. An object without it counts once.
    pub times: Option<CompactString>,
}

/// Sums are exact to so many parts of one: what binary fractions add to decimal ones is rounded away.
const PARTS: f64 = 1e6;

impl SumOfList {
    /// Reads `LIST[].ENTRY` or `LIST[].ENTRY * ENTRY`.
    pub fn parse(text: &str) -> Option<Self> {
        let (list, entries) = text.split_once("[].")?;
        let (entry, times) = match entries.split_once('*') {
            Some((entry, times)) => {
                let times = times.trim_start();
                // Whoever names the list again means the same.
                let again = times.strip_prefix(list).and_then(|times| times.strip_prefix("[]."));
                (entry.trim_end(), Some(again.unwrap_or(times)))
            }
            None => (entries, None),
        };
        let is_name = |name: &str| {
            let odd = |c: char| c.is_whitespace() || matches!(c, '*' | '[' | ']');
            !name.is_empty() && !name.contains(odd)
        };
        let fits = is_name(list) && is_name(entry) && times.is_none_or(is_name);
        fits.then(|| SumOfList { list: list.into(), entry: entry.into(), times: times.map(CompactString::from) })
    }
}

impl fmt::Display for SumOfList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[].{}", self.list, self.entry)?;
        self.times.iter().try_for_each(|times| write!(f, " * {times}"))
    }
}

/// A sum while the list is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunningSum(Option<f64>);

/// Something stands where a number is to be added or multiplied by, and is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoNumber {
    /// In the entry that is added.
    Entry,
    /// In the one that it is multiplied by.
    Times,
}

impl RunningSum {
    /// Adds an object: what stands in its entry, and in the one that it is multiplied by, where that is there. An object without
    /// anything in its entry adds nothing.
    ///
    /// # Errors
    /// What stands there is no number; the sum is what it was.
    pub fn add(&mut self, entry: Option<&Value>, times: Option<&Value>, decimal: Decimal) -> Result<(), NoNumber> {
        let number = |value: Option<&Value>, missed| {
            let value = value.filter(|value| !value.is_blank());
            value.map(|value| value.as_number(decimal).ok_or(missed)).transpose()
        };
        let times = number(times, NoNumber::Times)?.unwrap_or(1.0);
        if let Some(amount) = number(entry, NoNumber::Entry)? {
            self.0 = Some(self.0.unwrap_or_default() + amount * times);
        }
        Ok(())
    }

    /// The sum; `None` where no object had a number, or the sum is none.
    pub fn total(self) -> Option<f64> {
        let sum = self.0?;
        let rounded = (sum * PARTS).round() / PARTS;
        // So large, there are no fractions to round.
        let total = if rounded.is_finite() { rounded } else { sum };
        total.is_finite().then_some(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_read_as_it_is_written() {
        for text in ["products[].price", "products[].price * quantity", "cart.lines[].price.amount * qty"] {
            assert_eq!(SumOfList::parse(text).map(|sum| sum.to_string()).as_deref(), Some(text));
        }
        let tight = SumOfList::parse("products[].price*quantity").map(|sum| sum.to_string());
        assert_eq!(tight.as_deref(), Some("products[].price * quantity"));
        let again = SumOfList::parse("products[].price * products[].quantity").map(|sum| sum.to_string());
        assert_eq!(again.as_deref(), Some("products[].price * quantity"));
        for text in [
            "",
            "price",
            "products[]",
            "products[].",
            "[].price",
            "a[].b[].c",
            "a[].b *",
            "a[].b * c * d",
            "a[].b * x[].c",
            "a b[].c",
        ] {
            assert_eq!(SumOfList::parse(text), None, "{text}");
        }
    }

    #[test]
    fn decimal_amounts_add_up_to_decimal_amounts() {
        let text = |text: &str| Value::Text(text.into());
        let sum = |parts: &[(Option<Value>, Option<Value>)]| {
            let mut sum = RunningSum::default();
            let added = parts.iter().map(|(entry, times)| sum.add(entry.as_ref(), times.as_ref(), Decimal::Point));
            let missed = added.filter_map(Result::err).collect::<Vec<_>>();
            (sum.total(), missed)
        };
        let number = |number: f64| Some(Value::Number(number));
        let none = Vec::new;
        assert_eq!(sum(&[(number(0.1), None), (number(0.2), None)]), (Some(0.3), none()));
        assert_eq!(sum(&[(number(19.9), number(3.0)), (Some(text("5.05")), Some(text("2")))]), (Some(69.8), none()));
        assert_eq!(
            sum(&[(None, number(3.0)), (Some(text(" ")), None), (number(4.0), Some(text(" ")))]),
            (Some(4.0), none())
        );
        assert_eq!(sum(&[(None, None), (number(4.0), Some(text("some")))]), (None, vec![NoNumber::Times]));
        assert_eq!(sum(&[(Some(text("free")), None)]), (None, vec![NoNumber::Entry]));
        assert_eq!(sum(&[]), (None, none()));
        assert_eq!(sum(&[(number(1e308), None)]), (Some(1e308), none()));
        assert_eq!(sum(&[(number(1e308), number(10.0))]), (None, none()));
    }
}
