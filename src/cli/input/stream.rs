//! Values wherever they end: the elements of arrays, objects over several lines.

use std::io::{self, BufRead};

use super::{Bounds, MARK, Piece, SEPARATOR};

/// The values of a file.
pub struct Stream {
    reader: Box<dyn BufRead + Send>,
    limit: usize,
    /// The line that is being read.
    line: u64,
    in_array: bool,
    value: Vec<u8>,
}

/// A value that has begun.
struct Begun {
    line: u64,
    length: u64,
    shape: Form,
}

/// How the end of a value is seen.
enum Form {
    /// An object or a list: by its brackets.
    Bracketed(Bounds),
    /// A text: by its quote.
    Quoted { escaped: bool },
    /// A word or a number: by what follows.
    Plain,
}

impl Stream {
    pub(super) fn new(reader: Box<dyn BufRead + Send>, limit: usize) -> Self {
        Stream { reader, limit, line: 1, in_array: false, value: Vec::new() }
    }

    pub(super) fn next_piece(&mut self) -> io::Result<Option<Piece<'_>>> {
        self.value.clear();
        let mut begun: Option<Begun> = None;
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => return Err(cause),
            };
            if chunk.is_empty() {
                return match begun {
                    Some(Begun { line, length, shape: Form::Plain }) if !self.in_array => Ok(Some(self.piece(line, length))),
                    Some(Begun { line, .. }) => Err(ended(&format!("the value that begins on line {line}"))),
                    None if self.in_array => Err(ended("an array")),
                    None => Ok(None),
                };
            }
            let mut used = 0;
            let mut whole = false;
            for byte in chunk.iter().copied() {
                let Some(value) = &mut begun else {
                    used += 1;
                    match byte {
                        b'\n' => self.line += 1,
                        b'[' if !self.in_array => self.in_array = true,
                        b']' if self.in_array => self.in_array = false,
                        b' ' | b'\t' | b'\r' | b',' | SEPARATOR => {}
                        other if MARK.contains(&other) => {}
                        other => {
                            begun = Some(Begun { line: self.line, length: 1, shape: Form::of(other) });
                            self.value.push(other);
                        }
                    }
                    continue;
                };
                let end = value.shape.end(byte);
                if end == End::Before {
                    whole = true;
                    break;
                }
                used += 1;
                value.length += 1;
                self.line += u64::from(byte == b'\n');
                if self.value.len() < self.limit {
                    self.value.push(byte);
                }
                if end == End::Here {
                    whole = true;
                    break;
                }
            }
            self.reader.consume(used);
            if let Some(Begun { line, length, .. }) = begun.as_ref().filter(|_| whole) {
                return Ok(Some(self.piece(*line, *length)));
            }
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

/// Whether a value ends.
#[derive(PartialEq, Eq)]
enum End {
    No,
    /// With this byte.
    Here,
    /// Before it.
    Before,
}

impl Form {
    fn of(first: u8) -> Form {
        match first {
            b'{' | b'[' => Form::Bracketed(Bounds { depth: 1, ..Bounds::default() }),
            b'"' => Form::Quoted { escaped: false },
            _ => Form::Plain,
        }
    }

    fn end(&mut self, byte: u8) -> End {
        match self {
            Form::Bracketed(bounds) => {
                if bounds.take(byte) {
                    End::Here
                } else {
                    End::No
                }
            }
            Form::Quoted { escaped: escaped @ true } => {
                *escaped = false;
                End::No
            }
            Form::Quoted { escaped } => match byte {
                b'"' => End::Here,
                b'\\' => {
                    *escaped = true;
                    End::No
                }
                _ => End::No,
            },
            Form::Plain => match byte {
                b',' | b']' | b'{' | b'[' | b'\n' | b'\r' | SEPARATOR => End::Before,
                _ => End::No,
            },
        }
    }
}
