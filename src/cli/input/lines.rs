//! One JSON value a line, or several: a broken line costs itself only.

use std::io::{self, BufRead};
use std::ops::Range;

use super::{Piece, end_of, trimmed};
use crate::cli::ndjson::{Line, Lines};

/// The values of lines.
pub struct Objects {
    lines: Lines,
    /// The line that is being handed out, where it holds several.
    line: Vec<u8>,
    number: u64,
    rest: Range<usize>,
}

impl Objects {
    pub(super) fn new(reader: Box<dyn BufRead + Send>, limit: usize) -> Self {
        Objects { lines: Lines::new(reader, limit), line: Vec::new(), number: 0, rest: 0..0 }
    }

    pub(super) fn next_piece(&mut self) -> io::Result<Option<Piece<'_>>> {
        while self.rest.is_empty() {
            match self.lines.next_line()? {
                None => return Ok(None),
                Some(Line::TooLong { number, length }) => return Ok(Some(Piece::TooLong { line: number, length })),
                Some(Line::Whole { number, bytes }) => {
                    let text = value(bytes);
                    if text.is_empty() {
                        continue;
                    }
                    if !holds_several(text) {
                        // Found again, as it could not be handed out from within the loop.
                        let (begin, length) = (offset(bytes, text), text.len());
                        return Ok(Some(Piece::Whole { line: number, bytes: &self.lines.current()[begin..begin + length] }));
                    }
                    self.number = number;
                    self.line.clear();
                    self.line.extend_from_slice(text);
                    self.rest = 0..self.line.len();
                }
            }
        }
        let part = &self.line[self.rest.clone()];
        let end = first_of(part);
        let begin = self.rest.start;
        let next = value(&part[end..]);
        self.rest.start = if next.is_empty() { self.rest.end } else { begin + end + offset(&part[end..], next) };
        Ok(Some(Piece::Whole { line: self.number, bytes: &self.line[begin..begin + end] }))
    }
}

/// A line without what may stand around a value: white space, marks, and the comma of an array written one a line.
fn value(line: &[u8]) -> &[u8] {
    let mut text = trimmed(line);
    while let Some(shorter) = text.strip_suffix(b",").or_else(|| text.strip_prefix(b",")) {
        text = trimmed(shorter);
    }
    text
}

/// Where a part lies in the whole that it was cut from.
fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

/// Whether a value is followed by something else. Most lines end with the value that they begin with, which is seen without
/// following its brackets: within one, a brace is hardly ever followed by another that opens.
fn holds_several(text: &[u8]) -> bool {
    if text.first() != Some(&b'{') {
        return false;
    }
    let opens = |rest: &[u8]| {
        let next = rest.iter().find(|byte| !byte.is_ascii_whitespace() && **byte != b',');
        next.is_some_and(|next| matches!(*next, b'{' | b'[' | 0xEF | super::SEPARATOR))
    };
    let ends = text.last() == Some(&b'}');
    let perhaps = !ends || memchr::memchr_iter(b'}', text).any(|at| opens(&text[at + 1..]));
    perhaps && end_of(text).is_some_and(|end| end < text.len())
}

/// How long the first value of a text is; the whole of it where its end cannot be seen.
fn first_of(text: &[u8]) -> usize {
    match text.first() {
        Some(b'{') => end_of(text).unwrap_or(text.len()),
        _ => text.len(),
    }
}
