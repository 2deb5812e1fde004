//! Writes what Sillage says into the last column of a scenario file, and nothing else.

use std::collections::BTreeMap;
use std::ops::Range;

use super::markdown::{Line, Piece};
use super::{Said, Suite};

/// The file with the last cell of every row as it was said; `said` is by story and row, as [`Suite::play`] hands it out. A
/// table without a difference stays as it is; one whose columns are aligned, or not written yet, is aligned anew.
pub fn updated(suite: &Suite, said: &[Vec<Said>]) -> String {
    let text = &suite.source.text;
    let rows = suite.scenarios.iter().zip(said).flat_map(|(scenario, said)| scenario.rows.iter().zip(said));
    // By the line's number: what differs.
    let differ: BTreeMap<usize, &str> =
        rows.filter(|(row, said)| row.says != said.says).map(|(row, said)| (row.line, said.says.as_str())).collect();
    let mut updated = String::with_capacity(text.len() + 1024);
    let mut written = 0;
    let mut number = Numbers::default();
    for piece in &suite.pieces {
        let Piece::Table(table) = piece else { continue };
        let new: Vec<Option<&str>> =
            table.iter().map(|line| differ.get(&number.of(text, line.span.start)).copied()).collect();
        if new.iter().all(Option::is_none) {
            continue;
        }
        for (line, new) in table.iter().zip(layout(text, table, &new)) {
            updated.push_str(&text[written..line.span.start]);
            updated.push_str(&new);
            written = line.span.end;
        }
    }
    updated.push_str(&text[written..]);
    updated
}

/// Counts lines, forwards only.
#[derive(Default)]
struct Numbers {
    at: usize,
    breaks: usize,
}

impl Numbers {
    fn of(&mut self, text: &str, at: usize) -> usize {
        self.breaks += text[self.at..at].matches('\n').count();
        self.at = at;
        self.breaks + 1
    }
}

/// The lines of a table with new last cells.
fn layout(text: &str, table: &[Line], new: &[Option<&str>]) -> Vec<String> {
    let raw = |span: &Range<usize>| text[span.clone()].to_owned();
    let cells: Vec<Vec<String>> = table
        .iter()
        .zip(new)
        .map(|(line, new)| {
            let mut cells: Vec<String> = line.cells.iter().map(|cell| raw(&cell.span)).collect();
            if let (Some(new), Some(last)) = (new, cells.last_mut()) {
                *last = new.replace('|', "\\|");
            }
            cells
        })
        .collect();
    if is_compact(text, table) {
        let one = |((line, cells), new): ((&Line, &Vec<String>), &Option<&str>)| match new {
            Some(_) => row(cells.iter().cloned()),
            None => raw(&line.span),
        };
        return table.iter().zip(&cells).zip(new).map(one).collect();
    }
    let columns = cells.iter().map(Vec::len).max().unwrap_or_default();
    let rules: Vec<bool> = table.iter().map(Line::is_rule).collect();
    let width = |column: usize| {
        let content = cells.iter().zip(&rules).filter(|(_, rule)| !**rule).filter_map(|(cells, _)| cells.get(column));
        content.map(|cell| cell.chars().count()).max().unwrap_or_default().max(3)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |(cells, rule): (&Vec<String>, &bool)| {
        row(cells.iter().zip(&widths).map(|(cell, width)| if *rule { ruled(cell, *width) } else { padded(cell, *width) }))
    };
    cells.iter().zip(&rules).map(line).collect()
}

fn row(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |", cells.collect::<Vec<_>>().join(" | ")).replace("|  |", "| |")
}

fn padded(cell: &str, width: usize) -> String {
    format!("{cell}{}", " ".repeat(width.saturating_sub(cell.chars().count())))
}

/// The line below the header, with the colons that align a column.
fn ruled(cell: &str, width: usize) -> String {
    let (left, right) = (cell.starts_with(':'), cell.ends_with(':'));
    let dashes = "-".repeat(width - usize::from(left) - usize::from(right));
    format!("{}{dashes}{}", if left { ":" } else { "" }, if right { ":" } else { "" })
}

/// Whether a table is written close: one space on both sides of each cell, and the columns not under each other. Only what
/// differs is touched then.
fn is_compact(text: &str, table: &[Line]) -> bool {
    let close = |line: &Line| {
        let cells: Vec<String> = line.cells.iter().map(|cell| text[cell.span.clone()].to_owned()).collect();
        row(cells.into_iter()) == text[line.span.clone()]
    };
    let width = |line: &Line| text[line.span.clone()].chars().count();
    let unwritten = |line: &Line| line.cells.last().is_some_and(|cell| cell.text.is_empty());
    table.iter().all(|line| close(line) && !unwritten(line)) && table.iter().any(|line| width(line) != width(&table[0]))
}
