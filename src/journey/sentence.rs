//! Outcomes as sentences: the same words in the demo, the scenarios and the documentation.

use std::fmt;

use super::arm::Arm;
use super::outcome::{About, BY_CUSTOMER, BY_SESSION, Measurement, Movement, Offer, Outcome, Passed, Subject, What};

/// `consideration → decision`, `abandons basket A (499 EUR) after 30m`, …: what Sillage says, without whom and when. Most of
/// it is words and names, which are written as they are: formatting them would take most of the time of an outcome.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_what(&self.what, f)?;
        if self.hindsight { f.write_str(", in hindsight") } else { Ok(()) }
    }
}

impl Outcome {
    fn write_what(&self, what: &What, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match what {
            What::Transition { from, to, movement, .. } => {
                match (from, movement) {
                    (None, _) => write_all(f, &["enters ", to])?,
                    (Some(from), Movement::Regress) => write_all(f, &[from, " → back to ", to])?,
                    (Some(from), _) => write_all(f, &[from, " → ", to])?,
                }
                match (from, movement) {
                    (_, Movement::Skip) => f.write_str(", skipping"),
                    (Some(_), Movement::ReEnter) => write!(f, ", beginning journey {}", self.journey),
                    (Some(_), Movement::Renew) => write!(f, ", renewing as journey {}", self.journey),
                    (Some(_), Movement::End) => write!(f, ", ending journey {}", self.journey),
                    (None, Movement::ReEnter | Movement::Renew | Movement::End)
                    | (_, Movement::Regress | Movement::Advance | Movement::Complete) => Ok(()),
                }
            }
            What::Completion { about } => self.write(f, &["completes"], about),
            What::Abandonment { about, passed } => {
                self.write(f, &["abandons"], about)?;
                match passed {
                    Passed::Silence => write!(f, " after {}", self.at.since(about.last_progress_at)),
                    Passed::Date => f.write_str(" at its date"),
                    Passed::Room => f.write_str(", as too many were open"),
                }
            }
            What::Resumption { about, .. } => self.write(f, &["resumes"], about),
            What::Recovery { about, .. } => self.write(f, &["recovers"], about),
            What::Friction { about, rule, .. } => match about.subject {
                Subject::Journey => write_all(f, &["friction ", rule]),
                Subject::Stage(_) | Subject::Episode { .. } | Subject::Session(_) => {
                    self.write(f, &["friction ", rule, " in"], about)
                }
            },
            What::Intervention { offer } => self.write_offer(f, offer),
            What::Withdrawal { offer, reason } => {
                let verb = if offer.arm.is_held_out() { "would withdraw " } else { "withdraws " };
                write_all(f, &[verb, &offer.name, ": ", reason.as_str()])
            }
            What::Measurement { of } => self.write_measurement(f, of),
            What::Merge { from, moved } => {
                let s = |count: u64| if count == 1 { "" } else { "s" };
                write!(f, "joins {from}: {} touchpoint{}", moved.touchpoints, s(moved.touchpoints))?;
                if moved.episodes > 0 {
                    write!(f, ", {} episode{}", moved.episodes, s(moved.episodes.into()))?;
                }
                match &moved.stage {
                    Some(stage) => write_all(f, &[", in ", stage]),
                    None => Ok(()),
                }
            }
            What::Retraction { of } => {
                f.write_str("retracts: ")?;
                self.write_what(of, f)
            }
        }
    }

    /// `measures rescue-chat (plain): converted, 120 EUR`.
    fn write_measurement(&self, f: &mut fmt::Formatter<'_>, of: &Measurement) -> fmt::Result {
        let arm = match (of.arm, &of.variant) {
            (Arm::Treated, variant) => variant.as_deref(),
            (arm, _) => Some(arm.as_str()),
        };
        write_all(f, &["measures ", &of.intervention])?;
        if let Some(arm) = arm {
            write_all(f, &[" (", arm, ")"])?;
        }
        f.write_str(if of.converted { ": converted" } else { ": not converted" })?;
        match self.value {
            Some(value) => write!(f, ", {value}"),
            None => Ok(()),
        }
    }

    /// `offers rescue-chat (plain) until 10:05`.
    fn write_offer(&self, f: &mut fmt::Formatter<'_>, offer: &Offer) -> fmt::Result {
        let verb = if offer.arm.is_held_out() { "would offer " } else { "offers " };
        write_all(f, &[verb, &offer.name])?;
        if let Some(variant) = &offer.variant {
            write_all(f, &[" (", variant, ")"])?;
        }
        let (at, until) = (self.at.to_string(), offer.expires_at.to_string());
        let day = at.split('T').next();
        match until.split_once('T') {
            // Until a minute, as people say it; of another day with the day.
            Some((other, time)) => {
                let time = time.trim_end_matches('Z');
                let time = time.strip_suffix(".000").unwrap_or(time);
                let time = time.strip_suffix(":00").unwrap_or(time);
                let (date, gap) = if day == Some(other) { ("", "") } else { (other, " ") };
                write_all(f, &[" until ", date, gap, time])
            }
            None => write_all(f, &[" until ", &until]),
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, verb: &[&str], about: &About) -> fmt::Result {
        write_all(f, verb)?;
        match &about.subject {
            Subject::Stage(name) => write_all(f, &[" ", name]),
            Subject::Session(id) => write_all(f, &[" session ", id]),
            Subject::Journey => f.write_str(" the journey"),
            Subject::Episode { kind, number, ids } => {
                // What is known by its session or its customer goes by its number.
                let id = ids.first().filter(|(name, _)| name != BY_SESSION && name != BY_CUSTOMER);
                match id {
                    Some((_, id)) => write_all(f, &[" ", kind, " ", id])?,
                    None => write!(f, " {kind} #{number}")?,
                }
                match self.value {
                    Some(value) => write!(f, " ({value})"),
                    None => Ok(()),
                }
            }
        }
    }
}

fn write_all(f: &mut fmt::Formatter<'_>, parts: &[&str]) -> fmt::Result {
    parts.iter().try_for_each(|part| f.write_str(part))
}
