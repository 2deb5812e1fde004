//! Writing the state log: pages of changed customers in every transaction, and what is needed no more (rule 23).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Ledger;
use crate::port::ShardId;
use crate::shard::{Progress, Written};
use crate::touchpoint::Identity;
use crate::wire::pages::{Draft, Head};

/// So many commits are told apart by their offsets at most; what can be cut is found to that precision.
const MAX_MARKS: usize = 256;

/// The state log of the shards that one worker owns.
pub(super) struct StateWriter {
    ledger: Arc<Ledger>,
    shards: BTreeMap<ShardId, Writing>,
}

/// What is being written of one shard.
#[derive(Default)]
struct Writing {
    draft: Draft,
    part: u32,
    /// Commits and the offsets of their first pages, oldest first.
    marks: VecDeque<(u64, i64)>,
    retain_from: u64,
    /// The log begins here, as far as this worker has cut it.
    cut: i64,
}

impl StateWriter {
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        StateWriter { ledger, shards: BTreeMap::new() }
    }

    /// Adds a customer's state to the shard's page, or how it follows from what the log holds; returns its bytes, and the
    /// pages that are full.
    pub(super) fn add(&mut self, shard: ShardId, written: Written<'_>) -> Result<(usize, Vec<Vec<u8>>), String> {
        let draft = &mut self.shards.entry(shard).or_default().draft;
        let bytes = match written.before {
            Some(before) => draft.add_change(before, written.now)?,
            None => draft.add(written.now)?,
        };
        Ok((bytes, self.full(shard)?))
    }

    /// Adds a word of the dictionary to the shard's page; returns what [`StateWriter::add`] does.
    pub(super) fn add_word(&mut self, shard: ShardId, number: u32, text: &str) -> Result<(usize, Vec<Vec<u8>>), String> {
        let bytes = self.shards.entry(shard).or_default().draft.add_word(number, text)?;
        Ok((bytes, self.full(shard)?))
    }

    /// Adds to the shard's page that a customer is gone; returns what [`StateWriter::add`] does.
    pub(super) fn add_gone(&mut self, shard: ShardId, who: &Identity) -> Result<(usize, Vec<Vec<u8>>), String> {
        let bytes = self.shards.entry(shard).or_default().draft.add_gone(who)?;
        Ok((bytes, self.full(shard)?))
    }

    fn full(&mut self, shard: ShardId) -> Result<Vec<Vec<u8>>, String> {
        let mut full = Vec::new();
        while self.shards.entry(shard).or_default().draft.is_full() {
            full.push(self.page(shard, None, "")?);
        }
        Ok(full)
    }

    /// The last page of a commit.
    pub(super) fn last_page(&mut self, shard: ShardId, progress: &Progress, attempt: &str) -> Result<Vec<u8>, String> {
        let page = self.page(shard, Some(progress.clone()), attempt)?;
        self.shards.entry(shard).or_default().part = 0;
        Ok(page)
    }

    fn page(&mut self, shard: ShardId, progress: Option<Progress>, attempt: &str) -> Result<Vec<u8>, String> {
        let writing = self.shards.entry(shard).or_default();
        let head = Head {
            part: writing.part,
            partitions: self.ledger.partitions,
            // Once a commit is enough.
            inputs: if progress.is_some() { self.ledger.inputs.clone() } else { Vec::new() },
            models: if progress.is_some() { self.ledger.models.clone() } else { Vec::new() },
            progress,
            attempt: attempt.to_owned(),
            retain_from: writing.retain_from,
        };
        writing.part += 1;
        writing.draft.finish(&head)
    }

    /// The log is needed from this commit on.
    pub(super) fn keep_from(&mut self, shard: ShardId, sequence: u64) {
        self.shards.entry(shard).or_default().retain_from = sequence;
    }

    /// The pages are in the log; `first` are the offsets of their first ones. Returns what is needed no more: up to which
    /// offset a shard's log can be cut.
    pub(super) fn committed(
        &mut self,
        progress: &[(ShardId, Progress)],
        first: &BTreeMap<ShardId, i64>,
    ) -> Vec<(ShardId, i64)> {
        let mut cuts = Vec::new();
        for (shard, progress) in progress {
            let writing = self.shards.entry(*shard).or_default();
            if let Some(offset) = first.get(shard) {
                writing.mark(progress.sequence, *offset);
            }
            cuts.extend(writing.cut_now().map(|offset| (*shard, offset)));
        }
        cuts
    }

    /// The pages are not in the log.
    pub(super) fn aborted(&mut self) {
        for writing in self.shards.values_mut() {
            writing.draft = Draft::default();
            writing.part = 0;
        }
    }
}

impl Writing {
    /// Remembers where a commit begins. Of too many, every second one is forgotten.
    fn mark(&mut self, sequence: u64, offset: i64) {
        if self.marks.back().is_some_and(|(_, last)| *last > offset) {
            // The topic was made anew: what is known of it is of another log. A shard that went and came back needs no such
            // care, since commits have their numbers and offsets whoever wrote them.
            self.marks.clear();
            self.cut = 0;
        }
        self.marks.push_back((sequence, offset));
        if self.marks.len() > MAX_MARKS {
            let mut kept = true;
            self.marks.retain(|_| {
                kept = !kept;
                !kept
            });
        }
    }

    /// Up to where the log can be cut, if that is worth a request.
    fn cut_now(&mut self) -> Option<i64> {
        while self.marks.get(1).is_some_and(|(sequence, _)| *sequence <= self.retain_from) {
            self.marks.pop_front();
        }
        let (sequence, offset) = *self.marks.front()?;
        let last = self.marks.back().map_or(offset, |(_, last)| *last);
        // Not before an eighth of what is kept has become superfluous.
        let worth = offset > self.cut && (offset - self.cut) * 8 >= last - offset;
        (sequence <= self.retain_from && worth).then(|| {
            self.cut = offset;
            offset
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_cut_where_it_is_needed_no_more_and_not_for_every_commit() {
        let mut writing = Writing::default();
        let mut cuts = Vec::new();
        for sequence in 1..=1_000_u64 {
            writing.mark(sequence, sequence as i64 * 2);
            writing.retain_from = sequence.saturating_sub(100);
            let cut = writing.cut_now();
            assert!(cut.is_none_or(|offset| offset <= writing.retain_from as i64 * 2), "cut too far at {sequence}");
            cuts.extend(cut);
        }
        assert!(writing.marks.len() <= MAX_MARKS);
        assert!((20..120).contains(&cuts.len()), "{} cuts", cuts.len());
        assert!(cuts.last().is_some_and(|last| *last > 2 * (900 - 40)), "{:?}", cuts.last());
    }
}
