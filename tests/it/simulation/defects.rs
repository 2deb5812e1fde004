//! Deliberate defects of the simulated shell: traps that Kafka and its clients set, walked into. Each must be caught, or the
//! simulation proves little.

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
}

pub(super) const ALL: [Defect; 16] = [
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
    Defect::CutTooFar,
    Defect::UnstableOffsets,
    Defect::LogTimeForgotten,
    Defect::PositionsOfRecords,
    Defect::FailedSendIgnored,
];
