//! One run from beginning to end, and its table.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::clients::create_copied_topic;
use crate::harness::cluster::{BROKERS, Cluster};
use crate::harness::service::Setup;
use crate::harness::{model, now_millis, say};
use crate::judge::{self, Verdict};
use crate::load::{self, Acknowledged, KEPT_AWAY, Population, SLOWNESS, TAIL};
use crate::nemesis::{self, Done, Names};
use crate::plan::Size;
use crate::shopper::Dice;
use crate::team::Team;
use crate::visitors;
use crate::watcher::{Seen, Watcher};

const PARTITIONS: i32 = 6;
const INSTANCES: [&str; 3] = ["one", "two", "three"];
/// The one whose connections go through the proxies.
const PROXIED: &str = "three";
const INPUTS: [&str; 2] = ["app", "web"];
const OUTPUT: &str = "chaos";
const GROUP: &str = "chaos-group";
/// Sessions as short as a broker allows by default: a zombie need not be frozen for a minute.
const SESSION: &str = "properties: { session.timeout.ms: 6000, heartbeat.interval.ms: 500, reconnect.backoff.max.ms: 500 }";
/// Before the end nothing more is broken, so that what is left can be told before the last deadline.
const CALM: Duration = Duration::from_secs(8);
/// So long nothing new may come before what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn whatever_happens_nothing_is_lost_nothing_comes_twice_and_nothing_after_the_purchase() {
    let _alone = crate::alone();
    let begun = Instant::now();
    let Some(cluster) = crate::cluster_to_break("chaos") else { return };
    let seed = std::env::var("SEED").map_or(20_261_125, |seed| seed.parse().expect("SEED is a number"));
    let size = Size::asked_for();
    let folder = Folder::new();
    say(&format!("chaos ({}), seed {seed}; logs in {}", size.name, folder.path.display()));
    let kept = KeptLogs { cluster: &cluster, folder: &folder.path };
    let ran = Run::through(&cluster, &size, seed, &folder.path);
    let table = ran.table(&size, seed, begun.elapsed());
    say(&table);
    std::fs::write(folder.path.join("differences"), &ran.verdict.differences).expect("the differences can be written");
    ran.check(&size, &folder.path);
    drop(kept);
    folder.forget();
}

/// Where everything lies that tells what happened; it stays if the run fails.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new() -> Folder {
        let folder = tempfile::Builder::new().prefix("sillage-chaos-").tempdir().expect("a temporary directory");
        Folder { path: folder.keep() }
    }

    fn forget(self) {
        if std::env::var("CHAOS_KEEP").is_err() {
            std::fs::remove_dir_all(&self.path).expect("our own folder can be removed");
        }
    }
}

/// The brokers' logs stay as well if the run fails.
struct KeptLogs<'a> {
    cluster: &'a Cluster,
    folder: &'a Path,
}

impl Drop for KeptLogs<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.cluster.keep_logs(self.folder);
        }
    }
}

struct Run {
    verdict: Verdict,
    visitors: usize,
    /// What is wrong about them, in words.
    wrong_about_visitors: Vec<String>,
    notes: Arc<Acknowledged>,
    team: Team,
    done: Done,
    length: Duration,
    longest_gap: (i64, i64),
    lateness: [i64; 3],
    amid: usize,
    begin: i64,
}

/// Stops everybody when somebody panics: the run is over then.
struct Alarm<'a>(&'a AtomicBool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Release);
        }
    }
}

impl Run {
    fn through(cluster: &Cluster, size: &Size, seed: u64, folder: &Path) -> Run {
        let direct = cluster.bootstrap();
        for input in INPUTS {
            create_copied_topic(&direct, input, PARTITIONS, BROKERS as i32, &[("message.timestamp.type", "LogAppendTime")]);
        }
        let population = Population::of(seed, size.touchpoints, size.millis, size.bursts);
        let team = Team::start(folder, INSTANCES.map(|instance| setup(cluster, instance)).to_vec());
        let watcher = Watcher::start(&direct, OUTPUT);
        let (notes, done) = (Arc::new(Acknowledged::default()), Done::default());
        let begin = (now_millis() + 500) / SLOWNESS * SLOWNESS;
        let run_for = Duration::from_millis((size.millis + TAIL).unsigned_abs());
        let (stop, at_rest, lanes) = (AtomicBool::new(false), AtomicBool::new(false), AtomicUsize::new(2));
        let mut dice = Dice(seed);
        let (to_workers, to_brokers) = (size.order_to_workers(&mut dice), size.order_to_brokers(&mut dice));
        let (mut worker_dice, mut broker_dice) = (Dice(seed ^ 1), Dice(seed ^ 2));
        let begun = Instant::now();
        let names = names();
        let (total, visitors) = std::thread::scope(|scope| {
            let inputs = INPUTS.map(ToOwned::to_owned);
            let over = run_for.saturating_sub(CALM + Duration::from_secs(20));
            let (team, cluster, stop, at_rest, lanes) = (&team, cluster, &stop, &at_rest, &lanes);
            let (population, direct, notes, done, names) = (&population, &direct, &notes, &done, &names);
            scope.spawn(move || {
                let _alarm = Alarm(stop);
                load::write(population, direct, &inputs, begin, notes, stop);
            });
            let visitors = scope.spawn(move || {
                let _alarm = Alarm(stop);
                visitors::come(direct, &INPUTS.map(ToOwned::to_owned), size.millis, stop)
            });
            scope.spawn(move || {
                let _alarm = Alarm(stop);
                team.look_after(at_rest);
            });
            scope.spawn(move || {
                let _alarm = Alarm(stop);
                nemesis::in_turn(&to_workers, over, stop, |what| nemesis::to_workers(what, team, &mut worker_dice));
                lanes.fetch_sub(1, Ordering::AcqRel);
            });
            scope.spawn(move || {
                let _alarm = Alarm(stop);
                nemesis::in_turn(&to_brokers, over, stop, |what| {
                    nemesis::to_brokers(what, cluster, names, done, &mut broker_dice);
                });
                lanes.fetch_sub(1, Ordering::AcqRel);
            });
            // The oracle thinks while the workers work.
            let total = judge::total(population, begin);
            let load_for = Duration::from_millis(size.millis.unsigned_abs());
            while (begun.elapsed() < run_for || lanes.load(Ordering::Acquire) > 0) && !stop.load(Ordering::Acquire) {
                if begun.elapsed() > load_for {
                    watcher.count_no_more_gaps();
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            let visitors = visitors.join().unwrap_or_default();
            wait_for_the_rest(&watcher, total, visitors, stop);
            at_rest.store(true, Ordering::Release);
            (total, visitors)
        });
        assert!(!stop.load(Ordering::Acquire), "the run was broken off; see above");
        team.terminate();
        let seen = watcher.finish();
        say(&format!("{} of {total} outcomes were read in {:.0} s", seen.count, begun.elapsed().as_secs_f64()));
        Run {
            visitors,
            wrong_about_visitors: visitors::judge(visitors, &seen.visitors),
            notes: Arc::clone(&notes),
            longest_gap: seen.longest_gap,
            lateness: seen.lateness(),
            amid: amid(&seen, begin, run_for),
            verdict: judge::judge(&population, begin, seen),
            team,
            done,
            length: begun.elapsed(),
            begin,
        }
    }

    fn table(&self, size: &Size, seed: u64, all: Duration) -> String {
        let (team, done, verdict) = (&self.team.done, &self.done, &self.verdict);
        let of = |counter: &AtomicUsize| counter.load(Ordering::Acquire);
        let ended = team.ended.lock().expect("nobody panicked").clone();
        let mut lines = vec![
            format!(
                "chaos, {} run, seed {seed}: {:.0} s, with the brokers' start {:.0} s",
                size.name,
                self.length.as_secs_f64(),
                all.as_secs_f64()
            ),
            format!(
                "  touchpoints              {:>9}   the slowest was acknowledged after {:.1} s (deadlines keep {:.1} s away)",
                of(&self.notes.written),
                self.notes.worst().as_secs_f64(),
                KEPT_AWAY as f64 / 1e3
            ),
            format!(
                "  outcomes expected        {:>9}   {} completions, {} abandonments, {} of them due amid the faults",
                verdict.expected, verdict.completions, verdict.abandonments, self.amid
            ),
            format!(
                "  workers killed           {:>9}   {} of them before they were ready",
                of(&team.kills),
                of(&team.kills_before_ready)
            ),
            format!(
                "  zombies                  {:>9}   {} of them replaced meanwhile",
                of(&team.zombies),
                of(&team.replaced)
            ),
            format!("  workers came and went    {:>9}   that many rebalances at least", of(&team.rebalances)),
            format!(
                "  brokers bounced          {:>9}   {} of them killed, and {} stood still for a while",
                of(&done.bounces),
                of(&done.kills_of_brokers),
                of(&done.stalls)
            ),
            format!(
                "  ends of commits lost     {:>9}   {} connections cut, {} times nothing went through",
                of(&done.ends_lost),
                of(&done.cuts),
                of(&done.freezes)
            ),
            format!("  workers ended themselves {:>9}   and were started again", ended.len()),
            format!(
                "  longest gap between two committed outcomes {:.1} s, {:.0} s after the beginning",
                self.longest_gap.0 as f64 / 1e3,
                (self.longest_gap.1 - self.begin) as f64 / 1e3
            ),
            format!(
                "  read after they were due: half within {} ms, 99 % within {:.1} s, the latest after {:.1} s",
                self.lateness[0],
                self.lateness[1] as f64 / 1e3,
                self.lateness[2] as f64 / 1e3
            ),
            format!(
                "  visitors who logged in   {:>9}   {} things are wrong about them",
                self.visitors,
                self.wrong_about_visitors.len()
            ),
            format!(
                "  offers                   {:>9}   {} more were held out, {} were withdrawn",
                verdict.offers.offered, verdict.offers.held_out, verdict.offers.withdrawn
            ),
            format!(
                "  lost {}   twice {}   wrong {}   after the purchase {}   offers that break a promise {}",
                verdict.lost, verdict.twice, verdict.wrong, verdict.after_purchase, verdict.offers.broken
            ),
        ];
        lines.extend(ended.iter().map(|words| format!("    ended: {words}")));
        lines.join("\n")
    }

    fn check(&self, size: &Size, folder: &Path) {
        let at = folder.display();
        let worst = self.notes.worst().as_millis() as i64;
        assert!(worst < KEPT_AWAY, "a touchpoint took {worst} ms to be written: this run proves nothing; see {at}");
        let panics = self.team.logged("panicked at");
        assert!(panics.is_empty(), "workers panicked: {panics:#?}; see {at}");
        assert!(
            self.verdict.is_clean(),
            "{}\n... see {at}",
            self.verdict.differences.chars().take(6_000).collect::<String>()
        );
        assert_eq!(self.wrong_about_visitors, Vec::<String>::new(), "see {at}");
        assert!(self.visitors > 100, "{} visitors", self.visitors);
        let (team, least) = (&self.team.done, &size.least);
        let had = [&team.kills, &team.zombies, &self.done.bounces, &team.rebalances, &self.done.stalls]
            .map(|count| count.load(Ordering::Acquire));
        let wanted = [least.kills, least.zombies, least.bounces, least.rebalances, least.stalls];
        assert!(
            had.iter().zip(wanted).all(|(had, wanted)| *had >= wanted),
            "kills, zombies, bounces, rebalances, stalls: {had:?} of {wanted:?}"
        );
        let offers = &self.verdict.offers;
        assert!([offers.offered, offers.held_out, offers.withdrawn].iter().all(|count| *count > 10), "{offers:?}");
        assert!(self.amid > self.verdict.abandonments / 2, "most deadlines must pass amid the faults");
    }
}

fn setup(cluster: &Cluster, instance: &str) -> Setup {
    Setup {
        brokers: if instance == PROXIED { cluster.proxied() } else { cluster.bootstrap() },
        group: GROUP.to_owned(),
        instance: instance.to_owned(),
        inputs: INPUTS.map(ToOwned::to_owned).to_vec(),
        output: OUTPUT.to_owned(),
        model: model("slow-shop.yaml"),
        start: "earliest",
        commit_interval: "100ms",
        extra: vec![
            SESSION.to_owned(),
            format!("replication: {BROKERS}"),
            format!("contacts: \"{}\"", model("slow-shop-contacts.yaml").display()),
        ],
        arguments: Vec::new(),
    }
}

fn names() -> Names {
    Names {
        group: GROUP.to_owned(),
        transactional: INSTANCES.map(|instance| format!("{GROUP}-{instance}-0")).to_vec(),
        inputs: INPUTS.map(ToOwned::to_owned).to_vec(),
        partitions: PARTITIONS,
    }
}

/// Until everything was told, or nothing new comes any more.
fn wait_for_the_rest(watcher: &Watcher, total: usize, visitors: usize, stop: &AtomicBool) {
    let (mut before, mut since) = (watcher.count(), Instant::now());
    let is_right = || visitors::judge(visitors, &watcher.seen().visitors).is_empty();
    while (before < total || !is_right()) && since.elapsed() < PATIENCE && !stop.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_millis(100));
        let now = watcher.count();
        if now > before {
            (before, since) = (now, Instant::now());
        }
    }
}

/// How many abandonments were due while things were being broken.
fn amid(seen: &Seen, begin: i64, run_for: Duration) -> usize {
    let until = begin + (run_for - CALM - Duration::from_secs(20)).as_millis() as i64;
    let due = |at: i64| at > begin && at < until;
    let all = seen.by_customer.values().flatten();
    all.filter(|outcome| outcome.told.kind == "abandonment" && due(outcome.told.at)).count()
}
