//! What a record loses that can be used all the same: a bad part costs that part, and is counted by what was wrong with it.
//! And values that are nothing of what the models declare: counted by property, with an example.
//!
//! A record without losses allocates nothing here.

use compact_str::CompactString;

use crate::model::written::Kind;
use crate::model::{Declared, Model};
use crate::time::Zone;
use crate::touchpoint::{Currency, Decimal, MAX_AMOUNT, Unit, Value};

/// A part of a record that was lost, or mended so that the rest is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// A text with half a surrogate, bytes that are no UTF-8 or an escape that JSON does not know: U+FFFD stands there. Or
    /// with a control character: it stays.
    Text,
    /// A number that is none (`NaN`, `Infinity`) or that no 64-bit float can hold: nothing stands there.
    Number,
    /// A text beyond [`crate::touchpoint::MAX_TEXT_BYTES`]: it ends there.
    Long,
    /// A property beyond those that are kept: left out.
    Limit,
    /// A property with a name beyond [`crate::touchpoint::MAX_NAME_BYTES`]: left out.
    Name,
    /// A channel or a session that is no text, or too long a one: left out.
    Field,
}

impl Loss {
    /// All of them, in the order of their counts.
    pub const ALL: [Loss; 6] = [Loss::Text, Loss::Number, Loss::Long, Loss::Limit, Loss::Name, Loss::Field];

    /// The word for it in metrics and summaries.
    pub fn word(self) -> &'static str {
        match self {
            Loss::Text => "broken-text",
            Loss::Number => "no-number",
            Loss::Long => "long-text",
            Loss::Limit => "too-many-properties",
            Loss::Name => "long-name",
            Loss::Field => "channel-or-session",
        }
    }
}

/// A value that is nothing of what its property is declared to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The property.
    pub property: CompactString,
    /// What it must be, in words.
    pub expected: &'static str,
    /// How the value is written, or the beginning of that.
    pub example: CompactString,
}

/// What one record lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    counts: [u32; Loss::ALL.len()],
    /// Values that are nothing of what the models declare, each property once.
    pub misfits: Vec<Misfit>,
}

impl Losses {
    /// How often something was lost for this reason.
    pub fn count(&self, loss: Loss) -> u32 {
        self.counts[loss as usize]
    }

    pub(super) fn add(&mut self, loss: Loss, count: u32) {
        let known = &mut self.counts[loss as usize];
        *known = known.saturating_add(count);
    }
}

/// What was lost so far; nothing, mostly.
pub(super) type Lost = Option<Box<Losses>>;

pub(super) fn lose(lost: &mut Lost, loss: Loss) {
    lost.get_or_insert_default().add(loss, 1);
}

/// What the value of a property must be to be of use to all who read it, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Expected(u16);

impl Expected {
    pub(super) const ANYTHING: Expected = Expected(0);
    const NUMBER: Expected = Expected(1);
    /// A number whose texts have a decimal comma.
    const COMMA: Expected = Expected(1 << 1);
    const TEXT: Expected = Expected(1 << 2);
    const FLAG: Expected = Expected(1 << 3);
    const INSTANT: Expected = Expected(1 << 4);
    /// An instant, by somebody who has no time zone to read local times in.
    const ABSOLUTE: Expected = Expected(1 << 5);
    const ID: Expected = Expected(1 << 6);
    const CURRENCY: Expected = Expected(1 << 7);
    /// An amount of whole units, which is bounded.
    const AMOUNT: Expected = Expected(1 << 8);
    /// An amount by somebody who has no currency for it.
    const UNPRICED: Expected = Expected(1 << 9);

    /// What a model expects of a property.
    pub(super) fn of(model: &Model, name: &str, declared: Declared) -> Expected {
        let amount = match declared.kind {
            Some(Kind::Money) if model.currency.is_none() => Expected::UNPRICED,
            _ => Expected::ANYTHING,
        };
        let bounded = match (declared.kind, declared.form.unit) {
            (Some(Kind::Money), Unit::Whole) => Expected::AMOUNT,
            _ => Expected::ANYTHING,
        };
        let kind = match declared.kind {
            Some(Kind::Number | Kind::Money) => match declared.form.decimal {
                Decimal::Point => Expected::NUMBER,
                Decimal::Comma => Expected::COMMA,
            },
            Some(Kind::Text) => Expected::TEXT,
            Some(Kind::Flag) => Expected::FLAG,
            Some(Kind::Instant) if model.zone.is_some() => Expected::INSTANT,
            Some(Kind::Instant) => Expected::ABSOLUTE,
            None if name == crate::touchpoint::CURRENCY => Expected::CURRENCY,
            None => Expected::ANYTHING,
        };
        let kind = kind.and(amount).and(bounded);
        if declared.is_id { kind.and(Expected::ID) } else { kind }
    }

    /// What both expect.
    pub(super) fn and(self, other: Expected) -> Expected {
        Expected(self.0 | other.0)
    }

    /// Whether texts are expected and nothing else, so that a whole number is meant as one.
    pub(super) fn is_text(self) -> bool {
        self == Expected::TEXT || self == Expected::TEXT.and(Expected::ID)
    }

    /// Whether somebody reads an amount for which only the touchpoint can name the currency.
    pub(super) fn lacks_currency(self) -> bool {
        self.0 & Expected::UNPRICED.0 != 0
    }

    /// Whether the number is of use to everybody: most values are asked no more than this.
    fn takes_number(self, number: f64) -> bool {
        let amount = Expected::AMOUNT.0;
        let others = self.0 & !(Expected::NUMBER.0 | Expected::COMMA.0 | Expected::UNPRICED.0 | amount);
        others == 0 && (self.0 & amount == 0 || number.abs() < MAX_AMOUNT)
    }

    /// The first who expects something else, in words. What says nothing fits everywhere.
    pub(super) fn misses(self, value: &Value) -> Option<&'static str> {
        let at_once = match value {
            Value::Number(number) => self.takes_number(*number),
            Value::Text(text) => {
                let any_text = self.0 & !(Expected::TEXT.0 | Expected::ID.0) == 0;
                any_text && !text.is_empty() || self == Expected::CURRENCY && Currency::parse(text).is_some()
            }
            Value::Flag(_) => self == Expected::FLAG,
        };
        if at_once || self == Expected::ANYTHING || value.is_blank() { None } else { self.misses_by_trying(value) }
    }

    fn misses_by_trying(self, value: &Value) -> Option<&'static str> {
        // The zone decides which instant a text is, and hardly ever whether it is one.
        let utc = || Zone::named("UTC");
        let instant = |zone: Option<&Zone>| value.as_instant(zone).is_some();
        let decimal = if self.0 & Expected::COMMA.0 != 0 { Decimal::Comma } else { Decimal::Point };
        let bounded = || value.as_number(decimal).is_none_or(|amount| amount.abs() < MAX_AMOUNT);
        let tries: [(Expected, &dyn Fn() -> bool, &'static str); 9] = [
            (Expected::NUMBER, &|| value.as_number(Decimal::Point).is_some(), "a number"),
            (Expected::COMMA, &|| value.as_number(Decimal::Comma).is_some(), "a number with a decimal comma"),
            (Expected::AMOUNT, &bounded, "an amount below nine million million"),
            (Expected::TEXT, &|| matches!(value, Value::Text(_)), "a text"),
            (Expected::FLAG, &|| value.as_flag().is_some(), "true or false"),
            (Expected::INSTANT, &|| instant(utc().as_ref()), "an instant"),
            (Expected::ABSOLUTE, &|| instant(None), self.absolute(value)),
            (Expected::ID, &|| value.as_id().is_some(), "an id"),
            (Expected::CURRENCY, &|| value.as_currency().is_some(), "a currency's three letters"),
        ];
        let missed = tries.iter().find(|(expected, fits, _)| self.0 & expected.0 != 0 && !fits());
        missed.map(|(_, _, words)| *words)
    }

    /// What is expected of an instant, with what to do about one that only lacks its zone.
    fn absolute(self, value: &Value) -> &'static str {
        let zone = if self.0 & Expected::ABSOLUTE.0 == 0 { None } else { Zone::named("UTC") };
        match zone.and_then(|zone| value.as_instant(Some(&zone))) {
            Some(_) => "an instant with its offset, or `timezone` in the model",
            None => "an instant",
        }
    }

    /// What is expected where a list or an object came, which nobody reads.
    pub(super) fn in_words(self) -> Option<&'static str> {
        // No text is all of this; one that is a text and an id is asked for as either.
        match self {
            Expected::ANYTHING => None,
            other if other.is_text() => Some("a text"),
            Expected::ID => Some("an id"),
            other => other.misses_by_trying(&Value::Text("[]".into())).or(Some("a value")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_expects_something_else_says_what() {
        let text = |text: &str| Value::Text(text.into());
        for (expected, value, misses) in [
            (Expected::ANYTHING, Value::Flag(true), None),
            (Expected::NUMBER, text("189.90"), None),
            (Expected::NUMBER, text(" "), None),
            (Expected::NUMBER, text("189,90"), Some("a number")),
            (Expected::COMMA, text("189,90"), None),
            (Expected::NUMBER.and(Expected::COMMA), text("189,90"), Some("a number")),
            (Expected::FLAG, text("TRUE"), None),
            (Expected::FLAG, Value::Number(1.0), Some("true or false")),
            (Expected::TEXT, Value::Number(1.0), Some("a text")),
            (Expected::ID, Value::Flag(true), Some("an id")),
            (Expected::CURRENCY, text("Euro"), Some("a currency's three letters")),
            (Expected::CURRENCY, text("eur"), None),
            (Expected::INSTANT, text("2026-03-30"), None),
            (Expected::ABSOLUTE, text("2026-03-30"), Some("an instant with its offset, or `timezone` in the model")),
            (Expected::ABSOLUTE, text("soon"), Some("an instant")),
            (Expected::ABSOLUTE, text("1772445600"), None),
            (Expected::ABSOLUTE, Value::Number(0.0), Some("an instant")),
        ] {
            assert_eq!(expected.misses(&value), misses, "{expected:?} {value:?}");
        }
        let takes = |expected: Expected, number: f64| expected.takes_number(number);
        assert!(takes(Expected::NUMBER, 1.0) && !takes(Expected::TEXT, 1.0) && takes(Expected::ANYTHING, 1.0));
        let amount = Expected::NUMBER.and(Expected::AMOUNT);
        assert!(takes(amount, 8_999_999_999_999.0) && !takes(amount, 9e12) && !takes(amount, -9e12));
    }
}
