//! Whatever the order in which touchpoints come, within the grace: the state and what holds of the outcomes are those of the
//! order of events (rule 18).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use sillage::journey::{Customer, Outcome, What};
use sillage::model::Model;
use sillage::shard::{Settings, Undo};
use sillage::time::{Span, Timestamp};
use sillage::touchpoint::Identity;
use uuid::Uuid;

use crate::laws::{Entered, Fate, baskets, cases, decide_with, fates, five_stages, step, story};
use crate::world::{START, World, good_model, touchpoint, with_id};

pub(crate) const GRACE: Span = Span::from_secs(600);

/// `ANY_ORDER_CASES` asks for more than CI runs.
fn cases_wanted() -> u32 {
    std::env::var("ANY_ORDER_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(500)
}

pub(crate) fn settings(decisions: usize) -> Settings {
    Settings { settle: Span::ZERO, grace: GRACE, decisions_per_transaction: decisions, ..Settings::default() }
}

/// What holds at last: of all records that name an id, the one with the greatest number, unless it is a retraction. Without
/// what says when it was found out, and without what was offered, which depends on the order of arrival (rule 29).
pub(crate) fn net(outcomes: &[Outcome]) -> Vec<Outcome> {
    let mut last: BTreeMap<(&Identity, &str, Uuid), &Outcome> = BTreeMap::new();
    for outcome in outcomes {
        let known = last.entry((&outcome.identity, outcome.model.as_str(), outcome.id)).or_insert(outcome);
        if outcome.sequence > known.sequence {
            *known = outcome;
        }
    }
    let is_of_story = |what: &What| {
        let of_offers = matches!(what, What::Intervention { .. } | What::Withdrawal { .. } | What::Measurement { .. });
        !of_offers && !what.is_retraction()
    };
    let holds = last.into_values().filter(|outcome| is_of_story(&outcome.what));
    holds.map(|outcome| Outcome { sequence: 0, hindsight: false, again: false, ..outcome.clone() }).collect()
}

/// Sequence numbers count on, whatever is told anew; what can still be told anew is no part of what happened, and neither is what
/// was offered, or when somebody used the redirect of an anonymous id last.
pub(crate) fn unnumbered(customers: Vec<Customer>) -> Vec<Customer> {
    let known = customers.into_iter().filter(|customer| customer.redirected_to().is_none());
    let mut customers: Vec<Customer> = known.map(|customer| customer.without_window().without_contacts()).collect();
    customers.iter_mut().flat_map(|customer| &mut customer.journeys).for_each(|journey| journey.sequence = 0);
    customers
}

/// What holds at last, and everybody's state when nothing can be told anew any more.
fn whole(models: &[Arc<Model>], story: &[Entered], decisions: usize, fates: &[Fate]) -> (Vec<Outcome>, Vec<Customer>) {
    let (outcomes, mut world) = decide_with(settings(decisions), models, story, fates);
    (net(&outcomes), unnumbered(world.customers()))
}

/// As they happened: ties stay in the order in which they came.
pub(crate) fn in_order(story: &[Entered]) -> Vec<Entered> {
    let mut sorted: Vec<Entered> = story.iter().map(|(touchpoint, _)| (touchpoint.clone(), touchpoint.event_time)).collect();
    sorted.sort_by_key(|(_, at)| *at);
    sorted
}

/// The story as it comes when each touchpoint is so long on its way.
pub(crate) fn delayed(story: &[Entered], delays: &[i64]) -> Vec<Entered> {
    let delays = delays.iter().cycle();
    let mut late: Vec<Entered> = story
        .iter()
        .zip(delays)
        .map(|((touchpoint, _), delay)| (touchpoint.clone(), touchpoint.event_time + Span::from_millis(*delay)))
        .collect();
    late.sort_by_key(|(_, log_time)| *log_time);
    late
}

pub(crate) fn delays() -> impl Strategy<Value = Vec<i64>> {
    let delay = prop_oneof![
        3 => Just(0_i64),
        2 => 0..2_000_i64,
        3 => 0..=GRACE.as_millis(),
        1 => Just(GRACE.as_millis()),
    ];
    prop::collection::vec(delay, 1..40)
}

/// Everything ends at the same instant, so that the same silence follows.
pub(crate) fn with_end(mut story: Vec<Entered>, end: Timestamp) -> Vec<Entered> {
    story.push((touchpoint("nobody", "weather.changed", end, "end"), end));
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

/// The stories of the scenarios come in arrival orders of all kinds: each ends as it would have in order.
#[test]
fn every_story_ends_alike_in_whatever_order_it_comes() {
    const ORDERS: usize = 200;
    let week = Span::from_days(7);
    let settings = |grace| Settings { settle: Span::ZERO, grace, undo: Undo::Never, ..Settings::default() };
    let mut dice = Dice::new(1);
    let mut retracted = 0;
    for file in crate::journeys::files().iter().filter(|file| file.ends_with(".scenarios.md")) {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("a file");
        for scenario in crate::journeys::suite(file, &text).scenarios {
            let story: Vec<Entered> =
                scenario.rows.iter().filter_map(|row| Some((row.touchpoint.clone()?, row.at))).collect();
            let models = [scenario.model.clone()];
            let happened = in_order(&story);
            let end = happened.last().map_or(START, |(_, at)| *at) + week + Span::from_secs(1);
            for _ in 0..ORDERS {
                let delays: Vec<i64> = happened.iter().map(|_| dice.delay(week)).collect();
                let comes = with_end(delayed(&happened, &delays), end);
                let sorted = with_end(in_order(&comes[..comes.len() - 1]), end);
                let run = |story: &[Entered]| {
                    let (outcomes, mut world) = decide_with(settings(week), &models, story, &[Fate::Nothing]);
                    retracted += outcomes.iter().filter(|outcome| outcome.what.is_retraction()).count();
                    (net(&outcomes), unnumbered(world.customers()))
                };
                let [came, expected] = [&comes, &sorted].map(|story| story.as_slice()).map(run);
                assert!(came == expected, "{file}, {}: {comes:#?}\n{:#?}\n{:#?}", scenario.title, came.0, expected.0);
            }
        }
    }
    assert!(retracted > 1_000, "{retracted} retractions");
}

/// Nobody who bought has an abandonment that holds, whatever comes first and whichever ids the sources know.
#[test]
fn whoever_bought_within_the_grace_was_not_left_behind() {
    let model = good_model(
        "purchase",
        "sillage: 1\nmodel: purchase\nstages: { shopping: { enter: page.viewed } }\nepisodes:\n  basket: { known by: [cart_id, \
         checkout_id, order_id, session, customer], opens: cart.added, progresses: [cart.viewed, checkout.started], completes: \
         order.completed, abandoned after: 5m, recovered within: 1d }\n",
    );
    // What each touchpoint may carry.
    const STORY: [(&str, &[&str]); 5] = [
        ("cart.added", &["cart_id"]),
        ("cart.viewed", &["cart_id"]),
        ("cart.added", &["cart_id"]),
        ("checkout.started", &["cart_id", "checkout_id"]),
        ("order.completed", &["cart_id", "checkout_id", "order_id"]),
    ];
    let mut dice = Dice::new(2);
    for run in 0..10_000 {
        let mut story: Vec<Entered> = Vec::new();
        let sessions = dice.chance(60);
        for (number, (kind, ids)) in STORY.into_iter().enumerate() {
            let at = START + Span::from_secs(number as i64 * 60 + dice.between(0, 59));
            let mut made = touchpoint("a", kind, at, &format!("t{number}"));
            for name in ids {
                if dice.chance(60) {
                    made = with_id(made, name, name);
                }
            }
            made.session = sessions.then(|| "s".into());
            story.push((made, at));
        }
        let delays: Vec<i64> = story.iter().map(|_| dice.delay(GRACE)).collect();
        let comes = delayed(&story, &delays);
        let (holds, _) = whole(std::slice::from_ref(&model), &comes, usize::MAX, &[Fate::Nothing]);
        let left = holds.iter().find(|outcome| matches!(outcome.what, What::Abandonment { .. }));
        let shown = |(touchpoint, _): &Entered| {
            format!("{} {} {:?} {:?}", touchpoint.event_time, touchpoint.kind, touchpoint.session, touchpoint.properties)
        };
        let shown = story.iter().map(shown).collect::<Vec<_>>();
        assert!(left.is_none(), "run {run}: {shown:#?}\n{:?}", left.map(|left| &left.what));
    }
}

/// Somebody who never rests: the anchor moves on under way, and what comes late is put in place all the same.
#[test]
fn steady_activity_is_told_in_order_with_a_bounded_window() {
    for (seed, grace, most_late) in [(1, 600, 100), (2, 60, 60), (3, 86_400, 200)] {
        let grace = Span::from_secs(grace);
        let mut dice = Dice::new(seed);
        let kinds = ["cart.added", "cart.viewed", "page.viewed", "product.viewed", "checkout.started", "order.completed"];
        let story: Vec<Entered> = (0..1_200)
            .map(|number| {
                let at = START + Span::from_secs(number);
                let kind = kinds[dice.between(0, 5) as usize];
                let made = touchpoint("a", kind, at, &format!("t{number}"));
                (with_id(made, "cart_id", &dice.between(0, 3).to_string()), at)
            })
            .collect();
        let delays: Vec<i64> = story.iter().map(|_| dice.between(0, 1) * dice.between(0, most_late * 1_000)).collect();
        let end = START + Span::from_secs(1_200) + grace + Span::from_secs(1);
        let comes = with_end(delayed(&story, &delays), end);
        let models = [baskets(), five_stages()];
        let settings = Settings { settle: Span::ZERO, grace, ..Settings::default() };
        let run = |story: &[Entered]| {
            let (outcomes, mut world) = decide_with(settings.clone(), &models, story, &[Fate::Nothing, Fate::Commit]);
            let steps = world.shard.take_counts().steps;
            ((net(&outcomes), unnumbered(world.customers())), steps)
        };
        let ((came, steps), (expected, _)) = (run(&comes), run(&with_end(story.clone(), end)));
        assert!(steps.out_of_order > 100 && steps.late == 0, "{steps:?}");
        assert!(came == expected, "grace {grace}: {steps:?}");
    }
}

/// What a device has gathered comes at once, and after something newer: each of it is out of order, and the window has an end all
/// the same.
#[test]
fn a_window_that_only_ever_grows_out_of_order_has_an_end() {
    let count = 3_000;
    let of = |number: i64| {
        let made = touchpoint("a", "page.viewed", START + Span::from_millis(number), &format!("t{number}"));
        (made, START + Span::from_secs(120) + Span::from_millis(number))
    };
    let newest = (touchpoint("a", "cart.added", START + Span::from_secs(60), "new"), START + Span::from_secs(60));
    // A repeat of any that is still in the window is one.
    let (repeat, log_time) = of(count - 100);
    let repeat = (repeat, log_time + Span::from_secs(60));
    let story: Vec<Entered> = std::iter::once(newest).chain((0..count).map(of)).chain([repeat]).collect();
    let settings = Settings { settle: Span::ZERO, grace: Span::from_secs(600), ..Settings::default() };
    let (_, mut world) = decide_with(settings, &[baskets()], &story, &[Fate::Commit]);
    let counts = world.shard.take_counts();
    let steps = counts.steps;
    // All are told in order, as each of the older half is older than those that come. A window holds 512 at most.
    assert_eq!((steps.out_of_order, steps.late, counts.duplicates), (count as u64, 0, 1), "{steps:?}");
    assert!(steps.applied_again < count as u64 * 2 * 513, "{steps:?}");
}

/// A few numbers that are the same in each run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Dice(seed)
    }

    pub(crate) fn between(&mut self, least: i64, most: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        least + ((mixed ^ (mixed >> 31)) % (most - least + 1) as u64) as i64
    }

    pub(crate) fn chance(&mut self, percent: i64) -> bool {
        self.between(1, 100) <= percent
    }

    /// Nothing, a little, or anything up to the grace.
    pub(crate) fn delay(&mut self, grace: Span) -> i64 {
        match self.between(0, 3) {
            0 => 0,
            1 => self.between(0, 60_000).min(grace.as_millis()),
            _ => self.between(0, grace.as_millis()),
        }
    }
}

/// However late it is told that a basket had been bought in time: whatever was published of its absence is taken back under its id,
/// each time that it was told.
#[test]
fn each_telling_of_an_absence_is_taken_back_under_its_own_id() {
    let model = good_model(
        "reminders.yaml",
        "sillage: 1
model: reminders
stages: { shopping: { enter: page.viewed } }
episodes:
  basket:
    { known by: [cart_id, customer], opens: cart.added, completes: order.completed, abandoned after: 1h, every: 1d, at most: 4 }
",
    );
    for (opening, minutes, told) in [(None, 30, 0), (Some("A"), 30, 0), (None, 60 + 24 * 60 + 1, 2), (None, 60 + 48 * 60, 3)]
    {
        let happens = |kind: &str, minutes: i64, id: &str| {
            let mut touchpoint = touchpoint("anna", kind, START + Span::from_secs(60 * minutes), id);
            if let Some(cart) = opening {
                touchpoint.properties.push(("cart_id".into(), sillage::touchpoint::Value::Text(cart.into())));
            }
            touchpoint
        };
        let comes = |days: i64| START + Span::from_days(days);
        let bought = happens("order.completed", minutes, "t-2");
        let story = [
            (happens("cart.added", 0, "t-1"), START),
            (bought, comes(3)),
            (happens("nothing", 24 * 60 * 9, "t-3"), comes(9)),
        ];
        let (outcomes, _) = decide_with(settings(usize::MAX), std::slice::from_ref(&model), &story, &[Fate::Nothing]);
        let published = outcomes.iter().filter(|outcome| matches!(outcome.what, What::Abandonment { .. })).count();
        assert_eq!(published, 3, "{outcomes:#?}");
        let holds = net(&outcomes);
        let left = holds.iter().filter(|outcome| matches!(outcome.what, What::Abandonment { .. })).count();
        assert_eq!(left, told, "bought after {minutes} minutes: {holds:#?}");
    }
}
