//! A small world around one shard, for tests: models from text, touchpoints in a line, runs in event time.

use std::sync::Arc;

use sillage::journey::{Customer, Outcome};
use sillage::model::{self, Model};
use sillage::shard::{Action, Body, Buffered, Customers, Input, Position, Progress, Settings, Shard};
use sillage::time::{Span, Timestamp};
use sillage::touchpoint::{Identity, Touchpoint, Value};

/// When every made-up story begins.
pub(crate) use sillage::scenario::START;

/// Reads a model that must be good.
pub(crate) fn good_model(name: &str, text: &str) -> Arc<Model> {
    let (model, faults) = model::load(name, text);
    let shown = sillage::diagnostic::render(&faults, sillage::diagnostic::Style::Plain);
    Arc::new(model.unwrap_or_else(|| panic!("{shown}")))
}

/// The instant so long after [`START`].
pub(crate) fn after(span: &str) -> Timestamp {
    START + Span::parse(span).expect(span)
}

/// A touchpoint without properties.
pub(crate) fn touchpoint(who: &str, kind: &str, at: Timestamp, id: &str) -> Touchpoint {
    Touchpoint {
        id: id.into(),
        id_given: true,
        identity: Identity::customer(who),
        linked: None,
        event_time: at,
        kind: kind.into(),
        channel: None,
        session: None,
        properties: Vec::new(),
    }
}

/// The same with an id under `name`.
pub(crate) fn with_id(mut touchpoint: Touchpoint, name: &str, value: &str) -> Touchpoint {
    touchpoint.properties.push((name.into(), Value::Text(value.into())));
    touchpoint.properties.sort_by(|one, other| one.0.cmp(&other.0));
    touchpoint
}

/// A shard with its inputs and everything that it has said.
pub(crate) struct World {
    pub(crate) shard: Shard,
    pub(crate) actions: Vec<Action>,
    offsets: Vec<i64>,
    grace: Span,
}

impl World {
    pub(crate) fn new(models: &[Arc<Model>], settings: Settings, inputs: usize) -> Self {
        let start = Progress { positions: vec![NOWHERE; inputs], ..Progress::default() };
        World::going_on(models, settings, Customers::default(), start)
    }

    /// A shard that goes on from a committed state.
    pub(crate) fn going_on(models: &[Arc<Model>], settings: Settings, customers: Customers, progress: Progress) -> Self {
        let offsets = progress.positions.iter().map(|position| position.offset).collect();
        let grace = settings.grace;
        World { shard: Shard::new(models.into(), settings, customers, progress), actions: Vec::new(), offsets, grace }
    }

    /// Gives a touchpoint that entered the log at `log_time`.
    pub(crate) fn give(&mut self, input: usize, touchpoint: Touchpoint, log_time: Timestamp) {
        let log_time = self.shard.log_time(input, log_time, Timestamp::MAX);
        let record = Buffered { offset: self.offsets[input], log_time, body: Body::Touchpoint(Box::new(touchpoint)) };
        self.offsets[input] += 1;
        self.tell(Input::Record { input, record });
    }

    /// The offset of the next record of an input, which the caller is to give.
    pub(crate) fn next_offset(&mut self, input: usize) -> i64 {
        self.offsets[input] += 1;
        self.offsets[input] - 1
    }

    /// Lets time pass: a query sent at `at` shows that nothing more is there.
    pub(crate) fn quiet_until(&mut self, input: usize, at: Timestamp) {
        self.tell(Input::CaughtUp { input, position: self.offsets[input], at });
    }

    pub(crate) fn tell(&mut self, input: Input) {
        self.shard.handle(input, &mut self.actions);
    }

    /// Commits what is open.
    pub(crate) fn commit(&mut self) {
        self.tell(Input::Prepare);
        self.tell(Input::Committed);
    }

    /// All outcomes so far, and none of them again.
    pub(crate) fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.actions).into_iter().filter_map(Action::outcome).map(|outcome| *outcome).collect()
    }

    /// The customers as they stand, in the order of their identities.
    pub(crate) fn customers(&mut self) -> Vec<Customer> {
        let (stream_time, grace) = (self.shard.stream_time().unwrap_or(START), self.grace);
        self.shard.customers().all().into_iter().map(|customer| customer.as_of(stream_time, grace)).collect()
    }

    /// The same as bytes, as the state log would keep them.
    pub(crate) fn state(&mut self) -> Vec<u8> {
        let mut state: Vec<u8> = self.customers().iter().flat_map(encoded).collect();
        state.extend(format!("{:?}", self.shard.sums()).into_bytes());
        state
    }
}

/// A customer's state as bytes.
pub(crate) fn encoded(customer: &Customer) -> Vec<u8> {
    let mut bytes = Vec::new();
    sillage::wire::state::encode(customer, &mut bytes);
    bytes
}

/// Where an input stands before its first record.
pub(crate) const NOWHERE: Position = Position { offset: 0, log_time: Timestamp::MIN };

/// The sentences of outcomes, joined as in the last column of a scenario.
pub(crate) fn sentences(outcomes: &[Outcome]) -> String {
    let all: Vec<String> = outcomes.iter().map(ToString::to_string).collect();
    if all.is_empty() { "quiet".to_owned() } else { all.join("; ") }
}
