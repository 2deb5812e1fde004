//! Customers who live in several shards (rule 19): whatever their number and the key of the inputs, everybody's story is that of
//! one shard.

use std::sync::Arc;

use proptest::prelude::*;
use sillage::journey::{Customer, Outcome};
use sillage::model::Model;
use sillage::partitioner::Partitioner;
use sillage::shard::{
    Action, Body, Buffered, Control, Customers, HandOff, Homes, Input, Misrouted, Progress, Settings, Shard, ShardId,
};
use sillage::time::{Span, Timestamp};
use sillage::touchpoint::Touchpoint;
use sillage::wire::handing;

use crate::any_order::{GRACE, delayed, delays, net, settings, unnumbered};
use crate::joins::{step, story};
use crate::laws::{Entered, Fate, baskets, cases, decide_with, five_stages};
use crate::world::{NOWHERE, START};

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
    clock: Timestamp,
}

impl Town {
    fn new(models: &[Arc<Model>], settings: &Settings, shards: u32) -> Town {
        let settings = Settings { control: Control::After(1), ..settings.clone() };
        let start = Progress { positions: vec![NOWHERE; 2], ..Progress::default() };
        let shard = |here| {
            let homes = Homes { here, shards, partitioner: Partitioner::Murmur2, misrouted: Misrouted::HandOn };
            Shard::new(models.into(), settings.clone(), Customers::default(), start.clone()).among(homes)
        };
        Town {
            shards: (0..shards).map(shard).collect(),
            offsets: vec![[0; 2]; shards as usize],
            mail: Vec::new(),
            oldest: None,
            outcomes: Vec::new(),
            clock: START,
        }
    }

    fn tell(&mut self, shard: usize, input: Input) {
        let mut actions = Vec::new();
        self.shards[shard].handle(input, &mut actions);
        for action in actions {
            match action {
                Action::Publish { outcome, .. } => self.outcomes.push(*outcome),
                Action::HandOver { to, hand_off } => {
                    self.oldest = Some(self.oldest.map_or(hand_off.log_time, |oldest| oldest.min(hand_off.log_time)));
                    self.mail.push((to, handing::encode(&hand_off)));
                }
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
        while !self.mail.is_empty() {
            for (to, bytes) in std::mem::take(&mut self.mail) {
                let hand_off: HandOff = handing::decode(&bytes).expect("what was written");
                self.give(to as usize, 1, hand_off.log_time, Body::HandOff(Box::new(hand_off)));
            }
        }
        self.oldest = None;
    }

    /// Time passes, and what is on its way arrives after so long.
    fn pass(&mut self, until: Timestamp, wait: Span) {
        while let Some(oldest) = self.oldest.filter(|oldest| *oldest + wait < until) {
            self.clock = self.clock.max(oldest + wait);
            self.quiet_until(self.clock);
            self.deliver();
            // What is handed over at this very instant is applied when time goes on.
            self.clock = self.clock + Span::from_millis(1);
            self.quiet_until(self.clock);
        }
        self.clock = self.clock.max(until);
        self.quiet_until(self.clock);
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
    (shards, keyed, hasty): (u32, Keyed, &[bool]),
) -> (Vec<Outcome>, Vec<Customer>) {
    let mut town = Town::new(models, &settings(usize::MAX), shards);
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
    ) {
        // Half of the grace is for the way between the shards.
        let delays: Vec<i64> = delays.iter().map(|delay| delay / 2).collect();
        let comes = delayed(&story(&steps), &delays);
        let end = comes.last().map_or(START, |(_, at)| *at) + Span::from_days(2);
        let models = [baskets(), five_stages()];
        let (outcomes, mut alone) = decide_with(settings(usize::MAX), &models, &comes, &[Fate::Nothing]);
        alone.quiet_until(0, end);
        let expected = net(&[outcomes, alone.take_outcomes()].concat());
        let (holds, state) = whole(&models, &comes, end, (shards, keyed, &hasty));
        prop_assert_eq!(holds, expected);
        prop_assert_eq!(state, unnumbered(alone.customers()));
    }
}
