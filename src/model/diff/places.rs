//! Where something stands in a model's file.

use std::sync::Arc;

use compact_str::CompactString;

use crate::diagnostic::{Faults, Place, Source};
use crate::yaml::{self, Node, Shape};

/// The place of the innermost of these keys that is there; of the model's name where none is.
pub(super) fn find(source: &Arc<Source>, keys: &[CompactString]) -> Place {
    // The file has been read before; what could be wrong with it was told then.
    let root = yaml::parse(source, &mut Faults::default());
    let inner = |keys: &[CompactString]| {
        let mut found = None;
        let mut node: Option<&Node> = root.as_ref();
        for key in keys {
            let Some(Node { shape: Shape::Map(entries), .. }) = node else { break };
            let Some(entry) = entries.iter().find(|entry| entry.key.value == *key) else { break };
            found = Some(entry.key.place.clone());
            node = Some(&entry.value);
        }
        found
    };
    inner(keys).or_else(|| inner(&["model".into()])).unwrap_or_else(|| source.place(0..0))
}
