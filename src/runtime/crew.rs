//! The workers of a process: one named thread each, stopped together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::embedded::{self, Store};
use crate::kafka;
use crate::port::{ShardOwner, Sink};
use crate::shard::{Control, StateLog};
use crate::wire::pages::Mark;
use crate::worker::{Job, Worker};

/// A flag that stops everything that looks at it.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks everybody to stop.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// The flag itself, for those who know only flags.
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    /// Whether everybody was asked to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Puts something between a worker and its sink: an onlooker.
pub type Wrap = Arc<dyn Fn(Box<dyn Sink>) -> Box<dyn Sink> + Send + Sync>;

/// Nothing between a worker and its sink.
pub fn bare() -> Wrap {
    Arc::new(|sink| sink)
}

/// The running workers.
#[derive(Debug)]
pub struct Crew(Vec<JoinHandle<Result<(), String>>>);

impl Crew {
    /// Workers on Kafka that write through what `wrap` makes of their sinks.
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn on_kafka(
        connection: &Arc<kafka::Connection>,
        facts: kafka::Facts,
        workers: usize,
        job: &Job,
        entrance: &Arc<kafka::Entrance>,
        stop: &Stop,
        wrap: &Wrap,
    ) -> Result<Self, String> {
        let models = Mark::all(&job.models, &job.retired);
        let ledger = Arc::new(connection.ledger(&facts, models));
        Self::start(workers, |worker| {
            let (ledger, entrance) = (Arc::clone(&ledger), Arc::clone(entrance));
            let (connection, job, stop, wrap) = (Arc::clone(connection), job.clone(), stop.clone(), Arc::clone(wrap));
            let facts = facts.clone();
            Box::new(move || {
                let now = Arc::clone(&job.now);
                let mut job = job;
                job.settings.state_log = StateLog::Changes;
                job.settings.control = Control::After(ledger.inputs.len());
                kafka::drive(worker, &connection, &ledger, &facts, &entrance, &now, &stop.0, |sink| {
                    shard_owner(job, wrap(sink))
                })
            })
        })
    }

    /// Workers on the embedded log that write through what `wrap` makes of their sinks.
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn on_store(store: &Arc<Store>, workers: usize, job: &Job, stop: &Stop, wrap: &Wrap) -> Result<Self, String> {
        Self::start(workers, |worker| {
            let (store, job, stop, wrap) = (Arc::clone(store), job.clone(), stop.clone(), Arc::clone(wrap));
            Box::new(move || {
                let now = Arc::clone(&job.now);
                embedded::drive(&store, worker, workers, &now, &stop.0, |sink| shard_owner(job, wrap(sink)))
            })
        })
    }

    fn start(workers: usize, work: impl Fn(usize) -> Work) -> Result<Self, String> {
        let thread = |worker: usize| {
            let named = std::thread::Builder::new().name(format!("sillage-{worker}"));
            named.spawn(work(worker)).map_err(|error| format!("cannot start a worker's thread: {error}"))
        };
        (0..workers).map(thread).collect::<Result<_, _>>().map(Crew)
    }

    /// Whether some worker has ended.
    pub fn is_short(&self) -> bool {
        self.0.iter().any(JoinHandle::is_finished)
    }

    /// Waits for all workers.
    ///
    /// # Errors
    /// Why the first of them that failed could not go on.
    pub fn join(self) -> Result<(), String> {
        let ended = |thread: JoinHandle<Result<(), String>>| {
            thread.join().unwrap_or_else(|_| Err("a worker panicked; the log above says where".to_owned()))
        };
        // All are waited for, whatever the first one says.
        let ended: Vec<Result<(), String>> = self.0.into_iter().map(ended).collect();
        ended.into_iter().collect()
    }
}

type Work = Box<dyn FnOnce() -> Result<(), String> + Send>;

fn shard_owner(job: Job, sink: Box<dyn Sink>) -> Arc<Mutex<dyn ShardOwner>> {
    Arc::new(Mutex::new(Worker::new(job, sink)))
}
