//! Whether any broker answers: asked every few seconds, whatever the workers are at.
//!
//! On a thread and a client of its own, since a worker whose brokers are away waits within a call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::Connection;
use super::client::{self, Plain};
use crate::vitals::Vitals;

/// Between two questions.
const INTERVAL: Duration = Duration::from_secs(2);
/// An answer later than this is none.
const CALL: Duration = Duration::from_secs(3);

/// Goes on asking, and tells what it hears, until `stop` is set. Nobody waits for its end: it holds nothing that could be lost.
///
/// # Errors
/// A client or a thread that cannot be made.
pub fn feel_pulse(connection: &Connection, vitals: &Arc<Vitals>, stop: Arc<AtomicBool>) -> Result<(), String> {
    let client: BaseConsumer<Plain> = client::asking(connection, "read_uncommitted")
        .create_with_context(Plain::default())
        .map_err(|error| format!("cannot make a client: {error}"))?;
    let (vitals, topic) = (Arc::clone(vitals), connection.inputs.first().cloned());
    vitals.brokers_answered();
    let ask = move || {
        while !stop.load(Ordering::Acquire) {
            match client.fetch_metadata(topic.as_deref(), CALL) {
                Ok(_) => vitals.brokers_answered(),
                Err(error) => vitals.brokers_are_silent(&client.context().last_error().unwrap_or_else(|| error.to_string())),
            }
            // What it reports waits to be taken, and would pile up.
            let _ = client.poll(INTERVAL);
        }
    };
    let thread = std::thread::Builder::new().name("sillage-pulse".to_owned()).spawn(ask);
    thread.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
}
