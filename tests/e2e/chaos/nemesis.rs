//! What makes things happen: two lanes, one for the workers, one for brokers and network, each at its own pace.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::cluster::{BROKERS, Cluster};
use crate::harness::proxy::{Cut, END_TXN, Proxy, Then};
use crate::harness::say;
use crate::plan::{Lead, ToBrokers, ToWorkers};
use crate::shopper::Dice;
use crate::team::Team;

/// What was done to brokers and network.
#[derive(Default)]
pub(crate) struct Done {
    pub bounces: AtomicUsize,
    pub kills_of_brokers: AtomicUsize,
    pub ends_lost: AtomicUsize,
    pub cuts: AtomicUsize,
    pub freezes: AtomicUsize,
    pub stalls: AtomicUsize,
}

/// The names by which the brokers know what the workers do.
pub(crate) struct Names {
    pub group: String,
    pub transactional: Vec<String>,
    pub inputs: Vec<String>,
    pub partitions: i32,
}

/// Lets everything happen in its order, evenly over this time; ends early when told to stop.
pub(crate) fn in_turn<T: Copy + std::fmt::Debug>(order: &[T], over: Duration, stop: &AtomicBool, mut act: impl FnMut(T)) {
    let begun = Instant::now();
    for (place, what) in order.iter().enumerate() {
        let due = over * place as u32 / order.len() as u32;
        while begun.elapsed() < due && !stop.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(20));
        }
        if stop.load(Ordering::Acquire) {
            return;
        }
        let from = Instant::now();
        act(*what);
        if std::env::var("CHAOS_TELL").is_ok() {
            say(&format!("{:6.1} s: {what:?} took {:.1} s", begun.elapsed().as_secs_f64(), from.elapsed().as_secs_f64()));
        }
    }
}

/// Does this to the team.
pub(crate) fn to_workers(what: ToWorkers, team: &Team, dice: &mut Dice) {
    let victim = dice.below(team.size() as u64) as usize;
    match what {
        ToWorkers::Kill => team.kill(victim),
        ToWorkers::KillAll => (0..team.size()).for_each(|number| team.kill(number)),
        ToWorkers::KillTwice => team.kill_twice(victim, dice),
        ToWorkers::Zombie => team.freeze(victim),
        ToWorkers::ReplacedZombie => team.freeze_and_replace(victim),
        ToWorkers::Storm(times) => team.storm(times, dice),
    }
}

/// Does this to the cluster.
pub(crate) fn to_brokers(what: ToBrokers, cluster: &Cluster, names: &Names, done: &Done, dice: &mut Dice) {
    match what {
        ToBrokers::Chase(lead, times) => {
            let which = dice.below(1 << 20) as usize;
            (0..times).for_each(|_| bounce(cluster, leader(cluster, names, lead, which), done, dice));
        }
        ToBrokers::LoseEndOfTransaction(cut) => {
            if lose_end_of_transaction(cluster.proxies(), cut) {
                done.ends_lost.fetch_add(1, Ordering::AcqRel);
            }
        }
        ToBrokers::CutAll => {
            cluster.proxies().iter().for_each(Proxy::cut);
            done.cuts.fetch_add(1, Ordering::AcqRel);
        }
        ToBrokers::Freeze(span) => {
            cluster.proxies().iter().for_each(Proxy::freeze);
            std::thread::sleep(span);
            cluster.proxies().iter().for_each(Proxy::thaw);
            done.freezes.fetch_add(1, Ordering::AcqRel);
        }
        ToBrokers::Stall(span) => {
            let broker = cluster.broker(dice.below(BROKERS as u64) as usize + 1);
            broker.freeze();
            std::thread::sleep(span);
            broker.thaw();
            cluster.wait_until_whole(Duration::from_secs(120));
            done.stalls.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Who leads it now; any broker where nobody is known to.
fn leader(cluster: &Cluster, names: &Names, lead: Lead, which: usize) -> usize {
    let found = match lead {
        Lead::Group => cluster.group_coordinator(&names.group),
        Lead::Transactions => cluster.transaction_coordinator(&names.transactional[which % names.transactional.len()]),
        Lead::Input => {
            let topic = &names.inputs[which % names.inputs.len()];
            cluster.leader(topic, which as i32 % names.partitions)
        }
    };
    found.unwrap_or(which % BROKERS + 1)
}

/// Ends a broker, in two of three cases without warning, and starts it again; goes on when all copies are in step, since two
/// brokers that are away at once are more than this cluster promises to survive without a pause.
fn bounce(cluster: &Cluster, number: usize, done: &Done, dice: &mut Dice) {
    let broker = cluster.broker(number);
    if dice.below(3) > 0 {
        broker.kill();
        done.kills_of_brokers.fetch_add(1, Ordering::AcqRel);
    } else {
        broker.stop();
    }
    std::thread::sleep(Duration::from_millis(dice.below(4_000)));
    broker.start();
    cluster.wait_until_whole(Duration::from_secs(120));
    done.bounces.fetch_add(1, Ordering::AcqRel);
}

/// Whichever broker the next end of a transaction goes to. The worker may have nothing to commit for a while.
fn lose_end_of_transaction(proxies: &[Proxy], cut: Cut) -> bool {
    proxies.iter().for_each(|proxy| proxy.arm(END_TXN, cut, Then::GoOn));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) && !proxies.iter().any(Proxy::was_hit) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let hits = proxies.iter().filter(|proxy| proxy.disarm()).count();
    hits > 0
}
