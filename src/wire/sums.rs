//! What is summed up over a list, object by object, while it is read.

use super::tree::Node;
use super::wanted::Sum;
use super::written::Properties;
use crate::touchpoint::RunningSum;

/// A sum over a list that is being read.
pub(super) struct SumOver<'a> {
    /// The sum's place among those that are wanted.
    place: usize,
    sum: &'a Sum,
    running: RunningSum,
}

impl<'a> SumOver<'a> {
    /// All that is summed up over the list of this name.
    pub(super) fn all(properties: &Properties<'a>, list: &str) -> Vec<SumOver<'a>> {
        let wanted = properties.wanted().sums().iter().enumerate();
        let over = wanted.filter(|(_, sum)| sum.of.list == list);
        over.map(|(place, sum)| SumOver { place, sum, running: RunningSum::default() }).collect()
    }

    /// Adds one of the list's objects.
    pub(super) fn add(&mut self, part: &Node<'_>) {
        let entry = |path: &str| part.find(path).and_then(|value| value.scalar().as_amount());
        let of = &self.sum.of;
        self.running.add(entry(&of.entry).as_ref(), of.times.as_deref().and_then(entry).as_ref(), self.sum.decimal);
    }

    /// At the list's end: keeps the sum, if there is one.
    pub(super) fn keep(&self, properties: &mut Properties<'_>) {
        if let Some(total) = self.running.total() {
            properties.keep_total(self.place, total);
        }
    }
}
