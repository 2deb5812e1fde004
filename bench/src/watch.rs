//! Watches a process drain a topic: its processor time and memory from `/proc`, its committed offsets from the broker.
//!
//! Reads no records and joins no group. Afterwards the broker's own record of committed offsets says when each commit was.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::kafka::{self, CALL};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(100);
/// Outputs have come to rest when nothing was written for so many seconds.
const REST: f64 = 3.5;

/// What it cost to drain a topic.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// From the beginning to the commit of the last record.
    pub wall_s: f64,
    /// Processor seconds a million records, start included.
    pub cpu_per_m: f64,
    /// The same after the first third.
    pub warm_cpu_per_m: f64,
    /// Thousands of records a second after the first third.
    pub warm_k_per_s: f64,
    /// Resident at the end.
    pub rss_mb: f64,
    /// Resident at most.
    pub peak_mb: f64,
}

struct Sample {
    wall: f64,
    cpu: f64,
    done: i64,
}

/// What is watched.
pub struct Watched<'a> {
    /// The broker.
    pub brokers: &'a str,
    /// The process.
    pub pid: u32,
    /// What it drains.
    pub topic: &'a str,
    /// Its consumer group.
    pub group: &'a str,
    /// Processor time that does not count.
    pub base: f64,
    /// Of a system that commits offsets apart from what it writes: the topics that must have come to rest as well.
    pub outputs: &'a [String],
}

impl<'a> Watched<'a> {
    /// A process that commits offsets and outputs together, watched from its start.
    pub fn of(brokers: &'a str, pid: u32, topic: &'a str, group: &'a str) -> Self {
        Watched { brokers, pid, topic, group, base: 0.0, outputs: &[] }
    }
}

/// Looks until everything is committed.
pub fn drain(watched: &Watched<'_>, limit: Duration) -> Result<Cost, String> {
    let Watched { brokers, pid, topic, group, base, outputs } = *watched;
    let begun = Instant::now();
    let mut config = kafka::config(brokers);
    // Open transactions are not waited for: what is asked is what has been committed.
    config.set("group.id", group).set("enable.auto.commit", "false").set("isolation.level", "read_uncommitted");
    let client: BaseConsumer = config.create().map_err(|error| error.to_string())?;
    let extents = kafka::extents(&client, topic)?;
    let total: i64 = extents.iter().map(|extent| extent.high - extent.low).sum();
    let mut asked = TopicPartitionList::new();
    for extent in &extents {
        asked.add_partition(topic, extent.partition);
    }
    let (mut samples, mut memory) = (Vec::new(), (0.0, 0.0));
    let (mut before, mut rested) = (0, 0);
    loop {
        let wall = begun.elapsed().as_secs_f64();
        // The offsets before the processor time: what was done had cost at most so much.
        let done = client.committed_offsets(asked.clone(), CALL).map_or(0, |offsets| {
            let at = |offset: Offset, low: i64| if let Offset::Offset(at) = offset { at - low } else { 0 };
            offsets.elements().iter().zip(&extents).map(|(element, extent)| at(element.offset(), extent.low)).sum()
        });
        let cpu = cpu(pid).ok_or("it ended before everything was committed")? - base;
        samples.push(Sample { wall, cpu, done });
        memory = resident(pid).unwrap_or(memory);
        if done >= total {
            let now = written(&client, outputs)?;
            if rested == 0 || now != before {
                (before, rested) = (now, samples.len());
            }
            if outputs.is_empty() || wall - samples[rested - 1].wall > REST {
                samples.truncate(rested);
                return Ok(cost(&samples, total, memory));
            }
        }
        if begun.elapsed() > limit {
            return Err(format!("{done} of {total} touchpoints were committed after {limit:?}"));
        }
        std::thread::sleep(EVERY);
    }
}

/// How much was written to topics, transactions' own marks included.
fn written(client: &BaseConsumer, topics: &[String]) -> Result<i64, String> {
    let mut sum = 0;
    for topic in topics {
        sum += kafka::extents(client, topic)?.iter().map(|extent| extent.high).sum::<i64>();
    }
    Ok(sum)
}

fn cost(samples: &[Sample], total: i64, (rss_mb, peak_mb): (f64, f64)) -> Cost {
    let last = &samples[samples.len() - 1];
    let warm = samples.iter().find(|sample| sample.done >= total / 3).unwrap_or(last);
    let rest = (last.done - warm.done).max(1) as f64 / 1e6;
    Cost {
        wall_s: last.wall,
        cpu_per_m: last.cpu / (total as f64 / 1e6),
        warm_cpu_per_m: (last.cpu - warm.cpu) / rest,
        warm_k_per_s: rest * 1e3 / (last.wall - warm.wall).max(1e-9),
        rss_mb,
        peak_mb,
    }
}

/// User and system seconds of all threads, those that ended included; nothing where the process has ended.
pub fn cpu(pid: u32) -> Option<f64> {
    times(pid).filter(|(_, ended)| !ended).map(|(seconds, _)| seconds)
}

/// The same, and whether the process has ended; it is still known until somebody has waited for it.
pub fn times(pid: u32) -> Option<(f64, bool)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold blanks.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    // Linux tells user space hundredths, whatever its own clock.
    Some((ticks as f64 / 100.0, fields.first() == Some(&"Z")))
}

/// Resident now, and at most so far, in MB.
pub fn resident(pid: u32) -> Option<(f64, f64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let of = |name: &str| -> Option<f64> {
        status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
    };
    Some((of("VmRSS:")? * 1024.0 / 1e6, of("VmHWM:")? * 1024.0 / 1e6))
}

/// How far apart the commits of a group were.
#[derive(Clone, Debug, Default)]
pub struct Commits {
    /// How many.
    pub count: usize,
    /// Share of the intervals under 150 ms.
    pub held: f64,
    /// The interval in the middle, in ms.
    pub median_ms: i64,
    /// The longest.
    pub longest_ms: i64,
}

/// Reads when the broker was given the offsets of each transaction, until an instant. That is just before a transaction ends,
/// and the same for every system, whatever it stamps its records with.
pub fn commits(brokers: &str, group: &str, until_ms: i64) -> Result<Commits, String> {
    let mut instants = Vec::new();
    kafka::read_all(brokers, &["__consumer_offsets".to_owned()], |message| {
        let of_group = message.key().is_some_and(|key| is_offset_of(key, group)) && message.payload().is_some();
        if let (true, Some(at)) = (of_group, message.timestamp().to_millis().filter(|at| *at <= until_ms)) {
            instants.push(at);
        }
    })?;
    instants.sort_unstable();
    // The offsets of one commit are written together, though perhaps in several requests.
    instants.dedup_by(|later, earlier| *later - *earlier < 20);
    let mut intervals: Vec<i64> = instants.windows(2).map(|pair| pair[1] - pair[0]).collect();
    intervals.sort_unstable();
    let Some(longest_ms) = intervals.last().copied() else { return Ok(Commits::default()) };
    let held = intervals.iter().filter(|interval| **interval < 150).count() as f64 / intervals.len() as f64;
    Ok(Commits { count: instants.len(), held, median_ms: intervals[intervals.len() / 2], longest_ms })
}

/// A key of `__consumer_offsets`: a version, 0 or 1 for an offset, and the group's name behind its length.
fn is_offset_of(key: &[u8], group: &str) -> bool {
    let Some((head, rest)) = key.split_at_checked(4) else { return false };
    let (version, length) = (u16::from_be_bytes([head[0], head[1]]), u16::from_be_bytes([head[2], head[3]]));
    version <= 1 && usize::from(length) == group.len() && rest.starts_with(group.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_after_the_first_third_leaves_the_beginning_out() {
        let sample = |wall, cpu, done| Sample { wall, cpu, done };
        let samples = [sample(0.0, 0.0, 0), sample(2.0, 3.0, 1_000_000), sample(4.0, 4.0, 3_000_000)];
        let cost = cost(&samples, 3_000_000, (100.0, 200.0));
        assert!((cost.cpu_per_m - 4.0 / 3.0).abs() < 1e-9 && (cost.warm_cpu_per_m - 0.5).abs() < 1e-9);
        assert!((cost.warm_k_per_s - 1_000.0).abs() < 1e-9);
    }

    #[test]
    fn an_offsets_key_is_told_from_others() {
        assert!(is_offset_of(b"\0\x01\0\x04busy\0\x01t\0\0\0\x07", "busy"));
        assert!(!is_offset_of(b"\0\x01\0\x05busy2\0\x01t\0\0\0\x07", "busy"));
        assert!(!is_offset_of(b"\0\x02\0\x04busy", "busy"));
    }
}
