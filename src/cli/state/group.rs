//! A consumer group on Kafka as these commands see it: from outside, mostly while nobody works on it.

use std::time::{Duration, Instant};

use crate::cli::Failure;
use crate::config::KafkaLog;
use crate::kafka::{self, Create, Offline, Trouble};
use crate::ledger::Found;
use crate::port::ShardId;
use crate::shard::{Position, Progress};
use crate::time::Timestamp;
use crate::wire::pages::Mark;

/// Members are looked for so much longer than their sessions last.
const GRACE: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// A group, its inputs and its state log.
pub(in crate::cli) struct Group {
    pub(in crate::cli) offline: Offline,
    name: String,
}

impl Group {
    /// Reaches the brokers and checks the topics, creating what is missing where that is asked for.
    pub(in crate::cli) fn reach(log: &KafkaLog, models: Vec<Mark>, create: Option<Create>) -> Result<Self, Failure> {
        let facts = kafka::prepare(&log.connection, create).map_err(|trouble| match trouble {
            Trouble::Unreachable(reason) | Trouble::Unfit(reason) => Failure::could_not_run(reason),
        })?;
        let offline = Offline::reach(&log.connection, facts, models).map_err(Failure::could_not_run)?;
        Ok(Group { offline, name: log.connection.group.clone() })
    }

    /// Waits until the group has no members. One that has just stopped is seen until its session ends: its place is kept.
    pub(in crate::cli) fn wait_until_deserted(&self) -> Result<(), Failure> {
        let (begun, longest) = (Instant::now(), self.offline.session() + GRACE);
        let mut told = false;
        loop {
            let members = self.offline.members().map_err(Failure::could_not_run)?;
            if members == 0 {
                return Ok(());
            }
            if begun.elapsed() > longest {
                return Err(Failure::answer_is_no(format!(
                    "{members} members of group {} are alive, or have died a moment ago; stop all its services first",
                    self.name
                )));
            }
            if !std::mem::replace(&mut told, true) {
                crate::cli::say(&format!(
                    "group {} has {members} members; waiting up to {} s: the places of stopped services are kept so long",
                    self.name,
                    longest.as_secs()
                ));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Where a shard stands by its committed offsets, where they are all of one commit of ours, or else by its state log; with
    /// offsets that are somebody else's, or none, where the log says nothing either.
    pub(in crate::cli) fn standing(&self, shard: ShardId, found: &Found) -> Result<Progress, Failure> {
        if let Some(progress) = found.progress() {
            return Ok(progress);
        }
        let kept = self.offline.read(shard).map_err(Failure::could_not_run)?;
        Ok(kept.restored.progress.unwrap_or_else(|| {
            let position =
                |(offset, _): &(Option<i64>, _)| Position { offset: offset.unwrap_or(0), log_time: Timestamp::MIN };
            Progress { positions: found.offsets.iter().map(position).collect(), stream_time: None, sequence: 0 }
        }))
    }

    /// By shard: records of its inputs from these positions on.
    pub(in crate::cli) fn waiting(&self, standing: &[Progress]) -> Result<Vec<u64>, Failure> {
        let mut waiting = Vec::with_capacity(standing.len());
        for (shard, progress) in (0..).zip(standing) {
            let extents = self.offline.extents(shard).map_err(Failure::could_not_run)?;
            let mut of_shard = 0;
            for (input, (position, extent)) in progress.positions.iter().zip(extents).enumerate() {
                let more = self.offline.holds_more(input, shard, position.offset, extent).map_err(Failure::could_not_run)?;
                if more {
                    of_shard += (extent.high - position.offset.max(extent.low)).unsigned_abs();
                }
            }
            waiting.push(of_shard);
        }
        Ok(waiting)
    }
}

/// The last commit that offsets tell of, whether all of them do or not.
pub(in crate::cli) fn last_commit(found: &Found) -> u64 {
    found.offsets.iter().filter_map(|(_, mark)| Some(mark.as_ref()?.sequence)).max().unwrap_or(0)
}
