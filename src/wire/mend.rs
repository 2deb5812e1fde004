//! What is nearly JSON made JSON, so that a bad part costs that part: texts with half a surrogate, with bytes of another
//! encoding, with escapes or control characters that JSON does not have; numbers that are none. And a byte order mark
//! before it, which costs nothing.
//!
//! Only records that nobody could read come here, so no time is lost on those that are good. It mends within texts and
//! numbers only: what is broken between them stays broken.

use std::iter::Peekable;
use std::str::Chars;

/// A record that was mended.
pub(super) struct Mended {
    /// What it says now.
    pub(super) text: String,
    /// So many texts had something replaced in them, or kept that JSON writes otherwise.
    pub(super) texts: u32,
    /// So many numbers were none.
    pub(super) numbers: u32,
}

const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// Mends a record; `None` where there is nothing to be mended.
pub(super) fn mend(bytes: &[u8]) -> Option<Mended> {
    let marked = bytes;
    let bytes = marked.strip_prefix(b"\xef\xbb\xbf").unwrap_or(marked);
    // UTF-16, or no text at all.
    if bytes.contains(&0) || !matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'[')) {
        return None;
    }
    let text = String::from_utf8_lossy(bytes);
    let mut mending = Mending {
        rest: text.chars().peekable(),
        mended: Mended { text: String::with_capacity(text.len()), texts: 0, numbers: 0 },
    };
    while let Some(next) = mending.rest.next() {
        match next {
            '"' => mending.string(),
            '-' | '+' | '0'..='9' | 'a'..='z' | 'A'..='Z' => mending.word(next),
            other => mending.mended.text.push(other),
        }
    }
    let mut mended = mending.mended;
    // The string that held a bad byte is not looked for: bad bytes are counted, of which a text has few.
    let bad = bytes.utf8_chunks().filter(|chunk| !chunk.invalid().is_empty()).count();
    mended.texts = mended.texts.saturating_add(u32::try_from(bad).unwrap_or(u32::MAX));
    (mended.text.as_bytes() != marked).then_some(mended)
}

struct Mending<'a> {
    rest: Peekable<Chars<'a>>,
    mended: Mended,
}

impl Mending<'_> {
    /// A string, behind its first quote.
    fn string(&mut self) {
        self.mended.text.push('"');
        let mut is_bad = false;
        while let Some(next) = self.rest.next() {
            match next {
                '"' => {
                    self.mended.text.push('"');
                    break;
                }
                '\\' => is_bad |= !self.escape(),
                control if control < ' ' => {
                    is_bad = true;
                    self.mended.text.push_str(&format!("\\u{:04x}", control as u32));
                }
                other => self.mended.text.push(other),
            }
        }
        self.mended.texts += u32::from(is_bad);
    }

    /// An escape, behind its backslash; says whether JSON knows it.
    fn escape(&mut self) -> bool {
        match self.rest.peek().copied() {
            Some(known @ ('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't')) => {
                self.rest.next();
                self.mended.text.extend(['\\', known]);
                true
            }
            Some('u') => {
                self.rest.next();
                self.unit()
            }
            // A quote of another language, as it is.
            Some(mark) if mark.is_ascii_punctuation() => {
                self.rest.next();
                self.mended.text.push(mark);
                false
            }
            Some(other) => {
                // A control character is for the string to see.
                if other >= ' ' {
                    self.rest.next();
                }
                self.mended.text.push(REPLACEMENT);
                false
            }
            None => {
                self.mended.text.push('\\');
                false
            }
        }
    }

    /// `\u` and what follows.
    fn unit(&mut self) -> bool {
        match self.hex() {
            Some(unit @ 0xD800..=0xDBFF) => {
                // The other half, if it follows at once.
                let mut ahead = self.rest.clone();
                if (ahead.next(), ahead.next()) == (Some('\\'), Some('u')) {
                    let behind = std::mem::replace(&mut self.rest, ahead);
                    if let Some(low @ 0xDC00..=0xDFFF) = self.hex() {
                        self.mended.text.push_str(&format!("\\u{unit:04x}\\u{low:04x}"));
                        return true;
                    }
                    self.rest = behind;
                }
                self.mended.text.push(REPLACEMENT);
                false
            }
            Some(0xDC00..=0xDFFF) | None => {
                self.mended.text.push(REPLACEMENT);
                false
            }
            Some(unit) => {
                self.mended.text.push_str(&format!("\\u{unit:04x}"));
                true
            }
        }
    }

    /// Four digits, taken only where they are all there.
    fn hex(&mut self) -> Option<u32> {
        let mut ahead = self.rest.clone();
        let mut unit = 0;
        for _ in 0..4 {
            unit = unit * 16 + ahead.next()?.to_digit(16)?;
        }
        self.rest = ahead;
        Some(unit)
    }

    /// A number or a word between strings.
    fn word(&mut self, first: char) {
        let begin = self.mended.text.len();
        self.mended.text.push(first);
        while let Some(next) = self.rest.next_if(|next| next.is_ascii_alphanumeric() || matches!(next, '.' | '-' | '+')) {
            self.mended.text.push(next);
        }
        // `NaN`, `-Infinity` and what is too large are read, but not as finite numbers.
        if self.mended.text[begin..].parse::<f64>().is_ok_and(|number| !number.is_finite()) {
            self.mended.text.truncate(begin);
            self.mended.text.push_str("null");
            self.mended.numbers += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_numbers_are_mended_and_nothing_else() {
        for (bytes, mended) in [
            (&br#"{"a":"\ud83d"}"#[..], Some(("{\"a\":\"\u{fffd}\"}", 1, 0))),
            (br#"{"a":"\ud83d\n\udc00\ud83d\ude00"}"#, Some(("{\"a\":\"\u{fffd}\\n\u{fffd}\\ud83d\\ude00\"}", 1, 0))),
            (br#"{"a":"\ud83d\u0041"}"#, Some(("{\"a\":\"\u{fffd}\\u0041\"}", 1, 0))),
            (br#"{"a\ud83d":"\u12"}"#, Some(("{\"a\u{fffd}\":\"\u{fffd}12\"}", 2, 0))),
            (br#"{"a":"it\'s \x41"}"#, Some(("{\"a\":\"it's \u{fffd}41\"}", 1, 0))),
            (b"{\"a\":\"\t\\\x01\"}", Some(("{\"a\":\"\\u0009\u{fffd}\\u0001\"}", 1, 0))),
            (b"{\"a\":\"Ren\xe9\"}", Some(("{\"a\":\"Ren\u{fffd}\"}", 1, 0))),
            (b"{\"a\":NaN,\"b\":[-Infinity,1e999],\"c\":\"NaN\"}", Some((r#"{"a":null,"b":[null,null],"c":"NaN"}"#, 0, 3))),
            (b"\xef\xbb\xbf{\"a\":1}", Some(("{\"a\":1}", 0, 0))),
            (b"{\"a\":1e5,\"b\":\"\\u00e9\\\"\",\"c\":tru}", None),
            (b"{\"a\":\"not ended\\", None),
            (b"not \xe9 JSON", None),
            (b"{\0\"\0a\0", None),
        ] {
            let read = mend(bytes);
            let read = read.as_ref().map(|mended| (mended.text.as_str(), mended.texts, mended.numbers));
            assert_eq!(read, mended, "{}", String::from_utf8_lossy(bytes));
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

        /// Half an emoji, a byte of Latin-1 or an escape of JavaScript in a text never makes the rest unreadable.
        #[test]
        fn a_string_of_anything_is_json_afterwards(text in "([a-zé\u{1}-\u{1f}/]|\\\\[a-z'/\"\\\\]|\\\\u[0-9a-fA-F]{0,4}|\\\\ud[89a-f][0-9a-f]{2}){0,12}") {
            let record = format!("{{\"a\":\"{text}\",\"b\":NaN}}");
            let mended = mend(record.as_bytes()).expect("a number that is none").text;
            let read: Result<serde_json::Value, _> = serde_json::from_str(&mended);
            proptest::prop_assert!(read.is_ok(), "{} became {}", record, mended);
        }
    }
}
