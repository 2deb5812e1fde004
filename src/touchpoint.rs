//! The validated input: what a customer did, when, where, with which properties.
//!
//! Knows nothing of bytes, topics or models. The limits here hold for every source; `wire` turns bytes into touchpoints and
//! refuses what does not fit.

use std::fmt;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::time::{Timestamp, Zone};

mod forms;
mod placeholders;
mod sum_of_list;

pub use forms::{Decimal, Form, Unit};
pub use placeholders::is_placeholder;
pub use sum_of_list::{NoNumber, RunningSum, SumOfList};

/// The longest id, type, channel, session or property name, in bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// The longest text value of a property, in bytes.
pub const MAX_TEXT_BYTES: usize = 4096;
/// The property that says in which currency the amounts of a touchpoint are.
pub const CURRENCY: &str = "currency";

/// Whether an identity is a known customer or an anonymous one. Anonymous "123" is not customer "123" (rule 19).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IdentityKind {
    /// Known by a customer id.
    Customer,
    /// Known only by an anonymous id (a cookie, a device).
    Anonymous,
}

/// Whether a type tells what became of an offer (`intervention.delivered`, `offer.declined`). Only those who are offered something
/// have such touchpoints: taken for something that the customer does, they would put off what is awaited of the treated alone.
pub fn is_about_offers(kind: &str) -> bool {
    kind.starts_with("intervention.") || kind.starts_with("offer.")
}

impl IdentityKind {
    /// The word in hashes and in texts.
    pub fn as_str(self) -> &'static str {
        match self {
            IdentityKind::Customer => "customer",
            IdentityKind::Anonymous => "anonymous",
        }
    }
}

/// Whom a touchpoint and its journey belong to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The id, as the source wrote it. First, so that identities sort by their bytes (rule 7).
    pub id: CompactString,
    /// What kind of id it is.
    pub kind: IdentityKind,
}

impl Identity {
    /// A known customer.
    pub fn customer(id: impl Into<CompactString>) -> Self {
        Identity { id: id.into(), kind: IdentityKind::Customer }
    }

    /// A customer known only by an anonymous id.
    pub fn anonymous(id: impl Into<CompactString>) -> Self {
        Identity { id: id.into(), kind: IdentityKind::Anonymous }
    }

    /// The bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Identity>() + heap(&self.id)
    }

    /// The customer id, when it is known.
    pub fn customer_id(&self) -> Option<&str> {
        (self.kind == IdentityKind::Customer).then_some(self.id.as_str())
    }

    /// The anonymous id, when that is all there is.
    pub fn anonymous_id(&self) -> Option<&str> {
        (self.kind == IdentityKind::Anonymous).then_some(self.id.as_str())
    }
}

/// An exact amount: millionths of the currency's unit, so that sums do not drift.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// Millionths of the unit.
    pub micros: i64,
    /// Three upper-case letters of ISO 4217.
    pub currency: Currency,
}

/// A currency by its three letters (ISO 4217).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Takes three ASCII letters in any case; anything else is no currency.
    pub fn parse(text: &str) -> Option<Self> {
        let letters: [u8; 3] = text.as_bytes().try_into().ok()?;
        letters.iter().all(u8::is_ascii_alphabetic).then(|| Currency(letters.map(|letter| letter.to_ascii_uppercase())))
    }

    /// The three letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// 1900-01-01. A text before that is what a program writes where nothing was set, such as `0001-01-01T00:00:00Z`.
const EARLIEST_TEXT: Timestamp = Timestamp::from_millis(-2_208_988_800_000);

/// Amounts of money are below so many units.
pub const MAX_AMOUNT: f64 = 9e12;

impl Money {
    /// Makes an amount of units (`499.0`); `None` when it is not finite or beyond nine million million.
    pub fn new(amount: f64, currency: Currency) -> Option<Self> {
        let micros = (amount * 1e6).round();
        (micros.is_finite() && micros.abs() < MAX_AMOUNT * 1e6).then_some(Money { micros: micros as i64, currency })
    }

    /// The amount in units of the currency.
    pub fn amount(&self) -> f64 {
        self.micros as f64 / 1e6
    }
}

/// `499 EUR`, `19.90 EUR`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// A hundredth of the unit.
        const HUNDREDTH: i64 = 10_000;
        if self.micros % 1_000_000 == 0 {
            write!(f, "{} {}", self.micros / 1_000_000, self.currency.as_str())
        } else if self.micros % HUNDREDTH == 0 && self.micros > 0 {
            // Nearly all amounts: without the float, which takes ten times as long.
            let hundredths = self.micros / HUNDREDTH;
            write!(f, "{}.{:02} {}", hundredths / 100, hundredths % 100, self.currency.as_str())
        } else {
            write!(f, "{:.2} {}", self.amount(), self.currency.as_str())
        }
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// A text of at most [`MAX_TEXT_BYTES`].
    Text(CompactString),
    /// Any number.
    Number(f64),
    /// True or false.
    Flag(bool),
}

impl Value {
    /// The value as an id of something: texts as they are, whole numbers in digits; blank texts, flags and fractions identify
    /// nothing.
    pub fn as_id(&self) -> Option<CompactString> {
        match self {
            Value::Text(text) if !self.is_blank() => Some(text.clone()),
            Value::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                Some(compact_str::format_compact!("{}", *number as i64))
            }
            Value::Text(_) | Value::Number(_) | Value::Flag(_) => None,
        }
    }

    /// The value as an instant (rule 1): a text in any form that means one instant only, or a number in the unit that its
    /// magnitude tells. Local times and days are those of `zone`, and no instants where there is none.
    pub fn as_instant(&self, zone: Option<&Zone>) -> Option<Timestamp> {
        match self {
            Value::Text(text) => Timestamp::read(text, zone).ok().filter(|at| *at >= EARLIEST_TEXT),
            Value::Number(number) if number.fract() == 0.0 => Timestamp::of_whole(*number as i128).ok(),
            Value::Number(number) => Timestamp::of_number(*number).ok(),
            Value::Flag(_) => None,
        }
    }
}

/// A validated interaction of a customer.
#[derive(Clone, Debug, PartialEq)]
pub struct Touchpoint {
    /// The id; see [`Touchpoint::id_given`].
    pub id: CompactString,
    /// Whether the source gave the id. One derived from (topic, partition, offset) is not deduplicated (rule 17).
    pub id_given: bool,
    /// Whose it is: the customer id when there is one, else the anonymous id.
    pub identity: Identity,
    /// The anonymous id, when the touchpoint carries both; the pair is kept as a link (rule 19).
    pub linked: Option<CompactString>,
    /// Event time, already clamped to log time where it lay ahead (rule 1).
    pub event_time: Timestamp,
    /// What happened: `cart.added`.
    pub kind: CompactString,
    /// On which channel: `web`, `store`, `app` …
    pub channel: Option<CompactString>,
    /// The session, when the source knows one.
    pub session: Option<CompactString>,
    /// The properties, sorted by name, each name once.
    pub properties: Vec<(CompactString, Value)>,
}

/// Nobody's, and nothing happened: to be read into.
impl Default for Touchpoint {
    fn default() -> Self {
        Touchpoint {
            id: CompactString::default(),
            id_given: false,
            identity: Identity::anonymous(CompactString::default()),
            linked: None,
            event_time: Timestamp::default(),
            kind: CompactString::default(),
            channel: None,
            session: None,
            properties: Vec::new(),
        }
    }
}

impl Touchpoint {
    /// The property of this name.
    pub fn property(&self, name: &str) -> Option<&Value> {
        let at = self.properties.binary_search_by(|(key, _)| key.as_str().cmp(name)).ok()?;
        Some(&self.properties[at].1)
    }

    /// Roughly the bytes of memory that it takes, with the room that is kept in it for others ([`Touchpoint`]s are filled
    /// again).
    pub fn bytes(&self) -> usize {
        let texts = [&self.id, &self.identity.id, &self.kind];
        let options = [&self.linked, &self.channel, &self.session];
        let texts = texts.into_iter().chain(options.into_iter().flatten()).map(heap).sum::<usize>();
        let property = |(name, value): &(CompactString, Value)| {
            heap(name)
                + match value {
                    Value::Text(text) => heap(text),
                    Value::Number(_) | Value::Flag(_) => 0,
                }
        };
        let places = self.properties.capacity() * size_of::<(CompactString, Value)>();
        size_of::<Touchpoint>() + texts + places + self.properties.iter().map(property).sum::<usize>()
    }

    /// The amount in the property `name`, written in this form, in the currency of the property [`CURRENCY`]; where there is
    /// none, in `usual`. Without any currency a number is not money and yields nothing, and so it does beside what is no
    /// currency.
    pub fn money(&self, name: &str, form: Form, usual: Option<Currency>) -> Option<Money> {
        let amount = self.property(name)?;
        let currency = match self.property(CURRENCY) {
            Some(currency) if !currency.is_blank() => currency.as_currency(),
            Some(_) | None => usual,
        };
        amount.as_money(form, currency?)
    }
}

/// The bytes that a text has elsewhere.
fn heap(text: &CompactString) -> usize {
    if text.is_heap_allocated() { text.capacity() } else { 0 }
}

/// Puts a text into a place; the room that a long one had there is used again.
pub(crate) fn put_text(text: &str, place: &mut CompactString) {
    if place.is_heap_allocated() {
        place.clear();
        place.push_str(text);
    } else {
        *place = CompactString::new(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_needs_a_currency_and_prints_as_people_write_it() {
        let euro = Currency::parse("eur").expect("a currency");
        for (amount, shown) in [
            (499.0, "499 EUR"),
            (19.9, "19.90 EUR"),
            (0.05, "0.05 EUR"),
            (1.005, "1.00 EUR"),
            (-5.0, "-5 EUR"),
            (-0.5, "-0.50 EUR"),
            (8_999_999_999_999.25, "8999999999999.25 EUR"),
        ] {
            assert_eq!(Money::new(amount, euro).expect("finite").to_string(), shown);
        }
        assert_eq!(Money::new(f64::NAN, euro), None);
        assert_eq!(Money::new(1e300, euro), None);
        assert_eq!(Currency::parse("EURO"), None);
    }

    #[test]
    fn numbers_and_texts_identify_but_flags_and_fractions_do_not() {
        assert_eq!(Value::Number(42.0).as_id().as_deref(), Some("42"));
        assert_eq!(Value::Text("A".into()).as_id().as_deref(), Some("A"));
        assert_eq!(Value::Text("".into()).as_id(), None);
        assert_eq!(Value::Text(" ".into()).as_id(), None);
        assert_eq!(Value::Number(0.5).as_id(), None);
        assert_eq!(Value::Flag(true).as_id(), None);
    }
}
