//! A customer at rest: one string of bytes, which is also what the state log holds.
//!
//! First whose it is, how many touchpoints were applied, and the instant that others are counted from. Then sections, each
//! with its number and length: where an anonymous id leads, traces of touchpoints that are kept no longer, the touchpoints that
//! are kept, links, one section for each journey, contacts, and the parts of the window. A shard's own row has graves as well.
//! Types, channels and currencies are words of the shard's dictionary ([`Words`]); a touchpoint that is kept is referred to by its number among the customer's touchpoints, so that its id stands once. Stages, kinds, rules and
//! segments are indexes into the models that the state is written under, which the log names beside it.
//!
//! Packing is a function of the customer and the dictionary: the same customer gives the same bytes.

pub(in crate::journey) mod bytes;
mod difference;
mod journeys;
mod tallies;
#[cfg(test)]
mod tests;
pub(in crate::journey) mod words;

use compact_str::CompactString;
use smallvec::SmallVec;
use uuid::Uuid;

use super::recent::{LATEST, Recent};
use super::{Customer, Id, Redirect, TouchpointId};
use crate::time::Timestamp;
use crate::touchpoint::{Identity, IdentityKind, put_text};

pub use bytes::Damaged;
use bytes::{Bytes, push_id, push_number, push_signed, push_text};
pub use difference::{difference, follow};
pub(crate) use difference::{window_of, without_window};
pub(in crate::journey) use words::MAX_WORDS;
pub use words::Words;

/// Numbers of sections. What belongs to the state comes before the window, and sections come in the order of their [`rank`].
const REDIRECT: u8 = 0;
const TRACES: u8 = 1;
const RECENT: u8 = 2;
const LINKS: u8 = 3;
const JOURNEY: u8 = 4;
use super::window::{Beside, section as window};
/// It stands between the journeys and the window, as the last part of what is left once the window is dropped.
const CONTACTS: u8 = 10;

/// Of a shard's own row only.
const GRAVES: u8 = 11;

/// Whether a section is part of what a story is told anew from.
fn is_of_state(number: u8) -> bool {
    number < window::WINDOW
}

/// The place of a section among the others.
fn rank(number: u8) -> (u8, u8) {
    if number == CONTACTS { (JOURNEY, 1) } else { (number, 0) }
}

/// The number of a touchpoint that is certainly not in the list.
const ELSEWHERE: u64 = u64::MAX;

/// Appends whose a packed customer is: it begins with these bytes.
pub fn pack_identity(identity: &Identity, out: &mut Vec<u8>) {
    let kind = match identity.kind {
        IdentityKind::Customer => 0,
        IdentityKind::Anonymous => 1,
    };
    match Id::of(&identity.id) {
        Id::Uuid(bytes) => {
            out.push(2 | kind);
            out.extend_from_slice(&bytes);
        }
        Id::Text(text) => {
            push_number(out, (text.len() as u64) << 2 | u64::from(kind));
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Whose a packed customer is.
///
/// # Errors
/// Bytes that are no packed customer.
pub fn identity_of(packed: &[u8]) -> Result<Identity, Damaged> {
    let mut identity = Identity::customer("");
    open_identity(&mut Bytes(packed), &mut identity).map(|()| identity)
}

/// The bytes that say whose a packed customer is.
///
/// # Errors
/// Bytes that are no packed customer.
pub fn identity_bytes(packed: &[u8]) -> Result<&[u8], Damaged> {
    let mut bytes = Bytes(packed);
    let head = bytes.number()?;
    let length = if head & 2 != 0 { 16 } else { usize::try_from(head >> 2).map_err(|_| Damaged)? };
    bytes.take(length)?;
    Ok(&packed[..packed.len() - bytes.0.len()])
}

/// Reads whose it is into a place whose room is used again.
fn open_identity(bytes: &mut Bytes<'_>, identity: &mut Identity) -> Result<(), Damaged> {
    let head = bytes.number()?;
    identity.kind = if head & 1 == 0 { IdentityKind::Customer } else { IdentityKind::Anonymous };
    if head & 2 != 0 {
        put_text(Id::Uuid(bytes.array()?).text(&mut Uuid::encode_buffer()), &mut identity.id);
    } else {
        let length = usize::try_from(head >> 2).map_err(|_| Damaged)?;
        put_text(std::str::from_utf8(bytes.take(length)?).map_err(|_| Damaged)?, &mut identity.id);
    }
    Ok(())
}

impl Customer {
    /// Appends the customer as bytes.
    pub fn pack(&self, words: &mut Words, out: &mut Vec<u8>) {
        pack_identity(&self.identity, out);
        self.pack_rest(words, out);
    }

    /// Appends what follows the bytes that say whose it is.
    pub(crate) fn pack_rest(&self, words: &mut Words, out: &mut Vec<u8>) {
        self.pack_state(words, out);
        section(out, CONTACTS, |out| self.contacts.pack(words, out));
        section(out, GRAVES, |out| self.contacts.graves.pack(out));
        if !self.window.is_closed() {
            section(out, window::WINDOW, |out| self.window.pack_head(&self.recent, out));
            section(out, window::ANCHOR, |out| self.window.pack_anchor(words, out));
            section(out, window::YOUNGER, |out| self.window.pack_younger(words, out));
            // It has no length: one more touchpoint only adds to the end.
            if self.window.len() > 0 {
                out.push(window::ENTRIES);
                self.window.pack_entries(self.beside(), words, out);
            }
        }
    }

    /// Appends the state without contacts and window: what a story can be told anew from.
    pub(in crate::journey) fn pack_state(&self, words: &mut Words, out: &mut Vec<u8>) {
        let Customer { identity: _, links, linked_at: _, redirect, touchpoints, recent, journeys, contacts: _, window: _ } =
            self;
        push_number(out, *touchpoints);
        push_signed(out, recent.base().as_millis());
        if let Some(redirect) = redirect {
            section(out, REDIRECT, |out| redirect.pack(out));
        }
        section(out, TRACES, |out| recent.pack_traces(out));
        section(out, RECENT, |out| recent.pack(words, out));
        if !links.is_empty() {
            section(out, LINKS, |out| self.pack_links(out));
        }
        for journey in journeys {
            // Each has its place, also one that has not begun.
            let begin = out.len();
            out.extend_from_slice(&[JOURNEY, 0]);
            journey.pack(&mut Packer::of(self, words, out));
            super::recent::set_length(out, begin + 1);
        }
    }

    /// The customer that the bytes are, as it is worked on: what is only looked through stays packed.
    ///
    /// # Errors
    /// Bytes that are no packed customer, or words that are missing.
    pub fn open(&mut self, packed: &[u8], words: &Words) -> Result<(), Damaged> {
        let mut bytes = Bytes(packed);
        open_identity(&mut bytes, &mut self.identity)?;
        self.open_rest(bytes.0, words)
    }

    /// The state behind the bytes that say whose it is.
    pub(in crate::journey) fn open_rest(&mut self, packed: &[u8], words: &Words) -> Result<(), Damaged> {
        let mut bytes = Bytes(packed);
        self.touchpoints = bytes.number()?;
        self.recent.reset(bytes.signed()?);
        self.links.clear();
        self.contacts.clear();
        self.linked_at.clear();
        self.redirect = None;
        self.window.reset();
        let mut journeys = 0;
        let mut state = packed.len();
        while !bytes.is_empty() {
            let before = packed.len() - bytes.0.len();
            let number = bytes.byte()?;
            if !is_of_state(number) {
                state = state.min(before);
            }
            let length = if number == window::ENTRIES { bytes.0.len() } else { bytes.small()? };
            let section = Bytes(bytes.take(length)?);
            match number {
                TRACES => self.recent.open_traces(section.0)?,
                RECENT => self.recent.open(section.0, words)?,
                REDIRECT => self.redirect = Some(Box::new(Redirect::open(section)?)),
                LINKS => self.open_links(section)?,
                JOURNEY => {
                    if self.journeys.len() == journeys {
                        self.journeys.push(super::Journey::unbegun(0, 0, Vec::new()));
                    }
                    let mut opener = Opener::of(section, words, &self.recent, self.touchpoints);
                    self.journeys[journeys].unpack(&mut opener)?;
                    if !opener.bytes.is_empty() {
                        return Err(Damaged);
                    }
                    journeys += 1;
                }
                CONTACTS => self.contacts.open(section, words)?,
                GRAVES => self.contacts.graves.open(section)?,
                window::WINDOW => self.window.open_head(section, &self.recent)?,
                window::ENTRIES => self.window.open_entries(section.0, &self.recent)?,
                window::ANCHOR => self.window.open_anchor(section.0, &self.recent)?,
                window::YOUNGER => self.window.open_younger(section.0)?,
                // Nothing that is known; whoever wrote it has a later layout.
                _ => return Err(Damaged),
            }
        }
        self.journeys.truncate(journeys);
        self.window.opened(&packed[..state]);
        Ok(())
    }

    /// Whether what stays packed in an open customer can be read.
    ///
    /// # Errors
    /// Bytes that are no packed customer.
    pub fn check(&self, words: &Words) -> Result<(), Damaged> {
        self.recent.check()?;
        self.window.check(self.beside(), words)
    }

    /// The customer that the bytes are, whole and without reference to the dictionary, for readers.
    ///
    /// # Errors
    /// Bytes that are no packed customer, or words that are missing.
    pub fn image(packed: &[u8], words: &Words) -> Result<Customer, Damaged> {
        let mut customer = Customer::default();
        customer.open(packed, words)?;
        customer.expand(words)?;
        Ok(customer)
    }

    /// Takes all that stays packed apart.
    pub(in crate::journey) fn expand(&mut self, words: &Words) -> Result<(), Damaged> {
        let beside = Beside { recent: &self.recent, touchpoints: self.touchpoints };
        self.window.expand(beside, words)?;
        self.recent.expand(words)
    }

    /// What the window needs of its customer.
    pub(in crate::journey) fn beside(&self) -> Beside<'_> {
        Beside { recent: &self.recent, touchpoints: self.touchpoints }
    }
}

/// Appends a section, if anything is in it.
fn section(out: &mut Vec<u8>, number: u8, write: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    out.extend_from_slice(&[number, 0]);
    write(out);
    if out.len() == begin + 2 {
        out.truncate(begin);
    } else {
        super::recent::set_length(out, begin + 1);
    }
}

/// What packing a journey needs of its customer.
struct Packer<'a> {
    out: &'a mut Vec<u8>,
    words: &'a mut Words,
    recent: &'a Recent,
    base: i64,
    /// The number of the oldest touchpoint in the list, less one.
    before: u64,
    /// When the latest touchpoints happened: instants are mostly theirs.
    latest: SmallVec<[Timestamp; LATEST]>,
}

impl<'a> Packer<'a> {
    fn of(customer: &'a Customer, words: &'a mut Words, out: &'a mut Vec<u8>) -> Self {
        let recent = &customer.recent;
        let latest = recent.len().saturating_sub(LATEST)..recent.len();
        Packer {
            latest: latest.map(|place| recent.at(place).unwrap_or(Timestamp::MIN)).collect(),
            out,
            words,
            recent,
            base: recent.base().as_millis(),
            before: customer.touchpoints.saturating_sub(recent.len() as u64),
        }
    }

    fn number(&mut self, number: impl Into<u64>) {
        push_number(self.out, number.into());
    }

    fn text(&mut self, text: &str) {
        push_text(self.out, text);
    }

    fn id(&mut self, id: &Id) {
        push_id(self.out, id);
    }

    fn word(&mut self, text: &str) {
        super::recent::push_word(self.out, self.words, text);
    }

    fn time(&mut self, at: Timestamp) {
        self.time_since(at, Timestamp::from_millis(self.base));
    }

    fn time_since(&mut self, at: Timestamp, since: Timestamp) {
        push_signed(self.out, at.as_millis().wrapping_sub(since.as_millis()));
    }

    /// The number in the list of the touchpoint with this id, and with this event time where one is given.
    fn listed(&self, id: &TouchpointId, at: Option<Timestamp>) -> Option<u64> {
        let fits =
            |place: &usize| at.is_none_or(|at| self.recent.at(*place) == Some(at)) && self.recent.has_id(*place, &id.id);
        let place = match id.number {
            ELSEWHERE => None,
            0 => (0..self.recent.len()).rev().find(fits),
            number => {
                let place = number.checked_sub(self.before + 1).and_then(|place| usize::try_from(place).ok());
                place.filter(|place| *place < self.recent.len()).filter(fits)
            }
        }?;
        Some(self.before + 1 + place as u64)
    }

    /// A touchpoint by its number, or by its id after a 0.
    fn touchpoint(&mut self, id: &TouchpointId) {
        match self.listed(id, None) {
            Some(number) => self.number(number),
            None => {
                self.out.push(0);
                self.id(&id.id);
            }
        }
    }

    /// An instant by the number of a touchpoint in the list that happened then, or by itself after a 0.
    fn moment(&mut self, at: Timestamp) {
        match self.latest.iter().position(|latest| *latest == at) {
            Some(place) => {
                let first = self.recent.len() - self.latest.len();
                self.number(self.before + 1 + (first + place) as u64);
            }
            None => {
                self.out.push(0);
                self.time(at);
            }
        }
    }
}

/// What opening a journey needs of its customer.
struct Opener<'a> {
    bytes: Bytes<'a>,
    words: &'a Words,
    recent: &'a Recent,
    base: i64,
    before: u64,
}

impl<'a> Opener<'a> {
    fn of(bytes: Bytes<'a>, words: &'a Words, recent: &'a Recent, touchpoints: u64) -> Self {
        let before = touchpoints.saturating_sub(recent.len() as u64);
        Opener { bytes, words, recent, base: recent.base().as_millis(), before }
    }

    fn word(&mut self) -> Result<CompactString, Damaged> {
        super::recent::read_word(&mut self.bytes, self.words)
    }

    fn time(&mut self) -> Result<Timestamp, Damaged> {
        self.time_since(Timestamp::from_millis(self.base))
    }

    fn time_since(&mut self, since: Timestamp) -> Result<Timestamp, Damaged> {
        Ok(Timestamp::from_millis(since.as_millis().wrapping_add(self.bytes.signed()?)))
    }

    fn place(&self, number: u64) -> Result<usize, Damaged> {
        let place = number.checked_sub(self.before + 1).ok_or(Damaged)?;
        usize::try_from(place).ok().filter(|place| *place < self.recent.len()).ok_or(Damaged)
    }

    fn listed(&self, number: u64) -> Result<TouchpointId, Damaged> {
        let id = self.recent.id(self.place(number)?).ok_or(Damaged)?;
        Ok(TouchpointId::new(id, number))
    }

    fn elsewhere(&mut self) -> Result<TouchpointId, Damaged> {
        Ok(TouchpointId::new(self.bytes.id()?, ELSEWHERE))
    }

    fn touchpoint(&mut self) -> Result<TouchpointId, Damaged> {
        match self.bytes.number()? {
            0 => self.elsewhere(),
            number => self.listed(number),
        }
    }

    fn moment(&mut self) -> Result<Timestamp, Damaged> {
        match self.bytes.number()? {
            0 => self.time(),
            number => self.recent.at(self.place(number)?).ok_or(Damaged),
        }
    }
}
