//! When a delivery that failed is tried again. Pure: what varies comes from the delivery's own id.

use super::delivery::{Delivery, Key};
use crate::time::{Span, Timestamp};

/// The pauses after each failed try of what does not expire; after the last of them it is given up.
pub const PAUSES: [Span; 9] = [
    Span::from_secs(5),
    Span::from_secs(5 * 60),
    Span::from_secs(30 * 60),
    Span::from_secs(2 * 3_600),
    Span::from_secs(5 * 3_600),
    Span::from_secs(10 * 3_600),
    Span::from_secs(14 * 3_600),
    Span::from_secs(20 * 3_600),
    Span::from_secs(24 * 3_600),
];
/// The first pause of an offer, which stands for minutes; each later one is twice as long.
const FIRST: Span = Span::from_secs(1);
/// And at most this.
const LONGEST: Span = Span::from_secs(5 * 60);
/// Pauses are longer by up to one part in so many, so that what failed together is not tried together.
const JITTER: i64 = 5;

/// When to try again after a failure; `None` where it is to be given up.
pub fn next_try(delivery: &Delivery, key: &Key, now: Timestamp) -> Option<Timestamp> {
    let failed = delivery.tries.max(1) as usize;
    let pause = match delivery.expires_at() {
        Some(_) => doubled(FIRST, failed - 1),
        None => *PAUSES.get(failed - 1)?,
    };
    let at = now + pause + jitter(pause, key, failed);
    match delivery.expires_at() {
        // The last try comes as late as it can, and not too late.
        Some(expires_at) if at >= expires_at => None,
        Some(_) | None => Some(at),
    }
}

fn doubled(first: Span, times: usize) -> Span {
    let millis = first.as_millis() << times.min(20);
    Span::from_millis(millis.min(LONGEST.as_millis()))
}

fn jitter(pause: Span, key: &Key, failed: usize) -> Span {
    let (high, low) = key.outcome.as_u64_pair();
    let mixed = (high ^ low).rotate_left(failed as u32 * 7) % 1_000;
    Span::from_millis(pause.as_millis() / JITTER * mixed as i64 / 1_000)
}
