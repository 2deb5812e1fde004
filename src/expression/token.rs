//! From text to tokens with their bytes. What is meant but written otherwise (`=`, `&`, `5m`) is told and read as meant, so
//! that the rest is judged too.

use std::ops::Range;

use super::told::Told;
use crate::diagnostic::quoted;
use crate::time::Span;

/// A piece of the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lexeme {
    pub(super) token: Token,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Number(f64),
    Text(String),
    /// A duration without its function; already told.
    Bare(Span),
    /// A name or a word of the language; its text is in the source.
    Word,
    Symbol(Symbol),
    /// The end of the text.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Symbol {
    Or,
    And,
    Not,
    Equal,
    NotEqual,
    Less,
    AtMost,
    More,
    AtLeast,
    Plus,
    Minus,
    Times,
    Divide,
    Question,
    Colon,
    Dot,
    Comma,
    Open,
    Close,
    OpenList,
    CloseList,
}

/// The symbols, and what people write instead of them; the longest first.
const SYMBOLS: &[(&str, Symbol, Option<&str>)] = &[
    ("===", Symbol::Equal, Some("==")),
    ("!==", Symbol::NotEqual, Some("!=")),
    ("||", Symbol::Or, None),
    ("&&", Symbol::And, None),
    ("==", Symbol::Equal, None),
    ("!=", Symbol::NotEqual, None),
    ("<=", Symbol::AtMost, None),
    (">=", Symbol::AtLeast, None),
    ("=<", Symbol::AtMost, Some("<=")),
    ("=>", Symbol::AtLeast, Some(">=")),
    ("<>", Symbol::NotEqual, Some("!=")),
    ("≤", Symbol::AtMost, Some("<=")),
    ("≥", Symbol::AtLeast, Some(">=")),
    ("≠", Symbol::NotEqual, Some("!=")),
    ("=", Symbol::Equal, Some("==")),
    ("&", Symbol::And, Some("&&")),
    ("|", Symbol::Or, Some("||")),
    ("×", Symbol::Times, Some("*")),
    ("÷", Symbol::Divide, Some("/")),
    ("−", Symbol::Minus, Some("-")),
    ("!", Symbol::Not, None),
    ("<", Symbol::Less, None),
    (">", Symbol::More, None),
    ("+", Symbol::Plus, None),
    ("-", Symbol::Minus, None),
    ("*", Symbol::Times, None),
    ("/", Symbol::Divide, None),
    ("?", Symbol::Question, None),
    (":", Symbol::Colon, None),
    (".", Symbol::Dot, None),
    (",", Symbol::Comma, None),
    ("(", Symbol::Open, None),
    (")", Symbol::Close, None),
    ("[", Symbol::OpenList, None),
    ("]", Symbol::CloseList, None),
];

/// Cuts the text into tokens; the last is [`Token::End`]. `None` where something has no meaning at all.
pub(super) fn tokens(text: &str, told: &mut Told) -> Option<Vec<Lexeme>> {
    let mut lexer = Lexer { text, at: 0, told, broken: false };
    let mut lexemes: Vec<Lexeme> = Vec::new();
    loop {
        lexer.skip_space();
        let start = lexer.at;
        let token = lexer.next(lexemes.last());
        if let Some(token) = token {
            let last = token == Token::End;
            lexemes.push(Lexeme { token, span: start..lexer.at });
            if last {
                return (!lexer.broken).then_some(lexemes);
            }
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    told: &'a mut Told,
    broken: bool,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    /// The next token; `None` where something was told and skipped.
    fn next(&mut self, before: Option<&Lexeme>) -> Option<Token> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Some(Token::End) };
        let fraction = first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit()) && !ends_a_value(before);
        match first {
            '0'..='9' => self.number(),
            '.' if fraction => self.number(),
            '"' | '\'' => self.text(),
            'a'..='z' | 'A'..='Z' | '_' => self.word(),
            _ => self.symbol(first),
        }
    }

    fn word(&mut self) -> Option<Token> {
        let start = self.at;
        self.at += self.rest().bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        let word = &self.text[start..self.at];
        if self.rest().starts_with(['"', '\'']) && matches!(word.to_ascii_lowercase().as_str(), "r" | "b" | "br" | "rb") {
            let cause = format!("texts marked with {} are not part of the language", quoted(word));
            self.told.error("M106", &(start..self.at), cause, format!("remove the {}", quoted(word)));
            return None;
        }
        Some(Token::Word)
    }

    fn symbol(&mut self, first: char) -> Option<Token> {
        let start = self.at;
        let found = SYMBOLS.iter().find(|(written, _, _)| self.rest().starts_with(written));
        if let Some((written, symbol, meant)) = found {
            self.at += written.len();
            if let Some(meant) = meant {
                let cause = format!("{} is not an operator of conditions", quoted(written));
                self.told.error("M100", &(start..self.at), cause, format!("write {}", quoted(meant)));
            }
            if *written == "/" && self.rest().starts_with('/') {
                self.told.error(
                    "M106",
                    &(start..self.at + 1),
                    "a condition holds no comments",
                    "write a comment of YAML: `# …`",
                );
                (self.at, self.broken) = (self.text.len(), true);
                return None;
            }
            return Some(Token::Symbol(*symbol));
        }
        self.at += first.len_utf8();
        let at = start..self.at;
        match first {
            '%' => {
                let help = "compare with a number, or divide with `/`";
                self.told.error("M106", &at, "`%` is not part of the language", help);
                return Some(Token::Symbol(Symbol::Divide));
            }
            '“' | '”' | '„' | '‘' | '’' | '«' | '»' => return self.curly(start),
            '{' | '}' => {
                // What closes the map is the same fault.
                if first == '{' || !self.told.tells("M106", &(0..start)) {
                    let help = "compare each fact by itself, joined with `&&`";
                    self.told.error("M106", &at, "maps are not part of the language", help);
                }
            }
            _ => {
                let cause = format!("{} has no meaning in a condition", quoted(&first.to_string()));
                self.told.error("M100", &at, cause, "remove it; texts stand in quotes: `\"…\"`");
            }
        }
        self.broken = true;
        None
    }

    /// A text in the quotes of a word processor: told, and read as meant where it ends.
    fn curly(&mut self, start: usize) -> Option<Token> {
        let end = self.rest().find(['“', '”', '‘', '’', '«', '»']);
        let text = end.map(|end| self.rest()[..end].to_owned());
        if let (Some(end), Some(quote)) = (end, end.and_then(|end| self.rest()[end..].chars().next())) {
            self.at += end + quote.len_utf8();
        }
        let at = start..self.at;
        let help =
            text.as_ref().map_or_else(|| "write the straight quote `\"`".to_owned(), |text| format!("write `\"{text}\"`"));
        self.told.error("M100", &at, format!("{} is not in straight quotes", quoted(&self.text[at.clone()])), help);
        self.broken |= text.is_none();
        text.map(Token::Text)
    }

    fn number(&mut self) -> Option<Token> {
        let start = self.at;
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        self.at += digits(self.rest());
        if self.rest().starts_with('.') && digits(&self.rest()[1..]) > 0 {
            self.at += 1 + digits(&self.rest()[1..]);
        }
        if self.rest().starts_with(['e', 'E']) {
            let exponent = &self.rest()[1..];
            let sign = usize::from(exponent.starts_with(['+', '-']));
            let count = digits(&exponent[sign..]);
            if count > 0 {
                self.at += 1 + sign + count;
            }
        }
        if self.rest().starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            return self.number_with_letters(start);
        }
        let written = &self.text[start..self.at];
        match written.parse::<f64>() {
            Ok(number) if number.is_finite() => Some(Token::Number(number)),
            Ok(_) | Err(_) => {
                let cause = format!("{} is not a number that can be kept", quoted(written));
                self.told.error("M107", &(start..self.at), cause, "write a number below 1e308");
                Some(Token::Number(0.0))
            }
        }
    }

    /// `5m`, `1h 30m`, `0x1f`, `3u`, `1_000`, `50EUR`: told, and read as what is meant.
    fn number_with_letters(&mut self, start: usize) -> Option<Token> {
        let run = |text: &str| text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        let plain = self.text[start..self.at].to_owned();
        self.at += run(self.rest());
        let mut found = Span::parse(&self.text[start..self.at]).ok();
        while found.is_some() {
            let next = self.rest().trim_start_matches(' ');
            let end = self.text.len() - next.len() + run(next);
            match Span::parse(&self.text[start..end]) {
                Ok(longer) if run(next) > 0 => (found, self.at) = (Some(longer), end),
                Ok(_) | Err(_) => break,
            }
        }
        let (at, written) = (start..self.at, &self.text[start..self.at]);
        if let Some(span) = found {
            let cause = format!("{} is not how a condition writes a duration", quoted(written));
            self.told.error("M107", &at, cause, format!("write `duration(\"{written}\")`"));
            return Some(Token::Bare(span));
        }
        let cause = format!("{} is not a number", quoted(written));
        let ungrouped: String = written.chars().filter(|c| *c != '_').collect();
        let help = if ungrouped.parse::<f64>().is_ok() {
            format!("write {}", quoted(&ungrouped))
        } else if written.starts_with("0x") || written.starts_with("0X") {
            "write it in decimal digits".to_owned()
        } else {
            format!("write {}, without letters", quoted(&plain))
        };
        self.told.error("M107", &at, cause, help);
        Some(Token::Number(plain.parse().unwrap_or(0.0)))
    }

    fn text(&mut self) -> Option<Token> {
        let start = self.at;
        let mut value = String::new();
        let mut chars = self.text[start..].char_indices();
        let quote = chars.next().map_or('"', |(_, quote)| quote);
        while let Some((offset, c)) = chars.next() {
            match c {
                '\n' | '\r' => break,
                '\\' => {
                    let sequence = &self.text[start + offset..];
                    let Some((meant, length)) = escape(sequence) else {
                        let end = start + offset + 1 + sequence[1..].chars().next().map_or(0, char::len_utf8);
                        let cause = format!("{} is no escape in a text", quoted(&self.text[start + offset..end]));
                        self.told.error(
                            "M100",
                            &(start + offset..end),
                            cause,
                            "write `\\\\` for a backslash, `\\\"` for a quote",
                        );
                        self.broken = true;
                        continue;
                    };
                    value.push(meant);
                    for _ in 1..length {
                        chars.next();
                    }
                }
                c if c == quote => {
                    self.at = start + offset + 1;
                    return Some(Token::Text(value));
                }
                c => value.push(c),
            }
        }
        self.at = self.text.len();
        self.broken = true;
        self.told.error("M100", &(start..self.at), "this text has no end", format!("close it with `{quote}`"));
        None
    }
}

/// Whether a `.` after this token leads to a member.
fn ends_a_value(before: Option<&Lexeme>) -> bool {
    before.is_some_and(|lexeme| match lexeme.token {
        Token::Symbol(symbol) => matches!(symbol, Symbol::Close | Symbol::CloseList),
        Token::Number(_) | Token::Text(_) | Token::Bare(_) | Token::Word => true,
        Token::End => false,
    })
}

/// What an escape sequence at the beginning of a text means, and its length; all of them are ASCII. As CEL has it.
fn escape(sequence: &str) -> Option<(char, usize)> {
    let digits = |from: usize, count: usize, radix: u32| {
        let digits = sequence.get(from..from + count)?;
        let all = digits.chars().all(|c| c.is_digit(radix));
        let code = all.then(|| u32::from_str_radix(digits, radix).ok())??;
        Some((char::from_u32(code)?, from + count))
    };
    match sequence.as_bytes().get(1)? {
        b'n' => Some(('\n', 2)),
        b't' => Some(('\t', 2)),
        b'r' => Some(('\r', 2)),
        b'a' => Some(('\u{7}', 2)),
        b'b' => Some(('\u{8}', 2)),
        b'f' => Some(('\u{c}', 2)),
        b'v' => Some(('\u{b}', 2)),
        byte @ (b'\\' | b'"' | b'\'' | b'`' | b'?') => Some((char::from(*byte), 2)),
        b'x' | b'X' => digits(2, 2, 16),
        b'u' => digits(2, 4, 16),
        b'U' => digits(2, 8, 16),
        b'0'..=b'3' => digits(1, 3, 8),
        _ => None,
    }
}
