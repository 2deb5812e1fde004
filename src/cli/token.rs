//! `sillage token`: a short token for a widget, as the site's own server makes them; for trials and tests.

use std::path::PathBuf;

use super::{Failure, files};
use crate::deliver::token;
use crate::runtime::clock::Clock;
use crate::time::Span;
use crate::touchpoint::Identity;

/// Make a short token for a widget.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file with the part `widget`.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The customer's id.
    #[arg(long, value_name = "ID", conflicts_with = "anonymous", required_unless_present = "anonymous")]
    customer: Option<String>,
    /// The anonymous id.
    #[arg(long, value_name = "ID")]
    anonymous: Option<String>,
    /// Which key, where there are several.
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// How long it is good for, 15m at the most.
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    valid: String,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let settings = files::destinations(&args.config)?;
    let no = |reason: &str| Failure::could_not_run(reason.to_owned());
    let widget = settings.widget.ok_or_else(|| no("the file has no `widget`; add it, with a key"))?;
    let mut found = widget.secrets.iter().filter(|(name, _)| args.key.as_ref().is_none_or(|key| key == *name));
    let (Some((kid, secret)), None) = (found.next(), found.next()) else {
        return Err(no(
            "name one key of the algorithm HS256 with `--key`; what EdDSA signs, the holder of its private key signs",
        ));
    };
    let valid = Span::parse(&args.valid).ok().filter(|valid| *valid > Span::ZERO && *valid <= token::LONGEST);
    let valid = valid.ok_or_else(|| no("`--valid` is a duration of up to 15m, such as 10m"))?;
    let subject = match (args.customer, args.anonymous) {
        (Some(id), _) => Identity::customer(id),
        (None, Some(id)) => Identity::anonymous(id),
        (None, None) => return Err(no("name somebody with `--customer` or `--anonymous`")),
    };
    let until = Clock::starting_now(1.0).now() + valid;
    super::print(&(token::issue(secret, kid, &widget.keys.audience, &subject, until) + "\n"))
}
