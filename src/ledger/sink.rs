//! What a worker writes: one transaction at a time, and certainty about how each commit ended (rules 20 to 22).

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::{debug, info};

use super::writer::StateWriter;
use super::{Failure, Ledger, OffsetMetadata, Outgoing, Position, ProducerState, Transactions};
use crate::journey::Outcome;
use crate::port::{Origin, ShardId, Sink, Verdict};
use crate::shard::{HandOff, Progress, Unusable, Written};
use crate::touchpoint::Identity;
use crate::wire::{self, erasures, handing, outputs};

/// Headers and framing take at most this much beside key and value.
const OVERHEAD: usize = 2_048;

/// A worker's side of its transactions.
pub struct LedgerSink<T> {
    ledger: Arc<Ledger>,
    log: T,
    begun: bool,
    /// Why the open transaction cannot be committed.
    trouble: Option<String>,
    /// Names this sink among all that ever used its transactional id.
    name: String,
    compacted: Vec<String>,
    /// The full names of the outputs, made once: by the names behind the prefix.
    names: Vec<(&'static str, String)>,
    attempts: u64,
    buffer: Vec<u8>,
    state: StateWriter,
    /// By shard: what others handed over is asked to be deleted before this offset.
    handed: BTreeMap<ShardId, i64>,
}

impl<T: Transactions> LedgerSink<T> {
    /// A sink without an open transaction. `name` tells its attempts to commit apart from those of all others: ASCII, without
    /// spaces.
    pub fn new(ledger: Arc<Ledger>, log: T, name: String) -> Self {
        LedgerSink {
            state: StateWriter::new(Arc::clone(&ledger)),
            names: outputs::ALL.iter().map(|output| (*output, ledger.topic(output))).collect(),
            ledger,
            log,
            compacted: Vec::new(),
            begun: false,
            trouble: None,
            name,
            attempts: 0,
            buffer: Vec::new(),
            handed: BTreeMap::new(),
        }
    }

    /// Output topics that keep the latest record of each key, against all advice: they hear of customers gone.
    pub fn with_compacted(mut self, topics: Vec<String>) -> Self {
        self.compacted = topics;
        self
    }

    /// Sends in the open transaction, beginning one. What fails ends the transaction.
    fn send(&mut self, record: Outgoing<'_>) {
        if self.trouble.is_some() || !self.begin() {
            return;
        }
        if let Err(reason) = self.log.send(record) {
            self.trouble = Some(format!("cannot write to {}: {reason}", record.topic));
        }
    }

    /// What was handed over and is applied needs nobody any more.
    fn cut_handed(&mut self, progress: &[(ShardId, Progress)]) {
        for (shard, progress) in progress {
            let Some(position) = progress.positions.get(self.ledger.inputs.len() + 1) else { continue };
            let known = self.handed.insert(*shard, position.offset);
            if known.is_some_and(|known| known < position.offset) {
                self.log.cut_handed(*shard, position.offset);
            }
        }
    }

    fn send_page(&mut self, shard: ShardId, page: &[u8]) {
        let topic = self.ledger.topic(outputs::STATE);
        self.send(Outgoing {
            topic: &topic,
            page_of: Some(shard),
            partition: None,
            key: None,
            value: Some(page),
            headers: &[],
        });
    }

    fn remembered(&mut self, shard: ShardId, added: Result<(usize, Vec<Vec<u8>>), String>) -> usize {
        match added {
            Ok((bytes, full)) => {
                full.iter().for_each(|page| self.send_page(shard, page));
                bytes
            }
            Err(reason) => {
                self.trouble.get_or_insert(reason);
                0
            }
        }
    }

    fn begin(&mut self) -> bool {
        if !self.begun {
            match self.log.begin() {
                Ok(()) => self.begun = true,
                Err(reason) => self.trouble = Some(format!("cannot begin a transaction: {reason}")),
            }
        }
        self.begun
    }

    /// Commits what was sent, with the offsets.
    fn commit_all(&mut self, progress: &[(ShardId, Progress)], attempt: &str) -> Verdict {
        let topics = self.ledger.topics();
        match self.log.send_offsets(&offsets(&topics, progress, attempt)) {
            Ok(()) => {}
            Err(Failure::Abort(reason)) => return self.undo(reason),
            // Something may still be on its way, and must not land in the next transaction. A commit was not asked for.
            Err(Failure::Unclear(reason)) => return self.replaced(reason),
        }
        match self.log.commit() {
            Ok(went) => {
                self.begun = false;
                // A repeated request may still be on its way; a new producer's epoch makes it harmless.
                match went {
                    ProducerState::Clean => Verdict::Committed,
                    ProducerState::Suspect => self.replace().map_or_else(Verdict::Lost, |()| Verdict::Committed),
                }
            }
            Err(Failure::Abort(reason)) => self.undo(reason),
            Err(Failure::Unclear(reason)) => self.resolve(progress, attempt, &reason),
        }
    }

    /// Ends the open transaction as undone. A commit was never asked for, so the end is certain.
    fn undo(&mut self, reason: String) -> Verdict {
        self.trouble = None;
        self.forget_pages();
        if !std::mem::take(&mut self.begun) {
            // Nothing was written because nothing could be begun: this producer is of no more use.
            return self.replaced(reason);
        }
        match self.log.abort() {
            Ok(ProducerState::Clean) => Verdict::Aborted(reason),
            Ok(ProducerState::Suspect) | Err(Failure::Abort(_) | Failure::Unclear(_)) => self.replaced(reason),
        }
    }

    fn replaced(&mut self, reason: String) -> Verdict {
        match self.replace() {
            Ok(()) => Verdict::Aborted(reason),
            Err(lost) => Verdict::Lost(lost),
        }
    }

    /// A new producer with the same transactional id: fences the old one, and ends whatever it left open.
    fn replace(&mut self) -> Result<(), String> {
        self.begun = false;
        self.trouble = None;
        self.log.replace()
    }

    /// Finds out how a commit ended: after the new producer's init nothing of the old one can change it any more.
    fn resolve(&mut self, progress: &[(ShardId, Progress)], attempt: &str, reason: &str) -> Verdict {
        debug!(reason, "the end of a commit is unknown; asking what was committed");
        if let Err(lost) = self.replace() {
            return Verdict::Lost(lost);
        }
        let shards: Vec<ShardId> = progress.iter().map(|(shard, _)| *shard).collect();
        let committed = match self.log.committed(&shards) {
            Ok(committed) => committed,
            Err(reason) => return Verdict::Lost(format!("cannot find out how a commit ended: {reason}")),
        };
        let applied = progress.iter().all(|(shard, progress)| {
            let mark = committed.get(shard);
            mark.is_some_and(|mark| mark.attempt == attempt && mark.sequence == progress.sequence)
        });
        info!(applied, reason, "the end of a commit was unknown; the brokers say now whether it was applied");
        if applied { Verdict::Committed } else { Verdict::Aborted(reason.to_owned()) }
    }

    fn forget_pages(&mut self) {
        self.state.aborted();
        self.log.take_first_pages();
    }
}

impl<T: Transactions> Sink for LedgerSink<T> {
    fn publish(&mut self, _shard: ShardId, outcome: &Outcome, stale: bool) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        wire::encode_outcome(self.ledger.format, outcome, &mut buffer);
        let output = outputs::of(&outcome.what);
        let headers: &[_] = if stale { &[("sillage-stale", "true")] } else { &[] };
        let key = Some(outcome.identity.id.as_bytes());
        let names = std::mem::take(&mut self.names);
        let topic = names.iter().find(|(name, _)| *name == output).map_or("", |(_, topic)| topic);
        self.send(Outgoing { topic, page_of: None, partition: None, key, value: Some(&buffer), headers });
        self.names = names;
        self.buffer = buffer;
    }

    fn dead_letter(&mut self, origin: Origin, record: &Unusable) {
        let topic = self.ledger.topic(outputs::DEAD_LETTERS);
        let topics = self.ledger.topics();
        let (partition, offset) = (origin.shard.to_string(), origin.offset.to_string());
        let mut headers = vec![
            ("sillage-topic", topics.get(origin.input).map_or("", String::as_str)),
            ("sillage-partition", partition.as_str()),
            ("sillage-offset", offset.as_str()),
            ("sillage-reason", record.reason.as_str()),
        ];
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let size = value.map_or(0, <[u8]>::len) + key.map_or(0, <[u8]>::len);
        if size + OVERHEAD <= self.ledger.dead_letter_bytes {
            return self.send(Outgoing { topic: &topic, page_of: None, partition: None, key, value, headers: &headers });
        }
        let hash = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(value.unwrap_or_default()));
        let size = size.to_string();
        headers.extend([("sillage-size", size.as_str()), ("sillage-xxh3-128", hash.as_str())]);
        self.send(Outgoing { topic: &topic, page_of: None, partition: None, key: None, value: None, headers: &headers });
    }

    fn remember(&mut self, shard: ShardId, written: Written<'_>) -> usize {
        let added = self.state.add(shard, written);
        self.remembered(shard, added)
    }

    fn word(&mut self, shard: ShardId, number: u32, text: &str) -> usize {
        let added = self.state.add_word(shard, number, text);
        self.remembered(shard, added)
    }

    fn forget(&mut self, shard: ShardId, who: &Identity) -> usize {
        let added = self.state.add_gone(shard, who);
        self.remembered(shard, added)
    }

    /// What a compacted topic says of somebody goes only by a record without a value.
    fn tombstone(&mut self, who: &Identity) {
        for topic in self.compacted.clone() {
            let key = Some(who.id.as_bytes());
            self.send(Outgoing { topic: &topic, page_of: None, partition: None, key, value: None, headers: &[] });
        }
    }

    /// To every partition: whose shard knows the customer is not known here.
    fn announce(&mut self, who: &Identity) {
        let (topic, value) = (self.ledger.control(), erasures::encode(who));
        for partition in 0..self.ledger.partitions {
            let (partition, value) = (Some(partition), Some(value.as_slice()));
            self.send(Outgoing { topic: &topic, page_of: None, partition, key: None, value, headers: &[] });
        }
    }

    fn hand_over(&mut self, to: ShardId, hand_off: &HandOff) {
        let (topic, value) = (self.ledger.handoff(), handing::encode(hand_off));
        let (partition, value) = (Some(to), Some(value.as_slice()));
        self.send(Outgoing { topic: &topic, page_of: None, partition, key: None, value, headers: &[] });
    }

    fn keep_from(&mut self, shard: ShardId, sequence: u64) {
        self.state.keep_from(shard, sequence);
    }

    fn commit(&mut self, progress: &[(ShardId, Progress)]) -> Verdict {
        self.begin();
        self.attempts += 1;
        let attempt = format!("{}-{}", self.name, self.attempts);
        for (shard, progress) in progress {
            match self.state.last_page(*shard, progress, &attempt) {
                Ok(page) => self.send_page(*shard, &page),
                Err(reason) => self.trouble = Some(reason),
            }
        }
        if let Some(trouble) = self.trouble.take() {
            return self.undo(trouble);
        }
        let verdict = self.commit_all(progress, &attempt);
        match &verdict {
            Verdict::Committed => {
                let first = self.log.take_first_pages();
                for (shard, offset) in self.state.committed(progress, &first) {
                    self.log.cut(shard, offset);
                }
                self.cut_handed(progress);
            }
            Verdict::Aborted(_) | Verdict::Lost(_) => self.forget_pages(),
        }
        verdict
    }

    fn abort(&mut self) -> Verdict {
        let reason = "asked for".to_owned();
        if self.begun || self.trouble.is_some() { self.undo(reason) } else { Verdict::Aborted(reason) }
    }
}

/// Of a log without a control topic, positions are fewer than topics.
fn offsets<'a>(topics: &'a [String], progress: &[(ShardId, Progress)], attempt: &str) -> Vec<Position<'a>> {
    let mut offsets = Vec::new();
    for (shard, progress) in progress {
        for (input, (topic, position)) in topics.iter().zip(&progress.positions).enumerate() {
            let metadata = OffsetMetadata::of(progress, position, attempt);
            offsets.push(Position { input, shard: *shard, offset: position.offset, metadata, topic });
        }
    }
    offsets
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::wire::pages::{self, Entry};

    /// Keeps what is written: topic, partition, key, value.
    #[derive(Default)]
    struct Paper(Vec<Line>);

    /// Topic, partition, key, value.
    type Line = (String, Option<ShardId>, Option<Vec<u8>>, Option<Vec<u8>>);

    impl Transactions for Paper {
        fn begin(&mut self) -> Result<(), String> {
            Ok(())
        }
        fn send(&mut self, record: Outgoing<'_>) -> Result<(), String> {
            let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
            self.0.push((record.topic.to_owned(), record.page_of.or(record.partition), key, value));
            Ok(())
        }
        fn send_offsets(&mut self, _: &[Position<'_>]) -> Result<(), Failure> {
            Ok(())
        }
        fn commit(&mut self) -> Result<ProducerState, Failure> {
            Ok(ProducerState::Clean)
        }
        fn abort(&mut self) -> Result<ProducerState, Failure> {
            Ok(ProducerState::Clean)
        }
        fn replace(&mut self) -> Result<(), String> {
            Ok(())
        }
        fn committed(&mut self, _: &[ShardId]) -> Result<BTreeMap<ShardId, OffsetMetadata>, String> {
            Ok(BTreeMap::new())
        }
        fn take_first_pages(&mut self) -> BTreeMap<ShardId, i64> {
            BTreeMap::new()
        }
        fn cut(&mut self, _: ShardId, _: i64) {}
    }

    #[test]
    fn an_erasure_reaches_every_partition_and_leaves_a_note_where_something_would_stay() {
        let ledger = Ledger::sample(3);
        let sink = LedgerSink::new(Arc::new(ledger), Paper::default(), "test".to_owned());
        let mut sink = sink.with_compacted(vec!["out.transitions".to_owned()]);
        let who = Identity::customer("c-17");
        sink.announce(&who);
        sink.tombstone(&who);
        assert!(sink.forget(1, &who) > 4);
        assert_eq!(sink.commit(&[(1, Progress::default())]), Verdict::Committed);
        let written = &sink.log.0;
        let orders: Vec<_> = written.iter().filter(|record| record.0 == "out.control").collect();
        assert_eq!(orders.iter().map(|record| record.1).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
        assert!(orders.iter().all(|record| erasures::decode(record.3.as_deref().expect("a value")) == Ok(who.clone())));
        let tombstone = ("out.transitions".to_owned(), None, Some(b"c-17".to_vec()), None);
        assert!(written.contains(&tombstone), "{written:?}");
        let (topic, shard, _, page) = written.last().expect("a page");
        assert_eq!((topic.as_str(), *shard), ("out.state", Some(1)));
        let page = pages::read(page.as_deref().expect("a value")).expect("a page");
        assert!(matches!(&page.entries[..], [Entry::Gone(gone)] if *gone == who), "{:?}", page.entries);
    }
}
