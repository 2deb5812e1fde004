//! The benchmark: on one real broker, several systems drain the same backlog, one after the other, and what each cost is
//! compared. A figure counts only where the outcomes are the same.
//!
//! [`load`] is what shoppers do, [`fill`] writes it; [`systems`] are started on it, [`watch`] measures them, [`outcomes`]
//! compares what they told; [`capture`] and [`floor`] are the bare loop; [`report`] writes `docs/benchmarks.md`.
//!
//! Beside the backlog ([`run`]): [`latency`] of what comes live, [`restore`] after a kill, [`slopes`] of memory over customers,
//! what each rule [`costs`], and what Sillage does [`alone`].

mod alone;
mod avro;
mod broker;
mod capture;
mod costs;
mod customers;
mod ffi;
mod fill;
mod floor;
mod ground;
mod home;
mod http;
mod kafka;
mod latency;
mod load;
mod outcomes;
mod plan;
mod plot;
mod report;
mod restore;
mod run;
mod slopes;
mod systems;
mod watch;

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use plan::{Plan, USAGE};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<&str>>()[..] {
        ["run", ..] => Plan::read("run", &arguments[1..]).and_then(|plan| run::run(&plan)),
        ["latency", ..] => Plan::read("latency", &arguments[1..]).and_then(|plan| latency::run(&plan)),
        ["restore", ..] => Plan::read("restore", &arguments[1..]).and_then(|plan| restore::run(&plan)),
        ["slopes", ..] => Plan::read("slopes", &arguments[1..]).and_then(|plan| slopes::run(&plan)),
        ["costs", ..] => Plan::read("costs", &arguments[1..]).and_then(|plan| costs::run(&plan)),
        ["alone", ..] => Plan::read("alone", &arguments[1..]).and_then(|plan| alone::run(&plan)),
        ["load", name, ..] => {
            let arguments = [&["--load".to_owned(), name.to_owned()], &arguments[2..]].concat();
            Plan::read("load", &arguments).and_then(|plan| print(&plan))
        }
        ["floor", brokers, input, group, captured, ..] => {
            floor::run(brokers, input, group, Path::new(captured), &arguments[5..])
        }
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("bench: {reason}");
            ExitCode::from(2)
        }
    }
}

/// Writes loads as JSON lines; they end at a fixed instant.
fn print(plan: &Plan) -> Result<(), String> {
    const END_MS: i64 = 1_795_910_400_000;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for load in &plan.loads {
        let start = END_MS - load.settings.span_ms as i64;
        let mut line = String::new();
        for deed in load::deeds(&load.settings) {
            load::json(&deed, start + deed.at as i64, &mut line);
            writeln!(out, "{line}").map_err(|error| error.to_string())?;
        }
    }
    out.flush().map_err(|error| error.to_string())
}
