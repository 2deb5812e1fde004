//! What is to happen, how often, and in which order.

use crate::harness::proxy::Cut;
use crate::shopper::Dice;

use std::time::Duration;

/// How large a run is.
pub(crate) struct Size {
    pub name: &'static str,
    pub touchpoints: usize,
    /// Real milliseconds of the load.
    pub millis: i64,
    /// How often a customer comes.
    pub bursts: (i64, i64),
    pub least: Least,
    to_workers: Vec<(usize, ToWorkers)>,
    to_brokers: Vec<(usize, ToBrokers)>,
}

/// What a run must have had.
pub(crate) struct Least {
    pub kills: usize,
    pub zombies: usize,
    pub bounces: usize,
    pub rebalances: usize,
    pub stalls: usize,
}

/// What happens to the worker processes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ToWorkers {
    /// One is killed and started again at once.
    Kill,
    /// All are.
    KillAll,
    /// One is killed, and again as soon as it lives but before it is ready.
    KillTwice,
    /// One is stopped for longer than its session and its transaction may last, then goes on.
    Zombie,
    /// The same, and meanwhile another process takes its place under the same name.
    ReplacedZombie,
    /// A fourth worker comes and goes, so many times.
    Storm(usize),
}

/// What happens to the brokers, and to the network before one worker.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ToBrokers {
    /// The broker that leads something is killed, or stopped in order, and started again; so many times, each time the one that
    /// leads it by then.
    Chase(Lead, usize),
    /// The request that ends a transaction is lost, or its answer is, or it comes late.
    LoseEndOfTransaction(Cut),
    /// All connections are cut.
    CutAll,
    /// Nothing goes through for so long.
    Freeze(Duration),
    /// A broker stands still for so long: its copies lag, and what it leads waits, or is led by another.
    Stall(Duration),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Lead {
    Group,
    Transactions,
    Input,
}

const LATE: Cut = Cut::Late(Duration::from_secs(2));
const VERY_LATE: Cut = Cut::Late(Duration::from_secs(12));
/// Longer than a session and a transaction may last.
const LONG: Duration = Duration::from_secs(13);

impl Size {
    /// What the environment asks for.
    pub(crate) fn asked_for() -> Size {
        match std::env::var("CHAOS").as_deref() {
            Ok("long") => {
                let minutes =
                    std::env::var("CHAOS_MINUTES").map_or(30, |text| text.parse().expect("CHAOS_MINUTES is a number"));
                Size::long(minutes)
            }
            Ok(other) => panic!("CHAOS is `long` or nothing, not {other:?}"),
            Err(_) => Size::short(),
        }
    }

    fn short() -> Size {
        use {ToBrokers as B, ToWorkers as W};
        Size {
            name: "short",
            touchpoints: 120_000,
            millis: 165_000,
            bursts: (1, 3),
            least: Least { kills: 10, zombies: 3, bounces: 3, rebalances: 6, stalls: 1 },
            to_workers: vec![
                (4, W::Kill),
                (1, W::KillAll),
                (2, W::KillTwice),
                (2, W::Zombie),
                (1, W::ReplacedZombie),
                (1, W::Storm(3)),
            ],
            to_brokers: vec![
                (1, B::Chase(Lead::Transactions, 2)),
                (1, B::Chase(Lead::Input, 1)),
                (1, B::LoseEndOfTransaction(Cut::BeforeRequest)),
                (1, B::LoseEndOfTransaction(Cut::BeforeAnswer)),
                (1, B::LoseEndOfTransaction(LATE)),
                (1, B::CutAll),
                (1, B::Freeze(LONG)),
                (1, B::Stall(Duration::from_secs(4))),
            ],
        }
    }

    fn long(minutes: usize) -> Size {
        use {ToBrokers as B, ToWorkers as W};
        // Of half an hour, so many; at least one of each.
        let share = |count: usize| (count * minutes).div_ceil(30);
        // Time to start and to end.
        let seconds = minutes.max(3) * 60 - 60;
        let bursts = (seconds as i64 / 80).min(10);
        Size {
            name: "long",
            touchpoints: 2_903 * seconds,
            millis: seconds as i64 * 1_000,
            bursts: (bursts.min(3), bursts),
            least: Least {
                kills: share(100),
                zombies: share(20),
                bounces: share(20),
                rebalances: share(30),
                stalls: share(10),
            },
            to_workers: vec![
                (share(46), W::Kill),
                (share(6), W::KillAll),
                (share(20), W::KillTwice),
                (share(12), W::Zombie),
                (share(8), W::ReplacedZombie),
                (share(6), W::Storm(3)),
            ],
            to_brokers: vec![
                (share(3), B::Chase(Lead::Transactions, 3)),
                (share(3), B::Chase(Lead::Group, 2)),
                (share(6), B::Chase(Lead::Input, 1)),
                (share(6), B::LoseEndOfTransaction(Cut::BeforeRequest)),
                (share(6), B::LoseEndOfTransaction(Cut::BeforeAnswer)),
                (share(4), B::LoseEndOfTransaction(LATE)),
                (share(4), B::LoseEndOfTransaction(VERY_LATE)),
                (share(8), B::CutAll),
                (share(6), B::Freeze(Duration::from_secs(3))),
                (share(4), B::Freeze(LONG)),
                (share(6), B::Stall(Duration::from_secs(3))),
                (share(4), B::Stall(Duration::from_secs(8))),
                (share(2), B::Stall(Duration::from_secs(20))),
            ],
        }
    }

    pub(crate) fn order_to_workers(&self, dice: &mut Dice) -> Vec<ToWorkers> {
        shuffled(&self.to_workers, dice)
    }

    pub(crate) fn order_to_brokers(&self, dice: &mut Dice) -> Vec<ToBrokers> {
        shuffled(&self.to_brokers, dice)
    }
}

fn shuffled<T: Copy>(counts: &[(usize, T)], dice: &mut Dice) -> Vec<T> {
    let mut all: Vec<T> = counts.iter().flat_map(|(count, what)| std::iter::repeat_n(*what, *count)).collect();
    for place in (1..all.len()).rev() {
        all.swap(place, dice.below(place as u64 + 1) as usize);
    }
    all
}
