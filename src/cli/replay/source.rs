//! Touchpoints from files, merged by time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::is_watched;
use crate::cli::Failure;
use crate::cli::ndjson::{self, Line, Lines};
use crate::time::Timestamp;
use crate::touchpoint::Touchpoint;
use crate::wire::{self, Arrival, Format, Limits, Mapping, Wanted};

/// A line that is no touchpoint.
#[derive(Debug, Serialize)]
pub(super) struct Unusable {
    /// The file.
    pub(super) file: String,
    /// Its line, from 1.
    pub(super) line: u64,
    /// Why.
    pub(super) reason: String,
    /// The line itself, unless it is too long.
    value: Option<String>,
}

struct OneFile {
    name: String,
    lines: Lines,
    /// The file's touchpoint whose turn has not come.
    next: Option<Box<Touchpoint>>,
    /// Running maximum of event times: the file's log time.
    latest: Timestamp,
}

/// All files.
pub(super) struct Source {
    files: Vec<OneFile>,
    /// Files with a touchpoint, by its log time, then the file's place on the command line.
    heads: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// Files that have to be read before the next touchpoint is known.
    unread: Vec<usize>,
    mapping: Option<Mapping>,
    /// Which properties the models read.
    wanted: Wanted,
    limits: Limits,
    /// Touchpoints that are over, to be filled again.
    #[expect(clippy::vec_box, reason = "they go in boxes to the shard, and come back in them")]
    pub(super) spare: Vec<Box<Touchpoint>>,
    bar: ProgressBar,
}

impl Source {
    pub(super) fn open(paths: &[PathBuf], mapping: Option<Mapping>, wanted: Wanted) -> Result<Self, Failure> {
        let limits = Limits::default();
        let bar = bar(paths);
        let mut files = Vec::new();
        for path in paths {
            let lines = Lines::new(open(path, &bar).map_err(Failure::could_not_run)?, limits.bytes);
            files.push(OneFile { name: path.display().to_string(), lines, next: None, latest: Timestamp::MIN });
        }
        let unread = (0..files.len()).rev().collect();
        Ok(Source { files, heads: BinaryHeap::new(), unread, mapping, wanted, limits, spare: Vec::new(), bar })
    }

    /// The next touchpoint of all files in the order of log time, or a line that cannot be used.
    pub(super) fn next_touchpoint(&mut self) -> Result<Option<Result<Box<Touchpoint>, Unusable>>, Failure> {
        while let Some(index) = self.unread.last().copied() {
            match self.read(index)? {
                Some(Ok(touchpoint)) => {
                    let file = &mut self.files[index];
                    file.latest = file.latest.max(touchpoint.event_time);
                    file.next = Some(touchpoint);
                    self.heads.push(Reverse((file.latest, index)));
                }
                Some(Err(unusable)) => return Ok(Some(Err(unusable))),
                None => {}
            }
            self.unread.pop();
        }
        let Some(Reverse((_, index))) = self.heads.pop() else { return Ok(None) };
        self.unread.push(index);
        Ok(self.files[index].next.take().map(Ok))
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn read(&mut self, index: usize) -> Result<Option<Result<Box<Touchpoint>, Unusable>>, Failure> {
        let file = &mut self.files[index];
        let name = &file.name;
        let line = file.lines.next_line();
        let line = line.map_err(|error| Failure::could_not_run(format!("cannot read {name} further: {error}")))?;
        let unusable = |line, reason, value| Unusable { file: name.clone(), line, reason, value };
        let (number, bytes) = match line {
            None => return Ok(None),
            Some(Line::TooLong { number, length }) => {
                let reason = format!("the line has {length} bytes, more than {}", self.limits.bytes);
                return Ok(Some(Err(unusable(number, reason, None))));
            }
            Some(Line::Whole { number, bytes }) => (number, bytes),
        };
        // Log time is event time here, so no event time lies ahead of it.
        let arrival = Arrival {
            log_time: Timestamp::MAX,
            topic: name,
            partition: 0,
            offset: i64::try_from(number).unwrap_or(i64::MAX),
            limits: self.limits,
        };
        let mut touchpoint = self.spare.pop().unwrap_or_default();
        let (mapping, wanted) = (self.mapping.as_ref(), &self.wanted);
        Ok(Some(match wire::decode_into(Format::Json, mapping, wanted, bytes, &arrival, &mut touchpoint) {
            Ok(_) => Ok(touchpoint),
            Err(reason) => Err(unusable(number, reason, Some(String::from_utf8_lossy(bytes).into_owned()))),
        }))
    }
}

fn open(path: &Path, bar: &ProgressBar) -> Result<Box<dyn std::io::BufRead + Send>, String> {
    if path.as_os_str() == "-" {
        return ndjson::open(path);
    }
    let fault = |error| format!("cannot read {}: {error}", path.display());
    let file = File::open(path).map_err(fault)?;
    ndjson::unpacked(BufReader::with_capacity(1 << 18, bar.wrap_read(file))).map_err(fault)
}

/// A bar over the bytes of all files, where somebody looks.
fn bar(paths: &[PathBuf]) -> ProgressBar {
    if !is_watched() {
        return ProgressBar::hidden();
    }
    let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |data| data.len());
    let bar = ProgressBar::new(paths.iter().map(size).sum());
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes}, {eta} left");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
