//! Outcomes as sentences: the same words in the demo, the scenarios and the documentation.

use std::fmt;

use super::outcome::{About, Movement, Outcome, Passed, Subject, What};

/// `consideration → decision`, `abandons basket A (499 EUR) after 30m`, …: what Sillage says, without whom and when.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Transition { from, to, movement, .. } => match (from, movement) {
                (None, Movement::Skip) => write!(f, "enters {to}, skipping"),
                (None, _) => write!(f, "enters {to}"),
                (Some(from), Movement::Regress) => write!(f, "{from} → back to {to}"),
                (Some(from), Movement::ReEnter) => write!(f, "{from} → {to}, beginning journey {}", self.journey),
                (Some(from), Movement::Renew) => write!(f, "{from} → {to}, renewing as journey {}", self.journey),
                (Some(from), Movement::End) => write!(f, "{from} → {to}, ending journey {}", self.journey),
                (Some(from), Movement::Skip) => write!(f, "{from} → {to}, skipping"),
                (Some(from), Movement::Advance | Movement::Complete) => write!(f, "{from} → {to}"),
            },
            What::Completion { about } => self.write(f, "completes", about),
            What::Abandonment { about, passed } => {
                self.write(f, "abandons", about)?;
                match passed {
                    Passed::Silence => write!(f, " after {}", self.at.since(about.last_progress_at)),
                    Passed::Date => f.write_str(" at its date"),
                }
            }
            What::Resumption { about, .. } => self.write(f, "resumes", about),
            What::Recovery { about, .. } => self.write(f, "recovers", about),
            What::Friction { about, rule, .. } => match about.subject {
                Subject::Journey => write!(f, "friction {rule}"),
                Subject::Stage(_) | Subject::Episode { .. } | Subject::Session(_) => {
                    self.write(f, &format!("friction {rule} in"), about)
                }
            },
        }
    }
}

impl Outcome {
    fn write(&self, f: &mut fmt::Formatter<'_>, verb: &str, about: &About) -> fmt::Result {
        match &about.subject {
            Subject::Stage(name) => write!(f, "{verb} {name}"),
            Subject::Session(id) => write!(f, "{verb} session {id}"),
            Subject::Journey => write!(f, "{verb} the journey"),
            Subject::Episode { kind, number, ids } => {
                write!(f, "{verb} {kind} ")?;
                match ids.first() {
                    Some((_, id)) => f.write_str(id)?,
                    None => write!(f, "#{number}")?,
                }
                match self.value {
                    Some(value) => write!(f, " ({value})"),
                    None => Ok(()),
                }
            }
        }
    }
}
