//! The life of `sillage deliver`: reach the brokers, deliver, show widgets what stands, end. On the embedded log, the same is a
//! task of the service.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::clock::Clock;
use super::crew::Stop;
use super::ending::{Ended, Patience, heed_signals, unable};
use crate::config::{Config, KafkaLog, Log};
use crate::deliver::desk::{Desk, Pulse};
use crate::deliver::notice::Notice;
use crate::deliver::settings::{Settings, Start};
use crate::deliver::widget::{self, Board, Report, Widget};
use crate::embedded::{self, Store};
use crate::kafka::{self, Begin, Trouble};
use crate::time::{Span, Timestamp};
use crate::wire::{Format, outputs};
use crate::{http, metrics};

/// The longest pause between two tries to reach a broker.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The desk turns many times a second; so long without a turn it is not ready, and later not alive.
const READY: Span = Span::from_secs(30);
const ALIVE: Span = Span::from_secs(120);
/// Offers stand for less than this; a widget shows what was published since.
const LOOK_BACK: Span = Span::from_days(1);
/// Outcomes that are read from the store at once, and their bytes.
const AT_ONCE: usize = 1_000;
const BYTES: usize = 4 << 20;
/// Threads for requests of widgets, beside those that deliver.
const SPARE_THREADS: usize = 32;

/// What to run.
pub struct Delivery {
    /// The service's configuration.
    pub config: Config,
    /// The destinations.
    pub settings: Settings,
    /// What to do where no broker answers.
    pub patience: Patience,
    /// Where to write the addresses that are listened on: health first, then the widget's.
    pub announce: Option<PathBuf>,
}

/// Delivers until a signal comes.
pub fn run(delivery: Delivery) -> Ended {
    match live(delivery) {
        Ok(()) => Ended::Asked,
        Err(ended) => ended,
    }
}

fn live(delivery: Delivery) -> Result<(), Ended> {
    let Delivery { config, settings, patience, announce } = delivery;
    let Log::Kafka(log) = &config.log else {
        return Err(Ended::Unable("`sillage deliver` reads Kafka; on the embedded log, name this file as `deliver` in the service's configuration instead".to_owned()));
    };
    if log.connection.format != Format::Json {
        return Err(Ended::Unable("delivery reads outcomes in JSON; set `output_format: json` for the service".to_owned()));
    }
    let threads: usize = settings.destinations.iter().map(|destination| destination.limits.at_once).sum();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(threads + SPARE_THREADS)
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| unable("cannot start the HTTP side", error))?;
    let meters = metrics::install().map_err(|error| unable("cannot install the metrics", error))?;
    let listen = |address| {
        let listener = runtime.block_on(TcpListener::bind(address));
        listener.map_err(|error| unable(&format!("cannot listen on {address} (set `listen` to a free address)"), error))
    };
    let listener = listen(settings.listen)?;
    let widgets = settings.widget.as_ref().map(|widget| listen(widget.listen)).transpose()?;
    let addresses: Vec<String> =
        std::iter::once(&listener).chain(&widgets).filter_map(|one| Some(one.local_addr().ok()?.to_string())).collect();
    info!(?addresses, "serving HTTP");
    if let Some(file) = announce {
        let written = std::fs::write(&file, addresses.join("\n"));
        written.map_err(|error| unable(&format!("cannot write {}", file.display()), error))?;
    }
    let clock = Clock::starting_now(1.0);
    let stop = Stop::default();
    let signals = heed_signals(&runtime, &stop)?;
    let outbox = reach(log, &settings, patience, &stop, &signals)?;
    let report: Report = Arc::new(outbox.reporter(clock.handle()));
    let destinations = settings.destinations.clone();
    let now = clock.handle();
    let desk = Desk::new(destinations, Box::new(outbox), config.input_format, now, runtime.handle().clone());
    let mut desk = desk.map_err(Ended::Unable)?;
    let (end, ending) = watch::channel(false);
    watched(&runtime, listener, meters, &clock, desk.pulse(), &ending);
    if let (Some(widget), Some(listener)) = (settings.widget, widgets) {
        let board = Board::default();
        let records = overheard(&log.connection, clock.now() - LOOK_BACK);
        overhear(records, &board, &widget, &clock, &stop).map_err(|error| unable("cannot start a thread", error))?;
        let proxies = widget.trusted_proxies.clone();
        let format = config.input_format;
        let router = widget::router(Widget { settings: widget, board, report, format, now: clock.handle() });
        spawn(&runtime, listener, router, proxies, &ending);
    }
    let ended = desk.run(&stop.flag());
    stop.set();
    drop(desk);
    let _ = end.send(true);
    runtime.shutdown_timeout(Duration::from_secs(2));
    // What the log does not take any more after the signal is delivered again at the next start.
    match ended {
        Ok(()) => Ok(()),
        Err(reason) => Err(Ended::Unable(reason)),
    }
}

/// Delivers from the embedded log, on a thread of the service, until it stops. Its metrics are the service's.
pub(super) fn on_store(
    settings: Settings,
    store: &Arc<Store>,
    format: Format,
    clock: &Arc<Clock>,
    runtime: &Runtime,
    stop: &Stop,
) -> Result<JoinHandle<Result<(), String>>, String> {
    let outbox = embedded::Deliveries::open(Arc::clone(store), stop.flag())?;
    let report: Report = Arc::new(outbox.reporter());
    let handle = runtime.handle().clone();
    let mut desk = Desk::new(settings.destinations, Box::new(outbox), format, clock.handle(), handle)?;
    let mut overheard = None;
    if let Some(widget) = settings.widget {
        let listener = runtime.block_on(TcpListener::bind(widget.listen));
        let listener = listener.map_err(|error| format!("cannot listen on {} for widgets: {error}", widget.listen))?;
        if let Ok(address) = listener.local_addr() {
            info!(%address, "serving widgets");
        }
        let board = Board::default();
        let (source, mut read) = (Arc::clone(store), 0);
        let records = move |wait| -> Vec<Vec<u8>> {
            let stored = source.stored_after(read, AT_ONCE, BYTES, wait).unwrap_or_default();
            read = stored.last().map_or(read, |last| last.position);
            let published = stored.into_iter().filter(|stored| stored.topic == outputs::INTERVENTIONS);
            published.map(|stored| stored.value).collect()
        };
        let listening = overhear(records, &board, &widget, clock, stop);
        overheard = Some(listening.map_err(|error| format!("cannot start a thread: {error}"))?);
        let proxies = widget.trusted_proxies.clone();
        let router = widget::router(Widget { settings: widget, board, report, format, now: clock.handle() });
        let stop = stop.clone();
        runtime.spawn(async move {
            let until = async move {
                while !stop.is_set() {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            };
            if let Err(error) = http::serve_apart(listener, router, &proxies, until).await {
                error!(%error, "the widget's side ended");
            }
        });
    }
    let stop = stop.clone();
    let delivering = move || {
        let ended = desk.run(&stop.flag());
        if let Err(reason) = &ended {
            error!(reason, "delivery cannot go on");
            stop.set();
        }
        // Whoever closes the store last must be able to write.
        if let Some(overheard) = overheard {
            let _ = overheard.join();
        }
        ended
    };
    let thread = std::thread::Builder::new().name("delivery".to_owned()).spawn(delivering);
    thread.map_err(|error| format!("cannot start a thread: {error}"))
}

/// Joins the group, trying again with growing pauses while no broker answers.
fn reach(
    log: &KafkaLog,
    settings: &Settings,
    patience: Patience,
    stop: &Stop,
    signals: &Receiver<()>,
) -> Result<kafka::Deliveries, Ended> {
    let group = settings.group.clone().unwrap_or_else(|| format!("{}-deliver", log.connection.group));
    let begin = match settings.start {
        Start::Latest => Begin::Latest,
        Start::Earliest => Begin::Earliest,
    };
    let mut pause = Duration::from_secs(1);
    loop {
        let (connection, place) = (log.connection.clone(), (group.clone(), begin));
        match kafka::Deliveries::open(connection, log.create, log.partitioner, place, stop.flag()) {
            Ok(outbox) => return Ok(outbox),
            Err(Trouble::Unfit(reason)) => return Err(Ended::Unable(reason)),
            Err(Trouble::Unreachable(reason)) if patience == Patience::None => return Err(Ended::Unable(reason)),
            Err(Trouble::Unreachable(reason)) => error!(reason, again_in_seconds = pause.as_secs(), "Kafka is not there"),
        }
        match signals.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => pause = (pause * 2).min(LONGEST_PAUSE),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Err(Ended::Asked),
        }
    }
}

fn watched(
    runtime: &Runtime,
    listener: TcpListener,
    meters: PrometheusHandle,
    clock: &Arc<Clock>,
    pulse: Arc<Pulse>,
    ending: &watch::Receiver<bool>,
) {
    let turned = move |clock: Arc<Clock>, within: Span| {
        let pulse = Arc::clone(&pulse);
        move || match pulse.since(clock.now()) {
            since if since <= within => Ok(()),
            since => Err(format!("nothing was read or delivered for {since}")),
        }
    };
    let ready = turned(Arc::clone(clock), READY);
    let started = clock.now();
    let (alive, wrong) = (turned(Arc::clone(clock), ALIVE), Arc::clone(clock));
    let alive = move || match alive() {
        // It may be reaching for the brokers still.
        Err(_) if wrong.now().since(started) < ALIVE => Ok(()),
        health => health.and_then(|()| wrong.check()),
    };
    let upkeep = meters.clone();
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            upkeep.run_upkeep();
        }
    });
    let router = http::watched(Arc::new(move || meters.render()), Arc::new(ready), Arc::new(alive));
    spawn(runtime, listener, router, Vec::new(), ending);
}

fn spawn(
    runtime: &Runtime,
    listener: TcpListener,
    router: axum::Router,
    proxies: Vec<std::net::IpAddr>,
    ending: &watch::Receiver<bool>,
) {
    let mut ending = ending.clone();
    runtime.spawn(async move {
        let until = async move {
            let _ = ending.wait_for(|end| *end).await;
        };
        if let Err(error) = http::serve_apart(listener, router, &proxies, until).await {
            error!(%error, "the HTTP side ended");
        }
    });
}

/// Lets the board hear of all that is published, on a thread of its own. `records` waits so long for the next ones.
fn overhear(
    mut records: impl FnMut(Duration) -> Vec<Vec<u8>> + Send + 'static,
    board: &Board,
    settings: &widget::Settings,
    clock: &Arc<Clock>,
    stop: &Stop,
) -> std::io::Result<JoinHandle<()>> {
    let (board, channels, now, stop) = (board.clone(), settings.channels.clone(), clock.handle(), stop.clone());
    let listening = move || {
        let mut tidied = now();
        while !stop.is_set() {
            for record in records(Duration::from_millis(200)) {
                match Notice::read(&record) {
                    Ok(Some(notice)) if notice.is_on(&channels) => board.read(&notice, now()),
                    // What cannot be read is a dead letter of whoever delivers it.
                    Ok(Some(_) | None) | Err(_) => {}
                }
            }
            if now().since(tidied) > Span::from_secs(1) {
                tidied = now();
                board.tidy(tidied);
            }
        }
    };
    std::thread::Builder::new().name("overheard".to_owned()).spawn(listening)
}

/// The records of Kafka, as soon as it answers.
fn overheard(connection: &kafka::Connection, since: Timestamp) -> impl FnMut(Duration) -> Vec<Vec<u8>> + Send + 'static {
    let connection = connection.clone();
    let mut reading: Option<kafka::Overheard> = None;
    move |wait: Duration| {
        let reading = match &reading {
            Some(reading) => reading,
            None => match kafka::Overheard::since(&connection, since) {
                Ok(opened) => reading.insert(opened),
                Err(trouble) => {
                    warn!(reason = trouble.into_reason(), "widgets are shown nothing yet");
                    std::thread::sleep(wait);
                    return Vec::new();
                }
            },
        };
        reading.next(wait).into_iter().collect()
    }
}
