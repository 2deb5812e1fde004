//! A small shop: server, store and workers in a temporary directory.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sillage::embedded::{Settings, Store};
use sillage::http::{Allowed, LoadLimits, NotAsked, Service, Tokens, serve};
use sillage::lookup::Lookup;
use sillage::memory::Budget;
use sillage::model::{self, Model};
use sillage::partitioner::Partitioner;
use sillage::port::Now;
use sillage::runtime::clock::Clock;
use sillage::runtime::crew::{self, Crew, Stop};
use sillage::time::Span;
use sillage::wire::{Format, Limits, Mapping};
use sillage::worker::Job;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::client::{self, Reply};

/// What the process may have: answers have 85 MiB of it.
const MEMORY: u64 = 1 << 30;

/// A running shop; dropping it ends it.
pub(crate) struct Shop {
    pub(crate) address: SocketAddr,
    now: Now,
    not_ready: Arc<Mutex<Option<String>>>,
    runtime: Runtime,
    serving: Option<(oneshot::Sender<()>, JoinHandle<std::io::Result<()>>)>,
    workers: Option<(Crew, Stop)>,
    dir: tempfile::TempDir,
}

/// A touchpoint as the documentation writes it, happening about now.
pub(crate) fn touchpoint(customer: &str, id: &str, kind: &str) -> Value {
    let now = Clock::starting_now(1.0).now();
    json!({"event_id": id, "customer_id": customer, "type": kind, "occurred_at": now.to_string(), "channel": "web"})
}

/// Who may do what, and what metrics say.
#[derive(Clone)]
pub(crate) struct Terms {
    pub(crate) metrics: String,
    pub(crate) allowed: Allowed,
    pub(crate) tokens: Tokens,
    pub(crate) load_limits: LoadLimits,
    pub(crate) memory: u64,
}

impl Default for Terms {
    fn default() -> Self {
        let metrics = "a_metric 1\n".to_owned();
        let (tokens, load_limits) = (Tokens::default(), LoadLimits::default());
        Terms { metrics, allowed: Allowed::Yes, tokens, load_limits, memory: MEMORY }
    }
}

impl Shop {
    pub(crate) fn open() -> Self {
        Self::open_on(Terms::default())
    }

    pub(crate) fn open_on(terms: Terms) -> Self {
        Self::with_store(None, terms, |_| {})
    }

    /// One that does nothing that cannot be undone.
    pub(crate) fn open_careful() -> Self {
        Self::open_on(Terms { allowed: Allowed::No, ..Terms::default() })
    }

    pub(crate) fn open_small(max_bytes: u64) -> Self {
        Self::with_store(None, Terms::default(), |settings| settings.max_bytes = Some(max_bytes))
    }

    pub(crate) fn open_mapped(pairs: &[(&str, &str)]) -> Self {
        let pairs: Vec<_> = pairs.iter().map(|(field, path)| ((*field).to_owned(), (*path).to_owned())).collect();
        Self::with_store(Some(Mapping::new(&pairs).expect("a mapping")), Terms::default(), |_| {})
    }

    /// As on Kafka: no store, and no shard assigned yet.
    pub(crate) fn on_kafka() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self::serving(dir, None, None, Arc::default(), models(), Clock::starting_now(1.0).handle(), None, Terms::default())
    }

    fn with_store(mapping: Option<Mapping>, terms: Terms, adjust: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut settings = Settings::new(dir.path().join("store"));
        adjust(&mut settings);
        let (models, now) = (models(), Clock::starting_now(1.0).handle());
        let store = Store::open(&settings, &models, &now).expect("a store");
        let lookup = Arc::new(Lookup::default());
        let job = Job {
            models: Arc::clone(&models),
            retired: Arc::default(),
            settings: sillage::shard::Settings::default(),
            format: Format::Json,
            mapping: mapping.clone(),
            limits: Limits::default(),
            topics: vec!["touchpoints".to_owned()].into(),
            partitions: settings.partitions,
            partitioner: Partitioner::Unknown,
            misrouted: sillage::shard::Misrouted::Apply,
            erase_on: None,
            commit_interval: Span::from_millis(20),
            stale_after: Span::from_days(1),
            now: Arc::clone(&now),
            lookup: Arc::clone(&lookup),
            frontiers: None,
        };
        let stop = Stop::default();
        let crew = Crew::on_store(&store, 2, &job, &stop, &crew::bare()).expect("workers");
        Self::serving(dir, Some(store), mapping, lookup, models, now, Some((crew, stop)), terms)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a shop, put together in one place")]
    fn serving(
        dir: tempfile::TempDir,
        store: Option<Arc<Store>>,
        mapping: Option<Mapping>,
        lookup: Arc<Lookup>,
        models: Arc<[Arc<Model>]>,
        now: Now,
        workers: Option<(Crew, Stop)>,
        terms: Terms,
    ) -> Self {
        let Terms { metrics, allowed, tokens, load_limits, memory } = terms;
        let not_ready: Arc<Mutex<Option<String>>> = Arc::default();
        let reason = Arc::clone(&not_ready);
        let service = Service {
            metrics: Arc::new(move || metrics.clone()),
            ready: {
                let store = store.clone();
                Arc::new(move || match (&*reason.lock().expect("unpoisoned"), &store) {
                    (Some(reason), _) => Err(reason.clone()),
                    (None, Some(store)) => store.health(),
                    (None, None) => Ok(()),
                })
            },
            alive: Arc::new(|| Ok(())),
            lookup,
            models,
            erase: match store.clone() {
                Some(store) => Arc::new(move |who| store.erase(who).map_err(NotAsked::Refused)),
                None => Arc::new(|_| Err(NotAsked::Unreachable("no broker answers".to_owned()))),
            },
            store,
            mapping,
            format: Format::Json,
            limits: Limits::default(),
            memory: Budget { bytes: memory, workers: 2 }.http_with_touchpoints(),
            now: Arc::clone(&now),
            trusted_proxies: vec!["127.0.0.30".parse().expect("an address")],
            tokens,
            load_limits,
            erasing: allowed,
            loading: allowed,
            hosts: vec!["sillage.example.com".to_owned()],
            origins: vec!["https://shop.example.com".to_owned()],
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let until = async move { drop(stopped.await) };
        let serving = runtime.spawn(serve(listener, Arc::new(service), until));
        Shop { address, now, not_ready, runtime, serving: Some((stop, serving)), workers, dir }
    }

    pub(crate) fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        client::call(self.address, method, path, headers, body)
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.call("GET", path, &[], b"")
    }

    /// Asks until the answer has this status; what it is after 20 s.
    pub(crate) fn get_until(&self, status: u16, path: &str) -> Reply {
        let begun = Instant::now();
        let mut reply = self.get(path);
        while reply.status != status && begun.elapsed() < Duration::from_secs(20) {
            reply = self.get(path);
        }
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
        reply
    }

    /// The store's file, for a hand that does what nobody should.
    pub(crate) fn raw(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.dir.path().join("store/sillage.db")).expect("the store")
    }

    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn now(&self) -> String {
        (self.now)().to_string()
    }

    pub(crate) fn say_not_ready(&self, reason: &str) {
        *self.not_ready.lock().expect("unpoisoned") = Some(reason.to_owned());
    }

    /// All outcomes from the beginning on, once there are at least so many; what there is after 20 s.
    pub(crate) fn outcomes(&self, filter: &str, at_least: usize) -> Vec<Value> {
        let (mut lines, mut after) = (Vec::new(), 0);
        let begun = Instant::now();
        while lines.len() < at_least && begun.elapsed() < Duration::from_secs(20) {
            let reply = self.get(&format!("/v1/outcomes?after={after}&wait=5&limit=10000&{filter}"));
            assert_eq!(reply.status, 200, "{}", reply.text());
            after = reply.header("sillage-position").expect("a position").parse().expect("a number");
            lines.extend(reply.lines());
        }
        lines
    }

    /// Asks the server to stop and says how long that took.
    pub(crate) fn stop(&mut self) -> Duration {
        let begun = Instant::now();
        let (stop, serving) = self.serving.take().expect("a server that runs");
        stop.send(()).expect("a server that listens");
        self.runtime.block_on(serving).expect("no panic").expect("a good end");
        begun.elapsed()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if let Some((stop, serving)) = self.serving.take() {
            let _ = stop.send(());
            let _ = self.runtime.block_on(serving);
        }
        if let Some((crew, stop)) = self.workers.take() {
            stop.set();
            let ended = crew.join();
            assert!(std::thread::panicking() || ended.is_ok(), "{ended:?}");
        }
    }
}

fn models() -> Arc<[Arc<Model>]> {
    let (model, faults) =
        model::load("plain-five-stages.yaml", include_str!("../../../tests/models/plain-five-stages.yaml"));
    vec![Arc::new(model.unwrap_or_else(|| panic!("{faults:?}")))].into()
}
