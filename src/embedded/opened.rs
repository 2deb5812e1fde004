//! A store that this process alone writes.

use rusqlite::Connection;

use super::books::Books;
use super::counter::Counter;
use super::ids::Ids;
use super::seal::Seal;

/// An opened store, for its writer.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) books: Books,
    pub(super) ids: Ids,
    pub(super) seal: Seal,
    pub(super) counter: Counter,
}

impl Opened {
    /// One transaction: what `work` writes, and the numbers that it changes. Durable and counted when this returns, or undone.
    pub(super) fn transact<T>(
        &mut self,
        work: impl FnOnce(&Connection, Seal, &mut Books) -> Result<T, String>,
    ) -> Result<T, String> {
        let fault = |error: rusqlite::Error| format!("cannot write to the store: {error}; nothing was changed");
        let mut books = self.books.clone();
        books.commits += 1;
        let transaction = self.connection.transaction().map_err(fault)?;
        let done = work(&transaction, self.seal, &mut books)?;
        books.save(&self.books, &transaction, self.seal).map_err(fault)?;
        transaction.commit().map_err(fault)?;
        self.books = books;
        self.counter
            .note(self.books.commits)
            .map_err(|error| format!("cannot count a commit: {error}; look at the disk"))?;
        Ok(done)
    }
}
