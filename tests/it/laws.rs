//! What holds for every input: random stories of several customers, under aborts, splits, partitions and models.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use sillage::journey::{Outcome, Subject, What};
use sillage::model::Model;
use sillage::shard::{Input, Settings};
use sillage::time::{Span, Timestamp};
use sillage::touchpoint::{Currency, Identity, Money, Touchpoint, Value};

use crate::world::{START, World, good_model, touchpoint, with_id};

const SPAN: Span = Span::from_secs(1_800);
const QUIET: Span = Span::from_secs(3_600);

const BASKETS: &str = "\
sillage: 1
model: baskets
stages:
  look: { enter: [page.viewed, product.viewed], quiet: 1h }
  decide: { enter: [cart.added, checkout.started], quiet: 1h, back: { look: cart.emptied } }
  keep: { enter: order.completed, quiet: 1h, again: product.viewed }
episodes:
  basket:
    known by: [cart_id, checkout_id, order_id, session, customer]
    opens: cart.added
    progresses: [cart.viewed, checkout.started]
    completes: order.completed
    worth: value
    abandoned after: 30m
    recovered within: 2h
  visit: { known by: session, opens: [page.viewed, product.viewed], abandoned after: 30m }
  checkout: { known by: customer, opens: checkout.started, completes: order.completed, abandoned after: 30m }
";

pub(crate) fn baskets() -> Arc<Model> {
    good_model("baskets", BASKETS)
}

pub(crate) fn five_stages() -> Arc<Model> {
    good_model("five-stages", include_str!("../../models/five-stages.yaml"))
}

/// A touchpoint and when it entered the log.
pub(crate) type Entered = (Touchpoint, Timestamp);

#[derive(Clone, Debug)]
pub(crate) struct Step {
    who: u8,
    kind: &'static str,
    /// Since the step before.
    gap: i64,
    /// From happening to entering the log.
    delay: i64,
    cart: Option<u8>,
    checkout: Option<u8>,
    order: Option<u8>,
    session: Option<u8>,
    worth: Option<u8>,
    repeats: bool,
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let kinds = [
        "page.viewed",
        "product.viewed",
        "cart.added",
        "cart.viewed",
        "cart.emptied",
        "checkout.started",
        "checkout.step",
        "coupon.denied",
        "payment.failed",
        "question.asked",
        "order.completed",
        "survey.answered",
        "weather.changed",
    ];
    // Instants that meet deadlines exactly, come a moment before or after, or lie anywhere.
    let gap = prop_oneof![
        4 => 0..600_000_i64,
        2 => Just(0_i64),
        2 => prop::sample::select(vec![1_799_999_i64, 1_800_000, 1_800_001, 3_600_000, 7_200_000, 86_400_000]),
        1 => 0..20_000_000_i64,
    ];
    let delay = prop_oneof![6 => Just(0_i64), 2 => 0..60_001_i64, 1 => 0..8_000_000_i64];
    let id = || prop::option::weighted(0.4, 0..3_u8);
    let what = (0..3_u8, prop::sample::select(kinds.to_vec()), gap, delay, prop::bool::weighted(0.1));
    (what, id(), id(), id(), id(), prop::option::of(1..90_u8)).prop_map(
        |((who, kind, gap, delay, repeats), cart, checkout, order, session, worth)| Step {
            who,
            kind,
            gap,
            delay,
            cart,
            checkout,
            order,
            session,
            worth,
            repeats,
        },
    )
}

/// Steps as what entered the log, at log times that never decrease.
pub(crate) fn story(steps: &[Step]) -> Vec<Entered> {
    let mut now = START;
    let mut entered: Vec<Entered> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        now = now + Span::from_millis(step.gap);
        let who = if step.who == 0 { Identity::anonymous("1") } else { Identity::customer(step.who.to_string()) };
        let mut made = touchpoint("", step.kind, now - Span::from_millis(step.delay), &format!("t{number}"));
        made.identity = who;
        made.session = step.session.map(|session| format!("s{session}").into());
        for (name, value) in [("cart_id", step.cart), ("checkout_id", step.checkout), ("order_id", step.order)] {
            if let Some(value) = value {
                made = with_id(made, name, &value.to_string());
            }
        }
        if let Some(worth) = step.worth {
            made = with_id(made, "currency", "EUR");
            // Amounts on both sides of what the model calls dear, and answers on both sides of what it calls unhappy.
            made.properties.push(("value".into(), Value::Number(f64::from(worth) * 8.0)));
            made.properties.push(("nps".into(), Value::Number(f64::from(worth % 11))));
            made.properties.push(("total".into(), Value::Number(f64::from(worth) * 8.0)));
            made.properties.sort_by(|one, other| one.0.cmp(&other.0));
        }
        if let Some((earlier, _)) = entered.last().filter(|_| step.repeats) {
            // Repeats are told for a day.
            let first = entered.iter().find(|(other, _)| other.id == earlier.id).map_or(now, |(_, log_time)| *log_time);
            if now < first + Span::from_days(1) {
                made = earlier.clone();
            }
        }
        entered.push((made, now));
    }
    entered
}

/// In the order in which they come; `any_order.rs` says what holds beyond that.
fn settings(decisions: usize) -> Settings {
    Settings { settle: Span::ZERO, grace: Span::ZERO, decisions_per_transaction: decisions, ..Settings::default() }
}

/// What a worker does after a record, besides committing what is full.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    Nothing,
    Commit,
    Abort,
    AbortPrepared,
}

pub(crate) fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![4 => Just(Fate::Nothing), 1 => Just(Fate::Commit), 1 => Just(Fate::Abort), 1 => Just(Fate::AbortPrepared)];
    prop::collection::vec(fate, 1..8)
}

/// A worker that keeps what is committed and throws away what is undone.
struct Worker {
    world: World,
    committed: Vec<Outcome>,
    open: Vec<Outcome>,
}

impl Worker {
    fn obey(&mut self) {
        let stream_time = self.world.shard.stream_time();
        for outcome in self.world.take_outcomes() {
            assert!(outcome.cause.is_some() || Some(outcome.at) <= stream_time, "decided before its time: {outcome:?}");
            self.open.push(outcome);
        }
    }

    fn commit(&mut self) {
        self.world.tell(Input::Prepare);
        self.committed.append(&mut self.open);
        self.world.tell(Input::Committed);
        self.obey();
    }

    fn abort(&mut self) {
        self.open.clear();
        self.world.take_outcomes();
        self.world.tell(Input::Aborted);
        self.obey();
    }

    fn settle(&mut self, fate: Fate) {
        match fate {
            Fate::Nothing => {}
            Fate::Commit => self.commit(),
            Fate::Abort => self.abort(),
            Fate::AbortPrepared => {
                self.world.tell(Input::Prepare);
                self.abort();
            }
        }
        while self.world.shard.is_full() {
            self.commit();
        }
    }
}

/// Outcomes and final state of a story, followed by two days of silence.
fn decide(models: &[Arc<Model>], story: &[Entered], decisions: usize, fates: &[Fate]) -> (Vec<Outcome>, Vec<u8>) {
    let (outcomes, mut world) = decide_with(settings(decisions), models, story, fates);
    (outcomes, world.state())
}

/// The same with these settings, and what is left.
pub(crate) fn decide_with(
    settings: Settings,
    models: &[Arc<Model>],
    story: &[Entered],
    fates: &[Fate],
) -> (Vec<Outcome>, World) {
    let world = World::new(models, settings, 1);
    let mut worker = Worker { world, committed: Vec::new(), open: Vec::new() };
    let mut fates = fates.iter().cycle().copied();
    for (touchpoint, log_time) in story {
        worker.world.give(0, touchpoint.clone(), *log_time);
        worker.obey();
        worker.settle(fates.next().unwrap_or(Fate::Nothing));
    }
    let end = story.last().map_or(START, |(_, log_time)| *log_time) + Span::from_days(2);
    loop {
        worker.world.quiet_until(0, end);
        worker.obey();
        if !worker.world.shard.is_dirty() {
            break;
        }
        worker.settle(fates.next().unwrap_or(Fate::Nothing));
        worker.commit();
    }
    (worker.committed, worker.world)
}

fn whole(models: &[Arc<Model>], story: &[Entered]) -> (Vec<Outcome>, Vec<u8>) {
    decide(models, story, usize::MAX, &[Fate::Nothing])
}

pub(crate) fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn the_same_input_gives_the_same_bytes(steps in prop::collection::vec(step(), 1..40)) {
        let story = story(&steps);
        let models = [baskets(), five_stages()];
        prop_assert_eq!(whole(&models, &story), whole(&models, &story));
    }

    #[test]
    fn splitting_into_transactions_changes_nothing(steps in prop::collection::vec(step(), 1..40), size in 1..7_usize) {
        let story = story(&steps);
        let models = [baskets(), five_stages()];
        prop_assert_eq!(decide(&models, &story, size, &[Fate::Nothing]), whole(&models, &story));
    }

    #[test]
    fn aborts_change_nothing(steps in prop::collection::vec(step(), 1..40), fates in fates(), size in 1..30_usize) {
        let story = story(&steps);
        let models = [baskets(), five_stages()];
        prop_assert_eq!(decide(&models, &story, size, &fates), whole(&models, &story));
    }

    #[test]
    fn no_customer_notices_the_others(steps in prop::collection::vec(step(), 1..40)) {
        let story = story(&steps);
        let models = [baskets(), five_stages()];
        let (together, _) = whole(&models, &story);
        let end = story.last().map(|(_, log_time)| *log_time);
        let whos: BTreeSet<Identity> = story.iter().map(|(touchpoint, _)| touchpoint.identity.clone()).collect();
        for who in whos {
            let mut alone: Vec<Entered> = story.iter().filter(|(touchpoint, _)| touchpoint.identity == who).cloned().collect();
            // Somebody else marks the end, so that both stories last equally long.
            alone.extend(end.map(|end| (touchpoint("nobody", "weather.changed", end, "end"), end)));
            let (alone, _) = whole(&models, &alone);
            let among_others: Vec<_> = together.iter().filter(|outcome| outcome.identity == who).cloned().collect();
            prop_assert_eq!(alone, among_others);
        }
    }

    #[test]
    fn two_models_say_what_each_says_alone(steps in prop::collection::vec(step(), 1..40)) {
        let story = story(&steps);
        let (both, _) = whole(&[baskets(), five_stages()], &story);
        for model in [baskets(), five_stages()] {
            let of_it: Vec<_> = both.iter().filter(|outcome| outcome.model == model.name).cloned().collect();
            prop_assert_eq!(whole(&[model], &story).0, of_it);
        }
    }

    #[test]
    fn outcomes_are_numbered_named_and_in_time(steps in prop::collection::vec(step(), 1..40)) {
        let (outcomes, _) = whole(&[baskets(), five_stages()], &story(&steps));
        let mut next: BTreeMap<(Identity, String), u64> = BTreeMap::new();
        let mut ids = BTreeSet::new();
        let mut abandonments = BTreeMap::new();
        for outcome in &outcomes {
            let sequence = next.entry((outcome.identity.clone(), outcome.model.to_string())).or_insert(1);
            prop_assert_eq!(outcome.sequence, *sequence);
            *sequence += 1;
            prop_assert!(ids.insert(outcome.id) || outcome.what.is_retraction(), "an id twice: {:?}", outcome);
            if let What::Abandonment { about, .. } = &outcome.what {
                abandonments.insert(outcome.id, outcome.at);
                let span = match &about.subject {
                    Subject::Stage(_) | Subject::Session(_) | Subject::Journey => QUIET,
                    Subject::Episode { .. } => SPAN,
                };
                if outcome.model == "baskets" {
                    prop_assert!(outcome.at >= about.opened_at + span && outcome.at >= about.last_progress_at + span, "{:?}", outcome);
                }
            }
            if let Some(answers) = outcome.what.answers() {
                prop_assert_eq!(abandonments.get(&answers.id), Some(&answers.at), "answers what was not published");
            }
        }
    }

    #[test]
    fn nothing_is_said_about_a_basket_after_its_purchase(
        touchpoints in prop::collection::vec((0..4_usize, 0..5_000_000_i64, 0..4_000_000_i64, prop::option::of(0..3_u8), prop::option::of(0..3_u8)), 1..12),
        paid in (0..12_usize, 0..3_000_000_i64, prop::option::of(0..3_u8)),
        any_progress in prop::bool::ANY,
    ) {
        let progresses = if any_progress { "any" } else { "[cart.viewed, checkout.started, order.completed]" };
        let model = good_model("purchase", &format!(
            "sillage: 1\nmodel: purchase\nstages: {{ shopping: {{ enter: page.viewed }} }}\nepisodes:\n  basket: {{ known by: \
             [cart_id, checkout_id, order_id, customer], opens: cart.added, progresses: {progresses}, completes: \
             order.completed, abandoned after: 30m }}\n"));
        let mut now = START;
        let mut all = Vec::new();
        for (number, (kind, gap, delay, checkout, order)) in touchpoints.iter().enumerate() {
            now = now + Span::from_millis(*gap);
            if number == paid.0 % touchpoints.len() {
                let made = with_id(touchpoint("a", "order.completed", now - Span::from_millis(paid.1), "paid"), "cart_id", "A");
                all.push((match paid.2 { Some(id) => with_id(made, "order_id", &id.to_string()), None => made }, now));
            }
            let kind = ["cart.added", "cart.viewed", "checkout.started", "weather.changed"][*kind];
            let mut made = with_id(touchpoint("a", kind, now - Span::from_millis(*delay), &number.to_string()), "cart_id", "A");
            if let Some(id) = checkout { made = with_id(made, "checkout_id", &id.to_string()); }
            if let Some(id) = order { made = with_id(made, "order_id", &id.to_string()); }
            all.push((made, now));
        }
        let (outcomes, _) = whole(std::slice::from_ref(&model), &all);
        let paid_at = all.iter().position(|(touchpoint, _)| touchpoint.id == "paid").expect("paid");
        let until_paid = {
            let world = World::new(&[model], settings(usize::MAX), 1);
            let mut worker = Worker { world, committed: Vec::new(), open: Vec::new() };
            for (touchpoint, log_time) in &all[..=paid_at] {
                worker.world.give(0, touchpoint.clone(), *log_time);
                worker.obey();
            }
            worker.open.len()
        };
        for late in &outcomes[until_paid..] {
            let says = matches!(late.what, What::Transition { .. } | What::Retraction { .. });
            prop_assert!(says, "said after the purchase: {late}");
        }
    }

    #[test]
    fn whatever_the_order_of_its_names_a_purchase_leaves_nothing_open(
        touchpoints in prop::collection::vec((0..3_usize, 0..100_000_i64, 1..8_usize), 1..10),
        paid in (0..10_usize, 1..8_usize),
    ) {
        // Cart, checkout and order are one thing, told so at last; before that, touchpoints name any of the three.
        let model = good_model("names", "sillage: 1\nmodel: names\nstages: { shopping: { enter: page.viewed } }\nepisodes:\n  \
            basket: { known by: [cart_id, checkout_id, order_id, customer], opens: cart.added, progresses: [cart.viewed, \
            checkout.started], completes: order.completed, abandoned after: 30m }\n");
        let named = |made: Touchpoint, names: usize| {
            let chain = ["cart_id", "checkout_id", "order_id"].into_iter().enumerate();
            chain.filter(|(at, _)| names & (1 << at) != 0).fold(made, |made, (_, name)| with_id(made, name, "x"))
        };
        let mut now = START;
        let mut all = Vec::new();
        for (number, (kind, gap, names)) in touchpoints.iter().enumerate() {
            now = now + Span::from_millis(*gap);
            if number == paid.0 % touchpoints.len() {
                all.push((named(touchpoint("a", "order.completed", now, "paid"), paid.1), now));
            }
            let kind = ["cart.added", "cart.viewed", "checkout.started"][*kind];
            all.push((named(touchpoint("a", kind, now, &number.to_string()), *names), now));
        }
        all.push((named(touchpoint("a", "cart.viewed", now, "told at last"), 7), now));
        let (outcomes, _) = whole(&[model], &all);
        let other: Vec<_> = outcomes.iter().filter(|outcome| !matches!(outcome.what, What::Completion { .. })).collect();
        prop_assert!(other.is_empty(), "{:?}", other);
    }

    #[test]
    fn nothing_older_than_the_purchase_opens_a_basket_of_the_customer(
        touchpoints in prop::collection::vec((0..2_usize, 1..4_000_000_i64, 0..600_000_i64), 1..12),
    ) {
        let model = good_model("purchase", "sillage: 1\nmodel: purchase\nstages: { shopping: { enter: page.viewed } }\nepisodes:\n  \
            basket: { known by: [cart_id, session, customer], opens: cart.added, completes: order.completed, abandoned after: 30m }\n");
        let paid = START + Span::from_millis(5_000_000);
        let mut all = vec![(touchpoint("a", "order.completed", paid, "paid"), paid)];
        let mut now = paid;
        for (number, (session, before, gap)) in touchpoints.iter().enumerate() {
            now = now + Span::from_millis(*gap);
            let mut late = touchpoint("a", "cart.added", paid - Span::from_millis(*before), &number.to_string());
            late.session = (*session > 0).then(|| "s".into());
            all.push((late, now));
        }
        prop_assert_eq!(whole(&[model], &all).0, vec![]);
    }
}

#[test]
fn worth_is_money_only_with_a_currency() {
    let euro = Currency::parse("EUR").expect("a currency");
    let bought = |with: &[(&str, Value)]| {
        let mut added = touchpoint("a", "cart.added", START, "1");
        added.properties = with.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
        let (outcomes, _) = whole(&[baskets()], &[(added, START)]);
        outcomes.iter().find(|outcome| matches!(outcome.what, What::Abandonment { .. })).and_then(|outcome| outcome.value)
    };
    assert_eq!(bought(&[("currency", Value::Text("EUR".into())), ("value", Value::Number(5.0))]), Money::new(5.0, euro));
    assert_eq!(bought(&[("value", Value::Number(5.0))]), None);
}
