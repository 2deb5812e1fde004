//! Workers on a log that takes everything.

use std::sync::Mutex;

use super::*;
use crate::journey::Customer;
use crate::shard::{HandOff, Position, Unusable};
use crate::touchpoint::Identity;

/// A log of changes that takes everything; notes from which commit on it is needed.
#[derive(Default)]
struct Changes {
    retain_from: Arc<Mutex<u64>>,
    /// What was published, and whether as stale.
    published: Arc<Mutex<Vec<(String, bool)>>>,
    /// Bytes of each commit, the one being made last.
    commits: Arc<Mutex<Vec<u64>>>,
    /// Panics at the first outcome about this customer, as if the shard itself had.
    breaks_at: Option<&'static str>,
}

impl Sink for Changes {
    fn publish(&mut self, _: ShardId, outcome: &Outcome, stale: bool) {
        assert!(self.breaks_at != Some(outcome.identity.id.as_str()), "no stage may be entered here");
        self.published.lock().expect("one thread").push((outcome.to_string(), stale));
    }
    fn dead_letter(&mut self, _: Origin, _: &Unusable) {}
    fn remember(&mut self, _: ShardId, _: Written<'_>) -> usize {
        let mut commits = self.commits.lock().expect("one thread");
        if commits.is_empty() {
            commits.push(0);
        }
        *commits.last_mut().expect("one is being made") += BYTES as u64;
        BYTES
    }
    fn word(&mut self, _: ShardId, _: u32, _: &str) -> usize {
        0
    }
    fn forget(&mut self, _: ShardId, _: &Identity) -> usize {
        10
    }
    fn tombstone(&mut self, _: &Identity) {}
    fn announce(&mut self, _: &Identity) {}
    fn hand_over(&mut self, _: ShardId, _: &HandOff) {}
    fn keep_from(&mut self, _: ShardId, sequence: u64) {
        *self.retain_from.lock().expect("one thread") = sequence;
    }
    fn commit(&mut self, _: &[(ShardId, Progress)]) -> Verdict {
        self.commits.lock().expect("one thread").push(0);
        Verdict::Committed
    }
    fn abort(&mut self) -> Verdict {
        Verdict::Aborted("asked for".to_owned())
    }
}

/// A customer's, and a change's as well: the worst case.
const BYTES: usize = 1_000;
const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// One shard after the other, each at its beginning.
fn assigned(shards: std::ops::Range<ShardId>) -> Vec<Assignment> {
    let positions = vec![Position { offset: 0, log_time: Timestamp::MIN }];
    let progress = Progress { positions, ..Progress::default() };
    let one = |shard| Assignment {
        shard,
        progress: progress.clone(),
        customers: Known::Restored(Customers::default()),
        retain_from: 0,
    };
    shards.map(one).collect()
}

/// Hands a touchpoint over.
fn touch(worker: &mut Worker, (shard, offset): (ShardId, i64), customer: &str, kind: &str, timestamp: Timestamp) {
    let value = format!(r#"{{"customer_id":"{customer}","occurred_at":"{timestamp}","type":"{kind}"}}"#);
    let origin = Origin { shard, input: 0, offset };
    let (stamped, value) = (Stamped::OnEntry, Some(value.as_bytes()));
    worker.record(RawRecord { origin, timestamp, stamped, key: None, value });
}

fn job(rest: &str) -> Job {
    let text = format!("sillage: 1\nmodel: m\nstages:\n  visit: {{ enter: page.viewed }}\n{rest}");
    let (model, _) = crate::model::load("m.yaml", &text);
    Job {
        models: model.into_iter().map(Arc::new).collect(),
        retired: Arc::default(),
        settings: Settings { state_log: StateLog::Changes, ..Settings::default() },
        format: Format::Json,
        mapping: None,
        limits: Limits::default(),
        topics: Arc::from(["in".to_owned()]),
        partitions: 1,
        partitioner: Partitioner::Unknown,
        misrouted: Misrouted::Apply,
        erase_on: None,
        commit_interval: Span::from_millis(0),
        stale_after: Span::from_secs(300),
        now: Arc::new(|| NOW),
        lookup: Arc::new(Lookup::default()),
        frontiers: None,
    }
}

/// A shard that gets nothing but records that cannot be used writes a page with each commit, all the same.
#[test]
fn a_log_of_changes_is_cut_though_no_customer_changes() {
    let retain_from = Arc::new(Mutex::new(0));
    let sink = Changes { retain_from: Arc::clone(&retain_from), ..Changes::default() };
    let mut worker = Worker::new(job(""), Box::new(sink));
    let positions = vec![Position { offset: 0, log_time: Timestamp::MIN }];
    let customers = (0..3).map(|number| Customer::new(Identity::customer(format!("c{number}")))).collect();
    worker.assigned(vec![Assignment {
        shard: 0,
        progress: Progress { positions, ..Progress::default() },
        customers: Known::Restored(customers),
        retain_from: 0,
    }]);
    for offset in 0..20 {
        let origin = Origin { shard: 0, input: 0, offset };
        let (stamped, value) = (Stamped::OnEntry, Some(&b"no JSON"[..]));
        worker.record(RawRecord { origin, timestamp: NOW, stamped, key: None, value });
        worker.turn().expect("the sink takes everything");
    }
    assert!(*retain_from.lock().expect("one thread") > 10, "{retain_from:?}");
}

/// It can only be cut between commits, however much of the state a commit changes.
#[test]
fn a_log_of_changes_is_twice_the_state_and_one_commit_at_most() {
    const CUSTOMERS: usize = 400;
    for changed in [2, 20, 40, 100, 160, 220, 300, 380, 400] {
        let (retain_from, commits) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(Vec::new())));
        let sink = Changes { retain_from: Arc::clone(&retain_from), commits: Arc::clone(&commits), ..Changes::default() };
        let mut worker = Worker::new(job(""), Box::new(sink));
        let customers = (0..CUSTOMERS).map(|number| Customer::new(Identity::customer(format!("c{number}")))).collect();
        let mut all = assigned(0..1);
        all[0].customers = Known::Restored(customers);
        worker.assigned(all);
        let (mut offset, mut worst) = (0, 0);
        let turn = CUSTOMERS.div_ceil(changed);
        for commit in 0..8 * turn {
            for number in 0..changed {
                let who = format!("c{}", (commit * changed + number) % CUSTOMERS);
                touch(&mut worker, (0, offset), &who, "page.viewed", NOW);
                offset += 1;
            }
            worker.turn().expect("the sink takes everything");
            if commit > 2 * turn {
                let retain_from = usize::try_from(*retain_from.lock().expect("one thread")).expect("small");
                worst = worst.max(commits.lock().expect("one thread")[retain_from.max(1) - 1..].iter().sum::<u64>());
            }
        }
        // A commit of the changes, as much anew, and one customer more for the page itself.
        let bound = 2 * CUSTOMERS * BYTES + (2 * changed + 1) * BYTES;
        assert!(worst <= bound as u64, "{changed} of {CUSTOMERS} in a commit: {worst} bytes are kept, beyond {bound}");
    }
}

/// After a long outage nobody is to offer a chat about a question that was asked hours ago (rule 24).
#[test]
fn friction_of_an_absence_is_stale_after_an_outage_and_that_of_a_touchpoint_is_not() {
    let published = Arc::new(Mutex::new(Vec::new()));
    let sink = Changes { published: Arc::clone(&published), ..Changes::default() };
    let rules = "friction:\n  unanswered: { after: question.asked, missing: question.answered, within: 2m }\n  \
                 error: { on: error.shown }\n";
    let mut worker = Worker::new(job(rules), Box::new(sink));
    worker.assigned(assigned(0..1));
    for (offset, (kind, hours)) in (0..).zip([("question.asked", 6), ("error.shown", 5)]) {
        touch(&mut worker, (0, offset), "c", kind, NOW - Span::from_secs(hours * 3_600));
    }
    worker.decide();
    let published = published.lock().expect("one thread");
    let said: Vec<(&str, bool)> = published.iter().map(|(said, stale)| (said.as_str(), *stale)).collect();
    assert_eq!(said, [("friction unanswered", true), ("friction error", false)]);
}

/// What a worker gives up with a commit and gets back at once need not be read from the log again; what it had to undo must.
#[test]
fn what_was_given_up_with_a_commit_is_kept_as_committed() {
    let mut worker = Worker::new(job(""), Box::new(Changes::default()));
    worker.assigned(assigned(0..2));
    touch(&mut worker, (0, 0), "anna", "page.viewed", NOW);
    worker.caught_up(0, 0, 1, NOW);
    touch(&mut worker, (1, 0), "bert", "page.viewed", NOW);
    worker.revoking(&[0]);
    worker.lost(&[1]);
    assert_eq!(worker.kept(1), None);
    let progress = worker.kept(0).expect("kept");
    assert_eq!((progress.positions[0].offset, progress.sequence), (1, 1));
    assert!(worker.job.lookup.customer(&Identity::customer("anna")).is_none(), "it is with nobody now");
    worker.assigned(vec![Assignment { shard: 0, progress, customers: Known::Kept, retain_from: 0 }]);
    worker.awaiting(&[1]);
    assert!(worker.job.lookup.customer(&Identity::customer("anna")).is_some());
    assert!(worker.job.lookup.customer(&Identity::customer("bert")).is_none());
    assert_eq!(worker.job.lookup.missing(), BTreeMap::from([(1, Missing::Awaited)]));
    assert_eq!(worker.kept(0), None);
}

/// Whoever has got the shard instead erases and forgets; what is kept here hears nothing of that.
#[test]
fn what_was_given_up_and_does_not_come_back_is_let_go() {
    let now = Arc::new(Mutex::new(NOW));
    let clock = Arc::clone(&now);
    let job = Job { now: Arc::new(move || *clock.lock().expect("one thread")), ..job("") };
    let mut worker = Worker::new(job, Box::new(Changes::default()));
    worker.assigned(assigned(0..1));
    touch(&mut worker, (0, 0), "anna", "page.viewed", NOW);
    worker.revoking(&[0]);
    *now.lock().expect("one thread") = NOW + Span::from_secs(59);
    worker.turn().expect("the worker goes on");
    assert!(worker.kept(0).is_some());
    *now.lock().expect("one thread") = NOW + Span::from_secs(60);
    worker.turn().expect("the worker goes on");
    assert!(worker.kept(0).is_none());
}

/// A record on which the shard would panic at every start takes its own shard out of work, and no other.
#[test]
fn a_record_that_breaks_an_invariant_parks_its_shard_and_the_others_go_on() {
    let published = Arc::new(Mutex::new(Vec::new()));
    let sink = Changes { published: Arc::clone(&published), breaks_at: Some("bert"), ..Changes::default() };
    let mut worker = Worker::new(job(""), Box::new(sink));
    worker.assigned(assigned(0..2));
    touch(&mut worker, (0, 0), "anna", "page.viewed", NOW);
    touch(&mut worker, (1, 0), "bert", "page.viewed", NOW);
    worker.turn().expect("the worker goes on");
    assert_eq!(worker.take_parked(), [1]);
    let missing = worker.job.lookup.missing();
    let Some(Missing::Parked(reason)) = missing.get(&1) else { panic!("{missing:?}") };
    assert_eq!(reason, "an invariant was broken at in, partition 1, offset 0: no stage may be entered here");
    // The transaction was undone, and what the other shard had in it decided once more.
    touch(&mut worker, (0, 1), "carl", "page.viewed", NOW);
    touch(&mut worker, (1, 1), "dora", "page.viewed", NOW);
    worker.turn().expect("the worker goes on");
    assert_eq!(published.lock().expect("one thread").len(), 3);
    assert!(worker.job.lookup.customer(&Identity::customer("carl")).is_some());
    assert!(worker.job.lookup.customer(&Identity::customer("bert")).is_none());
}

/// All of it is in the log, so that it can be read again where there is more room.
#[test]
fn a_shard_whose_state_has_no_room_is_committed_and_parked_and_the_others_go_on() {
    let lookup = Arc::new(Lookup::limited(100 << 10));
    let commits = Arc::new(Mutex::new(Vec::new()));
    let sink = Changes { commits: Arc::clone(&commits), ..Changes::default() };
    let mut worker = Worker::new(Job { lookup: Arc::clone(&lookup), ..job("") }, Box::new(sink));
    worker.assigned(assigned(0..2));
    for (offset, customer) in (0..).zip(["anna", "bert", "carl"]) {
        touch(&mut worker, (0, offset), customer, "page.viewed", NOW);
        worker.turn().expect("the worker goes on");
        assert_eq!(worker.take_parked(), Vec::<ShardId>::new());
    }
    let alone = lookup.state();
    touch(&mut worker, (1, 0), "dora", "page.viewed", NOW);
    worker.turn().expect("the worker goes on");
    assert_eq!(worker.take_parked(), [1]);
    let missing = lookup.missing();
    let Some(Missing::Parked(reason)) = missing.get(&1) else { panic!("{missing:?}") };
    assert!(reason.contains("`state_memory`"), "{reason}");
    assert_eq!(commits.lock().expect("one thread").len(), 5, "dora's first touchpoint is committed");
    assert_eq!(lookup.state(), alone, "its memory is free");
    touch(&mut worker, (0, 3), "emil", "page.viewed", NOW);
    touch(&mut worker, (1, 1), "dora", "page.viewed", NOW);
    worker.turn().expect("the worker goes on");
    assert_eq!(worker.take_parked(), Vec::<ShardId>::new());
    assert!(lookup.customer(&Identity::customer("emil")).is_some());
    let alone = lookup.state();
    // Whoever is given it again reads as much, and has no more room.
    let mut again = assigned(1..2);
    again[0].customers = Known::Restored(Customers::from_iter([Customer::new(Identity::customer("dora"))]));
    worker.assigned(again);
    assert_eq!((worker.take_parked(), lookup.state()), (vec![1], alone));
}

/// A shard that breaks while it is told that a commit went through has not undone that commit for those who are told after it.
#[test]
fn a_shard_that_breaks_after_a_commit_undoes_nothing_of_it_for_the_others() {
    let published = Arc::new(Mutex::new(Vec::new()));
    let sink = Changes { published: Arc::clone(&published), breaks_at: Some("bad"), ..Changes::default() };
    let mut job = job("");
    job.topics = Arc::from(["app".to_owned(), "in".to_owned()]);
    job.settings.decisions_per_transaction = 2;
    let mut worker = Worker::new(job, Box::new(sink));
    let mut shards = assigned(1..3);
    for shard in &mut shards {
        shard.progress.positions.push(Position { offset: 0, log_time: Timestamp::MIN });
    }
    worker.assigned(shards);
    touch(&mut worker, (2, 0), "dora", "page.viewed", NOW);
    for (offset, customer) in (0..).zip(["anna", "bert", "bad"]) {
        touch(&mut worker, (1, offset), customer, "page.viewed", NOW);
    }
    // Nothing is decided before the other input is known to hold nothing; then the third touchpoint is one too many.
    let later = NOW + Span::from_secs(1);
    worker.caught_up(2, 1, 0, later);
    worker.caught_up(1, 1, 0, later);
    assert_eq!(worker.take_parked(), [1]);
    assert_eq!(published.lock().expect("one thread").len(), 3, "dora's outcome is committed, and not told again");
    assert!(worker.job.lookup.customer(&Identity::customer("dora")).is_some());
    worker.turn().expect("the worker goes on");
    assert_eq!(published.lock().expect("one thread").len(), 3);
}

/// Found by simulation: a deadline may stand behind stream time when an owner goes (its transaction was full, or a late
/// touchpoint armed it). The next owner decides it on the spot, and its next commit must not lack the outcome.
#[test]
fn what_was_overdue_when_a_shard_came_is_published_with_its_first_commit() {
    let rules = "episodes:\n  basket: { known by: customer, opens: page.viewed, completes: order.placed, abandoned after: 5m, \
                 recovered within: 1d }\n";
    let first = job(rules);
    let lookup = Arc::clone(&first.lookup);
    let mut worker = Worker::new(first, Box::new(Changes::default()));
    worker.assigned(assigned(0..1));
    let opened = NOW - Span::from_secs(600);
    touch(&mut worker, (0, 0), "c", "page.viewed", opened);
    worker.turn().expect("the sink takes everything");
    let customer = lookup.customer(&Identity::customer("c")).expect("committed");
    let published = Arc::new(Mutex::new(Vec::new()));
    let sink = Changes { published: Arc::clone(&published), ..Changes::default() };
    let mut worker = Worker::new(job(rules), Box::new(sink));
    let positions = vec![Position { offset: 1, log_time: opened }];
    worker.assigned(vec![Assignment {
        shard: 0,
        progress: Progress { positions, stream_time: Some(NOW - Span::from_secs(1)), sequence: 1 },
        customers: Known::Restored(Customers::from_iter([customer])),
        retain_from: 0,
    }]);
    worker.turn().expect("the sink takes everything");
    let published = published.lock().expect("one thread");
    assert_eq!(published.iter().map(|(said, _)| said.as_str()).collect::<Vec<_>>(), ["abandons basket #1 after 5m"]);
}

/// A log whose commits take a time.
struct Slow(Changes, Arc<Mutex<Timestamp>>, Span);

impl Sink for Slow {
    fn publish(&mut self, shard: ShardId, outcome: &Outcome, stale: bool) {
        self.0.publish(shard, outcome, stale);
    }
    fn dead_letter(&mut self, _: Origin, _: &Unusable) {}
    fn remember(&mut self, shard: ShardId, written: Written<'_>) -> usize {
        self.0.remember(shard, written)
    }
    fn word(&mut self, _: ShardId, _: u32, _: &str) -> usize {
        0
    }
    fn forget(&mut self, _: ShardId, _: &Identity) -> usize {
        0
    }
    fn tombstone(&mut self, _: &Identity) {}
    fn announce(&mut self, _: &Identity) {}
    fn hand_over(&mut self, _: ShardId, _: &HandOff) {}
    fn keep_from(&mut self, _: ShardId, _: u64) {}
    fn commit(&mut self, progress: &[(ShardId, Progress)]) -> Verdict {
        let mut now = self.1.lock().expect("one thread");
        *now = *now + self.2;
        self.0.commit(progress)
    }
    fn abort(&mut self) -> Verdict {
        Verdict::Aborted("asked for".to_owned())
    }
}

/// A worker that is behind applies records for twice as long as a commit takes; one that has caught up commits in time.
#[test]
fn slow_commits_leave_time_for_records() {
    // How long a commit takes, how many records a round brings, and how many milliseconds lie between the beginnings of commits.
    for (commit_takes, round, between) in [(10, 100, 100), (80, 100, 240), (250, 100, 750), (80, 1, 100), (250, 1, 251)] {
        let now = Arc::new(Mutex::new(NOW));
        let clock = Arc::clone(&now);
        let now_of_worker: Now = Arc::new(move || *clock.lock().expect("one thread"));
        let mut job = Job { now: now_of_worker, commit_interval: Span::from_millis(100), ..job("") };
        job.settings.decisions_per_transaction = usize::MAX;
        // It is one customer, who does nothing else.
        job.settings.grace = Span::ZERO;
        let log = Changes::default();
        let commits = Arc::clone(&log.commits);
        let mut worker = Worker::new(job, Box::new(Slow(log, Arc::clone(&now), Span::from_millis(commit_takes))));
        worker.assigned(assigned(0..1));
        let mut offset = 0;
        while *now.lock().expect("one thread") < NOW + Span::from_secs(6) {
            worker.begin_batch();
            for _ in 0..round {
                touch(&mut worker, (0, offset), "c", "page.viewed", NOW);
                offset += 1;
            }
            let mut clock = now.lock().expect("one thread");
            *clock = *clock + Span::from_millis(1);
            drop(clock);
            worker.turn().expect("goes on");
        }
        let commits = commits.lock().expect("one thread").len();
        assert!(
            commits.abs_diff(6_000 / between) <= 2,
            "{commits} commits that take {commit_takes} ms, {round} records a round"
        );
    }
}
