//! Whether a shard's committed offsets and its state log agree, and where it goes on (rule 23).

use super::{Ledger, OffsetMetadata};
use crate::port::ShardId;
use crate::shard::{Position, Progress};
use crate::time::Timestamp;
use crate::wire::outputs;

/// The committed offsets of a shard, by input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The offset, and what stands beside it; each may be missing, or somebody else's.
    pub offsets: Vec<(Option<i64>, Option<OffsetMetadata>)>,
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
        let position = |(offset, mark): &(Option<i64>, Option<OffsetMetadata>)| {
            let mark = mark.as_ref().filter(|mark| mark.sequence == first.sequence)?;
            Some(Position { offset: (*offset)?, log_time: mark.log_time })
        };
        let positions = self.offsets.iter().map(position).collect::<Option<_>>()?;
        Some(Progress { positions, stream_time: first.stream_time, sequence: first.sequence })
    }

    /// Adds the committed offset of the control topic, then that of what shards hand to each other. It never decides whether
    /// offsets and state agree. Where it is not of the inputs' commit, somebody has moved those, or there was no such topic yet:
    /// then it is read from its beginning, so that touchpoints that are read again do not bring back whom they belong to.
    pub fn with_beside(mut self, offset: Option<i64>, mark: Option<OffsetMetadata>) -> Self {
        let first = self.offsets.iter().find_map(|(_, mark)| mark.clone());
        let beside = match (first, mark) {
            (None, _) => (None, None),
            (Some(first), Some(mark)) if mark.sequence == first.sequence => (offset.or(Some(0)), Some(mark)),
            (Some(first), _) => (Some(0), Some(OffsetMetadata { log_time: Timestamp::MIN, ..first })),
        };
        self.offsets.push(beside);
        self
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
    let of_this_commit =
        |mark: &Option<OffsetMetadata>| mark.as_ref().is_some_and(|mark| mark.sequence == progress.sequence);
    if found.offsets.iter().all(|(_, mark)| of_this_commit(mark)) {
        return Ok(Seating::At(progress));
    }
    Err(format!(
        "partition {shard}: the offsets of group {group} are {}, the state log {log} is at commit {}; {remedy}",
        found.sequence().map_or("not Sillage's (set by hand?)".to_owned(), |sequence| format!("of commit {sequence}")),
        progress.sequence
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        Ledger { inputs: vec!["app".to_owned(), "web".to_owned()], ..Ledger::sample(1) }
    }

    fn progress(sequence: u64) -> Progress {
        let position = |offset| Position { offset, log_time: Timestamp::from_millis(offset) };
        Progress { positions: vec![position(5), position(9)], stream_time: Some(Timestamp::from_millis(9)), sequence }
    }

    fn committed(progress: &Progress) -> Found {
        let of = |position: &Position| (Some(position.offset), Some(OffsetMetadata::of(progress, position, "a-1")));
        Found { offsets: progress.positions.iter().map(of).collect() }
    }

    /// Rule 23, case by case: what the state log says, what the offsets say, what follows.
    #[test]
    fn offsets_and_state_log_agree_or_the_shard_is_parked() {
        let (nothing, foreign) = (Found { offsets: vec![(None, None); 2] }, Found { offsets: vec![(Some(3), None); 2] });
        let torn = Found { offsets: [committed(&progress(7)).offsets, committed(&progress(8)).offsets].concat() };
        let torn = Found { offsets: vec![torn.offsets[0].clone(), torn.offsets[3].clone()] };
        let judge = |state: Option<u64>, found: &Found| seating(&ledger(), 0, state.map(progress), found);
        assert_eq!(judge(Some(7), &committed(&progress(7))), Ok(Seating::At(progress(7))));
        assert_eq!(judge(Some(7), &nothing), Ok(Seating::Recovered(progress(7))));
        assert_eq!(judge(None, &nothing), Ok(Seating::Fresh));
        assert_eq!(judge(None, &foreign), Ok(Seating::Fresh));
        for (state, found, words) in [
            (None, committed(&progress(7)), "holds nothing"),
            (Some(7), foreign, "not Sillage's (set by hand?)"),
            (Some(7), committed(&progress(6)), "are of commit 6, the state log out.state is at commit 7"),
            (Some(7), committed(&progress(8)), "are of commit 8, the state log out.state is at commit 7"),
            (Some(7), torn.clone(), "are of commit 8"),
        ] {
            let told = judge(state, &found).expect_err(words);
            assert!(told.contains(words) && told.contains("When the state log does not fit"), "{told}");
        }
        assert_eq!(torn.progress(), None);
        assert_eq!(committed(&progress(7)).progress(), Some(progress(7)));
    }

    fn mark(sequence: u64) -> OffsetMetadata {
        OffsetMetadata { sequence, attempt: "a".to_owned(), stream_time: None, log_time: Timestamp::from_millis(5) }
    }

    #[test]
    fn the_control_topic_never_keeps_a_shard_from_its_state() {
        let inputs = |offsets: &[(Option<i64>, Option<u64>)]| Found {
            offsets: offsets.iter().map(|(offset, sequence)| (*offset, sequence.map(mark))).collect(),
        };
        for (what, found, control, expected) in [
            ("as committed", inputs(&[(Some(3), Some(7))]), (Some(9), Some(7)), Some(vec![3, 9])),
            ("no control topic yet", inputs(&[(Some(3), Some(7))]), (None, None), Some(vec![3, 0])),
            ("inputs moved since", inputs(&[(Some(3), Some(7))]), (Some(9), Some(4)), Some(vec![3, 0])),
            ("offsets set by hand", inputs(&[(Some(3), None)]), (Some(9), Some(4)), None),
            ("offsets deleted", inputs(&[(None, None)]), (Some(9), Some(4)), None),
        ] {
            let found = found.with_beside(control.0, control.1.map(mark));
            let offsets = found.progress().map(|progress| progress.positions.iter().map(|at| at.offset).collect::<Vec<_>>());
            assert_eq!(offsets, expected, "{what}");
            if expected.is_none() {
                assert_eq!(found.sequence(), None, "{what}: nothing is said of a commit");
            }
        }
    }
}
