//! How sources write numbers, amounts and flags: as such, or as texts, so that no cent is lost on the way.
//!
//! A text is a number where nothing else can be meant by it: `189.90`, `-5`, `1e3`. A decimal comma, points between
//! thousands and amounts in cents are read where the model declares them, since `1,234` is two numbers.

use super::{Currency, MAX_AMOUNT, Money, Value};

/// How a model declares that numbers and amounts are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// What stands before the decimals of a text.
    pub decimal: Decimal,
    /// What amounts count.
    pub unit: Unit,
}

/// What stands before the decimals of a number that is written as a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decimal {
    /// `1234.50`
    #[default]
    Point,
    /// `1234,50`, and `1.234,50` with points or spaces between thousands.
    Comma,
}

/// What amounts count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Units of the currency.
    #[default]
    Whole,
    /// The smallest units of the currency by ISO 4217: cents of euros, yen of yen, fils of Kuwait's dinars.
    Cents,
}

/// The longest text that is tried as a number.
const MAX_BYTES: usize = 64;
/// Amounts are below so many millionths.
const MAX_MICROS: i64 = (MAX_AMOUNT * 1e6) as i64;

impl Value {
    /// The value as a number: one, or the text of one.
    pub fn as_number(&self, decimal: Decimal) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            Value::Text(text) => Written::read(text, decimal)?.number(),
            Value::Flag(_) => None,
        }
    }

    /// The value as true or false: one of them, or the text of one.
    pub fn as_flag(&self) -> Option<bool> {
        match self {
            Value::Flag(flag) => Some(*flag),
            Value::Text(text) if text.trim().eq_ignore_ascii_case("true") => Some(true),
            Value::Text(text) if text.trim().eq_ignore_ascii_case("false") => Some(false),
            Value::Text(_) | Value::Number(_) => None,
        }
    }

    /// The value as an amount of a currency. A text keeps all its digits, down to a millionth.
    pub fn as_money(&self, form: Form, currency: Currency) -> Option<Money> {
        let decimals = match form.unit {
            Unit::Whole => 0,
            Unit::Cents => currency.decimals(),
        };
        match self {
            Value::Number(amount) => Money::new(amount / f64::from(10_u32.pow(decimals)), currency),
            Value::Text(text) => {
                let written = Written::read(text, form.decimal)?;
                match written.millionths(decimals) {
                    Some(micros) => Some(Money { micros, currency }),
                    None => Money::new(written.number()? / f64::from(10_u32.pow(decimals)), currency),
                }
            }
            Value::Flag(_) => None,
        }
    }

    /// The value as a currency.
    pub fn as_currency(&self) -> Option<Currency> {
        let Value::Text(code) = self else { return None };
        Currency::parse(code.trim())
    }

    /// Whether it says nothing: a text of white space, which tables have where there is no value.
    pub fn is_blank(&self) -> bool {
        matches!(self, Value::Text(text) if text.trim().is_empty())
    }
}

impl Currency {
    /// How many decimals its smallest unit has (ISO 4217).
    pub fn decimals(&self) -> u32 {
        match self.as_str() {
            "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "UYI" | "VND"
            | "VUV" | "XAF" | "XOF" | "XPF" => 0,
            "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
            _ => 2,
        }
    }
}

/// A number in decimal digits, with a point and without anything between thousands.
struct Written {
    digits: [u8; MAX_BYTES],
    length: usize,
}

impl Written {
    /// Reads a text that is a number and nothing else.
    fn read(text: &str, decimal: Decimal) -> Option<Self> {
        let text = text.trim();
        if text.len() > MAX_BYTES {
            return None;
        }
        let mut written = Written { digits: [0; MAX_BYTES], length: 0 };
        let mut rest = text;
        if let Some(unsigned) = rest.strip_prefix(['-', '+']) {
            written.push(text.as_bytes()[0]);
            rest = unsigned;
        }
        match decimal {
            Decimal::Point => rest.bytes().for_each(|byte| written.push(byte)),
            Decimal::Comma => {
                let (whole, decimals) = rest.split_once(',').map_or((rest, None), |(whole, rest)| (whole, Some(rest)));
                written.push_thousands(whole)?;
                if let Some(decimals) = decimals {
                    written.push(b'.');
                    decimals.bytes().for_each(|byte| written.push(byte));
                }
            }
        }
        written.is_number().then_some(written)
    }

    fn push(&mut self, byte: u8) {
        self.digits[self.length] = byte;
        self.length += 1;
    }

    /// Digits, perhaps in groups of three after the first.
    fn push_thousands(&mut self, whole: &str) -> Option<()> {
        let is_gap = |c: char| matches!(c, '.' | ' ' | '\'' | '\u{a0}' | '\u{202f}' | '’');
        for (at, group) in whole.split(is_gap).enumerate() {
            let fits = if at == 0 { !whole.contains(is_gap) || (1..=3).contains(&group.len()) } else { group.len() == 3 };
            if !fits || !group.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            group.bytes().for_each(|byte| self.push(byte));
        }
        Some(())
    }

    fn bytes(&self) -> &[u8] {
        &self.digits[..self.length]
    }

    /// Digits with at most one point between or beside them, and perhaps an exponent.
    fn is_number(&self) -> bool {
        let unsigned = self.unsigned();
        let end = unsigned.iter().position(|byte| matches!(byte, b'e' | b'E'));
        let (mantissa, exponent) = unsigned.split_at(end.unwrap_or(unsigned.len()));
        let digits = |bytes: &[u8]| bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
        let points = mantissa.iter().filter(|byte| **byte == b'.').count();
        if digits(mantissa) == 0 || points > 1 || digits(mantissa) + points != mantissa.len() {
            return false;
        }
        match exponent {
            [] => true,
            [_, b'-' | b'+', power @ ..] | [_, power @ ..] => (1..=3).contains(&power.len()) && digits(power) == power.len(),
        }
    }

    fn unsigned(&self) -> &[u8] {
        let bytes = self.bytes();
        bytes.strip_prefix(b"-").or_else(|| bytes.strip_prefix(b"+")).unwrap_or(bytes)
    }

    fn number(&self) -> Option<f64> {
        let number: f64 = std::str::from_utf8(self.bytes()).ok()?.parse().ok()?;
        number.is_finite().then_some(number)
    }

    /// The number of millionths, of a number of the `decimals`-th part of a unit; finer ones are rounded. `None` where it is
    /// written with an exponent, or too large.
    fn millionths(&self, decimals: u32) -> Option<i64> {
        let unsigned = self.unsigned();
        let point = unsigned.iter().position(|byte| *byte == b'.').unwrap_or(unsigned.len());
        let (whole, fraction) = (&unsigned[..point], unsigned.get(point + 1..).unwrap_or_default());
        // So many places of the fraction are whole millionths, and the next one rounds.
        let places = 6_usize.checked_sub(decimals as usize)?;
        let padded = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(places + 1);
        let mut tenths: i128 = 0;
        for byte in whole.iter().copied().chain(padded) {
            let digit = byte.is_ascii_digit().then(|| i128::from(byte - b'0'))?;
            tenths = tenths.checked_mul(10)?.checked_add(digit)?;
        }
        let micros = i64::try_from(tenths / 10 + i128::from(tenths % 10 >= 5)).ok().filter(|micros| *micros < MAX_MICROS)?;
        Some(if self.bytes().starts_with(b"-") { -micros } else { micros })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn a_text_is_a_number_where_nothing_else_can_be_meant() {
        use Decimal::{Comma, Point};
        for (written, decimal, expected) in [
            ("189.90", Point, Some(189.9)),
            (" -5 ", Point, Some(-5.0)),
            ("+5.", Point, Some(5.0)),
            (".5", Point, Some(0.5)),
            ("007", Point, Some(7.0)),
            ("1.5E+3", Point, Some(1500.0)),
            ("189,90", Point, None),
            ("1,234.50", Point, None),
            ("1.234.567", Point, None),
            ("€189", Point, None),
            ("189 EUR", Point, None),
            ("NaN", Point, None),
            ("inf", Point, None),
            ("1e999", Point, None),
            ("1_000", Point, None),
            ("0x10", Point, None),
            ("", Point, None),
            (".", Point, None),
            ("--1", Point, None),
            ("e5", Point, None),
            ("189,90", Comma, Some(189.9)),
            ("189", Comma, Some(189.0)),
            ("-1.234.567,5", Comma, Some(-1_234_567.5)),
            ("1 234,50", Comma, Some(1234.5)),
            ("1\u{202f}234,50", Comma, Some(1234.5)),
            ("1.234", Comma, Some(1234.0)),
            ("189.90", Comma, None),
            ("1234.567", Comma, None),
            ("1,2,3", Comma, None),
            (",5", Comma, Some(0.5)),
            ("1,2.3", Comma, None),
        ] {
            assert_eq!(text(written).as_number(decimal), expected, "{written:?} {decimal:?}");
        }
        assert_eq!(text(&"1".repeat(65)).as_number(Decimal::Point), None);
        assert_eq!(Value::Number(1.5).as_number(Decimal::Comma), Some(1.5), "a number is one, however texts are written");
        assert_eq!(Value::Flag(true).as_number(Decimal::Point), None);
    }

    #[test]
    fn amounts_keep_their_digits() {
        let money = |value: Value, unit: Unit, currency: &str| {
            let currency = Currency::parse(currency).expect("a currency");
            value.as_money(Form { unit, decimal: Decimal::Point }, currency).map(|money| money.micros)
        };
        for (value, unit, currency, micros) in [
            (text("189.90"), Unit::Whole, "EUR", Some(189_900_000)),
            (text("-0.1234567"), Unit::Whole, "EUR", Some(-123_457)),
            (text("8999999999999.250001"), Unit::Whole, "EUR", Some(8_999_999_999_999_250_001)),
            (text("9000000000000"), Unit::Whole, "EUR", None),
            (text("18990"), Unit::Cents, "EUR", Some(189_900_000)),
            (text("18990.5"), Unit::Cents, "EUR", Some(189_905_000)),
            (text("18990"), Unit::Cents, "JPY", Some(18_990_000_000)),
            (text("18990"), Unit::Cents, "KWD", Some(18_990_000)),
            (text("1.8e2"), Unit::Whole, "EUR", Some(180_000_000)),
            (text("1e300"), Unit::Whole, "EUR", None),
            (text("99999999999999999999"), Unit::Whole, "EUR", None),
            (text("free"), Unit::Whole, "EUR", None),
            (Value::Number(189.9), Unit::Whole, "EUR", Some(189_900_000)),
            (Value::Number(18_990.0), Unit::Cents, "EUR", Some(189_900_000)),
            (Value::Flag(true), Unit::Whole, "EUR", None),
        ] {
            assert_eq!(money(value.clone(), unit, currency), micros, "{value:?} {unit:?} {currency}");
        }
    }

    #[test]
    fn flags_are_words() {
        for (value, expected) in [
            (text("true"), Some(true)),
            (text(" False"), Some(false)),
            (Value::Flag(true), Some(true)),
            (text("yes"), None),
            (text("1"), None),
            (Value::Number(1.0), None),
        ] {
            assert_eq!(value.as_flag(), expected, "{value:?}");
        }
    }
}
