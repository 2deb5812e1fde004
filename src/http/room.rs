//! Room in memory for what requests and answers hold, so that all of them together stay within bounds.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::App;
use super::problem::{Kind, Problem};

/// Room is taken in pieces of so many bytes.
const PIECE: usize = 1024;
/// An answer with no more bytes takes no room: all connections together have as many as is left for them.
const SMALL: u64 = 4096;

/// What Prometheus and the kubelet ask for has this much room of its own: they must be answered while others do not read.
pub(super) const OF_OPERATORS: u64 = 8 << 20;

/// So many bytes.
#[derive(Clone, Debug)]
pub(super) struct Room {
    shared: Arc<Semaphore>,
    /// Of so many pieces; one at a time has them.
    apart: usize,
    turn: Arc<Semaphore>,
}

impl Room {
    pub(super) fn new(bytes: u64) -> Self {
        Room::with_place_apart(bytes, 0)
    }

    /// Room of which so many bytes lie apart, for one after the other of those that find no more room while they grow. Without
    /// such a place many that come at once take each other's room, and none is ever whole.
    pub(super) fn with_place_apart(bytes: u64, apart: u64) -> Self {
        let pieces = |bytes: u64| (usize::try_from(bytes).unwrap_or(usize::MAX) / PIECE).min(Semaphore::MAX_PERMITS);
        let apart = if apart <= bytes { apart } else { bytes / 2 };
        Room {
            shared: Arc::new(Semaphore::new(pieces(bytes - apart))),
            apart: pieces(apart),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Bytes that nobody has, beside the place apart.
    pub(super) fn free(&self) -> usize {
        self.shared.available_permits() * PIECE
    }
}

/// Room that something takes until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Taken {
    shared: Option<OwnedSemaphorePermit>,
    /// Pieces of the place apart, for whoever has it.
    apart: usize,
    turn: Option<OwnedSemaphorePermit>,
}

impl Taken {
    /// Sees to it that there is room for so many bytes; says whether there is.
    pub(super) fn hold(&mut self, bytes: usize, room: &Room) -> bool {
        let held = self.shared.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) + self.apart;
        let more = bytes.div_ceil(PIECE).saturating_sub(held);
        if self.turn.is_some() && self.apart + more <= room.apart {
            self.apart += more;
            return true;
        }
        let Ok(more) = u32::try_from(more) else { return false };
        let Ok(more) = Arc::clone(&room.shared).try_acquire_many_owned(more) else { return false };
        match &mut self.shared {
            Some(held) => held.merge(more),
            None => self.shared = Some(more),
        }
        true
    }

    /// Waits for the place apart, in the order of those who come; says whether it has come.
    pub(super) async fn wait_for_place(&mut self, room: &Room, patience: Duration) -> bool {
        if room.apart == 0 || self.turn.is_some() {
            return false;
        }
        let turn = tokio::time::timeout(patience, Arc::clone(&room.turn).acquire_owned()).await;
        self.turn = turn.ok().and_then(Result::ok);
        self.turn.is_some()
    }

    /// Gives back what is not needed for so many bytes.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let shared = self.shared.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let spare = (shared + self.apart).saturating_sub(bytes.div_ceil(PIECE));
        let of_shared = spare.saturating_sub(self.apart);
        self.apart -= spare.min(self.apart);
        if self.apart == 0 {
            self.turn = None;
        }
        if let Some(held) = &mut self.shared {
            drop(held.split(of_shared));
        }
    }
}

/// Bytes with their room, which is given back when the last of them has been written, or nobody is there to read them.
struct Kept<T> {
    bytes: T,
    _taken: Taken,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Kept<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// Bytes that keep their room.
pub(super) fn kept<T: AsRef<[u8]> + Send + 'static>(bytes: T, taken: Taken) -> Bytes {
    Bytes::from_owner(Kept { bytes, _taken: taken })
}

/// Marks an answer whose bytes have their room already.
#[derive(Clone, Copy, Debug)]
pub(super) struct HasRoom;

/// Lets an answer wait for its reader only where there is room for it.
pub(super) async fn answer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let room = if request.uri().path().starts_with("/v1/") { &app.answers } else { &app.of_operators };
    let response = next.run(request).await;
    let is_small = response.body().size_hint().exact().is_some_and(|size| size <= SMALL);
    if is_small || response.extensions().get::<HasRoom>().is_some() {
        return response;
    }
    let (head, body) = response.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
        return Problem::new(Kind::Broken, "The answer could not be made; see the service's log.").into_response();
    };
    let mut taken = Taken::default();
    if !taken.hold(bytes.len(), room) {
        return busy().into_response();
    }
    Response::from_parts(head, Body::from(kept(bytes, taken)))
}

/// Answers that nobody reads take all the room.
pub(super) fn busy() -> Problem {
    Problem::new(Kind::Busy, "Too many answers wait for slow readers; ask again later, or raise `memory`.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_shared_and_given_back() {
        let room = Room::new(4096);
        let (mut first, mut second) = (Taken::default(), Taken::default());
        assert!(first.hold(1000, &room) && first.hold(1024, &room));
        assert_eq!(room.free(), 3072, "a piece is taken once");
        assert!(second.hold(3072, &room));
        assert!(!first.hold(1025, &room));
        second.shrink(2000);
        assert_eq!(room.free(), 1024);
        assert!(first.hold(1025, &room));
        drop((first, second));
        assert_eq!(room.free(), 4096);
    }

    #[test]
    fn whoever_finds_no_room_waits_for_the_place_apart_and_one_after_the_other_has_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let patience = Duration::ZERO;
        runtime.block_on(async {
            let room = Room::with_place_apart(6 << 10, 4 << 10);
            let (mut first, mut second, mut third) = (Taken::default(), Taken::default(), Taken::default());
            assert!(first.hold(1 << 10, &room) && second.hold(1 << 10, &room) && !third.hold(1, &room));
            assert!(first.wait_for_place(&room, patience).await && !second.wait_for_place(&room, patience).await);
            assert!(first.hold(5 << 10, &room) && !first.hold((5 << 10) + 1, &room) && !second.hold(2 << 10, &room));
            assert!(!first.wait_for_place(&room, patience).await, "it has it already");
            first.shrink(3 << 10);
            assert!(first.turn.is_some() && room.free() == 0);
            first.shrink(1);
            assert!(first.turn.is_none() && room.free() == 0);
            assert!(second.wait_for_place(&room, patience).await && !third.wait_for_place(&room, patience).await);
            assert!(second.hold(5 << 10, &room));
            drop(second);
            assert!(third.wait_for_place(&room, patience).await && room.free() == 1 << 10);
        });
    }

    #[test]
    fn bytes_keep_their_room_until_the_last_of_them_is_gone() {
        let room = Room::new(4096);
        let mut taken = Taken::default();
        assert!(taken.hold(4000, &room));
        let bytes = kept(vec![b'x'; 4000], taken);
        let last = bytes.slice(3999..);
        drop(bytes);
        assert_eq!((room.free(), last.as_ref()), (0, b"x".as_slice()));
        drop(last);
        assert_eq!(room.free(), 4096);
    }
}
