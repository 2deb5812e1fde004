//! Reading a shard's state back from the state log, step by step, when the shard comes (rule 23).
//!
//! The end to read to must have been taken by a client that sees uncommitted records, and after the committed offsets were
//! known: a reader of committed records alone may take an end for the last one that is not (Kafka's "stale restore").

use super::reading::{Reading, Unfit};
use super::{Ledger, Look, StateReader};
use crate::port::ShardId;
use crate::shard::{Customers, Progress};
use crate::wire::outputs;

/// How often a log is read from its beginning where something is missing in it.
const READINGS: usize = 4;

/// What the state log says of a shard.
#[derive(Debug, Default)]
pub struct Restored {
    /// Its customers.
    pub customers: Customers,
    /// As of the last commit; `None` where the log holds nothing.
    pub progress: Option<Progress>,
    /// From which commit on the log is needed.
    pub retain_from: u64,
    /// Bytes of its largest commit.
    pub largest_commit: u64,
}

/// A shard's state on its way.
#[derive(Debug)]
pub struct Restoring {
    reading: Reading,
    end: i64,
    readings: usize,
    done: Option<Restored>,
}

/// What a step did.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are few, and none is kept")]
pub enum Step {
    /// It went on.
    Further,
    /// Nothing came: the log's last records are not there, or not decided yet.
    Idle,
    /// The state is there.
    Done(Restored),
}

enum Seen {
    Page(i64, Result<(), Unfit>),
    Nothing(Option<i64>),
}

impl Restoring {
    /// Begins with a shard whose log ends, uncommitted records included, at `end`. Its reader stands at the beginning.
    pub fn begin(shard: ShardId, end: i64) -> Self {
        let done = (end == 0).then(Restored::default);
        Restoring { reading: Reading::of(shard), end, readings: READINGS, done }
    }

    /// Goes on with what has been read of a log by somebody who followed it, up to where its reader stands.
    pub fn go_on(reading: Reading, end: i64) -> Self {
        Restoring { reading, end, readings: READINGS, done: None }
    }

    /// How many customers are known so far.
    pub fn customers(&self) -> usize {
        self.reading.customers()
    }

    /// Goes on by a page at most.
    ///
    /// # Errors
    /// What is wrong with the log and what to do, or that it cannot be read.
    pub fn step(&mut self, ledger: &Ledger, reader: &mut impl StateReader) -> Result<Step, String> {
        if let Some(done) = self.done.take() {
            return Ok(Step::Done(done));
        }
        let seen = reader.look(|look| match look {
            Look::Page(offset, bytes) => Seen::Page(offset, self.reading.take(ledger, bytes)),
            Look::Nothing(position) => Seen::Nothing(position),
        })?;
        match seen {
            Seen::Page(_, Ok(())) => Ok(Step::Further),
            Seen::Page(offset, Err(unfit)) => self.again(ledger, reader, unfit, &format!("offset {offset}")),
            Seen::Nothing(Some(position)) if position >= self.end => {
                let (shard, retain_from) = (self.reading.shard(), self.reading.retain_from());
                let largest_commit = self.reading.largest_commit();
                match std::mem::replace(&mut self.reading, Reading::of(shard)).finish(ledger) {
                    Ok((customers, progress)) => {
                        Ok(Step::Done(Restored { customers, progress, retain_from, largest_commit }))
                    }
                    Err(unfit) => self.again(ledger, reader, unfit, "its beginning"),
                }
            }
            Seen::Nothing(_) => Ok(Step::Idle),
        }
    }

    /// Reads the log from its beginning once more, if that may help.
    fn again(&mut self, ledger: &Ledger, reader: &mut impl StateReader, unfit: Unfit, place: &str) -> Result<Step, String> {
        let reason = match unfit {
            Unfit::Hole(_) if self.readings > 1 => {
                self.readings -= 1;
                self.reading = Reading::of(self.reading.shard());
                reader.rewind()?;
                return Ok(Step::Further);
            }
            Unfit::Hole(reason) | Unfit::Wrong(reason) => reason,
        };
        let (topic, shard) = (ledger.topic(outputs::STATE), self.reading.shard());
        Err(format!(
            "{reason} ({topic}, partition {shard}, {place}); see docs/kafka.md, \"When the state log does not fit\""
        ))
    }
}
