//! A window at rest: its head, its images, its touchpoints, each in a section of the customer's bytes.

use super::{Beside, Image, Kind, Whole, Window, latest};
use crate::journey::packed::bytes::{Bytes, Damaged, push_id, push_number, push_signed};
use crate::journey::packed::words::Words;
use crate::journey::recent::Recent;
use crate::journey::{Customer, Id};
use crate::time::Timestamp;

/// What is unusual about a window.
mod has {
    pub(super) const SEALED: u8 = 1;
    pub(super) const YOUNGER: u8 = 2;
    pub(super) const ANCHORED: u8 = 4;
    /// Its last step is not the latest touchpoint of the history.
    pub(super) const LAST: u8 = 8;
    /// Claims of it are not answered yet.
    pub(super) const CLAIMS: u8 = 16;
}

impl Window {
    /// All but touchpoints and images; nothing where all is as usual.
    pub(in crate::journey) fn pack_head(&self, recent: &Recent, out: &mut Vec<u8>) {
        let flag = |bit: u8, set: bool| if set { bit } else { 0 };
        let since = |at: Timestamp| at.as_millis().wrapping_sub(recent.base().as_millis());
        let anchored = self.anchored_at != Timestamp::MIN;
        let last = latest(recent) != Some(self.last);
        let flags = flag(has::SEALED, self.kind == Kind::Sealed)
            | flag(has::YOUNGER, self.younger.is_some())
            | flag(has::ANCHORED, anchored)
            | flag(has::LAST, last)
            | flag(has::CLAIMS, !self.claims.is_empty());
        if flags == 0 {
            return;
        }
        out.push(flags);
        if last {
            push_signed(out, since(self.last));
        }
        if anchored {
            push_signed(out, since(self.anchored_at));
        }
        if let Some(younger) = &self.younger {
            push_number(out, younger.count as u64);
            push_signed(out, since(younger.at));
        }
        for (anonymous, at) in &self.claims {
            push_signed(out, since(*at));
            push_id(out, &Id::of(anonymous));
        }
    }

    pub(in crate::journey) fn open_head(&mut self, bytes: Bytes<'_>, recent: &Recent) -> Result<(), Damaged> {
        self.open_head_of(bytes, latest(recent), recent.base().as_millis())
    }

    fn open_head_of(&mut self, mut bytes: Bytes<'_>, latest: Option<Timestamp>, base: i64) -> Result<(), Damaged> {
        let flags = bytes.byte()?;
        let since = |bytes: &mut Bytes<'_>| bytes.signed().map(|since| Timestamp::from_millis(base.wrapping_add(since)));
        self.kind = if flags & has::SEALED != 0 { Kind::Sealed } else { Kind::Open };
        self.last = match flags & has::LAST {
            0 => latest.ok_or(Damaged)?,
            _ => since(&mut bytes)?,
        };
        if flags & has::ANCHORED != 0 {
            self.anchored_at = since(&mut bytes)?;
        }
        if flags & has::YOUNGER != 0 {
            self.younger = Some(Image { state: Vec::new(), count: bytes.small()?, at: since(&mut bytes)? });
        }
        while flags & has::CLAIMS != 0 && !bytes.is_empty() {
            let at = since(&mut bytes)?;
            self.claims.push((bytes.id()?.to_text(), at));
        }
        if bytes.is_empty() { Ok(()) } else { Err(Damaged) }
    }

    /// To when a window lasts, without the grace, by its head; `None`: to the latest touchpoint of the history, whose instant
    /// `latest` tells.
    pub(in crate::journey) fn lasts_by_head(
        head: Bytes<'_>,
        base: i64,
        latest: impl FnOnce() -> Result<Timestamp, Damaged>,
    ) -> Result<Timestamp, Damaged> {
        let (mut bytes, flags) = (head, Bytes(head.0).byte()?);
        if flags & has::CLAIMS != 0 {
            let mut window = Window::default();
            window.open_head_of(head, latest().ok(), base)?;
            return Ok(window.lasts_to());
        }
        match bytes.byte()? & has::LAST {
            0 => latest(),
            _ => Ok(Timestamp::from_millis(base.wrapping_add(bytes.signed()?))),
        }
    }

    /// There is a window, and nothing unusual about it unless its head has said so.
    fn is_there(&mut self, recent: &Recent) -> Result<(), Damaged> {
        if self.kind == Kind::Closed {
            self.kind = Kind::Open;
            self.last = latest(recent).ok_or(Damaged)?;
        }
        Ok(())
    }

    pub(in crate::journey) fn open_entries(&mut self, bytes: &[u8], recent: &Recent) -> Result<(), Damaged> {
        self.is_there(recent)?;
        self.entries.extend_from_slice(bytes);
        self.count = self.raw().count();
        let length: usize = self.raw().map(|raw| raw.whole.len()).sum();
        self.find_session();
        if length == bytes.len() { Ok(()) } else { Err(Damaged) }
    }

    pub(in crate::journey) fn open_anchor(&mut self, bytes: &[u8], recent: &Recent) -> Result<(), Damaged> {
        self.is_there(recent)?;
        self.anchor.extend_from_slice(bytes);
        Ok(())
    }

    pub(in crate::journey) fn open_younger(&mut self, bytes: &[u8]) -> Result<(), Damaged> {
        self.younger.as_mut().ok_or(Damaged)?.state.extend_from_slice(bytes);
        Ok(())
    }

    pub(in crate::journey) fn pack_entries(&self, beside: Beside<'_>, words: &mut Words, out: &mut Vec<u8>) {
        match &self.whole {
            Some(whole) => {
                let mut packed = Window::default();
                packed.pack_all(&whole.entries, beside, words);
                out.extend_from_slice(&packed.entries);
            }
            None => out.extend_from_slice(&self.entries),
        }
    }

    pub(in crate::journey) fn pack_anchor(&self, words: &mut Words, out: &mut Vec<u8>) {
        match &self.whole {
            // Nobody was there before.
            Some(whole) if whole.anchor.touchpoints == 0 && whole.anchor.redirect.is_none() => {}
            Some(whole) => whole.anchor.pack_rest(words, out),
            None => out.extend_from_slice(&self.anchor),
        }
    }

    pub(in crate::journey) fn pack_younger(&self, words: &mut Words, out: &mut Vec<u8>) {
        match (&self.whole, &self.younger) {
            (Some(whole), _) => whole.younger.iter().for_each(|younger| younger.pack_rest(words, out)),
            (None, Some(younger)) => out.extend_from_slice(&younger.state),
            (None, None) => {}
        }
    }

    /// Takes all of it apart, so that it can be read and packed without the dictionary that it was packed with.
    pub(in crate::journey) fn expand(&mut self, beside: Beside<'_>, words: &Words) -> Result<(), Damaged> {
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
        let younger = self.younger.as_ref().map(|younger| image(&younger.state)).transpose()?;
        let mut entries = self.entries(beside, words)?;
        entries.iter_mut().filter_map(|entry| entry.joins.as_mut()).try_for_each(|joins| joins.expand(words))?;
        self.whole = Some(Box::new(Whole { anchor: image(&self.anchor)?, younger, entries }));
        self.anchor = Vec::new();
        self.entries = Vec::new();
        self.session = None;
        if let Some(younger) = &mut self.younger {
            younger.state = Vec::new();
        }
        Ok(())
    }

    /// Whether all that is packed can be read.
    pub(in crate::journey) fn check(&self, beside: Beside<'_>, words: &Words) -> Result<(), Damaged> {
        self.clone().expand(beside, words)
    }
}
