//! Where a mapping finds a part of a touchpoint: one path, or several whose values are put together to one id, and how that is
//! normalised. `store.number + order | trim lower` says all of it.

use std::borrow::Cow;

use compact_str::CompactString;
use unicode_normalization::UnicodeNormalization as _;

use super::tree::Node;
use super::written::{INEXACT, Scalar};
use crate::touchpoint::{MAX_NAME_BYTES, is_placeholder};

/// The path of the record itself: `properties` mapped to it takes every value of a flat record.
const WHOLE_RECORD: &str = ".";
/// Between the paths of what is put together, and before how it is normalised.
const AND: &str = " + ";
const AS: &str = " | ";
/// What stands between the values that are put together, and before one that is part of a value.
const BETWEEN: char = ':';
const ESCAPE: char = '\\';

/// Where something is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    paths: Vec<CompactString>,
    shape: Shape,
}

/// How a text is normalised, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shape {
    /// Without white space at both ends.
    trim: bool,
    /// In Unicode's normal form C: one letter is one text, however it is written.
    nfc: bool,
    /// In lower case.
    lower: bool,
}

impl Source {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(text: &str) -> Result<Source, String> {
        let (paths, words) = text.rsplit_once(AS).unwrap_or((text, ""));
        let mut shape = Shape::default();
        for word in words.split([' ', ',']).filter(|word| !word.is_empty()) {
            match word {
                "trim" => shape.trim = true,
                "nfc" => shape.nfc = true,
                "lower" => shape.lower = true,
                _ => return Err(format!("\"{word}\" is no way to normalise; write trim, nfc or lower")),
            }
        }
        let paths: Vec<CompactString> = paths.split(AND).map(|path| path.trim().into()).collect();
        match paths.iter().find(|path| path.is_empty() || path.len() > MAX_NAME_BYTES) {
            Some(_) => Err(format!("it must have 1 to {MAX_NAME_BYTES} bytes")),
            None => Ok(Source { paths, shape }),
        }
    }

    /// The path, where the value stands as it is read.
    pub(super) fn plain(&self) -> Option<&str> {
        match self.paths.as_slice() {
            [path] if self.shape == Shape::default() => Some(path),
            _ => None,
        }
    }

    /// The first path.
    pub(super) fn first(&self) -> &str {
        &self.paths[0]
    }

    /// What is there, as it stands.
    pub(super) fn node<'a, 'r>(&self, record: &'a Node<'r>) -> Option<&'a Node<'r>> {
        find(record, self.first())
    }

    /// The value. Of several that are put together, each must be there, and none a placeholder.
    pub(super) fn value<'a>(&self, record: &'a Node<'_>) -> Option<Scalar<'a>> {
        if self.plain().is_some() {
            return Some(find(record, self.first())?.scalar());
        }
        let mut whole = String::new();
        for (place, path) in self.paths.iter().enumerate() {
            let value = find(record, path)?.scalar();
            let part = match &value {
                Scalar::Text(text) => self.shape.of(text),
                Scalar::Whole(number) => Cow::Owned(number.to_string()),
                // Some JSON writers know one sort of number only and write 42.0.
                Scalar::Number(number) if number.fract() == 0.0 && number.abs() < INEXACT as f64 => {
                    Cow::Owned((*number as i128).to_string())
                }
                // What is no id by itself is told as what it is.
                Scalar::Number(_) | Scalar::Flag(_) | Scalar::Object | Scalar::List | Scalar::Null => return Some(value),
            };
            if self.paths.len() == 1 {
                return Some(Scalar::Text(Cow::Owned(part.into_owned())));
            }
            // A branch may have the number nought.
            if is_placeholder(&part) && part.parse::<i64>().is_err() {
                return Some(Scalar::Text(Cow::Owned(part.into_owned())));
            }
            if place > 0 {
                whole.push(BETWEEN);
            }
            for letter in part.chars() {
                if letter == BETWEEN || letter == ESCAPE {
                    whole.push(ESCAPE);
                }
                whole.push(letter);
            }
        }
        Some(Scalar::Text(Cow::Owned(whole)))
    }
}

impl Shape {
    fn of<'a>(self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(if self.trim { text.trim() } else { text });
        if self.nfc {
            text = Cow::Owned(text.nfc().collect());
        }
        if self.lower {
            text = Cow::Owned(text.to_lowercase());
        }
        text
    }
}

fn find<'a, 'r>(record: &'a Node<'r>, path: &str) -> Option<&'a Node<'r>> {
    if path == WHOLE_RECORD { Some(record) } else { record.find(path) }
}
