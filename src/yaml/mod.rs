//! YAML as Sillage reads it: a tree of nodes that know their places, and a reader that turns them into values.
//!
//! Only the plain part of YAML: scalars, lists and maps with plain keys. Anchors, aliases, merge keys, tags, directives and
//! several documents in a file are refused, each with a diagnostic. Knows nothing of models or settings.

mod guard;
mod parse;
mod read;

use crate::diagnostic::{Place, Spanned};

pub use guard::{Guard, is_plain_value};
pub use parse::parse;
pub use read::{Bounds, Reader, Value};

/// The largest file that is read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// How deeply lists and maps may be nested.
pub const MAX_DEPTH: usize = 32;

/// A value of the file with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub shape: Shape,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// No value: empty, `~` or `null`.
    Nothing,
    /// A text as it stands; whether it is a number is for the reader to say.
    Scalar {
        /// The text, escapes resolved.
        text: String,
        /// Whether it stands in quotes or as a block, so that it is a text in any case.
        quoted: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A map in the order of the file; no key twice.
    Map(Vec<Entry>),
    /// Something that was refused with a diagnostic already; readers keep silent about it.
    Refused,
}

/// A line of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key with its place.
    pub key: Spanned<String>,
    /// The value.
    pub value: Node,
}

impl Shape {
    /// What it is, in words: `a list`.
    pub fn in_words(&self) -> &'static str {
        match self {
            Shape::Nothing | Shape::Refused => "nothing",
            Shape::Scalar { quoted: true, .. } => "a text in quotes",
            Shape::Scalar { quoted: false, .. } => "a text",
            Shape::List(_) => "a list",
            Shape::Map(_) => "a map",
        }
    }
}
