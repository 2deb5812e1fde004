//! What is summed up over a list, object by object, while it is read.

use compact_str::CompactString;

use super::tree::Node;
use super::wanted::Sum;
use super::written::{Properties, Scalar, example};
use crate::touchpoint::{NoNumber, RunningSum};

/// A sum over a list that is being read.
pub(super) struct SumOver<'a> {
    /// The sum's place among those that are wanted.
    place: usize,
    sum: &'a Sum,
    running: RunningSum,
    /// Something in the list is no number: how the first such is written.
    missed: Option<CompactString>,
}

impl<'a> SumOver<'a> {
    /// All that is summed up over the list of this name.
    pub(super) fn all(properties: &Properties<'a>, list: &str) -> Vec<SumOver<'a>> {
        let wanted = properties.wanted().sums().iter().enumerate();
        let over = wanted.filter(|(_, sum)| sum.of.list == list);
        over.map(|(place, sum)| SumOver { place, sum, running: RunningSum::default(), missed: None }).collect()
    }

    /// Adds one of the list's objects.
    pub(super) fn add(&mut self, part: &Node<'_>) {
        let of = &self.sum.of;
        let written = |path: &str| part.find(path).map(Node::scalar);
        let (entry, times) = (written(&of.entry), of.times.as_deref().and_then(written));
        let (added, by) = (entry.as_ref().and_then(Scalar::as_summand), times.as_ref().and_then(Scalar::as_summand));
        let missed = match self.running.add(added.as_ref(), by.as_ref(), self.sum.decimal) {
            Ok(()) => return,
            Err(NoNumber::Entry) => entry,
            Err(NoNumber::Times) => times,
        };
        if self.missed.is_none() {
            self.missed = missed.as_ref().map(example);
        }
    }

    /// At the list's end: keeps the sum, if there is one. A sum of which a part is missing is none, which is told.
    pub(super) fn keep(&self, properties: &mut Properties<'_>) {
        match (&self.missed, self.running.total()) {
            (Some(written), _) => properties.miss_total(self.place, written),
            (None, Some(total)) => properties.keep_total(self.place, total),
            (None, None) => {}
        }
    }
}
