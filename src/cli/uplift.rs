//! `sillage uplift`: what interventions have brought about, by the sums in the state or as a running service tells.

use std::path::PathBuf;

use serde_json::Value;

use super::client::{Client, Request};
use super::state::group::Group;
use super::state::{Setting, Where};
use super::table::table;
use super::{Failure, print};
use crate::config::Log;
use crate::embedded::Snapshot;
use crate::journey::Sums;
use crate::port::ShardId;
use crate::terminal::plain;
use crate::uplift;
use crate::wire;

/// Say what interventions have brought about: conversion by arm, the difference, and how sure that is.
///
/// Reads the sums where journeys are kept, of all partitions; on the embedded log also while the service runs. With `--url`, a
/// running service is asked, which tells of its own partitions.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration of the service; without one, `SILLAGE_…` variables alone.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask the service that listens here.
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    url: Option<String>,
    /// As JSON, with the sums to the last unit.
    #[arg(long)]
    json: bool,
}

/// Runs the command. Exit code 1: the service refused. Exit code 2: the state cannot be read.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    let told = match &args.url {
        Some(url) => asked(url)?,
        None => {
            let setting = Where::of(args.config).setting()?;
            let (shards, sums) = kept(&setting)?;
            wire::interventions_json(&uplift::figures(&sums, &setting.models), &shards, &[])
        }
    };
    let text = if args.json { format!("{told}\n") } else { text(&told) };
    print(&text)
}

fn asked(url: &str) -> Result<Value, Failure> {
    let client = Client::new(url)?;
    let answer = client.ask(&Request { method: "GET", path: "/v1/interventions", headers: &[], body: b"" });
    let answer = answer
        .map_err(|reason| Failure::could_not_run(format!("{reason}; start the service, or give its address with --url")))?;
    if !answer.is_success() {
        return Err(answer.refusal());
    }
    let stranger = |error| Failure::could_not_run(format!("what answers at {} is not Sillage: {error}", client.base()));
    serde_json::from_slice(&answer.body).map_err(stranger)
}

fn kept(setting: &Setting) -> Result<(Vec<ShardId>, Sums), Failure> {
    match &setting.config.log {
        Log::Embedded(settings) => {
            let snapshot = Snapshot::open(settings).map_err(Failure::could_not_run)?;
            snapshot.sums().map_err(Failure::could_not_run)
        }
        Log::Kafka(log) => {
            let group = Group::reach(log, setting.marks(), None)?;
            let (mut shards, mut sums) = (Vec::new(), Sums::default());
            for shard in group.offline.shards() {
                let restored = group.offline.read(shard).map_err(Failure::could_not_run)?.restored;
                sums.append(&restored.customers.sums());
                shards.push(shard);
            }
            Ok((shards, sums))
        }
    }
}

/// The same for people.
fn text(told: &Value) -> String {
    let shards = list(&told["partitions"]).len();
    let mut text = format!("measured in {shards} partition{}", if shards == 1 { "" } else { "s" });
    let missing = list(&told["missing"]).len();
    if missing > 0 {
        text += &format!("; {missing} more cannot be read now");
    }
    text.push('\n');
    if list(&told["interventions"]).is_empty() {
        return text + "nothing has been measured yet\n";
    }
    text + "\n" + &interventions(told)
}

/// One after the other.
pub(super) fn interventions(told: &Value) -> String {
    let mut text = String::new();
    for one in list(&told["interventions"]) {
        text += &format!("{} version {}\n", word(&one["intervention"]), one["version"]);
        text += &format!("{}\n", arms(one));
        if !list(&one["comparisons"]).is_empty() {
            text += &format!("{}\n", comparisons(one));
        }
        text += &remarks(one);
    }
    text
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> String {
    plain(value.as_str().unwrap_or_default()).into_owned()
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}

fn arms(one: &Value) -> comfy_table::Table {
    let mut table = table(&["arm", "measured", "converted", "left out", "late"]);
    for arm in list(&one["arms"]) {
        let name = match arm["variant"].as_str() {
            Some(variant) => format!("{} ({})", word(&arm["arm"]), plain(variant)),
            None => word(&arm["arm"]),
        };
        let (measured, converted) = (count(&arm["measured"]), count(&arm["converted"]));
        let rate = if measured == 0 { 0.0 } else { converted as f64 / measured as f64 * 100.0 };
        table.add_row([
            name,
            measured.to_string(),
            format!("{converted} ({rate:.1} %)"),
            (count(&arm["crossed"]) + count(&arm["erased"])).to_string(),
            count(&arm["late"]).to_string(),
        ]);
    }
    table
}

fn comparisons(one: &Value) -> comfy_table::Table {
    let mut table = table(&["treated less held out", "difference", "adjusted", "95 % interval"]);
    for comparison in list(&one["comparisons"]) {
        let name = comparison["variant"].as_str().map_or("all".into(), plain).into_owned();
        table.add_row(difference(format!("{name}: converted"), &comparison["conversion"], 100.0, " points"));
        for value in list(&comparison["values"]) {
            let unit = format!(" {}", word(&value["currency"]));
            table.add_row(difference(format!("{name}: value"), value, 1.0, &unit));
        }
    }
    table
}

fn difference(name: String, found: &Value, scale: f64, unit: &str) -> [String; 4] {
    let shown = |value: &Value| format!("{:+.2}{unit}", number(value) * scale);
    let interval = match list(&found["interval"]) {
        [from, to] => format!("{:+.2} to {:+.2}", number(from) * scale, number(to) * scale),
        _ => format!("from {} in each arm on", uplift::MIN_FOR_INTERVAL),
    };
    [name, shown(&found["difference"]), shown(&found["adjusted"]), interval]
}

fn remarks(one: &Value) -> String {
    let mut text = String::new();
    if one["ratio"]["alarm"] == true {
        text += "the arms do not have the shares that the model gives: look for what loses customers of one of them\n";
    }
    if let Some(more) = one["customers_more"].as_u64().filter(|more| *more > 0) {
        text += &format!("a tenth more than without would show after {more} more customers\n");
    }
    text
}
