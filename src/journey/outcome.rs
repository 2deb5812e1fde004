//! What is published: outcomes, their ids and their order.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use uuid::Uuid;

use super::arm::Arm;
use super::{Id, Journey};
use crate::model::{Model, SegmentIndex};
use crate::time::{Span, Timestamp};
use crate::touchpoint::{Identity, Money, Touchpoint};

/// The namespace of outcome ids (UUIDv5, rule 16). Never to be changed: ids must stay the same for ever.
const NAMESPACE: Uuid = Uuid::from_u128(0x6a1d_5c0e_77b4_4d0a_9c65_5111_a9e0_5e11);

/// How the customer is called among what an episode is known by.
pub(super) const BY_CUSTOMER: &str = "customer";
/// How the session is called there.
pub(super) const BY_SESSION: &str = "session";

/// Something that came of a touchpoint or of an absence.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The same for the same input, for ever (rule 16).
    pub id: Uuid,
    /// The model's name.
    pub model: CompactString,
    /// The model's version.
    pub model_version: u32,
    /// Whose journey.
    pub identity: Identity,
    /// Which journey of the customer.
    pub journey: u32,
    /// When that journey began.
    pub journey_started_at: Timestamp,
    /// 1, 2, … per customer and model.
    pub sequence: u64,
    /// Event time of the cause, or the deadline that passed.
    pub at: Timestamp,
    /// The touchpoint that caused it; `None` where an absence did.
    pub cause: Option<Id>,
    /// On which channel that came.
    pub channel: Option<CompactString>,
    /// In which session that came; of an absence in an episode, in which session the latest progress came.
    pub session: Option<CompactString>,
    /// What is at stake, or was bought.
    pub value: Option<Money>,
    /// The customer's segment, where the model has segments and one holds.
    pub segment: Option<CompactString>,
    /// It was found out after its episode had been completed, from a touchpoint that came late: nobody is to act on it.
    pub hindsight: bool,
    /// It was published before under this id, and said something else or stands again as the last word. Nothing that is written
    /// says so: of all that name an id, the greatest sequence number holds.
    pub again: bool,
    /// What happened.
    pub what: What,
}

impl Outcome {
    /// Whether both say the same, whatever the order in which they were found out.
    pub(super) fn says_the_same(&self, other: &Outcome) -> bool {
        // Every field but `sequence`, `hindsight` and `again`, which say when it was found out.
        let Outcome { id, model, model_version, identity, journey, journey_started_at, .. } = self;
        let whose = (id, model, model_version, identity, journey, journey_started_at)
            == (&other.id, &other.model, &other.model_version, &other.identity, &other.journey, &other.journey_started_at);
        let Outcome { at, cause, channel, session, value, segment, what, .. } = self;
        let origin = (cause, channel, session) == (&other.cause, &other.channel, &other.session);
        whose && origin && (at, value, segment, what) == (&other.at, &other.value, &other.segment, &other.what)
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The journey moved.
    Transition {
        /// The stage left; `None` at first entry.
        from: Option<CompactString>,
        /// The stage entered.
        to: CompactString,
        /// In which way.
        movement: Movement,
        /// How long it stood in the stage it left.
        time_in_stage: Option<Span>,
        /// What preceded the purchase, where a completing touchpoint moved the journey.
        decision: Option<Box<Decision>>,
    },
    /// An episode was completed.
    Completion {
        /// Which.
        about: About,
    },
    /// No progress came in time, or its date came first.
    Abandonment {
        /// In what.
        about: About,
        /// What passed.
        passed: Passed,
    },
    /// Progress came after an abandonment.
    Resumption {
        /// In what.
        about: About,
        /// The abandonment.
        answers: Abandonment,
    },
    /// Completed, or advanced, within the window after an abandonment.
    Recovery {
        /// What.
        about: About,
        /// The abandonment.
        answers: Abandonment,
    },
    /// Evidence of friction has reached its threshold.
    Friction {
        /// In what. Of a session or a journey, the story is that of the evidence.
        about: About,
        /// The rule.
        rule: CompactString,
        /// Ids of the touchpoints that are the evidence, in the order they happened; of a pattern, in its order.
        evidence: Vec<CompactString>,
        /// The score that was reached, and the rules that added to it; `None` for a rule that is no score.
        score: Option<(u32, Vec<CompactString>)>,
    },
    /// Something is offered, or would be if the customer were not held out.
    Intervention {
        /// What.
        offer: Box<Offer>,
    },
    /// What was offered stands no more.
    Withdrawal {
        /// What was offered; its answer is the intervention.
        offer: Box<Offer>,
        /// Why.
        reason: Reason,
    },
    /// What became of an intervention's goal, once for each customer.
    Measurement {
        /// What was measured.
        of: Box<Measurement>,
    },
    /// What an anonymous customer had done belongs to this customer from here on.
    Merge {
        /// The anonymous id.
        from: CompactString,
        /// What came with it.
        moved: Moved,
    },
    /// What was published under the same id does not hold: a touchpoint that came late says otherwise (rule 18).
    Retraction {
        /// What had been published.
        of: Box<What>,
    },
}

/// What is offered to a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The intervention.
    pub name: CompactString,
    /// Where it reaches the customer.
    pub channel: CompactString,
    /// Whether the customer gets it.
    pub arm: Arm,
    /// Which variant, where there are several and the customer gets one.
    pub variant: Option<CompactString>,
    /// Nobody is to act on it from this instant on.
    pub expires_at: Timestamp,
    /// The outcome that asked for it; of a withdrawal, the intervention.
    pub answers: Abandonment,
    /// What that outcome is about.
    pub about: Option<About>,
    /// What is handed on, by name.
    pub payload: Vec<(CompactString, CompactString)>,
}

/// What became of the goal of an intervention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// The intervention.
    pub intervention: CompactString,
    /// The version of the model in which it was decided.
    pub version: u32,
    /// The arm that the customer was in.
    pub arm: Arm,
    /// The variant, where the customer got one.
    pub variant: Option<CompactString>,
    /// Whether the goal was reached in time.
    pub converted: bool,
    /// How often it had been reached in the 30 days before.
    pub before: u64,
    /// The first decision about this customer.
    pub answers: Abandonment,
}

/// Why what was offered stands no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// What it is for has come, or it has become pointless.
    Completed,
    /// The customer does not agree any more.
    ConsentWithdrawn,
    /// What asked for it does not hold.
    Retracted,
    /// The customer was erased.
    Erased,
}

impl Reason {
    /// The word in outcomes.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Completed => "completed",
            Reason::ConsentWithdrawn => "consent-withdrawn",
            Reason::Retracted => "retracted",
            Reason::Erased => "erased",
        }
    }
}

/// What an offer takes over from the outcome that it answers.
pub(super) struct Answered {
    pub(super) cause: Option<Id>,
    pub(super) channel: Option<CompactString>,
    pub(super) session: Option<CompactString>,
    pub(super) value: Option<Money>,
    pub(super) segment: Option<CompactString>,
}

/// What an anonymous journey brought when it was joined to a customer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// How many touchpoints.
    pub touchpoints: u64,
    /// How many episodes that were open, or abandoned and may yet be recovered.
    pub episodes: u32,
    /// The stage in which it stood.
    pub stage: Option<CompactString>,
}

/// An abandonment that was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abandonment {
    /// Its outcome id, which a resumption or recovery answers.
    pub id: Uuid,
    /// The deadline that passed.
    pub at: Timestamp,
}

/// What passed when something was abandoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// The time in which progress was awaited.
    Silence,
    /// The instant that a touchpoint had carried.
    Date,
    /// Nothing: too many were open, and another one opened.
    Room,
}

/// The decision moment: the last touchpoint before a purchase that was not itself part of buying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The stage that the journey stood in after it; `None` before a first stage.
    pub stage: Option<CompactString>,
    /// Its id.
    pub touchpoint: Id,
    /// What happened.
    pub kind: CompactString,
    /// On which channel.
    pub channel: Option<CompactString>,
    /// How long before the purchase.
    pub before: Span,
}

/// In which way a journey moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Movement {
    /// To the next stage in order.
    Advance,
    /// Over stages that lie between.
    Skip,
    /// Back, where the model says so.
    Regress,
    /// Into the customer's next journey.
    ReEnter,
    /// Into the last stage.
    Complete,
    /// The journey was completed by a renewal, and the next begins.
    Renew,
    /// Into a terminal stage.
    End,
}

impl Movement {
    /// The word in outcomes.
    pub fn as_str(self) -> &'static str {
        match self {
            Movement::Advance => "advance",
            Movement::Skip => "skip",
            Movement::Regress => "regress",
            Movement::ReEnter => "re-enter",
            Movement::Complete => "complete",
            Movement::Renew => "renew",
            Movement::End => "end",
        }
    }
}

/// The stage or episode that an outcome is about, and its story until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Which stage or episode.
    pub subject: Subject,
    /// The touchpoint that entered the stage or opened the episode.
    pub opened_by: Id,
    /// Its event time.
    pub opened_at: Timestamp,
    /// The touchpoint of the latest progress.
    pub last_progress: Id,
    /// Its event time.
    pub last_progress_at: Timestamp,
    /// Touchpoints of progress, the opening one included, a completing one not.
    pub progress_count: u32,
    /// How often it had been abandoned before.
    pub abandonments: u32,
}

/// A stage or an episode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A stage by its name.
    Stage(CompactString),
    /// An episode.
    Episode {
        /// Its kind.
        kind: CompactString,
        /// 1, 2, … per customer and kind.
        number: u32,
        /// Property names and ids, in the order they came; of what has none, its session, or else its customer.
        ids: Vec<(CompactString, CompactString)>,
    },
    /// A session by its id.
    Session(CompactString),
    /// The journey as a whole.
    Journey,
}

impl What {
    /// The word in outcomes.
    pub fn kind(&self) -> &'static str {
        match self {
            What::Transition { .. } => "transition",
            What::Completion { .. } => "completion",
            What::Abandonment { .. } => "abandonment",
            What::Resumption { .. } => "resumption",
            What::Recovery { .. } => "recovery",
            What::Friction { .. } => "friction",
            What::Intervention { offer } if offer.arm.is_held_out() => "would-have",
            What::Intervention { .. } => "intervention",
            What::Withdrawal { .. } => "withdrawal",
            What::Measurement { .. } => "measurement",
            What::Merge { .. } => "merge",
            What::Retraction { .. } => "retraction",
        }
    }

    /// Whether it takes back what was published under its id.
    pub fn is_retraction(&self) -> bool {
        matches!(self, What::Retraction { .. })
    }

    /// What is retracted, of a retraction; else what it is itself.
    pub fn original(&self) -> &What {
        match self {
            What::Retraction { of } => of,
            What::Transition { .. }
            | What::Completion { .. }
            | What::Abandonment { .. }
            | What::Resumption { .. }
            | What::Recovery { .. }
            | What::Friction { .. }
            | What::Intervention { .. }
            | What::Withdrawal { .. }
            | What::Measurement { .. }
            | What::Merge { .. } => self,
        }
    }

    /// What it is about; a transition and a merge are about no single thing.
    pub fn about(&self) -> Option<&About> {
        match self {
            What::Transition { .. } | What::Measurement { .. } | What::Merge { .. } => None,
            What::Intervention { offer } | What::Withdrawal { offer, .. } => offer.about.as_ref(),
            What::Completion { about }
            | What::Abandonment { about, .. }
            | What::Resumption { about, .. }
            | What::Recovery { about, .. }
            | What::Friction { about, .. } => Some(about),
            What::Retraction { of } => of.about(),
        }
    }

    /// What is offered or taken back.
    pub fn offer(&self) -> Option<&Offer> {
        match self {
            What::Intervention { offer } | What::Withdrawal { offer, .. } => Some(offer),
            What::Retraction { of } => of.offer(),
            What::Transition { .. }
            | What::Completion { .. }
            | What::Abandonment { .. }
            | What::Resumption { .. }
            | What::Recovery { .. }
            | What::Friction { .. }
            | What::Measurement { .. }
            | What::Merge { .. } => None,
        }
    }

    /// The abandonment that it answers; of an intervention the outcome that asked for it, of a withdrawal and
    /// of a measurement the intervention.
    pub fn answers(&self) -> Option<Abandonment> {
        match self {
            What::Resumption { answers, .. } | What::Recovery { answers, .. } => Some(*answers),
            What::Intervention { offer } | What::Withdrawal { offer, .. } => Some(offer.answers),
            What::Measurement { of } => Some(of.answers),
            What::Retraction { of } => of.answers(),
            What::Transition { .. }
            | What::Completion { .. }
            | What::Abandonment { .. }
            | What::Friction { .. }
            | What::Merge { .. } => None,
        }
    }
}

/// Numbers and names the outcomes of one customer and model.
pub(super) struct OutcomeBuilder<'a> {
    model: &'a Model,
    identity: &'a Identity,
    outcomes: &'a mut Vec<Outcome>,
    /// Outcomes that were there before.
    begin: usize,
    /// What an id is a hash of.
    named: Vec<u8>,
}

impl<'a> OutcomeBuilder<'a> {
    pub(super) fn new(model: &'a Model, identity: &'a Identity, outcomes: &'a mut Vec<Outcome>) -> Self {
        OutcomeBuilder { model, identity, begin: outcomes.len(), outcomes, named: Vec::new() }
    }

    /// Appends an outcome and returns its id. `cause` is the touchpoint that causes it; of an absence, the one after which
    /// nothing came, and `at` the deadline.
    pub(super) fn emit(
        &mut self,
        journey: &mut Journey,
        at: Timestamp,
        cause: Cause<'_>,
        value: Option<Money>,
        mut what: What,
    ) -> Uuid {
        self.name_customer(&mut what);
        journey.sequence += 1;
        let id = self.name(&what, cause, at);
        self.outcomes.push(Outcome {
            id,
            model: self.model.name.clone(),
            model_version: self.model.version,
            identity: self.identity.clone(),
            journey: journey.number,
            journey_started_at: journey.started_at,
            sequence: journey.sequence,
            at,
            cause: match cause {
                Cause::Touchpoint(id) => Some(id.clone()),
                Cause::AbsenceAfter(_) => None,
            },
            channel: None,
            session: None,
            value,
            segment: None,
            hindsight: false,
            again: false,
            what,
        });
        id
    }

    /// Appends the retraction of an absence that was `told` after an instant and did not last to it: each time that it was told,
    /// the latest first. Says how often that was and when first, and what was told before that instant, which stands.
    pub(super) fn retract(
        &mut self,
        journey: &mut Journey,
        told: impl Iterator<Item = (Abandonment, Passed)>,
        after: Timestamp,
        value: Option<Money>,
        mut about: About,
    ) -> ((u32, Timestamp), Option<Abandonment>) {
        let mut taken_back = (0, after);
        for (told, passed) in told {
            if told.at <= after {
                return (taken_back, Some(told));
            }
            let what = What::Retraction { of: Box::new(What::Abandonment { about: about.clone(), passed }) };
            self.emit(journey, told.at, Cause::AbsenceAfter(&Id::default()), value, what);
            if let Some(retraction) = self.outcomes.last_mut() {
                retraction.id = told.id;
            }
            taken_back = (taken_back.0 + 1, told.at);
            about.abandonments = about.abandonments.saturating_sub(1);
        }
        (taken_back, None)
    }

    /// What is known by nothing else is known by its customer.
    fn name_customer(&self, what: &mut What) {
        let about = match what {
            What::Completion { about }
            | What::Abandonment { about, .. }
            | What::Resumption { about, .. }
            | What::Recovery { about, .. }
            | What::Friction { about, .. } => about,
            What::Retraction { of } => return self.name_customer(of),
            // What is offered has taken over the name from what asked for it.
            What::Transition { .. }
            | What::Intervention { .. }
            | What::Withdrawal { .. }
            | What::Measurement { .. }
            | What::Merge { .. } => return,
        };
        if let Subject::Episode { ids, .. } = &mut about.subject
            && ids.is_empty()
        {
            ids.push((BY_CUSTOMER.into(), self.identity.id.clone()));
        }
    }

    /// Writes the channel and the session of the touchpoint on what came of it.
    pub(super) fn set_origin(&mut self, touchpoint: &Touchpoint, id: &Id) {
        for outcome in &mut self.outcomes[self.begin..] {
            if outcome.cause.as_ref() == Some(id) {
                outcome.channel = touchpoint.channel.clone();
                outcome.session = touchpoint.session.clone();
            }
        }
    }

    /// How much was told.
    pub(super) fn len(&self) -> usize {
        self.outcomes.len()
    }

    /// Writes the session on what was told from there on: no touchpoint caused it.
    pub(super) fn set_session(&mut self, from: usize, session: Option<&Id>) {
        for outcome in &mut self.outcomes[from..] {
            outcome.session = session.map(Id::to_text);
        }
    }

    /// Writes the customer's segment on what was told.
    pub(super) fn set_segment(&mut self, segment: Option<SegmentIndex>) {
        let Some(segment) = segment.and_then(|segment| self.model.segments.get(usize::from(segment))) else { return };
        for outcome in &mut self.outcomes[self.begin..] {
            outcome.segment = Some(segment.name.clone());
        }
    }

    /// The outcome's id: a hash of what it is, with lengths before texts so that no two things read the same. Nothing in it is
    /// renumbered when the customer's story is told anew because a touchpoint came late (rule 16): no ordinals.
    fn name(&mut self, what: &What, cause: Cause<'_>, at: Timestamp) -> Uuid {
        let bytes = &mut self.named;
        bytes.clear();
        bytes.reserve(200);
        let mut text = |part: &str| {
            bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        };
        let mut buffer = Uuid::encode_buffer();
        text(&self.model.name);
        text(&self.identity.id);
        text(self.identity.kind.as_str());
        text(what.kind());
        match what {
            What::Transition { to, .. } => text(to),
            What::Friction { rule, .. } => text(rule),
            What::Merge { from, .. } => text(from),
            What::Completion { .. }
            | What::Abandonment { .. }
            | What::Resumption { .. }
            | What::Recovery { .. }
            | What::Intervention { .. }
            | What::Withdrawal { .. }
            | What::Measurement { .. }
            | What::Retraction { .. } => {}
        }
        if let Some(about) = what.about() {
            match &about.subject {
                Subject::Stage(name) => {
                    text("stage");
                    text(name);
                }
                Subject::Episode { kind, .. } => {
                    text("episode");
                    text(kind);
                }
                Subject::Session(id) => {
                    text("session");
                    text(id);
                }
                Subject::Journey => text("journey"),
            }
            text(about.opened_by.text(&mut buffer));
        }
        match cause {
            Cause::Touchpoint(id) => {
                text("cause");
                text(id.text(&mut buffer));
            }
            Cause::AbsenceAfter(id) => {
                text("absence after");
                text(id.text(&mut buffer));
                bytes.extend_from_slice(&at.as_millis().to_be_bytes());
            }
        }
        uuid_v5(bytes)
    }
}

/// What an outcome comes of.
#[derive(Clone, Copy)]
pub(super) enum Cause<'a> {
    /// A touchpoint.
    Touchpoint(&'a Id),
    /// Nothing came after this touchpoint.
    AbsenceAfter(&'a Id),
}

/// The id of an offer or of its withdrawal: a hash of whose it is, what it answers and when that was decided.
pub(super) fn offer_id(model: &Model, identity: &Identity, what: &What, now: Timestamp) -> Uuid {
    let mut bytes = Vec::with_capacity(200);
    let mut text = |part: &str| {
        bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    };
    text(&model.name);
    text(&identity.id);
    text(identity.kind.as_str());
    let Some(offer) = what.offer() else { return Uuid::nil() };
    // The same whichever arm it is, so that two readings of one decision are told apart by their kind alone.
    text(if matches!(what, What::Withdrawal { .. }) { "withdrawal" } else { "intervention" });
    text(&offer.name);
    bytes.extend_from_slice(offer.answers.id.as_bytes());
    bytes.extend_from_slice(&now.as_millis().to_be_bytes());
    uuid_v5(&bytes)
}

/// The id of a measurement: a hash of whose it is and of the decision that it is about.
pub(super) fn measurement_id(model: &Model, identity: &Identity, of: &Measurement) -> Uuid {
    let mut bytes = Vec::with_capacity(200);
    for part in [model.name.as_str(), &identity.id, identity.kind.as_str(), "measurement", &of.intervention] {
        bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes.extend_from_slice(of.answers.id.as_bytes());
    uuid_v5(&bytes)
}

/// The rule, stage or episode that an outcome is named by in models.
pub(super) fn name_of(what: &What) -> Option<&str> {
    match what {
        What::Transition { to, .. } => Some(to),
        What::Friction { rule, .. } => Some(rule),
        What::Completion { about }
        | What::Abandonment { about, .. }
        | What::Resumption { about, .. }
        | What::Recovery { about, .. } => match &about.subject {
            Subject::Stage(name) => Some(name),
            Subject::Episode { kind, .. } => Some(kind),
            Subject::Session(_) | Subject::Journey => None,
        },
        What::Intervention { .. }
        | What::Withdrawal { .. }
        | What::Measurement { .. }
        | What::Merge { .. }
        | What::Retraction { .. } => None,
    }
}

/// The UUIDv5 of a name, as [`Uuid::new_v5`] has it: that crate's SHA-1 does not use the processor's own instructions, which
/// are three times as fast.
fn uuid_v5(name: &[u8]) -> Uuid {
    let hash = Sha1::new().chain_update(NAMESPACE.as_bytes()).chain_update(name).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_sha1_bytes(bytes).into_uuid()
}

/// The UUIDv5 of several texts: the same for the same ones, in this order.
pub fn uuid_of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Uuid {
    let mut bytes = Vec::with_capacity(200);
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    uuid_v5(&bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_are_uuids_of_version_5(name in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(uuid_v5(&name), Uuid::new_v5(&NAMESPACE, &name));
        }
    }
}
