//! What customers take: bytes in the state log, and bytes in the memory of a shard.
//!
//! `cargo bench --bench state`. Memory is what the process grows by, as the kernel counts it, when a shard comes to hold many
//! customers; so it includes rows, index, wheel, and what the allocator needs for itself. The *profile* customer has done four
//! things, with UUIDs as ids: five stages visited, one open basket, nothing closed. The *typical* one has a full history, has
//! bought twice and has met friction (`tests/it/golden/story.rs`).
#![expect(clippy::print_stdout, reason = "a benchmark tells its figures")]

#[path = "customers/profile.rs"]
mod profile;
#[path = "../tests/it/golden/story.rs"]
mod story;

use std::sync::Arc;

use profile::profile;
use sillage::journey::Customer;
use sillage::journey::packed::Words;
use sillage::model::Model;
use sillage::shard::{Body, Buffered, Customers, Input, Position, Progress, Settings, Shard, StateLog};
use sillage::time::Timestamp;

/// Customers of the slope; between the two numbers a customer's own bytes are what counts.
const FEW: usize = 100_000;
const MANY: usize = 3_000_000;
/// A transaction holds so many customers.
const COMMIT: usize = 5_000;

fn main() {
    let how = std::env::args().skip(1).find(|argument| argument.parse::<usize>().is_ok());
    match how.and_then(|number| number.parse().ok()) {
        None => tell(),
        Some(customers) => println!("{}", grown(customers)),
    }
}

fn tell() {
    let model = story::model();
    let (typical, _) = story::customer(&model, &story::touchpoints());
    println!("typical customer packed: {} bytes", packed(&typical));
    println!("profile customer packed: {} bytes", packed(&story::customer(&model, &profile(1)).0));
    let [few, many] = [FEW, MANY].map(|customers| {
        // Each in a process of its own: what one frees, another would fill.
        let this = std::env::current_exe().expect("this program");
        let ended = std::process::Command::new(this).arg(customers.to_string()).output().expect("it starts");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8_lossy(&ended.stdout).trim().parse::<usize>().expect("a number")
    });
    println!("in memory: {FEW} profile customers {} MB, {MANY} {} MB", few >> 20, many >> 20);
    println!("slope: {:.0} bytes a customer", (many - few) as f64 / (MANY - FEW) as f64);
}

fn packed(customer: &Customer) -> usize {
    let mut bytes = Vec::new();
    customer.pack(&mut Words::default(), &mut bytes);
    bytes.len()
}

/// Resident bytes that a shard with so many profile customers adds.
fn grown(customers: usize) -> usize {
    let models: Arc<[Arc<Model>]> = vec![story::model()].into();
    let settings = Settings { state_log: StateLog::Changes, ..Settings::default() };
    let progress = Progress { positions: vec![Position { offset: 0, log_time: Timestamp::MIN }], ..Progress::default() };
    let before = resident();
    let mut shard = Shard::new(models, settings, Customers::default(), progress);
    let (mut actions, mut offset) = (Vec::new(), 0);
    for number in 1..=customers {
        for touchpoint in profile(number as u64) {
            let log_time = touchpoint.event_time;
            let record = Buffered { offset, log_time, body: Body::Touchpoint(Box::new(touchpoint)) };
            offset += 1;
            shard.handle(Input::Record { input: 0, record }, &mut actions);
        }
        if number % COMMIT == 0 {
            shard.handle(Input::Prepare, &mut actions);
            shard.handle(Input::Committed, &mut actions);
        }
        actions.clear();
    }
    let after = resident();
    assert_eq!((shard.customers().len(), shard.armed()), (customers, customers));
    after - before
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1_024
}
