//! Every metric: name, help, unit, labels. Nothing else in the code names a metric.
//!
//! Labels come from closed sets (the model, the partitions, fixed words), never from a customer, a URL or a session
//! (rule 27).

use std::collections::BTreeMap;

use compact_str::CompactString;
use metrics::{Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::journey::{Outcome, Refusal, StepCounts, Subject, Sums, What};
use crate::lookup::Missing;
use crate::model::Model;
use crate::port::ShardId;
use crate::shard::Counts;

const CONSUMED: &str = "sillage_records_consumed_total";
const IGNORED: &str = "sillage_touchpoints_ignored_total";
const DUPLICATE: &str = "sillage_touchpoints_duplicate_total";
const LATE: &str = "sillage_records_late_total";
const CLAMPED: &str = "sillage_touchpoints_clamped_total";
const MISFITS: &str = "sillage_property_misfits_total";
const LOST: &str = "sillage_touchpoint_parts_lost_total";
const MISROUTED: &str = "sillage_records_misrouted_total";
const DEAD_LETTERS: &str = "sillage_dead_letters_total";
const REFUSED_INTERVENTIONS: &str = "sillage_interventions_refused_total";
const MEASURED_INTERVENTIONS: &str = "sillage_interventions_measured_total";
const OUT_OF_ORDER: &str = "sillage_touchpoints_out_of_order_total";
const TOO_LATE: &str = "sillage_touchpoints_late_total";
const APPLIED_AGAIN: &str = "sillage_touchpoints_applied_again_total";
const JOINED: &str = "sillage_identities_joined_total";
const REFUSED_JOINS: &str = "sillage_identities_refused_total";
const FOLLOWED: &str = "sillage_touchpoints_followed_total";
const HANDED_OVER: &str = "sillage_records_handed_over_total";
const UNHEARD: &str = "sillage_identities_unheard_total";
const BURIED: &str = "sillage_records_buried_total";
const FORWARDED: &str = "sillage_touchpoints_forwarded_total";
const NOT_FORWARDED: &str = "sillage_touchpoints_not_forwarded_total";
const DISPLACED_EPISODES: &str = "sillage_episodes_displaced_total";
const FORGOTTEN_IDS: &str = "sillage_ids_forgotten_total";
const CONFLICTS: &str = "sillage_touchpoints_conflicting_total";
const CLOSED_OPENINGS: &str = "sillage_openings_of_completed_total";
const ERASED: &str = "sillage_customers_erased_total";
const OUTCOMES: &str = "sillage_outcomes_total";
const STALE: &str = "sillage_outcomes_stale_total";
const COMMITS: &str = "sillage_commits_total";
const JOURNEYS: &str = "sillage_journeys";
const LAG: &str = "sillage_lag_records";
const BEHIND: &str = "sillage_stream_time_behind_seconds";
const ARMED: &str = "sillage_deadlines_armed";
const ASSIGNED: &str = "sillage_shards_assigned";
const MISSING: &str = "sillage_shards_missing";
const UNHEALTHY: &str = "sillage_unhealthy";
const LOADING: &str = "sillage_history_loading";
const STALLED: &str = "sillage_high_watermark_stalled_seconds";
const UNPROVEN: &str = "sillage_silence_unproven";
const LEFT_BEHIND: &str = "sillage_partition_left_behind";
const STATE: &str = "sillage_state_bytes";
const STATE_LIMIT: &str = "sillage_state_limit_bytes";
const WAITING: &str = "sillage_waiting_bytes";
const STANDBY: &str = "sillage_standby_customers";
const STORE_DAMAGED: &str = "sillage_store_damaged";
const COMMIT_SECONDS: &str = "sillage_commit_seconds";
const EVENT_LATENCY: &str = "sillage_latency_event_to_commit_seconds";
const LOG_LATENCY: &str = "sillage_latency_log_to_commit_seconds";
const DELIVERIES: &str = "sillage_deliveries_total";
const DELIVERY_TRIES: &str = "sillage_delivery_tries_total";
const DELIVERIES_PENDING: &str = "sillage_deliveries_pending";
const DESTINATION_CLOSED: &str = "sillage_destination_closed";
const DELIVERY_SECONDS: &str = "sillage_delivery_seconds";
const WIDGETS: &str = "sillage_widgets_connected";
const WIDGETS_REFUSED: &str = "sillage_widgets_refused_total";
const WIDGET_ANSWERS: &str = "sillage_widget_answers_total";
const BUILD_INFO: &str = "sillage_build_info";

/// Upper bounds of all latency histograms, in seconds.
const BUCKETS: [f64; 15] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// Installs the recorder and describes every metric; returns what renders `/metrics`.
///
/// # Errors
/// When a recorder is installed already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for name in [COMMIT_SECONDS, EVENT_LATENCY, LOG_LATENCY, DELIVERY_SECONDS] {
        builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), &BUCKETS)?;
    }
    let handle = builder.install_recorder()?;
    describe();
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    missing(&BTreeMap::new());
    standing_by(0);
    loading(false);
    Ok(handle)
}

fn describe() {
    describe_counter!(CONSUMED, "Records applied, by partition.");
    describe_counter!(IGNORED, "Touchpoints of a type that no model names.");
    describe_counter!(DUPLICATE, "Touchpoints dropped as repeats of the same id and customer.");
    describe_counter!(CLAMPED, "Touchpoints whose event time lay ahead and was clamped to log time.");
    describe_counter!(
        MISFITS,
        "Values that are nothing of what the models declare, and count as absent, by property that a model reads."
    );
    describe_counter!(LOST, "Parts that touchpoints lost, or that were mended, by reason; the touchpoints were applied.");
    describe_counter!(
        LATE,
        "Records whose log time lies before stream time: this machine's clock is ahead of the broker's, or `settle` is too short."
    );
    describe_counter!(MISROUTED, "Records found on another partition than the partitioner's.");
    describe_counter!(DEAD_LETTERS, "Records sent to the dead letters.");
    describe_counter!(REFUSED_INTERVENTIONS, "Interventions that an outcome asked for and that were not made, by reason.");
    describe_counter!(
        MEASURED_INTERVENTIONS,
        "Customers who were measured after an intervention's decision, or left out, by arm and result."
    );
    describe_counter!(JOINED, "Anonymous journeys that were joined to a customer's.");
    describe_counter!(
        REFUSED_JOINS,
        "Anonymous ids that belong to no customer: several claimed it, or its customer has too many."
    );
    describe_counter!(FOLLOWED, "Touchpoints of an anonymous id alone that were applied to the customer it was joined to.");
    describe_counter!(HANDED_OVER, "Records written for other partitions.");
    describe_counter!(UNHEARD, "Answers of other partitions that nobody waited for any more.");
    describe_counter!(
        BURIED,
        "What other partitions handed over of somebody who had been erased meanwhile; it was dropped."
    );
    describe_counter!(FORWARDED, "Touchpoints that became one of another customer's as well.");
    describe_counter!(NOT_FORWARDED, "Touchpoints that were to be forwarded, and name nobody.");
    describe_counter!(DISPLACED_EPISODES, "Episodes that ended because a customer had too many open.");
    describe_counter!(FORGOTTEN_IDS, "Ids of episodes forgotten early because a customer had too many.");
    describe_counter!(CONFLICTS, "Touchpoints with the id of another one of another type; they were applied.");
    describe_counter!(CLOSED_OPENINGS, "Touchpoints that opened nothing because their id had been completed before them.");
    describe_counter!(
        OUT_OF_ORDER,
        "Touchpoints that came out of order within `grace`: the customer's latest story was told anew."
    );
    describe_counter!(
        TOO_LATE,
        "Touchpoints that came later than `grace` after they happened, and were applied as they came."
    );
    describe_counter!(APPLIED_AGAIN, "Touchpoints that were applied once more because another came out of order.");
    describe_counter!(
        ERASED,
        "Customers of whom nothing is kept any more, by reason: asked for, or expired since no touchpoint came for `forget_after`."
    );
    describe_counter!(
        OUTCOMES,
        "Outcomes committed, by model, kind and what they are about (stage entered, stage, episode)."
    );
    describe_counter!(STALE, "Outcomes decided long after their deadline.");
    describe_counter!(COMMITS, "Transactions, by result.");
    describe_gauge!(JOURNEYS, "Journeys that stand in a stage, by model and stage.");
    describe_gauge!(LAG, "Records between the position and the end of the input, by topic and partition.");
    describe_gauge!(
        BEHIND,
        "Seconds that stream time is behind the worker clock, by partition; below zero where it is ahead and waits."
    );
    describe_gauge!(
        STALLED,
        "Seconds that the high watermark of an input has stood still below the end of its leader's log, by topic and partition: a \
         replica does not keep up, and nothing that is missing there is decided."
    );
    describe_gauge!(
        UNPROVEN,
        "1 where the leader of an input does not say where its log ends and `settle` is shorter than a replica may stand still, by \
         topic and partition."
    );
    describe_gauge!(
        LEFT_BEHIND,
        "1 where a partition does not move and is not waited for, and others are further ahead than they may be, by partition."
    );
    describe_gauge!(ARMED, "Customers with an armed deadline, by partition.");
    describe_gauge!(ASSIGNED, "Shards that this process owns.");
    describe_gauge!(
        MISSING,
        "Shards that this process was given and that do not run, by why: their state is still being read, or they are parked."
    );
    describe_gauge!(
        UNHEALTHY,
        "0 while all is well; by why, how much is not: brokers, disk, worker (1 each), stream_time and parked (partitions), unusable (inputs)."
    );
    describe_gauge!(LOADING, "1 while a history is being loaded and live posts wait.");
    describe_gauge!(STORE_DAMAGED, "1 once something in the store of the embedded log was found damaged.");
    describe_gauge!(STATE, "Bytes of memory that the state of the customers takes.");
    describe_gauge!(STATE_LIMIT, "Bytes that it may take (`state_memory`); at the limit a shard is parked.");
    describe_gauge!(WAITING, "Bytes of records that wait for their turn, by partition.");
    describe_gauge!(STANDBY, "Customers whose state a standby has read; 0 where the process does not stand by.");
    describe_histogram!(COMMIT_SECONDS, "Seconds that a commit takes.");
    describe_histogram!(
        EVENT_LATENCY,
        "Seconds from event time (for an absence: its deadline) to the commit of an outcome."
    );
    describe_histogram!(LOG_LATENCY, "Seconds from log time to the commit of an outcome.");
    describe_counter!(DELIVERIES, "Deliveries that have ended, by destination and result.");
    describe_counter!(DELIVERY_TRIES, "Tries to deliver, by destination and what came of them.");
    describe_gauge!(DELIVERIES_PENDING, "Deliveries that wait or are on their way, by destination.");
    describe_gauge!(
        DESTINATION_CLOSED,
        "0 while a destination is served; 1 while it is left alone, since it fails or asks for time; 2 once it is switched off (410)."
    );
    describe_histogram!(DELIVERY_SECONDS, "Seconds from reading an outcome to its receiver having it, by destination.");
    describe_gauge!(WIDGETS, "Widgets that are connected.");
    describe_counter!(WIDGETS_REFUSED, "Requests of widgets that were refused, by reason.");
    describe_counter!(WIDGET_ANSWERS, "What customers did with offers in a widget, by type.");
    describe_gauge!(BUILD_INFO, "Always 1; the version is in the label.");
}

/// The shards that this process was given and that do not run.
pub fn missing(missing: &BTreeMap<ShardId, Missing>) {
    let parked = missing.values().filter(|why| matches!(why, Missing::Parked(_))).count();
    gauge!(MISSING, "why" => "parked").set(parked as f64);
    gauge!(MISSING, "why" => "restoring").set((missing.len() - parked) as f64);
}

/// How far stream time of a shard is behind the worker clock; below zero where it is ahead.
pub fn behind(shard: ShardId, seconds: f64) {
    gauge!(BEHIND, "partition" => shard.to_string()).set(seconds);
}

/// Of a reason that a process can be unwell for: 0, or how much is concerned, such as partitions.
pub fn unhealthy(why: &'static str, how_much: usize) {
    gauge!(UNHEALTHY, "why" => why).set(how_much as f64);
}

/// Whether a history is being loaded into the embedded log.
pub fn loading(is_loading: bool) {
    gauge!(LOADING).set(f64::from(u8::from(is_loading)));
}

/// The state of the customers takes so many bytes.
pub fn state(bytes: u64) {
    gauge!(STATE).set(bytes as f64);
}

/// The state of the customers may take so many bytes.
pub fn state_limit(bytes: u64) {
    gauge!(STATE_LIMIT).set(bytes as f64);
}

/// So many customers are known to this standby.
pub fn standing_by(customers: usize) {
    gauge!(STANDBY).set(customers as f64);
}

/// The metrics of one destination; its name is the configuration's.
pub struct DeliveryMeters {
    destination: String,
    pending: Gauge,
    closed: Gauge,
    seconds: Histogram,
}

impl DeliveryMeters {
    /// Nothing was delivered yet.
    pub fn new(destination: &str) -> Self {
        let name = destination.to_owned();
        DeliveryMeters {
            pending: gauge!(DELIVERIES_PENDING, "destination" => name.clone()),
            closed: gauge!(DESTINATION_CLOSED, "destination" => name.clone()),
            seconds: histogram!(DELIVERY_SECONDS, "destination" => name.clone()),
            destination: name,
        }
    }

    /// A delivery has ended.
    pub fn ended(&self, result: &'static str) {
        counter!(DELIVERIES, "destination" => self.destination.clone(), "result" => result).increment(1);
    }

    /// A try came to this.
    pub fn replied(&self, reply: &'static str) {
        counter!(DELIVERY_TRIES, "destination" => self.destination.clone(), "reply" => reply).increment(1);
    }

    /// A receiver has an outcome, so long after it was read.
    pub fn accepted_after(&self, seconds: f64) {
        self.seconds.record(seconds);
    }

    /// How the lane stands.
    pub fn standing(&self, pending: usize, closed: f64) {
        self.pending.set(pending as f64);
        self.closed.set(closed);
    }
}

/// One widget more or less is connected.
pub fn widgets(change: i32) {
    gauge!(WIDGETS).increment(f64::from(change));
}

/// A request of a widget was refused.
pub fn widget_refused(reason: &'static str) {
    counter!(WIDGETS_REFUSED, "reason" => reason).increment(1);
}

/// A customer did something with an offer.
pub fn widget_answer(kind: &'static str) {
    counter!(WIDGET_ANSWERS, "type" => kind).increment(1);
}

/// The metrics of one shard.
pub struct ShardMeters {
    consumed: Counter,
    armed: Gauge,
    waiting: Gauge,
    journeys: Vec<Vec<Gauge>>,
    shown: Vec<Vec<i64>>,
}

impl ShardMeters {
    /// The metrics of shard `shard` under these models.
    pub fn new<'a>(shard: ShardId, models: impl Iterator<Item = &'a Model>) -> Self {
        let partition = shard.to_string();
        let stages = |model: &Model| -> Vec<Gauge> {
            let gauge_of = |name: &str| gauge!(JOURNEYS, "model" => model.name.to_string(), "stage" => name.to_owned());
            model.stages.iter().map(|stage| gauge_of(&stage.name)).collect()
        };
        let journeys: Vec<Vec<Gauge>> = models.inspect(|model| begin_at_zero(model)).map(stages).collect();
        ShardMeters {
            consumed: counter!(CONSUMED, "partition" => partition.clone()),
            armed: gauge!(ARMED, "partition" => partition.clone()),
            waiting: gauge!(WAITING, "partition" => partition),
            shown: journeys.iter().map(|stages| vec![0; stages.len()]).collect(),
            journeys,
        }
    }

    /// So many records were applied by a commit.
    pub fn applied(&self, records: u64) {
        self.consumed.increment(records);
    }

    /// Where the journeys stand, and how many deadlines are armed.
    pub fn standing(&mut self, population: &[Vec<i64>], armed: usize) {
        self.armed.set(armed as f64);
        self.show(population);
    }

    /// Bytes that wait for their turn.
    pub fn waiting(&self, bytes: u64) {
        self.waiting.set(bytes as f64);
    }

    /// The shard has gone: it no longer counts here.
    pub fn gone(&mut self) {
        let nobody: Vec<Vec<i64>> = self.shown.iter().map(|stages| vec![0; stages.len()]).collect();
        self.show(&nobody);
        self.armed.set(0.0);
        self.waiting.set(0.0);
    }

    /// The gauges are sums over all shards, so each shard adds its change.
    fn show(&mut self, population: &[Vec<i64>]) {
        let gauges = self.journeys.iter().flatten();
        let shown = self.shown.iter_mut().flatten();
        for ((gauge, shown), now) in gauges.zip(shown).zip(population.iter().flatten()) {
            if *shown != *now {
                gauge.increment((*now - *shown) as f64);
                *shown = *now;
            }
        }
    }
}

/// The metrics of a worker that have no partition.
pub struct WorkerMeters {
    ignored: Counter,
    duplicate: Counter,
    clamped: Counter,
    misrouted: Counter,
    late: Counter,
    dead_letters: Counter,
    out_of_order: Counter,
    too_late: Counter,
    applied_again: Counter,
    joined: Counter,
    shared: Counter,
    too_many_links: Counter,
    followed: Counter,
    handed_on: Counter,
    handed_over: Counter,
    unheard: Counter,
    buried: Counter,
    forwarded: Counter,
    nobodys: Counter,
    displaced_episodes: Counter,
    forgotten_ids: Counter,
    closed_openings: Counter,
    conflicts: Counter,
    erased: Counter,
    expired: Counter,
    stale: Counter,
    committed: Counter,
    aborted: Counter,
    assigned: Gauge,
    commit_seconds: Histogram,
    event_latency: Histogram,
    log_latency: Histogram,
    /// By property that a model reads, and by reason.
    misfits: Vec<(CompactString, Counter)>,
    lost: Vec<(&'static str, Counter)>,
    /// Counters of outcomes: model, kind, and what they are about, all of them from the models.
    outcomes: Vec<(CompactString, &'static str, CompactString, Counter)>,
}

impl Default for WorkerMeters {
    fn default() -> Self {
        WorkerMeters {
            ignored: counter!(IGNORED),
            duplicate: counter!(DUPLICATE),
            clamped: counter!(CLAMPED),
            misrouted: counter!(MISROUTED),
            late: counter!(LATE),
            dead_letters: counter!(DEAD_LETTERS),
            out_of_order: counter!(OUT_OF_ORDER),
            too_late: counter!(TOO_LATE),
            applied_again: counter!(APPLIED_AGAIN),
            joined: counter!(JOINED),
            shared: counter!(REFUSED_JOINS, "reason" => "shared"),
            too_many_links: counter!(REFUSED_JOINS, "reason" => "too_many"),
            followed: counter!(FOLLOWED),
            handed_on: counter!(HANDED_OVER, "what" => "touchpoint"),
            handed_over: counter!(HANDED_OVER, "what" => "identity"),
            unheard: counter!(UNHEARD),
            buried: counter!(BURIED),
            forwarded: counter!(FORWARDED),
            nobodys: counter!(NOT_FORWARDED),
            displaced_episodes: counter!(DISPLACED_EPISODES),
            forgotten_ids: counter!(FORGOTTEN_IDS),
            closed_openings: counter!(CLOSED_OPENINGS),
            conflicts: counter!(CONFLICTS),
            erased: counter!(ERASED, "reason" => "asked"),
            expired: counter!(ERASED, "reason" => "expired"),
            stale: counter!(STALE),
            committed: counter!(COMMITS, "result" => "committed"),
            aborted: counter!(COMMITS, "result" => "aborted"),
            assigned: gauge!(ASSIGNED),
            commit_seconds: histogram!(COMMIT_SECONDS),
            event_latency: histogram!(EVENT_LATENCY),
            log_latency: histogram!(LOG_LATENCY),
            misfits: Vec::new(),
            lost: Vec::new(),
            outcomes: Vec::new(),
        }
    }
}

impl WorkerMeters {
    /// A transaction was committed, after so many seconds.
    pub fn committed(&self, seconds: f64) {
        self.committed.increment(1);
        self.commit_seconds.record(seconds);
    }

    /// A transaction was undone.
    pub fn aborted(&self) {
        self.aborted.increment(1);
    }

    /// What a shard counted up to a commit.
    pub fn counted(&self, counts: Counts) {
        self.ignored.increment(counts.ignored);
        self.duplicate.increment(counts.duplicates);
        self.dead_letters.increment(counts.dead_letters);
        let StepCounts { noticed, late, out_of_order, applied_again, joined, followed, shared, refused_links, .. } =
            counts.steps;
        self.joined.increment(joined);
        self.followed.increment(followed);
        self.misrouted.increment(counts.misrouted);
        self.handed_on.increment(counts.handed_on);
        self.handed_over.increment(counts.handed_over - counts.handed_on);
        self.unheard.increment(counts.unheard);
        self.buried.increment(counts.buried);
        self.forwarded.increment(counts.forwarded);
        self.nobodys.increment(counts.nobodys);
        self.shared.increment(shared);
        self.too_many_links.increment(refused_links);
        self.out_of_order.increment(out_of_order);
        self.too_late.increment(late);
        self.applied_again.increment(applied_again);
        self.displaced_episodes.increment(noticed.episodes);
        self.forgotten_ids.increment(noticed.ids);
        self.closed_openings.increment(noticed.openings);
        self.conflicts.increment(noticed.conflicts);
        self.erased.increment(counts.erased);
        self.expired.increment(counts.expired);
    }

    /// A touchpoint from the future was clamped.
    pub fn clamped(&self) {
        self.clamped.increment(1);
    }

    /// A value is nothing of what the models declare its property to be, which one of them reads.
    pub fn misfit(&mut self, property: &str) {
        match self.misfits.iter().find(|(known, _)| known == property) {
            Some((_, counter)) => counter.increment(1),
            None => {
                let counter = counter!(MISFITS, "property" => property.to_owned());
                counter.increment(1);
                self.misfits.push((property.into(), counter));
            }
        }
    }

    /// Parts of a touchpoint were lost for one of the reasons of [`crate::wire::Loss`].
    pub fn lost(&mut self, reason: &'static str, count: u64) {
        match self.lost.iter().find(|(known, _)| *known == reason) {
            Some((_, counter)) => counter.increment(count),
            None => {
                let counter = counter!(LOST, "reason" => reason);
                counter.increment(count);
                self.lost.push((reason, counter));
            }
        }
    }

    /// A record came after its time had been decided.
    pub fn late(&self) {
        self.late.increment(1);
    }

    /// An outcome was marked stale.
    pub fn stale(&self) {
        self.stale.increment(1);
    }

    /// Shards came or went.
    pub fn assigned(&self, change: i64) {
        self.assigned.increment(change as f64);
    }

    /// Seconds from event time and from log time to the commit of one outcome.
    pub fn latency(&self, from_event: f64, from_log: f64) {
        self.event_latency.record(from_event);
        self.log_latency.record(from_log);
    }

    /// Which counter an outcome belongs to: made once, since a counter is found by texts.
    pub fn outcome(&mut self, outcome: &Outcome) -> usize {
        let (kind, about) = (outcome.what.kind(), about(outcome));
        let is = |known: &(CompactString, &str, CompactString, Counter)| {
            known.2 == about && known.1 == kind && known.0 == outcome.model
        };
        if let Some(place) = self.outcomes.iter().position(is) {
            return place;
        }
        let (model, named) = (outcome.model.to_string(), about.to_string());
        let counter = counter!(OUTCOMES, "model" => model, "kind" => kind, "about" => named);
        self.outcomes.push((outcome.model.clone(), kind, about.into(), counter));
        self.outcomes.len() - 1
    }

    /// Counts a committed outcome.
    pub fn count(&self, counter: usize) {
        if let Some((_, _, _, counter)) = self.outcomes.get(counter) {
            counter.increment(1);
        }
    }
}

/// Lets every series of outcomes that a model can have begin at zero: a rate does not see the first of a series that begins
/// with it.
fn begin_at_zero(model: &Model) {
    let begin = |kind: &'static str, about: &str| {
        counter!(OUTCOMES, "model" => model.name.to_string(), "kind" => kind, "about" => about.to_owned()).increment(0);
    };
    let absent = ["abandonment", "resumption", "recovery"];
    for stage in &model.stages {
        begin("transition", &stage.name);
        if stage.quiet.is_some() || stage.abandoned_at.is_some() {
            absent.iter().for_each(|kind| begin(kind, &stage.name));
        }
    }
    for kind in &model.episodes {
        begin("completion", &kind.name);
        if kind.abandoned_after.is_some() || kind.abandoned_at.is_some() {
            absent.iter().for_each(|what| begin(what, &kind.name));
        }
    }
    for rule in model.friction.iter().filter(|rule| !rule.evidence_only) {
        begin("friction", &rule.name);
    }
    for intervention in &model.interventions {
        for reason in Refusal::ALL {
            intervention_refused(&intervention.id, reason, 0);
        }
        begin("intervention", &intervention.name);
        if intervention.holdout.is_some() {
            begin("would-have", &intervention.name);
        }
        if intervention.goal.is_some() {
            begin("measurement", &intervention.name);
        }
    }
}

/// What an outcome is about, as the metrics name it.
fn about(outcome: &Outcome) -> &str {
    match outcome.what.original() {
        What::Retraction { .. } => "",
        What::Merge { .. } => "journey",
        What::Transition { to, .. } => to.as_str(),
        What::Friction { rule, .. } => rule,
        What::Intervention { offer } | What::Withdrawal { offer, .. } => &offer.name,
        What::Measurement { of } => &of.intervention,
        What::Completion { about }
        | What::Abandonment { about, .. }
        | What::Resumption { about, .. }
        | What::Recovery { about, .. } => match &about.subject {
            Subject::Stage(name) => name,
            Subject::Episode { kind, .. } => kind,
            Subject::Session(_) => "session",
            Subject::Journey => "journey",
        },
    }
}

/// An intervention was asked for and not made so many times.
pub fn intervention_refused(intervention: &str, reason: Refusal, times: u64) {
    let intervention = intervention.to_owned();
    counter!(REFUSED_INTERVENTIONS, "intervention" => intervention, "reason" => reason.as_str()).increment(times);
}

/// What was measured of interventions, or left out. Neither variants nor versions are labels: `/v1/interventions` has them.
pub fn interventions_measured(sums: &Sums) {
    for (of, sums) in sums.iter() {
        let results = [
            ("converted", sums.converted),
            ("not-converted", sums.measured - sums.converted),
            ("crossed", sums.crossed),
            ("erased", sums.erased),
            ("late", sums.late),
        ];
        for (result, times) in results.into_iter().filter(|(_, times)| *times > 0) {
            let (intervention, arm) = (of.intervention.to_string(), of.arm.as_str());
            counter!(MEASURED_INTERVENTIONS, "intervention" => intervention, "arm" => arm, "result" => result)
                .increment(times);
        }
    }
}

/// Whether something in the store of the embedded log was found damaged.
pub fn store_damaged(is_damaged: bool) {
    gauge!(STORE_DAMAGED).set(f64::from(u8::from(is_damaged)));
}

/// How far a partition's position is from its end.
pub fn lag(topic: &str, partition: ShardId, records: i64) {
    gauge!(LAG, "topic" => topic.to_owned(), "partition" => partition.to_string()).set(records as f64);
}

/// For so long the high watermark of an input has stood still below the end of its leader's log.
pub fn high_watermark_stalled(topic: &str, partition: ShardId, seconds: f64) {
    gauge!(STALLED, "topic" => topic.to_owned(), "partition" => partition.to_string()).set(seconds);
}

/// Whether a partition does not move and is not waited for, though others are so far ahead of it that what it hands over comes late.
pub fn left_behind(partition: ShardId, is_left: bool) {
    gauge!(LEFT_BEHIND, "partition" => partition.to_string()).set(f64::from(u8::from(is_left)));
}

/// Whether silence of an input is believed in without a proof, and after less time than a replica may stand still.
pub fn silence_unproven(topic: &str, partition: ShardId, unproven: bool) {
    gauge!(UNPROVEN, "topic" => topic.to_owned(), "partition" => partition.to_string()).set(f64::from(u8::from(unproven)));
}
