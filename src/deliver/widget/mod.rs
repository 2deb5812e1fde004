//! The widget's listener: offers of one subject as server-sent events, and what the customer did with them back as touchpoints.
//!
//! It is asked by pages of other origins, so it serves nothing else. Who asks shows a short token ([`super::token`]); whose
//! offers they are, and about whom an answer is, the token says and nobody else.

pub mod board;
pub(in crate::deliver) mod settings;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use compact_str::CompactString;
use futures_core::Stream;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Receiver;
use tokio::time::Sleep;
use uuid::Uuid;

use super::token::{Refused, Ticket};
use crate::metrics;
use crate::port::Now;
use crate::time::Timestamp;
use crate::touchpoint::{Touchpoint, Value};
use crate::wire::{self, Format};

pub use board::Board;
use board::{Item, Known};
pub use settings::Settings;

/// The cookie that holds a token, where the site sets one (`HttpOnly`, `Secure`, `SameSite`).
pub const COOKIE: &str = "sillage_widget";
/// Between two comments, so that whoever is in between keeps the connection.
const COMMENT: Duration = Duration::from_secs(15);
/// Bytes of an answer.
const BODY: usize = 1_024;
/// Answers that are being written at once.
const WRITES: usize = 16;
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// Writes a touchpoint, and its bytes as the input is encoded, durably.
pub type Report = Arc<dyn Fn(&Touchpoint, Vec<u8>) -> Result<(), String> + Send + Sync>;

/// What the listener needs.
pub struct Widget {
    /// Who may ask, and how many.
    pub settings: Settings,
    /// What stands.
    pub board: Board,
    /// The way back.
    pub report: Report,
    /// How touchpoints are encoded.
    pub format: Format,
    /// The clock.
    pub now: Now,
}

struct App {
    widget: Widget,
    connected: Arc<AtomicUsize>,
    writes: Semaphore,
}

/// What the listener serves.
pub fn router(widget: Widget) -> Router {
    let app = Arc::new(App { widget, connected: Arc::default(), writes: Semaphore::new(WRITES) });
    Router::new()
        .route("/v1/offers", get(offers).post(answer))
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), admit))
        .with_state(app)
}

/// Why a request is refused, as status and word.
type Refusal = (StatusCode, &'static str);

/// Pages of unknown origins get nothing, and see nothing of the answer either.
async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let origin = match origin(&app.widget.settings.origins, request.headers()) {
        Ok(origin) => origin,
        Err(refusal) => return refused(refusal),
    };
    let mut answer = match (request.method(), &origin) {
        (&Method::OPTIONS, Some(_)) => StatusCode::NO_CONTENT.into_response(),
        (&Method::OPTIONS, None) => refused((StatusCode::FORBIDDEN, "origin")),
        (_, _) => next.run(request).await,
    };
    let headers = answer.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
        let allowed = HeaderValue::from_static("authorization, content-type, last-event-id");
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
    answer
}

/// The origin of the page that asks, where one does; it must be known.
fn origin(origins: &[String], headers: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
    let mut given = headers.get_all(header::ORIGIN).into_iter();
    match (given.next(), given.next()) {
        (None, _) => Ok(None),
        (Some(origin), None) => {
            let text = origin.to_str().unwrap_or_default().to_ascii_lowercase();
            if origins.contains(&text) { Ok(Some(origin.clone())) } else { Err((StatusCode::FORBIDDEN, "origin")) }
        }
        (Some(_), Some(_)) => Err((StatusCode::FORBIDDEN, "origin")),
    }
}

fn refused((status, word): Refusal) -> Response {
    metrics::widget_refused(word);
    (status, format!("{word}\n")).into_response()
}

impl App {
    /// Whom the token lets in: from `Authorization`, or a cookie, which the browser adds by itself and which therefore counts
    /// only on a page that is known.
    fn ticket(&self, headers: &HeaderMap) -> Result<Ticket, Refusal> {
        let shown = headers.get(header::AUTHORIZATION).map(|value| {
            let text = value.to_str().unwrap_or_default();
            text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map_or("", |(_, token)| token)
        });
        let token = match shown {
            Some(token) => token,
            None => {
                let is_known_page = headers.contains_key(header::ORIGIN)
                    || headers.get(SITE).is_some_and(|site| site.as_bytes() == b"same-origin");
                let token = cookie(headers).ok_or((StatusCode::UNAUTHORIZED, "no-token"))?;
                if !is_known_page {
                    return Err((StatusCode::FORBIDDEN, "origin"));
                }
                token
            }
        };
        let checked = self.widget.settings.keys.check(token, (self.widget.now)());
        checked.map_err(|why: Refused| (StatusCode::UNAUTHORIZED, why.word()))
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut found = pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value);
    found.next()
}

async fn offers(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let ticket = match app.ticket(&headers) {
        Ok(ticket) => ticket,
        Err(refusal) => return refused(refusal),
    };
    let Some(place) = Place::take(&app.connected, app.widget.settings.connections) else {
        return refused((StatusCode::SERVICE_UNAVAILABLE, "connections"));
    };
    let now = (app.widget.now)();
    let after = headers.get(LAST_EVENT).and_then(|id| id.to_str().ok());
    let Some((missed, coming)) = app.widget.board.look(&ticket.subject, after, now) else {
        return refused((StatusCode::TOO_MANY_REQUESTS, "streams"));
    };
    let left = Duration::from_millis(ticket.until.since(now).as_millis().unsigned_abs());
    let stream = Offers { missed: missed.into(), coming, over: Box::pin(tokio::time::sleep(left)), _place: place };
    Sse::new(stream).keep_alive(KeepAlive::new().interval(COMMENT)).into_response()
}

/// One of the connections that there may be.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(taken: &Arc<AtomicUsize>, most: usize) -> Option<Place> {
        if taken.fetch_add(1, Ordering::AcqRel) >= most {
            taken.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        metrics::widgets(1);
        Some(Place(Arc::clone(taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
        metrics::widgets(-1);
    }
}

/// What one reader gets, until its token is over.
struct Offers {
    missed: VecDeque<Item>,
    coming: Receiver<Item>,
    over: Pin<Box<Sleep>>,
    _place: Place,
}

impl Stream for Offers {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        if let Some(item) = self.missed.pop_front() {
            return Poll::Ready(Some(Ok(event(item))));
        }
        self.coming.poll_recv(context).map(|item| item.map(|item| Ok(event(item))))
    }
}

fn event(item: Item) -> Event {
    let event = Event::default().event(item.kind).data(item.data);
    match item.id {
        Some(id) => event.id(id.hyphenated().to_string()),
        None => event,
    }
}

/// What a customer did with an offer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    outcome_id: Uuid,
    r#type: Did,
}

/// These, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Did {
    #[serde(rename = "offer.shown")]
    Shown,
    #[serde(rename = "offer.accepted")]
    Accepted,
    #[serde(rename = "offer.declined")]
    Declined,
}

impl Did {
    fn kind(self) -> &'static str {
        match self {
            Did::Shown => "offer.shown",
            Did::Accepted => "offer.accepted",
            Did::Declined => "offer.declined",
        }
    }
}

async fn answer(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> Response {
    match take(app, &headers, &body).await {
        Ok(kind) => {
            metrics::widget_answer(kind);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(refusal) => refused(refusal),
    }
}

async fn take(app: Arc<App>, headers: &HeaderMap, body: &[u8]) -> Result<&'static str, Refusal> {
    let ticket = app.ticket(headers)?;
    // What a form of any page can send is not taken.
    let is_json = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !is_json {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type"));
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|_| (StatusCode::BAD_REQUEST, "body"))?;
    let now = (app.widget.now)();
    let known = app.widget.board.known(&ticket.subject, answer.outcome_id, now);
    let known = known.ok_or((StatusCode::NOT_FOUND, "unknown-offer"))?;
    let _turn = app.writes.try_acquire().map_err(|_| (StatusCode::TOO_MANY_REQUESTS, "busy"))?;
    let mut value = Vec::new();
    let touchpoint = touchpoint(&answer, &ticket, &known, now);
    wire::encode_touchpoint(app.widget.format, &touchpoint, &mut value);
    let report = Arc::clone(&app.widget.report);
    let written = tokio::task::spawn_blocking(move || report(&touchpoint, value)).await;
    match written {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(_) => return Err((StatusCode::SERVICE_UNAVAILABLE, "log")),
    }
    match answer.r#type {
        Did::Shown => {}
        Did::Accepted => app.widget.board.decided(&ticket.subject, answer.outcome_id, "accepted"),
        Did::Declined => app.widget.board.decided(&ticket.subject, answer.outcome_id, "declined"),
    }
    Ok(answer.r#type.kind())
}

/// Its id is the same however often it is sent, so that repeats are dropped.
fn touchpoint(answer: &Answer, ticket: &Ticket, known: &Known, now: Timestamp) -> Touchpoint {
    let kind = answer.r#type.kind();
    let outcome = answer.outcome_id.hyphenated().to_string();
    let properties = [("intervention", known.intervention.as_str()), ("outcome_id", outcome.as_str())];
    Touchpoint {
        id: CompactString::from(format!("{outcome}/{kind}")),
        id_given: true,
        identity: ticket.subject.clone(),
        event_time: now,
        kind: kind.into(),
        channel: Some(known.channel.as_str().into()),
        properties: properties.into_iter().map(|(name, text)| (name.into(), Value::Text(text.into()))).collect(),
        ..Touchpoint::default()
    }
}
