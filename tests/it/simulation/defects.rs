//! Deliberate defects of the simulated shell: traps that Kafka and its clients set, walked into. Each must be caught, or the
//! simulation proves little.

use sillage::journey::{Outcome, What};
use sillage::port::{Origin, ShardId, Sink, Verdict};
use sillage::shard::{HandOff, Progress, Unusable, Written};
use sillage::touchpoint::Identity;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defect {
    /// The offsets are committed beside the transaction.
    OffsetsOutside,
    /// A restore reads to the last stable offset, which may lag behind the committed offsets (KAFKA-10167).
    StaleEnd,
    /// An aborted transaction is not undone in memory.
    NoUndo,
    /// What nobody can say counts as not committed.
    UncertainIsAborted,
    /// What nobody can say counts as committed.
    UncertainIsCommitted,
    /// The answer about an end counts from when it comes, not from when it was asked for.
    OldEnd,
    /// An input of which nothing comes counts as at its end.
    SlowInputIgnored,
    /// The end of an input is where the last stable offset is, whatever transaction stands open behind it.
    OpenTransactionsIgnored,
    /// The end of an input is where the high watermark is, whatever its leader holds behind it.
    HighWatermarkTrusted,
    /// Whoever says that it leads a partition is believed.
    DeposedLeaderBelieved,
    /// Where leaders do not say where their logs end, the high watermark is the end at once.
    SilenceUnproven,
    /// The producer stays after a commit that went roughly: a delayed request can end, or fill, a later transaction (Jepsen).
    ProducerKept,
    /// Offsets are taken of whoever sends them, whatever generation of the group it knows.
    ZombiesUnfenced,
    /// What this worker kept of a shard is used, whoever has committed since.
    KeptUnasked,
    /// The state log is cut up to the last commit, needed or not.
    CutTooFar,
    /// Committed offsets are read while a transaction that changes them is under way.
    UnstableOffsets,
    /// A shard begins anew with log times at every assignment.
    LogTimeForgotten,
    /// A position counts records only, and sticks behind the marker that ends a transaction.
    PositionsOfRecords,
    /// A record that was not delivered does not keep its transaction from being committed.
    FailedSendIgnored,
    /// Records that came while nobody could take them are not asked for again.
    StrayedForgotten,
    /// The state of before is kept for less than the grace.
    AnchorTooEarly,
    /// What came since the state of before is lost at a restore.
    WindowLost,
    /// What does not hold any more is not taken back.
    RetractionForgotten,
    /// What is told anew is numbered anew.
    SequenceRewound,
    /// What was offered is forgotten where a shard is restored.
    CapForgotten,
    /// Of two statements about a consent the one that came last counts.
    ConsentByArrival,
    /// What is taken back is not published.
    WithdrawalLost,
    /// What was measured is forgotten where a shard is restored.
    SumsForgotten,
}

pub(super) const ALL: [Defect; 28] = [
    Defect::OffsetsOutside,
    Defect::StaleEnd,
    Defect::NoUndo,
    Defect::UncertainIsAborted,
    Defect::UncertainIsCommitted,
    Defect::OldEnd,
    Defect::SlowInputIgnored,
    Defect::OpenTransactionsIgnored,
    Defect::HighWatermarkTrusted,
    Defect::DeposedLeaderBelieved,
    Defect::SilenceUnproven,
    Defect::ProducerKept,
    Defect::ZombiesUnfenced,
    Defect::KeptUnasked,
    Defect::CutTooFar,
    Defect::UnstableOffsets,
    Defect::LogTimeForgotten,
    Defect::PositionsOfRecords,
    Defect::FailedSendIgnored,
    Defect::StrayedForgotten,
    Defect::AnchorTooEarly,
    Defect::WindowLost,
    Defect::RetractionForgotten,
    Defect::SequenceRewound,
    Defect::CapForgotten,
    Defect::ConsentByArrival,
    Defect::WithdrawalLost,
    Defect::SumsForgotten,
];

/// A sink that does not do what it is told.
pub(super) struct Careless<S> {
    pub(super) sink: S,
    pub(super) defect: Option<Defect>,
}

impl<S: Sink> Sink for Careless<S> {
    fn publish(&mut self, shard: ShardId, outcome: &Outcome, stale: bool) {
        match self.defect {
            Some(Defect::RetractionForgotten) if outcome.what.is_retraction() => {}
            Some(Defect::WithdrawalLost) if matches!(outcome.what, What::Withdrawal { .. }) => {}
            Some(Defect::SequenceRewound) if outcome.again || outcome.what.is_retraction() => {
                let rewound = Outcome { sequence: outcome.sequence - 1, ..outcome.clone() };
                self.sink.publish(shard, &rewound, stale);
            }
            _ => self.sink.publish(shard, outcome, stale),
        }
    }

    fn dead_letter(&mut self, origin: Origin, record: &Unusable) {
        self.sink.dead_letter(origin, record);
    }

    fn forget(&mut self, shard: ShardId, who: &Identity) -> usize {
        self.sink.forget(shard, who)
    }

    fn tombstone(&mut self, who: &Identity) {
        self.sink.tombstone(who);
    }

    fn announce(&mut self, who: &Identity) {
        self.sink.announce(who);
    }

    fn hand_over(&mut self, to: ShardId, hand_off: &HandOff) {
        self.sink.hand_over(to, hand_off);
    }

    fn remember(&mut self, shard: ShardId, written: Written<'_>) -> usize {
        self.sink.remember(shard, written)
    }

    fn word(&mut self, shard: ShardId, number: u32, text: &str) -> usize {
        self.sink.word(shard, number, text)
    }

    fn keep_from(&mut self, shard: ShardId, sequence: u64) {
        self.sink.keep_from(shard, sequence);
    }

    fn commit(&mut self, progress: &[(ShardId, Progress)]) -> Verdict {
        match self.sink.commit(progress) {
            // Whatever became of it, all is well.
            Verdict::Aborted(_) if self.defect == Some(Defect::NoUndo) => Verdict::Committed,
            verdict => verdict,
        }
    }

    fn abort(&mut self) -> Verdict {
        self.sink.abort()
    }
}
