//! What interventions have brought about, in the partitions of this process.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use super::App;
use super::problem::{Kind, Problem};
use super::query::{Parameters, Raw};
use crate::uplift;
use crate::wire;

/// `GET /v1/interventions`.
pub(super) async fn get(State(app): State<Arc<App>>, query: Raw) -> Result<Json<Value>, Problem> {
    Parameters::new(query, &[])?;
    let (shards, sums) = app.service.lookup.sums();
    if shards.is_empty() {
        return Err(Problem::new(Kind::NoShard, "The log has not given this process a shard yet; come again later."));
    }
    let missing: Vec<_> = app.service.lookup.missing().into_keys().collect();
    let figures = uplift::figures(&sums, &app.service.models);
    Ok(Json(wire::interventions_json(&figures, &shards, &missing)))
}
