//! What a replay came to: the funnel, time in stage, abandonments and their value.

use std::collections::BTreeMap;
use std::sync::Arc;

use comfy_table::Table;
use compact_str::CompactString;
use serde_json::{Value, json};

use crate::cli::table::table;
use crate::journey::{Outcome, Subject, What};
use crate::model::Model;
use crate::shard::{Counts, Customers};
use crate::terminal::{plain, plain_lines};
use crate::time::{Span, Timestamp};
use crate::touchpoint::{Currency, Money};

/// The figures of all models.
pub(super) struct Summary {
    models: BTreeMap<CompactString, Figures>,
    counts: Counts,
    customers: u64,
    unusable: u64,
    until: Option<Timestamp>,
}

#[derive(Default)]
struct Figures {
    /// By stage: customers that ever reached it, and journeys that stand there now.
    reached: Vec<u64>,
    standing: Vec<u64>,
    /// By stage left: how long journeys stood there.
    stays: BTreeMap<CompactString, Vec<Span>>,
    /// By subject: what happened to it.
    subjects: BTreeMap<(&'static str, CompactString), Happened>,
    outcomes: i64,
}

#[derive(Default)]
struct Happened {
    completed: i64,
    abandoned: i64,
    resumed: i64,
    recovered: i64,
    friction: i64,
    /// Value at stake when abandoned, and recovered, by currency, in millionths.
    at_stake: BTreeMap<Currency, i128>,
    won_back: BTreeMap<Currency, i128>,
}

impl Summary {
    pub(super) fn new(models: &[Arc<Model>]) -> Self {
        let figures = |model: &Arc<Model>| {
            let none = vec![0; model.stages.len()];
            (model.name.clone(), Figures { reached: none.clone(), standing: none, ..Figures::default() })
        };
        Summary {
            models: models.iter().map(figures).collect(),
            counts: Counts::default(),
            customers: 0,
            unusable: 0,
            until: None,
        }
    }

    pub(super) fn count(&mut self, outcome: &Outcome) {
        // What is told again has been counted, and what is retracted is counted no more.
        let by = match outcome.what {
            What::Retraction { .. } => -1,
            _ if outcome.again => return,
            _ => 1,
        };
        let figures = self.models.entry(outcome.model.clone()).or_default();
        figures.outcomes += by;
        let what = outcome.what.original();
        if let (What::Transition { from: Some(from), time_in_stage: Some(stay), .. }, 1) = (what, by) {
            figures.stays.entry(from.clone()).or_default().push(*stay);
        }
        let Some(about) = what.about() else { return };
        let subject = match &about.subject {
            Subject::Stage(name) => ("stage", name.clone()),
            Subject::Episode { kind, .. } => ("episode", kind.clone()),
            Subject::Session(_) => ("session", "session".into()),
            Subject::Journey => ("journey", "journey".into()),
        };
        let happened = figures.subjects.entry(subject).or_default();
        match what {
            What::Completion { .. } => happened.completed += by,
            What::Abandonment { .. } => {
                happened.abandoned += by;
                add(&mut happened.at_stake, outcome.value, by);
            }
            What::Resumption { .. } => happened.resumed += by,
            What::Recovery { .. } => {
                happened.recovered += by;
                add(&mut happened.won_back, outcome.value, by);
            }
            What::Friction { .. } => happened.friction += by,
            What::Intervention { .. } | What::Withdrawal { .. } => {}
            What::Transition { .. } | What::Retraction { .. } => {}
        }
    }

    /// Takes in where the journeys stand at the end.
    pub(super) fn finish(
        &mut self,
        models: &[Arc<Model>],
        customers: &Customers,
        counts: Counts,
        unusable: u64,
        until: Option<Timestamp>,
    ) {
        (self.counts, self.unusable, self.until) = (counts, unusable, until);
        customers.each_open(|customer| {
            self.customers += 1;
            for (model, journey) in models.iter().zip(&customer.journeys) {
                let Some(figures) = self.models.get_mut(&model.name) else { continue };
                for (count, at) in figures.reached.iter_mut().zip(&journey.reached) {
                    *count += u64::from(at.is_some());
                }
                if let Some(stage) = journey.stage() {
                    figures.standing[usize::from(stage)] += 1;
                }
            }
        });
        for stays in self.models.values_mut().flat_map(|figures| figures.stays.values_mut()) {
            stays.sort_unstable();
        }
    }

    /// Tables for people.
    pub(super) fn text(&self, models: &[Arc<Model>]) -> String {
        let mut parts = vec![self.head()];
        for model in models {
            let Some(figures) = self.models.get(&model.name) else { continue };
            parts.push(format!("model {} version {}: {} outcomes", model.name, model.version, figures.outcomes));
            parts.push(figures.funnel(model, self.customers).to_string());
            if !figures.subjects.is_empty() {
                parts.push(figures.absences().to_string());
            }
        }
        plain_lines(&parts.join("\n"))
    }

    fn head(&self) -> String {
        let Counts { applied, ignored, duplicates, steps, dead_letters: _, erased: _, expired: _ } = self.counts;
        let mut head = format!("{applied} touchpoints of {} customers", self.customers);
        if let Some(until) = self.until {
            head += &format!(" until {until}");
        }
        for (count, what) in [
            (ignored, "that no model names"),
            (duplicates, "repeats"),
            (steps.out_of_order, "out of order"),
            (steps.late, "too late to be put in order"),
            (steps.refused_episodes, "episodes refused (too many open)"),
            (self.unusable, "lines that cannot be used"),
        ] {
            if count > 0 {
                head += &format!(", {count} {what}");
            }
        }
        head
    }

    /// The same for machines.
    pub(super) fn json(&self, models: &[Arc<Model>]) -> Value {
        let models: Vec<Value> = models.iter().filter_map(|model| Some(self.models.get(&model.name)?.json(model))).collect();
        json!({
            "touchpoints": self.counts.applied,
            "customers": self.customers,
            "ignored": self.counts.ignored,
            "duplicates": self.counts.duplicates,
            "out_of_order": self.counts.steps.out_of_order,
            "late": self.counts.steps.late,
            "refused_episodes": self.counts.steps.refused_episodes,
            "unusable": self.unusable,
            "until": self.until.map(|until| until.to_string()),
            "models": models,
        })
    }
}

impl Figures {
    fn funnel(&self, model: &Model, customers: u64) -> Table {
        let mut table = table(&["stage", "reached", "of all", "standing", "stay p50", "stay p90"]);
        for (index, stage) in model.stages.iter().enumerate() {
            let share = if customers == 0 { 0.0 } else { 100.0 * self.reached[index] as f64 / customers as f64 };
            let stays = self.stays.get(&stage.name).map(Vec::as_slice).unwrap_or_default();
            let stay = |percent| percentile(stays, percent).map_or_else(|| "-".to_owned(), |stay| stay.to_string());
            let optional = if stage.optional { " (optional)" } else { "" };
            table.add_row([
                format!("{}{optional}", plain(&stage.name)),
                self.reached[index].to_string(),
                format!("{share:.1} %"),
                self.standing[index].to_string(),
                stay(50),
                stay(90),
            ]);
        }
        table
    }

    fn absences(&self) -> Table {
        let mut table =
            table(&["about", "completed", "abandoned", "at stake", "resumed", "recovered", "won back", "friction"]);
        for ((sort, name), happened) in &self.subjects {
            table.add_row([
                format!("{sort} {}", plain(name)),
                happened.completed.to_string(),
                happened.abandoned.to_string(),
                sums(&happened.at_stake),
                happened.resumed.to_string(),
                happened.recovered.to_string(),
                sums(&happened.won_back),
                happened.friction.to_string(),
            ]);
        }
        table
    }

    fn json(&self, model: &Model) -> Value {
        let stages: Vec<Value> = model
            .stages
            .iter()
            .enumerate()
            .map(|(index, stage)| {
                let stays = self.stays.get(&stage.name).map(Vec::as_slice).unwrap_or_default();
                json!({
                    "stage": stage.name.as_str(),
                    "optional": stage.optional,
                    "reached": self.reached[index],
                    "standing": self.standing[index],
                    "stay_p50_ms": percentile(stays, 50).map(Span::as_millis),
                    "stay_p90_ms": percentile(stays, 90).map(Span::as_millis),
                })
            })
            .collect();
        let subjects: Vec<Value> = self
            .subjects
            .iter()
            .map(|((sort, name), happened)| {
                json!({
                    *sort: name.as_str(),
                    "completed": happened.completed,
                    "abandoned": happened.abandoned,
                    "resumed": happened.resumed,
                    "recovered": happened.recovered,
                    "friction": happened.friction,
                    "at_stake": amounts(&happened.at_stake),
                    "won_back": amounts(&happened.won_back),
                })
            })
            .collect();
        json!({
            "model": model.name.as_str(),
            "version": model.version,
            "outcomes": self.outcomes,
            "stages": stages,
            "subjects": subjects,
        })
    }
}

/// Nearest rank, of sorted spans.
fn percentile(sorted: &[Span], percent: usize) -> Option<Span> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn add(sums: &mut BTreeMap<Currency, i128>, value: Option<Money>, by: i64) {
    if let Some(value) = value {
        *sums.entry(value.currency).or_default() += i128::from(value.micros) * i128::from(by);
    }
}

fn sums(sums: &BTreeMap<Currency, i128>) -> String {
    let sums: Vec<String> =
        sums.iter().map(|(currency, micros)| format!("{:.2} {}", *micros as f64 / 1e6, currency.as_str())).collect();
    if sums.is_empty() { "-".to_owned() } else { sums.join(", ") }
}

fn amounts(sums: &BTreeMap<Currency, i128>) -> Value {
    sums.iter().map(|(currency, micros)| (currency.as_str().to_owned(), json!(*micros as f64 / 1e6))).collect()
}
