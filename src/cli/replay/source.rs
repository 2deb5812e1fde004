//! Touchpoints of all files by time: sorted here, or trusted to be in order and then held to it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;

use indicatif::ProgressStyle;

use super::files::{Files, Heard, Origin, Unusable, arrival};
use crate::cli::Failure;
use crate::cli::sort::{Sorted, Sorter, temporary};
use crate::time::Timestamp;
use crate::touchpoint::Touchpoint;
use crate::wire::{self, Format, Limits, Wanted};

/// Whether the files are in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// They may be in any: they are read to the end and sorted before anything is decided.
    Any,
    /// Each is by time, as its owner says.
    ByTime,
}

/// All files as one.
pub(super) struct Source {
    files: Files,
    state: State,
    /// Time does not pass further than this, if it was said.
    until: Option<Timestamp>,
    /// Touchpoints that are over, to be filled again.
    #[expect(clippy::vec_box, reason = "they go in boxes to the shard, and come back in them")]
    pub(super) spare: Vec<Box<Touchpoint>>,
}

enum State {
    /// Files are being read, this one at present.
    TakingIn(Sorter, usize),
    HandingOut(Sorted),
    Merging(Heads),
}

/// Files in order, each with the touchpoint whose turn has not come.
struct Heads {
    next: Vec<Option<Box<Touchpoint>>>,
    /// Files with a touchpoint, by its time, then the file's place on the command line.
    heads: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// Files that have to be read before the next touchpoint is known.
    unread: Vec<usize>,
    /// By file: the time of what came last.
    latest: Vec<Timestamp>,
}

impl Source {
    pub(super) fn new(files: Files, order: Order, until: Option<Timestamp>) -> Self {
        let state = match order {
            Order::Any => State::TakingIn(Sorter::default(), 0),
            Order::ByTime => State::Merging(Heads {
                next: (0..files.len()).map(|_| None).collect(),
                heads: BinaryHeap::new(),
                unread: (0..files.len()).rev().collect(),
                latest: vec![Timestamp::MIN; files.len()],
            }),
        };
        Source { files, state, until, spare: Vec::new() }
    }

    /// The next touchpoint of all files in the order of event time, or a value that cannot be used.
    ///
    /// # Errors
    /// Files that cannot be read, that are not in the order that was promised, or that go on after the end that was given.
    pub(super) fn next_touchpoint(&mut self) -> Result<Option<Result<Box<Touchpoint>, Unusable>>, Failure> {
        loop {
            match &mut self.state {
                State::TakingIn(_, file) if *file == self.files.len() => self.turn()?,
                State::TakingIn(..) => {
                    if let Some(unusable) = self.take_in()? {
                        return Ok(Some(Err(unusable)));
                    }
                }
                State::HandingOut(_) => return self.hand_out(),
                State::Merging(_) => return self.merge(),
            }
        }
    }

    /// Takes the bar away, and says what the files held.
    pub(super) fn finish(self) -> Heard {
        self.files.bar.finish_and_clear();
        self.files.heard
    }

    /// Takes touchpoints of the present file in, up to its end or to one that cannot be used.
    fn take_in(&mut self) -> Result<Option<Unusable>, Failure> {
        let State::TakingIn(sorter, file) = &mut self.state else { return Ok(None) };
        let mut touchpoint = self.spare.pop().unwrap_or_default();
        let ended = loop {
            match self.files.read(*file, &mut touchpoint)? {
                None => break None,
                Some(Err(unusable)) => break Some(unusable),
                Some(Ok(origin)) => {
                    let write = |bytes: &mut Vec<u8>| pack(&touchpoint, origin, bytes);
                    sorter.push(touchpoint.event_time, write).map_err(temporary)?;
                }
            }
        };
        self.spare.push(touchpoint);
        *file += usize::from(ended.is_none());
        Ok(ended)
    }

    /// All files are read: begins to hand out.
    fn turn(&mut self) -> Result<(), Failure> {
        let State::TakingIn(sorter, _) = &mut self.state else { return Ok(()) };
        let sorter = std::mem::take(sorter);
        if let (Some(until), Some(latest)) = (self.until, sorter.latest()) {
            check_end(until, latest)?;
        }
        let bar = &self.files.bar;
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} touchpoints, {eta} left") {
            bar.set_style(style);
        }
        bar.set_length(sorter.count());
        bar.set_position(0);
        bar.reset_eta();
        self.state = State::HandingOut(sorter.sorted().map_err(temporary)?);
        Ok(())
    }

    fn hand_out(&mut self) -> Result<Option<Result<Box<Touchpoint>, Unusable>>, Failure> {
        let State::HandingOut(sorted) = &mut self.state else { return Ok(None) };
        let Some((_, bytes)) = sorted.next_one().map_err(temporary)? else { return Ok(None) };
        let mut touchpoint = self.spare.pop().unwrap_or_default();
        unpack(bytes, &self.files, &mut touchpoint).map_err(|reason| temporary(io::Error::other(reason)))?;
        self.files.bar.inc(1);
        Ok(Some(Ok(touchpoint)))
    }

    fn merge(&mut self) -> Result<Option<Result<Box<Touchpoint>, Unusable>>, Failure> {
        let State::Merging(heads) = &mut self.state else { return Ok(None) };
        while let Some(file) = heads.unread.last().copied() {
            let mut touchpoint = self.spare.pop().unwrap_or_default();
            match self.files.read(file, &mut touchpoint)? {
                Some(Ok(origin)) => {
                    let at = touchpoint.event_time;
                    if at < heads.latest[file] {
                        return Err(unsorted(self.files.name(file), origin, at, heads.latest[file]));
                    }
                    heads.latest[file] = at;
                    heads.next[file] = Some(touchpoint);
                    heads.heads.push(Reverse((at, file)));
                }
                Some(Err(unusable)) => return Ok(Some(Err(unusable))),
                None => {}
            }
            heads.unread.pop();
        }
        let Some(Reverse((at, file))) = heads.heads.pop() else { return Ok(None) };
        if let Some(until) = self.until {
            check_end(until, at)?;
        }
        heads.unread.push(file);
        Ok(heads.next[file].take().map(Ok))
    }
}

/// A touchpoint as it waits: what the models read of it, and where it stood.
fn pack(touchpoint: &Touchpoint, origin: Origin, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&(origin.file as u32).to_le_bytes());
    bytes.extend_from_slice(&origin.count.to_le_bytes());
    wire::encode_touchpoint(Format::Avro, touchpoint, bytes);
}

fn unpack(bytes: &[u8], files: &Files, touchpoint: &mut Touchpoint) -> Result<(), String> {
    let short = || "a part of it is missing".to_owned();
    let (file, rest) = bytes.split_first_chunk::<4>().ok_or_else(short)?;
    let (count, datum) = rest.split_first_chunk::<8>().ok_or_else(short)?;
    // It was within the limits when it was read.
    let limits = Limits { bytes: usize::MAX, properties: usize::MAX };
    let arrival = arrival(files.name(u32::from_le_bytes(*file) as usize), i64::from_le_bytes(*count), limits);
    wire::decode_into(Format::Avro, None, &Wanted::All, datum, &arrival, touchpoint).map(drop)
}

fn check_end(until: Timestamp, at: Timestamp) -> Result<(), Failure> {
    if at <= until {
        return Ok(());
    }
    let message = format!(
        "the files go on after --until: there is a touchpoint of {at}; give a later instant, or cut the files off at {until}"
    );
    Err(Failure::could_not_run(message))
}

fn unsorted(name: &str, origin: Origin, at: Timestamp, before: Timestamp) -> Failure {
    let line = origin.line;
    Failure::could_not_run(format!(
        "{name}:{line}: {at} lies before {before}, which came earlier in this file, so it is not sorted; leave --sorted out"
    ))
}
