//! Whose the load of a history is, and when it ends by itself: live posts wait for it, and cannot wait for a client that is gone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use axum::http::header::HeaderName;
use tracing::warn;

use super::App;
use super::problem::{Kind, Problem};
use crate::embedded::Store;

/// Names the owner of the load with which a post goes.
const LOAD: HeaderName = HeaderName::from_static("sillage-load");
/// Characters of an owner's name.
const NAME: usize = 128;
/// Between two looks whether it is over.
const LOOK: Duration = Duration::from_millis(500);

/// When the load of a history ends by itself.
#[derive(Clone, Copy, Debug)]
pub struct LoadLimits {
    /// So long after its owner was last heard of.
    pub silence: Duration,
    /// So long after it began.
    pub whole: Duration,
}

impl Default for LoadLimits {
    /// Five minutes, and a day.
    fn default() -> Self {
        LoadLimits { silence: Duration::from_secs(300), whole: Duration::from_secs(86_400) }
    }
}

/// The load that is open, if one is.
#[derive(Debug)]
pub(super) struct Load(Mutex<Open>);

#[derive(Debug)]
struct Open {
    /// `None` where it has no name, or where it was opened before this process began.
    owner: Option<String>,
    begun: Instant,
    heard: Instant,
}

impl Load {
    /// One that was open when this process began is given the time that any has.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Load(Mutex::new(Open { owner: None, begun: now, heard: now }))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody begins a load, or goes on with one; `work` does so in the store.
    pub(super) fn begin<T>(
        &self,
        store: &Store,
        owner: Option<String>,
        work: impl FnOnce() -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let was_open = store.is_loading();
        self.demand(store, owner.as_deref())?;
        // From now on, so that it is not over when it begins.
        self.heard();
        if !was_open {
            self.open().begun = Instant::now();
        }
        let done = work()?;
        self.open().owner = owner;
        Ok(done)
    }

    /// Refuses those whose load it is not.
    pub(super) fn demand(&self, store: &Store, owner: Option<&str>) -> Result<(), Problem> {
        if !store.is_loading() {
            return Ok(());
        }
        let open = self.open();
        match &open.owner {
            Some(known) if owner != Some(known.as_str()) => {
                let detail = format!(
                    "The load belongs to another owner, who was heard of {} s ago; send its name in the header `sillage-load`, wait \
                     until it has ended, or end it with DELETE /v1/history.",
                    open.heard.elapsed().as_secs()
                );
                Err(Problem::new(Kind::OtherLoad, detail))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Its owner has been heard of.
    pub(super) fn heard(&self) {
        self.open().heard = Instant::now();
    }

    /// Why it is over, if it is.
    fn is_over(&self, limits: LoadLimits) -> Option<String> {
        let open = self.open();
        if open.heard.elapsed() >= limits.silence {
            return Some(format!("its owner has not been heard of for {} s", limits.silence.as_secs()));
        }
        (open.begun.elapsed() >= limits.whole).then(|| format!("it has lasted for {} s", limits.whole.as_secs()))
    }
}

/// The name of an owner, as a header or a body gives it.
pub(super) fn name(text: &str) -> Option<String> {
    let is_one = (1..=NAME).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_one.then(|| text.to_owned())
}

/// The owner whom a post names.
pub(super) fn owner(headers: &HeaderMap) -> Option<String> {
    name(headers.get(LOAD)?.to_str().ok()?)
}

/// Ends loads that are over, as long as the service runs.
pub(super) async fn end_in_time(app: Arc<App>) {
    let Some(store) = app.service.store.clone() else { return };
    loop {
        tokio::time::sleep(LOOK).await;
        let store = Arc::clone(&store);
        if !store.is_loading() {
            continue;
        }
        if let Some(reason) = app.load.is_over(app.service.load_limits) {
            let ended = tokio::task::spawn_blocking(move || store.end_history()).await;
            warn!(reason, ended = matches!(ended, Ok(Ok(()))), "the load of a history is ended; live posts are taken again");
        }
    }
}
