//! Segments: the groups of customers, and what is written for each of them.

use std::collections::HashMap;

use super::{MAX_SEGMENTS, at_most, check_name};
use crate::diagnostic::{Diagnostic, Faults, Place, did_you_mean, listed, quoted};
use crate::model::SegmentIndex;
use crate::model::written::{Name, Segment, Who};

/// The segments by their names.
pub(super) struct Segments<'a> {
    written: &'a [Segment],
    /// The one that everyone belongs to who belongs to none before it.
    everyone: Option<usize>,
}

impl<'a> Segments<'a> {
    /// Checks the names and the order.
    pub(super) fn check(written: &'a [Segment], faults: &mut Faults) -> Self {
        let written = at_most(MAX_SEGMENTS, "segments", written, |segment| &segment.name.place, faults);
        for segment in written {
            check_name("segment", &segment.name, faults);
        }
        check_same(written, faults);
        let everyone = written.iter().position(|segment| matches!(segment.who, Who::Everyone(_)));
        match everyone {
            Some(at) => {
                for after in &written[at + 1..] {
                    let (name, first) = (quoted(&after.name.value), quoted(&written[at].name.value));
                    let cause = format!("nobody can be in segment {name}: everyone is in {first} before");
                    faults.push(
                        Diagnostic::warning("M061", &after.name.place, cause, format!("put {first} last"))
                            .see(&written[at].name.place, "everyone"),
                    );
                }
            }
            None => {
                if let Some(last) = written.last().filter(|last| !matches!(last.who, Who::Unread)) {
                    let cause = "a customer that no condition holds for is in no segment";
                    faults.warning("M063", &last.name.place, cause, "add a last segment for them: `everyone: true`");
                }
            }
        }
        Segments { written, everyone }
    }

    /// As they are written, in order.
    pub(super) fn written(&self) -> &'a [Segment] {
        self.written
    }

    /// The index of a segment by its name; a diagnostic where there is none.
    pub(super) fn find(&self, name: &Name, faults: &mut Faults) -> Option<SegmentIndex> {
        let found = self.written.iter().position(|segment| segment.name.value == name.value);
        if found.is_none() {
            let cause = format!("there is no segment {}", quoted(&name.value));
            let names: Vec<&str> = self.written.iter().map(|segment| segment.name.value.as_str()).collect();
            let help = if names.is_empty() {
                "the model has no segments; add them under `segments:`, such as `loyal: customer.purchases >= 3`".to_owned()
            } else {
                did_you_mean(&name.value, &names, "the segments are")
            };
            faults.error("M060", &name.place, cause, help);
        }
        found.and_then(|at| SegmentIndex::try_from(at).ok())
    }

    /// What is written for some segments, for each of them: what everyone's says counts for those not named. `None` where
    /// some segment is left without, or something could not be read.
    pub(super) fn spread<T: Clone>(
        &self,
        given: Vec<(&Name, Option<T>)>,
        place: &Place,
        what: &str,
        faults: &mut Faults,
    ) -> Option<Vec<Option<T>>> {
        let mut spread: Vec<Option<T>> = vec![None; self.written.len()];
        let mut named = vec![false; self.written.len()];
        let mut whole = true;
        for (name, value) in given {
            let Some(at) = self.find(name, faults).map(usize::from) else {
                whole = false;
                continue;
            };
            named[at] = true;
            whole &= value.is_some();
            spread[at] = value;
        }
        let rest = self.everyone.filter(|at| named[*at]);
        if let Some(rest) = rest {
            for at in (0..spread.len()).filter(|at| !named[*at]) {
                spread[at] = spread[rest].clone();
            }
        } else if whole {
            let missing = self.written.iter().zip(&named).filter(|(_, named)| !**named);
            let missing: Vec<&str> = missing.map(|(segment, _)| segment.name.value.as_str()).collect();
            if !missing.is_empty() {
                let cause = format!("{what} is missing for {}", listed(missing));
                let help = match self.everyone {
                    Some(at) => format!(
                        "add {}; what it says also counts for segments that are not named",
                        quoted(&format!("{}: …", self.written[at].name.value))
                    ),
                    None => "add them to the map".to_owned(),
                };
                faults.error("M062", place, cause, help);
                return None;
            }
        }
        whole.then_some(spread)
    }
}

/// Two segments with one condition: the first takes everyone it holds for.
fn check_same(written: &[Segment], faults: &mut Faults) {
    let mut first: HashMap<&str, &Name> = HashMap::new();
    for segment in written {
        let Who::When(line) = &segment.who else { continue };
        let Some(other) = first.get(line.value.trim()) else {
            first.insert(line.value.trim(), &segment.name);
            continue;
        };
        let (name, before) = (quoted(&segment.name.value), quoted(&other.value));
        let cause = format!("nobody can be in segment {name}: {before} before it has the same condition");
        let help = "write another condition, or remove one of the two";
        faults.push(Diagnostic::warning("M061", &segment.name.place, cause, help).see(&other.place, "the same"));
    }
}
