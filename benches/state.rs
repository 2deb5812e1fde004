//! What a typical customer takes: bytes in the state log, and bytes in the memory of a worker.
//!
//! `cargo bench --bench state`. Memory is what the process grows by, as the kernel counts it, when it comes to hold many such
//! customers in the map that workers use; so it includes the map, its keys, and what the allocator needs for itself. Customers
//! live in two ways, which differ in what their queues have room for: told (grown touchpoint by touchpoint) and restored
//! (read back from the log at a start).
#![expect(clippy::print_stdout, reason = "a benchmark tells its figures")]

#[path = "../tests/it/golden/story.rs"]
mod story;

use sillage::journey::Customer;
use sillage::shard::Customers;
use sillage::touchpoint::Identity;
use sillage::wire::state;

/// So many customers; one page of memory is then less than a byte of each.
const CUSTOMERS: usize = 20_000;

fn main() {
    match std::env::args().find(|argument| ["restored", "grown"].contains(&argument.as_str())).as_deref() {
        None => tell(),
        Some(how) => println!("{}", measure(how)),
    }
}

fn tell() {
    let (touchpoints, model) = (story::touchpoints(), story::model());
    let (typical, told) = story::customer(&model, &touchpoints);
    println!(
        "typical customer: {} touchpoints, {} outcomes, {} in the history, {} episode remembered",
        touchpoints.len(),
        told.len(),
        typical.history().len(),
        typical.journeys[0].episodes.len()
    );
    println!("in the log: {} bytes", encoded(&typical).len());
    for how in ["restored", "grown"] {
        // Each in a process of its own: what one frees, another would fill.
        let this = std::env::current_exe().expect("this program");
        let ended = std::process::Command::new(this).arg(how).output().expect("it starts");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        println!("in memory: {} bytes each of {CUSTOMERS}, {how}", String::from_utf8_lossy(&ended.stdout).trim());
    }
}

/// Bytes that each of many customers takes.
fn measure(how: &str) -> usize {
    let (touchpoints, model) = (story::touchpoints(), story::model());
    let bytes = encoded(&story::customer(&model, &touchpoints).0);
    match how {
        "restored" => grown_by(|number| {
            let mut customer = state::decode(&bytes).expect("readable");
            customer.identity = who(number);
            customer
        }),
        _ => grown_by(|number| {
            let mut own = touchpoints.clone();
            own.iter_mut().for_each(|touchpoint| touchpoint.identity = who(number));
            story::customer(&model, &own).0
        }),
    }
}

fn who(number: usize) -> Identity {
    Identity::customer(format!("customer-{number:06}"))
}

fn encoded(customer: &Customer) -> Vec<u8> {
    let mut bytes = Vec::new();
    state::encode(customer, &mut bytes);
    bytes
}

/// Resident bytes that each of many customers adds.
fn grown_by(make: impl Fn(usize) -> Customer) -> usize {
    let before = resident();
    let mut held = Vec::new();
    for first in (0..CUSTOMERS).step_by(1_000) {
        held.push((first..first + 1_000).map(&make).collect::<Customers>());
    }
    let after = resident();
    assert_eq!(held.len() * 1_000, CUSTOMERS);
    (after - before) / CUSTOMERS
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1_024
}
