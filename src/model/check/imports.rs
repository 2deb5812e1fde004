//! Imports: the shared files that a model builds on, each read once, in turn with what they import themselves.

use super::{Fragments, check_language};
use crate::diagnostic::{Diagnostic, Faults, Place, Source, quoted};
use crate::model::written::{self, Fragment, Name, Written};
use crate::yaml;

/// The most shared files behind a model.
pub const MAX_IMPORTS: usize = 16;

/// Reads what the model imports, and adds it to what the model says itself; `file_name` is the model's. Returns whether all
/// of it is there: where a file is missing, nobody knows what its words would have meant.
pub(super) fn follow(written: &mut Written, file_name: &str, fragments: Fragments<'_>, faults: &mut Faults) -> bool {
    let imports = std::mem::take(&mut written.imports);
    let mut reading =
        Reading { file_name, fragments, written, open: vec![own_name(file_name).to_owned()], read: Vec::new(), whole: true };
    reading.all(&imports, faults);
    let whole = reading.whole;
    written.imports = imports;
    whole
}

struct Reading<'a> {
    file_name: &'a str,
    fragments: Fragments<'a>,
    written: &'a mut Written,
    /// The files that are being read: meeting one again is a cycle.
    open: Vec<String>,
    /// Those that were read.
    read: Vec<String>,
    /// Whether every file could be read.
    whole: bool,
}

impl Reading<'_> {
    fn all(&mut self, imports: &[Name], faults: &mut Faults) {
        for import in imports {
            self.one(import, faults);
        }
    }

    fn one(&mut self, import: &Name, faults: &mut Faults) {
        let path = plain(&import.value);
        if self.open.iter().any(|open| open == path) {
            let cause = format!("{} is being read already: the files import each other in a circle", quoted(path));
            faults.error("M051", &import.place, cause, "remove it here; what several files need goes into one of its own");
            return;
        }
        if self.read.iter().any(|read| read == path) {
            return;
        }
        if self.read.len() == MAX_IMPORTS {
            let cause = format!("a model with what it imports may have {MAX_IMPORTS} shared files, and this is one more");
            faults.error("M004", &import.place, cause, "join some of the shared files");
            return;
        }
        self.read.push(path.to_owned());
        match (self.fragments)(path) {
            Ok(text) => self.fragment(path, &text, faults),
            Err(reason) => {
                self.whole = false;
                let cause = format!("{} cannot be read: {reason}", quoted(path));
                let help = "check the path; it is taken from where the model's file stands";
                faults.error("M050", &import.place, cause, help);
            }
        }
    }

    fn fragment(&mut self, path: &str, text: &str, faults: &mut Faults) {
        let source = Source::file(&beside(self.file_name, path), text);
        let fragment = yaml::parse(&source, faults).and_then(|root| written::read_fragment(&root, faults));
        let Some(fragment) = fragment else {
            self.whole = false;
            return;
        };
        check_language(fragment.language.as_ref(), faults);
        self.open.push(path.to_owned());
        self.all(&fragment.imports, faults);
        self.open.pop();
        self.take(fragment, faults);
    }

    /// What a shared file says is as if the model said it, so names must not meet.
    fn take(&mut self, fragment: Fragment, faults: &mut Faults) {
        for mut group in fragment.groups {
            let known = self.written.groups.iter().find(|known| known.name.value == group.name.value);
            if let Some(known) = known {
                twice("group", &known.name, &group.name.place, faults);
                continue;
            }
            group.shared = true;
            self.written.groups.push(group);
        }
        for mut property in fragment.properties {
            match self.written.properties.iter().find(|known| known.name.value == property.name.value) {
                Some(known) if known.kind == property.kind => {}
                Some(known) => twice("property", &known.name, &property.name.place, faults),
                None => {
                    property.shared = true;
                    self.written.properties.push(property);
                }
            }
        }
    }
}

fn twice(what: &str, known: &Name, place: &Place, faults: &mut Faults) {
    let cause = format!("the {what} {} is in two files", quoted(&known.value));
    let help = "keep one of the two, or rename one";
    faults.push(Diagnostic::error("M052", &known.place, cause, help).see(place, "the other one"));
}

/// A path without what changes nothing.
fn plain(path: &str) -> &str {
    let mut path = path.trim();
    while let Some(rest) = path.strip_prefix("./") {
        path = rest;
    }
    path
}

fn own_name(file_name: &str) -> &str {
    file_name.rsplit(['/', '\\']).next().unwrap_or(file_name)
}

/// How diagnostics call a file that is named from where the model stands.
fn beside(file_name: &str, path: &str) -> String {
    let folder = &file_name[..file_name.len() - own_name(file_name).len()];
    if path.starts_with('/') { path.to_owned() } else { format!("{folder}{path}") }
}
