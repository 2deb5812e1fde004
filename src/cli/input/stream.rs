//! Values wherever they end: the elements of arrays, objects over several lines.
//!
//! Where a value ends is seen by its brackets and quotes. One that lacks a bracket or a quote has no end; it is given up where a
//! line begins as its own line did, with an object that can be no part of it, so that it costs itself and not what follows.

use std::io::{self, BufRead};

use super::{Bounds, MARK, Piece, SEPARATOR};

/// So many bytes at most are looked at to see whether another value has begun.
const AHEAD: usize = 256;
/// So many brackets within each other are told apart.
const NESTED: usize = 1_024;

/// The values of a file.
pub struct Stream {
    reader: Box<dyn BufRead + Send>,
    reading: Reading,
}

/// Where reading stands.
struct Reading {
    limit: usize,
    /// The line that is being read, how far it is indented, and whether nothing else has come on it.
    line: u64,
    indent: usize,
    is_indent: bool,
    in_array: bool,
    value: Vec<u8>,
    /// What was read already of a value for which another was given up.
    ahead: Vec<u8>,
}

/// A value that has begun.
struct Begun {
    line: u64,
    indent: usize,
    length: u64,
    shape: Form,
    /// What may stand where this one lacks its end.
    next: Option<Next>,
}

/// What may be the beginning of the next value, where the one that is read has no end.
struct Next {
    line: u64,
    /// So much of the one that is read was kept before.
    kept: usize,
    bytes: Vec<u8>,
}

/// How the end of a value is seen.
enum Form {
    /// An object or a list: by its brackets, of which the outermost are told apart; and what stood last in it.
    Bracketed { bounds: Bounds, open: Vec<u8>, last: u8 },
    /// A text: by its quote.
    Quoted { escaped: bool },
    /// A word or a number: by what follows.
    Plain,
}

/// What a byte means to a value.
#[derive(PartialEq, Eq)]
enum End {
    No,
    /// It ends with this byte.
    Here,
    /// It ends before it.
    Before,
    /// It has no end: another value has begun.
    Never,
}

impl Stream {
    pub(super) fn new(reader: Box<dyn BufRead + Send>, limit: usize) -> Self {
        let (value, ahead) = (Vec::new(), Vec::new());
        Stream { reader, reading: Reading { limit, line: 1, indent: 0, is_indent: true, in_array: false, value, ahead } }
    }

    pub(super) fn next_piece(&mut self) -> io::Result<Option<Piece<'_>>> {
        let Stream { reader, reading } = self;
        let mut begun = reading.begin();
        loop {
            let chunk = match reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => return Err(cause),
            };
            if chunk.is_empty() {
                return match begun {
                    Some(Begun { line, length, shape: Form::Plain, .. }) if !reading.in_array => {
                        Ok(Some(reading.piece(line, length)))
                    }
                    Some(Begun { line, .. }) => Err(ended(&format!("the value that begins on line {line}"))),
                    None if reading.in_array => Err(ended("an array")),
                    None => Ok(None),
                };
            }
            let (mut used, mut end) = (0, End::No);
            for byte in chunk {
                end = reading.take(*byte, &mut begun);
                used += usize::from(end != End::Before);
                if end != End::No {
                    break;
                }
            }
            reader.consume(used);
            if let Some(begun) = begun.as_mut().filter(|_| end != End::No) {
                if end == End::Never {
                    reading.give_up(begun);
                }
                return Ok(Some(reading.piece(begun.line, begun.length)));
            }
        }
    }
}

impl Reading {
    /// The next value begins, with what was read of it already.
    fn begin(&mut self) -> Option<Begun> {
        self.value.clear();
        let mut begun = None;
        for byte in std::mem::take(&mut self.ahead) {
            // A bracket and what may stand behind it: no end.
            self.take(byte, &mut begun);
        }
        begun
    }

    /// Takes the next byte, between two values or of one.
    fn take(&mut self, byte: u8, begun: &mut Option<Begun>) -> End {
        let Some(value) = begun else {
            match byte {
                b'[' if !self.in_array => self.in_array = true,
                b']' if self.in_array => self.in_array = false,
                b' ' | b'\t' | b'\r' | b'\n' | b',' | SEPARATOR => {}
                other if MARK.contains(&other) => {}
                other => {
                    let (line, indent) = (self.line, self.indent);
                    *begun = Some(Begun { line, indent, length: 1, shape: Form::of(other), next: None });
                    self.value.push(other);
                }
            }
            self.pass(byte);
            return End::No;
        };
        if value.shape.ends_before(byte) {
            return End::Before;
        }
        let begins_line = self.is_indent;
        self.pass(byte);
        match &value.next {
            // A name, or the end of the line, shows that an object has begun there.
            Some(_) if matches!(byte, b'"' | b'\n' | b'\r') => {
                value.add(byte, &mut self.value, self.limit);
                return End::Never;
            }
            Some(next) if matches!(byte, b' ' | b'\t') && next.bytes.len() < AHEAD => {}
            Some(_) => value.next = None,
            None if begins_line
                && byte == b'{'
                && self.indent == value.indent
                && value.shape.has_no_place_for_an_object() =>
            {
                value.next = Some(Next { line: self.line, kept: self.value.len(), bytes: Vec::new() });
            }
            None => {}
        }
        let ends = value.shape.ends_with(byte);
        value.add(byte, &mut self.value, self.limit);
        if ends { End::Here } else { End::No }
    }

    /// Gives a value up that has no end: what may be the next one is that.
    fn give_up(&mut self, begun: &mut Begun) {
        let Some(next) = begun.next.take() else { return };
        begun.length -= next.bytes.len() as u64;
        self.value.truncate(next.kept);
        (self.line, self.indent, self.is_indent) = (next.line, begun.indent, true);
        self.ahead = next.bytes;
    }

    /// Follows lines and their indentation. A comma or a bracket may stand before what begins a line.
    fn pass(&mut self, byte: u8) {
        match byte {
            b'\n' => (self.line, self.indent, self.is_indent) = (self.line + 1, 0, true),
            b' ' | b'\t' if self.is_indent => self.indent += 1,
            b',' | b'[' | SEPARATOR if self.is_indent => {}
            _ => self.is_indent = false,
        }
    }

    fn piece(&self, line: u64, length: u64) -> Piece<'_> {
        if length > self.limit as u64 {
            return Piece::TooLong { line, length };
        }
        Piece::Whole { line, bytes: &self.value }
    }
}

fn ended(within: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("it ends within {within}; it was cut off, or a bracket is missing"))
}

impl Begun {
    fn add(&mut self, byte: u8, kept: &mut Vec<u8>, limit: usize) {
        self.length += 1;
        if let Some(next) = &mut self.next {
            next.bytes.push(byte);
        }
        if kept.len() < limit {
            kept.push(byte);
        }
    }
}

impl Form {
    fn of(first: u8) -> Form {
        match first {
            b'{' | b'[' => {
                let bounds = Bounds { depth: 1, ..Bounds::default() };
                Form::Bracketed { bounds, open: vec![first], last: first }
            }
            b'"' => Form::Quoted { escaped: false },
            _ => Form::Plain,
        }
    }

    /// Whether an object that begins here shows that something before lacks a bracket or a quote: in a text, or in an object
    /// where no value is awaited.
    fn has_no_place_for_an_object(&self) -> bool {
        match self {
            Form::Bracketed { bounds, open, last } => {
                let innermost = open.last().filter(|_| open.len() == bounds.depth);
                bounds.in_string || (innermost == Some(&b'{') && *last != b':')
            }
            Form::Quoted { .. } => true,
            Form::Plain => false,
        }
    }

    /// Whether it ends before a byte that is none of its own.
    fn ends_before(&self, byte: u8) -> bool {
        matches!(self, Form::Plain) && matches!(byte, b',' | b']' | b'{' | b'[' | b'\n' | b'\r' | SEPARATOR)
    }

    /// Takes a byte; says whether it is the last one.
    fn ends_with(&mut self, byte: u8) -> bool {
        match self {
            Form::Bracketed { bounds, open, last } => {
                let in_string = bounds.in_string;
                let ends = bounds.take(byte);
                if !in_string && matches!(byte, b'{' | b'[') && open.len() + 1 == bounds.depth && open.len() < NESTED {
                    open.push(byte);
                }
                open.truncate(bounds.depth);
                if !byte.is_ascii_whitespace() {
                    *last = byte;
                }
                ends
            }
            Form::Quoted { escaped: escaped @ true } => {
                *escaped = false;
                false
            }
            Form::Quoted { escaped } => {
                *escaped = byte == b'\\';
                byte == b'"'
            }
            Form::Plain => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_within_brackets_take_no_memory_beyond_the_limit() {
        let mut form = Form::of(b'[');
        assert!((0..100_000).all(|_| !form.ends_with(b'[')));
        let Form::Bracketed { open, .. } = &form else { panic!("a list") };
        assert_eq!(open.len(), NESTED);
        assert!((0..100_000).all(|_| !form.ends_with(b']')) && form.ends_with(b']'));
    }
}
