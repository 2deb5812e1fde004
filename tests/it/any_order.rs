//! Whatever the order in which touchpoints come, within the grace: the state and what holds of the outcomes are those of the
//! order of events (rule 18).

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use sillage::journey::{Customer, Outcome, What};
use sillage::model::Model;
use sillage::shard::Settings;
use sillage::time::{Span, Timestamp};
use sillage::touchpoint::Identity;
use uuid::Uuid;

use crate::laws::{Entered, Fate, baskets, cases, decide_with, fates, five_stages, step, story};
use crate::world::{START, World};

const GRACE: Span = Span::from_secs(600);

/// `ANY_ORDER_CASES` asks for more than CI runs.
fn cases_wanted() -> u32 {
    std::env::var("ANY_ORDER_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(500)
}

fn settings(decisions: usize) -> Settings {
    Settings { settle: Span::ZERO, grace: GRACE, decisions_per_transaction: decisions, ..Settings::default() }
}

/// What holds at last: of all records that name an id, the one with the greatest number, unless it is a retraction. Without
/// what says when it was found out.
pub(crate) fn net(outcomes: &[Outcome]) -> Vec<Outcome> {
    let mut last: BTreeMap<(&Identity, &str, Uuid), &Outcome> = BTreeMap::new();
    for outcome in outcomes {
        let known = last.entry((&outcome.identity, outcome.model.as_str(), outcome.id)).or_insert(outcome);
        if outcome.sequence > known.sequence {
            *known = outcome;
        }
    }
    let holds = last.into_values().filter(|outcome| !matches!(outcome.what, What::Retraction { .. }));
    holds.map(|outcome| Outcome { sequence: 0, hindsight: false, again: false, ..outcome.clone() }).collect()
}

/// Sequence numbers count on, whatever is told anew; and what can still be told anew is no part of what happened.
fn unnumbered(customers: Vec<Customer>) -> Vec<Customer> {
    let mut customers: Vec<Customer> = customers.into_iter().map(Customer::without_window).collect();
    customers.iter_mut().flat_map(|customer| &mut customer.journeys).for_each(|journey| journey.sequence = 0);
    customers
}

/// What holds at last, and everybody's state when nothing can be told anew any more.
fn whole(models: &[Arc<Model>], story: &[Entered], decisions: usize, fates: &[Fate]) -> (Vec<Outcome>, Vec<Customer>) {
    let (outcomes, mut world) = decide_with(settings(decisions), models, story, fates);
    (net(&outcomes), unnumbered(world.customers()))
}

/// As they happened: ties stay in the order in which they came.
fn in_order(story: &[Entered]) -> Vec<Entered> {
    let mut sorted: Vec<Entered> = story.iter().map(|(touchpoint, _)| (touchpoint.clone(), touchpoint.event_time)).collect();
    sorted.sort_by_key(|(_, at)| *at);
    sorted
}

/// The story as it comes when each touchpoint is so long on its way.
fn delayed(story: &[Entered], delays: &[i64]) -> Vec<Entered> {
    let delays = delays.iter().cycle();
    let mut late: Vec<Entered> = story
        .iter()
        .zip(delays)
        .map(|((touchpoint, _), delay)| (touchpoint.clone(), touchpoint.event_time + Span::from_millis(*delay)))
        .collect();
    late.sort_by_key(|(_, log_time)| *log_time);
    late
}

fn delays() -> impl Strategy<Value = Vec<i64>> {
    let delay = prop_oneof![
        3 => Just(0_i64),
        2 => 0..2_000_i64,
        3 => 0..=GRACE.as_millis(),
        1 => Just(GRACE.as_millis()),
    ];
    prop::collection::vec(delay, 1..40)
}

/// Everything ends at the same instant, so that the same silence follows.
fn with_end(mut story: Vec<Entered>, end: Timestamp) -> Vec<Entered> {
    story.push((crate::world::touchpoint("nobody", "weather.changed", end, "end"), end));
    story
}

proptest! {
    #![proptest_config(cases(cases_wanted()))]

    #[test]
    fn whatever_the_order_of_arrival_what_holds_is_what_happened(
        steps in prop::collection::vec(step(), 1..40),
        delays in delays(),
    ) {
        let happened = in_order(&story(&steps));
        let end = happened.last().map_or(START, |(_, at)| *at) + GRACE + Span::from_secs(1);
        let comes = with_end(delayed(&happened, &delays), end);
        let models = [baskets(), five_stages()];
        let (holds, state) = whole(&models, &comes, usize::MAX, &[Fate::Nothing]);
        // Repeats are told by their first copy, so ties are compared in the order in which they came.
        let (expected, expected_state) = whole(&models, &with_end(in_order(&comes[..comes.len() - 1]), end), usize::MAX, &[Fate::Nothing]);
        prop_assert_eq!(holds, expected);
        prop_assert_eq!(state, expected_state);
    }

    #[test]
    fn splits_and_aborts_change_nothing(
        steps in prop::collection::vec(step(), 1..40),
        delays in delays(),
        fates in fates(),
        size in 1..30_usize,
    ) {
        let comes = delayed(&in_order(&story(&steps)), &delays);
        let models = [baskets(), five_stages()];
        let (at_once, mut world) = decide_with(settings(usize::MAX), &models, &comes, &[Fate::Nothing]);
        let (split, mut other) = decide_with(settings(size), &models, &comes, &fates);
        prop_assert_eq!(split, at_once);
        let state = |world: &mut World| -> Vec<Customer> {
            world.customers().into_iter().map(Customer::without_window).collect()
        };
        prop_assert_eq!(state(&mut world), state(&mut other));
    }
}
