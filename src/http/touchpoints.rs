//! Touchpoints into the embedded log, and the beginning and end of a history being loaded.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::batch::{self, OnUnusable, Shape, Terms};
use super::body::Arrived;
use super::gate::{self, Content};
use super::packed::{Encoding, Unpacked};
use super::problem::{Kind, Problem};
use super::query::{Parameters, Raw};
use super::{App, body, load};
use crate::embedded::{Entering, Refusal, Store};
use crate::time::Timestamp;
use crate::wire::Format;

/// Bytes of a body of touchpoints.
pub(super) const BODY: usize = 16 << 20;
/// Bytes of any other body.
const SMALL_BODY: usize = 4096;
const ON_KAFKA: &str = "This service takes its touchpoints from Kafka topics; produce them there.";

/// `POST /v1/touchpoints`: answers once all of them are durable.
pub(super) async fn post(
    State(app): State<Arc<App>>,
    query: Raw,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let asked = match Asked::new(&app, query, &headers) {
        Ok(asked) => asked,
        Err(problem) => return refuse(body, problem).await,
    };
    let arrived = body::read(body, BODY, &app.room).await?;
    let (arrived, turn) = unpacked(&app, asked.encoding, arrived).await?;
    blocking(move || {
        let terms = Terms {
            service: &app.service,
            shape: asked.shape,
            on_unusable: asked.on_unusable,
            entering: asked.entering,
            key: asked.key.as_deref(),
        };
        if asked.entering == Entering::History {
            app.load.demand(&asked.store, asked.owner.as_deref())?;
            app.load.heard();
        }
        let batch = batch::read(&arrived.bytes, &terms)?;
        let room = arrived.into_room();
        let appended =
            asked.store.append(batch.entries, asked.entering).map_err(|refusal| refused(refusal, asked.entering))?;
        drop((room, turn));
        let mut answer = json!({"accepted": appended.accepted, "duplicates": appended.duplicates});
        if asked.on_unusable == OnUnusable::DeadLetter {
            answer["unusable"] = batch.unusable.into();
        }
        Ok(answer)
    })
    .await
}

/// Unpacks a body, with a turn to write. One that finds no room waits for the place that one body at a time has, without a turn:
/// whoever has that place needs one.
async fn unpacked(
    app: &Arc<App>,
    encoding: Encoding,
    mut arrived: Arrived,
) -> Result<(Arrived, OwnedSemaphorePermit), Problem> {
    if encoding == Encoding::Plain {
        return Ok((arrived, app.turn().await?));
    }
    for waits in [true, false] {
        let turn = app.turn().await?;
        let room = app.room.clone();
        // The turn is the work's: whoever hangs up does not free it for others while the work goes on.
        let unpacking = tokio::task::spawn_blocking(move || encoding.unpack(arrived, BODY, &room).map(|made| (made, turn)));
        arrived = match unpacking.await.map_err(|_| broken())?? {
            (Unpacked::Whole(arrived), turn) => return Ok((arrived, turn)),
            (Unpacked::NoRoom(packed), _) => packed,
        };
        if !(waits && arrived.wait_for_place(&app.room).await) {
            break;
        }
    }
    Err(busy())
}

/// `POST /v1/history`: opens the load of a history.
pub(super) async fn begin_history(
    State(app): State<Arc<App>>,
    query: Raw,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let store = match loading(&app, query) {
        Ok(store) => store,
        Err(problem) => return refuse(body, problem).await,
    };
    let arrived = body::read(body, SMALL_BODY, &app.room).await?;
    let Unpacked::Whole(arrived) = Encoding::of(&headers)?.unpack(arrived, SMALL_BODY, &app.room)? else {
        return Err(busy());
    };
    let Beginning { first, owner } = Beginning::read(&arrived.bytes)?;
    let now = (app.service.now)();
    if first > now {
        let detail = format!(
            "{first} is later than now ({now}), so live posts would wait until then; send the time of the \
                              first touchpoint of the history."
        );
        return Err(Problem::new(Kind::Ahead, detail));
    }
    blocking(move || {
        app.load.begin(&store, owner, || match store.begin_history(first) {
            Ok(()) => Ok(json!({"loading": true, "first": first.to_string()})),
            Err(refusal) => Err(refused(refusal, Entering::History)),
        })
    })
    .await
}

/// `DELETE /v1/history`: ends it.
pub(super) async fn end_history(State(app): State<Arc<App>>, query: Raw) -> Result<Json<Value>, Problem> {
    let store = loading(&app, query)?;
    blocking(move || match store.end_history() {
        Ok(()) => Ok(json!({"loading": false})),
        Err(refusal) => Err(refused(refusal, Entering::History)),
    })
    .await
}

/// The store that takes a history, where that is allowed.
fn loading(app: &App, query: Raw) -> Result<Arc<Store>, Problem> {
    Parameters::new(query, &[])?;
    let store = app.store(ON_KAFKA)?;
    let cause = "Live posts wait while a history is loaded, so this is not allowed by itself";
    app.demand(app.service.loading, cause, "allow_history")?;
    Ok(store)
}

/// What a post asks for, beside its body.
struct Asked {
    store: Arc<Store>,
    shape: Shape,
    on_unusable: OnUnusable,
    entering: Entering,
    encoding: Encoding,
    key: Option<String>,
    /// Whose load it belongs to.
    owner: Option<String>,
}

impl Asked {
    fn new(app: &App, query: Raw, headers: &HeaderMap) -> Result<Self, Problem> {
        let store = app.store(ON_KAFKA)?;
        match app.service.format {
            Format::Json => {}
            Format::Avro => {
                let detail = "This service is configured for Avro; set its input format to JSON to post touchpoints.";
                return Err(Problem::new(Kind::NotJson, detail));
            }
        }
        let query = Parameters::new(query, &["unusable", "history"])?;
        let on_unusable =
            query.word("unusable", &[("refuse", OnUnusable::Refuse), ("dead-letter", OnUnusable::DeadLetter)])?;
        let entering = query.word("history", &[("false", Entering::Live), ("true", Entering::History)])?;
        Ok(Asked {
            store,
            shape: match gate::content_type(headers)? {
                Content::Json => Shape::Any,
                Content::Lines => Shape::Lines,
            },
            on_unusable: on_unusable.unwrap_or(OnUnusable::Refuse),
            entering: entering.unwrap_or(Entering::Live),
            encoding: Encoding::of(headers)?,
            key: key(headers)?,
            owner: load::owner(headers),
        })
    }
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut keys = headers.get_all("idempotency-key").into_iter();
    let (Some(key), more) = (keys.next(), keys.next()) else { return Ok(None) };
    let key = key.as_bytes();
    match String::from_utf8(key.to_vec()) {
        Ok(text) if more.is_none() && (1..=128).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic) => {
            Ok(Some(text))
        }
        Ok(_) | Err(_) => {
            Err(Problem::new(Kind::BadKey, "Send one Idempotency-Key of 1 to 128 visible ASCII characters without spaces."))
        }
    }
}

/// How a load begins.
struct Beginning {
    first: Timestamp,
    owner: Option<String>,
}

impl Beginning {
    fn read(body: &[u8]) -> Result<Self, Problem> {
        let fault = |what: &str| {
            let detail =
                format!("{what}; send {{\"first\": \"2026-01-01T00:00:00Z\"}} with the time of the first touchpoint.");
            Problem::new(Kind::BadBody, detail)
        };
        let body: Value = serde_json::from_slice(body).map_err(|_| fault("The body is not JSON"))?;
        let members = body.as_object().ok_or_else(|| fault("The body is not an object"))?;
        if members.keys().any(|name| name != "first" && name != "owner") {
            return Err(fault("The body has a member other than `first` and `owner`"));
        }
        let first = members.get("first").and_then(Value::as_str).ok_or_else(|| fault("`first` is missing or not a text"))?;
        let first = Timestamp::parse(first).map_err(|_| fault("`first` is not an instant by RFC 3339"))?;
        let owner = match members.get("owner") {
            None => None,
            Some(owner) => Some(
                owner
                    .as_str()
                    .and_then(load::name)
                    .ok_or_else(|| fault("`owner` is not 1 to 128 visible ASCII characters without spaces"))?,
            ),
        };
        Ok(Beginning { first, owner })
    }
}

/// Takes in what the client is sending before saying no: an answer in the middle of it would be lost with the connection.
async fn refuse<T>(body: Body, problem: Problem) -> Result<T, Problem> {
    body::drain(body).await;
    Err(problem)
}

fn refused(refusal: Refusal, entering: Entering) -> Problem {
    match (refusal, entering) {
        // Waiting does not help those who load without having opened a load.
        (Refusal::Loading(reason), Entering::History) => Problem::new(Kind::NoLoad, reason),
        (refusal, _) => super::refused(refusal),
    }
}

/// Does what blocks on a thread of its own.
async fn blocking(work: impl FnOnce() -> Result<Value, Problem> + Send + 'static) -> Result<Json<Value>, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer.map(Json),
        Err(_) => Err(broken()),
    }
}

fn busy() -> Problem {
    Problem::new(Kind::Busy, "Too many bodies are in flight; send this one again later.")
}

fn broken() -> Problem {
    Problem::new(Kind::Broken, "The request could not be finished; see the service's log.")
}
