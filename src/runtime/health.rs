//! Whether the service is well; if not, why, and since when. Told to `/readyz`, to the metrics, and to the log: a line when it
//! begins, one a minute, one when it ends.
//!
//! Judged from outside, by what the parts tell of themselves ([`crate::vitals`]) and by how far the shards come: a part that
//! stands still says nothing, and is seen all the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info};

use crate::embedded::Store;
use crate::lookup::{Lookup, Missing, Reached};
use crate::metrics;
use crate::port::{Now, ShardId};
use crate::time::Timestamp;
use crate::vitals::{Stuck, Taken};

/// What should move and has not for so long stands still.
const STILL: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Whoever has not been looked at for so long is not known to be well.
const UNSEEN: Duration = Duration::from_secs(10);
/// Between two lines about the same.
const TELL: Duration = Duration::from_secs(60);
/// An input is judged by its latest records: by those of so long, and by so many, but by none that are older than this.
const SPAN: Duration = Duration::from_secs(10);
const RECORDS: u64 = 20;
const OLDEST: Duration = Duration::from_secs(60);
/// So many partitions are named one by one.
const NAMED: usize = 5;

/// What can be wrong. The order is that in which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    Brokers,
    Disk,
    Worker,
    StreamTime,
    Unusable,
    Parked,
}

impl Why {
    const ALL: [Why; 6] = [Why::Brokers, Why::Disk, Why::Worker, Why::StreamTime, Why::Unusable, Why::Parked];

    /// As the metric names it.
    fn label(self) -> &'static str {
        match self {
            Why::Brokers => "brokers",
            Why::Disk => "disk",
            Why::Worker => "worker",
            Why::StreamTime => "stream_time",
            Why::Unusable => "unusable",
            Why::Parked => "parked",
        }
    }

    /// Whether it has a cause of its own; the others follow from one of these, or from something else that nobody sees.
    fn is_cause(self) -> bool {
        match self {
            Why::Brokers | Why::Disk | Why::Unusable | Why::Parked => true,
            Why::Worker | Why::StreamTime => false,
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trouble {
    why: Why,
    how_much: usize,
    said: String,
}

/// How things stand, for `/readyz`.
#[derive(Clone, Debug)]
pub(super) struct Standing(Arc<Mutex<(Instant, Result<(), String>)>>);

impl Standing {
    fn set(&self, standing: Result<(), String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), standing);
    }

    /// Whether all is well, as of the latest look.
    pub(super) fn now(&self) -> Result<(), String> {
        let (looked, standing) = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if looked.elapsed() > UNSEEN {
            return Err("what looks after this process stands still; start it again, and please report this".to_owned());
        }
        standing
    }
}

impl Default for Standing {
    fn default() -> Self {
        Standing(Arc::new(Mutex::new((Instant::now(), Ok(())))))
    }
}

/// Looks after the service.
pub(super) struct Watch {
    lookup: Arc<Lookup>,
    store: Option<Arc<Store>>,
    now: Now,
    standing: Standing,
    looked: Option<Instant>,
    judge: Judge,
    teller: Teller,
}

impl Watch {
    pub(super) fn new(lookup: Arc<Lookup>, store: Option<Arc<Store>>, now: Now, standing: Standing) -> Self {
        let (judge, teller) = (Judge::default(), Teller::default());
        Watch { lookup, store, now, standing, looked: None, judge, teller }
    }

    /// Looks, if it is time.
    pub(super) fn look(&mut self) {
        let now = Instant::now();
        if self.looked.is_some_and(|looked| now.duration_since(looked) < LOOK) {
            return;
        }
        self.looked = Some(now);
        let facts = self.facts();
        let troubles = self.judge.judge(&facts, now);
        metrics::loading(facts.loading);
        self.judge.behind.iter().for_each(|(shard, seconds)| metrics::behind(*shard, *seconds));
        for why in Why::ALL {
            let how_much = troubles.iter().filter(|trouble| trouble.why == why).map(|trouble| trouble.how_much).sum();
            metrics::unhealthy(why.label(), how_much);
        }
        match self.teller.tell(&troubles, now) {
            None => {}
            Some(Line::Begins) => error!(reason = told(&troubles), "the service is not well"),
            Some(Line::GoesOn(since)) => {
                error!(reason = told(&troubles), seconds = since.as_secs(), "the service is still not well");
            }
            Some(Line::Ends(since)) => info!(seconds = since.as_secs(), "the service is well again"),
        }
        self.standing.set(match (troubles.is_empty(), facts.loading) {
            (true, false) => Ok(()),
            (true, true) => Err(LOADING.to_owned()),
            (false, false) => Err(told(&troubles)),
            (false, true) => Err(format!("{}; {LOADING}", told(&troubles))),
        });
    }

    fn facts(&self) -> Facts {
        let vitals = self.lookup.vitals();
        let parked = self.lookup.missing().into_iter().filter_map(|(shard, why)| match why {
            Missing::Parked(reason) => Some((shard, reason)),
            Missing::Awaited => None,
        });
        Facts {
            at: (self.now)(),
            silence: vitals.silence(),
            disk: self.store.as_ref().and_then(|store| store.trouble((self.now)(), STILL)),
            stuck: vitals.stuck(),
            reached: self.lookup.reached(),
            taken: vitals.taken(),
            parked: parked.collect(),
            loading: self.store.as_ref().is_some_and(|store| store.is_loading()),
        }
    }
}

const LOADING: &str = "a history is being loaded; live posts are refused until it ends";

/// Everything that is wrong, in one line.
fn told(troubles: &[Trouble]) -> String {
    troubles.iter().map(|trouble| trouble.said.as_str()).collect::<Vec<_>>().join("; ")
}

/// What is seen at a look.
struct Facts {
    /// What the worker clock shows.
    at: Timestamp,
    silence: Option<Stuck>,
    disk: Option<String>,
    stuck: Option<Stuck>,
    reached: Vec<(ShardId, Option<Reached>)>,
    taken: BTreeMap<String, Taken>,
    parked: Vec<(ShardId, String)>,
    loading: bool,
}

/// How far a shard had come when it last moved.
struct Stand {
    reached: Reached,
    moved: Instant,
    /// When it was first seen: stream time is behind of this until there is one.
    since: Timestamp,
}

/// Decides what is wrong. Knows no clock.
#[derive(Default)]
struct Judge {
    stands: BTreeMap<ShardId, Stand>,
    /// Seconds that stream time is behind the worker clock, of every shard that is or just was here.
    behind: BTreeMap<ShardId, f64>,
    /// What had been taken of each input at each look, oldest first.
    looks: VecDeque<(Instant, BTreeMap<String, Taken>)>,
}

impl Judge {
    fn judge(&mut self, facts: &Facts, now: Instant) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        if let Some(silence) = facts.silence.as_ref().filter(|silence| silence.since >= STILL) {
            let seconds = silence.since.as_secs();
            let error = silence.reason.as_ref().map_or_else(String::new, |error| format!(" ({error})"));
            let said = format!("no broker has answered for {seconds} s{error}: see whether they run and can be reached");
            troubles.push(Trouble { why: Why::Brokers, how_much: 1, said });
        }
        troubles.extend(facts.disk.clone().map(|said| Trouble { why: Why::Disk, how_much: 1, said }));
        if let Some(stuck) = facts.stuck.as_ref().filter(|stuck| stuck.since >= STILL) {
            let seconds = stuck.since.as_secs();
            let said = match &stuck.reason {
                Some(reason) => format!("a worker has committed nothing for {seconds} s: {reason}"),
                None => format!("a worker has waited for its log for {seconds} s"),
            };
            troubles.push(Trouble { why: Why::Worker, how_much: 1, said });
        }
        troubles.extend(self.standing_still(facts, now));
        troubles.extend(self.unusable(facts, now));
        if let Some((shard, reason)) = facts.parked.first() {
            let more = match facts.parked.len() - 1 {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            let said = format!("partition {shard} is parked{more}: {reason}");
            troubles.push(Trouble { why: Why::Parked, how_much: facts.parked.len(), said });
        }
        troubles
    }

    /// A backlog is no standstill: what is applied moves.
    fn standing_still(&mut self, facts: &Facts, now: Instant) -> Option<Trouble> {
        let here: BTreeSet<ShardId> = facts.reached.iter().map(|(shard, _)| *shard).collect();
        self.behind = self.stands.keys().filter(|shard| !here.contains(shard)).map(|shard| (*shard, 0.0)).collect();
        self.stands.retain(|shard, _| here.contains(shard));
        let mut still = Vec::new();
        let mut longest = Duration::ZERO;
        for (shard, reached) in &facts.reached {
            let unknown = Reached { stream_time: None, applied: 0 };
            let stand = self.stands.entry(*shard).or_insert(Stand { reached: unknown, moved: now, since: facts.at });
            if let Some(reached) = reached.filter(|reached| *reached != stand.reached) {
                stand.reached = reached;
                stand.moved = now;
            }
            let behind = facts.at.as_millis() - stand.reached.stream_time.unwrap_or(stand.since).as_millis();
            self.behind.insert(*shard, behind as f64 / 1e3);
            let stands = now.duration_since(stand.moved);
            // Touchpoints of a history may come when they like.
            if stands >= STILL && u128::from(behind.unsigned_abs()) >= STILL.as_millis() && !facts.loading {
                longest = longest.max(stands);
                still.push(*shard);
            }
        }
        if still.is_empty() {
            return None;
        }
        still.sort_unstable();
        let seconds = longest.as_secs();
        let named: Vec<String> = still.iter().take(NAMED).map(ToString::to_string).collect();
        let more = match still.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let said = format!(
            "stream time has stood still for {seconds} s in partition {}{more}, so no silence is noticed there: an input that does \
             not answer, a transaction that a producer left open in one, or a clock that was ahead",
            named.join(", ")
        );
        Some(Trouble { why: Why::StreamTime, how_much: still.len(), said })
    }

    fn unusable(&mut self, facts: &Facts, now: Instant) -> Option<Trouble> {
        while self.looks.front().is_some_and(|(at, _)| now.duration_since(*at) > OLDEST) {
            self.looks.pop_front();
        }
        let bad: Vec<String> =
            facts.taken.iter().filter_map(|(input, taken)| self.mostly_unusable(input, *taken, now)).collect();
        self.looks.push_back((now, facts.taken.clone()));
        let how_much = bad.len();
        (how_much > 0).then(|| Trouble { why: Why::Unusable, how_much, said: bad.join("; ") })
    }

    /// Judges an input by the fewest of its latest records that suffice.
    fn mostly_unusable(&self, input: &str, taken: Taken, now: Instant) -> Option<String> {
        let since = |before: &BTreeMap<String, Taken>| {
            let before = before.get(input).copied().unwrap_or_default();
            Taken { records: taken.records - before.records, unusable: taken.unusable - before.unusable }
        };
        let old_enough = self.looks.iter().rev().filter(|(at, _)| now.duration_since(*at) >= SPAN);
        let latest = old_enough.map(|(_, before)| since(before)).find(|latest| latest.records >= RECORDS)?;
        (latest.unusable * 2 > latest.records).then(|| {
            let Taken { records, unusable } = latest;
            format!("{unusable} of the latest {records} records of {input} cannot be used: the dead letters say why")
        })
    }
}

/// A line to be logged.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// Something is wrong that was not.
    Begins,
    /// It is still wrong, for so long now.
    GoesOn(Duration),
    /// Nothing is wrong any more, after so long.
    Ends(Duration),
}

/// Decides what is logged. Knows no clock.
#[derive(Default)]
struct Teller {
    /// Since when something is wrong, when that was told last, and what was told to be.
    unwell: Option<(Instant, Instant, BTreeSet<Why>)>,
}

impl Teller {
    fn tell(&mut self, troubles: &[Trouble], now: Instant) -> Option<Line> {
        let is: BTreeSet<Why> = troubles.iter().map(|trouble| trouble.why).collect();
        match &mut self.unwell {
            None if is.is_empty() => None,
            None => {
                self.unwell = Some((now, now, is));
                Some(Line::Begins)
            }
            Some((since, _, _)) if is.is_empty() => {
                let lasted = now.duration_since(*since);
                self.unwell = None;
                Some(Line::Ends(lasted))
            }
            Some((since, told, known)) => {
                let is_new = is.iter().any(|why| why.is_cause() && !known.contains(why));
                let is_time = now.duration_since(*told) >= TELL;
                known.extend(is);
                if is_new || is_time {
                    *told = now;
                }
                if is_new { Some(Line::Begins) } else { is_time.then(|| Line::GoesOn(now.duration_since(*since))) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The service as it is looked at second after second.
    struct Looked {
        judge: Judge,
        teller: Teller,
        begun: Instant,
        seconds: u64,
        facts: Facts,
        lines: Vec<(u64, Line)>,
    }

    impl Looked {
        fn at(reached: &[ShardId]) -> Self {
            let facts = Facts {
                at: Timestamp::from_millis(1_700_000_000_000),
                silence: None,
                disk: None,
                stuck: None,
                reached: reached.iter().map(|shard| (*shard, Some(Reached { stream_time: None, applied: 0 }))).collect(),
                taken: BTreeMap::new(),
                parked: Vec::new(),
                loading: false,
            };
            let (judge, teller) = (Judge::default(), Teller::default());
            Looked { judge, teller, begun: Instant::now(), seconds: 0, facts, lines: Vec::new() }
        }

        /// A second passes, in which `happens`; says what is wrong then.
        fn second(&mut self, happens: impl FnOnce(&mut Facts)) -> Vec<Trouble> {
            self.seconds += 1;
            self.facts.at = Timestamp::from_millis(self.facts.at.as_millis() + 1_000);
            happens(&mut self.facts);
            let now = self.begun + Duration::from_secs(self.seconds);
            let troubles = self.judge.judge(&self.facts, now);
            self.lines.extend(self.teller.tell(&troubles, now).map(|line| (self.seconds, line)));
            troubles
        }

        /// How many seconds pass, in each of which `happens`, until what is wrong is this; at most two minutes.
        fn until(&mut self, wrong: &[Why], happens: impl Fn(&mut Facts)) -> u64 {
            let begun = self.seconds;
            while self.second(&happens).iter().map(|trouble| trouble.why).collect::<Vec<_>>() != wrong {
                assert!(self.seconds - begun < 120, "{wrong:?} does not come");
            }
            self.seconds - begun
        }
    }

    fn is_decided(facts: &mut Facts) {
        let at = facts.at;
        facts.reached.iter_mut().for_each(|(_, reached)| *reached = Some(Reached { stream_time: Some(at), applied: 0 }));
    }

    fn silent(facts: &mut Facts, since: Duration) {
        facts.silence = Some(Stuck { since, reason: Some("refused".to_owned()) });
    }

    #[test]
    fn stream_time_that_stands_still_is_seen_within_fifteen_seconds_and_a_backlog_is_none() {
        let mut looked = Looked::at(&[0, 1]);
        (0..30).for_each(|_| assert_eq!(looked.second(is_decided), []));
        let took = looked.until(&[Why::StreamTime], |_| {});
        assert!((10..15).contains(&took), "{took} s");
        assert_eq!(looked.second(|_| {})[0].how_much, 2);
        assert_eq!(looked.until(&[], is_decided), 1);
        // It lies an hour back, and comes nearer or not, but is applied.
        let mut looked = Looked::at(&[0]);
        let old = Some(Timestamp::from_millis(1_699_996_400_000));
        for applied in 0..60 {
            let reached = Some(Reached { stream_time: old, applied });
            assert_eq!(looked.second(|facts| facts.reached[0].1 = reached), []);
        }
        assert!(looked.judge.behind[&0] > 3_600.0);
        // A worker that never lets go of a shard has not come further either.
        let took = looked.until(&[Why::StreamTime], |facts| facts.reached[0].1 = None);
        assert!(took < 15, "{took} s");
    }

    #[test]
    fn a_shard_that_has_gone_is_behind_of_nothing_and_a_history_stands_still_as_it_likes() {
        let mut looked = Looked::at(&[3]);
        looked.until(&[Why::StreamTime], |_| {});
        assert!(looked.judge.behind[&3] >= 10.0);
        assert_eq!(looked.second(|facts| facts.reached.clear()), []);
        assert_eq!(looked.judge.behind, BTreeMap::from([(3, 0.0)]));
        looked.second(|_| {});
        assert_eq!(looked.judge.behind, BTreeMap::new());
        let mut looked = Looked::at(&[0]);
        (0..60).for_each(|_| assert_eq!(looked.second(|facts| facts.loading = true), []));
    }

    #[test]
    fn an_input_is_judged_by_its_latest_records() {
        let take = |usable: u64, unusable: u64| {
            move |facts: &mut Facts| {
                let taken = facts.taken.entry("web".to_owned()).or_default();
                taken.records += usable + unusable;
                taken.unusable += unusable;
            }
        };
        let mut looked = Looked::at(&[]);
        (0..100).for_each(|_| assert_eq!(looked.second(take(100, 99)), []));
        let took = looked.until(&[Why::Unusable], take(0, 100));
        assert!(took < 15, "whatever came before: {took} s");
        let said = looked.second(take(0, 100)).remove(0).said;
        assert!(said.contains("records of web cannot be used"), "{said}");
        assert!(looked.until(&[], take(100, 0)) < 15);
        // Few records say little; nobody is judged by what came long ago.
        let mut looked = Looked::at(&[]);
        (0..30).for_each(|_| drop(looked.second(take(0, 0))));
        assert_eq!(looked.second(take(0, 19)), []);
        (0..30).for_each(|_| assert_eq!(looked.second(take(0, 0)), []));
        looked.until(&[Why::Unusable], take(0, 1));
        assert!(looked.until(&[], take(0, 0)) <= 61);
    }

    #[test]
    fn an_outage_of_three_minutes_is_told_in_five_lines() {
        let mut looked = Looked::at(&[0, 1, 2]);
        (0..60).for_each(|_| assert_eq!(looked.second(is_decided), []));
        let mut seconds = 0;
        let mut wrong = BTreeSet::new();
        for second in 1..=180 {
            seconds = second;
            let since = Duration::from_secs(second);
            let troubles = looked.second(|facts| {
                silent(facts, since);
                facts.stuck = Some(Stuck { since, reason: None });
            });
            assert!(second < 15 || !troubles.is_empty());
            wrong.extend(troubles.iter().map(|trouble| trouble.why));
        }
        assert_eq!(
            (seconds, wrong.into_iter().collect::<Vec<_>>()),
            (180, vec![Why::Brokers, Why::Worker, Why::StreamTime])
        );
        looked.second(|facts| {
            (facts.silence, facts.stuck) = (None, None);
            is_decided(facts);
        });
        assert_eq!(looked.lines.len(), 4, "{:?}", looked.lines);
        assert_eq!(looked.lines[0], (70, Line::Begins));
        assert_eq!(looked.lines[3], (241, Line::Ends(Duration::from_secs(171))));
    }

    #[test]
    fn another_cause_is_told_when_it_comes() {
        let mut looked = Looked::at(&[]);
        looked.second(|facts| facts.parked.push((4, "its log has a hole".to_owned())));
        looked.second(|facts| facts.disk = Some("the disk is full".to_owned()));
        looked.second(|facts| facts.stuck = Some(Stuck { since: STILL, reason: Some("no space".to_owned()) }));
        let troubles = looked.second(|_| {});
        let said = told(&troubles);
        assert_eq!(
            said,
            "the disk is full; a worker has committed nothing for 10 s: no space; partition 4 is parked: its log has a hole"
        );
        assert_eq!(looked.lines, [(1, Line::Begins), (2, Line::Begins)]);
    }
}
