//! `sillage model`: what people do with a model before it runs.

mod check;
mod diff;
mod graph;
mod schema;
mod test;

use super::{Failure, files, print};

/// Check, test, compare, draw and describe models.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say everything that is wrong with models; exit code 1 where there is an error.
    Check(check::Args),
    /// Run the scenarios of models: Markdown tables of what a customer does and what Sillage says.
    Test(test::Args),
    /// Say what a new version of a model does to running journeys; exit code 1 where it would strand some.
    Diff(diff::Args),
    /// Draw a model: its stages, ways, timers, episodes and friction.
    Graph(graph::Args),
    /// Print the JSON Schema of models, for editors.
    Schema(schema::Args),
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Check(args) => check::run(args),
        Command::Test(args) => test::run(args),
        Command::Diff(args) => diff::run(args),
        Command::Graph(args) => graph::run(args),
        Command::Schema(args) => schema::run(args),
    }
}
