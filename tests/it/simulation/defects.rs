//! Deliberate defects of the simulated shell: traps that Kafka and its clients set, walked into. Each must be caught, or the
//! simulation proves little.

use std::collections::BTreeSet;
use std::sync::Arc;

use sillage::journey::{Customer, HandedOver, Outcome, What};
use sillage::model::Model;
use sillage::port::{Origin, ShardId, Sink, Verdict};
use sillage::shard::{
    Body, Buffered, Claiming, Customers, HandOff, Handed, Input, Position, Progress, Settings, Shard, Unusable, Written,
};
use sillage::touchpoint::{Identity, Touchpoint};

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
    /// What an absence decided is not kept as something that a late touchpoint can change.
    NoAnchorAtDeadline,
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
    /// A shard that is restored does not know any more whose an anonymous id is.
    RedirectForgotten,
    /// What an anonymous id hands over counts twice.
    StateAppliedTwice,
    /// Some claims get lost.
    ClaimLost,
    /// What is handed over counts from when it was written, not from what caused it.
    CarriedLogTimeIgnored,
    /// Shards decide as far as they can, whoever is behind.
    BoundIgnored,
    /// A shard that is restored keeps no state of before for a claim that is not answered.
    AnchorPassesClaim,
    /// What was offered to an anonymous id is forgotten where it joins a customer.
    CapsRenewedByMerge,
    /// What was measured is forgotten where a shard is restored.
    SumsForgotten,
}

/// Those of shards that hand customers to each other.
pub(super) const OF_LOGINS: [Defect; 7] = [
    Defect::RedirectForgotten,
    Defect::StateAppliedTwice,
    Defect::ClaimLost,
    Defect::CarriedLogTimeIgnored,
    Defect::BoundIgnored,
    Defect::AnchorPassesClaim,
    Defect::CapsRenewedByMerge,
];

pub(super) const ALL: [Defect; 29] = [
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
    Defect::NoAnchorAtDeadline,
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
    pub(super) models: Arc<[Arc<Model>]>,
    /// Of whom the open transaction has decided an absence.
    pub(super) fired: BTreeSet<Identity>,
}

/// One of three.
fn is_unlucky(id: &str) -> bool {
    id.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31) + u32::from(byte)).is_multiple_of(3)
}

fn with_state(handed: &HandedOver, state: Customer) -> HandedOver {
    HandedOver::of(Box::new(state), handed.touchpoints().map(|(touchpoint, at)| (touchpoint.clone(), at)))
}

/// A state as if it had been handed over twice: two of its kind join a stranger, who is taken for it then.
fn twice(models: &Arc<[Arc<Model>]>, state: &Customer, claim: &Claiming) -> Customer {
    let (who, mut customers) = (Identity::customer("twice"), Customers::default());
    let devices = ["once", "again"].map(Identity::anonymous);
    for device in &devices {
        let mut one = state.clone();
        one.identity = device.clone();
        customers.restore(&one);
    }
    let position = Position { offset: 0, log_time: claim.at };
    let progress = Progress { positions: vec![position], stream_time: Some(claim.at), sequence: 0 };
    let mut shard = Shard::new(Arc::clone(models), Settings::default(), customers, progress);
    for (offset, device) in (0..).zip(&devices) {
        let touchpoint = Touchpoint {
            id: format!("twice-{offset}").into(),
            identity: who.clone(),
            linked: Some(device.id.clone()),
            event_time: claim.at,
            kind: "w".into(),
            ..Touchpoint::default()
        };
        let body = Body::Touchpoint(Box::new(touchpoint));
        let record = Buffered { offset, log_time: claim.at, body };
        shard.handle(Input::Record { input: 0, record }, &mut Vec::new());
    }
    let mut united = shard.customers().latest_image(&who).unwrap_or_default().without_window();
    united.identity = state.identity.clone();
    united
}

impl<S: Sink> Sink for Careless<S> {
    fn publish(&mut self, shard: ShardId, outcome: &Outcome, stale: bool) {
        if outcome.cause.is_none() {
            self.fired.insert(outcome.identity.clone());
        }
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
        match (self.defect, &hand_off.what) {
            (Some(Defect::ClaimLost), Handed::Claim(claim)) if is_unlucky(&claim.touchpoint) => {}
            (Some(Defect::StateAppliedTwice), Handed::Answer { claim, handed: Some(handed) }) => {
                let handed = Some(with_state(handed, twice(&self.models, handed.state(), claim)));
                let what = Handed::Answer { claim: claim.clone(), handed };
                self.sink.hand_over(to, &HandOff { what, ..hand_off.clone() });
            }
            (Some(Defect::CapsRenewedByMerge), Handed::Answer { claim, handed: Some(handed) }) => {
                let handed = Some(with_state(handed, handed.state().clone().without_contacts()));
                let what = Handed::Answer { claim: claim.clone(), handed };
                self.sink.hand_over(to, &HandOff { what, ..hand_off.clone() });
            }
            _ => self.sink.hand_over(to, hand_off),
        }
    }

    fn remember(&mut self, shard: ShardId, written: Written<'_>) -> usize {
        if self.defect != Some(Defect::NoAnchorAtDeadline) {
            return self.sink.remember(shard, written);
        }
        // Written as a whole: what follows from it is no change of what the log holds.
        let customer = Customer::image(written.now, written.words).expect("what was packed");
        let mut now = written.now.to_vec();
        if self.fired.contains(&customer.identity) {
            now.clear();
            customer.without_window().pack(&mut written.words.clone(), &mut now);
        }
        self.sink.remember(shard, Written { now: &now, before: None, ..written })
    }

    fn word(&mut self, shard: ShardId, number: u32, text: &str) -> usize {
        self.sink.word(shard, number, text)
    }

    fn keep_from(&mut self, shard: ShardId, sequence: u64) {
        self.sink.keep_from(shard, sequence);
    }

    fn commit(&mut self, progress: &[(ShardId, Progress)]) -> Verdict {
        self.fired.clear();
        match self.sink.commit(progress) {
            // Whatever became of it, all is well.
            Verdict::Aborted(_) if self.defect == Some(Defect::NoUndo) => Verdict::Committed,
            verdict => verdict,
        }
    }

    fn abort(&mut self) -> Verdict {
        self.fired.clear();
        self.sink.abort()
    }
}
