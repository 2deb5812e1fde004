//! Outcomes out of the embedded log, from a position on, one JSON object a line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::App;
use super::problem::{Kind, Problem};
use super::query::{self, Parameters, Raw};
use super::room::{self, HasRoom, Room, Taken};
use crate::embedded::{Store, Stored};
use crate::wire::outputs;

/// Position after which the reader goes on; it counts what the filter left out as well.
const POSITION: HeaderName = HeaderName::from_static("sillage-position");
const DEFAULT_LIMIT: u64 = 1000;
const MOST: u64 = 10_000;
const LONGEST_WAIT: u64 = 30;
/// Rows read from the store at once.
const SLICE: usize = 500;
/// And bytes of them, or one row.
const SLICE_BYTES: usize = 256 << 10;
/// An answer that has grown so large ends there.
const ENOUGH: usize = 16 << 20;
/// Looking for what the filter lets through ends after so long, found or not.
const SEARCH: Duration = Duration::from_secs(10);
/// Between two looks whether the service stops.
const LOOK: Duration = Duration::from_millis(200);

/// `GET /v1/outcomes`.
pub(super) async fn get(State(app): State<Arc<App>>, raw: Raw) -> Result<Response, Problem> {
    let store = app.store("This service publishes its outcomes to Kafka topics; consume them there.")?;
    let query = Parameters::new(raw, &["after", "limit", "wait", "topic"])?;
    let wanted = Wanted {
        topics: topics(&query)?,
        limit: query.number("limit", MOST)?.unwrap_or(DEFAULT_LIMIT) as usize,
        wait: Duration::from_secs(query.number("wait", LONGEST_WAIT)?.unwrap_or(0)),
    };
    // The store counts positions in signed numbers.
    let after = query.number("after", i64::MAX as u64)?.unwrap_or(0);
    let last = store.last_position();
    if after > last {
        return Err(Problem::new(
            Kind::NoPosition,
            format!(
                "The last outcome has position {last}: the position given is of another store, or of this one before a backup was \
                 put back. Outcomes that came after the backup come again, with the same ids; read on from where it ends."
            ),
        ));
    }
    let Ok(_place) = app.readers.try_acquire() else {
        return Err(Problem::new(Kind::Busy, "Too many readers wait for outcomes; come again later."));
    };
    let page = wanted.read(&app, &store, after).await?;
    let Page { lines, mut taken, position, .. } = page;
    // The last row may have been larger than a slice.
    if !taken.hold(lines.len(), &app.answers) {
        return Err(room::busy());
    }
    taken.shrink(lines.len());
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson")), (POSITION, position.into())];
    Ok((headers, Extension(HasRoom), room::kept(lines, taken)).into_response())
}

/// The topics asked for; without a choice all but the dead letters.
fn topics(query: &Parameters) -> Result<Vec<&'static str>, Problem> {
    let words = outputs::ALL.map(|topic| (topic, topic));
    let chosen: Vec<&str> = query.all("topic").map(|text| query::choose("topic", text, &words)).collect::<Result<_, _>>()?;
    if chosen.is_empty() {
        return Ok(outputs::ALL.into_iter().filter(|topic| *topic != outputs::DEAD_LETTERS).collect());
    }
    Ok(chosen)
}

struct Wanted {
    topics: Vec<&'static str>,
    limit: usize,
    wait: Duration,
}

#[derive(Default)]
struct Page {
    lines: Vec<u8>,
    count: usize,
    position: u64,
    taken: Taken,
}

impl Wanted {
    /// Reads until there is enough, or something and no more, or nothing for as long as the reader waits.
    async fn read(&self, app: &App, store: &Arc<Store>, after: u64) -> Result<Page, Problem> {
        let begun = Instant::now();
        let mut page = Page { position: after, ..Page::default() };
        while page.count < self.limit && page.lines.len() < ENOUGH {
            let left = self.wait.saturating_sub(begun.elapsed());
            let patience = if page.count == 0 && !app.is_stopping() { left.min(LOOK) } else { Duration::ZERO };
            if !page.has_room(&app.answers) {
                if page.count == 0 {
                    return Err(room::busy());
                }
                break;
            }
            let (rows, is_end) = rows(store, page.position, patience).await?;
            for row in rows {
                if page.count == self.limit || page.lines.len() >= ENOUGH {
                    break;
                }
                page.take(&row, &self.topics);
            }
            let is_over = page.count > 0 || left.is_zero() || app.is_stopping();
            if (is_end && is_over) || begun.elapsed() > self.wait + SEARCH {
                break;
            }
        }
        Ok(page)
    }
}

impl Page {
    /// Whether there is room for one more slice. A page that has something leaves most of the room to others.
    fn has_room(&mut self, room: &Room) -> bool {
        let wanted = self.lines.len() + SLICE_BYTES;
        let is_fair = self.count == 0 || wanted <= room.free() / 4;
        is_fair && self.taken.hold(wanted, room)
    }

    fn take(&mut self, row: &Stored, topics: &[&str]) {
        self.position = row.position;
        if !topics.contains(&row.topic.as_str()) {
            return;
        }
        self.count += 1;
        let head =
            format!("{{\"position\":{},\"topic\":\"{}\",\"stale\":{},\"outcome\":", row.position, row.topic, row.stale);
        self.lines.extend_from_slice(head.as_bytes());
        self.lines.extend_from_slice(&row.value);
        self.lines.extend_from_slice(b"}\n");
    }
}

/// The next rows, and whether they are the last that there are.
async fn rows(store: &Arc<Store>, after: u64, patience: Duration) -> Result<(Vec<Stored>, bool), Problem> {
    let store = Arc::clone(store);
    let reading = tokio::task::spawn_blocking(move || {
        let rows = store.stored_after(after, SLICE, SLICE_BYTES, patience)?;
        let is_end = rows.last().is_none_or(|row| row.position >= store.last_position());
        Ok::<_, String>((rows, is_end))
    });
    match reading.await {
        Ok(Ok(rows)) => Ok(rows),
        Ok(Err(reason)) => Err(Problem::new(Kind::Broken, reason)),
        Err(_) => Err(Problem::new(Kind::Broken, "The outcomes could not be read; see the service's log.")),
    }
}
