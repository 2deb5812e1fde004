//! The life of the service: configure, reach the log, start the workers, serve, drain, end.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::clock::Clock;
use super::crew::{self, Crew, Stop};
use super::delivery;
use super::ending::{heed_signals, unable};
use super::health::{Standing, Watch};
use super::machine::Tidier;
use super::standby::{Decision, Standby};
use crate::config::{Config, KafkaLog, Log};
use crate::deliver;
use crate::embedded::{self, Store};
use crate::frontiers::Frontiers;
use crate::http::NotAsked;
use crate::kafka::erase::Eraser;
use crate::kafka::{self, Trouble};
use crate::lookup::{Lookup, Missing};
use crate::model::Model;
use crate::partitioner::Partitioner;
use crate::shard::Misrouted;
use crate::time::Span;
use crate::wire::Mapping;
use crate::wire::pages::Mark;
use crate::worker::Job;
use crate::{http, metrics};

pub use super::ending::{Ended, Patience};

/// Between two looks at the workers and the clock.
const LOOK: Duration = Duration::from_millis(200);
/// The longest pause between two tries to reach a broker.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Between two looks at how much memory is resident.
const TIDY: Duration = Duration::from_millis(250);

/// What to run.
pub struct Service {
    /// The checked configuration.
    pub config: Config,
    /// Its models.
    pub models: Vec<Arc<Model>>,
    /// Where interventions are delivered from the embedded log.
    pub deliver: Option<deliver::settings::Settings>,
    /// What to do where no broker answers.
    pub patience: Patience,
    /// Where to write the address of the HTTP side.
    pub announce: Option<PathBuf>,
    /// Stands by for the member with the same configuration; `None` to be that member.
    pub standby: Option<Standby>,
}

/// Runs the service until a signal or a failure ends it.
pub fn run(service: Service) -> Ended {
    match Life::begin(service) {
        Ok(life) => life.live(),
        Err(ended) => ended,
    }
}

struct Life {
    config: Config,
    models: Arc<[Arc<Model>]>,
    deliver: Option<deliver::settings::Settings>,
    patience: Patience,
    standby: Option<Standby>,
    runtime: Runtime,
    listener: Option<TcpListener>,
    clock: Arc<Clock>,
    metrics: PrometheusHandle,
    signals: Receiver<()>,
    stop: Stop,
    lookup: Arc<Lookup>,
    entrance: Arc<kafka::Entrance>,
    standing: Standing,
}

impl Life {
    fn begin(service: Service) -> Result<Self, Ended> {
        let Service { config, models, deliver, patience, announce, standby } = service;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| unable("cannot start the HTTP side", error))?;
        let metrics = metrics::install().map_err(|error| unable("cannot install the metrics", error))?;
        let listener = runtime.block_on(TcpListener::bind(config.listen));
        let listener = listener.map_err(|error| {
            unable(&format!("cannot listen on {} (set `listen` to a free address)", config.listen), error)
        })?;
        let address = listener.local_addr().map_err(|error| unable("cannot learn the address", error))?;
        info!(%address, "serving HTTP");
        if let Some(file) = announce {
            std::fs::write(&file, address.to_string())
                .map_err(|error| unable(&format!("cannot write {}", file.display()), error))?;
        }
        let lookup = Arc::new(Lookup::limited(config.state_memory));
        metrics::state_limit(config.state_memory);
        let budget = config.budget().bytes >> 20;
        info!(budget_mib = budget, state_mib = config.state_memory >> 20, "memory");
        let stop = Stop::default();
        let signals = heed_signals(&runtime, &stop)?;
        Ok(Life {
            config,
            models: models.into(),
            deliver,
            patience,
            standby,
            runtime,
            listener: Some(listener),
            clock: Clock::starting_now(1.0),
            metrics,
            signals,
            stop,
            lookup,
            entrance: Arc::default(),
            standing: Standing::default(),
        })
    }

    fn live(mut self) -> Ended {
        let store = match &self.config.log {
            Log::Kafka(_) => None,
            Log::Embedded(settings) => match Store::open(settings, &self.models, &self.clock.handle()) {
                Ok(store) => Some(store),
                Err(reason) => return Ended::Unable(reason),
            },
        };
        let (http_stop, http) = match self.serve(store.clone()) {
            Ok(serving) => serving,
            Err(ended) => return ended,
        };
        let watched = store.clone();
        let delivering = match (self.deliver.take(), &store) {
            (Some(settings), Some(store)) => {
                let format = self.config.input_format;
                match delivery::on_store(settings, store, format, &self.clock, &self.runtime, &self.stop) {
                    Ok(thread) => Some(thread),
                    Err(reason) => return Ended::Unable(reason),
                }
            }
            (Some(_) | None, _) => None,
        };
        let crew = match (&self.config.log, store) {
            (Log::Embedded(_), Some(_)) if self.standby.is_some() => {
                Err(Ended::Unable("the embedded log has no standby: its store belongs to one process".to_owned()))
            }
            (Log::Embedded(settings), Some(store)) => {
                let homes = (settings.partitions, Partitioner::Murmur2, Misrouted::HandOn);
                let job = self.job(vec![embedded::INPUT.to_owned()], homes);
                Crew::on_store(&store, self.config.workers, &job, &self.stop, &crew::bare()).map_err(Ended::Unable)
            }
            (Log::Kafka(log), _) => self.on_kafka(log),
            (Log::Embedded(_), None) => Err(Ended::Unable("the store was not opened".to_owned())),
        };
        let ended = match crew {
            Ok(crew) => self.watch(crew, watched),
            Err(ended) => ended,
        };
        self.stop.set();
        let ended = match delivering.map(|thread| thread.join()) {
            Some(Ok(Err(reason))) if ended == Ended::Asked => Ended::Unable(reason),
            Some(_) | None => ended,
        };
        // Readers are served until the last commit is done.
        let _ = http_stop.send(true);
        if let Err(error) = self.runtime.block_on(http) {
            warn!(%error, "the HTTP side did not end well");
        }
        self.runtime.shutdown_timeout(Duration::from_secs(2));
        ended
    }

    /// Where records hold what, and where their local times are read.
    fn mapping(&self) -> Option<Mapping> {
        Mapping::for_models(self.config.fields.as_ref(), self.models.iter().map(Arc::as_ref))
    }

    fn job(&self, topics: Vec<String>, (partitions, partitioner, misrouted): (u32, Partitioner, Misrouted)) -> Job {
        Job {
            models: Arc::clone(&self.models),
            retired: self.config.retired.clone().into(),
            settings: self.config.shard.clone(),
            format: self.config.input_format,
            mapping: self.mapping(),
            limits: self.config.limits,
            topics: topics.into(),
            partitions,
            partitioner,
            misrouted,
            erase_on: self.config.erase_on.clone(),
            commit_interval: self.config.commit_interval,
            stale_after: self.config.stale_after,
            now: self.clock.handle(),
            lookup: Arc::clone(&self.lookup),
            frontiers: None,
        }
    }

    fn on_kafka(&self, log: &KafkaLog) -> Result<Crew, Ended> {
        let connection = Arc::new(log.connection.clone());
        let facts = self.reach(&connection, log.create)?;
        kafka::feel_pulse(&connection, self.lookup.vitals(), self.stop.flag()).map_err(Ended::Unable)?;
        let homes = (facts.partitions, log.partitioner, log.misrouted);
        let mut job = self.job(connection.inputs.clone(), homes);
        let hands_over = facts.partitions > 1 && log.partitioner != Partitioner::Unknown;
        if hands_over && log.misrouted == Misrouted::HandOn {
            info!(
                partitions = facts.partitions,
                "a touchpoint found in another partition than its customer's is handed on: it costs a record written and read, and \
                 a commit's time (sillage_records_misrouted_total counts them)"
            );
        }
        if hands_over && self.config.shard.grace > Span::ZERO {
            let frontiers = Arc::new(Frontiers::new(facts.partitions));
            let paced = kafka::keep_pace(&connection, facts.partitions, &frontiers, &job.now, self.stop.flag());
            paced.map_err(Ended::Unable)?;
            job.frontiers = Some(frontiers);
        }
        let entrance = &self.entrance;
        let crew =
            Crew::on_kafka(&connection, facts.clone(), self.config.workers, &job, entrance, &self.stop, &crew::bare());
        let crew = crew.map_err(Ended::Unable)?;
        if let Err(reason) = self.stand_by(&connection, &facts) {
            self.stop.set();
            return Err(Ended::Unable(crew.join().err().unwrap_or(reason)));
        }
        entrance.open();
        Ok(crew)
    }

    /// Follows the state logs until it is time to take the other's place; not at all where nobody is stood by for.
    fn stand_by(&self, connection: &kafka::Connection, facts: &kafka::Facts) -> Result<(), String> {
        let Some(standby) = &self.standby else { return Ok(()) };
        let decision = Decision::awaited(standby, &self.runtime, &self.stop);
        let decision = decision.map_err(|error| format!("cannot listen for signals: {error}"))?;
        let ledger = connection.ledger(facts, Mark::all(&self.models, &self.config.retired));
        kafka::follow(connection, &ledger, &self.entrance.followed, &|| decision.is_taken() || self.stop.is_set())?;
        if !self.stop.is_set() {
            warn!(instance = connection.instance, "taking over");
        }
        Ok(())
    }

    /// Creates or verifies the topics, trying again with growing pauses while no broker answers.
    fn reach(&self, connection: &kafka::Connection, create: Option<kafka::Create>) -> Result<kafka::Facts, Ended> {
        let mut pause = Duration::from_secs(1);
        loop {
            match kafka::prepare(connection, create) {
                Ok(facts) => return Ok(facts),
                Err(Trouble::Unfit(reason)) => return Err(Ended::Unable(reason)),
                Err(Trouble::Unreachable(reason)) if self.patience == Patience::None => {
                    return Err(Ended::Unable(reason));
                }
                Err(Trouble::Unreachable(reason)) => {
                    error!(reason, again_in_seconds = pause.as_secs(), "Kafka is not there")
                }
            }
            match self.signals.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => pause = (pause * 2).min(LONGEST_PAUSE),
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return Err(Ended::Asked),
            }
        }
    }

    /// Waits for a signal, a worker that ended, or a wrong clock; then for all workers to drain.
    fn watch(&self, crew: Crew, store: Option<Arc<Store>>) -> Ended {
        let mut wrong = None;
        let mut watch = Watch::new(Arc::clone(&self.lookup), store, self.clock.handle(), self.standing.clone());
        while !self.stop.is_set() && !crew.is_short() {
            if let Err(reason) = self.clock.check() {
                error!(reason, "the clock is wrong; nothing more is decided");
                wrong = Some(reason);
                break;
            }
            watch.look();
            if self.lookup.assigned_workers() >= self.config.workers
                && !self.lookup.missing().values().any(|why| *why == Missing::Awaited)
            {
                self.entrance.followed.forget();
            }
            // The signal itself sets the flag; here it only ends the wait.
            let _ = self.signals.recv_timeout(LOOK);
        }
        self.stop.set();
        drop(watch);
        info!("stopping: finishing what is decided, committing, leaving");
        match (crew.join(), wrong) {
            (Ok(()), None) => Ended::Asked,
            (_, Some(reason)) => Ended::ClockIsWrong(reason),
            (Err(reason), None) => Ended::Unable(reason),
        }
    }

    /// Asks the log for erasures on behalf of the HTTP side.
    fn eraser(&self, store: Option<&Arc<Store>>) -> http::Erase {
        match (&self.config.log, store.cloned()) {
            (Log::Kafka(log), _) => {
                let eraser = Eraser::new(log.connection.clone());
                Arc::new(move |who| eraser.ask(who).map(drop).map_err(NotAsked::Unreachable))
            }
            (Log::Embedded(_), Some(store)) => Arc::new(move |who| store.erase(who).map_err(NotAsked::Refused)),
            (Log::Embedded(_), None) => Arc::new(|_| Err(NotAsked::Unreachable("the store is not open".to_owned()))),
        }
    }

    fn serve(&mut self, store: Option<Arc<Store>>) -> Result<(watch::Sender<bool>, JoinHandle<()>), Ended> {
        let listener = self.listener.take().ok_or_else(|| Ended::Unable("HTTP is served already".to_owned()))?;
        let (stop, mut stopped) = watch::channel(false);
        let service = http::Service {
            metrics: {
                let handle = self.metrics.clone();
                Arc::new(move || handle.render())
            },
            ready: {
                let (lookup, stop, workers) = (Arc::clone(&self.lookup), self.stop.clone(), self.config.workers);
                let standing = self.standing.clone();
                Arc::new(move || match (stop.is_set(), lookup.assigned_workers() >= workers) {
                    (true, _) => Err("stopping".to_owned()),
                    (false, false) => Err("the log has not given every worker its shards yet".to_owned()),
                    (false, true) => standing.now().and_then(|()| whole(&lookup)),
                })
            },
            alive: {
                let clock = Arc::clone(&self.clock);
                Arc::new(move || clock.check())
            },
            lookup: Arc::clone(&self.lookup),
            models: Arc::clone(&self.models),
            erase: self.eraser(store.as_ref()),
            store,
            mapping: self.mapping(),
            format: self.config.input_format,
            limits: self.config.limits,
            memory: match &self.config.log {
                Log::Embedded(_) => self.config.budget().http_with_touchpoints(),
                Log::Kafka(_) => self.config.budget().http_for_questions(),
            },
            now: self.clock.handle(),
            hosts: self.config.hosts.clone(),
            origins: self.config.origins.clone(),
            trusted_proxies: self.config.trusted_proxies.clone(),
            tokens: self.config.tokens.clone(),
            load_limits: http::LoadLimits::default(),
            erasing: self.config.allow_erase,
            loading: self.config.allow_history,
        };
        let until = async move {
            // An error means that the sender is gone: time to stop as well.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let serving = self.runtime.spawn(async move {
            if let Err(error) = http::serve(listener, Arc::new(service), until).await {
                error!(%error, "the HTTP side ended");
            }
        });
        self.keep_tidy();
        // Histograms must be drained now and then, or they grow while nobody scrapes.
        let handle = self.metrics.clone();
        self.runtime.spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                handle.run_upkeep();
            }
        });
        Ok((stop, serving))
    }

    /// Has what is free given back to the machine, when the process has grown by a part of its budget.
    fn keep_tidy(&self) {
        let mut tidier = Tidier::new(self.config.budget().bytes / 8);
        self.runtime.spawn(async move {
            loop {
                tokio::time::sleep(TIDY).await;
                // Giving back can take a while where there is much.
                let looked = tokio::task::spawn_blocking(move || {
                    tidier.look();
                    tidier
                });
                let Ok(back) = looked.await else { return };
                tidier = back;
            }
        });
    }
}

/// Whether everything that this process was given runs.
fn whole(lookup: &Lookup) -> Result<(), String> {
    let missing = lookup.missing();
    let parked = missing.iter().find_map(|(shard, why)| match why {
        Missing::Parked(reason) => Some(format!("partition {shard} is parked: {reason}")),
        Missing::Awaited => None,
    });
    match (parked, missing.len()) {
        (Some(parked), _) => Err(parked),
        (None, 0) => Ok(()),
        (None, awaited) => Err(format!("the state of {awaited} partitions is still being read")),
    }
}
