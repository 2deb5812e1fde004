//! Touchpoints from files, one after another, each in its own order; and what is to be told of them in the end.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use compact_str::CompactString;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::is_watched;
use crate::cli::Failure;
use crate::cli::input::{Piece, Pieces};
use crate::cli::ndjson;
use crate::time::Timestamp;
use crate::touchpoint::Touchpoint;
use crate::wire::{self, Arrival, Format, Limits, Loss, Losses, Mapping, Misfit, Wanted};

/// So many types are told apart; further ones count as one.
const MAX_TYPES: usize = 10_000;

/// A value that is no touchpoint.
#[derive(Debug, Serialize)]
pub(super) struct Unusable {
    /// The file.
    pub(super) file: String,
    /// Its line, from 1.
    pub(super) line: u64,
    /// Why.
    pub(super) reason: String,
    /// The value itself, unless it is too long.
    value: Option<String>,
}

/// What the files held.
#[derive(Default)]
pub(super) struct Heard {
    /// How often each type came.
    pub(super) types: HashMap<CompactString, u64, foldhash::fast::FixedState>,
    /// How often parts were lost, by reason.
    pub(super) lost: [u64; Loss::ALL.len()],
    /// By property: how many values are nothing of what the models declare, and one of them.
    pub(super) misfits: BTreeMap<CompactString, (u64, Misfit)>,
}

impl Heard {
    fn of(&mut self, touchpoint: &Touchpoint, losses: Option<&Losses>) {
        if let Some(count) = self.types.get_mut(&touchpoint.kind) {
            *count += 1;
        } else if self.types.len() < MAX_TYPES {
            self.types.insert(touchpoint.kind.clone(), 1);
        }
        let Some(losses) = losses else { return };
        for (loss, count) in Loss::ALL.into_iter().zip(&mut self.lost) {
            *count += u64::from(losses.count(loss));
        }
        for misfit in &losses.misfits {
            self.misfits.entry(misfit.property.clone()).or_insert_with(|| (0, misfit.clone())).0 += 1;
        }
    }
}

struct OneFile {
    name: String,
    pieces: Pieces,
    /// How many values were read.
    count: i64,
}

/// Where a touchpoint stands.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    /// Its file's place on the command line.
    pub(super) file: usize,
    /// The line where it begins, from 1.
    pub(super) line: u64,
    /// The how-manyth value of the file it is.
    pub(super) count: i64,
}

/// All files.
pub(super) struct Files {
    files: Vec<OneFile>,
    mapping: Option<Mapping>,
    /// Which properties the models read.
    wanted: Wanted,
    limits: Limits,
    now: Timestamp,
    pub(super) heard: Heard,
    pub(super) bar: ProgressBar,
}

impl Files {
    pub(super) fn open(
        paths: &[PathBuf],
        mapping: Option<Mapping>,
        wanted: Wanted,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let limits = Limits::default();
        let bar = bar(paths);
        let mut files = Vec::new();
        for path in paths {
            let pieces = open(path, &bar, limits.bytes).map_err(Failure::could_not_run)?;
            files.push(OneFile { name: path.display().to_string(), pieces, count: 0 });
        }
        Ok(Files { files, mapping, wanted, limits, now, heard: Heard::default(), bar })
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    pub(super) fn name(&self, file: usize) -> &str {
        &self.files[file].name
    }

    /// Reads the next touchpoint of a file into one that is there.
    ///
    /// # Errors
    /// A file that cannot be read further.
    pub(super) fn read(
        &mut self,
        file: usize,
        touchpoint: &mut Touchpoint,
    ) -> Result<Option<Result<Origin, Unusable>>, Failure> {
        let OneFile { name, pieces, count } = &mut self.files[file];
        let piece = pieces.next_piece();
        let piece = piece.map_err(|error| Failure::could_not_run(format!("cannot read {name} further: {error}")))?;
        let unusable = |line, reason, value| Ok(Some(Err(Unusable { file: name.clone(), line, reason, value })));
        *count += 1;
        let (line, bytes) = match piece {
            None => return Ok(None),
            Some(Piece::TooLong { line, length }) => {
                return unusable(line, format!("it has {length} bytes, more than {}", self.limits.bytes), None);
            }
            Some(Piece::Misshapen { line, columns, expected }) => {
                return unusable(line, format!("the row has {columns} columns, and the header {expected}"), None);
            }
            Some(Piece::Whole { line, bytes }) => (line, bytes),
        };
        let arrival = arrival(name, *count, self.limits);
        let (mapping, wanted) = (self.mapping.as_ref(), &self.wanted);
        let read = wire::decode_into(Format::Json, mapping, wanted, bytes, &arrival, touchpoint).and_then(|told| {
            let at = touchpoint.event_time;
            if at.since(self.now) <= wire::MAX_AHEAD {
                return Ok(told);
            }
            Err(format!("`occurred_at` is {at}, more than 24h ahead of now ({})", self.now))
        });
        match read {
            Ok(told) => {
                self.heard.of(touchpoint, told.losses.as_deref());
                Ok(Some(Ok(Origin { file, line, count: *count })))
            }
            Err(reason) => unusable(line, reason, Some(String::from_utf8_lossy(bytes).into_owned())),
        }
    }
}

/// Log time is event time here, so no event time lies ahead of it.
pub(super) fn arrival(name: &str, count: i64, limits: Limits) -> Arrival<'_> {
    Arrival { log_time: Timestamp::MAX, topic: name, partition: 0, offset: count, limits }
}

fn open(path: &Path, bar: &ProgressBar, limit: usize) -> Result<Pieces, String> {
    let fault = |error| format!("cannot read {}: {error}", path.display());
    let reader = if path.as_os_str() == "-" {
        ndjson::open(path)?
    } else {
        let file = File::open(path).map_err(fault)?;
        ndjson::unpacked(BufReader::with_capacity(1 << 18, bar.wrap_read(file))).map_err(fault)?
    };
    Pieces::new(reader, limit).map_err(fault)
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
