//! From a Markdown file to stories that can be played: everything wrong is told at once.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::markdown::{Cell, Line, Piece, pieces};
use super::times::{Times, Trouble};
use super::words::{self, Ids, Setting};
use super::{Models, Row, Scenario, Suite};
use crate::diagnostic::{Diagnostic, Faults, Source, listed, nearest, quoted};
use crate::model::{self, Model};
use crate::time::Timestamp;
use crate::touchpoint::Identity;
use crate::yaml::MAX_BYTES;

/// What the last column is called.
const SAYS: &str = "Sillage says";
/// What the first column is called.
const WHEN: &str = "when";
/// How the name of the middle column ends; before it stands the customer's.
const DOES: &str = " does";
/// A type is told to be misspelt when it is no further from a known one.
const MISSPELT: usize = 2;

/// Reads a scenario file; `name` is how diagnostics call it. `Some` only where there is no error.
pub fn read(name: &str, text: &str, models: &mut dyn Models) -> (Option<Suite>, Vec<Diagnostic>) {
    let source = Source::file(name, text);
    let mut faults = Faults::default();
    if source.text.len() > MAX_BYTES {
        let cause = format!("the file has {} bytes; at most {MAX_BYTES} are read", source.text.len());
        faults.error("Y002", &source.place(0..0), cause, "split the stories into several files");
        return faults.settle(None);
    }
    let pieces = pieces(&source, &mut faults);
    let mut reader = Reader { source: &source, models, faults, told: BTreeSet::new(), no_model: false };
    let scenarios = reader.stories(&pieces);
    // A table without a title or without bars has been told already.
    let told = |piece: &Piece| match piece {
        Piece::Table(lines) => is_story(lines),
        Piece::Unbarred(line) => is_story(std::slice::from_ref(line)),
        Piece::Title(..) | Piece::Path(_) | Piece::Yaml(_) => false,
    };
    if scenarios.is_empty() && !pieces.iter().any(told) {
        let help = "write `## a title` and below it a table with the columns when, Anna does, Sillage says";
        reader.faults.error("S011", &source.place(0..0), "there is no story in this file", help);
    }
    let faults = reader.faults;
    faults.settle(Some(Suite { source, scenarios, pieces }))
}

struct Reader<'a> {
    source: &'a Arc<Source>,
    models: &'a mut dyn Models,
    faults: Faults,
    /// Models and types that are told to be misspelt: once is enough.
    told: BTreeSet<(String, String)>,
    /// Whether it has been told that there is no model.
    no_model: bool,
}

/// Whether a block says how customers may be contacted.
fn is_contacts(block: &str) -> bool {
    let begins = |keys: &[&str]| block.lines().any(|line| keys.iter().any(|key| line.starts_with(key)));
    begins(&["consents:", "contact:"]) && !begins(&["model:", "stages:"])
}

/// A story as it is written.
struct Draft<'a> {
    title: &'a Cell,
    line: usize,
    model: Found,
    tables: Vec<&'a [Line]>,
}

/// What is known of a model.
#[derive(Clone)]
enum Found {
    Model(Arc<Model>),
    /// Named, but not to be had; that is told.
    Faulty,
    Nowhere,
}

impl Reader<'_> {
    fn stories(&mut self, pieces: &[Piece]) -> Vec<Scenario> {
        let mut for_all = Found::Nowhere;
        let mut drafts: Vec<Draft<'_>> = Vec::new();
        let mut above: Option<&[Line]> = None;
        for piece in pieces {
            let table = above.take();
            match piece {
                Piece::Title(title, line) => {
                    drafts.push(Draft { title, line: *line, model: Found::Nowhere, tables: Vec::new() });
                }
                Piece::Path(path) => {
                    let found = self.model_at(path);
                    self.name(drafts.last_mut().map_or(&mut for_all, |draft| &mut draft.model), found, &path.span);
                }
                Piece::Yaml(block) if is_contacts(&self.source.text[block.clone()]) => {
                    let mut with = match drafts.last() {
                        Some(Draft { model: own @ (Found::Model(_) | Found::Faulty), .. }) => own.clone(),
                        Some(_) | None => for_all.clone(),
                    };
                    self.contact_by(block, &mut with);
                    *drafts.last_mut().map_or(&mut for_all, |draft| &mut draft.model) = with;
                }
                Piece::Yaml(block) => {
                    let found = self.model_in(block);
                    self.name(drafts.last_mut().map_or(&mut for_all, |draft| &mut draft.model), found, block);
                }
                Piece::Table(lines) if !is_story(lines) => {}
                Piece::Table(lines) => {
                    above = Some(lines);
                    match drafts.last_mut() {
                        Some(draft) => draft.tables.push(lines),
                        None => {
                            let help = "write `## what the story shows` above it";
                            self.error("S007", &lines[0].span, "a story without a title", help);
                        }
                    }
                }
                Piece::Unbarred(line) if table.is_some() || is_story(std::slice::from_ref(line)) => {
                    let cause = "this row of a story does not begin with a bar, so it would not be played";
                    self.error("S001", &line.span, cause, "begin and end every row with `|`");
                }
                Piece::Unbarred(_) => {}
            }
        }
        drafts.retain(|draft| !draft.tables.is_empty());
        drafts.into_iter().map(|draft| self.story(draft, &for_all)).collect()
    }

    fn error(&mut self, code: &'static str, span: &Range<usize>, cause: impl Into<String>, help: impl Into<String>) {
        self.faults.error(code, &self.source.place(span.clone()), cause, help);
    }

    fn name(&mut self, named: &mut Found, found: Found, span: &Range<usize>) {
        match named {
            Found::Nowhere => *named = found,
            Found::Model(_) | Found::Faulty => {
                let help = "keep one; a model for one story stands below that story's title";
                self.error("S013", span, "a second model for the same stories", help);
            }
        }
    }

    fn model_at(&mut self, path: &Cell) -> Found {
        let shown = quoted(&path.text);
        match self.models.model(path.text.trim_matches('`')) {
            Err(reason) => {
                let help = "write the path from this file's folder to the model's file";
                self.error("S006", &path.span, format!("{shown} cannot be read as a model: {reason}"), help);
                Found::Faulty
            }
            Ok((model, faults)) => {
                faults.into_iter().for_each(|fault| self.faults.push(fault));
                match model {
                    Some(model) => Found::Model(model),
                    None => {
                        self.error("S006", &path.span, format!("the model {shown} has errors"), "repair the model first");
                        Found::Faulty
                    }
                }
            }
        }
    }

    /// A model within the file: its faults are told at their places in this file.
    fn model_in(&mut self, block: &Range<usize>) -> Found {
        let text = self.blank_before(block);
        let fragment = |path: &str| self.models.fragment(path);
        let (model, faults) = model::load_with(&self.source.name, &text, &fragment);
        faults.into_iter().for_each(|fault| self.faults.push(fault));
        model.map_or(Found::Faulty, |model| Found::Model(Arc::new(model)))
    }

    /// What says how customers may be contacted, within the file: it holds for the model above.
    fn contact_by(&mut self, block: &Range<usize>, found: &mut Found) {
        let (contacts, faults) = model::load_contacts(&self.source.name, &self.blank_before(block));
        faults.into_iter().for_each(|fault| self.faults.push(fault));
        if let Found::Nowhere = found
            && let Some(model) = self.models.default()
        {
            *found = Found::Model(model);
        }
        match found {
            Found::Model(model) => {
                let mut with = Model::clone(model);
                let told = with.contact_by(contacts.map(Arc::new).as_ref());
                told.into_iter().for_each(|fault| self.faults.push(fault));
                *model = Arc::new(with);
            }
            Found::Faulty => {}
            Found::Nowhere => {
                let help = "write the model above it: a line `model: path`, or a block of YAML";
                self.error("S005", block, "these contacts stand below no model", help);
            }
        }
    }

    /// A block as if it stood alone, at its own place.
    fn blank_before(&self, block: &Range<usize>) -> String {
        let text = &self.source.text;
        let blank: String = text[..block.start].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect();
        blank + &text[block.clone()]
    }

    fn story(&mut self, draft: Draft<'_>, for_all: &Found) -> Scenario {
        let found = if matches!(draft.model, Found::Nowhere) { for_all.clone() } else { draft.model };
        let model = match found {
            Found::Model(model) => Some(model),
            Found::Faulty => None,
            Found::Nowhere => self.models.default().or_else(|| {
                if !std::mem::replace(&mut self.no_model, true) {
                    let help = "write a line `model: path`, or a block of YAML with the model, above the first title";
                    self.error("S005", &draft.title.span, "this story names no model", help);
                }
                None
            }),
        };
        let ids = model.as_ref().map(|model| Ids::of(model)).unwrap_or_default();
        let mut times = Times::default();
        let mut rows = Vec::new();
        for table in &draft.tables {
            self.table(table, model.as_deref(), &ids, &mut times, &mut rows);
        }
        if draft.tables.iter().all(|table| body(table).next().is_none()) {
            let help = "write a row for each thing the customer does, and for each time at which something is due";
            self.error("S011", &draft.title.span, "this story has no rows", help);
        }
        Scenario {
            title: draft.title.text.clone(),
            line: draft.line,
            // Without a model there is an error, and nothing will be played.
            model: model.unwrap_or_else(|| Arc::new(nothing())),
            rows,
        }
    }

    fn table(&mut self, table: &[Line], model: Option<&Model>, ids: &Ids, times: &mut Times, rows: &mut Vec<Row>) {
        let Some(customer) = self.customer(&table[0]) else { return };
        for line in body(table) {
            let [when, does, says] = line.cells.as_slice() else {
                let cause = format!("this row has {} cells, and a story has three", line.cells.len());
                let help = "write | when | what | what comes out |; a bar within a cell is written as \\|";
                self.error("S002", &line.span, cause, help);
                continue;
            };
            let at = times.row(&when.text).map_err(|trouble| self.trouble(&when.span, trouble)).ok();
            let line = line.number;
            let setting = Setting {
                source: self.source,
                start: does.span.start,
                line,
                // What is wrong with the time is told; nothing lies after the end of time.
                at: at.unwrap_or(Timestamp::MAX),
                times,
                customer: &customer,
                ids,
            };
            let raw = &self.source.text[does.span.clone()];
            let touchpoint = words::touchpoint(raw, &setting, &mut self.faults);
            if let (Some(model), Some(touchpoint)) = (model, &touchpoint) {
                self.misspelt(model, &touchpoint.kind, does);
            }
            let who =
                touchpoint.as_ref().map_or_else(|| Identity::customer(customer.as_str()), |done| done.identity.clone());
            rows.push(Row {
                line,
                when: when.text.clone(),
                does: does.text.clone(),
                says: says.text.clone(),
                at: setting.at,
                who,
                touchpoint,
            });
        }
    }

    fn trouble(&mut self, span: &Range<usize>, (code, cause, help): Trouble) {
        self.error(code, span, cause, help);
    }

    /// The customer whom the header names, where all columns are there.
    fn customer(&mut self, header: &Line) -> Option<String> {
        let cells: Vec<&str> = header.cells.iter().map(|cell| cell.text.as_str()).collect();
        if let [when, does, says] = cells[..]
            && is(when, WHEN)
            && is(says, SAYS)
            && let Some(customer) = does.strip_suffix(DOES).map(str::trim).filter(|name| !name.is_empty())
        {
            return Some(customer.to_owned());
        }
        let wrong = |at: usize, name: &str| match at {
            0 => !is(name, WHEN),
            1 => name.strip_suffix(DOES).is_none_or(|customer| customer.trim().is_empty()),
            2 => !is(name, SAYS),
            _ => true,
        };
        let first = header.cells.iter().enumerate().find(|(at, cell)| wrong(*at, &cell.text));
        let help = format!("write | {WHEN} | Anna{DOES} | {SAYS} |, with the customer's name for Anna");
        let cause = match first {
            Some((_, cell)) => format!("{} is not the column that a story has here", quoted(&cell.text)),
            None => format!("a story has three columns, and here are {}", listed(cells)),
        };
        self.error("S001", first.map_or(&header.span, |(_, cell)| &cell.span), cause, help);
        None
    }

    fn misspelt(&mut self, model: &Model, kind: &str, does: &Cell) {
        if model.types.names(kind) || self.told.contains(&(model.name.to_string(), kind.to_owned())) {
            return;
        }
        let meant = nearest(kind, model.types.named());
        if let Some(meant) = meant.filter(|meant| strsim::damerau_levenshtein(kind, meant) <= MISSPELT) {
            let span = does.span.start..does.span.start + kind.len();
            let cause = format!("the model {} does not know {}", model.name, quoted(kind));
            self.faults.warning("S010", &self.source.place(span), cause, format!("did you mean {}?", quoted(meant)));
            self.told.insert((model.name.to_string(), kind.to_owned()));
        }
    }
}

/// Whether a table tells a story; every other table is prose.
fn is_story(table: &[Line]) -> bool {
    let column = |cell: &Cell| {
        let verb = ["does", "says"].iter().any(|verb| cell.text.ends_with(verb));
        verb || is(&cell.text, WHEN) || nearest(&cell.text, [SAYS]).is_some()
    };
    table.first().is_some_and(|header| header.cells.iter().any(column))
}

fn is(written: &str, name: &str) -> bool {
    written.eq_ignore_ascii_case(name)
}

/// The rows of a table.
fn body(table: &[Line]) -> impl Iterator<Item = &Line> {
    table.iter().skip(1).filter(|line| !line.is_rule())
}

/// A model that nothing moves.
fn nothing() -> Model {
    Model {
        name: "nothing".into(),
        version: 0,
        currency: None,
        zone: None,
        phases: Vec::new(),
        stages: Vec::new(),
        episodes: Vec::new(),
        friction: Vec::new(),
        tallies: Vec::new(),
        segments: Vec::new(),
        facts: Vec::new(),
        sums_of_lists: Vec::new(),
        forwards: Vec::new(),
        properties: Vec::new(),
        declared: Vec::new(),
        forms: Vec::new(),
        types: model::Types::default(),
        interventions: Vec::new(),
        contacts: None,
        changes: model::Changes::default(),
    }
}
