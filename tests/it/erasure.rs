//! Customers who are erased, and customers who stay away for so long that they are forgotten (rule 28): nothing is left of
//! them, nothing fires, and undoing brings them back.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use sillage::journey::Outcome;
use sillage::model::Model;
use sillage::shard::{
    Action, Body, Buffered, Control, Customers, Erasure, ErasureScope, Input, Position, Progress, Settings, StateLog,
};
use sillage::time::{Span, Timestamp};
use sillage::touchpoint::{Identity, Touchpoint};

use sillage::wire::state;

use crate::world::{NOWHERE, START, World, after, encoded, good_model, sentences, touchpoint, with_id};

const MODEL: &str = "\
sillage: 1
model: baskets
stages:
  look: { enter: page.viewed, quiet: 1d }
  decide: { enter: { 3 of: cart.added, within: 2d } }
episodes:
  basket: { known by: [cart_id, customer], opens: cart.added, completes: order.completed, abandoned after: 30m, recovered within: 2h }
";

fn baskets() -> Arc<Model> {
    good_model("baskets", MODEL)
}

fn settings() -> Settings {
    Settings { settle: Span::ZERO, state_log: StateLog::Changes, ..Settings::default() }
}

fn world(settings: Settings) -> World {
    World::new(&[baskets()], settings, 1)
}

/// Asks for an erasure within an input, as the embedded log does.
fn erase(world: &mut World, who: &[Identity], scope: ErasureScope, log_time: Timestamp) {
    let log_time = world.shard.log_time(0, log_time, Timestamp::MAX);
    let body = Body::Erasure(Box::new(Erasure { who: who.to_vec(), scope }));
    let offset = world.next_offset(0);
    world.tell(Input::Record { input: 0, record: Buffered { offset, log_time, body } });
}

/// What the open transaction says about customers.
fn said(world: &mut World) -> Vec<String> {
    let words = |action: &Action| match action {
        Action::Remember(slot) => Some(format!("remember {}", world.shard.identity(*slot).expect("somebody").id)),
        Action::Forget(who) => Some(format!("forget {}", who.id)),
        Action::Announce(who) => Some(format!("announce {:?} {}", who.kind, who.id)),
        Action::Tombstone(who) => Some(format!("tombstone {}", who.id)),
        Action::Publish { .. } | Action::DeadLetter { .. } | Action::HandOver { .. } | Action::Commit(_) => None,
    };
    let said = world.actions.iter().filter_map(words).collect();
    world.actions.clear();
    said
}

#[test]
fn an_erased_customer_is_gone_once_it_is_committed_and_begins_anew_afterwards() {
    let mut world = world(settings());
    world.give(0, touchpoint("a", "cart.added", after("0m"), "1"), after("0m"));
    world.give(0, touchpoint("b", "page.viewed", after("1m"), "2"), after("1m"));
    world.commit();
    said(&mut world);
    erase(&mut world, &[Identity::customer("a")], ErasureScope::AllShards, after("2m"));
    assert_eq!(world.customers().len(), 1, "for the shard it is gone at once");
    world.tell(Input::Prepare);
    assert_eq!(said(&mut world), ["tombstone a", "forget a"]);
    assert_eq!(world.shard.take_counts().erased, 1);
    world.tell(Input::Committed);
    assert_eq!((world.shard.armed(), world.shard.rings(), world.shard.population()), (1, 1, &[vec![1, 0]][..]));
    world.quiet_until(0, after("1h"));
    assert_eq!(sentences(&world.take_outcomes()), "quiet", "its basket is not abandoned any more");
    world.give(0, touchpoint("a", "page.viewed", after("2h"), "3"), after("2h"));
    let outcomes = world.take_outcomes();
    assert_eq!((sentences(&outcomes).as_str(), outcomes[0].sequence), ("enters look", 1));
    let again = world.customers().remove(0);
    assert_eq!((again.touchpoints, again.journeys[0].number, again.journeys[0].started_at), (1, 1, after("2h")));
    // Whoever nobody knows is erased without a word.
    world.commit();
    world.actions.clear();
    erase(&mut world, &[Identity::anonymous("a")], ErasureScope::AllShards, after("3h"));
    world.tell(Input::Prepare);
    assert_eq!((said(&mut world), world.shard.take_counts().erased), (vec![], 1 - 1), "anonymous a is not customer a");
}

#[test]
fn a_touchpoint_that_asks_lets_everybody_hear_and_so_do_the_ids_that_go_with_a_customer() {
    let mut world = world(settings());
    for (at, linked) in [("0m", "cookie-1"), ("1m", "cookie-2")] {
        let mut viewed = touchpoint("a", "page.viewed", after(at), at);
        viewed.linked = Some(linked.into());
        world.give(0, viewed, after(at));
    }
    world.commit();
    said(&mut world);
    erase(&mut world, &[Identity::customer("a"), Identity::anonymous("cookie-2")], ErasureScope::ThisShard, after("2m"));
    let tombstones = ["tombstone a", "tombstone cookie-1", "tombstone cookie-2"];
    let announced = ["announce Anonymous cookie-1", "announce Anonymous cookie-2"];
    let expected = [&["announce Customer a"][..], &tombstones, &announced].concat();
    assert_eq!(said(&mut world), expected);
    // The order comes round to this shard as well, and finds nobody.
    erase(&mut world, &[Identity::customer("a")], ErasureScope::AllShards, after("3m"));
    assert_eq!(said(&mut world), [""; 0]);
    world.give(0, touchpoint("b", "page.viewed", after("4m"), "b"), after("4m"));
    world.tell(Input::Prepare);
    assert_eq!(said(&mut world), ["forget a", "forget cookie-1", "forget cookie-2", "remember b"]);
}

#[test]
fn who_came_and_went_in_one_transaction_was_never_written_but_something_was_published() {
    let mut world = world(settings());
    world.give(0, touchpoint("a", "page.viewed", after("0m"), "1"), after("0m"));
    erase(&mut world, &[Identity::customer("a")], ErasureScope::AllShards, after("1m"));
    world.tell(Input::Prepare);
    assert_eq!(said(&mut world), ["tombstone a"]);
    world.tell(Input::Committed);
    assert_eq!((world.customers().len(), world.shard.rings(), world.shard.refresh()), (0, 0, None));
}

/// Where only the latest record of each key is kept, what is published of somebody who is back must stay.
#[test]
fn a_tombstone_stands_between_what_was_published_before_and_after() {
    let mut world = world(settings());
    world.give(0, touchpoint("a", "page.viewed", after("0m"), "1"), after("0m"));
    erase(&mut world, &[Identity::customer("a")], ErasureScope::AllShards, after("1m"));
    world.give(0, touchpoint("a", "page.viewed", after("2m"), "2"), after("2m"));
    let order = world.actions.iter().filter_map(|action| match action {
        Action::Publish { .. } => Some("publish"),
        Action::Tombstone(_) => Some("tombstone"),
        _ => None,
    });
    assert_eq!(order.collect::<Vec<_>>(), ["publish", "tombstone", "publish"]);
}

#[test]
fn undoing_brings_an_erased_customer_back_with_its_deadline() {
    // One decision per transaction: the erasure is put back and not applied again at once.
    let mut world = world(Settings { decisions_per_transaction: 1, ..settings() });
    world.give(0, touchpoint("a", "cart.added", after("0m"), "1"), after("0m"));
    world.commit();
    let (committed, standing) = (world.state(), (world.shard.armed(), world.shard.population().to_vec()));
    world.give(0, touchpoint("b", "page.viewed", after("5m"), "2"), after("5m"));
    world.commit();
    let with_b = world.state();
    erase(&mut world, &[Identity::customer("b")], ErasureScope::AllShards, after("6m"));
    assert_eq!(world.state(), committed, "as if b had never come");
    assert_eq!((world.shard.armed(), world.shard.population().to_vec()), (standing.0, vec![vec![1, 0]]), "not committed");
    world.tell(Input::Prepare);
    world.tell(Input::Aborted);
    world.commit();
    assert_eq!(world.state(), committed);
    assert_ne!(with_b, committed);
    assert_eq!((world.shard.armed(), world.shard.population().to_vec()), standing);
}

/// The wheel asks for a customer who is erased but not committed; the deadline must not get lost when that is undone.
#[test]
fn a_deadline_that_passed_while_its_customer_was_erased_is_decided_after_all_when_that_is_undone() {
    let mut world = world(settings());
    world.give(0, touchpoint("a", "cart.added", after("0m"), "1"), after("0m"));
    world.commit();
    world.take_outcomes();
    erase(&mut world, &[Identity::customer("a")], ErasureScope::AllShards, after("29m"));
    world.quiet_until(0, after("2h"));
    assert_eq!(sentences(&world.take_outcomes()), "quiet");
    world.tell(Input::Prepare);
    world.tell(Input::Aborted);
    assert_eq!(sentences(&world.take_outcomes()), "quiet", "applied again, in its place");
    assert_eq!(world.shard.stream_time(), Some(after("2h")));
    world.commit();
    assert_eq!((world.customers().len(), world.shard.rings()), (0, 0));
}

#[test]
fn the_control_topic_takes_its_place_by_time_and_never_holds_anybody_up() {
    let settings = Settings { control: Control::After(1), ..settings() };
    let mut world = World::new(&[baskets()], settings, 2);
    world.give(0, touchpoint("a", "cart.added", after("0m"), "1"), after("0m"));
    world.quiet_until(0, after("10m"));
    assert_eq!(world.shard.stream_time(), Some(after("10m")), "the control topic has said nothing");
    let order = |at: &str, offset| {
        let body = Body::Erasure(Box::new(Erasure { who: vec![Identity::customer("a")], scope: ErasureScope::AllShards }));
        Input::Record { input: 1, record: Buffered { offset, log_time: after(at), body } }
    };
    world.tell(order("20m", 7));
    assert_eq!(world.customers().len(), 1, "what entered before 20m may yet come");
    world.give(0, touchpoint("a", "page.viewed", after("20m"), "2"), after("20m"));
    assert_eq!(world.customers().len(), 1, "at one instant, the touchpoint goes first");
    world.quiet_until(0, after("21m"));
    assert_eq!(world.customers().len(), 0);
    world.commit();
    let told: Vec<i64> = world.shard.committed().positions.iter().map(|position| position.offset).collect();
    assert_eq!(told, [2, 8], "its position is committed with the others");
    world.take_outcomes();
    // One that comes late is taken at once, and stream time stays.
    world.give(0, touchpoint("a", "page.viewed", after("30m"), "3"), after("30m"));
    world.tell(order("25m", 8));
    assert_eq!((world.customers().len(), world.shard.stream_time()), (0, Some(after("30m"))));
}

fn forgetful(days: i64) -> Settings {
    Settings { forget_after: Some(Span::from_days(days)), ..settings() }
}

#[test]
fn who_stays_away_is_forgotten_at_the_instant_and_nothing_is_published() {
    let mut world = world(forgetful(10));
    world.give(0, touchpoint("a", "order.completed", after("0m"), "1"), after("0m"));
    world.give(0, touchpoint("b", "order.completed", after("0m"), "2"), after("0m"));
    // Happened at noon, came in the evening: it is the latest sign of b, as of the evening.
    world.give(0, touchpoint("b", "order.completed", after("12h"), "3"), after("20h"));
    world.commit();
    world.take_outcomes();
    assert_eq!((world.shard.armed(), world.shard.rings()), (0, 2), "nothing is awaited");
    world.quiet_until(0, after("10d") - Span::from_millis(1));
    assert_eq!((world.customers().len(), world.shard.is_dirty()), (2, false));
    world.quiet_until(0, after("10d"));
    assert_eq!(world.customers().len(), 1);
    world.tell(Input::Prepare);
    assert_eq!(
        (said(&mut world), world.shard.take_counts().expired),
        (vec!["tombstone a".to_owned(), "forget a".to_owned()], 1)
    );
    world.tell(Input::Aborted);
    assert_eq!(world.customers().len(), 1, "decided again");
    assert_eq!((sentences(&world.take_outcomes()).as_str(), world.shard.take_counts().expired), ("quiet", 1));
    world.commit();
    world.quiet_until(0, after("10d 20h") - Span::from_millis(1));
    assert_eq!(world.customers().len(), 1, "b was there later");
    world.quiet_until(0, after("10d 20h"));
    world.commit();
    assert_eq!((world.customers().len(), world.shard.rings()), (0, 0));
}

#[test]
fn whoever_waits_for_something_is_not_idle_until_it_is_decided() {
    // A basket is abandoned after 30 minutes, so an age of a day is later; an age of a second is earlier.
    let age = |span| Settings { forget_after: Some(span), ..settings() };
    for (span, gone_at) in [(Span::from_days(1), after("1d")), (Span::from_secs(1), after("30m"))] {
        let mut world = world(age(span));
        world.give(0, touchpoint("a", "cart.added", after("0m"), "1"), after("0m"));
        world.quiet_until(0, gone_at - Span::from_millis(1));
        assert_eq!(world.customers().len(), 1, "{span}");
        world.quiet_until(0, gone_at);
        assert_eq!(sentences(&world.take_outcomes()), "abandons basket #1 after 30m", "{span}");
        world.commit();
        assert_eq!((world.customers().len(), world.shard.rings(), world.shard.armed()), (0, 0, 0), "{span}");
    }
}

#[test]
fn a_new_owner_forgets_at_the_same_instant_and_a_shorter_age_applies_from_its_start() {
    let mut before = world(forgetful(10));
    before.give(0, touchpoint("a", "order.completed", after("0m"), "1"), after("0m"));
    before.commit();
    for (days, gone_at) in [(10, "10d"), (2, "2d"), (30, "30d")] {
        let mut customers = Customers::default();
        for customer in before.customers() {
            customers.restore(&customer);
        }
        let progress = before.shard.committed().clone();
        let mut next = World::going_on(&[baskets()], forgetful(days), customers, progress);
        next.quiet_until(0, after(gone_at) - Span::from_millis(1));
        assert_eq!(next.customers().len(), 1, "{days} days");
        next.quiet_until(0, after(gone_at));
        assert_eq!(next.customers().len(), 0, "{days} days");
    }
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Touch {
        who: u8,
        kind: usize,
        cart: Option<u8>,
    },
    Erase {
        who: u8,
    },
    /// Time passes.
    Wait,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Nothing,
    Commit,
    Abort,
    AbortPrepared,
}

const KINDS: [&str; 4] = ["page.viewed", "cart.added", "order.completed", "weather.changed"];

fn deeds() -> impl Strategy<Value = Vec<(Deed, i64)>> {
    let touch =
        (0..4_u8, 0..KINDS.len(), prop::option::of(0..2_u8)).prop_map(|(who, kind, cart)| Deed::Touch { who, kind, cart });
    let deed = prop_oneof![6 => touch, 2 => (0..4_u8).prop_map(|who| Deed::Erase { who }), 1 => Just(Deed::Wait)];
    let gap = prop_oneof![4 => 0..600_000_i64, 2 => prop::sample::select(vec![0_i64, 1_800_000, 86_400_000]), 1 => 0..400_000_000_i64];
    prop::collection::vec((deed, gap), 1..40)
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![4 => Just(Fate::Nothing), 1 => Just(Fate::Commit), 1 => Just(Fate::Abort), 1 => Just(Fate::AbortPrepared)];
    prop::collection::vec(fate, 1..8)
}

fn identity(who: u8) -> Identity {
    if who == 0 { Identity::anonymous("1") } else { Identity::customer(who.to_string()) }
}

fn made(who: u8, kind: usize, cart: Option<u8>, at: Timestamp, number: usize) -> Touchpoint {
    let mut made = touchpoint("", KINDS[kind], at, &format!("t{number}"));
    made.identity = identity(who);
    cart.map_or(made.clone(), |cart| with_id(made, "cart_id", &cart.to_string()))
}

/// A worker, and the state log as what was last said of each customer.
struct Run {
    world: World,
    open: Vec<Outcome>,
    outcomes: Vec<Outcome>,
    log: BTreeMap<Identity, Vec<u8>>,
}

impl Run {
    fn new(settings: Settings) -> Self {
        Run { world: world(settings), open: Vec::new(), outcomes: Vec::new(), log: BTreeMap::new() }
    }

    fn obey(&mut self) {
        self.open.extend(self.world.take_outcomes());
    }

    fn commit(&mut self) {
        self.world.tell(Input::Prepare);
        for action in std::mem::take(&mut self.world.actions) {
            match action {
                Action::Remember(slot) => {
                    let who = self.world.shard.identity(slot).expect("whom to remember");
                    let state = self.world.shard.customers().latest_image(&who).expect("the state");
                    self.log.insert(who, encoded(&state));
                }
                Action::Forget(who) => assert!(self.log.remove(&who).is_some(), "{who:?} was never written"),
                Action::Publish { .. }
                | Action::DeadLetter { .. }
                | Action::Announce(_)
                | Action::HandOver { .. }
                | Action::Tombstone(_)
                | Action::Commit(_) => {}
            }
        }
        while let Some(slot) = self.world.shard.refresh() {
            let who = self.world.shard.identity(slot).expect("whom to write anew");
            assert!(self.log.contains_key(&who), "{who:?} is gone and written anew");
        }
        self.outcomes.append(&mut self.open);
        self.world.tell(Input::Committed);
        self.obey();
    }

    fn settle(&mut self, fate: Fate) {
        match fate {
            Fate::Nothing => {}
            Fate::Commit => self.commit(),
            Fate::Abort | Fate::AbortPrepared => {
                if matches!(fate, Fate::AbortPrepared) {
                    self.world.tell(Input::Prepare);
                    while self.world.shard.refresh().is_some() {}
                }
                self.open.clear();
                self.world.take_outcomes();
                self.world.tell(Input::Aborted);
                self.obey();
            }
        }
        while self.world.shard.is_full() {
            self.commit();
        }
    }
}

/// Lives through the deeds, those of `only` where it is given; then so much silence.
fn live(settings: Settings, deeds: &[(Deed, i64)], fates: &[Fate], only: impl Fn(usize) -> bool, silence: Span) -> Run {
    let mut run = Run::new(settings);
    let mut fates = fates.iter().cycle();
    let mut now = START;
    for (number, (deed, gap)) in deeds.iter().enumerate() {
        now = now + Span::from_millis(*gap);
        match *deed {
            Deed::Touch { who, kind, cart } if only(number) => run.world.give(0, made(who, kind, cart, now, number), now),
            Deed::Erase { who } if only(number) => erase(&mut run.world, &[identity(who)], ErasureScope::AllShards, now),
            Deed::Touch { .. } | Deed::Erase { .. } | Deed::Wait => run.world.quiet_until(0, now),
        }
        run.obey();
        run.settle(*fates.next().expect("endless"));
    }
    loop {
        run.world.quiet_until(0, now + silence);
        run.obey();
        if !run.world.shard.is_dirty() {
            run.commit();
            return run;
        }
        run.settle(*fates.next().expect("endless"));
        run.commit();
    }
}

/// Everything of a shard that could be a trace.
fn traces(run: &mut Run) -> (Vec<u8>, usize, Vec<Vec<i64>>, usize) {
    (run.world.state(), run.world.shard.armed(), run.world.shard.population().to_vec(), run.world.shard.rings())
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(400))]

    /// Erasing a customer equals never having seen what came before, in the state and in whatever is published afterwards.
    #[test]
    fn the_state_is_that_of_a_shard_that_never_saw_what_was_erased(deeds in deeds(), fates in fates(), size in 1..20_usize) {
        let of = |number: usize| match deeds[number].0 { Deed::Touch { who, .. } | Deed::Erase { who } => Some(who), Deed::Wait => None };
        let erased_later = |number: usize| deeds[number..].iter().any(|(deed, _)| matches!(deed, Deed::Erase { who } if Some(*who) == of(number)));
        let settings = Settings { decisions_per_transaction: size, ..settings() };
        let mut run = live(settings.clone(), &deeds, &fates, |_| true, Span::ZERO);
        let mut never = live(settings, &deeds, &[Fate::Commit], |number| !erased_later(number), Span::ZERO);
        prop_assert_eq!(traces(&mut run).0, traces(&mut never).0);
        prop_assert_eq!((traces(&mut run).1, traces(&mut run).2), (traces(&mut never).1, traces(&mut never).2));
        prop_assert!(run.world.shard.rings() <= 2 * run.world.customers().len(), "{} rings", run.world.shard.rings());
        let kept: Vec<Identity> = run.world.customers().iter().map(|customer| customer.identity.clone()).collect();
        prop_assert_eq!(run.log.keys().cloned().collect::<Vec<_>>(), kept, "the log names nobody else");
        // From here on both live alike.
        for other in [&mut run, &mut never] {
            other.outcomes.clear();
            let now = START + Span::from_millis(deeds.iter().map(|(_, gap)| gap).sum::<i64>()) + Span::from_days(2);
            other.world.quiet_until(0, now);
            other.obey();
            while other.world.shard.is_dirty() { other.commit(); other.world.quiet_until(0, now); other.obey(); }
        }
        prop_assert_eq!(run.outcomes, never.outcomes);
    }

    #[test]
    fn aborts_and_splits_change_nothing_about_who_leaves(deeds in deeds(), fates in fates(), size in 1..20_usize, days in 0..4_i64) {
        let forget_after = (days > 0).then(|| Span::from_days(days));
        let whole = Settings { forget_after, ..settings() };
        let split = Settings { decisions_per_transaction: size, ..whole.clone() };
        let (mut run, mut plain) = (live(split, &deeds, &fates, |_| true, Span::from_days(1)), live(whole, &deeds, &[Fate::Nothing], |_| true, Span::from_days(1)));
        prop_assert_eq!(&run.outcomes, &plain.outcomes);
        prop_assert_eq!(traces(&mut run).0, traces(&mut plain).0);
        prop_assert_eq!(traces(&mut run).1, traces(&mut plain).1);
        prop_assert_eq!(traces(&mut run).2, traces(&mut plain).2);
        let kept: BTreeMap<Identity, Vec<u8>> = run.world.customers().into_iter().map(|customer| (customer.identity.clone(), encoded(&customer))).collect();
        let now = run.world.shard.stream_time().unwrap_or(START);
        let settled = |bytes: Vec<u8>| encoded(&state::decode(&bytes).expect("a state").as_of(now, Settings::default().grace));
        let log: BTreeMap<Identity, Vec<u8>> = run.log.into_iter().map(|(who, bytes)| (who, settled(bytes))).collect();
        prop_assert_eq!(log, kept, "the log holds exactly the state");
    }

    /// Forgetting changes nothing before its time: whoever came back within the age never notices.
    #[test]
    fn whoever_is_never_away_so_long_is_never_forgotten(deeds in deeds(), fates in fates()) {
        let no_erasure: Vec<(Deed, i64)> = deeds.iter().copied().filter(|(deed, _)| !matches!(deed, Deed::Erase { .. })).collect();
        let total: i64 = no_erasure.iter().map(|(_, gap)| gap).sum();
        let long = Settings { forget_after: Some(Span::from_millis(total + 86_400_001)), ..settings() };
        let (mut run, mut plain) = (live(long.clone(), &no_erasure, &fates, |_| true, Span::from_days(1)), live(settings(), &no_erasure, &fates, |_| true, Span::from_days(1)));
        prop_assert_eq!(&run.outcomes, &plain.outcomes);
        prop_assert_eq!(run.world.state(), plain.world.state());
        let gone = live(long, &no_erasure, &fates, |_| true, Span::from_millis(2 * total + 3 * 86_400_000)).world.customers().len();
        prop_assert_eq!(gone, 0, "and in the end everybody is");
    }
}

#[test]
fn a_turn_is_owed_to_those_who_have_gone_and_it_ends() {
    let mut world = world(settings());
    for number in 0..300 {
        world.give(0, touchpoint(&format!("c{number}"), "page.viewed", after("0m"), "1"), after("0m"));
    }
    world.commit();
    assert!(!world.shard.refresh_due());
    erase(&mut world, &[Identity::customer("c7")], ErasureScope::AllShards, after("1m"));
    world.commit();
    let erased_by = world.shard.committed().sequence;
    let mut steps = 0;
    while world.shard.refresh_due() {
        steps += 1;
        world.tell(Input::Prepare);
        for _ in 0..world.shard.step() {
            if world.shard.refresh().is_none() {
                break;
            }
        }
        world.tell(Input::Committed);
    }
    assert!(world.shard.retain_from() > erased_by, "commit {erased_by} can be cut off");
    assert!(steps <= 20, "{steps} steps for 300 customers");
    let progress = world.shard.committed();
    assert_eq!(progress.positions, [Position { offset: 301, log_time: after("1m") }]);
    assert_ne!(*progress, Progress { positions: vec![NOWHERE], ..Progress::default() });
}
