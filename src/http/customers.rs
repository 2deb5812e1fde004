//! A customer's journeys, as last committed.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde_json::Value;

use super::App;
use super::problem::{Kind, Problem};
use super::query::{Parameters, Raw};
use crate::touchpoint::{Identity, IdentityKind};
use crate::wire;

/// `GET /v1/customers/{id}`, by anonymous id with `?kind=anonymous`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
    query: Raw,
) -> Result<Json<Value>, Problem> {
    let query = Parameters::new(query, &["kind"])?;
    let kinds = [("customer", IdentityKind::Customer), ("anonymous", IdentityKind::Anonymous)];
    let kind = query.word("kind", &kinds)?.unwrap_or(IdentityKind::Customer);
    let Path(id) = id.map_err(|_| Problem::new(Kind::BadQuery, "The id in the path is not UTF-8 in percent-encoding."))?;
    if app.service.lookup.shards() == 0 {
        return Err(Problem::new(Kind::NoShard, "The log has not given this process a shard yet; come again later."));
    }
    let found = app.service.lookup.customer(&Identity { id: id.into(), kind });
    if found.is_none() && !app.service.lookup.missing().is_empty() {
        let detail = "The customer may be in a partition whose state is still being read, or that is parked; see /readyz.";
        return Err(Problem::new(Kind::NoShard, detail));
    }
    let Some(customer) = found else {
        let detail = match kind {
            IdentityKind::Customer => "No customer of this id is known here; for an anonymous id add ?kind=anonymous.",
            IdentityKind::Anonymous => "No anonymous customer of this id is known here.",
        };
        return Err(Problem::new(Kind::UnknownCustomer, detail));
    };
    Ok(Json(wire::customer_json(&app.service.models, &customer)))
}
