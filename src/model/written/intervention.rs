//! An intervention as it is written: which outcomes ask for it, for whom, how often, and what is offered.

use super::{DURATIONS, Name, duration, listed_names, text};
use crate::diagnostic::{Faults, Spanned, quoted};
use crate::time::Span;
use crate::yaml::{Entry, Value};

/// The most that a cap may allow.
const MOST_CONTACTS: u64 = 100;
/// The most caps of one kind.
const MOST_CAPS: usize = 4;
/// The largest weight of a variant, and the highest priority.
const MOST_WEIGHT: u64 = 10_000;

/// An intervention.
#[derive(Debug)]
pub struct Intervention {
    /// The name.
    pub name: Name,
    /// The outcomes that ask for it.
    pub on: Vec<Outcomes>,
    /// Must hold when it is asked for.
    pub when: Option<Name>,
    /// The segments it is for; empty: everyone.
    pub segments: Vec<Name>,
    /// Where it reaches the customer.
    pub channel: Option<Name>,
    /// The higher wins.
    pub priority: u32,
    /// How often one customer gets it.
    pub caps: Vec<Cap>,
    /// So long after anything on its channel there is no other.
    pub cool_down: Option<Span>,
    /// The consent without which it is not made.
    pub needs: Option<Name>,
    /// What becomes of it in quiet hours.
    pub quiet: Quiet,
    /// Who never gets it.
    pub holdout: Option<Holdout>,
    /// The variants, with their weights.
    pub variants: Vec<(Name, u32)>,
    /// How long it stands.
    pub expires: Option<Span>,
    /// The outcomes that take it back.
    pub withdrawn_by: Vec<Outcomes>,
    /// What it is to bring about.
    pub goal: Option<(Outcomes, Span)>,
    /// What is handed on with it.
    pub payload: Vec<(Name, Payload)>,
}

/// Outcomes of one kind by their name: `{ friction: hard-checkout }`.
#[derive(Debug)]
pub struct Outcomes {
    /// `friction`, `abandonment`, …
    pub kind: Name,
    /// Of which rule, stage or episode.
    pub of: Name,
}

/// At most so many within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap {
    /// How many.
    pub most: u32,
    /// Within which time.
    pub within: Span,
}

/// What becomes of an intervention in quiet hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quiet {
    /// It is not made.
    #[default]
    Skip,
    /// It waits until they are over, and is judged again then; not for longer than this after the outcome that asks.
    Wait {
        /// The longest that it waits.
        at_most: Span,
    },
    /// It is made all the same.
    Ignore,
}

/// An intervention waits for the end of quiet hours for so long, unless the model says otherwise.
const WAITS: Span = Span::from_secs(12 * 3_600);

/// A part of the customers that is left alone for comparison.
#[derive(Debug)]
pub struct Holdout {
    /// In hundredths of a percent.
    pub share: u32,
    /// What the draw depends on beside the customer.
    pub salt: Option<Name>,
}

/// A value of the payload.
#[derive(Debug)]
pub enum Payload {
    /// The same for everyone.
    Same(String),
    /// By variant.
    ByVariant(Vec<(Name, String)>),
}

impl Intervention {
    /// One that cannot be read keeps its name.
    pub(super) fn read(entry: &Entry, faults: &mut Faults) -> Intervention {
        let mut one = Intervention {
            name: entry.key.clone(),
            on: Vec::new(),
            when: None,
            segments: Vec::new(),
            channel: None,
            priority: 0,
            caps: Vec::new(),
            cool_down: None,
            needs: None,
            quiet: Quiet::Skip,
            holdout: None,
            variants: Vec::new(),
            expires: None,
            withdrawn_by: Vec::new(),
            goal: None,
            payload: Vec::new(),
        };
        let what = format!("intervention {}", quoted(&entry.key.value));
        let Some(mut reader) = Value::from(entry).map(what, faults) else { return one };
        let on = reader.required("on", "on: { abandonment: basket }", faults);
        one.on = on.map_or_else(Vec::new, |value| outcomes(&value, faults));
        one.when = text(reader.optional("when"), faults);
        one.segments =
            reader.optional("for").and_then(|value| listed_names(&value, "a segment", faults)).unwrap_or_default();
        one.channel = text(reader.required("channel", "channel: chat", faults), faults);
        let priority = reader.optional("priority").and_then(|value| value.integer(0..=MOST_WEIGHT, faults));
        one.priority = priority.map_or(0, |number| small(number.value));
        one.caps = reader.optional("at most").map_or_else(Vec::new, |value| caps(&value, faults));
        one.cool_down = duration(reader.optional("cool-down"), faults).map(|span| span.value);
        one.needs = text(reader.optional("needs"), faults);
        let quiet = reader.optional("quiet hours");
        let at_most = duration(reader.optional("wait at most"), faults);
        let waits = Quiet::Wait { at_most: at_most.as_ref().map_or(WAITS, |span| span.value) };
        let words = [("skip", Quiet::Skip), ("wait", waits), ("ignore", Quiet::Ignore)];
        one.quiet = quiet.and_then(|value| value.word(&words, faults)).map_or(Quiet::Skip, |word| word.value);
        if let (Some(at_most), Quiet::Skip | Quiet::Ignore) = (&at_most, one.quiet) {
            let help = "write `quiet hours: wait`, or remove this line";
            faults.error("M114", &at_most.place, "`wait at most` has no effect without `quiet hours: wait`", help);
        }
        one.holdout = reader.optional("holdout").and_then(|value| Holdout::read(&value, faults));
        one.variants = reader.optional("variants").map_or_else(Vec::new, |value| weights(&value, faults));
        let expires = reader.required("expires", "expires: 5m", faults);
        one.expires = expires.and_then(|value| value.duration(&DURATIONS, faults)).map(|span| span.value);
        one.withdrawn_by = reader.optional("withdrawn by").map_or_else(Vec::new, |value| outcomes(&value, faults));
        one.goal = reader.optional("goal").and_then(|value| goal(&value, faults));
        one.payload = reader.optional("payload").map_or_else(Vec::new, |value| payload(&value, faults));
        reader.finish(faults);
        one
    }
}

impl Holdout {
    /// Reads `{ share: 10%, salt: rescue-chat-1 }`.
    pub(in crate::model) fn read(value: &Value<'_>, faults: &mut Faults) -> Option<Holdout> {
        let mut reader = value.map("`holdout`", faults)?;
        let share = reader.required("share", "share: 10%", faults);
        let salt = text(reader.optional("salt"), faults);
        reader.finish(faults);
        let share = share?.text(faults)?;
        let hundredths = percent(&share.value).filter(|share| (1..10_000).contains(share));
        if hundredths.is_none() {
            let cause = format!("{} is no share of the customers", quoted(&share.value));
            faults.error("M111", &share.place, cause, "write a part of a hundred between 0 and 100, such as `share: 10%`");
        }
        Some(Holdout { share: hundredths?, salt })
    }
}

/// `10%` or `2.5%` in hundredths of a percent.
fn percent(text: &str) -> Option<u32> {
    let (whole, part) = match text.strip_suffix('%')?.trim_end().split_once('.') {
        Some((whole, part)) => (whole.to_owned(), format!("{part:0<2}")),
        None => (text.strip_suffix('%')?.trim_end().to_owned(), "00".to_owned()),
    };
    let digits = |text: &str| !text.is_empty() && text.len() < 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(&whole) || !digits(&part) || part.len() != 2 {
        return None;
    }
    Some(whole.parse::<u32>().ok()? * 100 + part.parse::<u32>().ok()?)
}

/// One map of kinds and names, or a list of such maps.
fn outcomes(value: &Value<'_>, faults: &mut Faults) -> Vec<Outcomes> {
    let mut all = Vec::new();
    for item in value.items() {
        for entry in item.entries("outcomes, such as `abandonment: basket`", faults).unwrap_or_default() {
            let names = listed_names(&Value::from(entry), "a rule, a stage, an episode", faults).unwrap_or_default();
            all.extend(names.into_iter().map(|of| Outcomes { kind: entry.key.clone(), of }));
        }
    }
    if all.is_empty() && value.is_empty_list() {
        faults.error("M007", value.place(), format!("{} is empty", value.label()), "name at least one, or remove the line");
    }
    all
}

/// `{ completion: basket, within: 24h }`: one outcome and a time.
fn goal(value: &Value<'_>, faults: &mut Faults) -> Option<(Outcomes, Span)> {
    let mut of = None;
    let mut within = None;
    for entry in value.entries("an outcome and `within`", faults)? {
        let held = Value::from(entry);
        if entry.key.value == "within" {
            within = held.duration(&DURATIONS, faults).map(|span: Spanned<Span>| span.value);
        } else if let Some(name) = held.text(faults) {
            of = Some(Outcomes { kind: entry.key.clone(), of: name });
        }
    }
    if of.is_none() || within.is_none() {
        let help = "write one outcome and a time, such as `goal: { completion: basket, within: 24h }`";
        faults.error("Y011", value.place(), format!("{} needs an outcome and `within`", value.label()), help);
    }
    Some((of?, within?))
}

/// `{ 2 within: 1d }`, or a list of such maps.
pub(in crate::model) fn caps(value: &Value<'_>, faults: &mut Faults) -> Vec<Cap> {
    let mut all = Vec::new();
    for item in value.items() {
        for entry in item.entries("caps, such as `1 within: 7d`", faults).unwrap_or_default() {
            let number = entry.key.value.strip_suffix(" within").and_then(|number| number.trim_end().parse::<u64>().ok());
            let Some(most) = number.filter(|most| (1..=MOST_CONTACTS).contains(most)) else {
                let cause = format!("{} is no cap", entry.key.place.quoted(&entry.key.value));
                let help = format!("write how many from 1 to {MOST_CONTACTS} and a time, such as `1 within: 7d`");
                faults.error("Y014", &entry.key.place, cause, help);
                continue;
            };
            if let Some(within) = Value::from(entry).duration(&DURATIONS, faults) {
                all.push(Cap { most: small(most), within: within.value });
            }
        }
    }
    if all.len() > MOST_CAPS {
        let cause = format!("{} has {} caps, more than {MOST_CAPS}", value.label(), all.len());
        faults.error("Y014", value.place(), cause, "keep those that matter");
    }
    all
}

fn weights(value: &Value<'_>, faults: &mut Faults) -> Vec<(Name, u32)> {
    let entries = value.entries("variants, such as `plain: 1`", faults).unwrap_or_default();
    let weight = |entry: &Entry, faults: &mut Faults| {
        let weight = Value::from(entry).integer(1..=MOST_WEIGHT, faults)?;
        Some((entry.key.clone(), small(weight.value)))
    };
    entries.iter().filter_map(|entry| weight(entry, faults)).collect()
}

fn payload(value: &Value<'_>, faults: &mut Faults) -> Vec<(Name, Payload)> {
    let entries = value.entries("values", faults).unwrap_or_default();
    let one = |entry: &Entry, faults: &mut Faults| {
        let held = Value::from(entry);
        if !held.is_map() {
            return Some((entry.key.clone(), Payload::Same(held.text(faults)?.value)));
        }
        let by = held.entries("values by variant", faults)?;
        let by = by.iter().filter_map(|entry| Some((entry.key.clone(), Value::from(entry).text(faults)?.value)));
        Some((entry.key.clone(), Payload::ByVariant(by.collect())))
    };
    entries.iter().filter_map(|entry| one(entry, faults)).collect()
}

/// What has been held against a small limit.
fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
