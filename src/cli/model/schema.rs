//! `sillage model schema`: the model language for editors.

use super::{Failure, print};
use crate::model::schema;

/// Print the JSON Schema of models, for editors.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_args: Args) -> Result<(), Failure> {
    print(&schema::schema())
}
