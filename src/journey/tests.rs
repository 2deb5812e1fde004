//! A journey that began under one file of a model goes on under another with the same structure (rule 25).

use super::*;
use crate::diagnostic::{Style, render};
use crate::model;
use crate::touchpoint::Value;

fn read(text: &str) -> Arc<Model> {
    let (model, told) = model::load("m.yaml", text);
    Arc::new(model.unwrap_or_else(|| panic!("{}", render(&told, Style::Plain))))
}

fn touchpoint(kind: &str, minute: i64, properties: &[(&str, &str)]) -> Touchpoint {
    Touchpoint {
        id: compact_str::format_compact!("{kind} {minute}"),
        id_given: true,
        identity: Identity::customer("c"),
        linked: None,
        event_time: Timestamp::from_millis(1_767_225_600_000 + minute * 60_000),
        kind: kind.into(),
        channel: None,
        session: None,
        properties: properties.iter().map(|(name, value)| ((*name).into(), Value::Text((*value).into()))).collect(),
    }
}

/// Applies touchpoints of one type, a minute apart; returns what was said.
fn apply(customer: &mut Customer, model: &Arc<Model>, touchpoints: &[Touchpoint]) -> Vec<String> {
    let (mut outcomes, mut noticed) = (Vec::new(), Noticed::default());
    for touchpoint in touchpoints {
        let at = touchpoint.event_time;
        let moment = Moment { log_time: at, counts_from: at, stream_time: at };
        customer.apply(std::slice::from_ref(model), touchpoint, moment, 0, &mut noticed, &mut outcomes);
    }
    outcomes.iter().map(Outcome::to_string).collect()
}

fn minutes(kind: &str, minutes: std::ops::Range<i64>) -> Vec<Touchpoint> {
    minutes.map(|minute| touchpoint(kind, minute, &[])).collect()
}

#[test]
fn a_stage_that_asks_for_fewer_touchpoints_than_before_is_entered() {
    let seven = read("sillage: 1\nmodel: m\nstages:\n  aware: { enter: [{ 7 of: page.viewed, within: 30d }] }\n");
    let three = read("sillage: 1\nmodel: m\nstages:\n  aware: { enter: [{ 3 of: page.viewed, within: 30d }] }\n");
    let mut customer = Customer::new(Identity::customer("c"));
    assert_eq!(apply(&mut customer, &seven, &minutes("page.viewed", 0..6)), [""; 0]);
    assert_eq!(apply(&mut customer, &three, &minutes("page.viewed", 6..7)).len(), 1);
}

#[test]
fn a_stage_that_asks_for_fewer_parts_than_before_is_entered_by_those_alone() {
    let three = read("sillage: 1\nmodel: m\nstages:\n  aware: { enter: [{ all of: [a.a, b.b, c.c], within: 30d }] }\n");
    let two = read("sillage: 1\nmodel: m\nstages:\n  aware: { enter: [{ all of: [a.a, b.b], within: 30d }] }\n");
    let mut customer = Customer::new(Identity::customer("c"));
    let (first, third) = (minutes("a.a", 0..1), minutes("c.c", 1..2));
    assert_eq!(apply(&mut customer, &three, &[first, third].concat()), [""; 0]);
    assert_eq!(apply(&mut customer, &two, &minutes("a.a", 2..3)), [""; 0], "the third part is no part any more");
    assert_eq!(apply(&mut customer, &two, &minutes("b.b", 3..4)).len(), 1);
}

#[test]
fn an_episode_keeps_an_id_whose_name_the_chain_has_no_more() {
    let text = |chain: &str| {
        format!(
            "sillage: 1\nmodel: m\nstages:\n  visit: {{ enter: page.viewed }}\nepisodes:\n  basket:\n    \
             known by: [{chain}, customer]\n    opens: cart.added\n    completes: order.completed\n    abandoned after: 1h\n"
        )
    };
    let (two, one) = (read(&text("cart_id, checkout_id")), read(&text("cart_id")));
    let mut customer = Customer::new(Identity::customer("c"));
    apply(&mut customer, &two, &[touchpoint("cart.added", 0, &[("cart_id", "1"), ("checkout_id", "2")])]);
    let said = apply(&mut customer, &one, &[touchpoint("order.completed", 1, &[("cart_id", "1")])]);
    assert_eq!(said.len(), 1, "{said:?}");
}

#[test]
fn a_tally_that_sums_up_in_another_way_than_before_begins_anew() {
    let text = |tally: &str| {
        format!(
            "sillage: 1\nmodel: m\nstages:\n  visit: {{ enter: page.viewed }}\ntallies:\n  seen: {{ {tally}: page.viewed }}\n"
        )
    };
    let (count, visits) = (read(&text("count")), read(&text("visits")));
    let mut customer = Customer::new(Identity::customer("c"));
    apply(&mut customer, &count, &minutes("page.viewed", 0..3));
    apply(&mut customer, &visits, &minutes("page.viewed", 3..5));
    assert!(matches!(customer.journeys[0].tallies[0], TallyState::Visits { customer: 1, .. }));
}
