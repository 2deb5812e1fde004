//! What records lost that are used all the same: counted at once, and named in the log once a minute with an example.
//!
//! An example is the beginning of a property's value, never of an id of the customer.

use std::collections::BTreeMap;

use compact_str::CompactString;
use tracing::warn;

use crate::metrics::WorkerMeters;
use crate::time::{Span, Timestamp};
use crate::wire::{Loss, Losses, Misfit};

/// Between two words in the log.
const BETWEEN_WORDS: Span = Span::from_secs(60);

/// What was lost since the log was last told.
#[derive(Default)]
pub(super) struct Lossy {
    told_at: Timestamp,
    parts: [u64; Loss::ALL.len()],
    /// By property, of which the models have few.
    misfits: BTreeMap<CompactString, (u64, Misfit)>,
}

impl Lossy {
    /// A record lost something.
    pub(super) fn note(&mut self, losses: &Losses, meters: &mut WorkerMeters) {
        for (loss, part) in Loss::ALL.into_iter().zip(&mut self.parts) {
            let count = u64::from(losses.count(loss));
            if count > 0 {
                *part += count;
                meters.lost(loss.word(), count);
            }
        }
        for misfit in &losses.misfits {
            meters.misfit(&misfit.property);
            match self.misfits.get_mut(&misfit.property) {
                Some((count, _)) => *count += 1,
                None => drop(self.misfits.insert(misfit.property.clone(), (1, misfit.clone()))),
            }
        }
    }

    /// Tells the log what there is to tell, unless it was told within the last minute.
    pub(super) fn tell(&mut self, now: Timestamp) {
        let nothing = self.misfits.is_empty() && self.parts.iter().all(|count| *count == 0);
        if nothing || now.since(self.told_at) < BETWEEN_WORDS {
            return;
        }
        self.told_at = now;
        for (property, (count, misfit)) in std::mem::take(&mut self.misfits) {
            let (expected, example) = (misfit.expected, misfit.example.as_str());
            warn!(
                property = property.as_str(),
                count, expected, example, "values of a property are nothing of what the models declare, and count as absent"
            );
        }
        for (loss, count) in Loss::ALL.into_iter().zip(std::mem::take(&mut self.parts)).filter(|(_, count)| *count > 0) {
            warn!(reason = loss.word(), count, "parts of touchpoints were lost or mended; the touchpoints were applied");
        }
    }
}
