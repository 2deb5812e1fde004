//! What of one customer concerns another, as it is written.

use super::{Name, text};
use crate::diagnostic::Faults;
use crate::yaml::{Entry, Value};

/// A touchpoint that becomes one of another customer as well.
#[derive(Debug)]
pub struct Forward {
    /// Its type.
    pub kind: Name,
    /// The property that names the other customer.
    pub to: Option<Name>,
    /// The type that it has there.
    pub becomes: Option<Name>,
}

impl Forward {
    pub(super) fn read(entry: &Entry, faults: &mut Faults) -> Forward {
        let mut forward = Forward { kind: entry.key.clone(), to: None, becomes: None };
        let Some(mut reader) = Value::from(entry).map("what is forwarded", faults) else { return forward };
        let to = reader.required("to", "to: giver_id", faults);
        let becomes = reader.required("as", "as: referral.succeeded", faults);
        reader.finish(faults);
        forward.to = text(to, faults);
        forward.becomes = text(becomes, faults);
        forward
    }
}
