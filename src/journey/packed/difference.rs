//! How a packed customer follows from the one before: which bytes stay, which go, which come.
//!
//! First whose it is and a check of the bytes that it follows from, then steps: so many bytes stay, so many go, so many come.
//! Sections are compared one by one, so that what grows in one moves nothing in the next. An image in the window is mostly what
//! the state was before, which a step can say in a word.
//!
//! A window that is over is dropped without a word in the log, so a change can follow from what is there without its window.

use super::bytes::{Bytes, Damaged, push_number};
use super::{CONTACTS, RECENT, identity_bytes, is_of_state, rank, window};
use crate::journey::Window;
use crate::journey::recent::past_at;
use crate::time::Timestamp;

/// A run of equal bytes that is shorter is not worth a step.
const WORTH: usize = 4;
/// What a step of no bytes says by the number behind it: the state before comes, or the younger image of before.
const STATE: u64 = 1;
const YOUNGER: u64 = 2;

/// Appends how `now` follows from `before`, two packed images of one customer.
///
/// # Errors
/// Bytes that are no packed customer.
pub fn difference(before: &[u8], now: &[u8], out: &mut Vec<u8>) -> Result<(), Damaged> {
    let whose = identity_bytes(now)?;
    out.extend_from_slice(whose);
    out.extend_from_slice(&check(before));
    let images = Images::of(before)?;
    let mut steps = Steps { out, stay: 0, go: 0, come: &[] };
    let (mut old, mut new) = (Parts::of(before)?, Parts::of(now)?);
    steps.compare(old.head, new.head);
    let (mut one, mut other) = (old.next()?, new.next()?);
    loop {
        match (one, other) {
            (None, None) => break,
            (Some(gone), None) => {
                steps.replace(gone.whole, &[]);
                one = old.next()?;
            }
            (None, Some(come)) => {
                steps.come(come, &images);
                other = new.next()?;
            }
            (Some(gone), Some(come)) if rank(gone.number) < rank(come.number) => {
                steps.replace(gone.whole, &[]);
                (one, other) = (old.next()?, Some(come));
            }
            (Some(gone), Some(come)) if rank(gone.number) > rank(come.number) => {
                steps.come(come, &images);
                (one, other) = (Some(gone), new.next()?);
            }
            (Some(gone), Some(come)) if is_image(come.number) && gone.bytes != come.bytes => {
                steps.replace(gone.whole, &[]);
                steps.come(come, &images);
                (one, other) = (old.next()?, new.next()?);
            }
            (Some(was), Some(is)) => {
                let (was_head, is_head) = (was.whole.len() - was.bytes.len(), is.whole.len() - is.bytes.len());
                steps.compare(&was.whole[..was_head], &is.whole[..is_head]);
                let listed = [RECENT, window::ENTRIES].contains(&was.number);
                let gone = if listed { gone_in_front(was.bytes, is.bytes) } else { 0 };
                steps.replace(&was.bytes[..gone], &[]);
                steps.compare(&was.bytes[gone..], is.bytes);
                (one, other) = (old.next()?, new.next()?);
            }
        }
    }
    steps.end();
    Ok(())
}

/// Appends the packed customer that follows from `before` by `change`.
///
/// # Errors
/// The change follows from other bytes, or is none.
pub fn follow(before: &[u8], change: &[u8], out: &mut Vec<u8>) -> Result<(), Damaged> {
    let whose = identity_bytes(change)?;
    let mut steps = Bytes(&change[whose.len()..]);
    if !before.starts_with(whose) {
        return Err(Damaged);
    }
    let expected = steps.array::<4>()?;
    let before = [before, without_window(before)?].into_iter().find(|before| check(before) == expected).ok_or(Damaged)?;
    let images = Images::of(before)?;
    let mut left = Bytes(before);
    while !steps.is_empty() {
        let stay = steps.small()?;
        out.extend_from_slice(left.take(stay)?);
        let go = steps.small()?;
        left.take(go)?;
        let come = steps.small()?;
        out.extend_from_slice(steps.take(come)?);
        if (stay, go, come) == (0, 0, 0) {
            match steps.number()? {
                STATE => out.extend_from_slice(images.state),
                YOUNGER => out.extend_from_slice(images.younger),
                _ => return Err(Damaged),
            }
        }
    }
    if left.is_empty() { Ok(()) } else { Err(Damaged) }
}

/// What of a packed customer is left when its window is dropped.
///
/// # Errors
/// Bytes that are no packed customer.
pub(crate) fn without_window(packed: &[u8]) -> Result<&[u8], Damaged> {
    let mut parts = Parts::of(packed)?;
    loop {
        let left = parts.left.0.len();
        match parts.next()? {
            Some(part) if !is_of_state(part.number) && part.number != CONTACTS => return Ok(&packed[..packed.len() - left]),
            Some(_) => {}
            None => return Ok(packed),
        }
    }
}

/// The state of a packed customer: what a story is told anew from.
fn state_of(packed: &[u8]) -> Result<&[u8], Damaged> {
    let mut parts = Parts::of(packed)?;
    loop {
        let left = parts.left.0.len();
        match parts.next()? {
            Some(part) if !is_of_state(part.number) => return Ok(&packed[..packed.len() - left]),
            Some(_) => {}
            None => return Ok(packed),
        }
    }
}

/// Whether a section is an image of the state.
fn is_image(number: u8) -> bool {
    number == window::ANCHOR || number == window::YOUNGER
}

/// To when a packed customer's window lasts, without the grace: the instant of its last step, unless an answer is waited for;
/// `None` where there is none.
///
/// # Errors
/// Bytes that are no packed customer.
pub(crate) fn window_of(packed: &[u8]) -> Result<Option<Timestamp>, Damaged> {
    let mut parts = Parts::of(packed)?;
    let mut latest: &[u8] = &[];
    while let Some(part) = parts.next()? {
        let last = || last_in(latest, parts.base);
        match part.number {
            RECENT => latest = part.bytes,
            CONTACTS => {}
            window::WINDOW => return Window::lasts_by_head(Bytes(part.bytes), parts.base, last).map(Some),
            number if number > window::WINDOW => return last().map(Some),
            _ => {}
        }
    }
    Ok(None)
}

/// When the latest touchpoint of a packed history happened.
fn last_in(history: &[u8], base: i64) -> Result<Timestamp, Damaged> {
    let (mut left, mut last) = (Bytes(history), history);
    while !left.is_empty() {
        let length = left.small()?;
        last = left.take(length)?;
    }
    past_at(last, base)
}

/// What an image in a window can be made of.
struct Images<'a> {
    state: &'a [u8],
    younger: &'a [u8],
}

impl<'a> Images<'a> {
    fn of(before: &'a [u8]) -> Result<Self, Damaged> {
        let state = state_of(before)?;
        let whose = identity_bytes(before)?;
        let mut younger = &before[before.len()..];
        if state.len() < before.len() {
            let mut parts = Parts::of(before)?;
            while let Some(part) = parts.next()? {
                if part.number == window::YOUNGER {
                    younger = part.bytes;
                }
            }
        }
        Ok(Images { state: &state[whose.len()..], younger })
    }
}

fn check(before: &[u8]) -> [u8; 4] {
    (xxhash_rust::xxh3::xxh3_64(before) as u32).to_le_bytes()
}

/// How many bytes of the list's front have gone: whole touchpoints, so that what is left is how the new list begins.
fn gone_in_front(before: &[u8], now: &[u8]) -> usize {
    let mut left = Bytes(before);
    loop {
        if now.starts_with(left.0) {
            return before.len() - left.0.len();
        }
        let skipped = left.small().and_then(|length| left.take(length));
        if skipped.is_err() {
            return 0;
        }
    }
}

/// A packed customer, section by section.
struct Parts<'a> {
    head: &'a [u8],
    left: Bytes<'a>,
    base: i64,
}

#[derive(Clone, Copy)]
struct Part<'a> {
    number: u8,
    whole: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(packed: &'a [u8]) -> Result<Self, Damaged> {
        let whose = identity_bytes(packed)?;
        let mut left = Bytes(&packed[whose.len()..]);
        left.number()?;
        let base = left.signed()?;
        Ok(Parts { head: &packed[..packed.len() - left.0.len()], left, base })
    }

    fn next(&mut self) -> Result<Option<Part<'a>>, Damaged> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let begin = self.left.0;
        let number = self.left.byte()?;
        let length = if number == window::ENTRIES { self.left.0.len() } else { self.left.small()? };
        let bytes = self.left.take(length)?;
        Ok(Some(Part { number, whole: &begin[..begin.len() - self.left.0.len()], bytes }))
    }
}

/// Steps being written; those that follow each other become one.
struct Steps<'a, 'b> {
    out: &'a mut Vec<u8>,
    stay: usize,
    go: usize,
    come: &'b [u8],
}

impl<'b> Steps<'_, 'b> {
    fn stay(&mut self, bytes: usize) {
        if bytes > 0 {
            if self.go > 0 || !self.come.is_empty() {
                self.end();
            }
            self.stay += bytes;
        }
    }

    fn replace(&mut self, gone: &[u8], come: &'b [u8]) {
        let changes = !gone.is_empty() || !come.is_empty();
        if changes && !self.come.is_empty() {
            self.end();
        }
        self.go += gone.len();
        if !come.is_empty() {
            self.come = come;
        }
    }

    /// A section comes; an image that stands in what was before is named.
    fn come(&mut self, part: Part<'b>, images: &Images<'_>) {
        let image = match part.bytes {
            _ if !is_image(part.number) || part.bytes.is_empty() => None,
            bytes if bytes == images.state => Some(STATE),
            bytes if bytes == images.younger => Some(YOUNGER),
            _ => None,
        };
        let Some(image) = image else { return self.replace(&[], part.whole) };
        self.replace(&[], &part.whole[..part.whole.len() - part.bytes.len()]);
        self.end();
        self.out.extend_from_slice(&[0, 0, 0]);
        push_number(self.out, image);
    }

    fn end(&mut self) {
        if self.stay + self.go + self.come.len() > 0 {
            push_number(self.out, self.stay as u64);
            push_number(self.out, self.go as u64);
            push_number(self.out, self.come.len() as u64);
            self.out.extend_from_slice(self.come);
            (self.stay, self.go, self.come) = (0, 0, &[]);
        }
    }

    /// What is equal in front and behind stays; of what lies between, where it is as long as it was, longer equal runs as well.
    fn compare(&mut self, before: &[u8], now: &'b [u8]) {
        let front = equal_front(before, now);
        self.stay(front);
        let (before, now) = (&before[front..], &now[front..]);
        let back = before.iter().rev().zip(now.iter().rev()).take_while(|(one, other)| one == other).count();
        let (before, now) = (&before[..before.len() - back], &now[..now.len() - back]);
        if before.len() == now.len() {
            let (mut begin, mut at) = (0, 0);
            while at < now.len() {
                let equal = before[at..].iter().zip(&now[at..]).take_while(|(one, other)| one == other).count();
                if equal >= WORTH {
                    self.replace(&before[begin..at], &now[begin..at]);
                    self.stay(equal);
                    begin = at + equal;
                }
                at += equal.max(1);
            }
            self.replace(&before[begin..], &now[begin..]);
        } else {
            self.replace(before, now);
        }
        self.stay(back);
    }
}

/// How many bytes the two begin with alike. Mostly that is nearly all of them, so eight are looked at together.
fn equal_front(one: &[u8], other: &[u8]) -> usize {
    let words = one.chunks_exact(8).zip(other.chunks_exact(8));
    let words = words.take_while(|(one, other)| one == other).count() * 8;
    words + one[words..].iter().zip(&other[words..]).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journey::Customer;
    use crate::journey::packed::pack_identity;
    use crate::touchpoint::Identity;

    /// A packed customer with these sections, which need not be sound for a comparison.
    fn packed(sections: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut out = Vec::new();
        pack_identity(&Identity::customer("c-17"), &mut out);
        out.extend_from_slice(&[3, 4]);
        let mut sections = sections.to_vec();
        sections.sort();
        for (number, bytes) in sections {
            out.push(number);
            push_number(&mut out, bytes.len() as u64);
            out.extend(bytes);
        }
        out
    }

    fn sections() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
        prop::collection::vec((1..5_u8, prop::collection::vec(0..3_u8, 0..40)), 0..5)
    }

    proptest! {
        #[test]
        fn what_follows_is_had_again_and_from_nothing_else(before in sections(), now in sections()) {
            let (before, now) = (packed(&before), packed(&now));
            let mut change = Vec::new();
            difference(&before, &now, &mut change).expect("packed customers");
            let mut followed = Vec::new();
            prop_assert_eq!(follow(&before, &change, &mut followed), Ok(()));
            prop_assert_eq!(&followed, &now);
            if before != now {
                prop_assert_eq!(follow(&now, &change, &mut Vec::new()), Err(Damaged));
            }
        }
    }

    #[test]
    fn a_change_of_somebody_else_is_refused() {
        let mut images = [Vec::new(), Vec::new()];
        for (id, image) in ["a", "b"].into_iter().zip(&mut images) {
            Customer::new(Identity::customer(id)).pack(&mut super::super::Words::default(), image);
        }
        let mut change = Vec::new();
        difference(&images[0], &images[0], &mut change).expect("packed customers");
        assert_eq!(follow(&images[0], &change, &mut Vec::new()), Ok(()));
        assert_eq!(follow(&images[1], &change, &mut Vec::new()), Err(Damaged));
    }
}
