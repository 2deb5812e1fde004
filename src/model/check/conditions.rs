//! Conditions: which facts there are, by which names, and the lines that mention them compiled.
//!
//! Facts have their slots in one order for all lines of a model. What segments may mention comes first: a line of a segment
//! is compiled against that part alone.

use compact_str::CompactString;

use super::MAX_PROPERTIES;
use super::segments::Segments;
use crate::diagnostic::{Diagnostic, Faults, Place, did_you_mean, nearest, quoted};
use crate::expression::{Environment, Expression, Slot, Type};
use crate::model::written::{self, Episode, Kind, Name, Property, Sum, Tally, Who, Written};
use crate::model::{EpisodeIndex, Fact, Segment, Wait};
use crate::time::Zone;
use crate::touchpoint::{CURRENCY, Currency, Form, SumOfList};

/// The facts of a model, and what was mentioned of them.
pub(super) struct Conditions<'a> {
    everywhere: Environment,
    of_segments: Environment,
    of_interventions: Environment,
    facts: Vec<Fact>,
    used: Vec<bool>,
    /// Slots that hold an amount of money.
    money: Vec<bool>,
    properties: &'a [Property],
    currency: Option<Currency>,
    zone: Option<Zone>,
    /// Whether the currency was missed, or could not be read: told once.
    currency_told: bool,
}

/// What is known of a tally before its types are.
pub(super) struct TallyFact<'a> {
    pub(super) name: &'a Name,
    pub(super) kind: Type,
    pub(super) money: bool,
    /// Kept per stage as well.
    pub(super) by_stage: bool,
}

impl<'a> Conditions<'a> {
    /// Declares every fact that a line of the model may mention.
    pub(super) fn new(
        written: &'a Written,
        tallies: &[TallyFact<'_>],
        (episodes, sums): (&[Episode], &[Vec<TallyFact<'_>>]),
        faults: &mut Faults,
    ) -> Self {
        let mut conditions = Conditions {
            everywhere: Environment::default(),
            of_segments: Environment::default(),
            of_interventions: Environment::default(),
            facts: Vec::new(),
            used: Vec::new(),
            money: Vec::new(),
            properties: &written.properties[..written.properties.len().min(MAX_PROPERTIES)],
            currency: None,
            zone: None,
            currency_told: false,
        };
        conditions.read_currency(written.currency.as_ref(), faults);
        conditions.zone = read_zone(written.timezone.as_ref(), faults);
        check_names(tallies, episodes, sums, faults);
        for (at, tally) in tallies.iter().enumerate() {
            let name = plain(&tally.name.value);
            conditions.declare(format!("customer.{name}"), tally.kind, Fact::CustomerTally(at), tally.money);
            conditions.declare(format!("journey.{name}"), tally.kind, Fact::JourneyTally(at), tally.money);
            if tally.by_stage {
                conditions.declare(format!("stage.{name}"), tally.kind, Fact::StageTally(at), tally.money);
            }
        }
        for (name, kind, fact) in [
            ("journey.number", Type::Number, Fact::JourneyNumber),
            ("journey.started_at", Type::Instant, Fact::JourneyStartedAt),
            ("stage.name", Type::Text, Fact::StageName),
            ("stage.entered_at", Type::Instant, Fact::StageEnteredAt),
            ("stage.touchpoints", Type::Number, Fact::StageTouchpoints),
        ] {
            conditions.declare(name.to_owned(), kind, fact, false);
        }
        for ((index, episode), sums) in (0..).zip(episodes).zip(sums) {
            conditions.declare_episode(index, &plain(&episode.name.value), sums);
        }
        conditions.advise(&written.tallies);
        conditions.of_segments = conditions.everywhere.clone();
        conditions.withhold();
        conditions.declare("segment".to_owned(), Type::Text, Fact::SegmentName, false);
        conditions.declare_touchpoint();
        conditions.declare_outcome();
        conditions
    }

    fn declare(&mut self, name: String, kind: Type, fact: Fact, money: bool) {
        let slot = self.everywhere.declare(name, kind);
        debug_assert_eq!(usize::from(slot), self.facts.len(), "slots are places in the list of facts");
        self.facts.push(fact);
        self.used.push(false);
        self.money.push(money);
    }

    /// What to do about names that nothing is called.
    fn advise(&mut self, tallies: &[Tally]) {
        let tally =
            |of: &str| format!("add it under `tallies:`, such as `*: {{ count: order.completed }}`, to write `{of}.*`");
        self.everywhere.advise("customer", tally("customer"));
        self.everywhere.advise("journey", tally("journey"));
        let last = "add a tally of the latest value, such as `*: { last: csat, of: survey.answered }`, to write `stage.*`";
        let counted = tallies
            .iter()
            .any(|tally| matches!(tally.sum, Some(Sum::Count(_) | Sum::Distinct(..) | Sum::Sum(..) | Sum::Visits(_))));
        let elsewhere = if counted { "; counts and sums are `customer.…` and `journey.…`" } else { "" };
        self.everywhere.advise("stage", format!("{last}{elsewhere}"));
        self.everywhere
            .advise("touchpoint", "declare it under `properties:`, such as `*: number` (or text, flag, money, instant)");
    }

    /// What a segment does not see.
    fn withhold(&mut self) {
        let help = "use what lasts: a tally such as `customer.purchases`, or an episode such as `basket.value`";
        self.of_segments.withhold("touchpoint", "a segment is about the customer, not about one touchpoint", help);
        self.of_segments.withhold("segment", "a segment cannot ask for the segment", help);
    }

    fn declare_episode(&mut self, index: EpisodeIndex, name: &str, sums: &[TallyFact<'_>]) {
        for (part, kind, fact, money) in [
            ("open", Type::Flag, Fact::EpisodeOpen(index), false),
            ("value", Type::Number, Fact::EpisodeValue(index), true),
            ("worth", Type::Number, Fact::EpisodeValue(index), true),
            ("touchpoints", Type::Number, Fact::EpisodeTouchpoints(index), false),
            ("opened_at", Type::Instant, Fact::EpisodeOpenedAt(index), false),
            ("abandonments", Type::Number, Fact::EpisodeAbandonments(index), false),
        ] {
            self.declare(format!("{name}.{part}"), kind, fact, money);
        }
        for (at, sum) in sums.iter().enumerate() {
            let fact = Fact::EpisodeSum(index, at);
            self.declare(format!("{name}.{}", plain(&sum.name.value)), sum.kind, fact, sum.money);
        }
    }

    fn declare_touchpoint(&mut self) {
        for (name, kind, fact) in [
            ("touchpoint.type", Type::Text, Fact::TouchpointType),
            ("touchpoint.channel", Type::Text, Fact::TouchpointChannel),
            ("touchpoint.session", Type::Text, Fact::TouchpointSession),
            ("touchpoint.id", Type::Text, Fact::TouchpointId),
            ("touchpoint.at", Type::Instant, Fact::TouchpointAt),
        ] {
            self.declare(name.to_owned(), kind, fact, false);
        }
        for property in self.properties {
            let name = property.name.value.as_str();
            let fact = match property.kind {
                Some(Kind::Money) => Fact::Amount(name.into()),
                Some(Kind::Number | Kind::Text | Kind::Flag | Kind::Instant) | None => Fact::Property(name.into()),
            };
            let kind = property.kind.map_or(Type::Number, type_of);
            self.declare(format!("touchpoint.{}", plain(name)), kind, fact, property.kind == Some(Kind::Money));
        }
    }

    /// What the conditions of interventions see beside: the outcome that asks, and no touchpoint, since it may be an absence.
    fn declare_outcome(&mut self) {
        let mut environment = self.everywhere.clone();
        for (name, kind, fact, money) in [
            ("outcome.kind", Type::Text, Fact::OutcomeKind, false),
            ("outcome.name", Type::Text, Fact::OutcomeName, false),
            ("outcome.value", Type::Number, Fact::OutcomeValue, true),
        ] {
            environment.declare(name, kind);
            self.facts.push(fact);
            self.used.push(false);
            self.money.push(money);
        }
        environment.advise("outcome", "an outcome has `outcome.kind`, `outcome.name` and `outcome.value`");
        self.of_interventions = environment;
    }

    /// A condition of an intervention: about the outcome that asks and the customer as it stands then.
    pub(super) fn of_intervention(&mut self, line: &Name, faults: &mut Faults) -> Option<Expression> {
        let compiled = Expression::compile(line, &self.of_interventions, Type::Flag, faults)?;
        let of_touchpoint = |slot: &Slot| self.of_interventions.name(*slot).filter(|name| name.starts_with("touchpoint."));
        if let Some(name) = compiled.slots().iter().find_map(of_touchpoint) {
            let cause = format!("an intervention does not see {}: an absence asks for it as well", quoted(name));
            faults.error("M110", &line.place, cause, "use what lasts, such as `customer.purchases`, or `outcome.value`");
            return None;
        }
        self.note(Some(compiled), &line.place, faults)
    }

    fn read_currency(&mut self, written: Option<&Name>, faults: &mut Faults) {
        let Some(written) = written else { return };
        self.currency = Currency::parse(&written.value);
        if self.currency.is_none() {
            self.currency_told = true;
            let cause = format!("{} is no currency", quoted(&written.value));
            faults.error("M058", &written.place, cause, "write its three letters (ISO 4217), such as `currency: EUR`");
        }
    }

    pub(super) fn flag(&mut self, line: &Name, faults: &mut Faults) -> Option<Expression> {
        let compiled = Expression::compile(line, &self.everywhere, Type::Flag, faults);
        if compiled.is_some() {
            Expression::warn_of_absence(line, faults);
        }
        self.note(compiled, &line.place, faults)
    }

    pub(super) fn instant(&mut self, line: &Name, faults: &mut Faults) -> Option<Expression> {
        let compiled = Expression::compile(line, &self.everywhere, Type::Instant, faults);
        self.note(compiled, &line.place, faults)
    }

    /// Compiles who belongs to each segment.
    pub(super) fn of_segments(&mut self, segments: &Segments<'_>, faults: &mut Faults) -> Vec<Segment> {
        let compiled = |segment: &written::Segment| {
            let when = match &segment.who {
                Who::When(line) => self.of_segment(line, faults),
                Who::Everyone(_) | Who::Unread => None,
            };
            Segment { name: segment.name.value.as_str().into(), when }
        };
        segments.written().iter().map(compiled).collect()
    }

    /// A condition of a segment: it must hold or not without a touchpoint.
    fn of_segment(&mut self, line: &Name, faults: &mut Faults) -> Option<Expression> {
        let compiled = Expression::compile(line, &self.of_segments, Type::Flag, faults);
        self.note(compiled, &line.place, faults)
    }

    /// A span: fixed, computed, or by segment. `None` where something is wrong with it.
    pub(super) fn wait(&mut self, written: &written::Wait, segments: &Segments<'_>, faults: &mut Faults) -> Option<Wait> {
        match written {
            written::Wait::Fixed(span) => Some(Wait::Fixed(span.value)),
            written::Wait::Computed(line) => {
                let compiled = Expression::compile(line, &self.everywhere, Type::Duration, faults);
                self.note(compiled, &line.place, faults).map(Wait::Computed)
            }
            written::Wait::BySegment { place, waits } => {
                let compiled: Vec<(&Name, Option<Wait>)> =
                    waits.iter().map(|(name, wait)| (name, self.wait(wait, segments, faults))).collect();
                segments.spread(compiled, place, "a duration", faults).map(Wait::BySegment)
            }
            written::Wait::Unread => None,
        }
    }

    fn note(&mut self, compiled: Option<Expression>, place: &Place, faults: &mut Faults) -> Option<Expression> {
        let expression = compiled?;
        let slots: Vec<usize> = expression.slots().iter().map(|slot: &Slot| usize::from(*slot)).collect();
        let money = slots.iter().any(|slot| self.money.get(*slot).copied().unwrap_or_default());
        for slot in slots {
            if let Some(used) = self.used.get_mut(slot) {
                *used = true;
            }
        }
        if money && self.currency.is_none() && !self.currency_told {
            self.currency_told = true;
            let cause = "this line is about money, and the model does not say in which currency";
            faults.error("M057", place, cause, "add a line such as `currency: EUR` at the top of the model");
        }
        Some(expression)
    }

    /// Whether some line mentions a fact.
    fn mentions(&self, fits: impl Fn(&Fact) -> bool) -> bool {
        self.facts.iter().zip(&self.used).any(|(fact, used)| *used && fits(fact))
    }

    /// Reports the properties that nothing uses; `summed` says which properties tallies are about. A tally that no condition
    /// mentions is none the worse: look-ups show it.
    pub(super) fn unused(&self, summed: &[&str], faults: &mut Faults) {
        for property in self.properties.iter().filter(|property| !property.shared) {
            let name = property.name.value.as_str();
            let used = self.mentions(|fact| matches!(fact, Fact::Property(used) | Fact::Amount(used) if used == name));
            if !used && !summed.contains(&name) {
                let cause = format!("nothing uses the property {}", quoted(name));
                let help = "name it in a condition or a tally, or remove it: only what conditions mention is declared";
                faults.push(Diagnostic::warning("M055", &property.name.place, cause, help));
            }
        }
    }

    /// The properties that some line reads; where one is an amount, its currency's property as well.
    pub(super) fn properties_read(&self) -> impl Iterator<Item = &str> {
        let used = self.facts.iter().zip(&self.used).filter(|(_, used)| **used);
        used.flat_map(|(fact, _)| match fact {
            Fact::Property(name) => [Some(name.as_str()), None],
            Fact::Amount(name) => [Some(name.as_str()), Some(CURRENCY)],
            Fact::TouchpointType
            | Fact::TouchpointChannel
            | Fact::TouchpointSession
            | Fact::TouchpointId
            | Fact::TouchpointAt
            | Fact::CustomerTally(_)
            | Fact::JourneyTally(_)
            | Fact::StageTally(_)
            | Fact::JourneyNumber
            | Fact::JourneyStartedAt
            | Fact::StageName
            | Fact::StageEnteredAt
            | Fact::StageTouchpoints
            | Fact::SegmentName
            | Fact::EpisodeOpen(_)
            | Fact::EpisodeValue(_)
            | Fact::EpisodeTouchpoints(_)
            | Fact::EpisodeOpenedAt(_)
            | Fact::EpisodeAbandonments(_)
            | Fact::EpisodeSum(..)
            | Fact::OutcomeKind
            | Fact::OutcomeName
            | Fact::OutcomeValue => [None, None],
        })
        .flatten()
    }

    /// The properties that are declared, with what they are.
    pub(super) fn declarations(&self) -> impl Iterator<Item = (CompactString, (Option<Kind>, Form))> {
        let first_last = self.properties.iter().rev();
        first_last.map(|property| (property.name.value.as_str().into(), (property.kind, property.form)))
    }

    /// The properties that are summed up over lists.
    pub(super) fn sums_of_lists(&self) -> impl Iterator<Item = (CompactString, SumOfList)> {
        let first_last = self.properties.iter().rev();
        first_last.filter_map(|property| Some((property.name.value.as_str().into(), property.sum.clone()?)))
    }

    /// The currency, the time zone, and what each slot stands for.
    pub(super) fn into_parts(self) -> (Option<Currency>, Option<Zone>, Vec<Fact>) {
        (self.currency, self.zone, self.facts)
    }
}

fn read_zone(written: Option<&Name>, faults: &mut Faults) -> Option<Zone> {
    let written = written?;
    let zone = Zone::named(&written.value);
    if zone.is_none() {
        let names = Zone::names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let help = match nearest(&written.value, names.iter().copied()) {
            Some(_) => did_you_mean(&written.value, &names, ""),
            None => "write a name of the IANA database, such as `Europe/Paris`, `America/New_York` or `UTC`".to_owned(),
        };
        faults.error("M056", &written.place, format!("{} is no time zone", quoted(&written.value)), help);
    }
    zone
}

/// What conditions say themselves, or say of something else.
const RESERVED: [&str; 16] = [
    "outcome",
    "touchpoint",
    "customer",
    "journey",
    "stage",
    "segment",
    "session",
    "friction",
    "any",
    "has",
    "size",
    "duration",
    "timestamp",
    "true",
    "false",
    "in",
];
/// What conditions can say of a journey and of a stage anyway.
const OF_JOURNEYS: [&str; 5] = ["number", "started-at", "name", "entered-at", "touchpoints"];

/// What conditions can say of an episode anyway.
const OF_EPISODES: [&str; 6] = ["open", "value", "worth", "touchpoints", "opened-at", "abandonments"];

/// A name must mean one thing in conditions.
fn check_names(tallies: &[TallyFact<'_>], episodes: &[Episode], sums: &[Vec<TallyFact<'_>>], faults: &mut Faults) {
    for sum in sums.iter().flatten().filter(|sum| OF_EPISODES.contains(&sum.name.value.as_str())) {
        let cause = format!("a sum cannot be called {}: conditions know that of every episode", quoted(&sum.name.value));
        faults.error("M046", &sum.name.place, cause, "choose another name, such as `paid`");
    }
    for episode in episodes.iter().filter(|episode| RESERVED.contains(&episode.name.value.as_str())) {
        let name = quoted(&episode.name.value);
        let cause = format!("an episode cannot be called {name}, which means something else here");
        faults.error("M046", &episode.name.place, cause, "choose another name, such as `visit`, `basket` or `ticket`");
    }
    for tally in tallies.iter().filter(|tally| OF_JOURNEYS.contains(&tally.name.value.as_str())) {
        let cause = format!(
            "a tally cannot be called {}: conditions know that of every journey or stage",
            quoted(&tally.name.value)
        );
        faults.error("M046", &tally.name.place, cause, "choose another name");
    }
}

/// A name as conditions write it.
pub(super) fn plain(name: &str) -> String {
    name.replace('-', "_")
}

/// What values of a property are in conditions.
pub(super) fn type_of(kind: Kind) -> Type {
    match kind {
        Kind::Number | Kind::Money => Type::Number,
        Kind::Text => Type::Text,
        Kind::Flag => Type::Flag,
        Kind::Instant => Type::Instant,
    }
}
