//! What a record of an input holds: a touchpoint, an order to erase somebody, or nothing that can be used.

use super::Job;
use super::lossy::Lossy;
use crate::metrics::WorkerMeters;
use crate::port::RawRecord;
use crate::shard::{Body, Erasure, ErasureScope, Unusable};
use crate::time::Timestamp;
use crate::touchpoint::{Identity, Touchpoint};
use crate::wire::{self, Arrival, Wanted};

/// What a record holds.
pub(super) fn decode(
    job: &Job,
    wanted: &Wanted,
    (meters, lossy): (&mut WorkerMeters, &mut Lossy),
    record: &RawRecord<'_>,
    log_time: Timestamp,
    mut touchpoint: Box<Touchpoint>,
) -> Body {
    let origin = record.origin;
    let arrival = Arrival {
        log_time,
        topic: &job.topics[origin.input],
        partition: origin.shard,
        offset: origin.offset,
        limits: job.limits,
    };
    let decoded = match record.value {
        None => Err("the record has no value; a touchpoint is expected".to_owned()),
        Some(value) => wire::decode_into(job.format, job.mapping.as_ref(), wanted, value, &arrival, &mut touchpoint),
    };
    match decoded {
        Ok(told) => {
            if told.clamped {
                meters.clamped();
            }
            if let Some(losses) = &told.losses {
                lossy.note(losses, meters);
            }
            if job.erase_on.as_ref() == Some(&touchpoint.kind) {
                let mut who = vec![touchpoint.identity];
                who.extend(touchpoint.linked.map(Identity::anonymous));
                return Body::Erasure(Box::new(Erasure { who, scope: ErasureScope::ThisShard }));
            }
            Body::Touchpoint(touchpoint)
        }
        Err(reason) => unusable(reason, record),
    }
}

/// A record that goes to the dead letters.
pub(super) fn unusable(reason: String, record: &RawRecord<'_>) -> Body {
    let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
    Body::Unusable(Box::new(Unusable { reason, key, value }))
}
