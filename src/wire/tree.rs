//! JSON's values as they are read: one by one, or a whole record as a tree. Texts without escapes are borrowed from the record.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::written::{Scalar, sort_by_name};

/// Any one value; of objects and lists only that they are.
pub(super) struct Single;

impl<'de> DeserializeSeed<'de> for Single {
    type Value = Scalar<'de>;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Scalar<'de>, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Single {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Flag(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Whole(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Whole(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    /// A text with escapes in it.
    fn visit_str<E: Error>(self, text: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar<'de>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::List)
    }
}

/// A key of an object.
pub(super) struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Cow<'de, str>, D::Error> {
        source.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// A record as a tree. What lists hold is kept where something is summed up over lists; otherwise they are single values.
pub(super) enum Node<'a> {
    Single(Scalar<'a>),
    List(Vec<Node<'a>>),
    /// Sorted by key, each once.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl<'a> Node<'a> {
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Node::Object(entries) = self else { return None };
        let at = entries.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        Some(&entries[at].1)
    }

    /// Follows a dotted path. At each step a key that is the whole rest of the path goes first.
    pub(super) fn find(&self, path: &str) -> Option<&Self> {
        if let Some(found) = self.get(path) {
            return Some(found);
        }
        let (head, rest) = path.split_once('.')?;
        self.get(head)?.find(rest)
    }

    pub(super) fn scalar(&self) -> Scalar<'_> {
        match self {
            Node::Single(value) => value.borrowed(),
            Node::List(_) => Scalar::List,
            Node::Object(_) => Scalar::Object,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self, Node::Single(Scalar::Null))
    }
}

impl<'de> Deserialize<'de> for Node<'de> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        Tree { lists: false }.deserialize(source)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Tree {
    /// Whether what lists hold is kept.
    pub(super) lists: bool,
}

impl<'de> DeserializeSeed<'de> for Tree {
    type Value = Node<'de>;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Node<'de>, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key_seed(Key)? {
            entries.push((key, map.next_value_seed(self)?));
        }
        sort_by_name(&mut entries);
        Ok(Node::Object(entries))
    }

    /// An empty list says nothing, and is how PHP writes an object without entries.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node<'de>, A::Error> {
        if self.lists {
            let mut parts = Vec::new();
            while let Some(part) = list.next_element_seed(self)? {
                parts.push(part);
            }
            return Ok(if parts.is_empty() { Node::Single(Scalar::Null) } else { Node::List(parts) });
        }
        if list.next_element::<IgnoredAny>()?.is_none() {
            return Ok(Node::Single(Scalar::Null));
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Node::Single(Scalar::List))
    }

    fn visit_unit<E: Error>(self) -> Result<Node<'de>, E> {
        Single.visit_unit().map(Node::Single)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Node<'de>, E> {
        Single.visit_bool(flag).map(Node::Single)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Node<'de>, E> {
        Single.visit_i64(number).map(Node::Single)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Node<'de>, E> {
        Single.visit_u64(number).map(Node::Single)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Node<'de>, E> {
        Single.visit_f64(number).map(Node::Single)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Node<'de>, E> {
        Single.visit_borrowed_str(text).map(Node::Single)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node<'de>, E> {
        Single.visit_str(text).map(Node::Single)
    }
}
