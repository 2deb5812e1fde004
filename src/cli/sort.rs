//! Sorting what does not fit into memory: parts are sorted there and put aside in temporary files, which are merged in the end.
//!
//! Knows bytes with a time. What has the same time stays in the order in which it came. The files have no name, so nothing is
//! left of them however the command ends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use super::Failure;
use crate::time::Timestamp;

/// Bytes that are kept in memory before they are put aside, with what it takes to sort them.
const ROOM: usize = 160 << 20;
/// So many files are merged at once; of more, one is made.
const MOST_RUNS: usize = 64;
/// Fast, and a third of the size.
const LEVEL: i32 = 1;
const BUFFER: usize = 64 << 10;

/// Why something could not be sorted.
pub(super) fn temporary(error: io::Error) -> Failure {
    Failure::could_not_run(format!(
        "cannot sort in {}: {error}; TMPDIR names another folder, and --sorted needs none",
        std::env::temp_dir().display()
    ))
}

/// Where one is in the arena.
#[derive(Clone, Copy)]
pub(super) struct Place {
    time: Timestamp,
    begin: usize,
    length: u32,
}

/// Takes in.
pub(super) struct Sorter {
    arena: Vec<u8>,
    places: Vec<Place>,
    room: usize,
    /// Files by how often what is in them was merged; the more often, the earlier it came.
    runs: Vec<Vec<File>>,
    count: u64,
    latest: Option<Timestamp>,
}

impl Default for Sorter {
    fn default() -> Self {
        Sorter::with_room(ROOM)
    }
}

impl Sorter {
    fn with_room(room: usize) -> Self {
        Sorter { arena: Vec::new(), places: Vec::new(), room, runs: Vec::new(), count: 0, latest: None }
    }

    /// Takes one in: `write` appends its bytes.
    ///
    /// # Errors
    /// Temporary files that cannot be written.
    pub(super) fn push(&mut self, time: Timestamp, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let begin = self.arena.len();
        write(&mut self.arena);
        let length = u32::try_from(self.arena.len() - begin).map_err(|_| io::Error::other("a record is too large"))?;
        self.places.push(Place { time, begin, length });
        self.count += 1;
        self.latest = self.latest.max(Some(time));
        if self.arena.len() + self.places.len() * size_of::<Place>() >= self.room { self.put_aside() } else { Ok(()) }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The latest time of all.
    pub(super) fn latest(&self) -> Option<Timestamp> {
        self.latest
    }

    /// Hands them out in order.
    ///
    /// # Errors
    /// Temporary files that cannot be written or read.
    pub(super) fn sorted(mut self) -> io::Result<Sorted> {
        if self.runs.is_empty() {
            self.sort();
            return Ok(Sorted::InMemory { arena: self.arena, places: self.places, next: 0 });
        }
        self.put_aside()?;
        (self.arena, self.places) = (Vec::new(), Vec::new());
        Ok(Sorted::Merged(Merge::new(self.runs.into_iter().rev().flatten())?))
    }

    /// By time, then as they came: the later begins farther behind.
    fn sort(&mut self) {
        self.places.sort_unstable_by_key(|place| (place.time, place.begin));
    }

    fn put_aside(&mut self) -> io::Result<()> {
        if self.places.is_empty() {
            return Ok(());
        }
        self.sort();
        let mut run = Run::begin()?;
        for place in &self.places {
            run.write(place.time, &self.arena[place.begin..place.begin + place.length as usize])?;
        }
        self.arena.clear();
        self.places.clear();
        self.add(run.end()?, 0)
    }

    fn add(&mut self, run: File, merged: usize) -> io::Result<()> {
        if self.runs.len() == merged {
            self.runs.push(Vec::new());
        }
        self.runs[merged].push(run);
        if self.runs[merged].len() < MOST_RUNS {
            return Ok(());
        }
        let mut merge = Merge::new(std::mem::take(&mut self.runs[merged]))?;
        let mut run = Run::begin()?;
        while let Some((time, bytes)) = merge.next_one()? {
            run.write(time, bytes)?;
        }
        self.add(run.end()?, merged + 1)
    }
}

/// A file that is being written.
struct Run(zstd::stream::write::Encoder<'static, BufWriter<File>>);

impl Run {
    fn begin() -> io::Result<Self> {
        let file = BufWriter::with_capacity(BUFFER, tempfile::tempfile()?);
        Ok(Run(zstd::stream::write::Encoder::new(file, LEVEL)?))
    }

    fn write(&mut self, time: Timestamp, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(&time.as_millis().to_le_bytes())?;
        self.0.write_all(&(bytes.len() as u32).to_le_bytes())?;
        self.0.write_all(bytes)
    }

    fn end(self) -> io::Result<File> {
        let mut file = self.0.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(file)
    }
}

/// What was taken in, in order.
pub(super) enum Sorted {
    /// All of it is in memory.
    InMemory {
        /// The bytes.
        arena: Vec<u8>,
        /// In order.
        places: Vec<Place>,
        /// The next one's place among them.
        next: usize,
    },
    /// It was put aside.
    Merged(Merge),
}

impl Sorted {
    /// The next one: when it is, and its bytes.
    ///
    /// # Errors
    /// Temporary files that cannot be read.
    pub(super) fn next_one(&mut self) -> io::Result<Option<(Timestamp, &[u8])>> {
        match self {
            Sorted::InMemory { arena, places, next } => {
                let place = places.get(*next);
                *next += 1;
                Ok(place.map(|place| (place.time, &arena[place.begin..place.begin + place.length as usize])))
            }
            Sorted::Merged(merge) => merge.next_one(),
        }
    }
}

/// Files on their way into one order.
pub(super) struct Merge {
    runs: Vec<Reading>,
    /// Files by the time of what they begin with, then in the order in which they came.
    heads: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// The file whose bytes were handed out last.
    out: Option<usize>,
}

struct Reading {
    file: zstd::stream::read::Decoder<'static, BufReader<File>>,
    bytes: Vec<u8>,
}

impl Reading {
    /// Reads the next one and says when it is.
    fn read(&mut self) -> io::Result<Option<Timestamp>> {
        let mut head = [0; 12];
        // Nothing at all is the end; a part of something is not.
        if self.file.read(&mut head[..1])? == 0 {
            return Ok(None);
        }
        self.file.read_exact(&mut head[1..])?;
        let [t0, t1, t2, t3, t4, t5, t6, t7, l0, l1, l2, l3] = head;
        self.bytes.resize(u32::from_le_bytes([l0, l1, l2, l3]) as usize, 0);
        self.file.read_exact(&mut self.bytes)?;
        Ok(Some(Timestamp::from_millis(i64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]))))
    }
}

impl Merge {
    fn new(files: impl IntoIterator<Item = File>) -> io::Result<Self> {
        let mut merge = Merge { runs: Vec::new(), heads: BinaryHeap::new(), out: None };
        for file in files {
            let file = zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(BUFFER, file))?;
            merge.runs.push(Reading { file, bytes: Vec::new() });
            merge.read(merge.runs.len() - 1)?;
        }
        Ok(merge)
    }

    fn read(&mut self, run: usize) -> io::Result<()> {
        if let Some(time) = self.runs[run].read()? {
            self.heads.push(Reverse((time, run)));
        }
        Ok(())
    }

    fn next_one(&mut self) -> io::Result<Option<(Timestamp, &[u8])>> {
        if let Some(run) = self.out.take() {
            self.read(run)?;
        }
        let Some(Reverse((time, run))) = self.heads.pop() else { return Ok(None) };
        self.out = Some(run);
        Ok(Some((time, &self.runs[run].bytes)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sorted(times: &[i64], room: usize) -> Vec<(i64, usize)> {
        let mut sorter = Sorter::with_room(room);
        for (at, time) in times.iter().enumerate() {
            let write = |bytes: &mut Vec<u8>| bytes.extend_from_slice(format!("{time}/{at}").as_bytes());
            sorter.push(Timestamp::from_millis(*time), write).expect("room");
        }
        assert_eq!(sorter.latest().map(Timestamp::as_millis), times.iter().copied().max());
        let mut sorted = sorter.sorted().expect("readable");
        let mut read = Vec::new();
        while let Some((_, bytes)) = sorted.next_one().expect("readable") {
            let (time, at) = std::str::from_utf8(bytes).expect("text").split_once('/').expect("both");
            read.push((time.parse().expect("a time"), at.parse().expect("a place")));
        }
        read
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn in_memory_and_in_files_is_the_same_order(times in prop::collection::vec(-3..3_i64, 0..300), room in 1..2_000_usize) {
            let mut expected: Vec<(i64, usize)> = times.iter().enumerate().map(|(at, time)| (*time, at)).collect();
            expected.sort();
            prop_assert_eq!(&sorted(&times, usize::MAX), &expected);
            prop_assert_eq!(&sorted(&times, room), &expected);
        }
    }

    #[test]
    fn many_files_are_merged_into_one_and_the_order_of_equals_is_kept() {
        // One a file: more than are merged at once, twice over.
        let times: Vec<i64> = (0..(MOST_RUNS * MOST_RUNS + 70) as i64).map(|at| at % 7).collect();
        let mut expected: Vec<(i64, usize)> = times.iter().enumerate().map(|(at, time)| (*time, at)).collect();
        expected.sort();
        assert_eq!(sorted(&times, 1), expected);
    }
}
