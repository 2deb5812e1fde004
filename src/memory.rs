//! How much memory a process takes for what passes through it, and how that is divided: pure arithmetic, in bytes.
//!
//! Half is for what has come in and has not been decoded (`intake`), a quarter for records that wait for their turn (`waiting`),
//! a quarter for what an open transaction holds (`transaction`). The state of the customers is counted by itself. Knows no
//! machine, no client and no log.

/// The least budget of a process: of less, a body of touchpoints would not find room.
pub const LEAST: u64 = 128 << 20;
/// The memory of a machine that does not say how much it has.
const UNKNOWN: u64 = 4 << 30;

/// A batch of records is decompressed as a whole, and a client decompresses all batches of an answer at once: what it fetches
/// at once is so many times smaller than the memory for it. Kafka's codecs make no more of one letter.
const RATIO: u64 = 8_192;
/// What a client fetches at once, at least: less would make it ask too often.
const LEAST_FETCH: u64 = 16 << 10;
/// And at most: more makes nothing faster.
const LARGEST_FETCH: u64 = 2 << 20;
/// What a client keeps ready for its worker, at most: more makes nothing faster.
const LARGEST_QUEUE: u64 = 64 << 20;
/// Records that a client keeps ready for its worker, at most. Where an input is paused, what is ready of it is dropped and fetched
/// again: with ten times as many, a backlog whose partitions wait for each other was fetched nine times.
const MOST_RECORDS: u64 = 10_000;
/// What a record in a client's queue takes beside its value, roughly.
const QUEUED_RECORD: u64 = 512;
/// The largest batch that a client decompresses: librdkafka's own limit.
const LARGEST_BATCH: u64 = 100_000_000;
/// And the least limit: twenty times what a broker takes in one batch by default.
const LEAST_BATCH: u64 = 20 << 20;
/// A transaction with so many bytes of records is committed at once, however much memory there is: all of it has to be written
/// before the broker's patience ends.
const LARGEST_TRANSACTION: u64 = 64 << 20;

/// What a machine of so many bytes leaves to a process by default: a quarter. 0 where the machine does not say.
pub fn usual_budget(machine: u64) -> u64 {
    (or_unknown(machine) / 4).max(LEAST)
}

/// The default limit of the state of all customers: half of the machine.
pub fn usual_state(machine: u64) -> u64 {
    (or_unknown(machine) / 2).max(LEAST)
}

fn or_unknown(machine: u64) -> u64 {
    if machine == 0 { UNKNOWN } else { machine }
}

/// Units of sizes, and how many bytes each has.
const UNITS: [(&str, u64); 6] =
    [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000)];

/// A number of bytes as people write it: `536870912`, `512MiB`, `2 GB`. `None` where it is none, or too large to count.
pub fn parse_size(text: &str) -> Option<u64> {
    let unit = UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
    let (number, bytes) = unit.unwrap_or((text, 1));
    let digits = number.trim_end();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { digits.parse::<u64>().ok()?.checked_mul(bytes) } else { None }
}

/// In the largest unit of which it is a whole number.
pub fn show_size(bytes: u64) -> String {
    let largest = UNITS[..3].iter().rev().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit));
    largest.map_or_else(|| bytes.to_string(), |(unit, of)| format!("{}{unit}", bytes / of))
}

/// The budget of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes.
    pub bytes: u64,
    /// Workers that share it.
    pub workers: usize,
}

/// What the client of a worker may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetching {
    /// Bytes of values that are kept ready; as much again may be with the worker.
    pub queue: u64,
    /// Records that are kept ready.
    pub records: u64,
    /// Bytes that are fetched at once, compressed.
    pub fetch: u64,
    /// Bytes of the largest batch, decompressed.
    pub batch: u64,
}

/// What may wait for its turn in the shards of one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Records.
    pub records: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// What the HTTP side may take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http {
    /// Bodies that have arrived or are arriving. While one is worked on, it is there twice.
    pub bodies: u64,
    /// Answers that have not been read.
    pub answers: u64,
}

impl Budget {
    fn of_worker(&self, bytes: u64) -> u64 {
        bytes / self.workers.max(1) as u64
    }

    /// What a worker's client may take, where records come from Kafka. An eighth of the intake is left to the HTTP side.
    pub fn fetching(&self) -> Fetching {
        let intake = self.of_worker(self.bytes / 16 * 7);
        let queue = (intake / 8).min(LARGEST_QUEUE);
        Fetching {
            queue,
            records: (queue / QUEUED_RECORD).clamp(1_000, MOST_RECORDS),
            fetch: (intake / 2 / RATIO).clamp(LEAST_FETCH, LARGEST_FETCH),
            batch: (intake / 2).clamp(LEAST_BATCH, LARGEST_BATCH),
        }
    }

    /// What may wait in the shards of a worker.
    pub fn waiting(&self) -> u64 {
        self.of_worker(self.bytes / 4)
    }

    /// What the records of a worker's transaction may have before it is committed. A shard that comes there holds it alone, and
    /// what it decides is there once more until it is written: so it is an eighth of the share.
    pub fn transaction(&self) -> u64 {
        (self.of_worker(self.bytes / 4) / 8).min(LARGEST_TRANSACTION)
    }

    /// What a worker's client may hold that is written and not acknowledged. It takes two records of the largest size.
    pub fn producing(&self, largest_record: u64) -> u64 {
        (self.of_worker(self.bytes / 4) / 2).max(2 * largest_record)
    }

    /// What the HTTP side may take where touchpoints come in through it: all of the intake.
    pub fn http_with_touchpoints(&self) -> Http {
        Self::http(self.bytes / 2)
    }

    /// What the HTTP side may take where nothing but questions come in through it.
    pub fn http_for_questions(&self) -> Http {
        Self::http(self.bytes / 16)
    }

    /// Two sevenths for bodies, which are there twice; a sixth for answers; the rest for what connections have of their own.
    fn http(intake: u64) -> Http {
        Http { bodies: intake / 7 * 2, answers: (intake / 6).max(4 << 20) }
    }
}

/// Which inputs have more waiting than their part, when all partitions of a worker share so many bytes.
///
/// Half is shared by whoever needs it. Beyond that, each partition has an equal part of the other half, and one that has more
/// is to be paused; when all of it is taken, whoever has anything. The input that its shard waits for has nothing waiting:
/// whatever comes of it is applied. So it is never paused, however much waits of the others.
#[derive(Clone, Copy, Debug)]
pub struct Sharing {
    /// Bytes that all may have.
    pub limit: u64,
    /// Bytes that all have.
    pub total: u64,
    /// Partitions that share them.
    pub partitions: usize,
}

impl Sharing {
    fn part(&self) -> u64 {
        self.limit / 2 / self.partitions.max(1) as u64
    }

    /// Whether one with so many bytes is to be paused.
    pub fn is_too_much(&self, bytes: u64) -> bool {
        let part = if self.total > self.limit { 0 } else { self.part() };
        bytes > part && self.total > self.limit / 2
    }

    /// Whether one with so many bytes that was paused may go on. Between this and the other lies room, so that it does not
    /// change with each record: what a client has fetched is dropped by a pause.
    pub fn is_little(&self, bytes: u64) -> bool {
        let is_small = bytes <= self.part() / 2 && self.total <= self.limit / 4 * 3;
        bytes == 0 || is_small || self.total <= self.limit / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    /// The most that a worker's client may hold at once: what is ready, with what a record takes beside its value, as much in
    /// the worker's hand, and an answer of one letter.
    fn most(fetching: &Fetching) -> u64 {
        2 * fetching.queue + fetching.records * QUEUED_RECORD + (fetching.fetch * RATIO).max(fetching.batch)
    }

    #[test]
    fn all_parts_together_stay_within_the_budget() {
        for (bytes, workers) in [(LEAST, 1), (256 * MB, 1), (512 * MB, 2), (1024 * MB, 1), (6 << 30, 1), (64 << 30, 16)] {
            let budget = Budget { bytes, workers };
            let (fetching, count) = (budget.fetching(), workers as u64);
            // With the least that a fetch may be, one letter is too much for little memory; as documented.
            let bound = if fetching.fetch > LEAST_FETCH { most(&fetching) } else { 2 * fetching.queue + fetching.batch };
            let http = budget.http_for_questions();
            assert!(count * bound + http.bodies + http.answers <= bytes / 2 + 4 * MB, "{budget:?} {fetching:?}");
            assert!(count * budget.waiting() <= bytes / 4);
            let transaction = 3 * budget.transaction() + budget.producing(MB);
            assert!(count * transaction <= bytes / 4, "{budget:?}");
            let http = budget.http_with_touchpoints();
            assert!(2 * http.bodies + http.answers <= bytes / 2, "{http:?}");
            assert!(http.bodies >= 16 * MB, "a body of the largest size finds room");
        }
    }

    #[test]
    fn much_memory_changes_nothing_that_is_fast() {
        let fetching = Budget { bytes: 64 << 30, workers: 1 }.fetching();
        let fast = Fetching { queue: 64 * MB, records: 10_000, fetch: 1_835_008, batch: 100_000_000 };
        assert_eq!(fetching, fast);
        assert_eq!(usual_budget(0), 1 << 30);
        assert_eq!(usual_budget(32 << 30), 8 << 30);
        assert_eq!(usual_budget(100 * MB), LEAST);
        assert_eq!(usual_state(32 << 30), 16 << 30);
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes, shown) in [
            ("536870912", Some(536_870_912), "512MiB"),
            ("512MiB", Some(512 * MB), "512MiB"),
            ("2 GB", Some(2_000_000_000), "1953125KiB"),
            ("3GiB", Some(3 << 30), "3GiB"),
            ("7", Some(7), "7"),
            ("0", Some(0), "0"),
            ("MiB", None, ""),
            ("1.5GiB", None, ""),
            ("-1", None, ""),
            ("512 mb", None, ""),
            ("99999999999GiB", None, ""),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
            assert_eq!(bytes.map(show_size).unwrap_or_default(), shown, "{text}");
        }
    }

    #[test]
    fn the_input_that_is_waited_for_is_never_paused() {
        // Whatever the others have: nothing is not too much, and enough to go on.
        for total in [0, 50, 51, 100, 10_000] {
            for partitions in [1, 2, 7, 1_000] {
                let sharing = Sharing { limit: 100, total, partitions };
                assert!(!sharing.is_too_much(0) && sharing.is_little(0), "{sharing:?}");
            }
        }
    }

    #[test]
    fn who_has_more_than_its_part_is_paused_when_memory_is_short() {
        let sharing = |total| Sharing { limit: 1_000, total, partitions: 5 };
        for (total, bytes, too_much, little) in [
            // Half of it is for whoever needs it.
            (500, 500, false, false),
            (250, 250, false, true),
            // Beyond that, a fifth of the other half.
            (501, 101, true, false),
            (501, 100, false, false),
            (501, 50, false, true),
            // When there is no more, whoever has anything waits, until there is some.
            (1_001, 1, true, false),
            (751, 50, false, false),
            (750, 50, false, true),
        ] {
            let sharing = sharing(total);
            assert_eq!((sharing.is_too_much(bytes), sharing.is_little(bytes)), (too_much, little), "{bytes} of {total}");
        }
    }

    /// However they come and in whatever pieces, no more waits than the limit, and a piece of each that had nothing.
    #[test]
    fn what_waits_is_bounded_however_it_comes() {
        let (limit, piece) = (10_000, 700_u64);
        let mut waiting = [0_u64; 6];
        let mut paused = [false; 6];
        let mut dice = 7_u64;
        for _ in 0..10_000 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let one = (dice >> 33) as usize % waiting.len();
            if dice >> 62 == 0 {
                waiting[one] = 0;
            } else if !paused[one] {
                waiting[one] += piece;
            }
            let sharing = Sharing { limit, total: waiting.iter().sum(), partitions: waiting.len() };
            for (bytes, paused) in waiting.iter().zip(&mut paused) {
                *paused = if *paused { !sharing.is_little(*bytes) } else { sharing.is_too_much(*bytes) };
            }
            assert!(sharing.total <= limit + waiting.len() as u64 * piece, "{waiting:?}");
        }
    }
}
