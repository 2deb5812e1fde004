//! Opening under other models than the store was written under: whether they may follow, and bringing the customers over.
//!
//! All customers are brought over in one transaction with what the store says of its models: a store is wholly under the
//! old models or wholly under the new ones, whenever the process is killed.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::opened::Opened;
use super::tables::seal_head;
use super::{Settings, people};
use crate::journey::Migration;
use crate::model::Model;
use crate::wire::pages::Mark;
use crate::wire::succession;

/// What a store says of the models that it is written under.
pub(super) fn text(marks: &[Mark]) -> String {
    // Names, numbers and texts: there is nothing in them that JSON cannot hold.
    serde_json::to_string(marks).unwrap_or_default()
}

/// Sees to it that the store is about these models.
pub(super) fn follow(opened: &mut Opened, settings: &Settings, models: &[Arc<Model>]) -> Result<(), String> {
    let fault = |error: rusqlite::Error| format!("cannot read the store: {error}");
    let connection = &opened.connection;
    let before = said(connection)?;
    let running = Mark::all(models, &settings.retired);
    let given = text(&running);
    if before == given {
        return Ok(());
    }
    let customers = connection.query_row("SELECT 1 FROM customers LIMIT 1", [], |_| Ok(())).optional().map_err(fault)?;
    let migration = match customers {
        None => None,
        Some(()) => succession::admit(&stored(connection)?, &running)
            .map_err(|reason| format!("{reason} (the store in {})", settings.dir.display()))?,
    };
    bring_over(opened, migration.as_ref(), &given)
        .map_err(|reason| format!("cannot bring the store in {} over to the new models: {reason}", settings.dir.display()))
}

/// The models that a store is written under.
pub(super) fn stored(connection: &Connection) -> Result<Vec<Mark>, String> {
    read(&said(connection)?)
}

fn said(connection: &Connection) -> Result<String, String> {
    let select = "SELECT value FROM meta WHERE name = 'models'";
    connection.query_row(select, [], |row| row.get(0)).map_err(|error| format!("cannot read the store: {error}"))
}

/// Until journeys could go on under other models, a store kept the structures alone.
fn read(stored: &str) -> Result<Vec<Mark>, String> {
    if let Ok(marks) = serde_json::from_str(stored) {
        return Ok(marks);
    }
    let structures: Vec<String> = serde_json::from_str(stored).map_err(|error| format!("cannot read the store: {error}"))?;
    let mark =
        |structure: String| Mark { name: structure.split(':').next().unwrap_or_default().to_owned(), version: 0, structure };
    Ok(structures.into_iter().map(mark).collect())
}

fn bring_over(opened: &mut Opened, migration: Option<&Migration>, given: &str) -> Result<(), String> {
    let fault = |error: rusqlite::Error| format!("{error}; look at the disk");
    // Whoever is replaced is overwritten: nobody knows who will be erased later.
    let overwrite = |opened: &Opened, how| {
        opened.connection.pragma_update_and_check(None, "secure_delete", how, |_| Ok(())).map_err(fault)
    };
    overwrite(opened, "ON")?;
    opened.transact(|transaction, seal, books| {
        if let Some(migration) = migration {
            people::migrate(transaction, seal, books, migration)?;
        }
        transaction.execute("UPDATE meta SET value = ?1 WHERE name = 'models'", [given]).map_err(fault)?;
        seal_head(transaction, seal).map_err(fault)
    })?;
    overwrite(opened, "FAST")
}
