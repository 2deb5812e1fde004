//! A whole state as lines of JSON, to be kept, looked through, or moved to another log.
//!
//! First a header: models, inputs, and how far each shard had come. Then a line for each customer. Last a line that counts
//! them, so that a file that was cut off is noticed. A line without an id holds what a shard has measured of interventions. A customer's state is the bytes of `wire::state`, in hexadecimal digits:
//! versioned, checksummed, and readable as long as a state log of that version is.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::pages::Mark;
use super::state;
use crate::journey::Customer;
use crate::shard::Progress;
use crate::time::Timestamp;
use crate::touchpoint::{Identity, IdentityKind};

/// The version of the lines' layout.
const FORMAT: u32 = 1;
/// At most so many shards are believed: what claims more is no export.
const MAX_SHARDS: usize = 100_000;

/// What stands in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// When it was written, by the worker clock.
    pub written_at: Timestamp,
    /// The names of the inputs, in the order of the positions.
    pub inputs: Vec<String>,
    /// The models that the state is about, in order.
    pub models: Vec<Mark>,
    /// How far each shard had come, by its number.
    pub shards: Vec<Shard>,
}

/// How far a shard had come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its positions, stream time and commits.
    pub progress: Progress,
    /// Records of its inputs that are not in this state, because they had not been processed when it was written.
    pub waiting: u64,
}

/// Writes an export: a header at once, then customers, then the end.
pub struct Writer<W> {
    output: W,
    customers: u64,
    sums: u64,
    line: String,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// An output that cannot be written.
    pub fn begin(mut output: W, header: &Header) -> io::Result<Self> {
        serde_json::to_writer(&mut output, &HeaderLine::of(header))?;
        output.write_all(b"\n")?;
        Ok(Writer { output, customers: 0, sums: 0, line: String::new() })
    }

    /// Writes a customer, or the row of a shard with what was measured there, given as [`state::encode`] wrote them.
    ///
    /// # Errors
    /// An output that cannot be written.
    pub fn customer(&mut self, shard: u32, who: &Identity, encoded: &[u8]) -> io::Result<()> {
        let is_nobody = who.id.is_empty();
        self.customers += u64::from(!is_nobody);
        self.sums += u64::from(is_nobody);
        self.line.clear();
        push_hexadecimal(encoded, &mut self.line);
        let line = CustomerLine {
            shard,
            customer_id: who.customer_id().filter(|id| !id.is_empty()).map(CompactString::from),
            anonymous_id: who.anonymous_id().map(CompactString::from),
            state: &self.line,
        };
        serde_json::to_writer(&mut self.output, &line)?;
        self.output.write_all(b"\n")
    }

    /// Writes the last line; returns how many customers there were.
    ///
    /// # Errors
    /// An output that cannot be written.
    pub fn end(mut self) -> io::Result<u64> {
        serde_json::to_writer(&mut self.output, &EndLine { customers: self.customers, sums: self.sums })?;
        self.output.write_all(b"\n")?;
        self.output.flush()?;
        Ok(self.customers)
    }
}

/// A customer as read; of an empty id, the row of a shard with what was measured there.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// The shard where the customer was.
    pub from: u32,
    /// The state.
    pub customer: Customer,
}

/// Reads the lines after the header, one after the other.
#[derive(Debug)]
pub struct Reader {
    header: Header,
    customers: u64,
    sums: u64,
    /// Hashes of those that came, since a customer may come only once.
    seen: HashSet<u128>,
    ended: bool,
}

impl Reader {
    /// Reads the header.
    ///
    /// # Errors
    /// What is no header, or of an unknown version.
    pub fn begin(line: &[u8]) -> Result<Self, String> {
        let header = serde_json::from_slice::<HeaderLine>(line).map_err(|error| {
            format!("this is no export of a state: its first line is not what `sillage state export` writes ({error})")
        })?;
        Ok(Reader { header: header.read()?, customers: 0, sums: 0, seen: HashSet::new(), ended: false })
    }

    /// What the header says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Reads a line; `None` at the last.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub fn line(&mut self, line: &[u8]) -> Result<Option<Moved>, String> {
        if self.ended {
            return Err("the export goes on after its last line; was something appended to it?".to_owned());
        }
        if let Ok(EndLine { customers, sums }) = serde_json::from_slice(line) {
            self.ended = true;
            if customers != self.customers {
                return Err(format!(
                    "{} customers came, and the last line counts {customers}; export again",
                    self.customers
                ));
            }
            if sums != self.sums {
                let came = self.sums;
                return Err(format!("sums of {came} partitions came, and the last line counts {sums}; export again"));
            }
            return Ok(None);
        }
        let fault = |error: serde_json::Error| format!("this is no customer of an export ({error}); export again");
        let line: CustomerLine<String> = serde_json::from_slice(line).map_err(fault)?;
        let customer = state::decode(&bytes(&line.state).ok_or("the state is not written in hexadecimal digits")?)?;
        let nobody = CompactString::default();
        let (id, kind) = match (&line.customer_id, &line.anonymous_id) {
            (Some(id), None) => (id, IdentityKind::Customer),
            (None, Some(id)) => (id, IdentityKind::Anonymous),
            (None, None) => (&nobody, IdentityKind::Customer),
            (Some(_), Some(_)) => return Err("a customer has one id, known or anonymous".to_owned()),
        };
        let is_nobody = id.is_empty();
        let who = Identity { id: id.clone(), kind };
        if customer.identity != who {
            return Err("the state is another customer's than the line says; export again".to_owned());
        }
        if line.shard as usize >= self.header.shards.len() {
            return Err(format!("the customer was in partition {}, which the header does not know", line.shard));
        }
        let mut key = Vec::new();
        state::key(&who, &mut key);
        if is_nobody {
            self.sums += 1;
        } else if !self.seen.insert(xxhash_rust::xxh3::xxh3_128(&key)) {
            return Err(
                "the customer comes a second time: the inputs were not keyed by the customer, so that two partitions hold \
                 journeys of the same one; delete one of the two lines, and lower the last line's count"
                    .to_owned(),
            );
        }
        self.customers += u64::from(!is_nobody);
        Ok(Some(Moved { from: line.shard, customer }))
    }

    /// The file has ended; returns how many customers there were.
    ///
    /// # Errors
    /// An end before the last line.
    pub fn end(self) -> Result<u64, String> {
        if self.ended {
            return Ok(self.customers);
        }
        Err(format!(
            "the export is cut off after {} customers: its last line, which counts them, is missing; export again",
            self.customers
        ))
    }
}

/// The stream time at which each shard of another log goes on with customers who come from several shards.
///
/// It is the least stream time of the shards that its customers come from. Nobody's deadline is lost: those at or before the
/// stream time of a customer's own shard have been decided there (rule 5), and all later ones lie ahead of the least, too.
/// Nothing fires twice: a decided deadline no longer stands in the state, whatever stream time is. Nothing fires early: a
/// deadline is due when stream time reaches it, which moves on from here only as the new inputs let it (rule 4), to where
/// they and the clock are. And since all deadlines lie ahead, they fire in the order of rule 7, as in one shard. The greatest
/// would serve as well only by firing at once, out of that order, what lies between the two.
#[derive(Debug)]
pub struct StreamTimes {
    sources: Vec<Option<Timestamp>>,
    /// By shard of the target; absent where nobody came.
    least: BTreeMap<u32, Option<Timestamp>>,
}

impl StreamTimes {
    /// Nobody has come yet.
    pub fn of(header: &Header) -> Self {
        StreamTimes {
            sources: header.shards.iter().map(|shard| shard.progress.stream_time).collect(),
            least: BTreeMap::new(),
        }
    }

    /// A customer of the source's shard `from` goes to the target's shard `to`.
    pub fn moved(&mut self, from: u32, to: u32) {
        let came = self.sources.get(from as usize).copied().flatten();
        self.least.entry(to).and_modify(|least| *least = (*least).min(came)).or_insert(came);
    }

    /// The stream time of a shard of the target; `None` where nobody came, or nothing was ever decided.
    pub fn at(&self, to: u32) -> Option<Timestamp> {
        self.least.get(&to).copied().flatten()
    }
}

/// Instants that were never are absent, as the calendar cannot say them.
fn instant(at: Timestamp) -> Option<String> {
    (at != Timestamp::MIN).then(|| at.to_string())
}

fn read_instant(text: Option<&str>) -> Result<Option<Timestamp>, String> {
    text.map(|text| Timestamp::parse(text).map_err(|error| error.to_string())).transpose()
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderLine {
    /// Says what the file is, also to whoever opens it.
    sillage_state: u32,
    written_at: String,
    inputs: Vec<String>,
    models: Vec<Mark>,
    shards: Vec<ShardLine>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShardLine {
    shard: u32,
    sequence: u64,
    stream_time: Option<String>,
    positions: Vec<PositionLine>,
    waiting: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PositionLine {
    offset: i64,
    log_time: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CustomerLine<S> {
    shard: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    customer_id: Option<CompactString>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    anonymous_id: Option<CompactString>,
    state: S,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndLine {
    customers: u64,
    #[serde(default, skip_serializing_if = "is_none")]
    sums: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

impl HeaderLine {
    fn of(header: &Header) -> Self {
        let shard = |(number, Shard { progress, waiting }): (usize, &Shard)| ShardLine {
            shard: number as u32,
            sequence: progress.sequence,
            stream_time: progress.stream_time.and_then(instant),
            // That of the control topic stays behind: it says nothing of another one.
            positions: progress
                .positions
                .iter()
                .take(header.inputs.len())
                .map(|position| PositionLine { offset: position.offset, log_time: instant(position.log_time) })
                .collect(),
            waiting: *waiting,
        };
        HeaderLine {
            sillage_state: FORMAT,
            written_at: header.written_at.to_string(),
            inputs: header.inputs.clone(),
            models: header.models.clone(),
            shards: header.shards.iter().enumerate().map(shard).collect(),
        }
    }

    fn read(self) -> Result<Header, String> {
        if self.sillage_state != FORMAT {
            return Err(format!(
                "the export has format {}, and this Sillage knows format {FORMAT}; use the Sillage that wrote it",
                self.sillage_state
            ));
        }
        if self.shards.is_empty() || self.shards.len() > MAX_SHARDS {
            return Err(format!("the export claims to have {} partitions", self.shards.len()));
        }
        let mut shards = Vec::with_capacity(self.shards.len());
        for (number, shard) in self.shards.into_iter().enumerate() {
            if shard.shard as usize != number || shard.positions.len() != self.inputs.len() {
                return Err(format!("the export's header does not say of partition {number} what it should"));
            }
            let position = |position: PositionLine| -> Result<crate::shard::Position, String> {
                let log_time = read_instant(position.log_time.as_deref())?.unwrap_or(Timestamp::MIN);
                Ok(crate::shard::Position { offset: position.offset, log_time })
            };
            let progress = Progress {
                positions: shard.positions.into_iter().map(position).collect::<Result<_, _>>()?,
                stream_time: read_instant(shard.stream_time.as_deref())?,
                sequence: shard.sequence,
            };
            shards.push(Shard { progress, waiting: shard.waiting });
        }
        let written_at = Timestamp::parse(&self.written_at).map_err(|error| error.to_string())?;
        Ok(Header { written_at, inputs: self.inputs, models: self.models, shards })
    }
}

fn push_hexadecimal(bytes: &[u8], text: &mut String) {
    let digit = |half: u8| char::from(if half < 10 { b'0' + half } else { b'a' + half - 10 });
    text.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::Position;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_767_225_600_000 + millis)
    }

    fn header() -> Header {
        let shard = |offset, log_time, stream_time| Shard {
            progress: Progress { positions: vec![Position { offset, log_time }], stream_time, sequence: 3 },
            waiting: 2,
        };
        Header {
            written_at: at(77),
            inputs: vec!["touchpoints".to_owned()],
            models: vec![Mark { name: "m".to_owned(), version: 2, structure: "m: stages a; episodes ".to_owned() }],
            shards: vec![shard(5, at(50), Some(at(60))), shard(0, Timestamp::MIN, None), shard(9, at(10), Some(at(20)))],
        }
    }

    fn written(customers: &[(u32, Customer)]) -> Vec<Vec<u8>> {
        written_as(customers, customers.len() as u64)
    }

    fn written_as(customers: &[(u32, Customer)], counted: u64) -> Vec<Vec<u8>> {
        let mut file = Vec::new();
        let mut writer = Writer::begin(&mut file, &header()).expect("memory takes all");
        for (shard, customer) in customers {
            let mut state = Vec::new();
            state::encode(customer, &mut state);
            writer.customer(*shard, &customer.identity, &state).expect("memory takes all");
        }
        assert_eq!(writer.end().expect("memory takes all"), counted);
        file.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    }

    fn read(lines: &[Vec<u8>]) -> Result<Vec<Moved>, String> {
        let (first, rest) = lines.split_first().ok_or("empty")?;
        let mut reader = Reader::begin(first)?;
        assert_eq!(*reader.header(), header());
        let mut moved = Vec::new();
        for line in rest {
            moved.extend(reader.line(line)?);
        }
        assert_eq!(reader.end()?, moved.len() as u64);
        Ok(moved)
    }

    fn two() -> Vec<(u32, Customer)> {
        vec![(0, Customer::new(Identity::customer("c-1"))), (2, Customer::new(Identity::anonymous("c-1")))]
    }

    #[test]
    fn an_export_reads_back() {
        let moved = read(&written(&two())).expect("whole");
        let expected: Vec<Moved> = two().into_iter().map(|(from, customer)| Moved { from, customer }).collect();
        assert_eq!(moved, expected);
        assert_eq!(read(&written(&[])).expect("whole"), []);
    }

    /// The row of a shard, which has no id, comes for each of them.
    #[test]
    fn what_shards_have_measured_reads_back_and_is_counted() {
        let row = || Customer::new(Identity::customer(""));
        let mut all = two();
        all.extend([(0, row()), (1, row())]);
        let mut lines = written_as(&all, 2);
        let moved = |lines: &[Vec<u8>]| -> Result<usize, String> {
            let mut reader = Reader::begin(&lines[0])?;
            let mut rows = 0;
            for line in &lines[1..] {
                rows += usize::from(reader.line(line)?.is_some_and(|moved| moved.customer == row()));
            }
            reader.end().map(|_| rows)
        };
        assert_eq!(moved(&lines), Ok(2));
        lines.remove(3);
        assert!(moved(&lines).expect_err("refused").contains("the last line counts 2"));
    }

    #[test]
    fn what_is_cut_off_changed_or_doubled_is_noticed() {
        let lines = written(&two());
        let refused = |lines: &[Vec<u8>]| read(lines).expect_err("refused");
        for kept in 1..lines.len() {
            assert!(refused(&lines[..kept]).contains("is cut off"), "{kept} lines");
        }
        assert!(refused(&[&lines[..2], &lines[3..]].concat()).contains("the last line counts 2"));
        assert!(refused(&[&lines[..2], &lines[1..]].concat()).contains("comes a second time"));
        assert!(refused(&[&lines[..], &lines[3..]].concat()).contains("goes on after its last line"));
        let other = String::from_utf8(lines[1].clone()).expect("text").replace("c-1", "c-2").into_bytes();
        assert!(refused(&[lines[0].clone(), other]).contains("another customer's"));
        let mut damaged = lines.clone();
        let place = damaged[1].len() - 5;
        damaged[1][place] = if damaged[1][place] == b'0' { b'1' } else { b'0' };
        assert!(refused(&damaged).contains("damaged"));
        let newer = String::from_utf8(lines[0].clone()).expect("text").replace("\"sillage_state\":1", "\"sillage_state\":2");
        assert!(refused(&[newer.into_bytes()]).contains("format 2"));
        assert!(refused(&lines[1..]).contains("no export of a state"));
    }

    #[test]
    fn a_shard_goes_on_at_the_least_stream_time_of_those_who_come_to_it() {
        let mut times = StreamTimes::of(&header());
        for (from, to) in [(0, 0), (2, 0), (0, 1), (1, 2), (0, 2)] {
            times.moved(from, to);
        }
        assert_eq!([0, 1, 2, 3].map(|to| times.at(to)), [Some(at(20)), Some(at(60)), None, None]);
    }
}
