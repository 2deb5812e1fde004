//! The typical customer, told as touchpoints: all five stages visited, an abandoned basket recovered, two purchases, and an
//! open basket with friction in it; twenty touchpoints stand in the history.
//!
//! Shared with `benches/state.rs`, which measures what such a customer takes in memory.

use std::sync::Arc;

use sillage::journey::{Customer, Moment, Noticed, Outcome};
use sillage::model::Model;
use sillage::shard::Settings;
use sillage::touchpoint::Touchpoint;
use sillage::wire::{self, Arrival, Format, Limits};

const TOUCHPOINTS: &str = include_str!("../../golden/typical-customer.ndjson");
const MODEL: &str = include_str!("../../../models/five-stages.yaml");

/// The model that the customer is a customer of.
pub(crate) fn model() -> Arc<Model> {
    let (model, faults) = sillage::model::load("five-stages.yaml", MODEL);
    Arc::new(model.unwrap_or_else(|| panic!("{faults:?}")))
}

/// What the customer did.
pub(crate) fn touchpoints() -> Vec<Touchpoint> {
    let lines = TOUCHPOINTS.lines().enumerate();
    let read = |(at, line): (usize, &str)| {
        let log_time = sillage::time::Timestamp::parse("2026-12-31T00:00:00Z").expect("an instant");
        let arrival = Arrival { log_time, topic: "story", partition: 0, offset: at as i64, limits: Limits::default() };
        wire::decode(Format::Json, None, line.as_bytes(), &arrival).expect("a touchpoint").touchpoint
    };
    lines.map(read).collect()
}

/// Who comes of it, as the model says, and what was told on the way. Touchpoints enter the log when they happen.
pub(crate) fn customer(model: &Arc<Model>, touchpoints: &[Touchpoint]) -> (Customer, Vec<Outcome>) {
    let (settings, models) = (Settings::default(), std::slice::from_ref(model));
    let mut customer = Customer::new(touchpoints[0].identity.clone());
    let (mut outcomes, mut noticed) = (Vec::new(), Noticed::default());
    for touchpoint in touchpoints {
        let now = touchpoint.event_time;
        while customer.next_deadline() <= now {
            let deadline = customer.next_deadline();
            customer.fire(models, deadline, &mut outcomes);
        }
        let moment = Moment::of(touchpoint, now, now, settings.max_delay);
        customer.apply(models, touchpoint, moment, settings.history, &mut noticed, &mut outcomes);
    }
    assert_eq!(noticed, Noticed::default());
    (customer, outcomes)
}
