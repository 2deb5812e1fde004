//! `sillage state inspect`: one customer, as last committed.

use serde_json::json;

use super::group::Group;
use super::{Setting, Where, shown};
use crate::cli::{Failure, print};
use crate::config::{KafkaLog, Log};
use crate::embedded;
use crate::journey::Customer;
use crate::port::ShardId;
use crate::shard::Progress;
use crate::terminal::plain_json;
use crate::touchpoint::Identity;
use crate::wire;

/// Show one customer: stage, open episodes and their deadlines, sums, the latest touchpoints.
///
/// On Kafka the customer's partition of the state log is read; on the embedded log the store, also while the service runs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    /// The customer's id.
    #[arg(value_name = "CUSTOMER")]
    id: String,
    /// The id is an anonymous one.
    #[arg(long)]
    anonymous: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// A customer, and where.
pub(super) struct Found {
    pub(super) shard: ShardId,
    pub(super) progress: Progress,
    pub(super) customer: Customer,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let setting = args.place.setting()?;
    let who = if args.anonymous { Identity::anonymous(args.id) } else { Identity::customer(args.id) };
    let Some(found) = find(&setting, &who)? else {
        let sort = if args.anonymous { "anonymous " } else { "" };
        let other = if args.anonymous { "" } else { "; for an anonymous id add --anonymous" };
        return Err(Failure::answer_is_no(format!("nothing is known of the {sort}customer {}{other}", who.id)));
    };
    let mut told = json!({
        "partition": found.shard,
        "commit": found.progress.sequence,
        "stream_time": found.progress.stream_time.map(|at| at.to_string()),
    });
    if let (Some(told), serde_json::Value::Object(customer)) =
        (told.as_object_mut(), wire::customer_json(&setting.models, &found.customer))
    {
        told.extend(customer);
    }
    let text = if args.json {
        String::from_utf8_lossy(&plain_json(format!("{told}\n").as_bytes())).into_owned()
    } else {
        shown::text(&told)
    };
    print(&text)
}

fn find(setting: &Setting, who: &Identity) -> Result<Option<Found>, Failure> {
    match &setting.config.log {
        Log::Kafka(log) => on_kafka(setting, log, who),
        Log::Embedded(settings) => {
            let snapshot = embedded::Snapshot::open(settings).map_err(Failure::could_not_run)?;
            let migration = setting.admit(&snapshot.models().map_err(Failure::could_not_run)?, "the store")?;
            let mut found = snapshot.customer(who).map_err(Failure::could_not_run)?;
            if let Some(into) = found.as_ref().and_then(|(_, customer)| customer.redirected_to()) {
                found = snapshot.customer(&into).map_err(Failure::could_not_run)?;
            }
            let progress = |shard: ShardId| snapshot.shards().swap_remove(shard as usize).progress;
            Ok(found.map(|(shard, mut customer)| {
                migration.iter().for_each(|migration| migration.migrate(&mut customer));
                Found { shard, progress: progress(shard), customer }
            }))
        }
    }
}

/// Reads the customer's partition of the state log; all of them where the partitioner is not known.
fn on_kafka(setting: &Setting, log: &KafkaLog, who: &Identity) -> Result<Option<Found>, Failure> {
    let group = Group::reach(log, setting.marks(), None)?;
    let home = log.partitioner.partition(who.id.as_bytes(), group.offline.ledger().partitions);
    for shard in group.offline.shards().filter(|shard| home.is_none_or(|home| home == *shard)) {
        let restored = group.offline.read(shard).map_err(Failure::could_not_run)?.restored;
        let mut customers = restored.customers;
        if let (Some(customer), Some(progress)) = (customers.image(who), restored.progress) {
            return Ok(Some(Found { shard, progress, customer }));
        }
        // An anonymous id may have been joined to a customer of another partition.
        if let Some(into) = customers.joined_to(who) {
            return on_kafka(setting, log, &into);
        }
    }
    Ok(None)
}
