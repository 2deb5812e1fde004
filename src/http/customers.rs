//! A customer's journeys, as last committed, and the wish that nothing be kept of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::problem::{Kind, Problem};
use super::query::{Parameters, Raw};
use super::{App, NotAsked, refused};
use crate::touchpoint::{Identity, IdentityKind};
use crate::wire::{self, erasures};

/// `GET /v1/customers/{id}`, by anonymous id with `?kind=anonymous`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
    query: Raw,
) -> Result<Json<Value>, Problem> {
    let who = identity(id, query)?;
    if app.service.lookup.shards() == 0 {
        return Err(Problem::new(Kind::NoShard, "The log has not given this process a shard yet; come again later."));
    }
    let found = app.service.lookup.customer(&who);
    if found.is_none() && !app.service.lookup.missing().is_empty() {
        let detail = "The customer may be in a partition whose state is still being read, or that is parked; see /readyz.";
        return Err(Problem::new(Kind::NoShard, detail));
    }
    let Some(customer) = found else {
        let detail = match who.kind {
            IdentityKind::Customer => "No customer of this id is known here; for an anonymous id add ?kind=anonymous.",
            IdentityKind::Anonymous => "No anonymous customer of this id is known here.",
        };
        return Err(Problem::new(Kind::UnknownCustomer, detail));
    };
    Ok(Json(wire::customer_json(&app.service.models, &customer)))
}

/// `DELETE /v1/customers/{id}`, by anonymous id with `?kind=anonymous`: answers once the log has it that the customer is to be
/// erased. Whether anybody knows the customer is not said, since that may be another process.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
    query: Raw,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let who = identity(id, query)?;
    let cause = "What is erased cannot be brought back, so this is not allowed by itself";
    app.demand(app.service.erasing, cause, "allow_erase")?;
    let turn = app.turn().await?;
    let asking = tokio::task::spawn_blocking(move || {
        let asked = (app.service.erase)(&who);
        drop(turn);
        asked
    });
    match asking.await {
        Ok(Ok(())) => Ok((StatusCode::ACCEPTED, Json(json!({"erasure": "asked for"})))),
        Ok(Err(NotAsked::Refused(refusal))) => Err(refused(refusal)),
        Ok(Err(NotAsked::Unreachable(reason))) => Err(Problem::new(Kind::Unreachable, reason)),
        Err(_) => Err(Problem::new(Kind::Broken, "The request could not be finished; see the service's log.")),
    }
}

/// Whom a request is about.
fn identity(id: Result<Path<String>, PathRejection>, query: Raw) -> Result<Identity, Problem> {
    let query = Parameters::new(query, &["kind"])?;
    let kinds = [("customer", IdentityKind::Customer), ("anonymous", IdentityKind::Anonymous)];
    let kind = query.word("kind", &kinds)?.unwrap_or(IdentityKind::Customer);
    let Path(id) = id.map_err(|_| Problem::new(Kind::BadQuery, "The id in the path is not UTF-8 in percent-encoding."))?;
    erasures::identity(kind, &id).map_err(|reason| Problem::new(Kind::BadQuery, format!("Not an id: {reason}.")))
}
