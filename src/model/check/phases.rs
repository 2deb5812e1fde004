//! Phases: where there are any, they hold every stage once, in the order of the stages.

use std::collections::HashMap;

use compact_str::CompactString;

use super::{check_name, stages::find};
use crate::diagnostic::{Diagnostic, Faults, Place, quoted};
use crate::model::StageIndex;
use crate::model::written::{List, Stage};

/// The phases with the indices of their stages.
pub(super) fn check(phases: &[List], stages: &[Stage], faults: &mut Faults) -> Vec<(CompactString, Vec<StageIndex>)> {
    let mut placed: HashMap<StageIndex, &Place> = HashMap::new();
    let mut latest: Option<StageIndex> = None;
    let mut resolved = Vec::new();
    for phase in phases {
        check_name("phase", &phase.name, faults);
        let mut members = Vec::new();
        for member in &phase.members {
            let Some(stage) = find(member, stages, faults) else { continue };
            if let Some(first) = placed.get(&stage) {
                let cause = format!("stage {} is in the phases twice", quoted(&member.value));
                faults.push(
                    Diagnostic::error("M022", &member.place, cause, "a stage belongs to one phase; keep one")
                        .see(first, "the first one"),
                );
                continue;
            }
            placed.insert(stage, &member.place);
            if let Some(before) = latest.filter(|before| *before > stage) {
                let other = &stages[usize::from(before)].name.value;
                let cause =
                    format!("the phases put {} after {}, the stages put it before", quoted(&member.value), quoted(other));
                faults.error("M023", &member.place, cause, "list the stages in one order, here and under `stages`");
            }
            latest = latest.max(Some(stage));
            members.push(stage);
        }
        resolved.push((CompactString::from(phase.name.value.as_str()), members));
    }
    if !phases.is_empty() {
        check_all_placed(&placed, phases, stages, faults);
    }
    resolved
}

fn check_all_placed(placed: &HashMap<StageIndex, &Place>, phases: &[List], stages: &[Stage], faults: &mut Faults) {
    for (index, stage) in (0..).zip(stages) {
        if !placed.contains_key(&index) {
            let cause = format!("stage {} is in no phase", quoted(&stage.name.value));
            let names: Vec<&str> = phases.iter().map(|phase| phase.name.value.as_str()).collect();
            let help = format!("add it to one of {}", crate::diagnostic::listed(names));
            faults.error("M021", &stage.name.place, cause, help);
        }
    }
}
