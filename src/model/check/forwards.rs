//! What of one customer concerns another: a type that becomes another one there, and goes no further.

use super::{MAX_FORWARDS, at_most};
use crate::diagnostic::{Diagnostic, Faults, quoted};
use crate::model::Forward;
use crate::model::written::{self, Group, Name};
use crate::touchpoint::MAX_NAME_BYTES;

pub(super) fn check(written: &[written::Forward], groups: &[Group], faults: &mut Faults) -> Vec<Forward> {
    let forwards = at_most(MAX_FORWARDS, "forwards", written, |forward| &forward.kind.place, faults);
    let read = forwards.iter().filter_map(|forward| {
        let (to, becomes) = (forward.to.as_ref()?, forward.becomes.as_ref()?);
        for (what, name) in [("type", &forward.kind), ("property", to), ("type", becomes)] {
            check_length(what, name, faults);
        }
        for kind in [&forward.kind, becomes] {
            if groups.iter().any(|group| group.name.value == kind.value) {
                let cause =
                    format!("{} is a group, and one type of touchpoint is forwarded as another", quoted(&kind.value));
                faults.error("M113", &kind.place, cause, "name the type itself");
            }
        }
        if let Some(further) = forwards.iter().find(|other| other.kind.value == becomes.value) {
            let cause = format!("{} would be forwarded in turn", quoted(&becomes.value));
            let help = "give it a type of its own: what is forwarded goes no further";
            faults.push(Diagnostic::error("M113", &becomes.place, cause, help).see(&further.kind.place, "forwarded here"));
        }
        Some(Forward {
            kind: forward.kind.value.as_str().into(),
            to: to.value.as_str().into(),
            becomes: becomes.value.as_str().into(),
        })
    });
    read.collect()
}

fn check_length(what: &str, name: &Name, faults: &mut Faults) {
    if name.value.is_empty() || name.value.len() > MAX_NAME_BYTES {
        let cause = format!("{} cannot be the {what} of a touchpoint", quoted(&name.value));
        faults.error("M002", &name.place, cause, format!("write 1 to {MAX_NAME_BYTES} bytes"));
    }
}
