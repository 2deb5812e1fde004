//! What is written beside each committed offset: stream time, log time, and which commit it was.
//!
//! ASCII only: metadata that is not UTF-8 makes rust-rdkafka's accessor panic.

use std::fmt;

use crate::shard::{Position, Progress};
use crate::time::Timestamp;

const VERSION: &str = "sillage1";

/// The metadata of a committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetMetadata {
    /// The shard's commit sequence number.
    pub sequence: u64,
    /// Names the attempt, so that a commit of unknown end can be recognised.
    pub attempt: String,
    /// The shard's stream time.
    pub stream_time: Option<Timestamp>,
    /// Log time of the last applied record of this input.
    pub log_time: Timestamp,
}

impl OffsetMetadata {
    /// The metadata of a position as of a commit.
    pub fn of(progress: &Progress, position: &Position, attempt: &str) -> Self {
        OffsetMetadata {
            sequence: progress.sequence,
            attempt: attempt.to_owned(),
            stream_time: progress.stream_time,
            log_time: position.log_time,
        }
    }

    /// Reads what [`fmt::Display`] wrote; `None` for anything else, such as offsets reset by hand.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        if parts.next()? != VERSION {
            return None;
        }
        let mut field = |name: &str| parts.next()?.strip_prefix(name)?.strip_prefix('=');
        Some(OffsetMetadata {
            sequence: field("seq")?.parse().ok()?,
            attempt: field("try")?.to_owned(),
            stream_time: match field("stream")? {
                "-" => None,
                millis => Some(Timestamp::from_millis(millis.parse().ok()?)),
            },
            log_time: Timestamp::from_millis(field("log")?.parse().ok()?),
        })
    }
}

impl fmt::Display for OffsetMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION} seq={} try={} stream=", self.sequence, self.attempt)?;
        match self.stream_time {
            Some(instant) => write!(f, "{}", instant.as_millis())?,
            None => f.write_str("-")?,
        }
        write!(f, " log={}", self.log_time.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_reads_back_and_foreign_metadata_are_none() {
        for stream_time in [None, Some(Timestamp::from_millis(-5))] {
            let metadata = OffsetMetadata { sequence: 7, attempt: "a-1".to_owned(), stream_time, log_time: Timestamp::MIN };
            assert_eq!(OffsetMetadata::parse(&metadata.to_string()), Some(metadata));
        }
        for text in ["", "sillage1", "sillage1 seq=x try=a stream=- log=1", "other 1 2 3"] {
            assert_eq!(OffsetMetadata::parse(text), None, "{text:?}");
        }
    }
}
