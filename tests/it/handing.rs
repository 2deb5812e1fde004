//! Customers who live in several shards (rule 19): whatever their number and the key of the inputs, everybody's story is that of
//! one shard.

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;
use sillage::frontiers::{Bound, Frontiers};
use sillage::journey::{Customer, Outcome};
use sillage::model::Model;
use sillage::partitioner::Partitioner;
use sillage::shard::{
    Action, Body, Buffered, Control, Customers, Erasure, ErasureScope, HandOff, Homes, Input, Misrouted, Progress, Settings,
    Shard, ShardId,
};
use sillage::time::{Span, Timestamp};
use sillage::touchpoint::{Identity, Touchpoint};
use sillage::wire::handing;

use crate::any_order::{GRACE, delayed, delays, net, settings, unnumbered};
use crate::joins::{step, story};
use crate::laws::{Entered, Fate, baskets, cases, decide_with, five_stages};
use crate::world::{NOWHERE, START, good_model, touchpoint, with_id};

/// What the producers choose the partition by.
#[derive(Clone, Copy, Debug)]
enum Keyed {
    /// The customer id, or else the anonymous id.
    ByIdentity,
    /// The anonymous id where there is one.
    ByDevice,
    /// Nothing useful.
    AtRandom,
}

/// Shards that hand customers to each other.
struct Town {
    shards: Vec<Shard>,
    /// By shard: the next offset of its input, and of what others hand to it.
    offsets: Vec<[i64; 2]>,
    /// What is on its way: to which shard, as bytes.
    mail: Vec<(ShardId, Vec<u8>)>,
    /// Log time of the oldest on its way.
    oldest: Option<Timestamp>,
    outcomes: Vec<Outcome>,
    /// Whom every shard is to erase.
    erased: Vec<Identity>,
    /// By shard: what its open transaction holds.
    open: Vec<Vec<Action>>,
    /// Whether the next transaction is undone.
    undoes: std::iter::Cycle<std::vec::IntoIter<bool>>,
    clock: Timestamp,
}

fn homes(here: ShardId, shards: u32) -> Homes {
    Homes { here, shards, partitioner: Partitioner::Murmur2, misrouted: Misrouted::HandOn }
}

impl Town {
    fn new(models: &[Arc<Model>], settings: &Settings, shards: u32, undoes: Vec<bool>) -> Town {
        let settings = Settings { control: Control::After(1), ..settings.clone() };
        let start = Progress { positions: vec![NOWHERE; 2], ..Progress::default() };
        let shard = |here| {
            Shard::new(models.into(), settings.clone(), Customers::default(), start.clone()).among(homes(here, shards))
        };
        Town {
            shards: (0..shards).map(shard).collect(),
            offsets: vec![[0; 2]; shards as usize],
            mail: Vec::new(),
            oldest: None,
            outcomes: Vec::new(),
            erased: Vec::new(),
            open: (0..shards).map(|_| Vec::new()).collect(),
            undoes: undoes.into_iter().cycle(),
            clock: START,
        }
    }

    fn tell(&mut self, shard: usize, input: Input) {
        self.shards[shard].handle(input, &mut self.open[shard]);
    }

    /// Ends everybody's transaction: some are undone before one goes through.
    fn settle(&mut self) {
        for shard in 0..self.shards.len() {
            if self.undoes.next().unwrap_or(false) {
                self.tell(shard, Input::Prepare);
                self.open[shard].clear();
                self.tell(shard, Input::Aborted);
            }
            self.tell(shard, Input::Prepare);
            let decided = std::mem::take(&mut self.open[shard]);
            self.tell(shard, Input::Committed);
            self.publish(decided);
        }
    }

    fn publish(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Publish { outcome, .. } => self.outcomes.push(*outcome),
                Action::HandOver { to, hand_off } => {
                    self.oldest = Some(self.oldest.map_or(hand_off.log_time, |oldest| oldest.min(hand_off.log_time)));
                    self.mail.push((to, handing::encode(&hand_off)));
                }
                Action::Announce(who) => self.erased.push(who),
                other => assert!(other.outcome().is_none()),
            }
        }
    }

    fn give(&mut self, shard: usize, input: usize, log_time: Timestamp, body: Body) {
        let offset = self.offsets[shard][input];
        self.offsets[shard][input] += 1;
        self.tell(shard, Input::Record { input, record: Buffered { offset, log_time, body } });
    }

    /// Every shard hears that nothing more comes before this instant.
    fn quiet_until(&mut self, at: Timestamp) {
        for shard in 0..self.shards.len() {
            let position = self.offsets[shard][0];
            self.tell(shard, Input::CaughtUp { input: 0, position, at });
        }
    }

    /// Everything on its way arrives, and what comes of it.
    fn deliver(&mut self) {
        self.settle();
        while !self.mail.is_empty() {
            for (to, bytes) in std::mem::take(&mut self.mail) {
                let hand_off: HandOff = handing::decode(&bytes).expect("what was written");
                self.give(to as usize, 1, hand_off.log_time, Body::HandOff(Box::new(hand_off)));
            }
            self.settle();
        }
        self.oldest = None;
    }

    /// Time passes, and what is on its way arrives after so long.
    fn pass(&mut self, until: Timestamp, wait: Span) {
        self.settle();
        while let Some(oldest) = self.oldest.filter(|oldest| *oldest + wait < until) {
            self.clock = self.clock.max(oldest + wait);
            self.quiet_until(self.clock);
            self.deliver();
            // What is handed over at this very instant is applied when time goes on.
            self.clock = self.clock + Span::from_millis(1);
            self.quiet_until(self.clock);
            self.settle();
        }
        self.clock = self.clock.max(until);
        self.quiet_until(self.clock);
        self.settle();
    }

    /// Every shard goes on from what the log holds of it, where nobody is known.
    fn start_again(&mut self, models: &[Arc<Model>]) {
        let shards = self.shards.len() as u32;
        for (here, shard) in (0..).zip(&mut self.shards) {
            let mut restored = Customers::default();
            shard.customers().each_packed(|packed| restored.restore_packed(packed).expect("what was packed"));
            assert!(restored.all().is_empty() && !restored.is_empty(), "nobody, and who was erased");
            let settings = Settings { control: Control::After(1), ..settings(usize::MAX) };
            let again = Shard::new(models.into(), settings, restored, shard.committed().clone());
            *shard = again.among(homes(here, shards));
        }
    }

    fn customers(&mut self) -> Vec<Customer> {
        let mut all: Vec<Customer> =
            self.shards.iter_mut().flat_map(|shard| shard.customers().all().into_iter().collect::<Vec<_>>()).collect();
        all.sort_by(|one, other| one.identity.cmp(&other.identity));
        all
    }
}

/// Where the producer puts it.
fn partition(touchpoint: &Touchpoint, keyed: Keyed, number: usize, shards: u32) -> usize {
    let key = match (keyed, &touchpoint.linked) {
        (Keyed::ByDevice, Some(device)) => device.as_bytes(),
        (Keyed::ByIdentity | Keyed::ByDevice, _) => touchpoint.identity.id.as_bytes(),
        (Keyed::AtRandom, _) => return (number * 7 + number / 3) % shards as usize,
    };
    Partitioner::Murmur2.partition(key, shards).expect("it is known") as usize
}

/// What holds at last, and everybody's state but for where anonymous ids lead.
fn whole(
    models: &[Arc<Model>],
    comes: &[Entered],
    end: Timestamp,
    (shards, keyed, hasty, undoes): (u32, Keyed, &[bool], Vec<bool>),
) -> (Vec<Outcome>, Vec<Customer>) {
    let mut town = Town::new(models, &settings(usize::MAX), shards, undoes);
    for ((number, (touchpoint, log_time)), hasty) in comes.iter().enumerate().zip(hasty.iter().cycle()) {
        let wait = if *hasty { Span::from_millis(1) } else { Span::from_millis(GRACE.as_millis() / 4) };
        town.pass(*log_time, wait);
        let to = partition(touchpoint, keyed, number, shards);
        town.give(to, 0, *log_time, Body::Touchpoint(Box::new(touchpoint.clone())));
    }
    town.pass(end, Span::from_millis(1));
    assert!(town.mail.is_empty(), "nothing is handed over where nothing comes");
    (net(&town.outcomes), unnumbered(town.customers()))
}

/// The same of one shard, where everybody lives.
fn alone(models: &[Arc<Model>], comes: &[Entered], end: Timestamp) -> (Vec<Outcome>, Vec<Customer>) {
    let (outcomes, mut world) = decide_with(settings(usize::MAX), models, comes, &[Fate::Nothing]);
    world.quiet_until(0, end);
    (net(&[outcomes, world.take_outcomes()].concat()), unnumbered(world.customers()))
}

/// `HANDING_CASES` asks for more than CI runs.
fn cases_wanted() -> u32 {
    std::env::var("HANDING_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(300)
}

proptest! {
    #![proptest_config(cases(cases_wanted()))]

    #[test]
    fn the_number_of_shards_and_the_key_of_the_inputs_change_nobodys_story(
        steps in prop::collection::vec(step(), 1..30),
        delays in delays(),
        shards in prop::sample::select(vec![1_u32, 2, 7, 64]),
        keyed in prop::sample::select(vec![Keyed::ByIdentity, Keyed::ByDevice, Keyed::AtRandom]),
        hasty in prop::collection::vec(any::<bool>(), 1..10),
        undoes in prop::collection::vec(any::<bool>(), 1..10),
    ) {
        // Half of the grace is for the way between the shards.
        let delays: Vec<i64> = delays.iter().map(|delay| delay / 2).collect();
        let comes = delayed(&story(&steps), &delays);
        let end = comes.last().map_or(START, |(_, at)| *at) + Span::from_days(2);
        let models = [baskets(), five_stages()];
        let (expected, expected_state) = alone(&models, &comes, end);
        let (holds, state) = whole(&models, &comes, end, (shards, keyed, &hasty, undoes));
        prop_assert_eq!(holds, expected);
        prop_assert_eq!(state, expected_state);
    }
}

/// Somebody fills a basket, logs in ten minutes later and buys after ten more. One of the two partitions is three hours ahead of
/// the other, as in a backlog, or where one worker was away.
#[test]
fn a_bought_basket_is_not_abandoned_at_last_however_far_the_shards_are_apart() {
    let models = [baskets(), five_stages()];
    let at = |minutes: i64| START + Span::from_secs(60 * minutes);
    let home = |id: &str| Partitioner::Murmur2.partition(id.as_bytes(), 2).expect("it is known") as usize;
    let device = (0..).map(|number| format!("a-{number}")).find(|id| home(id) == 0).expect("one of them");
    let customer = (0..).map(|number| format!("c-{number}")).find(|id| home(id) == 1).expect("one of them");
    let mut basket = with_id(touchpoint("", "cart.added", at(0), "basket"), "cart_id", "A");
    basket.identity = Identity::anonymous(device.as_str());
    let login = Touchpoint { linked: Some(device.as_str().into()), ..touchpoint(&customer, "login", at(10), "login") };
    let order = with_id(touchpoint(&customer, "order.completed", at(20), "order"), "cart_id", "A");
    let day = at(60 * 24);
    for first in [0, 1] {
        let mut town = Town::new(&models, &settings(usize::MAX), 2, vec![false]);
        let story = [vec![&basket], vec![&login, &order]];
        // Everything that the one has to do is done before the other begins.
        for shard in [first, 1 - first] {
            for touchpoint in &story[shard] {
                town.give(shard, 0, touchpoint.event_time, Body::Touchpoint(Box::new((*touchpoint).clone())));
            }
            town.tell(shard, Input::CaughtUp { input: 0, position: town.offsets[shard][0], at: at(180) });
        }
        for _ in 0..4 {
            town.deliver();
            town.quiet_until(at(181));
        }
        town.quiet_until(day);
        town.settle();
        assert!(town.mail.is_empty());
        let holds = net(&town.outcomes);
        let told: Vec<String> = holds.iter().map(|outcome| format!("{}: {outcome}", outcome.identity.id)).collect();
        assert!(!told.iter().any(|told| told.contains("abandons basket")), "{first} first: {told:#?}");
        assert!(told.contains(&format!("{customer}: completes basket A")), "{first} first: {told:#?}");
        assert!(
            told.iter().any(|told| told.starts_with(&format!("{customer}: joins {device}"))),
            "{first} first: {told:#?}"
        );
    }
}

/// A backlog of a day is read by shards of which each goes at its own pace, in turns that a dice deals, with no shard decided more
/// than a quarter of the grace beyond the least.
fn drain(
    models: &[Arc<Model>],
    comes: &[Entered],
    end: Timestamp,
    (shards, keyed, turns): (u32, Keyed, &[u8]),
) -> (Vec<Outcome>, Vec<Customer>) {
    let mut town = Town::new(models, &settings(usize::MAX), shards, vec![false]);
    let (frontiers, mut bounds) = (Frontiers::new(shards), vec![Bound::new(GRACE); shards as usize]);
    let mut backlog: Vec<VecDeque<&Entered>> = vec![VecDeque::new(); shards as usize];
    for (number, entered) in comes.iter().enumerate() {
        backlog[partition(&entered.0, keyed, number, shards)].push_back(entered);
    }
    let mut turns = turns.iter().cycle();
    let clock = |round: i64| START + Span::from_millis(round);
    for round in 0.. {
        for shard in 0..shards as usize {
            frontiers.reached(shard as ShardId, town.shards[shard].frontier(), clock(round));
        }
        for (shard, backlog) in backlog.iter_mut().enumerate() {
            let (bound, now) = (&mut bounds[shard], clock(round));
            bound.look(frontiers.least(now), town.shards[shard].frontier(), None, now);
            // Nothing is on its way.
            bound.has_read(now + Span::from_millis(1));
            town.shards[shard].bind(bound.until());
            // Now and then everybody has a turn.
            let least = u8::from(round % 16 == 15);
            for _ in 0..turns.next().copied().unwrap_or(1).max(least) {
                if let Some((touchpoint, log_time)) = backlog.pop_front() {
                    town.give(shard, 0, *log_time, Body::Touchpoint(Box::new(touchpoint.clone())));
                }
            }
            if backlog.is_empty() {
                // Everything has been handed over, though not all of it may have been decided.
                let (position, waits) = (town.offsets[shard][0], town.shards[shard].buffered(0).records > 0);
                let input = if waits { Input::Received } else { Input::CaughtUp { input: 0, position, at: end } };
                town.tell(shard, input);
            } else {
                town.tell(shard, Input::Received);
            }
        }
        town.deliver();
        if town.shards.iter().all(|shard| shard.stream_time() == Some(end)) && town.mail.is_empty() {
            return (net(&town.outcomes), unnumbered(town.customers()));
        }
        assert!(round < 100_000, "it comes to an end");
    }
    unreachable!("the loop has no other end")
}

proptest! {
    #![proptest_config(cases(cases_wanted()))]

    #[test]
    fn a_backlog_that_shards_read_at_different_paces_ends_alike(
        steps in prop::collection::vec(step(), 1..30),
        delays in delays(),
        shards in prop::sample::select(vec![2_u32, 7]),
        keyed in prop::sample::select(vec![Keyed::ByIdentity, Keyed::ByDevice, Keyed::AtRandom]),
        turns in prop::collection::vec(0..6_u8, 1..12),
    ) {
        // What is out of order and how far shards are apart share the grace.
        let delays: Vec<i64> = delays.iter().map(|delay| delay / 4).collect();
        let comes = delayed(&story(&steps), &delays);
        let end = comes.last().map_or(START, |(_, at)| *at) + Span::from_days(2);
        let models = [baskets(), five_stages()];
        let (expected, expected_state) = alone(&models, &comes, end);
        let (holds, state) = drain(&models, &comes, end, (shards, keyed, &turns));
        prop_assert_eq!(holds, expected);
        prop_assert_eq!(state, expected_state);
    }
}

/// A customer is erased while the journey of a device is on its way: nothing is left of either, in no shard.
#[test]
fn an_erasure_reaches_what_is_on_its_way() {
    let at = |minutes: i64| START + Span::from_secs(60 * minutes);
    let home = |id: &str| Partitioner::Murmur2.partition(id.as_bytes(), 2).expect("it is known") as usize;
    let device = (0..).map(|number| format!("a-{number}")).find(|id| home(id) == 0).expect("one of them");
    let customer = (0..).map(|number| format!("c-{number}")).find(|id| home(id) == 1).expect("one of them");
    let mut basket = touchpoint("", "cart.added", at(0), "basket");
    basket.identity = Identity::anonymous(device.as_str());
    let login = Touchpoint { linked: Some(device.as_str().into()), ..touchpoint(&customer, "login", at(1), "login") };
    let (by_customer, by_device) = (Identity::customer(customer.as_str()), Identity::anonymous(device.as_str()));
    // Before the claim arrives, before the answer does, and after both. The anonymous id is nobody's before the claim arrives.
    for (moment, who) in [(0, &by_customer), (1, &by_customer), (2, &by_customer), (1, &by_device), (2, &by_device)] {
        let mut town = Town::new(&[baskets()], &settings(usize::MAX), 2, vec![false]);
        town.give(0, 0, at(0), Body::Touchpoint(Box::new(basket.clone())));
        town.give(1, 0, at(1), Body::Touchpoint(Box::new(login.clone())));
        town.quiet_until(at(2));
        town.settle();
        for round in 0..4 {
            if round == moment {
                let erasure = Erasure { who: vec![who.clone()], scope: ErasureScope::ThisShard };
                town.give(home(&who.id), 0, at(3), Body::Erasure(Box::new(erasure)));
            }
            town.quiet_until(at(4 + round));
            town.settle();
            for (to, bytes) in std::mem::take(&mut town.mail) {
                let hand_off: HandOff = handing::decode(&bytes).expect("what was written");
                town.give(to as usize, 1, hand_off.log_time, Body::HandOff(Box::new(hand_off)));
            }
            town.settle();
            for who in std::mem::take(&mut town.erased) {
                for shard in 0..2 {
                    let erasure = Erasure { who: vec![who.clone()], scope: ErasureScope::AllShards };
                    town.give(shard, 1, at(4 + round), Body::Erasure(Box::new(erasure)));
                }
            }
            town.quiet_until(at(5 + round));
            town.settle();
        }
        let left: Vec<Identity> = town.customers().into_iter().map(|customer| customer.identity).collect();
        assert_eq!(left, [], "{who:?} was erased in round {moment}");
    }
}

/// Somebody is erased while a touchpoint of theirs is being handed on: it brings nobody back, and what they do later counts.
#[test]
fn an_erasure_reaches_a_touchpoint_that_is_handed_on() {
    let at = |minutes: i64| START + Span::from_secs(60 * minutes);
    let home = |id: &str| Partitioner::Murmur2.partition(id.as_bytes(), 2).expect("it is known") as usize;
    let customer = (0..).map(|number| format!("c-{number}")).find(|id| home(id) == 1).expect("one of them");
    let who = Identity::customer(customer.as_str());
    // Whether the transaction that erases is undone before it goes through, and whether the shard starts again after it.
    for (undone, again) in [(false, false), (true, false), (false, true)] {
        let mut town = Town::new(&[baskets()], &settings(usize::MAX), 2, vec![undone]);
        let before = touchpoint(&customer, "cart.added", at(0), "before");
        town.give(0, 0, at(0), Body::Touchpoint(Box::new(before)));
        town.quiet_until(at(1));
        town.settle();
        let on_its_way = std::mem::take(&mut town.mail);
        assert_eq!(on_its_way.len(), 1);
        for shard in 0..2 {
            let erasure = Erasure { who: vec![who.clone()], scope: ErasureScope::AllShards };
            town.give(shard, 1, at(2), Body::Erasure(Box::new(erasure)));
        }
        town.quiet_until(at(3));
        town.settle();
        if again {
            town.start_again(&[baskets()]);
        }
        let after = touchpoint(&customer, "page.viewed", at(4), "after");
        town.give(0, 0, at(4), Body::Touchpoint(Box::new(after)));
        town.mail.extend(on_its_way);
        town.quiet_until(at(5));
        town.deliver();
        let all = town.customers();
        let known: Vec<(&Identity, u64)> = all.iter().map(|customer| (&customer.identity, customer.touchpoints)).collect();
        assert_eq!(known, [(&who, 1)], "undone: {undone}, started again: {again}");
    }
}

/// What an anonymous id did before it joined a customer elsewhere comes a second time: it counts once.
#[test]
fn a_repeat_of_what_was_done_before_the_login_counts_once() {
    let at = |minutes: i64| START + Span::from_secs(60 * minutes);
    let home = |id: &str| Partitioner::Murmur2.partition(id.as_bytes(), 2).expect("it is known") as usize;
    let device = (0..).map(|number| format!("a-{number}")).find(|id| home(id) == 0).expect("one of them");
    let customer = (0..).map(|number| format!("c-{number}")).find(|id| home(id) == 1).expect("one of them");
    let yaml = "sillage: 1\nmodel: stuck\nstages:\n  look: { enter: page.viewed }\nfriction:\n  \
                stuck: { 2 of: page.viewed, within: 1h }\n";
    let mut town = Town::new(&[good_model("stuck", yaml)], &settings(usize::MAX), 2, vec![false]);
    let view = Touchpoint { identity: Identity::anonymous(device.as_str()), ..touchpoint("", "page.viewed", at(0), "view") };
    let login = Touchpoint { linked: Some(device.as_str().into()), ..touchpoint(&customer, "login", at(1), "login") };
    town.give(0, 0, at(0), Body::Touchpoint(Box::new(view.clone())));
    town.give(1, 0, at(1), Body::Touchpoint(Box::new(login)));
    for minutes in [2, 3] {
        town.quiet_until(at(minutes));
        town.deliver();
    }
    town.give(0, 0, at(4), Body::Touchpoint(Box::new(view)));
    for minutes in [5, 6] {
        town.quiet_until(at(minutes));
        town.deliver();
    }
    let told: Vec<String> = town.outcomes.iter().map(ToString::to_string).collect();
    assert!(told.iter().any(|told| told.starts_with("joins")), "{told:?}");
    assert!(!told.iter().any(|told| told.contains("friction")), "{told:?}");
}

/// Somebody whose claim nobody answers keeps a window for days; whoever comes after keeps none for longer than the grace.
#[test]
fn a_claim_that_nobody_answers_keeps_nobody_elses_window() {
    let at = |minutes: i64| START + Span::from_secs(60 * minutes);
    let home = |id: &str| Partitioner::Murmur2.partition(id.as_bytes(), 2).expect("it is known") as usize;
    let device = (0..).map(|number| format!("a-{number}")).find(|id| home(id) == 0).expect("one of them");
    let mut here = (0..).map(|number| format!("c-{number}")).filter(|id| home(id) == 1);
    let (claimant, other) = (here.next().expect("one of them"), here.next().expect("another"));
    let mut town = Town::new(&[baskets()], &settings(usize::MAX), 2, vec![false]);
    let login = Touchpoint { linked: Some(device.as_str().into()), ..touchpoint(&claimant, "login", at(0), "login") };
    town.give(1, 0, at(0), Body::Touchpoint(Box::new(login)));
    for minutes in [5, 15, 25] {
        town.quiet_until(at(minutes));
        town.settle();
    }
    town.give(1, 0, at(26), Body::Touchpoint(Box::new(touchpoint(&other, "page.viewed", at(26), "view"))));
    // The stage is abandoned after an hour; that is told anew for a grace as well.
    for minutes in [30, 40, 50, 60, 120, 130, 140, 150] {
        town.quiet_until(at(minutes));
        town.settle();
    }
    assert_eq!(town.mail.len(), 1, "the claim is on its way");
    let keeps_window = |town: &mut Town, who: &str| {
        let found = town.customers().into_iter().find(|customer| customer.identity.id == who).expect("known");
        found != found.clone().without_window()
    };
    assert!(keeps_window(&mut town, &claimant));
    assert!(!keeps_window(&mut town, &other));
}

/// A limit: of claims that nobody answers, so many wait (docs/limits.md). The touchpoints come backwards, so that each is a claim.
#[test]
fn so_many_claims_wait_and_no_more() {
    const MOST: usize = 64;
    let home = |id: &str| Partitioner::Murmur2.partition(id.as_bytes(), 2).expect("it is known") as usize;
    let device = (0..).map(|number| format!("a-{number}")).find(|id| home(id) == 0).expect("one of them");
    let customer = (0..).map(|number| format!("c-{number}")).find(|id| home(id) == 1).expect("one of them");
    let mut town = Town::new(&[baskets()], &settings(usize::MAX), 2, vec![false]);
    for number in 0..MOST as i64 + 6 {
        let (at, id) = (START + Span::from_secs(300 - number), format!("t{number}"));
        let act = Touchpoint { linked: Some(device.as_str().into()), ..touchpoint(&customer, "page.viewed", at, &id) };
        town.give(1, 0, START + Span::from_secs(301 + number), Body::Touchpoint(Box::new(act)));
    }
    town.quiet_until(START + Span::from_secs(400));
    town.settle();
    assert_eq!(town.mail.len(), MOST);
    assert_eq!(town.shards[1].take_counts().steps.refused_links, 6);
}

/// A limit: what a customer does is kept for the answer up to so many touchpoints. After more of them the journey joins as it is,
/// and the basket is bought all the same.
#[test]
fn an_answer_that_comes_after_too_much_joins_as_it_comes() {
    let at = |seconds: i64| START + Span::from_secs(seconds);
    let home = |id: &str| Partitioner::Murmur2.partition(id.as_bytes(), 2).expect("it is known") as usize;
    let device = (0..).map(|number| format!("a-{number}")).find(|id| home(id) == 0).expect("one of them");
    let customer = (0..).map(|number| format!("c-{number}")).find(|id| home(id) == 1).expect("one of them");
    let mut town = Town::new(&[baskets()], &settings(usize::MAX), 2, vec![false]);
    let mut basket = with_id(touchpoint("", "cart.added", at(0), "basket"), "cart_id", "A");
    basket.identity = Identity::anonymous(device.as_str());
    let login = Touchpoint { linked: Some(device.as_str().into()), ..touchpoint(&customer, "login", at(1), "login") };
    town.give(0, 0, at(0), Body::Touchpoint(Box::new(basket)));
    town.give(1, 0, at(1), Body::Touchpoint(Box::new(login)));
    for number in 0..700 {
        let view = touchpoint(&customer, "page.viewed", at(2), &format!("view-{number}"));
        town.give(1, 0, at(2), Body::Touchpoint(Box::new(view)));
    }
    town.quiet_until(at(3));
    town.deliver();
    town.quiet_until(at(4));
    town.deliver();
    let order = with_id(touchpoint(&customer, "order.completed", at(5), "order"), "cart_id", "A");
    town.give(1, 0, at(5), Body::Touchpoint(Box::new(order)));
    town.quiet_until(at(86_400));
    town.settle();
    let holds = net(&town.outcomes);
    let merge = holds.iter().find(|outcome| outcome.to_string().starts_with("joins")).expect("it joins");
    assert_eq!((merge.at, merge.cause.as_ref().map(|id| id.to_text().to_string())), (at(1), Some("login".to_owned())));
    let told: Vec<String> = holds.iter().map(ToString::to_string).collect();
    assert!(told.contains(&"completes basket A".to_owned()), "{told:?}");
    assert!(!told.iter().any(|told| told.contains("abandons basket")), "{told:?}");
}
