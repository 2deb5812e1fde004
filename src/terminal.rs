//! Text of others on its way to people: what could steer a terminal is written out, and what is secret is left out.
//!
//! Ids, types and properties come from strangers. An escape character, a carriage return or a change of direction in them
//! could hide lines, forge them or do worse. Knows no output and no format: it turns one text into another.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

/// What stands where something is not shown.
pub const HIDDEN: &str = "…";
/// Shorter secrets are found only where they stand alone: `ab` is a part of too many words.
const SHORT: usize = 6;

/// One line of text as a terminal can bear it: whatever steers instead of being seen is written as `\u{1b}`.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steers(c) {
            plain.extend(c.escape_unicode());
        } else {
            plain.push(c);
        }
    }
    Cow::Owned(plain)
}

/// The same for a text of several lines: line feeds stay.
pub fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// JSON as a terminal can bear it: what steers within its texts is written as JSON writes it, `\u001b`. It says the same.
pub fn plain_json(json: &[u8]) -> Cow<'_, [u8]> {
    const DELETE: u8 = 0x7f;
    if json.is_ascii() && !json.contains(&DELETE) {
        return Cow::Borrowed(json);
    }
    let Ok(text) = std::str::from_utf8(json) else { return Cow::Borrowed(json) };
    let is_between = |c: char| c.is_ascii_whitespace();
    if !text.contains(|c| steers(c) && !is_between(c)) {
        return Cow::Borrowed(json);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steers(c) && !is_between(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| plain.push_str(&format!("\\u{unit:04x}")));
        } else {
            plain.push(c);
        }
    }
    Cow::Owned(plain.into_bytes())
}

/// Whether a character is not seen but obeyed: control characters, and those that turn, join or hide what is around them.
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The secrets of this process. A client library may quote them in its own errors, wherever these end up.
static SECRETS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From now on this value, and each longer word of it, is left out by [`without_secrets`].
pub fn keep_secret(value: &str) {
    let words = value.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '=' | ';' | ','));
    let words = words.filter(|word| word.len() >= SHORT);
    let mut secrets = SECRETS.lock().unwrap_or_else(PoisonError::into_inner);
    for secret in std::iter::once(value.trim()).chain(words) {
        let plain = secret.is_empty() || matches!(secret, "true" | "false" | "required");
        if !plain && !secrets.iter().any(|known| known == secret) {
            secrets.push(secret.to_owned());
        }
    }
    // The whole before its parts.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
}

/// The text with `…` for every secret in it.
pub fn without_secrets(text: &str) -> String {
    let secrets = SECRETS.lock().unwrap_or_else(PoisonError::into_inner);
    secrets.iter().fold(text.to_owned(), |text, secret| without(&text, secret))
}

fn without(text: &str, secret: &str) -> String {
    let mut left = String::with_capacity(text.len());
    let mut from = 0;
    for (at, found) in text.match_indices(secret) {
        let (before, after) = (text[..at].chars().next_back(), text[at + found.len()..].chars().next());
        let alone = !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric);
        if secret.len() >= SHORT || alone {
            left.push_str(&text[from..at]);
            left.push_str(HIDDEN);
            from = at + found.len();
        }
    }
    left.push_str(&text[from..]);
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_written_out() {
        for (text, shown) in [
            ("anna-né 東京 🛒", "anna-né 東京 🛒"),
            ("\u{1b}]0;x\u{7}", "\\u{1b}]0;x\\u{7}"),
            ("a\rb\nc\td", "a\\u{d}b\\u{a}c\\u{9}d"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("\u{202e}evil\u{2066}\u{200f}", "\\u{202e}evil\\u{2066}\\u{200f}"),
        ] {
            assert_eq!(plain(text), shown);
            assert!(!plain(text).chars().any(steers));
        }
        assert_eq!(plain_lines("a\nb\u{1b}\n"), "a\nb\\u{1b}\n");
    }

    #[test]
    fn secrets_are_noticed_whole_and_in_parts() {
        keep_secret("org.Login required username=\"kim\" password=\"t0p-hush\";");
        keep_secret("q7");
        keep_secret("true");
        assert_eq!(without_secrets("bad: t0p-hush, at /q7/ and q78, true"), "bad: …, at /…/ and q78, true");
    }

    #[test]
    fn json_says_the_same_and_steers_nothing() {
        for (json, expected) in [
            ("{\"a\":\"é\"}\n", "{\"a\":\"é\"}\n"),
            ("\"\u{9b}31m\u{202e}\u{7f}\u{e0041}\"\n", "\"\\u009b31m\\u202e\\u007f\\udb40\\udc41\"\n"),
        ] {
            let plain = plain_json(json.as_bytes()).into_owned();
            assert_eq!(String::from_utf8(plain.clone()).as_deref(), Ok(expected));
            let read = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).expect("JSON");
            assert_eq!(read(&plain), read(json.as_bytes()));
        }
    }
}
