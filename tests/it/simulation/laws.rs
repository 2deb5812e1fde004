//! What must hold at every commit: the offsets, the pages of the state log and the outcomes of a transaction belong together,
//! follow the commit before, and are what the inputs up to those offsets come to.
//!
//! What they come to is worked out by a shard of its own, which gets the records in order and knows no log, no transaction
//! and no restart. Whether that shard is right is judged elsewhere (`story`, at the end of a run).

use std::collections::BTreeMap;
use std::sync::Arc;

use sillage::journey::{Customer, Sums, What};
use sillage::ledger::{BESIDE, Ledger, OffsetMetadata};
use sillage::lookup::Lookup;
use sillage::model::Model;
use sillage::shard::{Action, Body, Buffered, Control, Customers, Input, Position, Progress, Settings, Shard, Unusable};
use sillage::time::{Span, Timestamp};
use sillage::wire::{self, Arrival, Format, Limits, pages};

use super::brokers::{Brokers, Committed, Ended, Place};
use super::load;
use super::log::{Fate, Millis, Offset};
use super::logins::{self, Handing};
use super::weather::Weather;
use super::world::Broken;

type Written = (String, Option<Vec<u8>>, Option<Vec<u8>>);

/// One shard as it should be.
struct Truth {
    sequence: u64,
    attempt: String,
    positions: Vec<Offset>,
    /// By input: log time of the last record before the position.
    log_times: Vec<Millis>,
    stream_time: Option<Millis>,
    latest: Option<(Millis, usize, Offset)>,
    fold: Shard,
    fed: Offset,
    /// What the fold has said since the last commit.
    said: Vec<Action>,
    /// Whether what the records come to is worked out: where shards hand to each other, the order in which a shard has
    /// applied them is nowhere written.
    folds: bool,
    state_expected: BTreeMap<String, Vec<u8>>,
    /// The state log, put together, and everybody's latest state in it.
    log: Customers,
    state: BTreeMap<String, Vec<u8>>,
}

pub(super) struct Laws {
    shards: Vec<Truth>,
    ledger: Arc<Ledger>,
    settle: Span,
    grace: Span,
    clocks: Clocks,
    /// What is known of hand-overs, where there are any.
    pub(super) handing: Option<Handing>,
}

/// Whether log times are a function of what stands in the inputs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clocks {
    Right,
    /// They hang on the clock of whoever received the record: the process tells.
    Wrong,
}

/// The log time at which a process was handed a record.
type Noted<'a> = &'a dyn Fn(Place, Offset) -> Option<Millis>;

fn broken<T>(law: &'static str, how: String) -> Result<T, Broken> {
    Err(Broken { law, how })
}

impl Laws {
    pub(super) fn new(models: &Arc<[Arc<Model>]>, settings: &Settings, ledger: &Arc<Ledger>, weather: &Weather) -> Self {
        let clocks = if weather.skew == 0 { Clocks::Right } else { Clocks::Wrong };
        // One line of records, and nobody is erased.
        let settings = Settings { control: Control::AmongTouchpoints, ..settings.clone() };
        let truth = |_| {
            let positions = vec![Position { offset: 0, log_time: Timestamp::MIN }];
            let progress = Progress { positions, ..Progress::default() };
            Truth {
                sequence: 0,
                attempt: String::new(),
                positions: vec![0; weather.inputs + BESIDE],
                log_times: vec![i64::MIN; weather.inputs + BESIDE],
                stream_time: None,
                latest: None,
                fold: Shard::new(Arc::clone(models), settings.clone(), Customers::default(), progress),
                fed: 0,
                said: Vec::new(),
                folds: weather.logins.is_none(),
                state_expected: BTreeMap::new(),
                log: Customers::default(),
                state: BTreeMap::new(),
            }
        };
        let shards = (0..weather.shards).map(truth).collect();
        let handing = weather.logins.map(|_| Handing::new(settings.grace));
        Laws { shards, ledger: Arc::clone(ledger), settle: settings.settle, grace: settings.grace, clocks, handing }
    }

    /// What was measured, as the state logs have it.
    pub(super) fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        self.shards.iter().for_each(|truth| sums.append(&truth.log.sums()));
        sums
    }

    pub(super) fn all_have_begun(&self) -> bool {
        self.shards.iter().all(|truth| truth.sequence > 0)
    }

    /// A record entered: nobody may have decided beyond it.
    pub(super) fn arrived(&self, (input, shard): Place, log_time: Millis) -> Option<Broken> {
        let reached = self.shards[shard as usize].stream_time;
        let reached = reached.filter(|reached| *reached > log_time && self.clocks == Clocks::Right)?;
        let how =
            format!("shard {shard} was decided up to {reached} before a record of input {input} entered at {log_time}");
        Some(Broken { law: "nothing is decided early", how })
    }

    /// A transaction is committed.
    pub(super) fn committed(
        &mut self,
        brokers: &Brokers,
        ended: &Ended,
        log_times: &dyn Fn(&str, Place, Offset) -> Option<Millis>,
    ) -> Result<(), Broken> {
        let state = brokers.topic(&self.ledger.topic("state"));
        let mut offsets: BTreeMap<u32, BTreeMap<usize, &Committed>> = BTreeMap::new();
        for ((input, shard), committed) in &ended.offsets {
            offsets.entry(*shard).or_default().insert(*input, committed);
        }
        let mut written: BTreeMap<u32, Vec<Written>> = BTreeMap::new();
        let mut pages: BTreeMap<u32, Vec<&[u8]>> = BTreeMap::new();
        for (place, offset) in &ended.records {
            let Some(record) = brokers.log(*place).record(*offset) else { continue };
            if place.0 == state {
                pages.entry(place.1).or_default().push(record.value.as_deref().unwrap_or_default());
                continue;
            }
            let header = record.headers.iter().find(|(name, _)| name == "sillage-partition");
            let topic = brokers.name(place.0).to_owned();
            if topic == self.ledger.handoff() || topic == self.ledger.control() {
                // Nothing in it says whose transaction this is.
                continue;
            }
            // What was offered to an anonymous id that was erased on its way is withdrawn where that would have gone.
            let is_withdrawn = || {
                let value: Option<serde_json::Value> =
                    record.value.as_deref().and_then(|value| serde_json::from_slice(value).ok());
                value.is_some_and(|value| value["intervention"]["reason"] == "erased")
            };
            if self.handing.is_some() && is_withdrawn() {
                continue;
            }
            let shard = match header {
                Some((_, partition)) => partition.parse().unwrap_or(u32::MAX),
                None => self.shard_of(record.key.as_deref().unwrap_or_default()),
            };
            written.entry(shard).or_default().push((topic, record.key.clone(), record.value.clone()));
        }
        for shard in written.keys().chain(pages.keys()) {
            if !offsets.contains_key(shard) {
                return broken(
                    "all of a commit, or nothing",
                    format!("something of shard {shard} is committed without offsets"),
                );
            }
        }
        for (shard, offsets) in offsets {
            let pages = pages.remove(&shard).unwrap_or_default();
            let written = written.remove(&shard).unwrap_or_default();
            self.shard_committed(brokers, shard, &offsets, &pages, &written, log_times)?;
        }
        Ok(())
    }

    /// Offsets were committed outside of a transaction.
    pub(super) fn committed_alone(&self, offsets: &[(Place, Committed)]) -> Result<(), Broken> {
        for ((_, shard), committed) in offsets {
            let sequence = OffsetMetadata::parse(&committed.metadata).map_or(0, |mark| mark.sequence);
            let known = self.shards[*shard as usize].sequence;
            if sequence != known {
                let how =
                    format!("the offsets of shard {shard} are of commit {sequence}, everything else of commit {known}");
                return broken("all of a commit, or nothing", how);
            }
        }
        Ok(())
    }

    fn shard_of(&self, key: &[u8]) -> u32 {
        if self.handing.is_some() {
            return logins::home(key, self.shards.len() as u32);
        }
        let customer = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix('c')?.parse::<usize>().ok());
        customer.map_or(u32::MAX, |customer| load::shard_of(customer, self.shards.len() as u32))
    }

    fn shard_committed(
        &mut self,
        brokers: &Brokers,
        shard: u32,
        offsets: &BTreeMap<usize, &Committed>,
        pages: &[&[u8]],
        written: &[Written],
        log_times: &dyn Fn(&str, Place, Offset) -> Option<Millis>,
    ) -> Result<(), Broken> {
        let ledger = Arc::clone(&self.ledger);
        let (settle, grace, clocks) = (self.settle, self.grace, self.clocks);
        let truth = &mut self.shards[shard as usize];
        let marks: Vec<OffsetMetadata> =
            offsets.values().filter_map(|committed| OffsetMetadata::parse(&committed.metadata)).collect();
        let Some(first) = marks.first().filter(|_| marks.len() == truth.positions.len()) else {
            return broken("all of a commit, or nothing", format!("shard {shard} is committed without some of its inputs"));
        };
        if marks.iter().any(|mark| (mark.sequence, &mark.attempt) != (first.sequence, &first.attempt)) {
            return broken(
                "all of a commit, or nothing",
                format!("the offsets of shard {shard} are of several commits: {marks:?}"),
            );
        }
        // A late request can commit the offsets of the last commit once more, and nothing else.
        if pages.is_empty() && written.is_empty() && (first.sequence, &first.attempt) == (truth.sequence, &truth.attempt) {
            return Ok(());
        }
        if first.sequence != truth.sequence + 1 {
            let how = format!("commit {} of shard {shard} follows commit {}", first.sequence, truth.sequence);
            return broken("commits follow each other", how);
        }
        let noted = |place: Place, offset: Offset| log_times(&first.attempt, place, offset);
        let position = |(committed, mark): (&&Committed, &OffsetMetadata)| Position {
            offset: committed.offset,
            log_time: mark.log_time,
        };
        let progress = Progress {
            positions: offsets.values().zip(&marks).map(position).collect(),
            stream_time: first.stream_time,
            sequence: first.sequence,
        };
        let before = truth.state.clone();
        truth.pages(shard, pages, &progress)?;
        let unchanged = truth.state.len() == before.len()
            && truth.state.iter().all(|(name, state)| {
                before.get(name).is_some_and(|before| is_same(state, before, progress.stream_time, grace))
            });
        if written.is_empty() && truth.stands_at(&progress) && unchanged {
            // Customers were written anew, and nothing else. A shard that waits for its clock does that, and decides later
            // what is due.
            (truth.sequence, truth.attempt) = (first.sequence, first.attempt.clone());
            return Ok(());
        }
        if clocks == Clocks::Wrong
            && let Some(reached) = first.stream_time
        {
            truth.reach(reached.as_millis(), settle);
        }
        let noted: Option<Noted<'_>> = if clocks == Clocks::Wrong { Some(&noted) } else { None };
        let before = truth.positions.clone();
        truth.follow(brokers, &ledger, shard, &progress, noted)?;
        if let Some(handing) = &mut self.handing {
            let input = ledger.inputs.len() + 1;
            let log = brokers.log((input, shard));
            let taken = log.from(before[input]).take_while(|(offset, ..)| *offset < truth.positions[input]);
            handing.taken(
                truth.stream_time,
                taken.filter(|(_, _, fate)| *fate == Fate::Committed).map(|(_, record, _)| record),
            );
            if clocks == Clocks::Wrong {
                (truth.sequence, truth.attempt) = (first.sequence, first.attempt.clone());
                return Ok(());
            }
            let ahead = handing.committed(&first.attempt, shard, truth.stream_time.unwrap_or(Millis::MIN));
            ahead.or_else(|how| broken("no shard runs ahead of those that move", how))?;
        }
        truth.decided(&ledger, settle, shard, written)?;
        (truth.sequence, truth.attempt) = (first.sequence, first.attempt.clone());
        truth.compare_state(shard, grace)
    }

    /// A shard was seated, as its owner sees it.
    pub(super) fn seated(&mut self, shard: u32, progress: &Progress, lookup: &Lookup) -> Result<(), Broken> {
        let truth = &mut self.shards[shard as usize];
        if progress.sequence != truth.sequence {
            let how = format!("shard {shard} begins at commit {}, and {} is committed", progress.sequence, truth.sequence);
            return broken("a restored state is the last one", how);
        }
        let (found, known) = (lookup.customers(shard), truth.log.len());
        if found != known {
            let how = format!("shard {shard} at commit {}: {found} customers are there of {known}", truth.sequence);
            return broken("a restored state is the last one", how);
        }
        // What stands under no name is the shard's own, and compared when it changes.
        for (name, bytes) in truth.state.iter().filter(|(name, _)| !name.is_empty()) {
            // Whoever asks for an anonymous id that was joined finds the customer.
            if wire::state::decode(bytes).is_ok_and(|customer| customer.redirected_to().is_some()) {
                continue;
            }
            let found = lookup.customer(&load::identity(name));
            let found = found.map(|customer| crate::world::encoded(&customer));
            if !found.is_some_and(|found| is_same(bytes, &found, progress.stream_time, self.grace)) {
                let (was, is) = (wire::state::decode(bytes), lookup.customer(&load::identity(name)));
                let how = format!(
                    "shard {shard} at commit {}: {name} is not as it was\nexpected {was:?}\nfound    {is:?}",
                    truth.sequence
                );
                return broken("a restored state is the last one", how);
            }
        }
        Ok(())
    }

    /// Whether everything that stands committed in the inputs is applied.
    pub(super) fn finished(&self, brokers: &Brokers) -> Result<(), Broken> {
        for (shard, truth) in self.shards.iter().enumerate() {
            for (input, position) in truth.positions.iter().enumerate() {
                let log = brokers.log((input, shard as u32));
                let left = log.from(*position).filter(|(_, _, fate)| *fate == Fate::Committed).count();
                if left > 0 {
                    let how =
                        format!("{left} records of input {input}, partition {shard} are not applied from {position} on");
                    return broken("everything is applied in the end", how);
                }
            }
        }
        Ok(())
    }

    /// Everybody's latest state, as the state logs hold it.
    pub(super) fn states(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.shards.iter().flat_map(|truth| truth.state.values())
    }

    pub(super) fn commits(&self) -> u64 {
        self.shards.iter().map(|truth| truth.sequence).sum()
    }
}

impl Truth {
    /// Whether nothing was decided since the last commit.
    fn stands_at(&self, progress: &Progress) -> bool {
        let positions = progress.positions.iter().map(|position| position.offset);
        positions.eq(self.positions.iter().copied()) && progress.stream_time.map(Timestamp::as_millis) == self.stream_time
    }

    /// The pages of a commit go with its offsets.
    fn pages(&mut self, shard: u32, pages: &[&[u8]], progress: &Progress) -> Result<(), Broken> {
        let mut last = None;
        for (part, bytes) in pages.iter().enumerate() {
            let page = pages::read(bytes).or_else(|fault| broken("pages can be read", fault))?;
            if page.head.part as usize != part || last.is_some() {
                return broken("all of a commit, or nothing", format!("the pages of shard {shard} are of several commits"));
            }
            last = page.head.progress;
            for entry in page.entries {
                match entry {
                    pages::Entry::Customer(packed) => {
                        let read = self.log.restore_packed(&packed);
                        read.or_else(|fault| broken("pages can be read", format!("{fault:?}")))?;
                    }
                    pages::Entry::Changed(change) => match self.log.follow(&change) {
                        Ok(true) => {}
                        Ok(false) => {
                            let how = "there is nothing that it changes".to_owned();
                            return broken("a change follows from what is known", how);
                        }
                        Err(fault) => return broken("a change follows from what is known", format!("{fault:?}")),
                    },
                    pages::Entry::Gone(who) => drop(self.log.remove(&who)),
                    pages::Entry::Word(number, text) => {
                        let learned = self.log.words_mut().learn(number, &text);
                        learned.or_else(|fault| broken("pages can be read", fault))?;
                    }
                    pages::Entry::CustomerV2(_) | pages::Entry::ChangedV2(_) => {
                        return broken("pages can be read", "an entry of an older layout was written".to_owned());
                    }
                }
            }
        }
        let read = self.log.check();
        read.or_else(|fault| broken("a state is read with the words that the log holds", format!("{fault:?}")))?;
        let named = |customer: &Customer| (customer.identity.id.to_string(), crate::world::encoded(customer));
        // And the shard's own row, with what was measured.
        self.state = self.log.all().iter().chain(&self.log.own_row()).map(named).collect();
        if last.as_ref() != Some(progress) {
            let how = format!("the offsets of shard {shard} say {progress:?}, its state log {last:?}");
            return broken("all of a commit, or nothing", how);
        }
        Ok(())
    }

    /// The records up to these positions, in order, and nothing decided beyond what follows.
    fn follow(
        &mut self,
        brokers: &Brokers,
        ledger: &Ledger,
        shard: u32,
        progress: &Progress,
        noted: Option<Noted<'_>>,
    ) -> Result<(), Broken> {
        let stream_time = progress.stream_time.map(Timestamp::as_millis);
        let mut applied = Vec::new();
        for (input, position) in progress.positions.iter().enumerate() {
            let log = brokers.log((input, shard));
            // What is read beside the inputs holds nobody, and comes with a time of its own.
            let is_beside = input >= ledger.inputs.len();
            let mut running = self.log_times[input];
            // Beyond the position, of what is certain to be read.
            let mut ahead = i64::MIN;
            for (offset, record, fate) in log.from(self.positions[input]).filter(|(_, _, fate)| *fate != Fate::Aborted) {
                let entered = noted.map_or(Some(record.stamp), |noted| noted((input, shard), offset));
                let log_time = running.max(ahead).max(entered.unwrap_or(i64::MIN));
                if offset < position.offset {
                    if fate == Fate::Open {
                        return broken(
                            "only what is committed is read",
                            format!("input {input} of shard {shard}: {offset}"),
                        );
                    }
                    running = log_time;
                    if !is_beside {
                        applied.push(((log_time, input, offset), record));
                    }
                } else if noted.is_none() && !is_beside && stream_time.is_some_and(|reached| reached > log_time) {
                    let how = format!(
                        "shard {shard} is decided up to {}, with offset {offset} of input {input}, log time {log_time}, left out",
                        stream_time.unwrap_or_default()
                    );
                    return broken("nothing is decided early", how);
                } else if fate == Fate::Committed {
                    ahead = log_time;
                }
            }
            self.log_times[input] = running;
            if running != position.log_time.as_millis() && !is_beside {
                let how = format!("input {input} of shard {shard}: {} is not {running}", position.log_time.as_millis());
                return broken("log time is a running maximum", how);
            }
        }
        applied.sort_by_key(|(key, _)| *key);
        if let (Some(latest), Some((first, _))) = (self.latest, applied.first())
            && *first < latest
            && noted.is_none()
        {
            let how = format!("shard {shard}: {first:?} is applied after {latest:?}");
            return broken("records are applied in order", how);
        }
        if stream_time < self.stream_time || applied.last().is_some_and(|((last, ..), _)| stream_time < Some(*last)) {
            return broken(
                "stream time never goes back",
                format!("shard {shard}: {stream_time:?} after {:?}", self.stream_time),
            );
        }
        self.latest = applied.last().map(|(key, _)| *key).or(self.latest);
        let mut actions = Vec::new();
        if !self.folds {
            applied.clear();
        }
        for ((log_time, input, offset), record) in applied {
            let log_time = Timestamp::from_millis(log_time);
            let topic = ledger.inputs.get(input).map_or("the control topic", String::as_str);
            let arrival = Arrival { log_time, topic, partition: shard, offset, limits: Limits::default() };
            let value = record.value.as_deref().unwrap_or_default();
            let body = match wire::decode(Format::Json, None, value, &arrival) {
                Ok(decoded) => Body::Touchpoint(Box::new(decoded.touchpoint)),
                Err(reason) => {
                    Body::Unusable(Box::new(Unusable { reason, key: record.key.clone(), value: record.value.clone() }))
                }
            };
            let record = Buffered { offset: self.fed, log_time, body };
            self.fed += 1;
            self.fold.handle(Input::Record { input: 0, record }, &mut actions);
        }
        self.positions = progress.positions.iter().map(|position| position.offset).collect();
        self.stream_time = stream_time;
        self.said.extend(actions);
        Ok(())
    }

    /// Time goes on.
    fn reach(&mut self, reached: Millis, settle: Span) {
        let at = Timestamp::from_millis(reached) + settle;
        self.fold.handle(Input::CaughtUp { input: 0, position: self.fed, at }, &mut self.said);
    }

    /// What was published is what was decided.
    fn decided(&mut self, ledger: &Ledger, settle: Span, shard: u32, written: &[Written]) -> Result<(), Broken> {
        if !self.folds {
            return Ok(());
        }
        if let Some(reached) = self.stream_time {
            self.reach(reached, settle);
        }
        let mut actions = std::mem::take(&mut self.said);
        self.fold.handle(Input::Prepare, &mut actions);
        self.state_expected = self.encoded();
        // What is decided next belongs to the next commit.
        self.fold.handle(Input::Committed, &mut self.said);
        let mut expected: Vec<Written> = Vec::new();
        for action in actions {
            match action {
                Action::Publish { outcome, .. } => {
                    let topic = match outcome.what.original() {
                        What::Transition { .. } => "transitions",
                        What::Completion { .. } => "completions",
                        What::Abandonment { .. } => "abandonments",
                        What::Resumption { .. } | What::Recovery { .. } => "recoveries",
                        What::Intervention { offer } | What::Withdrawal { offer, .. } if offer.arm.is_held_out() => {
                            "held-out"
                        }
                        What::Intervention { .. } | What::Withdrawal { .. } => "interventions",
                        What::Measurement { .. } => "measurements",
                        What::Friction { .. } | What::Retraction { .. } => "friction",
                        What::Merge { .. } => "transitions",
                    };
                    let mut bytes = Vec::new();
                    wire::encode_outcome(Format::Json, &outcome, &mut bytes);
                    expected.push((ledger.topic(topic), Some(outcome.identity.id.as_bytes().to_vec()), Some(bytes)));
                }
                Action::DeadLetter { record, .. } => {
                    expected.push((ledger.topic("dead-letters"), record.key, record.value));
                }
                Action::Remember(_)
                | Action::Forget(_)
                | Action::Announce(_)
                | Action::HandOver { .. }
                | Action::Tombstone(_)
                | Action::Commit(_) => {}
            }
        }
        if expected.iter().ne(written) {
            let shown = |list: &[Written]| -> Vec<String> {
                list.iter().map(|(topic, _, value)| format!("{topic}: {}", says(value.as_deref()))).collect()
            };
            let how = format!(
                "shard {shard}, commit {}:\nwritten {:#?}\nexpected {:#?}",
                self.sequence + 1,
                shown(written),
                shown(&expected)
            );
            return broken("a commit publishes what its records come to", how);
        }
        Ok(())
    }

    /// Everybody's latest state, as it should be.
    fn encoded(&mut self) -> BTreeMap<String, Vec<u8>> {
        let mut all = BTreeMap::new();
        self.fold.customers().each(|customer| {
            all.insert(customer.identity.id.to_string(), crate::world::encoded(&customer));
        });
        all.extend(self.fold.customers().own_row().map(|row| (String::new(), crate::world::encoded(&row))));
        all
    }

    fn compare_state(&mut self, shard: u32, grace: Span) -> Result<(), Broken> {
        if !self.folds {
            return Ok(());
        }
        let expected = std::mem::take(&mut self.state_expected);
        let stream_time = self.stream_time.map(Timestamp::from_millis);
        let differs = |(name, bytes): (&String, &Vec<u8>)| {
            let found = self.state.get(name);
            let same = found.is_some_and(|found| is_same(bytes, found, stream_time, grace));
            (!same).then(|| name.clone())
        };
        let who: Vec<String> = expected.iter().filter_map(differs).collect();
        if who.is_empty() && expected.len() == self.state.len() {
            return Ok(());
        }
        let shown = |all: &BTreeMap<String, Vec<u8>>| {
            let bytes = who.first().and_then(|name| all.get(name));
            bytes.map(|bytes| wire::state::decode(bytes))
        };
        let how = format!(
            "shard {shard}, commit {}: {who:?} (of {} and {})\nexpected {:?}\nfound    {:?}",
            self.sequence,
            expected.len(),
            self.state.len(),
            shown(&expected),
            shown(&self.state)
        );
        broken("the state is what the records come to", how)
    }
}

/// Whether two states are one: a window that is over may be there still, or not any more.
fn is_same(one: &[u8], other: &[u8], stream_time: Option<Timestamp>, grace: Span) -> bool {
    let settled = |bytes: &[u8]| {
        let customer = wire::state::decode(bytes).ok()?;
        Some(customer.as_of(stream_time.unwrap_or(Timestamp::MIN), grace))
    };
    one == other || (settled(one).is_some() && settled(one) == settled(other))
}

fn says(value: Option<&[u8]>) -> String {
    let json: Option<serde_json::Value> = value.and_then(|value| serde_json::from_slice(value).ok());
    let Some(json) = json else { return "no JSON".to_owned() };
    format!("{} {} {} {}", json["customer_id"], json["sequence"], json["at"], json["says"])
}
