//! What a model says about its earlier versions, as it is written: `renamed` and `removed`.

use super::{Name, listed_names, text};
use crate::diagnostic::Faults;
use crate::model::Section;
use crate::yaml::{Entry, Value};

/// What was called otherwise, and what is gone.
#[derive(Debug, Default)]
pub struct Changes {
    /// The old and the new name.
    pub renamed: Vec<(Section, Name, Name)>,
    /// What is gone, and the stage in which journeys go on.
    pub removed: Vec<(Section, Name, Option<Name>)>,
}

impl Changes {
    pub(super) fn read(renamed: Option<Value<'_>>, removed: Option<Value<'_>>, faults: &mut Faults) -> Changes {
        let mut changes = Changes::default();
        if let Some(mut reader) = renamed.and_then(|value| value.map("`renamed`", faults)) {
            for section in Section::ALL {
                let Some(value) = reader.optional(section.as_str()) else { continue };
                for entry in value.entries("old names, each with the new one", faults).unwrap_or_default() {
                    let new = text(Some(Value::from(entry)), faults);
                    changes.renamed.extend(new.map(|new| (section, entry.key.clone(), new)));
                }
            }
            reader.finish(faults);
        }
        if let Some(mut reader) = removed.and_then(|value| value.map("`removed`", faults)) {
            if let Some(value) = reader.optional("stages") {
                for entry in value.entries("stages, each with the one where journeys go on", faults).unwrap_or_default() {
                    changes.removed.extend(gone(entry, faults));
                }
            }
            for (section, key) in [(Section::Episodes, "episodes"), (Section::Ids, "ids")] {
                let names = reader.optional(key).and_then(|value| listed_names(&value, "a name", faults));
                changes.removed.extend(names.unwrap_or_default().into_iter().map(|name| (section, name, None)));
            }
            reader.finish(faults);
        }
        changes
    }
}

fn gone(entry: &Entry, faults: &mut Faults) -> Option<(Section, Name, Option<Name>)> {
    let to = text(Some(Value::from(entry)), faults)?;
    Some((Section::Stages, entry.key.clone(), Some(to)))
}
