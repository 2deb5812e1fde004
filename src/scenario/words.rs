//! What a customer does, in words: `order.completed order_id=9 value=499 EUR at=5m`.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use compact_str::CompactString;

use super::times::{Times, Trouble, within};
use crate::diagnostic::{Faults, Source, quoted};
use crate::model::Model;
use crate::time::Timestamp;
use crate::touchpoint::{Currency, Identity, MAX_NAME_BYTES, MAX_TEXT_BYTES, Money, Touchpoint, Value};

/// The names of properties that identify something, whose values stay text.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids(BTreeSet<CompactString>);

impl Ids {
    pub(super) fn of(model: &Model) -> Self {
        let known = model.properties.iter().zip(&model.declared);
        Ids(known.filter(|(_, declared)| declared.is_id).map(|(name, _)| name.clone()).collect())
    }

    fn contains(&self, name: &str) -> bool {
        self.0.contains(name) || name == "id" || name.ends_with("_id")
    }
}

/// What a row of a story stands in.
pub(super) struct Setting<'a> {
    pub(super) source: &'a Arc<Source>,
    /// Where the cell begins.
    pub(super) start: usize,
    pub(super) line: usize,
    pub(super) at: Timestamp,
    pub(super) times: &'a Times,
    /// Whose story it is.
    pub(super) customer: &'a str,
    pub(super) ids: &'a Ids,
}

/// A word of a cell: `name` alone, or `name=value`. Spans are bytes of the cell.
struct Word {
    span: Range<usize>,
    name: String,
    value: Option<String>,
    quoted: bool,
}

/// Reads a cell as it stands in the file; `None` where it is faulty.
pub(super) fn touchpoint(raw: &str, setting: &Setting<'_>, faults: &mut Faults) -> Option<Touchpoint> {
    let fault = |span: &Range<usize>, (code, cause, help): Trouble, faults: &mut Faults| {
        faults.error(code, &setting.source.place(within(setting.start, span)), cause, help);
    };
    let words = match words(raw) {
        Ok(words) => words,
        Err(span) => {
            let help = "put quotes around the whole value: name=\"two words\"".to_owned();
            fault(&span, ("S009", "the quotes that begin here do not end".to_owned(), help), faults);
            return None;
        }
    };
    let (first, rest) = words.split_first()?;
    if first.value.is_some() || first.name.is_empty() {
        let help = "begin with what happened, such as cart.added, and write properties after it".to_owned();
        fault(&first.span, ("S008", format!("{} is no type of touchpoint", quoted(&first.name)), help), faults);
        return None;
    }
    let mut made = Touchpoint {
        id: compact_str::format_compact!("line {}", setting.line),
        id_given: true,
        identity: Identity::customer(setting.customer),
        linked: None,
        event_time: setting.at,
        kind: first.name.as_str().into(),
        channel: None,
        session: None,
        properties: Vec::new(),
    };
    let mut sound = true;
    if let Err(trouble) = short(&first.name, MAX_NAME_BYTES) {
        fault(&first.span, trouble, faults);
        sound = false;
    }
    let mut rest = rest.iter().peekable();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    while let Some(word) = rest.next() {
        // `value=499 EUR`: a number and the currency after it are one amount.
        let number = word.value.as_ref().filter(|_| !word.quoted).and_then(|value| number(value));
        let currency =
            rest.next_if(|next| number.is_some() && next.value.is_none() && Currency::parse(&next.name).is_some());
        let taken = match (number, currency.and_then(|word| Currency::parse(&word.name))) {
            (Some(amount), Some(currency)) => money(&mut made, &word.name, amount, currency),
            (Some(_), None) | (None, _) => take(&mut made, word, setting),
        };
        let twice = word.value.is_some() && !seen.insert(&word.name);
        let taken = if twice { Err(given_twice(&word.name)) } else { taken };
        if let Err(trouble) = taken {
            fault(&word.span, trouble, faults);
            sound = false;
        }
    }
    if made.linked.is_some() && made.identity.anonymous_id().is_some() {
        let help = "write as=CUSTOMER beside anonymous_id=, or as=anonymous:ID alone".to_owned();
        let cause = "a touchpoint that names two ids is a customer's".to_owned();
        fault(&first.span, ("S009", cause, help), faults);
        sound = false;
    }
    made.properties.sort_by(|one, other| one.0.cmp(&other.0));
    sound.then_some(made)
}

fn given_twice(name: &str) -> Trouble {
    ("S013", format!("{} is given twice", quoted(name)), "keep one of them".to_owned())
}

fn money(made: &mut Touchpoint, name: &str, amount: f64, currency: Currency) -> Result<(), Trouble> {
    short(name, MAX_NAME_BYTES)?;
    if Money::new(amount, currency).is_none() {
        return Err(("S009", format!("{amount} is too large an amount"), "write a smaller one".to_owned()));
    }
    let text = Value::Text(currency.as_str().into());
    match made.properties.iter().find(|(name, _)| name == "currency") {
        None => made.properties.push(("currency".into(), text)),
        Some((_, other)) if *other == text => {}
        Some(_) => {
            let help = "write all amounts of a touchpoint in one currency";
            return Err(("S009", "a touchpoint has one currency, and this is another".to_owned(), help.to_owned()));
        }
    }
    made.properties.push((name.into(), Value::Number(amount)));
    Ok(())
}

fn take(made: &mut Touchpoint, word: &Word, setting: &Setting<'_>) -> Result<(), Trouble> {
    let name = word.name.as_str();
    let value = word.value.as_deref().filter(|value| !name.is_empty() && (word.quoted || !value.is_empty()));
    let Some(value) = value else {
        let help = "write name=value, name=\"two words\", or an amount as value=499 EUR".to_owned();
        return Err(("S008", format!("{} is no name=value", quoted(&word.shown())), help));
    };
    short(name, MAX_NAME_BYTES)?;
    let is_property = !matches!(name, "as" | "anonymous_id" | "at" | "id" | "session" | "channel" | "on");
    short(value, if is_property { MAX_TEXT_BYTES } else { MAX_NAME_BYTES })?;
    let empty = value.is_empty() || value == "anonymous:";
    if !is_property && empty {
        return Err(("S009", format!("`{name}` is empty"), "give it a value, or remove it".to_owned()));
    }
    match name {
        "as" => {
            made.identity = match value.strip_prefix("anonymous:") {
                Some(id) => Identity::anonymous(id),
                None => Identity::customer(value),
            }
        }
        "anonymous_id" => made.linked = Some(value.into()),
        "at" => made.event_time = happened(value, setting)?,
        "id" => made.id = value.into(),
        "session" => made.session = Some(value.into()),
        "channel" | "on" if made.channel.is_some() => return Err(given_twice(name)),
        "channel" | "on" => made.channel = Some(value.into()),
        "currency" if made.properties.iter().any(|(name, _)| name == "currency") => return Err(given_twice(name)),
        property => made.properties.push((property.into(), read_value(word, value, setting)?)),
    }
    Ok(())
}

fn happened(value: &str, setting: &Setting<'_>) -> Result<Timestamp, Trouble> {
    let at = setting.times.read(value)?;
    if at > setting.at {
        let help = "move the row to when the touchpoint comes in, and keep at= for when it happened".to_owned();
        return Err(("S014", format!("`at={value}` lies after the row's own time"), help));
    }
    Ok(at)
}

fn read_value(word: &Word, value: &str, setting: &Setting<'_>) -> Result<Value, Trouble> {
    if word.quoted || setting.ids.contains(&word.name) {
        return Ok(Value::Text(value.into()));
    }
    if let Some(after) = value.strip_prefix('@') {
        return match setting.times.read(after) {
            Ok(at) => Ok(Value::Text(compact_str::format_compact!("{at}"))),
            Err((code, cause, help)) => {
                let help = format!("after @ {help}; a text that begins with @ stands in quotes");
                Err((code, cause, help))
            }
        };
    }
    Ok(match (value, number(value)) {
        ("true", _) => Value::Flag(true),
        ("false", _) => Value::Flag(false),
        (_, Some(number)) => Value::Number(number),
        (_, None) => Value::Text(value.into()),
    })
}

/// A plain decimal number. `007` is a text, as are `1e5`, `inf` and `nan`.
fn number(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let padded = digits.starts_with('0') && digits.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite())?;
    (plain && !padded && !digits.starts_with('.') && !digits.ends_with('.')).then_some(number)
}

fn short(text: &str, most: usize) -> Result<(), Trouble> {
    if text.len() <= most {
        return Ok(());
    }
    Err(("S009", format!("{} is longer than {most} bytes", quoted(text)), "shorten it".to_owned()))
}

impl Word {
    fn shown(&self) -> String {
        match &self.value {
            Some(value) => format!("{}={value}", self.name),
            None => self.name.clone(),
        }
    }
}

/// Cuts a cell into words; an error is where quotes begin that do not end.
fn words(raw: &str) -> Result<Vec<Word>, Range<usize>> {
    let mut words: Vec<Word> = Vec::new();
    let mut open: Option<Word> = None;
    let mut quotes: Option<usize> = None;
    let mut chars = raw.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if quotes.is_none() && c.is_whitespace() {
            words.extend(open.take());
            continue;
        }
        let word = open.get_or_insert_with(|| Word { span: at..at, name: String::new(), value: None, quoted: false });
        word.span.end = at + c.len_utf8();
        match c {
            '"' => {
                quotes = if quotes.is_some() { None } else { Some(at) };
                word.quoted = true;
            }
            '=' if quotes.is_none() && word.value.is_none() => word.value = Some(String::new()),
            // A bar within a cell is written with a backslash; the backslash is the table's.
            '\\' if chars.peek().is_some_and(|(_, next)| *next == '|') => {}
            c => word.value.as_mut().unwrap_or(&mut word.name).push(c),
        }
    }
    words.extend(open);
    match quotes {
        Some(at) => Err(at..at + 1),
        None => Ok(words),
    }
}
