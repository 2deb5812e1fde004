//! How a packed customer follows from the one before: which bytes stay, which go, which come.
//!
//! First whose it is and a check of the bytes that it follows from, then steps: so many bytes stay, so many go, so many come.
//! Sections are compared one by one, so that what grows in one moves nothing in the next. An image in the window is mostly what
//! the state was before, which a step can say in a word; any other is near to the state that has come, and follows from that.
//!
//! A window that is over is dropped without a word in the log, so a change can follow from what is there without its window.

use super::bytes::{Bytes, Damaged, push_number};
use super::{CONTACTS, RECENT, identity_bytes, is_of_state, rank, window};
use crate::journey::Window;
use crate::journey::recent::past_at;
use crate::time::Timestamp;

/// What it takes at most to say that an image is near, beside the steps.
const NEAR_BYTES: usize = 8;
/// A run of equal bytes that is shorter is not worth a step.
const WORTH: usize = 4;
/// What a step of no bytes says by the number behind it: the state before comes, the younger image of before, or an image that
/// follows from the state that has come by so many bytes of steps.
const STATE: u64 = 1;
const YOUNGER: u64 = 2;
const NEAR: u64 = 3;

/// Appends how `now` follows from `before`, two packed images of one customer.
///
/// # Errors
/// Bytes that are no packed customer.
pub fn difference(before: &[u8], now: &[u8], out: &mut Vec<u8>) -> Result<(), Damaged> {
    let whose = identity_bytes(now)?;
    out.extend_from_slice(whose);
    out.extend_from_slice(&check(before));
    let images = Images { come: state_of_rest(&now[whose.len()..])?, ..Images::of(before)? };
    let mut steps = Steps { out, stay: 0, go: 0, come: &[] };
    steps.follow_from(Parts::of(before)?, Parts::of(now)?, Some(&images))
}

/// Appends a packed customer as a change that follows from nothing; says whether that is worth it. Where it is not, nothing is
/// appended.
pub fn fold(packed: &[u8], out: &mut Vec<u8>) -> bool {
    let begin = out.len();
    let folded = try_fold(packed, out) == Ok(true) && out.len() - begin < packed.len();
    if !folded {
        out.truncate(begin);
    }
    folded
}

fn try_fold(packed: &[u8], out: &mut Vec<u8>) -> Result<bool, Damaged> {
    let mut parts = Parts::of(packed)?;
    while let Some(part) = parts.next()? {
        if is_image(part.number) && !part.bytes.is_empty() {
            return difference(&nothing_of(packed)?, packed, out).map(|()| true);
        }
    }
    Ok(false)
}

/// Appends what was folded.
///
/// # Errors
/// Bytes that are no folded customer.
pub fn unfold(folded: &[u8], out: &mut Vec<u8>) -> Result<(), Damaged> {
    follow(&nothing_of(folded)?, folded, out)
}

/// A customer of whom nothing is known but who it is.
fn nothing_of(packed: &[u8]) -> Result<Vec<u8>, Damaged> {
    Ok([identity_bytes(packed)?, &[0, 0]].concat())
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
    let begin = out.len() + whose.len();
    take_steps(before, steps, out, |number, steps, out| {
        match number {
            STATE => out.extend_from_slice(images.state),
            YOUNGER => out.extend_from_slice(images.younger),
            NEAR => {
                let length = steps.small()?;
                let steps = Bytes(steps.take(length)?);
                let state = state_of_rest(out.get(begin..).ok_or(Damaged)?)?.to_vec();
                take_steps(&state, steps, out, |_, _, _| Err(Damaged))?;
            }
            _ => return Err(Damaged),
        }
        Ok(())
    })
}

/// Appends what follows from `before` by steps; a step of no bytes is left to `image`, with the number behind it.
fn take_steps<'a>(
    before: &[u8],
    mut steps: Bytes<'a>,
    out: &mut Vec<u8>,
    image: impl Fn(u64, &mut Bytes<'a>, &mut Vec<u8>) -> Result<(), Damaged>,
) -> Result<(), Damaged> {
    let mut left = Bytes(before);
    while !steps.is_empty() {
        let stay = steps.small()?;
        out.extend_from_slice(left.take(stay)?);
        let go = steps.small()?;
        left.take(go)?;
        let come = steps.small()?;
        out.extend_from_slice(steps.take(come)?);
        if (stay, go, come) == (0, 0, 0) {
            let number = steps.number()?;
            image(number, &mut steps, out)?;
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

/// The state of a packed customer without whose it is, which may go on behind it in whatever way: what a story is told anew from.
fn state_of_rest(rest: &[u8]) -> Result<&[u8], Damaged> {
    let mut parts = Parts::of_rest(rest)?;
    while parts.left.0.first().is_some_and(|number| is_of_state(*number)) {
        parts.next()?;
    }
    Ok(&rest[..rest.len() - parts.left.0.len()])
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
    /// The state before.
    state: &'a [u8],
    /// The younger image of before.
    younger: &'a [u8],
    /// The state that comes.
    come: &'a [u8],
}

impl<'a> Images<'a> {
    fn of(before: &'a [u8]) -> Result<Self, Damaged> {
        let rest = &before[identity_bytes(before)?.len()..];
        let state = state_of_rest(rest)?;
        let mut younger = &before[before.len()..];
        if state.len() < rest.len() {
            let mut parts = Parts::of(before)?;
            while let Some(part) = parts.next()? {
                if part.number == window::YOUNGER {
                    younger = part.bytes;
                }
            }
        }
        Ok(Images { state, younger, come: &[] })
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
        let whose = identity_bytes(packed)?.len();
        let rest = Parts::of_rest(&packed[whose..])?;
        Ok(Parts { head: &packed[..whose + rest.head.len()], ..rest })
    }

    /// The same without whose it is.
    fn of_rest(rest: &'a [u8]) -> Result<Self, Damaged> {
        let mut left = Bytes(rest);
        left.number()?;
        let base = left.signed()?;
        Ok(Parts { head: &rest[..rest.len() - left.0.len()], left, base })
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
    /// Writes how one follows from the other, section by section.
    fn follow_from(&mut self, mut old: Parts<'_>, mut new: Parts<'b>, images: Option<&Images<'_>>) -> Result<(), Damaged> {
        self.compare(old.head, new.head);
        let (mut one, mut other) = (old.next()?, new.next()?);
        loop {
            match (one, other) {
                (None, None) => break,
                (Some(gone), None) => {
                    self.replace(gone.whole, &[]);
                    one = old.next()?;
                }
                (None, Some(come)) => {
                    self.come(come, images)?;
                    other = new.next()?;
                }
                (Some(gone), Some(come)) if rank(gone.number) < rank(come.number) => {
                    self.replace(gone.whole, &[]);
                    (one, other) = (old.next()?, Some(come));
                }
                (Some(gone), Some(come)) if rank(gone.number) > rank(come.number) => {
                    self.come(come, images)?;
                    (one, other) = (Some(gone), new.next()?);
                }
                (Some(gone), Some(come)) if is_image(come.number) && gone.bytes != come.bytes => {
                    self.replace(gone.whole, &[]);
                    self.come(come, images)?;
                    (one, other) = (old.next()?, new.next()?);
                }
                (Some(was), Some(is)) => {
                    let (was_head, is_head) = (was.whole.len() - was.bytes.len(), is.whole.len() - is.bytes.len());
                    self.compare(&was.whole[..was_head], &is.whole[..is_head]);
                    let listed = [RECENT, window::ENTRIES].contains(&was.number);
                    let gone = if listed { gone_in_front(was.bytes, is.bytes) } else { 0 };
                    self.replace(&was.bytes[..gone], &[]);
                    self.compare(&was.bytes[gone..], is.bytes);
                    (one, other) = (old.next()?, new.next()?);
                }
            }
        }
        self.end();
        Ok(())
    }

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

    /// A section comes; an image is named where it stands in what was before, and follows from the state that comes where that is
    /// shorter.
    fn come(&mut self, part: Part<'b>, images: Option<&Images<'_>>) -> Result<(), Damaged> {
        let Some(images) = images.filter(|_| is_image(part.number) && !part.bytes.is_empty()) else {
            self.replace(&[], part.whole);
            return Ok(());
        };
        let known = match part.bytes {
            bytes if bytes == images.state => Some(STATE),
            bytes if bytes == images.younger => Some(YOUNGER),
            _ => None,
        };
        let mut near = Vec::new();
        if known.is_none() {
            let mut steps = Steps { out: &mut near, stay: 0, go: 0, come: &[] };
            steps.follow_from(Parts::of_rest(images.come)?, Parts::of_rest(part.bytes)?, None)?;
            if near.len() + NEAR_BYTES >= part.bytes.len() {
                self.replace(&[], part.whole);
                return Ok(());
            }
        }
        self.replace(&[], &part.whole[..part.whole.len() - part.bytes.len()]);
        self.end();
        self.out.extend_from_slice(&[0, 0, 0]);
        push_number(self.out, known.unwrap_or(NEAR));
        if known.is_none() {
            push_number(self.out, near.len() as u64);
            self.out.extend_from_slice(&near);
        }
        Ok(())
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

    /// A packed state without whose it is, of such sections.
    fn rest(sections: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let packed = packed(sections);
        packed[identity_bytes(&packed).expect("packed").len()..].to_vec()
    }

    proptest! {
        #[test]
        fn images_are_had_again_from_whatever_they_are_near_to(
            before in sections(),
            now in sections(),
            anchor in sections(),
            younger in sections(),
            (same, entries) in (0..4_u8, prop::collection::vec(1..3_u8, 0..20)),
        ) {
            let of = |state: &[(u8, Vec<u8>)], anchor: &[(u8, Vec<u8>)], younger: &[(u8, Vec<u8>)]| {
                let mut window = vec![(window::WINDOW, vec![2, 1, 1]), (window::ANCHOR, rest(anchor))];
                window.push((window::YOUNGER, rest(younger)));
                let mut packed = packed(&[state, &window].concat());
                packed.push(window::ENTRIES);
                packed.extend_from_slice(&entries);
                packed
            };
            // Some images are those of before, or the state itself.
            let (before, now) = match same {
                0 => (of(&before, &anchor, &younger), of(&now, &younger, &before)),
                1 => (of(&before, &anchor, &younger), of(&now, &anchor, &now)),
                2 => (packed(&before), of(&now, &before, &younger)),
                _ => (of(&before, &now, &younger), of(&now, &anchor, &younger)),
            };
            let (mut change, mut followed) = (Vec::new(), Vec::new());
            difference(&before, &now, &mut change).expect("packed customers");
            prop_assert_eq!(follow(&before, &change, &mut followed), Ok(()));
            prop_assert_eq!(&followed, &now);
            for packed in [before, now] {
                let (mut folded, mut unfolded) = (Vec::new(), Vec::new());
                if fold(&packed, &mut folded) {
                    prop_assert!(folded.len() < packed.len());
                    prop_assert_eq!(unfold(&folded, &mut unfolded), Ok(()));
                    prop_assert_eq!(&unfolded, &packed);
                } else {
                    prop_assert!(folded.is_empty());
                }
            }
        }
    }

    #[test]
    fn an_image_that_is_near_takes_no_more_than_what_it_differs_by() {
        let state = [(1, vec![7; 60]), (2, (0..90).collect())];
        let image = [(1, vec![7; 60]), (2, (0..60).collect())];
        let whole = packed(&[&state[..], &[(window::WINDOW, vec![2, 1, 1]), (window::YOUNGER, rest(&image))]].concat());
        let mut folded = Vec::new();
        assert!(fold(&whole, &mut folded));
        assert!(folded.len() < whole.len() - 90, "{} of {}", folded.len(), whole.len());
        let mut change = Vec::new();
        difference(&packed(&state), &whole, &mut change).expect("packed customers");
        assert!(change.len() < 50, "{}", change.len());
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
