//! Reading a request's body: so many bytes in so much time, and no more.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, HttpBody};

use super::problem::{Kind, Problem};

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);
/// So much of a body that is not wanted is read all the same, so that the client comes to read the answer.
const DRAINED: usize = 64 << 20;
/// And for so long.
const DRAINING: Duration = Duration::from_secs(3);

/// Reads a body of at most `limit` bytes.
pub(super) async fn read(mut body: Body, limit: usize) -> Result<Vec<u8>, Problem> {
    match tokio::time::timeout(PATIENCE, collect(&mut body, limit)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => {
            drain(body).await;
            Err(Problem::new(Kind::TooLarge, format!("a body may have {limit} bytes; send it in several requests")))
        }
        Ok(Err(reason)) => Err(Problem::new(Kind::BadBody, format!("the body broke off: {reason}"))),
        Err(_) => Err(Problem::new(Kind::SlowBody, format!("a body must arrive within {} s", PATIENCE.as_secs()))),
    }
}

/// Reads and forgets what is left of a body, within limits.
pub(super) async fn drain(mut body: Body) {
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

/// The whole body; `None` where it is larger than the limit.
async fn collect(body: &mut Body, limit: usize) -> Result<Option<Vec<u8>>, axum::Error> {
    if body.size_hint().lower() > limit as u64 {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(body.size_hint().lower()).unwrap_or(0));
    while let Some(data) = next(body).await? {
        if bytes.len() + data.len() > limit {
            return Ok(None);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Some(bytes))
}

async fn next(body: &mut Body) -> Result<Option<axum::body::Bytes>, axum::Error> {
    while let Some(frame) = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
        // A frame of trailers says nothing that is wanted here.
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}
