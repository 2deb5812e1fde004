//! What a system has published: counted by kind, and compared with what another has published, byte for byte.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};

use rdkafka::message::Message;

use crate::kafka;
use crate::load;

/// The topics of outcomes, behind their prefix.
pub const TOPICS: [&str; 4] = ["transitions", "completions", "abandonments", "recoveries"];

/// What was published until an instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Outcomes by kind, and by what they are about.
    pub kinds: BTreeMap<String, u64>,
    /// Bytes of their values.
    pub bytes: u64,
    /// The sum of a hash of each value: the same for the same values in whatever order.
    pub sum: u64,
    /// The sum of a hash of each outcome's id.
    pub ids: u64,
}

impl Told {
    /// How many.
    pub fn count(&self) -> u64 {
        self.kinds.values().sum()
    }

    /// Reads the outcomes behind a prefix that happened until `end_ms`; a system that follows the clock decides what falls due
    /// after the end of the load as well.
    pub fn read(brokers: &str, prefix: &str, end_ms: i64) -> Result<Told, String> {
        let topics: Vec<String> = TOPICS.iter().map(|name| format!("{prefix}.{name}")).collect();
        let (mut told, end) = (Told::default(), instant(end_ms));
        kafka::read_all(brokers, &topics, |message| {
            let value = message.payload().unwrap_or_default();
            if !is_after(value, &end) {
                told.add(value);
            }
        })?;
        Ok(told)
    }

    fn add(&mut self, value: &[u8]) {
        let kind = field(value, "kind").unwrap_or("none");
        let what = match kind {
            "transition" => field(value, "movement"),
            _ => field(value, "episode").or_else(|| field(value, "stage")),
        };
        let name = format!("{kind} {}", what.unwrap_or("-"));
        *self.kinds.entry(name).or_default() += 1;
        self.bytes += value.len() as u64;
        self.sum = self.sum.wrapping_add(hash(value));
        self.ids = self.ids.wrapping_add(hash(field(value, "outcome_id").unwrap_or_default().as_bytes()));
    }

    /// In what two differ; nothing where they do not.
    pub fn differences(&self, other: &Told) -> Vec<String> {
        let mut all: Vec<&String> = self.kinds.keys().chain(other.kinds.keys()).collect();
        all.sort();
        all.dedup();
        let count = |of: &Told, kind: &String| of.kinds.get(kind).copied().unwrap_or_default();
        let differs = |kind: &&String| count(self, kind) != count(other, kind);
        let line = |kind: &String| format!("{kind}: {} against {}", count(self, kind), count(other, kind));
        all.into_iter().filter(differs).map(line).collect()
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// An instant as outcomes write it.
pub fn instant(ms: i64) -> String {
    let mut text = String::new();
    load::instant(ms, &mut text);
    text
}

/// Whether an outcome happened after an instant.
pub fn is_after(value: &[u8], end: &str) -> bool {
    field(value, "at").is_some_and(|at| at > end)
}

/// The text after the first `"name":"`.
pub fn field<'a>(value: &'a [u8], name: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(value).ok()?;
    let mark = format!("\"{name}\":\"");
    let at = text.find(&mark)? + mark.len();
    text[at..].split('"').next()
}
