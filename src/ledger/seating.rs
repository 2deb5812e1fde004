//! Whether a shard's committed offsets and its state log agree, and where it goes on (rule 23).

use super::{Bookmark, Ledger};
use crate::port::ShardId;
use crate::shard::{Position, Progress};
use crate::wire::outputs;

/// The committed offsets of a shard, by input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The offset, and what stands beside it; each may be missing, or somebody else's.
    pub offsets: Vec<(Option<i64>, Option<Bookmark>)>,
}

/// Where a shard goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seating {
    /// Where its last commit left it.
    At(Progress),
    /// The same, but the group has lost its offsets.
    Recovered(Progress),
    /// Nothing was ever committed of it: at offsets that somebody set, or where `start` says.
    Fresh,
}

impl Found {
    /// The last commit as the offsets tell it; `None` where they are not all of one commit of ours.
    pub fn progress(&self) -> Option<Progress> {
        let (_, first) = self.offsets.first()?;
        let first = first.as_ref()?;
        let position = |(offset, mark): &(Option<i64>, Option<Bookmark>)| {
            let mark = mark.as_ref().filter(|mark| mark.sequence == first.sequence)?;
            Some(Position { offset: (*offset)?, log_time: mark.log_time })
        };
        let positions = self.offsets.iter().map(position).collect::<Option<_>>()?;
        Some(Progress { positions, stream_time: first.stream_time, sequence: first.sequence })
    }

    fn sequence(&self) -> Option<u64> {
        self.offsets.iter().filter_map(|(_, mark)| Some(mark.as_ref()?.sequence)).max()
    }
}

/// Judges. `state` is how far the state log says that the shard has come; `None` where it holds nothing.
///
/// # Errors
/// They disagree: why, and what to do.
pub fn seating(ledger: &Ledger, shard: ShardId, state: Option<Progress>, found: &Found) -> Result<Seating, String> {
    let (group, log) = (&ledger.group, ledger.topic(outputs::STATE));
    let remedy = "see docs/kafka.md, \"When the state log does not fit\"";
    let Some(progress) = state else {
        return match found.sequence() {
            Some(sequence) if sequence > 0 => Err(format!(
                "partition {shard}: commit {sequence} is in the offsets of group {group}, but the state log {log} holds \
                 nothing; {remedy}"
            )),
            Some(_) | None => Ok(Seating::Fresh),
        };
    };
    if found.offsets.iter().all(|(offset, _)| offset.is_none()) {
        return Ok(Seating::Recovered(progress));
    }
    let of_this_commit = |mark: &Option<Bookmark>| mark.as_ref().is_some_and(|mark| mark.sequence == progress.sequence);
    if found.offsets.iter().all(|(_, mark)| of_this_commit(mark)) {
        return Ok(Seating::At(progress));
    }
    Err(format!(
        "partition {shard}: the offsets of group {group} are {}, the state log {log} is at commit {}; {remedy}",
        found.sequence().map_or("not Sillage's (set by hand?)".to_owned(), |sequence| format!("of commit {sequence}")),
        progress.sequence
    ))
}
