//! The pieces of a Markdown file that a story is made of: titles, models, tables. Everything else is prose.
//!
//! Knows the shape of a table, not what its cells mean.

use std::ops::Range;

use crate::diagnostic::{Faults, Source};
use std::sync::Arc;

/// A piece of a scenario file. Ranges are bytes of the file.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    /// `## title`, and its line, from 1.
    Title(Cell, usize),
    /// `model: path`.
    Path(Cell),
    /// The text within a block of YAML.
    Yaml(Range<usize>),
    /// Lines that begin with `|`.
    Table(Vec<Line>),
    /// A table's header or row that no bar begins; other readers of Markdown take it for one all the same.
    Unbarred(Line),
}

/// A line of a table.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Which line of the file, from 1.
    pub(super) number: usize,
    /// Without the end of the line.
    pub(super) span: Range<usize>,
    pub(super) cells: Vec<Cell>,
}

/// A text with its place.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    /// Without the white space around it.
    pub(super) span: Range<usize>,
    /// With `\|` read as `|`.
    pub(super) text: String,
}

impl Line {
    /// Whether this is the line between the header and the rows.
    pub(super) fn is_rule(&self) -> bool {
        let rule = |cell: &Cell| cell.text.contains('-') && cell.text.chars().all(|c| matches!(c, '-' | ':'));
        !self.cells.is_empty() && self.cells.iter().all(rule)
    }
}

/// Takes a file apart.
pub(super) fn pieces(source: &Arc<Source>, faults: &mut Faults) -> Vec<Piece> {
    let text = source.text.as_str();
    let mut pieces = Vec::new();
    let mut lines = lines(text);
    // What would be the header, if the line below says so.
    let mut before: Option<Line> = None;
    while let Some((number, span)) = lines.next() {
        let line = &text[span.clone()];
        if let Some(fence) = fence(line) {
            let inside = span.end;
            let closed = lines.by_ref().map(|(_, span)| span).find(|span| closes(&text[span.clone()], fence));
            if closed.is_none() {
                let cause = format!("the block that begins with {fence} is not closed");
                faults.error("S012", &source.place(span.clone()), cause, format!("end it with a line {fence}"));
            }
            if line[fence.len()..].trim().eq_ignore_ascii_case("yaml") {
                let begins = text[inside..].find('\n').map_or(text.len(), |at| inside + at + 1);
                pieces.push(Piece::Yaml(begins..closed.map_or(text.len(), |span| span.start).max(begins)));
            }
        } else if line.starts_with("## ") {
            pieces.push(Piece::Title(cell(text, span.start + 3..span.end), number));
        } else if line.starts_with("model:") {
            pieces.push(Piece::Path(cell(text, span.start + "model:".len()..span.end)));
        } else if line.trim_start().starts_with('|') {
            let read = Line { number, cells: cells(text, span.clone()), span: span.clone() };
            match pieces.last_mut() {
                Some(Piece::Table(table)) if table.last().is_some_and(|last| last.number + 1 == number) => table.push(read),
                Some(_) | None => pieces.push(Piece::Table(vec![read])),
            }
        } else if line.contains('|') {
            let here = unbarred(text, number, span);
            let follows = |last: &Line| last.number + 1 == number;
            let row = matches!(pieces.last(), Some(Piece::Table(table)) if table.last().is_some_and(follows));
            if row {
                pieces.push(Piece::Unbarred(here));
            } else if let Some(header) = before.take().filter(|header| follows(header) && here.is_rule()) {
                pieces.push(Piece::Unbarred(header));
            } else {
                before = Some(here);
            }
        }
    }
    pieces
}

/// A line whose cells stand between bars, without bars around them.
fn unbarred(text: &str, number: usize, span: Range<usize>) -> Line {
    let mut start = span.start;
    let cells = text[span.clone()].split('|').map(|raw| {
        let inner = start..start + raw.len();
        start = inner.end + 1;
        cell(text, inner)
    });
    Line { number, cells: cells.collect(), span }
}

/// The lines of a text with their numbers, without their ends.
fn lines(text: &str) -> impl Iterator<Item = (usize, Range<usize>)> {
    let mut start = 0;
    let spans = text.split_inclusive('\n').map(move |line| {
        let span = start..start + line.trim_end_matches(['\n', '\r']).len();
        start += line.len();
        span
    });
    (1..).zip(spans)
}

/// The three or more backticks or tildes that begin a block.
fn fence(line: &str) -> Option<&str> {
    let of = |mark: char| line.len() - line.trim_start_matches(mark).len();
    let length = of('`').max(of('~'));
    (length >= 3).then(|| &line[..length])
}

fn closes(line: &str, fence: &str) -> bool {
    line.trim_end().strip_prefix(fence).is_some_and(|rest| rest.chars().all(|c| fence.starts_with(c)))
}

/// The cells of a line: what stands between bars that no backslash precedes.
fn cells(text: &str, span: Range<usize>) -> Vec<Cell> {
    let line = &text[span.clone()];
    let mut bars: Vec<usize> = Vec::new();
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        if c == '|' && before != '\\' {
            bars.push(span.start + at);
        }
        before = c;
    }
    // A last cell without a bar after it is one all the same.
    if bars.last().is_some_and(|last| !text[last + 1..span.end].trim().is_empty()) {
        bars.push(span.end);
    }
    bars.windows(2).map(|pair| cell(text, pair[0] + 1..pair[1])).collect()
}

fn cell(text: &str, span: Range<usize>) -> Cell {
    let raw = &text[span.clone()];
    let start = span.start + (raw.len() - raw.trim_start().len());
    let span = start..start + raw.trim().len();
    Cell { text: text[span.clone()].replace("\\|", "|"), span }
}
