//! What became of a customer since an image of it that its reader has: what only grows at one end is not said again.
//!
//! Most of a customer's image are the touchpoints behind it. Pure; whoever applies the change to that image has the new one,
//! to the byte.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::{Customer, Journey, PastTouchpoint};
use crate::time::Timestamp;
use crate::touchpoint::Identity;

/// How an image follows from the one before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change<'a> {
    identity: Cow<'a, Identity>,
    /// How many touchpoints had been applied in the image before.
    after: u64,
    touchpoints: u64,
    links: Cow<'a, [CompactString]>,
    history: Tail<Arc<PastTouchpoint>>,
    seen: Tail<(u64, Timestamp)>,
    journeys: Cow<'a, [Journey]>,
}

/// How a list follows from one that loses at its front and gains at its back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tail<T> {
    dropped: u32,
    added: Vec<T>,
}

impl<T: Clone + PartialEq> Tail<T> {
    fn between(before: &VecDeque<T>, now: &VecDeque<T>) -> Self {
        // In the worst case nothing is common, and everything is dropped and added.
        let common = |dropped: &usize| now.iter().take(before.len() - dropped).eq(before.range(dropped..));
        let dropped = (0..before.len()).find(common).unwrap_or(before.len());
        let added = now.range(before.len() - dropped..).cloned().collect();
        Tail { dropped: dropped as u32, added }
    }

    /// Says whether there was as much as is dropped.
    fn follow(self, list: &mut VecDeque<T>) -> bool {
        let dropped = self.dropped as usize;
        let fits = dropped <= list.len();
        list.drain(..dropped.min(list.len()));
        list.extend(self.added);
        fits
    }
}

impl Change<'_> {
    /// Whose change it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

impl Customer {
    /// How this image follows from another of the same customer.
    pub fn since(&self, before: &Customer) -> Change<'_> {
        // Taken apart, so that what is new in a customer cannot be left out of its changes.
        let Customer { identity, links, touchpoints, history, seen, journeys } = self;
        Change {
            identity: Cow::Borrowed(identity),
            after: before.touchpoints,
            touchpoints: *touchpoints,
            links: Cow::Borrowed(links),
            history: Tail::between(&before.history, history),
            seen: Tail::between(&before.seen, seen),
            journeys: Cow::Borrowed(journeys),
        }
    }

    /// Makes this image the one that follows from it.
    ///
    /// # Errors
    /// The change follows from another image; this one is then of no use.
    pub fn follow(&mut self, change: Change<'_>) -> Result<(), String> {
        let Change { identity, after, touchpoints, links, history, seen, journeys } = change;
        let found = self.touchpoints;
        if after != found || *identity != self.identity {
            return Err(format!("it says how a customer changed after {after} touchpoints, and knows it after {found}"));
        }
        if !(history.follow(&mut self.history) & seen.follow(&mut self.seen)) {
            return Err("it drops more of a customer's history than there is".to_owned());
        }
        self.touchpoints = touchpoints;
        self.links = links.into_owned();
        self.journeys = journeys.into_owned();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(numbers: &[u8]) -> VecDeque<u8> {
        numbers.iter().copied().collect()
    }

    #[test]
    fn only_what_is_new_is_said() {
        let said = |before: &[u8], now: &[u8]| {
            let Tail { dropped, added } = Tail::between(&list(before), &list(now));
            (dropped, added)
        };
        assert_eq!(said(&[], &[1]), (0, vec![1]));
        assert_eq!(said(&[1, 2, 3], &[1, 2, 3]), (0, vec![]));
        assert_eq!(said(&[1, 2, 3], &[2, 3, 4, 5]), (1, vec![4, 5]));
        assert_eq!(said(&[1, 1, 2], &[1, 2]), (1, vec![]));
        assert_eq!(said(&[1, 2, 3], &[4]), (3, vec![4]));
        assert_eq!(said(&[1, 2, 3], &[]), (3, vec![]));
    }

    proptest! {
        #[test]
        fn a_list_follows_from_any_other(before: Vec<bool>, now: Vec<bool>) {
            let (before, now): (VecDeque<bool>, VecDeque<bool>) = (before.into(), now.into());
            let mut followed = before.clone();
            prop_assert!(Tail::between(&before, &now).follow(&mut followed));
            prop_assert_eq!(followed, now);
        }
    }

    #[test]
    fn a_change_that_follows_from_another_image_is_refused() {
        let image = |touchpoints, times: i64| {
            let seen = (0..times).map(|at| (at.unsigned_abs(), Timestamp::from_millis(at))).collect();
            Customer { touchpoints, seen, ..Customer::new(Identity::customer("c")) }
        };
        let (before, now) = (image(3, 3), image(4, 4));
        let mut right = before.clone();
        assert_eq!(right.follow(now.since(&before)), Ok(()));
        assert_eq!(right, now);
        let refused = image(2, 3).follow(now.since(&before)).expect_err("another number of touchpoints");
        assert_eq!(refused, "it says how a customer changed after 3 touchpoints, and knows it after 2");
        let forgetful = image(3, 0);
        assert!(forgetful.clone().follow(image(4, 0).since(&before)).is_err(), "there is nothing to drop");
        let other = Customer { identity: Identity::anonymous("c"), ..before.clone() };
        assert!(other.clone().follow(now.since(&before)).is_err(), "somebody else's");
    }
}
