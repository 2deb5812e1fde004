//! What stays of an anonymous id once it has been seen together with a customer id; and which of them a customer is known by.
//!
//! An anonymous id whose journey has been joined to a customer's leaves a redirect: whose it is now, and from when on. A
//! second customer who claims it makes it *shared*: it belongs to nobody, and what it does alone stays anonymous.

use compact_str::CompactString;

use super::packed::bytes::{Bytes, Damaged, push_id, push_number, push_signed};
use super::{Customer, Id};
use crate::time::{Span, Timestamp};
use crate::touchpoint::Identity;

/// At most so many anonymous ids join one customer within [`LINKED_FOR`]; further ones are not joined.
pub(super) const MAX_LINKS: usize = 50;
/// For so long after its last use a redirect is kept, and a link counts against the limit.
const LINKED_FOR: Span = Span::from_days(30);
/// A use is noted at most so often, so that not every touchpoint that follows a redirect writes it anew.
const NOTED_EVERY: Span = Span::from_days(1);

/// What an anonymous id is once it was named together with a customer id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The customer whose it is; `None`: several customers have claimed it.
    pub into: Option<CompactString>,
    /// What it does from this instant on is the customer's.
    pub at: Timestamp,
    /// When it was used last, to about a day.
    pub used_at: Timestamp,
    /// By model: the number of the latest outcome of the anonymous id itself. Numbers go on from here.
    pub(super) sequences: Vec<u64>,
}

impl Redirect {
    pub(super) fn pack(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.into.is_some()));
        if let Some(into) = &self.into {
            push_id(out, &Id::of(into));
        }
        push_signed(out, self.at.as_millis());
        push_signed(out, self.used_at.as_millis().wrapping_sub(self.at.as_millis()));
        self.sequences.iter().for_each(|sequence| push_number(out, *sequence));
    }

    pub(super) fn open(mut bytes: Bytes<'_>) -> Result<Self, Damaged> {
        let into = match bytes.byte()? {
            0 => None,
            1 => Some(bytes.id()?.to_text()),
            _ => return Err(Damaged),
        };
        let at = bytes.signed()?;
        let used_at = Timestamp::from_millis(at.wrapping_add(bytes.signed()?));
        let mut sequences = Vec::new();
        while !bytes.is_empty() {
            sequences.push(bytes.number()?);
        }
        Ok(Redirect { into, at: Timestamp::from_millis(at), used_at, sequences })
    }
}

/// What stands behind the ids of links, where the head of an id cannot: when each was used last.
const TIMES: u64 = 3;

impl Customer {
    /// The customer whose journey this anonymous one was joined to.
    pub fn redirected_to(&self) -> Option<Identity> {
        Some(Identity::customer(self.redirect.as_ref()?.into.clone()?))
    }

    /// From when on what the anonymous id does is that customer's.
    pub(crate) fn redirected_at(&self) -> Option<Timestamp> {
        Some(self.redirect.as_ref()?.at)
    }

    /// Whether several customers have claimed the anonymous id.
    pub fn is_shared(&self) -> bool {
        self.redirect.as_ref().is_some_and(|redirect| redirect.into.is_none())
    }

    /// When what is left of an anonymous id that was claimed can go; `None` of everybody else.
    pub(crate) fn redirect_ends(&self, forget_after: Option<Span>) -> Option<Timestamp> {
        let redirect = self.redirect.as_ref().filter(|redirect| redirect.into.is_some() || self.touchpoints == 0)?;
        Some(redirect.used_at + forget_after.map_or(LINKED_FOR, |after| after.min(LINKED_FOR)))
    }

    /// Notes that the redirect was used; says whether that is worth writing.
    pub(crate) fn note_use(&mut self, now: Timestamp) -> bool {
        let Some(redirect) = self.redirect.as_mut().filter(|redirect| redirect.used_at + NOTED_EVERY < now) else {
            return false;
        };
        redirect.used_at = now;
        true
    }

    /// Whether the customer was named together with that anonymous id within about a day before.
    pub(crate) fn is_linked_to(&self, anonymous: &str, now: Timestamp) -> bool {
        let linked_at = |place: usize| self.linked_at.get(place).copied().unwrap_or(Timestamp::MIN);
        let known = self.links.iter().position(|link| link == anonymous);
        known.is_some_and(|place| linked_at(place) + NOTED_EVERY > now)
    }

    /// Whether there are so many links that a new one is refused.
    pub(crate) fn refuses_links(&self, now: Timestamp) -> bool {
        self.links.len() >= MAX_LINKS && self.linked_at.first().is_some_and(|at| *at + LINKED_FOR > now)
    }

    /// Keeps a link, the one used last at the end. Of too many the one unused longest gives way, if it may.
    pub(super) fn keep_link(&mut self, anonymous: &CompactString, now: Timestamp) {
        // Links of before were kept without their times.
        self.linked_at.resize(self.links.len(), Timestamp::MIN);
        let known = self.links.iter().position(|link| link == anonymous);
        if known.is_none() && self.refuses_links(now) {
            return;
        }
        if let Some(gone) = known.or((self.links.len() >= MAX_LINKS).then_some(0)) {
            self.links.remove(gone);
            self.linked_at.remove(gone);
        }
        self.links.push(anonymous.clone());
        self.linked_at.push(now);
    }

    /// The number of the latest outcome that there was in the model at this place before the journey began.
    pub(super) fn sequence_before(&self, place: usize) -> u64 {
        self.redirect.as_ref().and_then(|redirect| redirect.sequences.get(place)).copied().unwrap_or(0)
    }

    pub(super) fn pack_links(&self, out: &mut Vec<u8>) {
        self.links.iter().for_each(|link| push_id(out, &Id::of(link)));
        if self.linked_at.len() == self.links.len() {
            push_number(out, TIMES);
            self.linked_at.iter().for_each(|at| push_signed(out, at.as_millis()));
        }
    }

    pub(super) fn open_links(&mut self, mut bytes: Bytes<'_>) -> Result<(), Damaged> {
        while !bytes.is_empty() {
            let mut after = bytes;
            if after.number()? == TIMES {
                while !after.is_empty() {
                    self.linked_at.push(Timestamp::from_millis(after.signed()?));
                }
                return if self.linked_at.len() == self.links.len() { Ok(()) } else { Err(Damaged) };
            }
            self.links.push(bytes.id()?.to_text());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(customer: &Customer) -> Customer {
        let mut packed = Vec::new();
        customer.pack_links(&mut packed);
        let mut opened = Customer::new(customer.identity.clone());
        opened.open_links(Bytes(&packed)).expect("what was packed");
        opened
    }

    #[test]
    fn the_oldest_link_gives_way_after_a_month_and_not_before() {
        let mut customer = Customer::new(Identity::customer("c"));
        let day = |day: i64| Timestamp::from_millis(0) + Span::from_days(day);
        for number in 0..MAX_LINKS {
            customer.keep_link(&compact_str::format_compact!("a-{number}"), day(0));
        }
        customer.keep_link(&"a-0".into(), day(1));
        assert!(customer.refuses_links(day(29)) && !customer.refuses_links(day(30)));
        customer.keep_link(&"late".into(), day(29));
        assert!(!customer.is_linked_to("late", day(29)));
        customer.keep_link(&"late".into(), day(30));
        assert!(customer.is_linked_to("late", day(30)) && !customer.is_linked_to("late", day(31)));
        assert!(customer.links.contains(&"a-0".into()) && !customer.links.contains(&"a-1".into()));
        assert_eq!(customer.links.len(), MAX_LINKS);
        assert_eq!(opened(&customer), customer);
    }

    #[test]
    fn links_of_before_have_no_times() {
        let mut customer = Customer::new(Identity::customer("c"));
        customer.links = vec!["a".into(), "6a1d5c0e-77b4-4d0a-9c65-5111a9e05e11".into()];
        assert_eq!(opened(&customer), customer);
    }
}
