//! Ids as the state keeps them: most are UUIDs, and a UUID in its usual text form is kept as its sixteen bytes.

use std::fmt;

use compact_str::CompactString;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// An id of a touchpoint, an episode or a session.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Id {
    /// A UUID whose text was in lower case and hyphenated, so that the text can be had back.
    Uuid([u8; 16]),
    /// Any other text.
    Text(CompactString),
}

/// A touchpoint that the state refers to: its id, and which of the customer's touchpoints it is.
#[derive(Clone, Eq)]
pub struct TouchpointId {
    /// Its id.
    pub id: Id,
    /// 1, 2, … among the customer's touchpoints; 0 where nobody knows (states of version 2). A hint where the id stands in the
    /// history: it is no part of what the reference means.
    pub(super) number: u64,
}

const HYPHENS: [usize; 4] = [8, 13, 18, 23];
/// Where the two digits of each byte stand.
const PAIRS: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
const NO_DIGIT: u8 = 0x80;
/// What each byte says as a lower-case digit of base sixteen.
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    digits
};

impl Id {
    /// Keeps a text.
    pub fn of(text: &str) -> Self {
        match uuid(text.as_bytes()) {
            Some(bytes) => Id::Uuid(bytes),
            None => Id::Text(text.into()),
        }
    }

    /// The text.
    pub fn to_text(&self) -> CompactString {
        match self {
            Id::Uuid(_) => self.text(&mut Uuid::encode_buffer()).into(),
            Id::Text(text) => text.clone(),
        }
    }

    /// The text, without room of its own: `buffer` is [`Uuid::encode_buffer`].
    pub fn text<'a>(&'a self, buffer: &'a mut [u8]) -> &'a str {
        match self {
            Id::Uuid(bytes) => Uuid::from_bytes(*bytes).hyphenated().encode_lower(buffer),
            Id::Text(text) => text,
        }
    }

    /// Whether this is the id that the text says.
    pub fn is(&self, text: &str) -> bool {
        match self {
            Id::Uuid(bytes) => uuid(text.as_bytes()).is_some_and(|other| other == *bytes),
            Id::Text(known) => known == text,
        }
    }

    /// The hash by which ids are remembered whose touchpoints are kept no longer: of the text, as version 2 had it.
    pub(super) fn hash(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(self.text(&mut Uuid::encode_buffer()).as_bytes())
    }
}

/// The bytes of a UUID in lower-case hyphenated text; `None` for any other text, a UUID in capitals included.
fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.try_into().ok()?;
    if HYPHENS.iter().any(|at| text[*at] != b'-') {
        return None;
    }
    let mut bytes = [0; 16];
    let mut all = 0;
    for (byte, at) in bytes.iter_mut().zip(PAIRS) {
        let (high, low) = (DIGITS[usize::from(text[at])], DIGITS[usize::from(text[at + 1])]);
        all |= high | low;
        *byte = high << 4 | low & 0xF;
    }
    // One look at the end whether all of them were digits.
    (all & NO_DIGIT == 0).then_some(bytes)
}

impl TouchpointId {
    /// The touchpoint with this id and number.
    pub(super) fn new(id: Id, number: u64) -> Self {
        TouchpointId { id, number }
    }

    /// The text of its id.
    pub fn to_text(&self) -> CompactString {
        self.id.to_text()
    }
}

impl Default for Id {
    fn default() -> Self {
        Id::Text(CompactString::default())
    }
}

impl Default for TouchpointId {
    fn default() -> Self {
        TouchpointId::new(Id::default(), 0)
    }
}

impl PartialEq for TouchpointId {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        Id::of(text)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Uuid(bytes) => fmt::Display::fmt(&Uuid::from_bytes(*bytes).hyphenated(), f),
            Id::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.to_text().as_str(), f)
    }
}

impl fmt::Debug for TouchpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.id, f)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_text())
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        CompactString::deserialize(deserializer).map(|text| Id::of(&text))
    }
}

impl Serialize for TouchpointId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.id.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TouchpointId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Id::deserialize(deserializer).map(|id| TouchpointId::new(id, 0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_text_that_can_be_had_back_is_kept_as_a_uuid() {
        let lower = "6a1d5c0e-77b4-4d0a-9c65-5111a9e05e11";
        assert!(matches!(Id::of(lower), Id::Uuid(_)));
        for other in [&lower.to_uppercase(), &lower.replace('-', ""), "6a1d5c0e-77b4-4d0a-9c65-5111a9e05e1g", ""] {
            assert!(matches!(Id::of(other), Id::Text(_)), "{other}");
        }
        assert_eq!(size_of::<Id>(), 24);
    }

    proptest! {
        #[test]
        fn the_text_comes_back(text in "[0-9a-f-]{36}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|.{0,40}") {
            let id = Id::of(&text);
            prop_assert_eq!(id.to_text(), text.clone());
            prop_assert_eq!(id.to_string(), text.clone());
            prop_assert!(id.is(&text));
            prop_assert_eq!(id.hash(), xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
        }
    }
}
