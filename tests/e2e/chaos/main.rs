//! Real brokers, real kills: three brokers, three worker processes, a load that waits for nobody, a reader of committed
//! outcomes that reads all the time, and everything that can happen to machines and networks. Afterwards, what was read
//! equals what the oracle tells, customer by customer and in sequence: nothing lost, nothing twice, nothing wrong, nothing
//! after the purchase.
//!
//! **How deadlines are judged.** The load keeps away from them: every touchpoint lies 25.5 s and more from every deadline
//! that it could put off or drop ([`load`]), and a run in which a touchpoint took longer than that to be acknowledged by the
//! brokers says that it proves nothing. How long *workers* are away does not matter: decisions follow log time, so a backlog
//! is decided as it would have been live. About a third of all outcomes are abandonments; their deadlines pass all the time,
//! most of them while something is broken, and each must be published once, with the instant at which it was due.
//!
//! **After the purchase** is judged without the oracle: by the episodes that the outcomes name, and by what the customers
//! bought ([`judge`]).
//!
//! **Offers** are judged without the oracle as well, by what their customers did and by the outcomes that asked ([`offers`]):
//! caps, consents, arms, withdrawals, and that nothing is missing. **Logins** go on beside all that, and what holds about those who
//! log in is judged at last ([`visitors`]).
//!
//! This is a test program of its own because cargo runs those one after another: it loads the machine for minutes, and would
//! disturb what `e2e` measures. Its tests run one at a time.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `CHAOS=long` | Half an hour: 100 kills, 20 zombies, 20 bounces, 30 rebalances, 5 million touchpoints (`make chaos`). Otherwise the short run, a few minutes. |
//! | `CHAOS_MINUTES` | Another length of the long run; everything else in proportion. |
//! | `SEED` | The order of what happens, and the load. It is printed. |
//! | `SILLAGE_BIN` | Judges another binary. |
//!
//! A run that fails names a folder with the workers' and brokers' logs and the differences by customer.

// Both test programs stand on these, and neither needs everything.
#[allow(dead_code)]
#[path = "../harness/mod.rs"]
mod harness;
#[path = "../oracle.rs"]
mod oracle;
#[path = "../shopper.rs"]
mod shopper;
#[path = "../told.rs"]
mod told;

mod judge;
mod leaderless;
mod load;
mod nemesis;
mod offers;
mod plan;
mod rolling;
mod run;
mod stalled;
mod team;
mod visitors;
mod watcher;

use std::sync::{Mutex, MutexGuard, PoisonError};

use harness::cluster::Cluster;
use harness::{can_run_brokers, say};

/// Three brokers for a test to break; `None` where there is no Java to run them, or where the user's own would be broken.
fn cluster_to_break(test: &str) -> Option<Cluster> {
    may_break_brokers(test).then(Cluster::start)
}

fn may_break_brokers(test: &str) -> bool {
    if std::env::var("SILLAGE_BROKERS").is_ok() {
        say(&format!("{test} was SKIPPED: it kills brokers, so it needs its own; unset SILLAGE_BROKERS to run it"));
        return false;
    }
    can_run_brokers()
}

/// One test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
