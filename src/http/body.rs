//! Reading a request's body: so many bytes in so much time, and no more; all bodies together within one room.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::problem::{Kind, Problem};
use super::room::{Room, Taken};

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);
/// After so long a body must have come at `RATE` all the time.
const START: Duration = Duration::from_secs(5);
/// Bytes a second.
const RATE: f64 = 4096.0;
/// So long a body waits for its room. Meanwhile nothing more of it is read, and its own time stands still.
const WAITING: Duration = Duration::from_secs(30);
/// Whoever has the room that others wait for sends so many bytes, or the last ones,
const STEP: usize = 1 << 20;
/// within so long, again and again.
const HURRY: Duration = Duration::from_secs(2);
/// So much of a body that is not wanted is read all the same, so that the client comes to read the answer.
const DRAINED: usize = 64 << 20;
/// And for so long.
const DRAINING: Duration = Duration::from_secs(3);
/// Of so many bodies at once: reading what is not wanted must not take the time of what is.
static DRAINERS: Semaphore = Semaphore::const_new(16);

/// A body that has arrived, and its room until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    pub(super) bytes: Vec<u8>,
    /// All of its bytes, where that is known before they come.
    announced: Option<usize>,
    /// Bytes of something else for which its room is as well.
    beside: usize,
    taken: Taken,
}

/// What became of a part of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    In,
    /// The body has more bytes than it may have.
    TooLarge,
    /// All bodies together have.
    NoRoom,
}

enum Fault {
    TooLarge,
    NoRoom,
    TooSlow,
    Broken(axum::Error),
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read(mut body: Body, limit: usize, room: &Room) -> Result<Arrived, Problem> {
    match collect(&mut body, limit, room).await {
        Ok(arrived) => Ok(arrived),
        Err(Fault::TooLarge) => {
            drain(body).await;
            Err(Problem::new(Kind::TooLarge, format!("a body may have {limit} bytes; send it in several requests")))
        }
        Err(Fault::NoRoom) => {
            drain(body).await;
            Err(Problem::new(Kind::Busy, "Too many bodies are in flight; send this one again later."))
        }
        Err(Fault::Broken(reason)) => Err(Problem::new(Kind::BadBody, format!("the body broke off: {reason}"))),
        Err(Fault::TooSlow) => {
            let detail = format!(
                "A body must arrive within {} s, and after {} s at {RATE} bytes a second or more; send less at once.",
                PATIENCE.as_secs(),
                START.as_secs()
            );
            Err(Problem::new(Kind::SlowBody, detail))
        }
    }
}

/// Reads and forgets what is left of a body, within limits.
pub(super) async fn drain(mut body: Body) {
    let Ok(_drainer) = DRAINERS.try_acquire() else { return };
    let mut left = DRAINED;
    let draining = async {
        while let Ok(Some(data)) = next(&mut body).await {
            left = left.saturating_sub(data.len());
            if left == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DRAINING, draining).await;
}

async fn collect(body: &mut Body, limit: usize, room: &Room) -> Result<Arrived, Fault> {
    if body.size_hint().lower() > limit as u64 {
        return Err(Fault::TooLarge);
    }
    let announced = body.size_hint().exact().and_then(|size| usize::try_from(size).ok());
    let mut begun = Instant::now();
    let mut arrived = Arrived { announced, ..Arrived::default() };
    // Where it has the room that others wait for: when its present step began, and with how many bytes.
    let mut placed: Option<(Instant, usize)> = None;
    loop {
        let length = arrived.bytes.len();
        placed = placed.map(|(since, had)| if length - had < STEP { (since, had) } else { (Instant::now(), length) });
        let due = placed.map_or(begun + due(length), |(since, _)| (since + HURRY).min(begun + due(length)));
        let data = match tokio::time::timeout_at(due, next(body)).await {
            Err(_) if placed.is_some() => return Err(Fault::NoRoom),
            Err(_) => return Err(Fault::TooSlow),
            Ok(Err(reason)) => return Err(Fault::Broken(reason)),
            Ok(Ok(None)) => return Ok(arrived),
            Ok(Ok(Some(data))) => data,
        };
        let mut taken = arrived.take(&data, limit, room);
        if taken == Placed::NoRoom {
            let waits = Instant::now();
            if !arrived.taken.wait_for_place(room, WAITING).await {
                return Err(Fault::NoRoom);
            }
            let now = Instant::now();
            (begun, placed) = (begun + (now - waits), Some((now, length)));
            // All at once, so that it is not moved while it grows.
            arrived.bytes.reserve_exact(announced.map_or(0, |announced| announced.saturating_sub(length)));
            taken = arrived.take(&data, limit, room);
        }
        match taken {
            Placed::In => {}
            Placed::TooLarge => return Err(Fault::TooLarge),
            Placed::NoRoom => return Err(Fault::NoRoom),
        }
    }
}

/// When more of a body must have come, of which so many bytes are there, counted from its beginning.
fn due(bytes: usize) -> Duration {
    (START + Duration::from_secs_f64(bytes as f64 / RATE)).min(PATIENCE)
}

impl Arrived {
    /// Its bytes, and something in their room that is to be made of them.
    pub(super) fn unpacked(self) -> (Vec<u8>, Arrived) {
        let Arrived { bytes, taken, .. } = self;
        let made = Arrived { beside: bytes.len(), taken, ..Arrived::default() };
        (bytes, made)
    }

    /// Gives back the room of what it was made of.
    pub(super) fn alone(mut self) -> Arrived {
        self.beside = 0;
        self.taken.shrink(self.bytes.len());
        self
    }

    /// What it was to be made of, once more, without the room for more than that.
    pub(super) fn given_up(mut self, bytes: Vec<u8>) -> Arrived {
        self.taken.shrink(bytes.len());
        Arrived { bytes, beside: 0, ..self }
    }

    /// Waits for the room that is there for one at a time; says whether it has come.
    pub(super) async fn wait_for_place(&mut self, room: &Room) -> bool {
        self.taken.wait_for_place(room, WAITING).await
    }

    /// Lets the bytes go, and keeps their room for what was made of them.
    pub(super) fn into_room(self) -> Taken {
        self.taken
    }

    /// Takes a part in, if the body may have so many bytes and there is room for them.
    pub(super) fn take(&mut self, data: &[u8], limit: usize, room: &Room) -> Placed {
        let length = self.bytes.len() + data.len();
        if length > limit {
            return Placed::TooLarge;
        }
        if !self.taken.hold(self.beside + length, room) {
            return Placed::NoRoom;
        }
        if length > self.bytes.capacity() {
            // An eighth more, so that it is not moved for each piece, nor has room that nobody counts.
            let wanted = (length + length / 8).min(self.announced.unwrap_or(usize::MAX)).max(length);
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        Placed::In
    }
}

async fn next(body: &mut Body) -> Result<Option<Bytes>, axum::Error> {
    while let Some(frame) = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
        // A frame of trailers says nothing that is wanted here.
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_due_at_a_rate_and_at_an_end() {
        for (bytes, expected) in [(0, 5.0), (4096, 6.0), (40_960, 15.0), (102_400, 30.0), (16 << 20, 30.0)] {
            assert_eq!(due(bytes).as_secs_f64(), expected, "{bytes} bytes");
        }
    }

    #[test]
    fn bodies_share_one_room_and_have_little_to_spare() {
        let room = Room::new(64 << 10);
        let mut first = Arrived::default();
        let mut second = Arrived { announced: Some(30 << 10), ..Arrived::default() };
        let (piece, limit) = ([b'x'; 10 << 10], 40 << 10);
        for _ in 0..3 {
            assert_eq!(first.take(&piece, limit, &room), Placed::In);
            assert_eq!(second.take(&piece, limit, &room), Placed::In);
        }
        assert!(first.bytes.capacity() <= 34 << 10, "{}", first.bytes.capacity());
        assert_eq!(second.bytes.capacity(), 30 << 10);
        assert_eq!(first.take(&piece, limit, &room), Placed::NoRoom);
        let taken = second.into_room();
        assert_eq!(room.free(), 4 << 10, "what was made of the body takes its room");
        drop(taken);
        assert_eq!(first.take(&piece, limit, &room), Placed::In);
        assert_eq!(first.take(b"x", limit, &room), Placed::TooLarge);
    }
}
