//! Whether journeys that were written under some models may go on under others, and how they are brought over (rule 25).
//!
//! What stands in a log was written under the models that stand beside it, commit by commit. A reader goes through the same
//! steps as those who wrote: whenever a commit names other models than the one before, everything read so far is brought
//! over ([`step`]); at the end it is brought over to the models that run now, if these may follow ([`admit`]). So a customer
//! who was not written for a while, and has only been read under models between, is the same as if it had been written.

use super::pages::Mark;
use crate::journey::Migration;
use crate::model::{Structure, between};

/// From what one commit says to what the next one says: whoever wrote that has been admitted. `None` where customers stay as
/// they are.
///
/// # Errors
/// A mark that cannot be read.
pub fn step(written: &[Mark], next: &[Mark]) -> Result<Option<Migration>, String> {
    if written == next {
        return Ok(None);
    }
    Ok(Step::read(written, next)?.migration())
}

/// From what the last commit says to the models that run now. `None` where customers stay as they are.
///
/// # Errors
/// Why the models that run now may not follow, and what to do.
pub fn admit(written: &[Mark], running: &[Mark]) -> Result<Option<Migration>, String> {
    if written == running {
        return Ok(None);
    }
    let step = Step::read(written, running)?;
    step.judge()?;
    Ok(step.migration())
}

/// Whether what was written under some models can be read under others as it stands.
///
/// # Errors
/// A mark that cannot be read.
pub fn is_same(written: &[Mark], running: &[Mark]) -> Result<bool, String> {
    Ok(step(written, running)?.is_none())
}

/// A model as written.
struct Known<'a> {
    mark: &'a Mark,
    structure: Structure,
}

struct Step<'a> {
    old: Vec<Known<'a>>,
    new: Vec<Known<'a>>,
    /// Models that are gone for good.
    retired: Vec<&'a str>,
}

impl<'a> Step<'a> {
    fn read(old: &'a [Mark], new: &'a [Mark]) -> Result<Self, String> {
        let known = |mark: &'a Mark| {
            let structure = Structure::parse(&mark.structure).map_err(|reason| format!("model {}: {reason}", mark.name))?;
            Ok(Known { mark, structure })
        };
        let running = |marks: &'a [Mark]| marks.iter().filter(|mark| !mark.is_retired()).map(known);
        Ok(Step {
            old: running(old).collect::<Result<_, String>>()?,
            new: running(new).collect::<Result<_, String>>()?,
            retired: new.iter().filter(|mark| mark.is_retired()).map(|mark| mark.name.as_str()).collect(),
        })
    }

    fn migration(&self) -> Option<Migration> {
        let alike =
            |(old, new): (&Known<'_>, &Known<'_>)| old.mark.name == new.mark.name && old.structure.is_same(&new.structure);
        if self.old.len() == self.new.len() && self.old.iter().zip(&self.new).all(alike) {
            return None;
        }
        fn named<'b>(models: &'b [Known<'_>]) -> Vec<(&'b str, &'b Structure)> {
            models.iter().map(|known| (known.mark.name.as_str(), &known.structure)).collect()
        }
        Some(Migration::new(&named(&self.old), &named(&self.new)))
    }

    fn judge(&self) -> Result<(), String> {
        for old in &self.old {
            let name = &old.mark.name;
            match self.new.iter().find(|new| new.mark.name == *name) {
                Some(new) => judge(old, new)?,
                None if self.retired.contains(&name.as_str()) => {}
                None => {
                    return Err(format!(
                        "journeys run under the model {name}, which is not among the models that run now; list it again or, \
                         if it is gone for good, list its name under `retired`: then its journeys are forgotten"
                    ));
                }
            }
        }
        Ok(())
    }
}

fn judge(old: &Known<'_>, new: &Known<'_>) -> Result<(), String> {
    if old.structure.is_same(&new.structure) {
        return Ok(());
    }
    let (name, written, running) = (&old.mark.name, old.mark.version, new.mark.version);
    if written > running {
        return Err(format!(
            "journeys run under version {written} of the model {name}, and this is version {running}: use version {written} \
             or a later one; to go back on purpose, give the older file a version above {written}"
        ));
    }
    if written == running {
        return Err(format!(
            "the model {name} is not what it was, and its version is still {running}: write `version: {}`, and see \
             `sillage model diff` (D005)",
            running.saturating_add(1)
        ));
    }
    let changes = between(&old.structure, &new.structure);
    let refused: Vec<String> = changes
        .iter()
        .filter_map(|change| change.refused.as_ref())
        .map(|refused| format!("{} ({}): {}", refused.cause, refused.code, refused.help))
        .collect();
    if refused.is_empty() {
        return Ok(());
    }
    Err(format!("version {running} of the model {name} would strand journeys of version {written}: {}", refused.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journey::Customer;
    use crate::touchpoint::Identity;

    fn mark(text: &str) -> Mark {
        let (model, faults) = crate::model::load("m.yaml", text);
        Mark::of(&model.unwrap_or_else(|| panic!("{faults:?}")))
    }

    fn shop(version: u32, rest: &str) -> Mark {
        mark(&format!("sillage: 1\nmodel: shop\nversion: {version}\n{rest}"))
    }

    fn club() -> Mark {
        mark("sillage: 1\nmodel: club\nstages: { member: { enter: joined } }")
    }

    const TWO: &str = "stages: { looking: { enter: a }, buying: { enter: b } }";

    #[test]
    fn what_is_the_same_goes_on_whatever_its_version() {
        let spans = "stages: { looking: { enter: a, quiet: 3d }, buying: { enter: [b, c] } }";
        for (old, new) in [(shop(1, TWO), shop(1, TWO)), (shop(1, TWO), shop(2, spans)), (shop(3, spans), shop(1, TWO))] {
            assert!(admit(&[old], &[new]).expect("admitted").is_none());
        }
        let names = Mark { structure: "shop: stages looking, buying; episodes ".to_owned(), ..shop(1, TWO) };
        assert!(admit(&[names], &[shop(1, TWO)]).expect("admitted").is_none());
    }

    #[test]
    fn what_may_not_follow_is_refused_with_the_next_action() {
        let more = "stages: { looking: { enter: a }, comparing: { enter: c }, buying: { enter: b } }";
        let fewer = "stages: { buying: { enter: b } }";
        let gone = Mark::retired("shop");
        for (old, new, told) in [
            (vec![shop(2, more)], vec![shop(1, TWO)], "version 2 of the model shop, and this is version 1: use version 2"),
            (vec![shop(1, TWO)], vec![shop(1, more)], "write `version: 2`"),
            (vec![shop(1, TWO)], vec![shop(2, fewer)], "stage `looking` is gone, and journeys may stand there (D001)"),
            (vec![shop(1, TWO), club()], vec![club()], "under the model shop, which is not among the models that run now"),
            (vec![shop(1, TWO), club()], vec![club(), gone.clone()], ""),
            (vec![club(), gone.clone()], vec![club()], ""),
            (vec![club(), gone], vec![shop(1, TWO), club()], ""),
            (vec![shop(1, TWO)], vec![shop(2, more)], ""),
        ] {
            let judged = admit(&old, &new).map(|migration| migration.is_some());
            match told {
                "" => assert!(judged.is_ok(), "{judged:?}"),
                told => assert!(judged.as_ref().is_err_and(|reason| reason.contains(told)), "{told}: {judged:?}"),
            }
        }
    }

    #[test]
    fn a_reader_goes_through_the_steps_that_the_log_went_through() {
        // The last file does not say any more what became of `looking`; the one between did.
        let between =
            shop(2, "stages: { browsing: { enter: a }, buying: { enter: b } }\nrenamed: { stages: { looking: browsing } }");
        let last = shop(3, "stages: { noticing: { enter: c }, browsing: { enter: a }, buying: { enter: b } }");
        assert!(admit(&[shop(1, TWO)], std::slice::from_ref(&last)).is_err());
        let mut customer = Customer::new(Identity::customer("c"));
        for (old, new) in [(shop(1, TWO), between.clone()), (between, last)] {
            step(&[old], &[new]).expect("a step").expect("something to do").migrate(&mut customer);
        }
        assert_eq!(customer, Customer::new(Identity::customer("c")));
    }
}
