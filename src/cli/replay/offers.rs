//! What would have been offered over a history: how often, to whom not, and what was refused.

use std::collections::BTreeMap;

use comfy_table::Table;
use compact_str::CompactString;
use serde_json::{Value, json};

use crate::cli::table::table;
use crate::journey::{Outcome, Refusals, What};
use crate::model::Model;
use crate::terminal::plain;

/// The interventions of one model, by name.
#[derive(Default)]
pub(super) struct Offers(BTreeMap<CompactString, Offered>);

#[derive(Default)]
struct Offered {
    /// By variant; without variants, by an empty name.
    made: BTreeMap<CompactString, u64>,
    held_out: u64,
    withdrawn: u64,
    /// By reason.
    refused: BTreeMap<&'static str, u64>,
}

impl Offers {
    pub(super) fn of(model: &Model) -> Self {
        Offers(model.interventions.iter().map(|one| (one.name.clone(), Offered::default())).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts an outcome, if it is about something offered.
    pub(super) fn count(&mut self, outcome: &Outcome) {
        match &outcome.what {
            What::Intervention { offer } => {
                let offered = self.0.entry(offer.name.clone()).or_default();
                if offer.arm.is_held_out() {
                    offered.held_out += 1;
                } else {
                    *offered.made.entry(offer.variant.clone().unwrap_or_default()).or_default() += 1;
                }
            }
            What::Withdrawal { offer, .. } => self.0.entry(offer.name.clone()).or_default().withdrawn += 1,
            What::Transition { .. }
            | What::Completion { .. }
            | What::Abandonment { .. }
            | What::Resumption { .. }
            | What::Recovery { .. }
            | What::Friction { .. }
            | What::Measurement { .. }
            | What::Merge { .. }
            | What::Retraction { .. } => {}
        }
    }

    /// Takes in what was asked for and not offered.
    pub(super) fn refuse(&mut self, model: &str, refusals: &Refusals) {
        for (id, reason, times) in refusals.iter() {
            let name = id.strip_prefix(model).and_then(|rest| rest.strip_prefix('/'));
            if let Some(offered) = name.and_then(|name| self.0.get_mut(name)) {
                *offered.refused.entry(reason.as_str()).or_default() += times;
            }
        }
    }

    pub(super) fn table(&self) -> Table {
        let mut table = table(&["intervention", "offered", "held out", "withdrawn", "refused"]);
        for (name, offered) in &self.0 {
            let all: u64 = offered.made.values().sum();
            let variants = listed(offered.made.iter().filter(|(variant, _)| !variant.is_empty()));
            let refused: u64 = offered.refused.values().sum();
            let row = [
                plain(name).into_owned(),
                format!("{all}{variants}"),
                offered.held_out.to_string(),
                offered.withdrawn.to_string(),
                format!("{refused}{}", listed(&offered.refused)),
            ];
            table.add_row(row);
        }
        table
    }

    pub(super) fn json(&self) -> Vec<Value> {
        let one = |(name, offered): (&CompactString, &Offered)| {
            let variants = offered.made.iter().filter(|(variant, _)| !variant.is_empty());
            let variants: BTreeMap<&str, u64> = variants.map(|(variant, count)| (variant.as_str(), *count)).collect();
            json!({
                "intervention": name.as_str(),
                "offered": offered.made.values().sum::<u64>(),
                "variants": variants,
                "held_out": offered.held_out,
                "withdrawn": offered.withdrawn,
                "refused": offered.refused,
            })
        };
        self.0.iter().map(one).collect()
    }
}

/// ` (plain 3, free 2)`; nothing where there is nothing.
fn listed<'a, T: AsRef<str> + 'a>(counts: impl IntoIterator<Item = (&'a T, &'a u64)>) -> String {
    let counts: Vec<String> = counts.into_iter().map(|(name, count)| format!("{} {count}", plain(name.as_ref()))).collect();
    if counts.is_empty() { String::new() } else { format!(" ({})", counts.join(", ")) }
}
