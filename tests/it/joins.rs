//! An anonymous journey joins a customer's (rule 19): whatever the order of arrival within the grace, what holds at last is
//! what holds when everything comes in the order of events; and splits, aborts and restores change nothing.

use std::sync::Arc;

use proptest::prelude::*;
use sillage::journey::{Customer, Outcome, Passed, What};
use sillage::model::Model;
use sillage::shard::{Customers, Settings};
use sillage::time::Span;
use sillage::touchpoint::{Identity, Touchpoint};

use crate::any_order::{GRACE, delayed, delays, in_order, net, settings, unnumbered, with_end};
use crate::laws::{Entered, Fate, baskets, cases, decide_with, fates, five_stages};
use crate::world::{START, World, after, good_model, sentences, touchpoint, with_id};

/// Who acts, and which anonymous ids are whose: no two customers claim one.
const PEOPLE: [(&str, &[&str]); 2] = [("c-1", &["a-1", "a-2"]), ("c-2", &["a-3"])];

/// What `five-stages` forwards.
const REFERRAL: &str = "referral.used";

#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Which of the customers, and which of its names: 0 the customer id, then its anonymous ids.
    who: (u8, u8),
    /// The touchpoint names an anonymous id beside the customer id.
    links: Option<u8>,
    kind: &'static str,
    gap: i64,
    cart: Option<u8>,
    session: Option<u8>,
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let kinds = ["page.viewed", "product.viewed", "cart.added", "cart.viewed", "cart.emptied", "payment.failed", "login"];
    let kind = prop_oneof![3 => prop::sample::select(kinds.to_vec()), 1 => Just("order.completed"), 1 => Just("cart.added"), 1 => Just(REFERRAL)];
    // No two happen in one millisecond: which of them came first would be told by the order of arrival.
    let gap = prop_oneof![3 => 1..60_000_i64, 2 => 60_000..900_000_i64, 1 => 900_000..7_200_000_i64];
    let who = (0..2_u8, 0..3_u8);
    (who, prop::option::weighted(0.6, 0..2_u8), kind, gap, prop::option::of(0..3_u8), prop::option::of(0..2_u8))
        .prop_map(|(who, links, kind, gap, cart, session)| Step { who, links, kind, gap, cart, session })
}

pub(crate) fn story(steps: &[Step]) -> Vec<Entered> {
    let mut now = START;
    let made = steps.iter().enumerate().map(|(number, step)| {
        now = now + Span::from_millis(step.gap);
        let (customer, anonymous) = PEOPLE[usize::from(step.who.0)];
        let mut made = touchpoint(customer, step.kind, now, &format!("t{number}"));
        match step.who.1.checked_sub(1) {
            Some(place) => made.identity = Identity::anonymous(anonymous[usize::from(place) % anonymous.len()]),
            None => made.linked = step.links.map(|place| anonymous[usize::from(place) % anonymous.len()].into()),
        }
        if step.kind == REFERRAL {
            // It concerns the other of the two.
            made = with_id(made, "giver_id", PEOPLE[1 - usize::from(step.who.0)].0);
        }
        made.session = step.session.map(|session| format!("s{session}").into());
        if let Some(cart) = step.cart {
            // Carts are a customer's own.
            made = with_id(made, "cart_id", &format!("{customer} {cart}"));
        }
        (made, now)
    });
    made.collect()
}

/// What holds at last, and everybody's state but for where anonymous ids lead.
fn whole(models: &[Arc<Model>], story: &[Entered], settings: Settings, fates: &[Fate]) -> (Vec<Outcome>, Vec<Customer>) {
    let (outcomes, mut world) = decide_with(settings, models, story, fates);
    (net(&outcomes), known(&mut world))
}

fn known(world: &mut World) -> Vec<Customer> {
    unnumbered(world.customers())
}

/// `JOINS_CASES` asks for more than CI runs.
fn cases_wanted() -> u32 {
    std::env::var("JOINS_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(300)
}

proptest! {
    #![proptest_config(cases(cases_wanted()))]

    #[test]
    fn whatever_the_order_of_arrival_joined_journeys_are_what_happened(
        steps in prop::collection::vec(step(), 1..30),
        delays in delays(),
    ) {
        let happened = story(&steps);
        let end = happened.last().map_or(START, |(_, at)| *at) + GRACE + Span::from_secs(1);
        let comes = with_end(delayed(&happened, &delays), end);
        let models = [baskets(), five_stages()];
        let at_once = settings(usize::MAX);
        let (holds, state) = whole(&models, &comes, at_once.clone(), &[Fate::Nothing]);
        let sorted = with_end(in_order(&comes[..comes.len() - 1]), end);
        let (expected, expected_state) = whole(&models, &sorted, at_once, &[Fate::Nothing]);
        prop_assert_eq!(holds, expected);
        prop_assert_eq!(state, expected_state);
    }

    #[test]
    fn splits_and_aborts_change_no_join(
        steps in prop::collection::vec(step(), 1..30),
        delays in delays(),
        fates in fates(),
        size in 1..20_usize,
    ) {
        let comes = delayed(&story(&steps), &delays);
        let models = [baskets(), five_stages()];
        let (at_once, mut world) = decide_with(settings(usize::MAX), &models, &comes, &[Fate::Nothing]);
        let (split, mut other) = decide_with(settings(size), &models, &comes, &fates);
        prop_assert_eq!(split, at_once);
        prop_assert_eq!(known(&mut world), known(&mut other));
    }

    #[test]
    fn a_restore_between_changes_no_join(
        steps in prop::collection::vec(step(), 2..30),
        delays in delays(),
        place in any::<prop::sample::Index>(),
    ) {
        let comes = delayed(&story(&steps), &delays);
        let models = [baskets(), five_stages()];
        let end = comes.last().map_or(START, |(_, at)| *at) + Span::from_days(2);
        let give = |world: &mut World, story: &[Entered]| {
            story.iter().for_each(|(touchpoint, at)| world.give(0, touchpoint.clone(), *at));
        };
        let mut whole = World::new(&models, settings(usize::MAX), 1);
        give(&mut whole, &comes);
        whole.quiet_until(0, end);
        let (before, after) = comes.split_at(place.index(comes.len()));
        let mut world = World::new(&models, settings(usize::MAX), 1);
        give(&mut world, before);
        if let Some((_, at)) = before.last() {
            world.quiet_until(0, *at);
        }
        world.commit();
        let mut outcomes = world.take_outcomes();
        // Whole images, as the state log holds them: without the dictionary of the shard before.
        let customers: Customers = world.shard.customers().all().into_iter().collect();
        let mut world = World::going_on(&models, settings(usize::MAX), customers, world.shard.committed().clone());
        give(&mut world, after);
        world.quiet_until(0, end);
        outcomes.extend(world.take_outcomes());
        prop_assert_eq!(outcomes, whole.take_outcomes());
        prop_assert_eq!(known(&mut world), known(&mut whole));
    }
}

/// A basket of somebody anonymous that the customer bought is never abandoned at last, whichever of the three comes when.
#[test]
fn a_bought_basket_is_not_abandoned_in_any_order_of_arrival() {
    let models = [baskets()];
    let at = |seconds: i64| START + Span::from_secs(seconds);
    let mut basket = with_id(touchpoint("", "cart.added", at(60), "basket"), "cart_id", "A");
    basket.identity = Identity::anonymous("a-1");
    let mut login = touchpoint("c-1", "login", at(120), "login");
    login.linked = Some("a-1".into());
    let order = with_id(touchpoint("c-1", "order.completed", at(180), "order"), "cart_id", "A");
    let all: [&Touchpoint; 3] = [&basket, &login, &order];
    for order_of_arrival in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let comes: Vec<Entered> =
            (0..3).map(|place| (all[order_of_arrival[place]].clone(), at(300 + place as i64 * 100))).collect();
        let (outcomes, _) = decide_with(settings(usize::MAX), &models, &with_end(comes, at(86_400)), &[Fate::Nothing]);
        let holds = net(&outcomes);
        let told: Vec<String> = holds.iter().map(|outcome| format!("{}: {outcome}", outcome.identity.id)).collect();
        assert!(!told.iter().any(|told| told.contains("abandons basket")), "{order_of_arrival:?}: {told:?}");
        assert!(told.contains(&"c-1: completes basket A".to_owned()), "{order_of_arrival:?}: {told:?}");
        assert!(told.iter().any(|told| told.starts_with("c-1: joins a-1")), "{order_of_arrival:?}: {told:?}");
    }
}

/// Erasing either of the two erases both, and what the anonymous id does later is a stranger's.
/// A login that brings more baskets than are kept: each of them that ends is told, and none of its ids completes another.
#[test]
fn baskets_that_find_no_room_at_a_login_are_told() {
    let started = |at: i64| START + Span::from_secs(at);
    let cart = |who: Identity, number: i64, at: i64| {
        let mut made =
            with_id(touchpoint("c", "cart.added", started(at), &format!("t{number}")), "cart_id", &format!("C{number}"));
        made.identity = who;
        (made, started(at))
    };
    let customer = (0..40).map(|number| cart(Identity::customer("c"), number, number));
    let device = (40..80).map(|number| cart(Identity::anonymous("a"), number, number));
    let mut login = touchpoint("c", "login", started(90), "login");
    login.linked = Some("a".into());
    let order = with_id(touchpoint("c", "order.completed", started(100), "order"), "cart_id", "C0");
    let last = [(login, started(90)), (order, started(100))];
    let story: Vec<Entered> = customer.chain(device).chain(last).collect();
    let settings = Settings { settle: Span::ZERO, ..settings(usize::MAX) };
    let (outcomes, mut world) = decide_with(settings, &[baskets()], &story, &[Fate::Commit]);
    let count = |fits: &dyn Fn(&What) -> bool| outcomes.iter().filter(|outcome| fits(&outcome.what)).count();
    assert_eq!(
        count(&|what| matches!(what, What::Abandonment { passed: Passed::Room, .. })),
        16,
        "{}",
        sentences(&outcomes)
    );
    assert_eq!(count(&|what| matches!(what, What::Completion { .. })), 0, "C0 had ended: its purchase is no other's");
    assert_eq!(world.shard.take_counts().steps.noticed.episodes, 16);
}

#[test]
fn erasure_takes_the_customer_and_the_anonymous_ids_that_joined() {
    use sillage::shard::{Body, Buffered, Erasure, ErasureScope, Input};
    for who in [Identity::customer("c-1"), Identity::anonymous("a-1")] {
        let mut world = World::new(&[baskets()], settings(usize::MAX), 1);
        let anonymous =
            |kind: &str, at, id: &str| Touchpoint { identity: Identity::anonymous("a-1"), ..touchpoint("", kind, at, id) };
        let at = |minutes: i64| START + Span::from_secs(60 * minutes);
        world.give(0, anonymous("cart.added", at(0), "1"), at(0));
        world.give(0, Touchpoint { linked: Some("a-1".into()), ..touchpoint("c-1", "login", at(1), "2") }, at(1));
        world.quiet_until(0, at(2));
        assert_eq!(world.customers().len(), 2);
        let erasure = Erasure { who: vec![who.clone()], scope: ErasureScope::AllShards };
        let record = Buffered { offset: world.next_offset(0), log_time: at(3), body: Body::Erasure(Box::new(erasure)) };
        world.tell(Input::Record { input: 0, record });
        world.quiet_until(0, at(4));
        world.commit();
        assert_eq!(world.customers(), Vec::<Customer>::new(), "{who:?}");
        world.give(0, anonymous("cart.added", at(5), "3"), at(5));
        world.quiet_until(0, at(6));
        let left: Vec<Identity> = world.customers().into_iter().map(|customer| customer.identity).collect();
        assert_eq!(left, [Identity::anonymous("a-1")]);
    }
}

/// What was told again and again of a device is taken back by its own ids when the customer turns out to have bought before.
#[test]
fn each_telling_of_an_absence_is_taken_back_by_the_id_under_which_it_was_told() {
    let text = "sillage: 1\nmodel: reminders\nstages:\n  looking: { enter: page.viewed }\nepisodes:\n  basket:\n    \
                { known by: [cart_id, customer], opens: cart.added, completes: order.completed, abandoned after: 1h, every: 1d }\n";
    let mut world = World::new(&[good_model("reminders.yaml", text)], settings(usize::MAX), 1);
    let cart = |who: &str, kind: &str, at: &str, id: &str| with_id(touchpoint(who, kind, after(at), id), "cart_id", "A");
    let mut begun = cart("", "cart.added", "0h", "t1");
    begun.identity = Identity::anonymous("device");
    let mut login = touchpoint("c-1", "login", after("1d 2h"), "t2");
    login.linked = Some("device".into());
    let mut told = Vec::new();
    for (made, at) in [(begun, "0h"), (login, "1d 2h"), (cart("c-1", "order.completed", "30m", "t3"), "1d 20h")] {
        world.quiet_until(0, after(at));
        world.give(0, made, after(at));
        world.quiet_until(0, after(at));
        told.extend(world.take_outcomes());
    }
    let (taken_back, stood): (Vec<&Outcome>, Vec<&Outcome>) = told.iter().partition(|outcome| outcome.what.is_retraction());
    let abandoned = |outcome: &&&Outcome| matches!(outcome.what, What::Abandonment { .. });
    let abandonments: Vec<_> = stood.iter().filter(abandoned).map(|outcome| (outcome.at, outcome.id)).collect();
    let mut retracted: Vec<_> = taken_back.iter().map(|outcome| (outcome.at, outcome.id)).collect();
    retracted.sort_unstable();
    assert!(abandonments.len() == 2 && retracted == abandonments, "{}", sentences(&told));
}
