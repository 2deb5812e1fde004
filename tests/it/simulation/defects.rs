//! Deliberate defects of the simulated shell. Each must be caught, or the simulation proves little.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defect {
    /// The offsets are committed beside the transaction.
    OffsetsOutside,
    /// A restore reads to the last stable offset, taken when the committed offsets are known.
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
    /// The end of an input is where the last stable offset is, whatever stands open behind it.
    OpenTransactionsIgnored,
    /// The producer stays after a commit that went roughly.
    ProducerKept,
    /// The coordinator takes offsets of whoever sends them.
    ZombiesUnfenced,
    /// What this worker kept of a shard is used, whoever has committed since.
    KeptUnasked,
    /// The state log's end is taken before the committed offsets are asked for.
    EndBeforeOffsets,
    /// The state log is cut up to the last commit, needed or not.
    CutTooFar,
    /// Committed offsets are read while a transaction that changes them is under way.
    UnstableOffsets,
    /// Shards that were lost are committed for.
    LogTimeForgotten,
}

pub(super) const ALL: [Defect; 15] = [
    Defect::OffsetsOutside,
    Defect::StaleEnd,
    Defect::NoUndo,
    Defect::UncertainIsAborted,
    Defect::UncertainIsCommitted,
    Defect::OldEnd,
    Defect::SlowInputIgnored,
    Defect::OpenTransactionsIgnored,
    Defect::ProducerKept,
    Defect::ZombiesUnfenced,
    Defect::KeptUnasked,
    Defect::EndBeforeOffsets,
    Defect::CutTooFar,
    Defect::UnstableOffsets,
    Defect::LogTimeForgotten,
];
