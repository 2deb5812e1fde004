//! `sillage model`: what people do with a model before it runs.

mod test;

use super::Failure;

/// Check, test and draw journey models.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run the scenarios of models: Markdown tables of what a customer does and what Sillage says.
    Test(test::Args),
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Test(args) => test::run(args),
    }
}
