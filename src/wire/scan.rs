//! Reading JSON as it is nearly always written, by hand: half the time of `serde_json`'s visitors, which ask for each value
//! what it may be.
//!
//! It judges nothing. Whatever it does not know for certain to be good (numbers with an exponent or of many digits, objects
//! in place of texts, any fault) it leaves to `serde_json`, which reads the record anew and says what it is, or what is
//! wrong. Laws hold the two together.

use std::borrow::Cow;

use compact_str::CompactString;

use super::losses::Expected;
use super::wanted::Interest;
use super::written::{Field, MAX_DEPTH, Properties, Scalar, Written, dotted};

/// Lists and objects that are skipped may be so deep.
const MAX_SKIPPED: usize = 32;
/// A number of more digits may not be exact as a 64-bit float, or not fit one of 64 bits.
const MAX_DIGITS: usize = 15;
/// Powers of ten, which are exact: a division by one of them rounds once.
const POWERS: [f64; MAX_DIGITS + 1] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Reads a record with the canonical field names; `None` where it is to be read otherwise, and then what was read so far
/// means nothing.
pub(super) fn read<'a>(text: &'a str, written: &mut Written<'a>, properties: &mut Properties<'_>) -> Option<()> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.white();
    scanner.take(b'{')?;
    let mut open = !scanner.is_closed(b'}');
    while open {
        let name = scanner.key()?;
        match Field::of(&name) {
            Some(field) => written.set(field, scanner.single()?),
            None if name == "properties" => {
                properties.clear();
                scanner.properties(properties, "", 0, true)?;
            }
            None => scanner.skip(0)?,
        }
        open = scanner.goes_on(b'}')?;
    }
    scanner.white();
    (scanner.at == text.len()).then_some(())
}

struct Scanner<'a> {
    /// The whole record.
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// The entries of an object within the property `above`, at its brace.
    fn properties(&mut self, properties: &mut Properties<'_>, above: &str, depth: usize, wanted: bool) -> Option<()> {
        self.take(b'{')?;
        let mut path = CompactString::default();
        let mut open = !self.is_closed(b'}');
        while open {
            let key = self.key()?;
            let (name, interest) = if wanted {
                let name = dotted(above, &key, &mut path);
                (name, properties.meet(name))
            } else {
                (above, Interest::NONE)
            };
            match self.peek()? {
                b'{' if depth + 1 < MAX_DEPTH => self.properties(properties, name, depth + 1, interest.within)?,
                // A list that somebody reads is told, unless it says nothing, and one that is summed up is looked into.
                b'[' if interest.expected != Expected::ANYTHING || interest.summed => return None,
                b'{' | b'[' => self.skip(0)?,
                _ if interest.value => {
                    let value = self.single()?;
                    properties.keep(name, &value, interest.expected);
                }
                _ => self.skip(0)?,
            }
            open = self.goes_on(b'}')?;
        }
        Some(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn white(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Behind an opening bracket: whether the closing one follows, and takes it.
    fn is_closed(&mut self, bracket: u8) -> bool {
        self.white();
        self.take(bracket).is_some()
    }

    /// Behind a value: whether another follows the comma; else takes the closing bracket.
    fn goes_on(&mut self, bracket: u8) -> Option<bool> {
        self.white();
        let next = self.peek()?;
        if next != b',' && next != bracket {
            return None;
        }
        self.at += 1;
        self.white();
        Some(next == b',')
    }

    /// A key, its colon, and what white space comes before the value.
    fn key(&mut self) -> Option<Cow<'a, str>> {
        let key = self.string()?;
        self.white();
        self.take(b':')?;
        self.white();
        Some(key)
    }

    /// A value that is neither object nor list.
    fn single(&mut self) -> Option<Scalar<'a>> {
        match self.peek()? {
            b'"' => self.string().map(Scalar::Text),
            b'n' => self.word("null").map(|()| Scalar::Null),
            b't' => self.word("true").map(|()| Scalar::Flag(true)),
            b'f' => self.word("false").map(|()| Scalar::Flag(false)),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.text.as_bytes()[self.at..].starts_with(word.as_bytes()).then(|| self.at += word.len())
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        let begin = self.at;
        let plain = self.skip_string()?;
        match plain {
            true => self.text.get(begin + 1..self.at - 1).map(Cow::Borrowed),
            // With escapes: for those who know how to read them.
            false => serde_json::from_str(self.text.get(begin..self.at)?).ok().map(Cow::Owned),
        }
    }

    /// Passes over a string; whether it is without escapes.
    fn skip_string(&mut self) -> Option<bool> {
        self.take(b'"')?;
        let bytes = self.text.as_bytes();
        let mut plain = true;
        loop {
            self.at += first_special(&bytes[self.at..])?;
            match bytes[self.at] {
                b'"' => {
                    self.at += 1;
                    return Some(plain);
                }
                b'\\' => match bytes.get(self.at + 1)? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 2,
                    b'u' if bytes.get(self.at + 2..self.at + 6)?.iter().all(u8::is_ascii_hexdigit) => self.at += 6,
                    _ => return None,
                },
                _ => return None,
            }
            plain = false;
        }
    }

    fn digits(&mut self) -> (u64, usize) {
        let begin = self.at;
        let mut number: u64 = 0;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        (number, self.at - begin)
    }

    fn number(&mut self) -> Option<Scalar<'a>> {
        let negative = self.take(b'-').is_some();
        let leading_zero = self.peek()? == b'0';
        let (whole, places) = self.digits();
        if places == 0 || places > MAX_DIGITS || (leading_zero && places > 1) {
            return None;
        }
        match self.peek() {
            Some(b'.') => {}
            Some(b'e' | b'E') => return None,
            // Minus nothing is a float.
            _ if negative && whole == 0 => return None,
            _ => return Some(Scalar::Whole(if negative { -i128::from(whole) } else { i128::from(whole) })),
        }
        self.at += 1;
        let (fraction, decimals) = self.digits();
        if decimals == 0 || places + decimals > MAX_DIGITS || matches!(self.peek(), Some(b'e' | b'E')) {
            return None;
        }
        let scale = 10_u64.pow(decimals as u32);
        let number = (whole * scale + fraction) as f64 / POWERS[decimals];
        Some(Scalar::Number(if negative { -number } else { number }))
    }

    /// Passes over a value.
    fn skip(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'"' => self.skip_string().map(drop),
            open @ (b'{' | b'[') if depth < MAX_SKIPPED => {
                self.at += 1;
                let close = if open == b'{' { b'}' } else { b']' };
                let mut open = !self.is_closed(close);
                while open {
                    if close == b'}' {
                        self.skip_string()?;
                        self.white();
                        self.take(b':')?;
                        self.white();
                    }
                    self.skip(depth + 1)?;
                    open = self.goes_on(close)?;
                }
                Some(())
            }
            _ => self.single().map(drop),
        }
    }
}

/// Where the first byte stands that a string of JSON cannot have as it is: a quote, a backslash, a control character.
pub(super) fn first_special(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 0xFF;
    /// Has the high bit of a byte set where that byte is less than `bound` (and perhaps in bytes after it).
    fn below(word: u64, bound: u8) -> u64 {
        word.wrapping_sub(ONES * u64::from(bound)) & !word
    }
    let (words, rest) = text.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let (quote, backslash) = (word ^ (ONES * u64::from(b'"')), word ^ (ONES * u64::from(b'\\')));
        let found = (below(word, 0x20) | below(quote, 1) | below(backslash, 1)) & (ONES << 7);
        if found != 0 {
            return Some(at * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let at = rest.iter().position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\')?;
    Some(words.len() * 8 + at)
}
