//! What a journey may be: the compiled model that the engine runs.
//!
//! Three steps, a file each: [`written`] reads the YAML as it stands, [`check`] finds everything wrong with it, and the
//! [`Model`] here is what remains to be known at run time, with every name resolved to an index. Knows nothing of
//! customers, time or topics.

pub mod check;
mod contacts;
mod diff;
mod friction;
pub mod graph;
mod intervention;
pub mod schema;
mod stage;
mod structure;
mod types;
pub mod written;

use std::sync::Arc;

use compact_str::CompactString;

use crate::expression::{Expression, Facts, Slot, Type};
use crate::time::{Span, Zone};
use crate::touchpoint::{Currency, Form, SumOfList};

pub use check::{Fragments, load, load_with};
pub(crate) use contacts::MAX_CONSENTS;
pub use contacts::{Consent, Contacts, QuietHours, load_contacts};
pub use diff::{Change, Diff, Effect, Refused, Way, between, demands, diff, same_evidence};
pub use friction::{Friction, MAX_ADDED, RuleIndex, Scope, Sign, Threshold};
pub use intervention::{Holdout, Intervention, Payload, Trigger};
pub use stage::{Demand, Stage};
pub use structure::{Changes, DemandShape, KindShape, RuleShape, Section, StageShape, Structure, SumShape, TallyShape};
pub use types::{Enters, EpisodeRole, Evidence, TypeRoles, Types};
pub use written::{Cap, Quiet};

/// A stage by its place in the model's order.
pub type StageIndex = u16;
/// An episode kind by its place in the model's order.
pub type EpisodeIndex = u16;
/// A segment by its place in the model's order.
pub type SegmentIndex = u8;

/// A checked model, ready to run.
#[derive(Clone, Debug)]
pub struct Model {
    /// The model's name; part of every outcome and its id.
    pub name: CompactString,
    /// The author's version of it.
    pub version: u32,
    /// What amounts are in that have no currency beside them, and what amounts in conditions are compared in.
    pub currency: Option<Currency>,
    /// Where local times and days are read.
    pub zone: Option<Zone>,
    /// The phases in order, with the stages of each.
    pub phases: Vec<(CompactString, Vec<StageIndex>)>,
    /// The stages in order, terminal ones last.
    pub stages: Vec<Stage>,
    /// The episode kinds in order.
    pub episodes: Vec<EpisodeKind>,
    /// The friction rules in order.
    pub friction: Vec<Friction>,
    /// What is summed up, in order.
    pub tallies: Vec<Tally>,
    /// The segments in order; the first whose condition holds is the customer's.
    pub segments: Vec<Segment>,
    /// What each slot of an expression stands for.
    pub facts: Vec<Fact>,
    /// The properties of touchpoints that it reads, sorted; all others are nothing to it.
    pub properties: Vec<CompactString>,
    /// What those are declared to be, or must be to be of use, in the same order.
    pub declared: Vec<Declared>,
    /// How numbers and amounts are written where that is not as usual; few, and mostly none.
    pub forms: Vec<(CompactString, Form)>,
    /// The properties that it reads whose values are summed up over a list, where a touchpoint has none of that name.
    pub sums_of_lists: Vec<(CompactString, SumOfList)>,
    /// What types of touchpoints mean here.
    pub types: Types,
    /// What is offered to customers, in order.
    pub interventions: Vec<Intervention>,
    /// What of one customer concerns another.
    pub forwards: Vec<Forward>,
    /// How customers may be contacted, the same for all models ([`Model::contact_by`]).
    pub contacts: Option<Arc<Contacts>>,
    /// What it says about its earlier versions.
    pub changes: Changes,
}

/// How long an absence is waited for.
#[derive(Clone, Debug, PartialEq)]
pub enum Wait {
    /// Always so long.
    Fixed(Span),
    /// As long as a condition language line says.
    Computed(Expression),
    /// By segment; `None`: nothing is awaited of these customers.
    BySegment(Vec<Option<Wait>>),
}

impl Wait {
    /// How long, as the facts stand; `None`: nothing is awaited.
    pub fn span(&self, facts: &dyn Facts, segment: Option<SegmentIndex>) -> Option<Span> {
        match self {
            Wait::Fixed(span) => Some(*span),
            Wait::Computed(expression) => expression.span(facts),
            Wait::BySegment(waits) => waits.get(usize::from(segment?))?.as_ref()?.span(facts, segment),
        }
    }

    /// How long, where it is the same for everyone and always.
    pub fn fixed(&self) -> Option<Span> {
        match self {
            Wait::Fixed(span) => Some(*span),
            Wait::Computed(_) | Wait::BySegment(_) => None,
        }
    }
}

/// A kind of thing inside a journey with its own ids and deadlines: basket, checkout, order.
#[derive(Clone, Debug, PartialEq)]
pub struct EpisodeKind {
    /// The name, which is the id.
    pub name: CompactString,
    /// The explicit part of the correlation chain: property names, in order.
    pub ids: Vec<CompactString>,
    /// Whether the chain goes on to the session.
    pub by_session: bool,
    /// Whether the chain ends at the customer.
    pub by_customer: bool,
    /// The property that carries what the episode is worth.
    pub worth: Option<CompactString>,
    /// Abandoned after so long without progress; `None`: never.
    pub abandoned_after: Option<Wait>,
    /// Abandoned at the instant that this yields, whatever progress comes; what it yielded last counts.
    pub abandoned_at: Option<Expression>,
    /// Told again while nothing comes.
    pub again: Option<Again>,
    /// For so long after an abandonment, completing recovers it.
    pub recovered_within: Span,
    /// For so long ids of what ended are remembered, and what was abandoned can be taken up again.
    pub remembered_for: Span,
    /// A completing touchpoint with an unknown id completes nothing.
    pub strict: bool,
    /// Completed as well where this holds after a touchpoint that belongs to it.
    pub completes_when: Option<Expression>,
    /// What is summed up in it.
    pub sums: Vec<Tally>,
    /// Of which sums every touchpoint that belongs to it is part, as bits.
    pub sums_of_any: u32,
    /// The ways one is joined to another.
    pub joins: Vec<Join>,
    /// Every touchpoint of the customer is progress, not only the listed types (rule 12).
    pub any_progress: bool,
}

/// An absence that is told again while nothing comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// So long after each time.
    pub every: Span,
    /// At most so often, the first time included.
    pub at_most: u32,
}

/// A touchpoint that becomes one of another customer as well: somebody has used the link of somebody who recommends us.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Forward {
    /// Its type.
    pub kind: CompactString,
    /// The property that names the other customer.
    pub to: CompactString,
    /// The type that it has there.
    pub becomes: CompactString,
}

/// How a touchpoint says that one episode goes into another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The property with the id of the one that goes, and the name in the chain that it is an id by.
    pub from: (CompactString, u8),
    /// The same of the one that it goes into.
    pub into: (CompactString, u8),
}

/// Something that is summed up over what the customer did.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    /// The name, by which conditions know it.
    pub name: CompactString,
    /// How.
    pub sum: Sum,
    /// The property that names what counts once, with its latest value, however often it comes.
    pub once: Option<CompactString>,
}

/// How touchpoints are summed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sum {
    /// How many there were; of those that count once, how many different ones.
    Count,
    /// The sum of a number.
    Number(CompactString),
    /// The sum of an amount, per currency.
    Money(CompactString),
    /// The latest value of a property, and what kind of value the property is declared to be.
    Last(CompactString, Type),
    /// How many sessions there were; without session ids, a gap of 30 minutes begins a new one.
    Visits,
}

/// A group of customers whose waits, thresholds and rules may differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// The name, which is the id.
    pub name: CompactString,
    /// Who belongs to it; `None`: everyone.
    pub when: Option<Expression>,
}

/// What a property of touchpoints is to a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// What it is declared to be. What a kind of episode is worth is money, declared or not.
    pub kind: Option<written::Kind>,
    /// How a number or an amount is written.
    pub form: Form,
    /// Whether something is known by it.
    pub is_id: bool,
}

/// What a slot of an expression stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// `touchpoint.type`
    TouchpointType,
    /// `touchpoint.channel`
    TouchpointChannel,
    /// `touchpoint.session`
    TouchpointSession,
    /// `touchpoint.id`
    TouchpointId,
    /// `touchpoint.at`
    TouchpointAt,
    /// `touchpoint.PROPERTY` of a number, text, flag or instant.
    Property(CompactString),
    /// `touchpoint.PROPERTY` of money: the amount, where it is in the model's currency.
    Amount(CompactString),
    /// `customer.TALLY`, by the tally's index.
    CustomerTally(usize),
    /// `journey.TALLY`.
    JourneyTally(usize),
    /// `stage.TALLY`: the latest value in the present stage.
    StageTally(usize),
    /// `journey.number`
    JourneyNumber,
    /// `journey.started_at`
    JourneyStartedAt,
    /// `stage.name`
    StageName,
    /// `stage.entered_at`
    StageEnteredAt,
    /// `stage.touchpoints`
    StageTouchpoints,
    /// `segment`
    SegmentName,
    /// `EPISODE.open`
    EpisodeOpen(EpisodeIndex),
    /// `EPISODE.value`
    EpisodeValue(EpisodeIndex),
    /// `EPISODE.touchpoints`
    EpisodeTouchpoints(EpisodeIndex),
    /// `EPISODE.opened_at`
    EpisodeOpenedAt(EpisodeIndex),
    /// `EPISODE.abandonments`
    EpisodeAbandonments(EpisodeIndex),
    /// `EPISODE.SUM`, by its index among those of the kind.
    EpisodeSum(EpisodeIndex, usize),
    /// `outcome.kind`
    OutcomeKind,
    /// `outcome.name`
    OutcomeName,
    /// `outcome.value`: the amount, where it is in the model's currency.
    OutcomeValue,
}

impl Model {
    /// Whether it reads the property of this name.
    pub fn reads(&self, property: &str) -> bool {
        self.properties.binary_search_by(|known| known.as_str().cmp(property)).is_ok()
    }

    /// How the numbers and amounts of a property are written.
    pub fn form(&self, property: &str) -> Form {
        self.forms.iter().find(|(name, _)| name == property).map_or_else(Form::default, |(_, form)| *form)
    }

    /// The stage's name.
    pub fn stage_name(&self, stage: StageIndex) -> &str {
        &self.stages[usize::from(stage)].name
    }

    /// The last stage in order that is not terminal; entering it completes the journey's way.
    pub fn last_stage(&self) -> StageIndex {
        self.stages.iter().rposition(|stage| !stage.ends).unwrap_or_default() as StageIndex
    }

    /// What a slot stands for.
    pub fn fact(&self, slot: Slot) -> Option<&Fact> {
        self.facts.get(usize::from(slot))
    }

    /// What running journeys refer to, as it stands beside their state (rule 25).
    pub fn structure(&self) -> String {
        Structure::of(self).text()
    }
}
