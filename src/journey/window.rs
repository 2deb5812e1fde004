//! From what a customer's latest story can be told anew: the state before it, and what came since (rule 18).
//!
//! A customer who was active within the grace has a window: an *anchor*, the packed state before the first touchpoint or fired
//! deadline in it, and the touchpoints since, reduced to what was read of them. So that steady activity never costs a second
//! telling, there is a *younger* image on the way: once it is older than the grace it becomes the anchor.

use std::sync::Arc;

use super::packed::bytes::{Bytes, Damaged, push_id, push_number, push_signed};
use super::packed::words::Words;
use super::recent::{push_word, read_word, set_length};
use super::{Customer, Id};
use crate::model::Model;
use crate::time::{Span, Timestamp};
use crate::touchpoint::{Identity, Touchpoint, Value};

/// So many touchpoints that come within the grace can be told in any order; of more, the oldest become too old.
pub(super) const MAX_TOUCHPOINTS: usize = 256;
/// So many bytes of touchpoints, likewise.
const MAX_BYTES: usize = 128 * 1024;

/// What is kept of a customer who was active within the grace.
#[derive(Clone, Debug)]
pub struct Window {
    kind: Kind,
    /// The state before the first step, as packed and without whose it is; empty where nobody was there.
    anchor: Vec<u8>,
    /// The last instant that the anchor knows. A touchpoint of before is too old.
    anchored_at: Timestamp,
    younger: Option<Younger>,
    /// The instant of the first step; those of touchpoints are counted from it.
    begun: Timestamp,
    /// The instant of the last step.
    last: Timestamp,
    count: usize,
    /// The touchpoints as packed, in the order of their instants.
    entries: Vec<u8>,
    /// The same taken apart, so that it can be read without the dictionary.
    whole: Option<Box<Whole>>,
    /// The state as it was opened: what an anchor is made of.
    was: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// The customer was not active within the grace.
    #[default]
    Closed,
    /// There is an anchor.
    Open,
    /// The models have changed since the last step, so that nothing of before can be told anew.
    Sealed,
}

#[derive(Clone, Debug, PartialEq)]
struct Younger {
    image: Vec<u8>,
    /// So many touchpoints are in it.
    count: usize,
    /// The last instant that it knows.
    at: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
struct Whole {
    anchor: Customer,
    younger: Option<Customer>,
    entries: Vec<Entry>,
}

/// A touchpoint in a window.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// Without whose it is.
    pub(super) touchpoint: Touchpoint,
    /// The instant at which it is applied.
    pub(super) at: Timestamp,
    /// The anonymous customer whose journey it joins, as it was then; nobody's where nothing was known of it yet.
    pub(super) joins: Option<Box<Customer>>,
}

impl Default for Window {
    fn default() -> Self {
        Window {
            kind: Kind::Closed,
            anchor: Vec::new(),
            anchored_at: Timestamp::MIN,
            younger: None,
            begun: Timestamp::MIN,
            last: Timestamp::MIN,
            count: 0,
            entries: Vec::new(),
            whole: None,
            was: Vec::new(),
        }
    }
}

/// What is kept between touchpoints.
impl PartialEq for Window {
    fn eq(&self, other: &Self) -> bool {
        let Window { kind, anchor, anchored_at, younger, begun, last, count, entries, whole, was: _ } = self;
        if *kind != other.kind {
            return false;
        }
        *kind == Kind::Closed
            || (anchor, anchored_at, younger, begun) == (&other.anchor, &other.anchored_at, &other.younger, &other.begun)
                && (last, count, entries, whole) == (&other.last, &other.count, &other.entries, &other.whole)
    }
}

impl Window {
    /// Whether there is none.
    pub fn is_closed(&self) -> bool {
        self.kind == Kind::Closed
    }

    /// Whether no touchpoint can come any more that is to be told within it.
    pub(crate) fn is_over(&self, stream_time: Timestamp, grace: Span) -> bool {
        self.last + grace < stream_time
    }

    /// The last step: what happened at or after it is in order.
    pub(super) fn last(&self) -> Timestamp {
        if self.is_closed() { Timestamp::MIN } else { self.last }
    }

    /// What happened before is too old.
    pub(super) fn reaches_to(&self) -> Timestamp {
        match self.kind {
            Kind::Closed => Timestamp::MIN,
            Kind::Open => self.anchored_at,
            Kind::Sealed => self.last,
        }
    }

    /// How many touchpoints are in it.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn anchor(&self) -> &[u8] {
        &self.anchor
    }

    pub(super) fn close(&mut self) {
        self.kind = Kind::Closed;
        self.anchor.clear();
        self.anchored_at = Timestamp::MIN;
        self.younger = None;
        self.count = 0;
        self.entries.clear();
        self.whole = None;
    }

    /// The models have changed: what came before can be told no more.
    pub(super) fn seal(&mut self) {
        if !self.is_closed() {
            let last = self.last;
            self.close();
            (self.kind, self.begun, self.last) = (Kind::Sealed, last, last);
        }
    }

    /// Nobody's.
    pub(super) fn reset(&mut self) {
        self.close();
        self.was.clear();
    }

    /// The state as it is at rest.
    pub(super) fn opened(&mut self, rest: &[u8]) {
        self.was.clear();
        self.was.extend_from_slice(rest);
    }

    /// A step at `at` is about to be made, later than all others: sees to it that there is a window that it can be in.
    pub(super) fn begin_step(&mut self, at: Timestamp, stream_time: Timestamp, grace: Span) {
        match self.kind {
            Kind::Open => self.roll(stream_time, grace),
            Kind::Closed | Kind::Sealed => {
                self.anchored_at = self.reaches_to();
                self.kind = Kind::Open;
                std::mem::swap(&mut self.anchor, &mut self.was);
                self.begun = at;
            }
        }
        self.last = at;
    }

    fn roll(&mut self, stream_time: Timestamp, grace: Span) {
        let is_full = |count: usize, bytes: usize| count >= MAX_TOUCHPOINTS || bytes >= MAX_BYTES;
        match &mut self.younger {
            None if self.begun + grace < stream_time || is_full(self.count, self.entries.len()) => {
                let image = std::mem::take(&mut self.was);
                self.younger = Some(Younger { image, count: self.count, at: self.last });
            }
            Some(younger) if younger.at + grace < stream_time || is_full(self.count / 2, self.entries.len() / 2) => {
                let image = std::mem::replace(&mut younger.image, std::mem::take(&mut self.was));
                self.anchor = image;
                self.anchored_at = younger.at;
                let gone = skip(&self.entries, younger.count);
                self.entries.drain(..gone);
                self.count -= younger.count;
                (younger.count, younger.at) = (self.count, self.last);
            }
            None | Some(_) => {}
        }
    }

    /// Whether it holds what a story can be told anew from.
    pub(super) fn is_open(&self) -> bool {
        self.kind == Kind::Open
    }

    /// Nothing happens after this instant: the journey goes on elsewhere.
    pub(super) fn end_at(&mut self, at: Timestamp) {
        self.last = at;
        self.younger = None;
    }

    /// Appends a touchpoint that joins somebody's journey.
    pub(super) fn push_joining(&mut self, entry: &Entry, words: &mut Words) {
        pack_entry(entry, self.begun, |_| true, words, &mut self.entries);
        self.count += 1;
    }

    /// Appends a touchpoint that is applied at `at`.
    pub(super) fn push(&mut self, touchpoint: &Touchpoint, at: Timestamp, models: &[Arc<Model>], words: &mut Words) {
        let read = |name: &str| models.iter().any(|model| model.reads(name));
        pack_touchpoint(touchpoint, at, None, self.begun, read, words, &mut self.entries);
        self.count += 1;
    }

    /// Whether a touchpoint of this id is in it.
    pub(super) fn has(&self, id: &Id) -> bool {
        let mut left = Bytes(&self.entries);
        while let Ok(length) = left.small()
            && let Ok(entry) = left.take(length)
        {
            let mut entry = Bytes(entry);
            if entry.byte().is_ok_and(|flags| flags & GIVEN != 0) && entry.id().is_ok_and(|known| known == *id) {
                return true;
            }
        }
        false
    }

    /// The touchpoints, in order.
    pub(super) fn entries(&self, words: &Words) -> Result<Vec<Entry>, Damaged> {
        let mut entries = Vec::with_capacity(self.count + 1);
        let mut left = Bytes(&self.entries);
        while !left.is_empty() {
            let length = left.small()?;
            entries.push(open_entry(Bytes(left.take(length)?), self.begun, words)?);
        }
        if entries.len() == self.count { Ok(entries) } else { Err(Damaged) }
    }

    /// How many touchpoints the younger image has in it.
    pub(super) fn younger_count(&self) -> Option<usize> {
        self.younger.as_ref().map(|younger| younger.count)
    }

    /// The story was told anew: these are the touchpoints now, and the state after so many of them.
    pub(super) fn retell(
        &mut self,
        entries: &[Entry],
        last: Timestamp,
        younger: Option<(Vec<u8>, usize, Timestamp)>,
        words: &mut Words,
    ) {
        self.begun = entries.first().map_or(self.begun, |first| first.at.min(self.begun));
        self.entries.clear();
        for entry in entries {
            pack_entry(entry, self.begun, |_| true, words, &mut self.entries);
        }
        self.count = entries.len();
        self.last = last;
        self.younger = younger.map(|(image, count, at)| Younger { image, count, at });
    }
}

/// How many bytes the first `count` of packed touchpoints take.
fn skip(entries: &[u8], count: usize) -> usize {
    let mut left = Bytes(entries);
    for _ in 0..count {
        if left.small().and_then(|length| left.take(length)).is_err() {
            break;
        }
    }
    entries.len() - left.0.len()
}

/// Numbers of sections, after those of the state itself.
pub(super) mod section {
    /// What kind of window there is, and its instants.
    pub(crate) const WINDOW: u8 = 5;
    /// The touchpoints.
    pub(crate) const ENTRIES: u8 = 6;
    /// The state before them.
    pub(crate) const ANCHOR: u8 = 7;
    /// The state after some of them.
    pub(crate) const YOUNGER: u8 = 8;
}

const OPEN: u8 = 1;
const HAS_YOUNGER: u8 = 2;
const UNANCHORED: u8 = 4;

impl Window {
    /// The head: all but touchpoints and images.
    pub(super) fn pack_head(&self, out: &mut Vec<u8>) {
        let since = |at: Timestamp| at.as_millis().wrapping_sub(self.begun.as_millis());
        let unanchored = self.anchored_at == Timestamp::MIN;
        let flag = |bit: u8, set: bool| if set { bit } else { 0 };
        out.push(
            flag(OPEN, self.kind == Kind::Open) | flag(HAS_YOUNGER, self.younger.is_some()) | flag(UNANCHORED, unanchored),
        );
        push_signed(out, self.begun.as_millis());
        push_signed(out, since(self.last));
        push_number(out, self.count as u64);
        if !unanchored {
            push_signed(out, since(self.anchored_at));
        }
        if let Some(younger) = &self.younger {
            push_number(out, younger.count as u64);
            push_signed(out, since(younger.at));
        }
    }

    pub(super) fn open_head(&mut self, mut bytes: Bytes<'_>) -> Result<(), Damaged> {
        let flags = bytes.byte()?;
        self.kind = if flags & OPEN != 0 { Kind::Open } else { Kind::Sealed };
        self.begun = Timestamp::from_millis(bytes.signed()?);
        let begun = self.begun.as_millis();
        let since = |bytes: &mut Bytes<'_>| bytes.signed().map(|since| Timestamp::from_millis(begun.wrapping_add(since)));
        self.last = since(&mut bytes)?;
        self.count = bytes.small()?;
        self.anchored_at = if flags & UNANCHORED != 0 { Timestamp::MIN } else { since(&mut bytes)? };
        if flags & HAS_YOUNGER != 0 {
            self.younger = Some(Younger { image: Vec::new(), count: bytes.small()?, at: since(&mut bytes)? });
        }
        if bytes.is_empty() { Ok(()) } else { Err(Damaged) }
    }

    /// The last step of the window whose head these bytes are.
    pub(super) fn last_of_head(mut bytes: Bytes<'_>) -> Result<Timestamp, Damaged> {
        bytes.byte()?;
        let begun = bytes.signed()?;
        Ok(Timestamp::from_millis(begun.wrapping_add(bytes.signed()?)))
    }

    pub(super) fn open_entries(&mut self, bytes: &[u8]) {
        self.entries.extend_from_slice(bytes);
    }

    pub(super) fn open_anchor(&mut self, bytes: &[u8]) {
        self.anchor.extend_from_slice(bytes);
    }

    pub(super) fn open_younger(&mut self, bytes: &[u8]) -> Result<(), Damaged> {
        self.younger.as_mut().ok_or(Damaged)?.image.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn pack_entries(&self, words: &mut Words, out: &mut Vec<u8>) {
        match &self.whole {
            Some(whole) => {
                for entry in &whole.entries {
                    pack_entry(entry, self.begun, |_| true, words, out);
                }
            }
            None => out.extend_from_slice(&self.entries),
        }
    }

    pub(super) fn pack_anchor(&self, words: &mut Words, out: &mut Vec<u8>) {
        match &self.whole {
            // Nobody was there before.
            Some(whole) if whole.anchor.touchpoints == 0 && whole.anchor.redirect.is_none() => {}
            Some(whole) => whole.anchor.pack_rest(words, out),
            None => out.extend_from_slice(&self.anchor),
        }
    }

    pub(super) fn pack_younger(&self, words: &mut Words, out: &mut Vec<u8>) {
        match (&self.whole, &self.younger) {
            (Some(whole), _) => whole.younger.iter().for_each(|younger| younger.pack_rest(words, out)),
            (None, Some(younger)) => out.extend_from_slice(&younger.image),
            (None, None) => {}
        }
    }

    /// Takes all of it apart, so that it can be read and packed without the dictionary that it was packed with.
    pub(super) fn expand(&mut self, words: &Words) -> Result<(), Damaged> {
        self.was = Vec::new();
        if self.kind != Kind::Open {
            return Ok(());
        }
        let image = |packed: &[u8]| {
            let mut customer = Customer::default();
            if !packed.is_empty() {
                customer.open_rest(packed, words)?;
                customer.expand(words)?;
            }
            Ok(customer)
        };
        let younger = self.younger.as_ref().map(|younger| image(&younger.image)).transpose()?;
        let mut entries = self.entries(words)?;
        entries.iter_mut().filter_map(|entry| entry.joins.as_mut()).try_for_each(|joins| joins.expand(words))?;
        self.whole = Some(Box::new(Whole { anchor: image(&self.anchor)?, younger, entries }));
        self.anchor = Vec::new();
        self.entries = Vec::new();
        if let Some(younger) = &mut self.younger {
            younger.image = Vec::new();
        }
        Ok(())
    }

    /// Whether all that is packed can be read.
    pub(super) fn check(&self, words: &Words) -> Result<(), Damaged> {
        self.clone().expand(words)
    }
}

const GIVEN: u8 = 1;
const CHANNEL: u8 = 2;
const SESSION: u8 = 4;
const LINKED: u8 = 8;
/// It is applied at another instant than that at which it happened.
const LATE: u8 = 16;
/// It joins an anonymous customer's journey, whose state stands behind it.
const JOINS: u8 = 32;

/// How the value of a property is written.
mod value {
    pub(super) const TEXT: u8 = 0;
    pub(super) const NUMBER: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const TRUE: u8 = 3;
}

fn pack_entry(entry: &Entry, begun: Timestamp, read: impl Fn(&str) -> bool, words: &mut Words, out: &mut Vec<u8>) {
    pack_touchpoint(&entry.touchpoint, entry.at, entry.joins.as_deref(), begun, read, words, out);
}

/// One touchpoint: its length, what it has, its id, its instant, and what the models read of it.
fn pack_touchpoint(
    touchpoint: &Touchpoint,
    at: Timestamp,
    joins: Option<&Customer>,
    begun: Timestamp,
    read: impl Fn(&str) -> bool,
    words: &mut Words,
    out: &mut Vec<u8>,
) {
    let Touchpoint { id, id_given, identity: _, linked, event_time, kind, channel, session, properties } = touchpoint;
    let begin = out.len();
    out.push(0);
    let flag = |bit: u8, set: bool| if set { bit } else { 0 };
    out.push(
        flag(GIVEN, *id_given)
            | flag(CHANNEL, channel.is_some())
            | flag(SESSION, session.is_some())
            | flag(LINKED, linked.is_some())
            | flag(LATE, *event_time != at)
            | flag(JOINS, joins.is_some()),
    );
    push_id(out, &Id::of(id));
    push_signed(out, at.as_millis().wrapping_sub(begun.as_millis()));
    push_word(out, words, kind);
    if let Some(channel) = channel {
        push_word(out, words, channel);
    }
    if let Some(session) = session {
        push_id(out, &Id::of(session));
    }
    if let Some(linked) = linked {
        push_id(out, &Id::of(linked));
    }
    if *event_time != at {
        push_signed(out, event_time.as_millis().wrapping_sub(at.as_millis()));
    }
    if let Some(joins) = joins {
        let mut state = Vec::new();
        joins.pack_state(words, &mut state);
        push_number(out, state.len() as u64);
        out.extend_from_slice(&state);
    }
    for (name, value) in properties.iter().filter(|(name, _)| read(name)) {
        push_word(out, words, name);
        match value {
            Value::Text(text) => {
                out.push(value::TEXT);
                push_id(out, &Id::of(text));
            }
            Value::Number(number) => {
                out.push(value::NUMBER);
                out.extend_from_slice(&number.to_le_bytes());
            }
            Value::Flag(false) => out.push(value::FALSE),
            Value::Flag(true) => out.push(value::TRUE),
        }
    }
    set_length(out, begin);
}

fn open_entry(mut bytes: Bytes<'_>, begun: Timestamp, words: &Words) -> Result<Entry, Damaged> {
    let flags = bytes.byte()?;
    let mut touchpoint = Touchpoint { id_given: flags & GIVEN != 0, ..Touchpoint::default() };
    touchpoint.id = bytes.id()?.to_text();
    let at = Timestamp::from_millis(begun.as_millis().wrapping_add(bytes.signed()?));
    touchpoint.kind = read_word(&mut bytes, words)?;
    if flags & CHANNEL != 0 {
        touchpoint.channel = Some(read_word(&mut bytes, words)?);
    }
    if flags & SESSION != 0 {
        touchpoint.session = Some(bytes.id()?.to_text());
    }
    if flags & LINKED != 0 {
        touchpoint.linked = Some(bytes.id()?.to_text());
    }
    touchpoint.event_time = match flags & LATE {
        0 => at,
        _ => Timestamp::from_millis(at.as_millis().wrapping_add(bytes.signed()?)),
    };
    let joins = if flags & JOINS != 0 { Some(open_joined(&touchpoint, &mut bytes, words)?) } else { None };
    while !bytes.is_empty() {
        let name = read_word(&mut bytes, words)?;
        let value = match bytes.byte()? {
            value::TEXT => Value::Text(bytes.id()?.to_text()),
            value::NUMBER => Value::Number(f64::from_le_bytes(bytes.array()?)),
            value::FALSE => Value::Flag(false),
            value::TRUE => Value::Flag(true),
            _ => return Err(Damaged),
        };
        touchpoint.properties.push((name, value));
    }
    Ok(Entry { touchpoint, at, joins })
}

/// The anonymous customer whom a touchpoint joins.
fn open_joined(touchpoint: &Touchpoint, bytes: &mut Bytes<'_>, words: &Words) -> Result<Box<Customer>, Damaged> {
    let length = bytes.small()?;
    let mut joined = Box::new(Customer::new(Identity::anonymous(touchpoint.linked.clone().unwrap_or_default())));
    joined.open_rest(bytes.take(length)?, words)?;
    Ok(joined)
}
