//! From what a customer's latest story can be told anew: the state before it, and what came since (rule 18).
//!
//! A customer who was active within the grace has a window: an *anchor*, the packed state before the first touchpoint or fired
//! deadline in it, and the touchpoints since, reduced to what was read of them. So that steady activity never costs a second
//! telling, there is a *younger* image on the way: once it is older than the grace it becomes the anchor.
//!
//! A touchpoint that stands in the history is not kept twice: of it the window only has what the history has not.

mod packed;

use std::ops::Range;
use std::sync::Arc;

use compact_str::CompactString;

use super::packed::bytes::{Bytes, Damaged, push_id, push_number, push_signed, skip_id};
use super::packed::words::Words;
use super::recent::{Recent, SeenBefore, push_word, read_word, set_length};
use super::{Customer, Id, PastTouchpoint};
use crate::model::Model;
use crate::time::{Span, Timestamp};
use crate::touchpoint::{Identity, Touchpoint, Value};

/// So many touchpoints that come within the grace can be told in any order. Of twice as many, the first half becomes too old.
pub(crate) const MAX_TOUCHPOINTS: usize = 256;
/// So many bytes of touchpoints, likewise.
pub(crate) const MAX_BYTES: usize = 128 * 1024;
/// So many claims on anonymous ids of other shards wait for an answer.
pub(super) const MAX_CLAIMS: usize = 64;
/// For so long a claim on an anonymous id of another shard is waited for.
const CLAIMED_FOR: Span = Span::from_days(7);

/// What is kept of a customer who was active within the grace.
#[derive(Clone, Debug)]
pub struct Window {
    kind: Kind,
    /// The state before the first step, as packed and without whose it is; empty where nobody was there.
    anchor: Vec<u8>,
    /// The last instant that the anchor knows; a touchpoint of before is too old. Of a window that began where there was none, this is
    /// not known: see [`Window::knows_from`].
    anchored_at: Timestamp,
    younger: Option<Image>,
    /// The instant of the last step.
    last: Timestamp,
    count: usize,
    /// The touchpoints as packed, in the order of their instants.
    entries: Vec<u8>,
    /// Where in there the session of the last touchpoint stands, if it has one.
    session: Option<Range<usize>>,
    /// Anonymous ids of other shards that the customer has claimed and of which no answer has come, with the instants of the
    /// links: as long as it may come, what happened since then must be there to be told anew.
    claims: Vec<(CompactString, Timestamp)>,
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
    /// The models have changed since the last step, or a journey was joined too late to be told: nothing of before can be told anew.
    Sealed,
}

/// The state after some of the touchpoints.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Image {
    /// As packed, without whose it is.
    pub(super) state: Vec<u8>,
    /// So many touchpoints are in it.
    pub(super) count: usize,
    /// The last instant that it knows.
    pub(super) at: Timestamp,
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

/// What a window needs of the customer whose it is.
#[derive(Clone, Copy)]
pub(super) struct Beside<'a> {
    pub(super) recent: &'a Recent,
    /// How many touchpoints were applied.
    pub(super) touchpoints: u64,
}

impl Default for Window {
    fn default() -> Self {
        Window {
            kind: Kind::Closed,
            anchor: Vec::new(),
            anchored_at: Timestamp::MIN,
            younger: None,
            last: Timestamp::MIN,
            count: 0,
            entries: Vec::new(),
            session: None,
            claims: Vec::new(),
            whole: None,
            was: Vec::new(),
        }
    }
}

/// What is kept between touchpoints.
impl PartialEq for Window {
    fn eq(&self, other: &Self) -> bool {
        let Window { kind, anchor, anchored_at, younger, last, count, entries, session: _, claims, whole, was: _ } = self;
        if *kind != other.kind {
            return false;
        }
        *kind == Kind::Closed
            || (anchor, anchored_at, younger) == (&other.anchor, &other.anchored_at, &other.younger)
                && (last, count, entries, whole) == (&other.last, &other.count, &other.entries, &other.whole)
                && *claims == other.claims
    }
}

impl Window {
    /// Whether there is none.
    pub fn is_closed(&self) -> bool {
        self.kind == Kind::Closed
    }

    /// Whether no touchpoint can come any more that is to be told within it.
    pub(crate) fn is_over(&self, stream_time: Timestamp, grace: Span) -> bool {
        self.lasts_to() + grace < stream_time
    }

    /// The last step, or the instant to which answers to claims are waited for.
    pub(super) fn lasts_to(&self) -> Timestamp {
        self.claims.iter().map(|(_, at)| *at + CLAIMED_FOR).fold(self.last, Timestamp::max)
    }

    /// The customer has claimed an anonymous id that lives elsewhere.
    pub(super) fn claim(&mut self, anonymous: &CompactString, at: Timestamp) {
        if !self.awaits(anonymous, at) {
            self.claims.push((anonymous.clone(), at));
        }
    }

    /// Whether one more claim may wait for an answer.
    pub(super) fn can_claim(&self) -> bool {
        self.claims.len() < MAX_CLAIMS
    }

    /// Whether a claim has not been answered yet.
    pub(super) fn awaits(&self, anonymous: &str, at: Timestamp) -> bool {
        self.claims.iter().any(|(claimed, link)| claimed == anonymous && *link == at)
    }

    /// Whether any claim has not been answered yet.
    pub(super) fn awaits_any(&self) -> bool {
        !self.claims.is_empty()
    }

    /// The claim is answered.
    pub(super) fn answered(&mut self, anonymous: &str, at: Timestamp) {
        self.claims.retain(|(claimed, link)| claimed != anonymous || *link != at);
    }

    /// What happened from this instant on must be there to be told anew.
    fn held_from(&self) -> Timestamp {
        self.claims.iter().map(|(_, at)| *at).fold(Timestamp::MAX, Timestamp::min)
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

    /// What happened before this comes too late to be told in order. A window that begins where there is none does not know the
    /// last step before it; but that step lies more than the grace before stream time.
    pub(super) fn knows_from(&self, stream_time: Timestamp, grace: Span) -> Timestamp {
        let nobody_before = self.kind == Kind::Open && self.anchor.is_empty() && self.whole.is_none();
        match self.reaches_to() {
            Timestamp::MIN if !nobody_before => stream_time - grace,
            reaches_to => reaches_to,
        }
    }

    /// Whether the next touchpoint is one too many. In order, the window has moved on before.
    pub(super) fn is_full(&self) -> bool {
        self.count >= 2 * MAX_TOUCHPOINTS || self.entries.len() >= 2 * MAX_BYTES
    }

    /// The same of touchpoints that are to be told; how many bytes they take is asked when the next one comes.
    pub(super) fn is_full_of(entries: &[Entry]) -> bool {
        entries.len() > 2 * MAX_TOUCHPOINTS
    }

    /// What came up to an image becomes too old: from now on the story is told from there.
    pub(super) fn move_anchor(&mut self, image: Image, entries: &mut Vec<Entry>) {
        entries.drain(..image.count);
        self.anchored_at = image.at.max(self.anchored_at);
        self.anchor = image.state;
        self.younger = None;
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
        self.session = None;
        self.claims.clear();
        self.whole = None;
    }

    /// What came before can be told no more. Claims go on waiting.
    pub(super) fn seal(&mut self) {
        if !self.is_closed() {
            let claims = std::mem::take(&mut self.claims);
            self.close();
            self.claims = claims;
            self.kind = Kind::Sealed;
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
    pub(super) fn begin_step(&mut self, at: Timestamp, stream_time: Timestamp, grace: Span, beside: Beside<'_>) {
        match self.kind {
            Kind::Open => self.roll(stream_time, grace, beside),
            Kind::Closed | Kind::Sealed => {
                self.anchored_at = self.reaches_to();
                self.kind = Kind::Open;
                std::mem::swap(&mut self.anchor, &mut self.was);
            }
        }
        self.last = at;
    }

    fn roll(&mut self, stream_time: Timestamp, grace: Span, beside: Beside<'_>) {
        let is_full = |count: usize, bytes: usize| count >= MAX_TOUCHPOINTS || bytes >= MAX_BYTES;
        let begun = if self.younger.is_none() { self.begun(beside) } else { Timestamp::MIN };
        let held_from = self.held_from();
        match &mut self.younger {
            None if begun + grace < stream_time || is_full(self.count, self.entries.len()) => {
                let state = std::mem::take(&mut self.was);
                self.younger = Some(Image { state, count: self.count, at: self.last });
            }
            Some(younger)
                if younger.at + grace < stream_time && younger.at < held_from
                    || is_full(self.count / 2, self.entries.len() / 2) =>
            {
                self.anchor = std::mem::replace(&mut younger.state, std::mem::take(&mut self.was));
                self.anchored_at = younger.at;
                let gone = younger.count;
                (younger.count, younger.at) = (self.count - gone, self.last);
                self.drop_first(gone);
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

    /// The instant of the first touchpoint; of a window without any, that of the last step.
    fn begun(&self, beside: Beside<'_>) -> Timestamp {
        let first = self.raw().next().and_then(|first| first.applied_at(beside, self.number(0, beside)).ok());
        first.unwrap_or(self.last)
    }

    /// The number among the customer's touchpoints of the one at this place.
    fn number(&self, place: usize, beside: Beside<'_>) -> u64 {
        // Of what is left of an anonymous id that was joined, nothing stands in the history.
        (beside.touchpoints + 1).wrapping_sub((self.count - place) as u64)
    }

    fn raw(&self) -> impl Iterator<Item = Raw<'_>> {
        let mut left = Bytes(&self.entries);
        std::iter::from_fn(move || {
            let begin = left.0;
            let length: usize = left.small().ok()?;
            let bytes = left.take(length).ok()?;
            Raw::of(&begin[..begin.len() - left.0.len()], bytes).ok()
        })
    }

    fn drop_first(&mut self, count: usize) {
        let mut session: &[u8] = &[];
        let mut gone = 0;
        for raw in self.raw().take(count) {
            session = raw.session_after(session);
            gone += raw.whole.len();
        }
        let session = session.to_vec();
        self.entries.drain(..gone);
        self.count -= count;
        // The first one has its session of itself.
        let first = self.raw().next().filter(|raw| raw.flags & SAME_SESSION != 0).map(|raw| {
            let mut first = vec![0, raw.flags & !SAME_SESSION | SESSION];
            first.extend_from_slice(&session);
            first.extend_from_slice(raw.rest.0);
            set_length(&mut first, 0);
            (raw.whole.len(), first)
        });
        if let Some((length, first)) = first {
            self.entries.splice(..length, first);
        }
        self.find_session();
    }

    /// Notes where the session of the last touchpoint stands.
    fn find_session(&mut self) {
        let base = self.entries.as_ptr() as usize;
        let session = self.raw().fold(&self.entries[..0], |session, raw| raw.session_after(session));
        let place = || {
            let begin = session.as_ptr() as usize - base;
            begin..begin + session.len()
        };
        self.session = (!session.is_empty()).then(place);
    }

    /// The history is about to lose the touchpoint at this place: if the window refers to it, it is kept here from now on.
    pub(super) fn keep_listed(&mut self, listed: usize, beside: Beside<'_>, words: &mut Words) {
        let number = beside.touchpoints - beside.recent.len() as u64 + 1 + listed as u64;
        let first = self.number(0, beside);
        let Some(place) = number.checked_sub(first).map(|place| place as usize).filter(|place| *place < self.count) else {
            return;
        };
        let Some(raw) = self.raw().nth(place).filter(|raw| raw.flags & LISTED != 0) else { return };
        let begin = raw.whole.as_ptr() as usize - self.entries.as_ptr() as usize;
        let end = begin + raw.whole.len();
        let mut kept = vec![0, raw.flags & !LISTED];
        kept.extend_from_slice(raw.before_listed());
        beside.recent.pack_one(listed, words, &mut kept);
        kept.extend_from_slice(raw.properties());
        set_length(&mut kept, 0);
        self.entries.splice(begin..end, kept);
        self.find_session();
    }

    /// Appends a touchpoint that is applied at `at`. It is the next in the history, where that keeps any.
    pub(super) fn push(
        &mut self,
        touchpoint: &Touchpoint,
        at: Timestamp,
        models: &[Arc<Model>],
        base: i64,
        listed: bool,
        words: &mut Words,
    ) {
        let read = |name: &str| models.iter().any(|model| model.reads(name));
        self.append((touchpoint, at, None), (base, listed), read, words);
        self.count += 1;
    }

    /// Packs one: its length, what it has, and what the history has not.
    fn append(
        &mut self,
        (touchpoint, at, joins): (&Touchpoint, Timestamp, Option<&Customer>),
        (base, listed): (i64, bool),
        read: impl Fn(&str) -> bool,
        words: &mut Words,
    ) {
        let out = &mut self.entries;
        let begin = out.len();
        let flag = |bit: u8, set: bool| if set { bit } else { 0 };
        out.push(0);
        out.push(
            flag(LISTED, listed)
                | flag(LINKED, touchpoint.linked.is_some())
                | flag(LATE, touchpoint.event_time != at)
                | flag(JOINS, joins.is_some()),
        );
        if let Some(session) = &touchpoint.session {
            let place = out.len();
            push_id(out, &Id::of(session));
            if self.session.clone().is_some_and(|known| out[known] == out[place..]) {
                out.truncate(place);
                out[begin + 1] |= SAME_SESSION;
            } else {
                out[begin + 1] |= SESSION;
                self.session = Some(place..out.len());
            }
        } else {
            self.session = None;
        }
        if let Some(linked) = &touchpoint.linked {
            push_id(out, &Id::of(linked));
        }
        if touchpoint.event_time != at {
            push_signed(out, at.as_millis().wrapping_sub(touchpoint.event_time.as_millis()));
        }
        if let Some(joins) = joins {
            let mut state = Vec::new();
            joins.pack_state(words, &mut state);
            push_number(out, state.len() as u64);
            out.extend_from_slice(&state);
        }
        if !listed {
            super::recent::pack_past(&past(touchpoint, at), base, words, out);
        }
        for (name, value) in touchpoint.properties.iter().filter(|(name, _)| read(name)) {
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
        let before = out.len() - begin;
        set_length(out, begin);
        // A long one begins later by what its length takes.
        let moved = out.len() - begin - before;
        if let Some(session) = self.session.as_mut().filter(|session| session.start > begin) {
            *session = session.start + moved..session.end + moved;
        }
    }

    /// Whether a touchpoint of this id is in it, and of which type.
    pub(super) fn has(&self, id: &Id, kind: &str, beside: Beside<'_>, words: &Words) -> SeenBefore {
        let mut seen = SeenBefore::No;
        for (place, raw) in self.raw().enumerate() {
            let number = self.number(place, beside);
            // The ids are looked at first: almost none is the same.
            if raw.flags & LISTED != 0 && !listed(beside, number).is_ok_and(|place| beside.recent.has_id(place, id)) {
                continue;
            }
            let Ok((past, _)) = raw.past(beside, number, words) else { continue };
            if past.seen_at.is_some() && past.id == *id {
                if past.kind == kind {
                    return SeenBefore::Yes;
                }
                seen = SeenBefore::AsAnother;
            }
        }
        seen
    }

    /// The touchpoints, in order.
    pub(super) fn entries(&self, beside: Beside<'_>, words: &Words) -> Result<Vec<Entry>, Damaged> {
        let mut entries = Vec::with_capacity(self.count + 1);
        let mut session: &[u8] = &[];
        for (place, raw) in self.raw().enumerate() {
            session = raw.session_after(session);
            entries.push(raw.read(session, beside, self.number(place, beside), words)?);
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
        younger: Option<Image>,
        beside: Beside<'_>,
        words: &mut Words,
    ) {
        self.last = last;
        self.younger = younger.map(|image| Image { at: image.at.max(self.anchored_at), ..image });
        self.pack_all(entries, beside, words);
    }

    /// Packs all touchpoints. Those of before a journey was joined stand in the history among those of the other one, and so are
    /// kept here as a whole.
    pub(super) fn pack_all(&mut self, entries: &[Entry], beside: Beside<'_>, words: &mut Words) {
        self.entries.clear();
        self.session = None;
        self.count = entries.len();
        let joined = entries.iter().rposition(|entry| entry.joins.is_some()).unwrap_or(0);
        let first_listed = (entries.len() - beside.recent.len().min(entries.len())).max(joined);
        for (place, entry) in entries.iter().enumerate() {
            let listed = (beside.recent.base().as_millis(), place >= first_listed);
            self.append((&entry.touchpoint, entry.at, entry.joins.as_deref()), listed, |_| true, words);
        }
    }
}

/// A touchpoint as the history has it.
fn past(touchpoint: &Touchpoint, at: Timestamp) -> PastTouchpoint {
    PastTouchpoint {
        id: Id::of(&touchpoint.id),
        kind: touchpoint.kind.clone(),
        channel: touchpoint.channel.clone(),
        at: touchpoint.event_time,
        seen_at: touchpoint.id_given.then_some(at),
    }
}

/// Numbers of sections, after those of the state itself.
pub(super) mod section {
    /// What is unusual about the window.
    pub(crate) const WINDOW: u8 = 5;
    /// The state before it.
    pub(crate) const ANCHOR: u8 = 6;
    /// The state after some of the touchpoints.
    pub(crate) const YOUNGER: u8 = 7;
    /// The touchpoints: all the rest, without a length, so that one more only adds to the end.
    pub(crate) const ENTRIES: u8 = 8;
}

/// When the latest touchpoint of the history happened.
fn latest(recent: &Recent) -> Option<Timestamp> {
    recent.at(recent.len().checked_sub(1)?)
}

/// It stands in the history, which has its id, type, channel and event time.
const LISTED: u8 = 1;
const SESSION: u8 = 2;
/// It has the session of the touchpoint before.
const SAME_SESSION: u8 = 4;
const LINKED: u8 = 8;
/// It is applied at another instant than that at which it happened.
const LATE: u8 = 16;
/// It joins an anonymous customer's journey, whose state stands behind the delay.
const JOINS: u8 = 32;

/// How the value of a property is written.
mod value {
    pub(super) const TEXT: u8 = 0;
    pub(super) const NUMBER: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const TRUE: u8 = 3;
}

/// A packed touchpoint of a window.
#[derive(Clone, Copy)]
struct Raw<'a> {
    /// With its length.
    whole: &'a [u8],
    flags: u8,
    session: &'a [u8],
    /// What follows the session.
    rest: Bytes<'a>,
    /// The state of whom it joins.
    joins: Option<&'a [u8]>,
    /// What follows the delay and that state.
    after: &'a [u8],
}

impl<'a> Raw<'a> {
    fn of(whole: &'a [u8], bytes: &'a [u8]) -> Result<Self, Damaged> {
        let mut left = Bytes(bytes);
        let flags = left.byte()?;
        let begin = left.0;
        if flags & SESSION != 0 {
            skip_id(&mut left)?;
        }
        let session = &begin[..begin.len() - left.0.len()];
        let rest = left;
        if flags & LINKED != 0 {
            skip_id(&mut left)?;
        }
        if flags & LATE != 0 {
            left.signed()?;
        }
        let joins = match flags & JOINS {
            0 => None,
            _ => {
                let length = left.small()?;
                Some(left.take(length)?)
            }
        };
        Ok(Raw { whole, flags, session, rest, joins, after: left.0 })
    }

    /// The session that it has, as packed, behind one that has this.
    fn session_after<'b>(&self, before: &'b [u8]) -> &'b [u8]
    where
        'a: 'b,
    {
        match self.flags & (SESSION | SAME_SESSION) {
            SESSION => self.session,
            SAME_SESSION => before,
            _ => &[],
        }
    }

    /// What stands before that which the history has.
    fn before_listed(&self) -> &'a [u8] {
        let session = self.whole.len() - self.rest.0.len() - self.session.len();
        &self.whole[session..self.whole.len() - self.after.len()]
    }

    fn properties(&self) -> &'a [u8] {
        self.after
    }

    fn late(&self) -> Result<(Option<Id>, i64), Damaged> {
        let mut left = self.rest;
        let linked = if self.flags & LINKED != 0 { Some(left.id()?) } else { None };
        Ok((linked, if self.flags & LATE != 0 { left.signed()? } else { 0 }))
    }

    /// What the history has of it, and what is left behind.
    fn past(&self, beside: Beside<'_>, number: u64, words: &Words) -> Result<(PastTouchpoint, Bytes<'a>), Damaged> {
        let mut left = Bytes(self.after);
        if self.flags & LISTED == 0 {
            let length = left.small()?;
            let past = super::recent::read_past(left.take(length)?, beside.recent.base().as_millis(), words)?;
            return Ok((past, left));
        }
        Ok((beside.recent.get(listed(beside, number)?, words)?, left))
    }

    /// When it is applied.
    fn applied_at(&self, beside: Beside<'_>, number: u64) -> Result<Timestamp, Damaged> {
        let (_, late) = self.late()?;
        let happened = if self.flags & LISTED == 0 {
            let mut left = Bytes(self.after);
            let length = left.small()?;
            super::recent::past_at(left.take(length)?, beside.recent.base().as_millis())?
        } else {
            beside.recent.at(listed(beside, number)?).ok_or(Damaged)?
        };
        Ok(Timestamp::from_millis(happened.as_millis().wrapping_add(late)))
    }

    fn read(&self, session: &[u8], beside: Beside<'_>, number: u64, words: &Words) -> Result<Entry, Damaged> {
        let (linked, late) = self.late()?;
        let (past, mut left) = self.past(beside, number, words)?;
        let mut touchpoint = Touchpoint {
            id: past.id.to_text(),
            id_given: past.seen_at.is_some(),
            linked: linked.map(|linked| linked.to_text()),
            event_time: past.at,
            kind: past.kind,
            channel: past.channel,
            ..Touchpoint::default()
        };
        let joins = match self.joins {
            None => None,
            Some(state) => {
                let anonymous = Identity::anonymous(touchpoint.linked.clone().unwrap_or_default());
                let mut joined = Box::new(Customer::new(anonymous));
                joined.open_rest(state, words)?;
                Some(joined)
            }
        };
        if !session.is_empty() {
            touchpoint.session = Some(Bytes(session).id()?.to_text());
        }
        while !left.is_empty() {
            let name = read_word(&mut left, words)?;
            let value = match left.byte()? {
                value::TEXT => Value::Text(left.id()?.to_text()),
                value::NUMBER => Value::Number(f64::from_le_bytes(left.array()?)),
                value::FALSE => Value::Flag(false),
                value::TRUE => Value::Flag(true),
                _ => return Err(Damaged),
            };
            touchpoint.properties.push((name, value));
        }
        let at = Timestamp::from_millis(past.at.as_millis().wrapping_add(late));
        Ok(Entry { touchpoint, at, joins })
    }
}

/// The place in the history of the touchpoint of this number.
fn listed(beside: Beside<'_>, number: u64) -> Result<usize, Damaged> {
    let before = beside.touchpoints.saturating_sub(beside.recent.len() as u64);
    let place = number.checked_sub(before + 1).and_then(|place| usize::try_from(place).ok());
    place.filter(|place| *place < beside.recent.len()).ok_or(Damaged)
}
