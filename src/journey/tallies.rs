//! What is summed up over what a customer did: counts, sums, latest values, visits.

use serde::{Deserialize, Serialize};

use super::Journey;
use crate::expression::Type;
use crate::model::{Model, StageIndex, Sum, SumShape, Tally, TallyShape, TypeRoles};
use crate::time::{Span, Timestamp};
use crate::touchpoint::{Currency, Money, Touchpoint, Value};

/// At most so many currencies are kept apart in one sum; amounts in further ones are left out.
pub(super) const MAX_CURRENCIES: usize = 8;
/// Without session ids, a gap of this length begins a new visit.
const VISIT_GAP: Span = Span::from_secs(30 * 60);
/// So many things are remembered that count once in one sum; the one seen longest ago gives way.
pub(super) const MAX_ONCE: usize = 128;
/// So many sessions are told apart when they mix (two devices at once).
pub(super) const MAX_SESSIONS: usize = 4;

/// One tally's state: over all journeys, and in the present one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TallyState {
    /// How many.
    Count {
        /// In all journeys.
        customer: u64,
        /// In this one.
        journey: u64,
    },
    /// The sum of a number.
    Number {
        /// In all journeys.
        customer: f64,
        /// In this one.
        journey: f64,
    },
    /// The sum of amounts, each currency on its own, in the order they came.
    Money {
        /// In all journeys.
        customer: Vec<Money>,
        /// In this one.
        journey: Vec<Money>,
    },
    /// The latest value.
    Last {
        /// In all journeys.
        customer: Option<Value>,
        /// In this one.
        journey: Option<Value>,
        /// By the stage that the journey stood in when it came, in this journey.
        stages: Vec<(StageIndex, Value)>,
        /// When each of them happened.
        #[serde(skip)]
        at: LatestAt,
    },
    /// How many visits.
    Visits {
        /// In all journeys.
        customer: u64,
        /// In this one.
        journey: u64,
        /// Hashes of the sessions seen last, the latest at the end.
        sessions: Vec<u64>,
        /// The latest touchpoint without a session.
        latest: Option<Timestamp>,
    },
    /// A count or a sum in which each thing counts once, however often it is reported.
    Once {
        /// The count or the sum.
        sum: Box<TallyState>,
        /// What has counted, the one seen last at the end.
        seen: Vec<CountedOnce>,
    },
}

/// A thing that counts once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CountedOnce {
    /// A hash of its id.
    pub hash: u64,
    /// Event time of the latest touchpoint about it.
    pub at: Timestamp,
    /// What that one added.
    pub added: Amount,
    /// Whether it came first in this journey.
    pub here: bool,
}

/// What a thing added to a sum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Amount {
    /// Itself.
    One,
    /// A number.
    Number(f64),
    /// An amount.
    Money(Money),
}

/// When the latest values happened (event time); [`Timestamp::MIN`] where nobody knows.
#[derive(Clone, Debug, PartialEq)]
pub struct LatestAt {
    /// That in all journeys.
    pub customer: Timestamp,
    /// That in this one.
    pub journey: Timestamp,
    /// Those by stage, in their order.
    pub stages: Vec<Timestamp>,
}

impl Default for LatestAt {
    fn default() -> Self {
        LatestAt { customer: Timestamp::MIN, journey: Timestamp::MIN, stages: Vec::new() }
    }
}

/// Over what a tally is asked for.
#[derive(Clone, Copy)]
pub(super) enum Extent {
    /// All journeys of the customer.
    Customer,
    /// The present one.
    Journey,
}

impl Extent {
    fn of<T>(self, customer: T, journey: T) -> T {
        match self {
            Extent::Customer => customer,
            Extent::Journey => journey,
        }
    }
}

impl TallyState {
    pub(super) fn new(tally: &Tally) -> Self {
        TallyState::of(SumShape::of(&tally.sum), tally.once.is_some())
    }

    pub(super) fn of_shape(tally: &TallyShape) -> Self {
        TallyState::of(tally.sum, tally.once.is_some())
    }

    fn of(sum: SumShape, once: bool) -> Self {
        if once {
            return TallyState::Once { sum: Box::new(TallyState::of(sum, false)), seen: Vec::new() };
        }
        match sum {
            SumShape::Count => TallyState::Count { customer: 0, journey: 0 },
            SumShape::Number => TallyState::Number { customer: 0.0, journey: 0.0 },
            SumShape::Money => TallyState::Money { customer: Vec::new(), journey: Vec::new() },
            SumShape::Last => {
                TallyState::Last { customer: None, journey: None, stages: Vec::new(), at: LatestAt::default() }
            }
            SumShape::Visits => TallyState::Visits { customer: 0, journey: 0, sessions: Vec::new(), latest: None },
        }
    }

    /// The latest value.
    pub(super) fn last(&self, extent: Extent) -> Option<&Value> {
        match self {
            TallyState::Last { customer, journey, .. } => extent.of(customer, journey).as_ref(),
            TallyState::Count { .. }
            | TallyState::Number { .. }
            | TallyState::Money { .. }
            | TallyState::Visits { .. }
            | TallyState::Once { .. } => None,
        }
    }

    /// The latest value in a stage of this journey.
    pub(super) fn last_in(&self, stage: StageIndex) -> Option<&Value> {
        match self {
            TallyState::Last { stages, .. } => stages.iter().find(|(at, _)| *at == stage).map(|(_, value)| value),
            TallyState::Count { .. }
            | TallyState::Number { .. }
            | TallyState::Money { .. }
            | TallyState::Visits { .. }
            | TallyState::Once { .. } => None,
        }
    }

    /// The sum; of amounts, those in `currency`.
    pub(super) fn sum(&self, extent: Extent, currency: Option<Currency>) -> Option<f64> {
        match self {
            TallyState::Count { customer, journey } | TallyState::Visits { customer, journey, .. } => {
                Some(*extent.of(customer, journey) as f64)
            }
            TallyState::Number { customer, journey } => Some(*extent.of(customer, journey)),
            TallyState::Money { customer, journey } => Some(amount(extent.of(customer, journey), currency?)),
            TallyState::Once { sum, .. } => sum.sum(extent, currency),
            TallyState::Last { .. } => None,
        }
    }

    /// Somebody else had summed this up, another identity of the same customer or an episode that goes into this one: the sums
    /// add. `later`: what it did came later.
    pub(super) fn unite(&mut self, theirs: TallyState, later: bool) {
        match (self, theirs) {
            (TallyState::Count { customer, journey }, TallyState::Count { customer: more, journey: here }) => {
                *customer = customer.saturating_add(more);
                *journey = journey.saturating_add(here);
            }
            (TallyState::Number { customer, journey }, TallyState::Number { customer: more, journey: here }) => {
                *customer += more;
                *journey += here;
            }
            (TallyState::Money { customer, journey }, TallyState::Money { customer: more, journey: here }) => {
                more.into_iter().for_each(|money| add_money(customer, money));
                here.into_iter().for_each(|money| add_money(journey, money));
            }
            (
                TallyState::Last { customer, journey, stages, at },
                TallyState::Last { customer: last, journey: here, stages: there, at: then },
            ) => {
                unite_last((customer, &mut at.customer), (last, then.customer));
                unite_last((journey, &mut at.journey), (here, then.journey));
                at.stages.resize(stages.len(), Timestamp::MIN);
                for (place, (stage, value)) in there.into_iter().enumerate() {
                    let then = then.stages.get(place).copied().unwrap_or(Timestamp::MIN);
                    match stages.iter().position(|(known, _)| *known == stage) {
                        Some(mine) if then > at.stages[mine] => (stages[mine].1, at.stages[mine]) = (value, then),
                        Some(_) => {}
                        None => {
                            stages.push((stage, value));
                            at.stages.push(then);
                        }
                    }
                }
            }
            (
                TallyState::Visits { customer, journey, sessions, latest },
                TallyState::Visits { customer: more, journey: here, sessions: others, latest: last },
            ) => {
                // A visit in which the customer was both is one.
                let both = others.iter().filter(|other| sessions.contains(other)).count() as u64;
                *customer = customer.saturating_add(more).saturating_sub(both);
                *journey = journey.saturating_add(here).saturating_sub(both);
                let (mut one, other) =
                    if later { (std::mem::take(sessions), others) } else { (others, std::mem::take(sessions)) };
                one.retain(|session| !other.contains(session));
                one.extend(other);
                one.drain(..one.len().saturating_sub(MAX_SESSIONS));
                *sessions = one;
                *latest = (*latest).max(last);
            }
            (TallyState::Once { sum, seen }, TallyState::Once { sum: their_sum, seen: others }) => {
                sum.unite(*their_sum, later);
                unite_once(sum, seen, others, later);
            }
            // Of another sort: the model changed between, and what the customer has stands.
            (
                TallyState::Count { .. }
                | TallyState::Number { .. }
                | TallyState::Money { .. }
                | TallyState::Last { .. }
                | TallyState::Visits { .. }
                | TallyState::Once { .. },
                _,
            ) => {}
        }
    }

    /// The customer's next journey begins, with a touchpoint that the tally counts or with another.
    fn begin_journey(&mut self, counts: bool) {
        match self {
            TallyState::Count { journey, .. } => *journey = 0,
            TallyState::Once { sum, seen } => {
                sum.begin_journey(counts);
                seen.iter_mut().for_each(|one| one.here = false);
            }
            // The visit in which a journey begins is its first, where that is one of those that are counted.
            TallyState::Visits { customer, journey, .. } => *journey = (*customer).min(u64::from(counts)),
            TallyState::Number { journey, .. } => *journey = 0.0,
            TallyState::Money { journey, .. } => journey.clear(),
            TallyState::Last { journey, stages, at, .. } => {
                *journey = None;
                stages.clear();
                at.journey = Timestamp::MIN;
                at.stages.clear();
            }
        }
    }
}

impl Journey {
    /// Sums the touchpoint up where its type counts.
    pub(super) fn tally(&mut self, model: &Model, roles: &TypeRoles, touchpoint: &Touchpoint) {
        // A tally that is new in the model begins here.
        for tally in &model.tallies[self.tallies.len().min(model.tallies.len())..] {
            self.tallies.push(TallyState::new(tally));
        }
        let stage = self.stage();
        for index in &roles.tallies {
            let (Some(tally), Some(state)) = (model.tallies.get(*index), self.tallies.get_mut(*index)) else { continue };
            add(model, tally, state, stage, touchpoint);
        }
    }

    /// The sums of the present journey begin anew, with what a touchpoint of these roles has added.
    pub(super) fn begin_tallies(&mut self, roles: &TypeRoles) {
        for (at, state) in self.tallies.iter_mut().enumerate() {
            state.begin_journey(roles.tallies.contains(&at));
        }
    }
}

/// Adds a touchpoint to what a tally has summed up.
pub(super) fn add(model: &Model, tally: &Tally, state: &mut TallyState, stage: Option<StageIndex>, touchpoint: &Touchpoint) {
    let sum = &tally.sum;
    if let (Some(once), TallyState::Once { sum: inner, seen }) = (&tally.once, &mut *state) {
        let id = touchpoint.property(once).and_then(Value::as_id);
        match (id, adds(model, sum, touchpoint)) {
            (Some(id), Some(added)) => {
                let hash = xxhash_rust::xxh3::xxh3_64(id.as_bytes());
                count_once(inner, seen, CountedOnce { hash, at: touchpoint.event_time, added, here: true });
            }
            // What nothing names is counted as it comes; where names alone are counted, it is none.
            (None, Some(added @ (Amount::Number(_) | Amount::Money(_)))) => put(inner, added, Here::Yes),
            (None, Some(Amount::One)) | (_, None) => {}
        }
        return;
    }
    if tally.once.is_some() {
        // The model changed under it (rule 25), and it begins anew.
        *state = TallyState::new(tally);
        return add(model, tally, state, stage, touchpoint);
    }
    match (sum, state) {
        (Sum::Count, TallyState::Count { customer, journey }) => {
            *customer += 1;
            *journey += 1;
        }
        (Sum::Number(_), state @ TallyState::Number { .. }) | (Sum::Money(_), state @ TallyState::Money { .. }) => {
            if let Some(added) = adds(model, sum, touchpoint) {
                put(state, added, Here::Yes);
            }
        }
        (Sum::Last(property, kind), TallyState::Last { customer, journey, stages, at }) => {
            let value = touchpoint.property(property).and_then(|value| converted(model, property, *kind, value));
            let (Some(value), now) = (value, touchpoint.event_time) else { return };
            // The latest is what happened last, whatever arrives last.
            if at.customer <= now {
                (*customer, at.customer) = (Some(value.clone()), now);
            }
            if at.journey <= now {
                (*journey, at.journey) = (Some(value.clone()), now);
            }
            let Some(stage) = stage else { return };
            at.stages.resize(stages.len(), Timestamp::MIN);
            match stages.iter().position(|(known, _)| *known == stage) {
                Some(place) if at.stages[place] <= now => (stages[place].1, at.stages[place]) = (value.clone(), now),
                Some(_) => {}
                None => {
                    stages.push((stage, value.clone()));
                    at.stages.push(now);
                }
            }
        }
        (Sum::Visits, TallyState::Visits { customer, journey, sessions, latest }) => {
            if begins_visit(touchpoint, sessions, latest) {
                *customer += 1;
                *journey += 1;
            }
        }
        // The state of another kind of sum: the model changed under it (rule 25), and it begins anew.
        (Sum::Count | Sum::Number(_) | Sum::Money(_) | Sum::Last(..) | Sum::Visits, state) => {
            *state = TallyState::new(tally);
            add(model, tally, state, stage, touchpoint);
        }
    }
}

/// What a touchpoint adds to a count or a sum, if it has the value.
fn adds(model: &Model, sum: &Sum, touchpoint: &Touchpoint) -> Option<Amount> {
    match sum {
        Sum::Count => Some(Amount::One),
        Sum::Number(property) => touchpoint.property(property)?.as_number(model.form(property).decimal).map(Amount::Number),
        Sum::Money(property) => touchpoint.money(property, model.form(property), model.currency).map(Amount::Money),
        Sum::Last(..) | Sum::Visits => None,
    }
}

/// Whether something is part of what the present journey has summed up.
#[derive(Clone, Copy)]
enum Here {
    Yes,
    No,
}

/// Counts a thing that may have counted already: the latest touchpoint about it tells how much it is.
fn count_once(sum: &mut TallyState, seen: &mut Vec<CountedOnce>, mut one: CountedOnce) {
    if let Some(place) = seen.iter().position(|known| known.hash == one.hash) {
        let known = seen.remove(place);
        if one.at < known.at || known.added == one.added {
            one = CountedOnce { at: known.at.max(one.at), ..known };
        } else {
            let here = if known.here { Here::Yes } else { Here::No };
            one.here = known.here;
            take_out(sum, known.added, here);
            put(sum, one.added, here);
        }
    } else {
        if seen.len() == MAX_ONCE {
            seen.remove(0);
        }
        put(sum, one.added, if one.here { Here::Yes } else { Here::No });
    }
    seen.push(one);
}

fn put(sum: &mut TallyState, added: Amount, here: Here) {
    let here = matches!(here, Here::Yes);
    match (sum, added) {
        (TallyState::Count { customer, journey }, Amount::One) => {
            *customer += 1;
            *journey += u64::from(here);
        }
        (TallyState::Number { customer, journey }, Amount::Number(number)) => {
            *customer += number;
            *journey += if here { number } else { 0.0 };
        }
        (TallyState::Money { customer, journey }, Amount::Money(money)) => {
            add_money(customer, money);
            if here {
                add_money(journey, money);
            }
        }
        // Nothing else has anything added.
        (_, Amount::One | Amount::Number(_) | Amount::Money(_)) => {}
    }
}

/// Takes out what a thing added, to be put in again as it is told now.
fn take_out(sum: &mut TallyState, added: Amount, here: Here) {
    let less = match added {
        Amount::Number(number) => Amount::Number(-number),
        Amount::Money(money) => Amount::Money(Money { micros: money.micros.saturating_neg(), ..money }),
        Amount::One => {
            if let TallyState::Count { customer, journey } = sum {
                *customer = customer.saturating_sub(1);
                *journey = journey.saturating_sub(u64::from(matches!(here, Here::Yes)));
            }
            return;
        }
    };
    put(sum, less, here);
}

/// Of two sums that have been added, what is in both counts once. What either has forgotten stays counted.
fn unite_once(sum: &mut TallyState, seen: &mut Vec<CountedOnce>, others: Vec<CountedOnce>, later: bool) {
    let (mut first, mut second) = if later { (std::mem::take(seen), others) } else { (others, std::mem::take(seen)) };
    for one in &mut second {
        let Some(place) = first.iter().position(|known| known.hash == one.hash) else { continue };
        let known = first.remove(place);
        for known in [&known, &*one] {
            take_out(sum, known.added, if known.here { Here::Yes } else { Here::No });
        }
        // In this journey it came first only if neither had it from one before.
        let here = known.here && one.here;
        if known.at > one.at {
            *one = known;
        }
        one.here = here;
        put(sum, one.added, if here { Here::Yes } else { Here::No });
    }
    first.append(&mut second);
    first.drain(..first.len().saturating_sub(MAX_ONCE));
    *seen = first;
}

/// A value as a tally keeps it: what its property is declared to be. A value that is nothing of the kind leaves the one before.
fn converted(model: &Model, property: &str, kind: Type, value: &Value) -> Option<Value> {
    match (kind, value) {
        (Type::Number, _) => value.as_number(model.form(property).decimal).map(Value::Number),
        (Type::Flag, _) => value.as_flag().map(Value::Flag),
        (Type::Instant, _) => value.as_instant(model.zone.as_ref()).map(|_| value.clone()),
        (Type::Text | Type::Duration, _) => Some(value.clone()),
    }
}

fn begins_visit(touchpoint: &Touchpoint, sessions: &mut Vec<u64>, latest: &mut Option<Timestamp>) -> bool {
    let Some(session) = &touchpoint.session else {
        let at = touchpoint.event_time;
        let begins = latest.is_none_or(|latest| at.since(latest) >= VISIT_GAP);
        *latest = Some(latest.map_or(at, |latest| latest.max(at)));
        return begins;
    };
    let hash = xxhash_rust::xxh3::xxh3_64(session.as_bytes());
    let known = sessions.iter().position(|known| *known == hash);
    match known {
        Some(place) => drop(sessions.remove(place)),
        None if sessions.len() == MAX_SESSIONS => drop(sessions.remove(0)),
        None => {}
    }
    sessions.push(hash);
    known.is_none()
}

/// The sums of two episodes that are one.
pub(super) fn unite_sums(mine: &mut Vec<TallyState>, theirs: Vec<TallyState>, later: bool) {
    for (place, sum) in theirs.into_iter().enumerate() {
        match mine.get_mut(place) {
            Some(mine) => mine.unite(sum, later),
            None => mine.push(sum),
        }
    }
}

fn unite_last((mine, at): (&mut Option<Value>, &mut Timestamp), (theirs, then): (Option<Value>, Timestamp)) {
    if theirs.is_some() && (mine.is_none() || then > *at) {
        (*mine, *at) = (theirs, then);
    }
}

fn add_money(sums: &mut Vec<Money>, money: Money) {
    match sums.iter().position(|sum| sum.currency == money.currency) {
        Some(place) => sums[place].micros = sums[place].micros.saturating_add(money.micros),
        None if sums.len() < MAX_CURRENCIES => sums.push(money),
        None => {}
    }
}

fn amount(sums: &[Money], currency: Currency) -> f64 {
    sums.iter().find(|sum| sum.currency == currency).map_or(0.0, Money::amount)
}
