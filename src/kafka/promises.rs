//! What the inputs promise of the records that they take, as far as the brokers say.

use super::Connection;
use super::leaders::Leaders;
use super::topics::{self, Standing, Trouble};
use crate::ledger::group::{LogEnd, Partition};
use crate::time::Span;

/// What an input promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The topic.
    pub topic: String,
    /// How it stands; absent where there is no such topic.
    pub standing: Option<Standing>,
    /// Whether its silence can be proved.
    pub silence: Silence,
}

/// Whether silence can be proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The leaders say where their logs end, or there is nobody else who could know more.
    Proved,
    /// They do not say so to this client, and why; what is missing is decided after so long a silence, and `enough` would be
    /// needed.
    Waited {
        /// Why.
        reason: String,
        /// How long.
        silence: Span,
        /// How long a replica may stand still.
        enough: Span,
    },
    /// Nobody has said so this time.
    Unknown,
}

/// What the inputs of a connection promise, in their order. Creates nothing.
///
/// # Errors
/// Which broker does not answer, or refuses to say how topics are set.
pub fn promises(connection: &Connection) -> Result<Vec<Promise>, Trouble> {
    let (standings, in_sync_for) = topics::standings(connection)?;
    let wanted: Vec<Partition> = standings
        .iter()
        .enumerate()
        .flat_map(|(input, standing)| (0..standing.as_ref().map_or(0, |it| it.partitions)).map(move |shard| (input, shard)))
        .collect();
    let mut leaders = Leaders::of(connection);
    leaders.ask(&wanted);
    let ends = leaders.ends(&wanted);
    let silence = |input: usize, standing: Option<&Standing>| {
        let of = |(partition, _): &(&Partition, &LogEnd)| partition.0 == input;
        let mut ends = wanted.iter().zip(&ends).filter(of).map(|(_, end)| end);
        if ends.clone().any(|end| *end == LogEnd::Refused) && standing.is_none_or(|standing| standing.replicas > 1) {
            return Silence::Waited {
                reason: leaders.refusal().unwrap_or("it does not say why").to_owned(),
                silence: connection.settle.unwrap_or(in_sync_for),
                enough: in_sync_for,
            };
        }
        let proved = |end: &LogEnd| match end {
            LogEnd::OneReplica | LogEnd::Refused => true,
            LogEnd::Said { .. } => end.confirmed().is_some(),
            LogEnd::Unknown => false,
        };
        if ends.all(proved) { Silence::Proved } else { Silence::Unknown }
    };
    let promise = |(input, standing): (usize, Option<Standing>)| Promise {
        topic: connection.inputs[input].clone(),
        silence: silence(input, standing.as_ref()),
        standing,
    };
    Ok(standings.into_iter().enumerate().map(promise).collect())
}
