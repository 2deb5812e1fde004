//! What an operator is told of inputs whose silence is not proven: a replica that does not keep up with its leader holds stream
//! time; a leader that does not say where its log ends makes it wait, or leaves it without a proof.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::Connection;
use crate::ledger::group::{End, LogEnd, Partition};
use crate::metrics;
use crate::time::Span;

/// A leader that is ahead of the high watermark for less than this is only busy.
const STALLED: Duration = Duration::from_secs(1);

/// How long an input must be silent where its leader does not say where its log ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unproven {
    /// Beyond `settle`.
    pub silence: Span,
    /// A replica may be in sync for so long without fetching.
    pub in_sync_for: Span,
    /// `settle`, where somebody has set it: it holds then, even if it is shorter.
    pub settle: Option<Span>,
}

impl Unproven {
    fn is_too_short(self) -> bool {
        self.settle.is_some_and(|settle| settle < self.in_sync_for)
    }
}

/// Partitions whose high watermark stands still below the end of their leader's log.
pub(super) struct Stalls {
    unproven: Unproven,
    /// Where it stands, and since when.
    stalled: BTreeMap<Partition, (i64, Instant)>,
    /// Since when there are some that the operator knows of.
    told: Option<Instant>,
    refused: BTreeSet<Partition>,
}

impl Stalls {
    pub(super) fn new(unproven: Unproven) -> Self {
        Stalls { unproven, stalled: BTreeMap::new(), told: None, refused: BTreeSet::new() }
    }

    /// Takes note of what is known of all inputs that have run dry; `refusal` says why leaders do not say where their logs end.
    pub(super) fn note(&mut self, connection: &Connection, ends: &[End], refusal: Option<&str>) {
        self.note_stalls(connection, ends);
        self.note_refusals(connection, ends, refusal);
    }

    fn note_stalls(&mut self, connection: &Connection, ends: &[End]) {
        let mut before = std::mem::take(&mut self.stalled);
        for End { partition, high, log, .. } in ends {
            if matches!(log, LogEnd::Said { offset, .. } if offset > high) {
                let since = before.remove(partition).filter(|(stood, _)| stood == high).map(|(_, since)| since);
                self.stalled.insert(*partition, (*high, since.unwrap_or_else(Instant::now)));
            }
        }
        for (input, shard) in before.into_keys() {
            if !self.stalled.contains_key(&(input, shard)) {
                metrics::high_watermark_stalled(&connection.inputs[input], shard, 0.0);
            }
        }
        for ((input, shard), (_, since)) in &self.stalled {
            let stood = since.elapsed();
            let seconds = if stood < STALLED { 0.0 } else { stood.as_secs_f64() };
            metrics::high_watermark_stalled(&connection.inputs[*input], *shard, seconds);
        }
        let old = self.stalled.iter().filter(|(_, (_, since))| since.elapsed() >= STALLED);
        match (old.clone().next(), self.told) {
            (Some(((input, partition), _)), None) => {
                self.told = Some(Instant::now());
                warn!(
                    partitions = old.count(),
                    topic = connection.inputs[*input],
                    partition,
                    "a replica does not keep up: the leader holds records that nobody may read yet. Nothing that is missing \
                     there is decided until the replica fetches again or is out of sync (replica.lag.time.max.ms)"
                );
            }
            (None, Some(told)) => {
                self.told = None;
                info!(after_seconds = told.elapsed().as_secs(), "the replicas keep up again");
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    fn note_refusals(&mut self, connection: &Connection, ends: &[End], refusal: Option<&str>) {
        let before = self.refused.len();
        for End { partition, log, .. } in ends {
            let refused = *log == LogEnd::Refused;
            // Of what nobody knows now, what was known stays.
            let changed = match log {
                LogEnd::Unknown => false,
                _ if refused => self.refused.insert(*partition),
                _ => self.refused.remove(partition),
            };
            if changed && self.unproven.is_too_short() {
                metrics::silence_unproven(&connection.inputs[partition.0], partition.1, refused);
            }
        }
        match (before, self.refused.len()) {
            (0, 1..) => self.tell_refusal(refusal.unwrap_or("it does not say why")),
            (1.., 0) => info!("the leaders of the inputs say again where their logs end"),
            _ => {}
        }
    }

    fn tell_refusal(&self, reason: &str) {
        let Unproven { settle, in_sync_for, .. } = self.unproven;
        let (partitions, in_sync_for) = (self.refused.len(), in_sync_for.to_string());
        match settle {
            Some(settle) if self.unproven.is_too_short() => warn!(
                partitions,
                reason,
                settle = settle.to_string(),
                needed = in_sync_for,
                "the leaders of the inputs do not say where their logs end, and `settle` is shorter than a replica may stand \
                 still (1.5 x replica.lag.time.max.ms): a touchpoint in time can count as missing. Raise `settle`, or leave it out"
            ),
            Some(_) => {
                info!(partitions, reason, "the leaders of the inputs do not say where their logs end; `settle` is enough")
            }
            None => warn!(
                partitions,
                reason,
                silence = in_sync_for,
                "the leaders of the inputs do not say where their logs end: what is missing is decided only after this silence, \
                 for so long a replica may stand still (1.5 x replica.lag.time.max.ms). Set `settle` to wait for less"
            ),
        }
    }
}
