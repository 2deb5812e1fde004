//! `sillage erase`: nothing is to be kept of a customer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::client::{Client, Request};
use super::{Failure, print};
use crate::config::Log;
use crate::http::Scope;
use crate::kafka::erase::Eraser;
use crate::touchpoint::{Identity, IdentityKind};
use crate::wire::erasures;

/// Erase a customer: journeys, history and deadlines, in every partition.
///
/// On Kafka the order is written to the control topic, whether the service runs or not; on the embedded log the running
/// service is asked. Asking twice does no harm.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The customer's id.
    #[arg(value_name = "CUSTOMER")]
    id: String,
    /// It is an anonymous id.
    #[arg(long)]
    anonymous: bool,
    /// The service's configuration; without one, `SILLAGE_…` variables alone.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask the service that listens here, instead of where the configuration leads.
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    url: Option<String>,
}

/// Runs the command. Exit code 1: the service refused. Exit code 2: nobody could be asked.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    let kind = if args.anonymous { IdentityKind::Anonymous } else { IdentityKind::Customer };
    let who = erasures::identity(kind, &args.id)
        .map_err(|reason| Failure::could_not_run(format!("that is no customer's id: {reason}")))?;
    if let Some(url) = &args.url {
        return ask_service(url, None, &who);
    }
    let config = super::run::configuration(args.config.as_deref())?;
    match config.log {
        Log::Kafka(log) => {
            let shards = Eraser::new(log.connection).ask(&who).map_err(Failure::could_not_run)?;
            print(&format!("asked {shards} partitions to erase the customer\n"))
        }
        Log::Embedded(_) => {
            let may = |scope| matches!(scope, Scope::Erase | Scope::Admin);
            let token = config.tokens.iter().find(|(scope, _)| may(*scope)).map(|(_, token)| token);
            ask_service(&format!("http://{}", reachable(config.listen)), token, &who)
        }
    }
}

fn ask_service(url: &str, token: Option<&str>, who: &Identity) -> Result<(), Failure> {
    let kind = match who.kind {
        IdentityKind::Customer => "",
        IdentityKind::Anonymous => "?kind=anonymous",
    };
    let path = format!("/v1/customers/{}{kind}", encoded(&who.id));
    let client = Client::new(url)?.or_with(token);
    let answer = client.ask(&Request { method: "DELETE", path: &path, headers: &[], body: b"" });
    let answer = answer
        .map_err(|reason| Failure::could_not_run(format!("{reason}; start the service, or give its address with --url")))?;
    if answer.is_success() { print("asked the service to erase the customer\n") } else { Err(answer.refusal()) }
}

/// Where a service that listens everywhere can be asked.
fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), listen.port()),
        _ => listen,
    }
}

/// A part of a path.
fn encoded(id: &str) -> String {
    let mut path = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path += &format!("%{byte:02X}");
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_id_holds_is_one_part_of_a_path() {
        assert_eq!(encoded("c-17"), "c-17");
        assert_eq!(encoded("a/b?c=ü"), "a%2Fb%3Fc%3D%C3%BC");
    }
}
