//! The latest touchpoints of a customer: the history, and what repeats are told by (rule 17). One list for both.
//!
//! In hand, what came before the touchpoint being applied stays packed: it is looked through, not taken apart. Whoever reads
//! a customer expands it first ([`Recent::expand`]).

use std::collections::VecDeque;

use compact_str::CompactString;

use super::Id;
use super::packed::bytes::{Bytes, Damaged, push_id, push_number, push_signed, push_text, skip_id};
use super::packed::words::Words;
use crate::time::{Span, Timestamp};

/// So many touchpoint ids are remembered per customer against repeats (rule 17).
pub(super) const MAX_SEEN: usize = 64;
/// For so long a touchpoint id is remembered against repeats (rule 17).
const SEEN_FOR: Span = Span::from_days(1);

/// Of so many of the latest touchpoints the event times are at hand.
pub(super) const LATEST: usize = 8;

/// Of a touchpoint that is kept no longer, hashes of its id and type and its log time are remembered in so many bytes.
const TRACE: usize = 14;

/// Whether a touchpoint came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SeenBefore {
    /// Not as far as is remembered.
    No,
    /// It did: the same id and the same type.
    Yes,
    /// Another one did, with the same id and another type.
    AsAnother,
}

/// A touchpoint as the history keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastTouchpoint {
    /// Its id.
    pub id: Id,
    /// What happened.
    pub kind: CompactString,
    /// On which channel.
    pub channel: Option<CompactString>,
    /// When (event time).
    pub at: Timestamp,
    /// Its log time, where its source gave the id: repeats of it are told by that.
    pub seen_at: Option<Timestamp>,
}

/// What is remembered of a touchpoint that is kept no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trace {
    /// The first half of the hash of its id, and the first half of its type's; of states before version 4 the hash of its id.
    pub(super) hash: u64,
    /// Its log time.
    pub(super) seen_at: Timestamp,
}

impl Trace {
    fn of(id: &Id, kind: &str, seen_at: Timestamp) -> Self {
        Trace { hash: id.hash() >> HALF << HALF | xxhash_rust::xxh3::xxh3_64(kind.as_bytes()) >> HALF, seen_at }
    }
}

const HALF: u32 = 32;

/// The latest touchpoints.
#[derive(Clone, Default, PartialEq)]
pub struct Recent {
    /// Of touchpoints that are kept no longer, oldest first: see [`TRACE`].
    traces: Vec<u8>,
    /// Touchpoints as packed, the oldest first; those before the first mark have gone.
    packed: Vec<u8>,
    marks: Vec<Mark>,
    /// Event times of the last marks, which most instants of a journey are.
    latest: Vec<Timestamp>,
    /// Touchpoints that came since, or all of them where they were expanded.
    fresh: VecDeque<PastTouchpoint>,
    /// The type of the oldest one that is packed: the next that goes, and then only its hash is remembered.
    oldest: Option<CompactString>,
    /// What instants are counted from where they are packed.
    base: i64,
}

/// Where a packed touchpoint is. Nothing in it is read before somebody asks for it: for most of them nobody does.
#[derive(Clone, Copy, PartialEq)]
struct Mark {
    begin: u32,
    end: u32,
}

pub(super) const GIVEN: u8 = 1;
const CHANNEL: u8 = 2;
const LAG: u8 = 4;

impl Recent {
    /// So many are kept.
    pub fn len(&self) -> usize {
        self.marks.len() + self.fresh.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those that came since the list was unpacked, or all where it was expanded, oldest first.
    pub(super) fn fresh(&self) -> impl ExactSizeIterator<Item = &PastTouchpoint> {
        self.fresh.iter()
    }

    /// The event time of the one at this place, the oldest being at 0.
    pub(super) fn at(&self, place: usize) -> Option<Timestamp> {
        match self.marks.get(place) {
            Some(mark) => match place.checked_sub(self.marks.len() - self.latest.len()) {
                Some(place) => Some(self.latest[place]),
                None => Packed::of(&self.packed, *mark).at(self.base),
            },
            None => self.fresh.get(place - self.marks.len()).map(|past| past.at),
        }
    }

    /// Whether the one at this place has that id.
    pub(super) fn has_id(&self, place: usize, id: &Id) -> bool {
        match self.marks.get(place) {
            Some(mark) => Packed::of(&self.packed, *mark).is(id),
            None => self.fresh.get(place - self.marks.len()).is_some_and(|past| past.id == *id),
        }
    }

    /// The id of the one at this place.
    pub(super) fn id(&self, place: usize) -> Option<Id> {
        match self.marks.get(place) {
            Some(mark) => Packed::of(&self.packed, *mark).bytes.id().ok(),
            None => self.fresh.get(place - self.marks.len()).map(|past| past.id.clone()),
        }
    }

    /// The one at this place.
    pub(super) fn get(&self, place: usize, words: &Words) -> Result<PastTouchpoint, Damaged> {
        match self.marks.get(place) {
            Some(mark) => Packed::of(&self.packed, *mark).read(self.base, words),
            None => self.fresh.get(place - self.marks.len()).cloned().ok_or(Damaged),
        }
    }

    /// When the latest touchpoint came: its log time, or its event time where it had no id of its own.
    pub(super) fn latest(&self) -> Option<Timestamp> {
        let packed = |mark: &Mark| Packed::of(&self.packed, *mark).seen_at(self.base);
        let fresh = self.fresh.iter().rev().find_map(|past| past.seen_at);
        let seen_at = fresh.or_else(|| self.marks.iter().rev().find_map(packed));
        let traced = self.traced().next_back().map(|trace| trace.seen_at);
        let kept = self.len().checked_sub(1).and_then(|last| self.at(last));
        seen_at.or(traced).max(kept)
    }

    /// Takes the touchpoints apart where one of them has this id: only then its type can be told. Where they cannot be, they
    /// stay as they are.
    pub(super) fn reveal(&mut self, id: &Id, words: &Words) {
        if self.marks.iter().any(|mark| Packed::of(&self.packed, *mark).is(id)) {
            // It can only fail as a whole.
            let _ = self.expand(words);
        }
    }

    /// Whether a touchpoint of this id and type came within the horizon before `log_time`, which is
    /// `grace` at least. One that is still packed counts as
    /// of the same type: see [`Recent::reveal`].
    pub(super) fn has_seen(&self, id: &Id, kind: &str, log_time: Timestamp, grace: Span) -> SeenBefore {
        let remembered = |seen_at: Timestamp| seen_at + SEEN_FOR.max(grace) > log_time;
        let (mut kept, mut seen) = (0, SeenBefore::No);
        // The ids are looked at first: almost none is the same.
        for past in self.fresh.iter().rev() {
            if kept < MAX_SEEN && past.id == *id && past.seen_at.is_some_and(remembered) {
                if past.kind == kind {
                    return SeenBefore::Yes;
                }
                seen = SeenBefore::AsAnother;
            }
            kept += usize::from(past.seen_at.is_some());
        }
        for mark in self.marks.iter().rev() {
            let past = Packed::of(&self.packed, *mark);
            if kept < MAX_SEEN && past.is(id) && past.seen_at(self.base).is_some_and(remembered) {
                return SeenBefore::Yes;
            }
            kept += usize::from(past.is_given());
        }
        if self.traces.is_empty() || kept >= MAX_SEEN {
            return seen;
        }
        let (whole, hash) = (id.hash(), Trace::of(id, kind, log_time).hash);
        for trace in self.traced().rev().take(MAX_SEEN - kept).filter(|trace| trace.hash >> HALF == whole >> HALF) {
            if remembered(trace.seen_at) {
                if trace.hash == hash || trace.hash == whole {
                    return SeenBefore::Yes;
                }
                seen = SeenBefore::AsAnother;
            }
        }
        seen
    }

    /// Keeps a touchpoint that entered the log at `log_time` among the `most` latest.
    pub(super) fn keep(&mut self, past: PastTouchpoint, most: usize, log_time: Timestamp, grace: Span) {
        if self.base == 0 {
            self.base = past.at.as_millis();
        }
        self.fresh.push_back(past);
        while self.len() > most {
            self.drop_first();
        }
        if !self.traces.is_empty() {
            self.forget(log_time, grace);
        }
    }

    /// Lets go of the oldest one; its id is remembered on.
    fn drop_first(&mut self) {
        let trace = if self.marks.is_empty() {
            let Some(past) = self.fresh.pop_front() else { return };
            past.seen_at.map(|seen_at| Trace::of(&past.id, &past.kind, seen_at))
        } else {
            let mark = self.marks.remove(0);
            if self.latest.len() > self.marks.len() {
                self.latest.remove(0);
            }
            let mut past = Packed::of(&self.packed, mark);
            let (seen_at, kind) = (past.seen_at(self.base), self.oldest.take());
            seen_at.zip(past.bytes.id().ok()).map(|(seen_at, id)| match kind {
                Some(kind) => Trace::of(&id, &kind, seen_at),
                None => Trace { hash: id.hash(), seen_at },
            })
        };
        if let Some(trace) = trace {
            self.push_trace(trace);
        }
    }

    /// Forgets ids whose horizon has passed, and of too many the oldest.
    fn forget(&mut self, log_time: Timestamp, grace: Span) {
        let fresh = self.fresh.iter().filter(|past| past.seen_at.is_some()).count();
        let given = fresh + self.marks.iter().filter(|mark| Packed::of(&self.packed, **mark).is_given()).count();
        let traces = self.traces.len() / TRACE;
        let surplus = (given + traces).saturating_sub(MAX_SEEN).min(traces);
        let over = self.traced().take_while(|trace| trace.seen_at + SEEN_FOR.max(grace) <= log_time).count();
        self.traces.drain(..surplus.max(over) * TRACE);
    }

    fn push_trace(&mut self, trace: Trace) {
        self.traces.extend_from_slice(&trace.hash.to_le_bytes());
        // Six bytes of milliseconds reach some thousand years either way.
        self.traces.extend_from_slice(&trace.seen_at.as_millis().wrapping_sub(self.base).to_le_bytes()[..6]);
    }

    /// What is remembered of those that are kept no longer, oldest first.
    pub(super) fn traced(&self) -> impl DoubleEndedIterator<Item = Trace> {
        self.traces.chunks_exact(TRACE).map(|trace| {
            let (mut hash, mut millis) = ([0; 8], [0; 8]);
            hash.copy_from_slice(&trace[..8]);
            millis[..6].copy_from_slice(&trace[8..]);
            let millis = (i64::from_le_bytes(millis) << 16) >> 16;
            Trace { hash: u64::from_le_bytes(hash), seen_at: Timestamp::from_millis(self.base.wrapping_add(millis)) }
        })
    }

    /// Takes in the touchpoints of another list, in the order of their event times; both are expanded.
    pub(super) fn unite(&mut self, theirs: &Recent, most: usize) {
        let mut traces: Vec<Trace> = self.traced().chain(theirs.traced()).collect();
        if self.base == 0 {
            self.base = theirs.base;
        }
        self.fresh.extend(theirs.fresh.iter().cloned());
        self.fresh.make_contiguous().sort_by_key(|past| past.at);
        while self.fresh.len() > most
            && let Some(past) = self.fresh.pop_front()
        {
            traces.extend(past.seen_at.map(|seen_at| Trace::of(&past.id, &past.kind, seen_at)));
        }
        traces.sort_by_key(|trace| trace.seen_at);
        let given = self.fresh.iter().filter(|past| past.seen_at.is_some()).count();
        let surplus = (given + traces.len()).saturating_sub(MAX_SEEN).min(traces.len());
        self.traces.clear();
        traces.drain(..surplus);
        traces.into_iter().for_each(|trace| self.push_trace(trace));
    }

    /// As read from a state that kept the two lists apart.
    pub(super) fn of(traces: impl IntoIterator<Item = Trace>, fresh: VecDeque<PastTouchpoint>, base: Timestamp) -> Self {
        let mut recent = Recent { fresh, base: base.as_millis(), ..Recent::default() };
        traces.into_iter().for_each(|trace| recent.push_trace(trace));
        recent
    }

    /// Takes all touchpoints apart, so that they can be read without the dictionary.
    pub(super) fn expand(&mut self, words: &Words) -> Result<(), Damaged> {
        let read = |mark: &Mark| Packed::of(&self.packed, *mark).read(self.base, words);
        let mut all: VecDeque<PastTouchpoint> = self.marks.iter().map(read).collect::<Result<_, _>>()?;
        all.append(&mut self.fresh);
        self.fresh = all;
        self.marks.clear();
        self.packed.clear();
        self.latest.clear();
        self.oldest = None;
        Ok(())
    }

    pub(super) fn base(&self) -> Timestamp {
        Timestamp::from_millis(self.base)
    }

    /// Forgets everything, and keeps its memory.
    pub(super) fn reset(&mut self, base: i64) {
        self.traces.clear();
        self.packed.clear();
        self.marks.clear();
        self.latest.clear();
        self.fresh.clear();
        self.oldest = None;
        self.base = base;
    }

    pub(super) fn pack_traces(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.traces);
    }

    pub(super) fn open_traces(&mut self, bytes: &[u8]) -> Result<(), Damaged> {
        if !bytes.len().is_multiple_of(TRACE) {
            return Err(Damaged);
        }
        self.traces.extend_from_slice(bytes);
        Ok(())
    }

    /// The touchpoints one after the other: each one's length, marks, id, event time, and what the marks say.
    pub(super) fn pack(&self, words: &mut Words, out: &mut Vec<u8>) {
        if let Some(first) = self.marks.first() {
            // What has gone before them stands in front.
            out.extend_from_slice(&self.packed[first.begin as usize - length_of_length(*first)..]);
        }
        for past in &self.fresh {
            pack_past(past, self.base, words, out);
        }
    }

    /// Appends the one at this place as it is packed, with its length.
    pub(super) fn pack_one(&self, place: usize, words: &mut Words, out: &mut Vec<u8>) {
        match self.marks.get(place) {
            Some(mark) => {
                out.extend_from_slice(&self.packed[mark.begin as usize - length_of_length(*mark)..mark.end as usize])
            }
            None => {
                if let Some(past) = self.fresh.get(place - self.marks.len()) {
                    pack_past(past, self.base, words, out);
                }
            }
        }
    }

    pub(super) fn open(&mut self, bytes: &[u8], words: &Words) -> Result<(), Damaged> {
        self.packed.extend_from_slice(bytes);
        let mut left = Bytes(bytes);
        while !left.is_empty() {
            let length: usize = left.small()?;
            let begin = bytes.len() - left.0.len();
            left.take(length)?;
            if length == 0 {
                return Err(Damaged);
            }
            self.marks.push(Mark { begin: begin as u32, end: (begin + length) as u32 });
        }
        self.oldest = self.marks.first().and_then(|mark| Packed::of(&self.packed, *mark).kind(words).ok());
        for mark in &self.marks[self.marks.len().saturating_sub(LATEST)..] {
            self.latest.push(Packed::of(&self.packed, *mark).at(self.base).ok_or(Damaged)?);
        }
        Ok(())
    }

    /// Whether all that is packed can be read.
    pub(super) fn check(&self) -> Result<(), Damaged> {
        self.marks.iter().try_for_each(|mark| Packed::of(&self.packed, *mark).check())
    }
}

/// Appends a touchpoint: its length, marks, id, event time, and what the marks say.
pub(super) fn pack_past(past: &PastTouchpoint, base: i64, words: &mut Words, out: &mut Vec<u8>) {
    let begin = out.len();
    out.push(0);
    let lag = past.seen_at.map_or(0, |seen_at| seen_at.as_millis().wrapping_sub(past.at.as_millis()));
    let given = if past.seen_at.is_some() { GIVEN } else { 0 };
    let channel = if past.channel.is_some() { CHANNEL } else { 0 };
    out.push(given | channel | if lag == 0 { 0 } else { LAG });
    push_id(out, &past.id);
    push_signed(out, past.at.as_millis().wrapping_sub(base));
    push_word(out, words, &past.kind);
    if let Some(channel) = &past.channel {
        push_word(out, words, channel);
    }
    if lag != 0 {
        push_signed(out, lag);
    }
    set_length(out, begin);
}

/// The touchpoint that the bytes behind its length are.
pub(super) fn read_past(bytes: &[u8], base: i64, words: &Words) -> Result<PastTouchpoint, Damaged> {
    let (flags, rest) = bytes.split_first().ok_or(Damaged)?;
    Packed { flags: *flags, bytes: Bytes(rest) }.read(base, words)
}

/// When it happened.
pub(super) fn past_at(bytes: &[u8], base: i64) -> Result<Timestamp, Damaged> {
    let (flags, rest) = bytes.split_first().ok_or(Damaged)?;
    Packed { flags: *flags, bytes: Bytes(rest) }.at(base).ok_or(Damaged)
}

/// How many bytes say how long the touchpoint at the mark is.
fn length_of_length(mark: Mark) -> usize {
    match mark.end - mark.begin {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        _ => 3,
    }
}

/// Says at `begin`, where a byte is left for it, how many bytes have been written since.
pub(super) fn set_length(out: &mut Vec<u8>, begin: usize) {
    let end = out.len();
    let length = end - begin - 1;
    if length < 0x80 {
        out[begin] = length as u8;
        return;
    }
    // What the length takes beyond its one byte is written behind, and changes places with what stands there.
    push_number(out, length as u64);
    let more = out.len() - end;
    let mut said = [0; 10];
    said[..more].copy_from_slice(&out[end..]);
    out.copy_within(begin + 1..end, begin + more);
    out[begin..begin + more].copy_from_slice(&said[..more]);
    out.truncate(end + more - 1);
}

pub(super) fn push_word(out: &mut Vec<u8>, words: &mut Words, text: &str) {
    let number = words.number(text);
    push_number(out, u64::from(number));
    if number == 0 {
        push_text(out, text);
    }
}

pub(super) fn read_word(bytes: &mut Bytes<'_>, words: &Words) -> Result<CompactString, Damaged> {
    match bytes.small()? {
        0 => bytes.text().map(CompactString::from),
        number => words.text(number).filter(|text| !text.is_empty()).cloned().ok_or(Damaged),
    }
}

/// A touchpoint as packed.
struct Packed<'a> {
    flags: u8,
    /// From its id on.
    bytes: Bytes<'a>,
}

impl<'a> Packed<'a> {
    fn of(packed: &'a [u8], mark: Mark) -> Self {
        let bytes = &packed[mark.begin as usize..mark.end as usize];
        // `Recent::open` has seen that there is a first byte.
        Packed { flags: bytes[0], bytes: Bytes(&bytes[1..]) }
    }

    fn is_given(&self) -> bool {
        self.flags & GIVEN != 0
    }

    fn is(&self, id: &Id) -> bool {
        let mut left = self.bytes;
        let Ok(head) = left.number() else { return false };
        let (expected, id) = match id {
            Id::Uuid(uuid) => (1, &uuid[..]),
            Id::Text(text) => ((text.len() as u64) << 1, text.as_bytes()),
        };
        // The ids of a source begin alike: what tells them apart stands last.
        head == expected && left.0.get(id.len().wrapping_sub(1)) == id.last() && left.0.starts_with(id)
    }

    fn at(&self, base: i64) -> Option<Timestamp> {
        let mut left = self.bytes;
        skip_id(&mut left).ok()?;
        left.signed().ok().map(|since| Timestamp::from_millis(base.wrapping_add(since)))
    }

    /// Its log time, where its source gave the id.
    fn seen_at(&self, base: i64) -> Option<Timestamp> {
        if !self.is_given() {
            return None;
        }
        let mut left = self.bytes;
        skip_id(&mut left).ok()?;
        let at = Timestamp::from_millis(base.wrapping_add(left.signed().ok()?));
        if self.flags & LAG == 0 {
            return Some(at);
        }
        skip_word(&mut left).ok()?;
        if self.flags & CHANNEL != 0 {
            skip_word(&mut left).ok()?;
        }
        left.signed().ok().map(|lag| Timestamp::from_millis(at.as_millis().wrapping_add(lag)))
    }

    fn kind(mut self, words: &Words) -> Result<CompactString, Damaged> {
        skip_id(&mut self.bytes)?;
        self.bytes.signed()?;
        read_word(&mut self.bytes, words)
    }

    fn check(mut self) -> Result<(), Damaged> {
        let bytes = &mut self.bytes;
        skip_id(bytes)?;
        bytes.signed()?;
        skip_word(bytes)?;
        if self.flags & CHANNEL != 0 {
            skip_word(bytes)?;
        }
        if self.flags & LAG != 0 {
            bytes.signed()?;
        }
        if bytes.is_empty() { Ok(()) } else { Err(Damaged) }
    }

    fn read(mut self, base: i64, words: &Words) -> Result<PastTouchpoint, Damaged> {
        let bytes = &mut self.bytes;
        let id = bytes.id()?;
        let at = Timestamp::from_millis(base.wrapping_add(bytes.signed()?));
        let kind = read_word(bytes, words)?;
        let channel = if self.flags & CHANNEL == 0 { None } else { Some(read_word(bytes, words)?) };
        let lag = if self.flags & LAG == 0 { 0 } else { bytes.signed()? };
        let seen_at = (self.flags & GIVEN != 0).then(|| Timestamp::from_millis(at.as_millis().wrapping_add(lag)));
        Ok(PastTouchpoint { id, kind, channel, at, seen_at })
    }
}

fn skip_word(bytes: &mut Bytes<'_>) -> Result<(), Damaged> {
    if bytes.number()? == 0 { bytes.text().map(|_| ()) } else { Ok(()) }
}

impl std::fmt::Debug for Recent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recent")
            .field("remembered", &self.traced().collect::<Vec<_>>())
            .field("packed", &self.marks.len())
            .field("touchpoints", &self.fresh)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_length_stands_before_what_it_is_of(before: Vec<u8>, length in prop_oneof![0..300_usize, 16_000..17_000_usize]) {
            let mut out = before.clone();
            out.push(0);
            out.extend((0..length).map(|number| number as u8));
            set_length(&mut out, before.len());
            let mut bytes = Bytes(&out[before.len()..]);
            prop_assert_eq!(bytes.small(), Ok(length));
            prop_assert!(bytes.0.iter().copied().eq((0..length).map(|number| number as u8)));
            prop_assert!(out.starts_with(&before));
        }
    }
}
