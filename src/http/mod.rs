//! What is served: health, metrics, touchpoints in, outcomes out, journeys by customer.
//!
//! Checks what comes in and hands it to the embedded log; decides nothing about journeys. Errors are problems (RFC 9457).
//! No customer's id reaches a log line from here (rule 27): requests are not logged at all.

mod batch;
mod body;
mod customers;
mod door;
mod gate;
mod interventions;
mod load;
mod outcomes;
mod packed;
mod problem;
mod query;
mod room;
mod tokens;
mod touchpoints;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use rustix::net::sockopt;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::embedded::{Refusal, Store};
use crate::lookup::Lookup;
use crate::memory;
use crate::model::Model;
use crate::port::Now;
use crate::touchpoint::Identity;
use crate::wire::{Format, Limits, Mapping};
use door::{Door, Heads};
use gate::Gate;
use load::Load;
use problem::{Kind, Problem};
use room::Room;

pub use load::LoadLimits;
pub use tokens::{Scope, Tokens};

/// Posts being checked or appended at once, once their bodies are there.
const APPENDS: usize = 16;
/// So long a post waits for its turn.
const TURN: Duration = Duration::from_secs(10);
/// Readers of outcomes at once; each keeps one blocking thread while it waits.
const READERS: usize = 64;
/// What the kernel keeps of a connection in either direction, twice: a container's memory counts it, and by itself it would be
/// megabytes.
const KERNELS: usize = 128 << 10;
/// After `stop`, requests may go on for so long before their connections are cut.
const GRACE: Duration = Duration::from_secs(4);
/// What there is, as shown to those who ask for something else.
const ENDPOINTS: [&str; 12] = [
    "GET /livez",
    "GET /readyz",
    "GET /metrics",
    "POST /v1/touchpoints",
    "POST /v1/history",
    "DELETE /v1/history",
    "GET /v1/outcomes?after=N&limit=L&wait=S&topic=T",
    "GET /v1/interventions",
    "GET /v1/customers/{id}",
    "GET /v1/customers/{id}?kind=anonymous",
    "DELETE /v1/customers/{id}",
    "DELETE /v1/customers/{id}?kind=anonymous",
];

/// Asks the log to let every shard erase somebody; returns once that is durable.
pub type Erase = Arc<dyn Fn(&Identity) -> Result<(), NotAsked> + Send + Sync>;

/// Why an erasure could not be asked for.
#[derive(Clone, Debug)]
pub enum NotAsked {
    /// The store does not take it.
    Refused(Refusal),
    /// The brokers did not confirm it.
    Unreachable(String),
}

/// Whether something may be done over HTTP that cannot be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// The configuration says so.
    Yes,
    /// It does not.
    No,
}

impl Allowed {
    /// Refuses what is not allowed, naming the key that allows it.
    fn demand(self, what: &str, key: &str) -> Result<(), Problem> {
        match self {
            Allowed::Yes => Ok(()),
            Allowed::No => {
                let detail = format!(
                    "{what}; write `{key}: true` in the configuration, or give it tokens, and start the service again."
                );
                Err(Problem::new(Kind::NotAllowed, detail))
            }
        }
    }
}

/// What the HTTP side needs.
pub struct Service {
    /// Renders the metrics.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Whether the process does its work.
    pub ready: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Whether the process should be kept running.
    pub alive: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// The journeys.
    pub lookup: Arc<Lookup>,
    /// The models.
    pub models: Arc<[Arc<Model>]>,
    /// The embedded log, where there is one.
    pub store: Option<Arc<Store>>,
    /// Asks for erasures.
    pub erase: Erase,
    /// Which source fields hold what.
    pub mapping: Option<Mapping>,
    /// How touchpoints are encoded.
    pub format: Format,
    /// What a record may hold.
    pub limits: Limits,
    /// Memory for bodies and answers.
    pub memory: memory::Http,
    /// The worker clock.
    pub now: Now,
    /// Who may do what; with tokens, these say whether customers are erased and histories loaded.
    pub tokens: Tokens,
    /// When the load of a history ends by itself.
    pub load_limits: LoadLimits,
    /// Whether customers may be erased over HTTP where there are no tokens.
    pub erasing: Allowed,
    /// Whether the load of a history may be begun and ended over HTTP where there are no tokens.
    pub loading: Allowed,
    /// Names under which the service is asked, beside its own address and those of the loopback; in lower case.
    pub hosts: Vec<String>,
    /// Addresses of proxies, which may hold any number of connections.
    pub trusted_proxies: Vec<IpAddr>,
    /// Origins of web pages that may ask, such as `https://shop.example.com`; in lower case.
    pub origins: Vec<String>,
}

/// Serves until `stop`; then requests may finish, and what still hangs after a few seconds is cut.
///
/// # Errors
/// A listener that fails.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    limit_kernel(&listener);
    let (told, stopping) = watch::channel(false);
    let (cut, cutting) = watch::channel(false);
    let gate = Gate::new(listener.local_addr()?, &service.hosts, &service.origins);
    let app = App {
        gate,
        stopping: stopping.clone(),
        room: Room::with_place_apart(service.memory.bodies, touchpoints::BODY as u64),
        answers: Room::new(service.memory.answers),
        of_operators: Room::new(room::OF_OPERATORS),
        service,
        appends: Arc::new(Semaphore::new(APPENDS)),
        readers: Arc::new(Semaphore::new(READERS)),
        load: Load::new(),
    };
    let door = Door::new(listener, cutting, &app.service.trusted_proxies);
    let app = Arc::new(app);
    let ending = tokio::spawn(load::end_in_time(Arc::clone(&app)));
    let stop = async move {
        stop.await;
        ending.abort();
        let _ = told.send(true);
    };
    until_cut(door, router(app), stop, stopping, cut).await
}

/// Accepted connections inherit it. Where that cannot be set, the kernel keeps more for them.
fn limit_kernel(listener: &TcpListener) {
    let _ = sockopt::set_socket_recv_buffer_size(listener, KERNELS);
    let _ = sockopt::set_socket_send_buffer_size(listener, KERNELS);
}

/// Serves something else on a listener of its own, under the same limits on connections.
///
/// # Errors
/// A listener that fails.
pub async fn serve_apart(
    listener: TcpListener,
    router: Router,
    proxies: &[IpAddr],
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    limit_kernel(&listener);
    let (told, stopping) = watch::channel(false);
    let (cut, cutting) = watch::channel(false);
    let stop = async move {
        stop.await;
        let _ = told.send(true);
    };
    let router = router.layer(middleware::from_fn(door::attend));
    until_cut(Door::new(listener, cutting, proxies), router, stop, stopping, cut).await
}

/// Health and metrics alone, for a process that serves nothing else there.
pub fn watched(
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
    ready: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    alive: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
) -> Router {
    let text = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    Router::new()
        .route("/metrics", get(move || async move { (text, metrics()) }))
        .route("/livez", get(move || async move { health(alive()) }))
        .route("/readyz", get(move || async move { health(ready()) }))
}

async fn until_cut(
    door: Door,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
    stopping: watch::Receiver<bool>,
    cut: watch::Sender<bool>,
) -> std::io::Result<()> {
    let service = router.into_make_service_with_connect_info::<Heads>();
    let mut serving = std::pin::pin!(axum::serve(door, service).with_graceful_shutdown(stop).into_future());
    tokio::select! {
        ended = &mut serving => return ended,
        () = grace(stopping) => {}
    }
    let _ = cut.send(true);
    // A cut connection ends at once; only a request stuck in a blocking call is left behind, and nobody waits for its answer.
    tokio::time::timeout(Duration::from_secs(1), serving).await.unwrap_or(Ok(()))
}

async fn grace(mut stopping: watch::Receiver<bool>) {
    stopped(&mut stopping).await;
    tokio::time::sleep(GRACE).await;
}

/// Waits until the flag is up, or its holder is gone.
async fn stopped(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|up| *up).await;
}

/// What every request shares.
struct App {
    service: Arc<Service>,
    gate: Gate,
    stopping: watch::Receiver<bool>,
    room: Room,
    answers: Room,
    of_operators: Room,
    appends: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    load: Load,
}

impl App {
    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// A turn to write. Nobody waits for a body here: a turn is taken when the body has arrived.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, Problem> {
        match tokio::time::timeout(TURN, Arc::clone(&self.appends).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(Problem::new(Kind::Busy, "Too many posts are in flight; send this one again later.")),
        }
    }

    /// Demands that something be allowed; where there are tokens, the one that was shown allows it.
    fn demand(&self, allowed: Allowed, what: &str, key: &str) -> Result<(), Problem> {
        if self.service.tokens.is_empty() { allowed.demand(what, key) } else { Ok(()) }
    }

    /// The embedded log, or why there is none.
    fn store(&self, on_kafka: &str) -> Result<Arc<Store>, Problem> {
        self.service.store.clone().ok_or_else(|| Problem::new(Kind::NotEmbedded, on_kafka))
    }
}

/// A refusal of the store, as far as it concerns those who send live.
fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Full(reason) => Problem::new(Kind::Full, reason),
        Refusal::Loading(reason) => Problem::new(Kind::Loading, reason),
        Refusal::TooLate(reason) => Problem::new(Kind::TooLate, reason),
        Refusal::Broken(reason) => Problem::new(Kind::Broken, reason),
    }
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/v1/touchpoints", post(touchpoints::post))
        .route("/v1/history", post(touchpoints::begin_history).delete(touchpoints::end_history))
        .route("/v1/outcomes", get(outcomes::get))
        .route("/v1/interventions", get(interventions::get))
        .route("/v1/customers/{id}", get(customers::get).delete(customers::delete))
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), gate::pass))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), room::answer))
        .layer(middleware::from_fn(door::attend))
        .with_state(app)
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], (app.service.metrics)()).into_response()
}

async fn livez(State(app): State<Arc<App>>) -> Response {
    health((app.service.alive)())
}

async fn readyz(State(app): State<Arc<App>>) -> Response {
    health((app.service.ready)())
}

/// `ok`, or the reason in one line.
fn health(health: Result<(), String>) -> Response {
    match health {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason.replace(['\r', '\n'], " ") + "\n").into_response(),
    }
}

async fn unknown_path() -> Problem {
    Problem::new(Kind::UnknownPath, "Ask for one of the endpoints listed here.").with("endpoints", ENDPOINTS.into())
}

async fn wrong_method() -> Problem {
    Problem::new(Kind::WrongMethod, "Use one of the methods listed here.").with("endpoints", ENDPOINTS.into())
}
