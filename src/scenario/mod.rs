//! Stories that test a model: what a customer does, and what Sillage says to it, as a table in Markdown.
//!
//! [`read`] finds everything wrong with a file at once; [`Suite::play`] runs its stories through a shard of their own;
//! [`differences`] and [`shown`] tell where Sillage says something else than the story, [`updated`] writes what it says into
//! the file, [`Coverage`] tells which parts of a model no story exercises, [`junit`] tells machines. Knows no files, clock
//! or terminal: models come from whoever implements [`Models`].

mod coverage;
mod differences;
mod junit;
mod markdown;
mod play;
mod read;
#[cfg(test)]
mod tests;
mod times;
mod update;
mod words;

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Source};
use crate::journey::Outcome;
use crate::model::Model;
use crate::time::Timestamp;
use crate::touchpoint::{Identity, Touchpoint};

pub use coverage::Coverage;
pub use differences::{Difference, differences, shown};
pub use junit::junit;
pub use read::read;
pub use update::updated;

use markdown::Piece;

/// When a story begins that does not say so itself: 2026-01-01T00:00:00Z.
pub const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// What a row says where nothing comes out.
pub const QUIET: &str = "quiet";

/// Where the models of a scenario file come from. Paths are as the file writes them; what they are relative to is for the
/// caller to say.
pub trait Models {
    /// The model of a path, and what there is to tell about it.
    ///
    /// # Errors
    /// Why there is no such file.
    fn model(&mut self, path: &str) -> Result<(Option<Arc<Model>>, Vec<Diagnostic>), String>;

    /// The text of a fragment that a model within the scenario file imports.
    ///
    /// # Errors
    /// Why there is no such file.
    fn fragment(&self, path: &str) -> Result<String, String>;

    /// The model of stories that name none.
    fn default(&self) -> Option<Arc<Model>>;
}

/// A scenario file, read and without an error.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The file.
    pub source: Arc<Source>,
    /// Its stories, in order.
    pub scenarios: Vec<Scenario>,
    pieces: Vec<Piece>,
}

/// One story.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The title.
    pub title: String,
    /// The line of the title, from 1.
    pub line: usize,
    /// The model that it runs through.
    pub model: Arc<Model>,
    /// What happens, in the order of time.
    pub rows: Vec<Row>,
}

/// A row of a story: stream time moves to `at`, and the touchpoint happens, if there is one.
#[derive(Clone, Debug)]
pub struct Row {
    /// The line, from 1.
    pub line: usize,
    /// When, as it is written.
    pub when: String,
    /// What the customer does, as it is written.
    pub does: String,
    /// What is to come out.
    pub says: String,
    /// When.
    pub at: Timestamp,
    /// Whose outcomes stand without a name.
    pub who: Identity,
    /// What the customer does.
    pub touchpoint: Option<Touchpoint>,
}

/// What came out of a row.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// As a story writes it: sentences with `; ` between, or [`QUIET`].
    pub says: String,
    /// The same in full.
    pub outcomes: Vec<Outcome>,
}
