//! What a replay came to: the funnel, time in stage, abandonments and their value.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use comfy_table::Table;
use compact_str::CompactString;
use serde_json::{Value, json};
use uuid::Uuid;

use super::files::Heard;
use super::offers::Offers;
use crate::cli::table::table;
use crate::diagnostic::nearest;
use crate::journey::{About, Outcome, Refusals, Subject, Sums, What};
use crate::model::Model;
use crate::shard::{Counts, Customers};
use crate::terminal::{plain, plain_lines};
use crate::time::{Span, Timestamp};
use crate::touchpoint::{Currency, Money};
use crate::wire::Loss;

/// So many types are named in one line.
const SHOWN_TYPES: usize = 12;

/// The figures of all models.
pub(super) struct Summary {
    models: BTreeMap<CompactString, Figures>,
    counts: Counts,
    customers: u64,
    unusable: u64,
    heard: Heard,
    until: Option<Timestamp>,
    /// What was measured of interventions.
    measured: Value,
}

#[derive(Default)]
struct Figures {
    /// By stage: customers that ever reached it, and journeys that stand there now.
    reached: Vec<u64>,
    standing: Vec<u64>,
    /// By the outcome that tells it: which stage was left, and how long the journey stood there.
    stayed: HashMap<Uuid, (CompactString, Span), foldhash::fast::FixedState>,
    /// By stage left: how long journeys stood there, in order.
    stays: BTreeMap<CompactString, Vec<Span>>,
    /// Outcomes that are retracted now.
    retracted: HashSet<Uuid, foldhash::fast::FixedState>,
    /// By subject: what happened to it.
    subjects: BTreeMap<(&'static str, CompactString), Happened>,
    outcomes: i64,
    offers: Offers,
}

#[derive(Default)]
struct Happened {
    completed: i64,
    abandoned: i64,
    resumed: i64,
    recovered: i64,
    friction: i64,
    /// Value at stake when abandoned, and recovered.
    at_stake: Worth,
    won_back: Worth,
}

/// What things are worth together, each counted once with what it was worth last: what is abandoned twice is lost once.
#[derive(Default)]
struct Worth {
    /// By currency, in millionths.
    sums: BTreeMap<Currency, i128>,
    /// By a hash of what it is.
    of: HashMap<u128, Option<Money>, foldhash::fast::FixedState>,
}

impl Worth {
    fn add(&mut self, what: u128, value: Option<Money>) {
        let known = self.of.entry(what).or_default();
        let Some(value) = value else { return };
        if let Some(before) = known.replace(value) {
            *self.sums.entry(before.currency).or_default() -= i128::from(before.micros);
        }
        *self.sums.entry(value.currency).or_default() += i128::from(value.micros);
    }

    /// What is retracted is worth nothing, unless it is told again.
    fn take_back(&mut self, what: u128) {
        if let Some(value) = self.of.remove(&what).flatten() {
            *self.sums.entry(value.currency).or_default() -= i128::from(value.micros);
        }
    }

    fn change(&mut self, by: i64, what: u128, value: Option<Money>) {
        if by < 0 { self.take_back(what) } else { self.add(what, value) }
    }

    /// How many things there are.
    fn count(&self) -> u64 {
        self.of.len() as u64
    }
}

/// What an outcome is about, whatever happens to it: the same basket, the same stay in a stage. Not whose it is: an anonymous
/// id's basket is a customer's once they are one.
fn identity(about: &About) -> u128 {
    let mut buffer = Uuid::encode_buffer();
    let mut bytes = about.opened_by.text(&mut buffer).as_bytes().to_vec();
    bytes.push(0);
    bytes.extend_from_slice(&about.opened_at.as_millis().to_le_bytes());
    xxhash_rust::xxh3::xxh3_128(&bytes)
}

impl Summary {
    pub(super) fn new(models: &[Arc<Model>]) -> Self {
        let figures = |model: &Arc<Model>| {
            let none = vec![0; model.stages.len()];
            let offers = Offers::of(model);
            (model.name.clone(), Figures { reached: none.clone(), standing: none, offers, ..Figures::default() })
        };
        Summary {
            models: models.iter().map(figures).collect(),
            counts: Counts::default(),
            customers: 0,
            unusable: 0,
            heard: Heard::default(),
            until: None,
            measured: Value::Null,
        }
    }

    pub(super) fn count(&mut self, outcome: &Outcome) {
        let figures = self.models.entry(outcome.model.clone()).or_default();
        // What is retracted is counted no more, unless it stands again; what is only told again has been counted.
        let by = match outcome.what {
            What::Retraction { .. } if figures.retracted.insert(outcome.id) => -1,
            What::Retraction { .. } => return,
            _ if figures.retracted.remove(&outcome.id) => 1,
            _ if outcome.again => 0,
            _ => 1,
        };
        figures.outcomes += by;
        if by != 0 {
            figures.offers.count(outcome);
        }
        if outcome.what.offer().is_some() {
            return;
        }
        let what = outcome.what.original();
        if let What::Transition { from: Some(from), time_in_stage: Some(stay), .. } = what {
            match by {
                -1 => drop(figures.stayed.remove(&outcome.id)),
                _ => drop(figures.stayed.insert(outcome.id, (from.clone(), *stay))),
            }
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
                happened.at_stake.change(by, identity(about), outcome.value);
            }
            What::Resumption { .. } => happened.resumed += by,
            What::Recovery { .. } => {
                happened.recovered += by;
                happened.won_back.change(by, identity(about), outcome.value);
            }
            What::Friction { .. } => happened.friction += by,
            What::Intervention { .. } | What::Withdrawal { .. } => {}
            What::Transition { .. } | What::Measurement { .. } | What::Merge { .. } | What::Retraction { .. } => {}
        }
    }

    /// Takes in what was asked for and not offered.
    pub(super) fn refuse(&mut self, refusals: &Refusals) {
        for (model, figures) in &mut self.models {
            figures.offers.refuse(model, refusals);
        }
    }

    /// Takes in what was measured of interventions.
    pub(super) fn measured(&mut self, models: &[Arc<Model>], sums: &Sums) {
        if !sums.is_empty() {
            self.measured = crate::wire::interventions_json(&crate::uplift::figures(sums, models), &[], &[]);
        }
    }

    /// Takes in where the journeys stand at the end.
    pub(super) fn finish(
        &mut self,
        models: &[Arc<Model>],
        customers: &Customers,
        counts: Counts,
        (unusable, heard): (u64, Heard),
        until: Option<Timestamp>,
    ) {
        (self.counts, self.unusable, self.heard, self.until) = (counts, unusable, heard, until);
        customers.each_open(|customer| {
            // What is left of an anonymous id that joined a customer is nobody.
            self.customers += u64::from(customer.redirected_to().is_none());
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
        for figures in self.models.values_mut() {
            for (_, (stage, stay)) in figures.stayed.drain() {
                figures.stays.entry(stage).or_default().push(stay);
            }
            figures.stays.values_mut().for_each(|stays| stays.sort_unstable());
        }
    }

    /// Tables for people.
    pub(super) fn text(&self, models: &[Arc<Model>]) -> String {
        let mut parts = vec![self.head()];
        parts.extend(self.losses());
        parts.extend(self.unknown_types(models).map(|unknown| {
            let all = unknown.iter().take(SHOWN_TYPES).map(Unknown::told);
            let more = unknown.len().saturating_sub(SHOWN_TYPES);
            let more = if more > 0 { format!("; and {more} more types") } else { String::new() };
            format!("types that no model names: {}{more}", all.collect::<Vec<_>>().join(", "))
        }));
        for model in models {
            let Some(figures) = self.models.get(&model.name) else { continue };
            parts.push(format!("model {} version {}: {} outcomes", model.name, model.version, figures.outcomes));
            parts.push(figures.funnel(model, self.customers).to_string());
            if !figures.subjects.is_empty() {
                parts.push(figures.absences().to_string());
            }
            if !figures.offers.is_empty() {
                parts.push(figures.offers.table().to_string());
            }
            let absent = self.absent_types(model);
            if !absent.is_empty() {
                let names: Vec<String> = absent.iter().take(SHOWN_TYPES).map(|name| plain(name).into_owned()).collect();
                let more = absent.len().saturating_sub(SHOWN_TYPES);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                parts.push(format!("types that {} names and that never came: {}{more}", model.name, names.join(", ")));
            }
        }
        if !self.measured.is_null() {
            parts.push(crate::cli::uplift::interventions(&self.measured).trim_end().to_owned());
        }
        plain_lines(&parts.join("\n"))
    }

    fn head(&self) -> String {
        let Counts {
            applied,
            ignored,
            duplicates,
            steps,
            dead_letters: _,
            erased: _,
            expired: _,
            misrouted: _,
            handed_over: _,
            handed_on: _,
            forwarded,
            nobodys,
            unheard: _,
            buried: _,
        } = self.counts;
        let mut head = format!("{applied} touchpoints of {} customers", self.customers);
        if let Some(until) = self.until {
            head += &format!(" until {until}");
        }
        for (count, what) in [
            (ignored, "that no model names"),
            (duplicates, "repeats"),
            (steps.out_of_order, "out of order"),
            (steps.late, "too late to be put in order"),
            (steps.joined, "anonymous journeys joined"),
            (steps.shared, "anonymous ids claimed by several customers"),
            (steps.refused_links, "anonymous ids not joined (too many of one customer)"),
            (forwarded, "forwarded to another customer"),
            (nobodys, "not forwarded (they name nobody)"),
            (steps.noticed.conflicts, "with the id of another of another type"),
            (steps.noticed.episodes, "episodes ended or forgotten early (a customer had too many)"),
            (steps.noticed.ids, "ids forgotten (too many of one customer)"),
            (steps.noticed.openings, "openings left out (their id had been completed before)"),
            (self.unusable, "lines that cannot be used"),
        ] {
            if count > 0 {
                head += &format!(", {count} {what}");
            }
        }
        head
    }

    /// What was lost of touchpoints that were used, and what models could not use.
    fn losses(&self) -> Vec<String> {
        let misfits = self.heard.misfits.values().map(|(count, misfit)| {
            let (property, example) = (plain(&misfit.property), plain(&misfit.example));
            format!("{count} values of {property} are not {}, such as {example}: they count as absent", misfit.expected)
        });
        let lost: Vec<String> = self.lost().map(|(reason, count)| format!("{reason} {count}")).collect();
        let lost = (!lost.is_empty()).then(|| format!("parts of touchpoints that were lost or mended: {}", lost.join(", ")));
        misfits.chain(lost).collect()
    }

    fn lost(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let all = Loss::ALL.into_iter().zip(self.heard.lost).filter(|(_, count)| *count > 0);
        all.map(|(loss, count)| (loss.word(), count))
    }

    /// The types that came and that no model names, the most frequent first.
    fn unknown_types(&self, models: &[Arc<Model>]) -> Option<Vec<Unknown<'_>>> {
        let known: Vec<&str> = models.iter().flat_map(|model| model.types.named()).collect();
        let is_known = |kind: &str| models.iter().any(|model| model.types.names(kind));
        let mut unknown: Vec<Unknown<'_>> = (self.heard.types.iter())
            .filter(|(kind, _)| !is_known(kind))
            .map(|(kind, count)| Unknown { kind, count: *count, meant: None })
            .collect();
        unknown.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.kind.cmp(other.kind)));
        for unknown in unknown.iter_mut().take(SHOWN_TYPES) {
            unknown.meant = nearest(unknown.kind, known.iter().copied()).map(str::to_owned);
        }
        (!unknown.is_empty()).then_some(unknown)
    }

    /// The types that a model names and that never came.
    fn absent_types<'m>(&self, model: &'m Model) -> Vec<&'m str> {
        model.types.named().into_iter().filter(|kind| !self.heard.types.contains_key(*kind)).collect()
    }

    /// The same for machines.
    pub(super) fn json(&self, models: &[Arc<Model>]) -> Value {
        let unknown: Vec<Value> = self.unknown_types(models).iter().flatten().take(SHOWN_TYPES).map(Unknown::json).collect();
        let misfits: Vec<Value> = (self.heard.misfits.values())
            .map(|(count, misfit)| {
                let (property, expected, example) = (misfit.property.as_str(), misfit.expected, misfit.example.as_str());
                json!({"property": property, "count": count, "expected": expected, "example": example})
            })
            .collect();
        let of_models = models.iter().filter_map(|model| {
            let mut told = self.models.get(&model.name)?.json(model);
            told["absent_types"] = json!(self.absent_types(model));
            Some(told)
        });
        let models: Vec<Value> = of_models.collect();
        json!({
            "touchpoints": self.counts.applied,
            "customers": self.customers,
            "ignored": self.counts.ignored,
            "duplicates": self.counts.duplicates,
            "out_of_order": self.counts.steps.out_of_order,
            "late": self.counts.steps.late,
            "joined": self.counts.steps.joined,
            "shared": self.counts.steps.shared,
            "refused_links": self.counts.steps.refused_links,
            "conflicting": self.counts.steps.noticed.conflicts,
            "displaced_episodes": self.counts.steps.noticed.episodes,
            "forgotten_ids": self.counts.steps.noticed.ids,
            "openings_of_completed": self.counts.steps.noticed.openings,
            "unusable": self.unusable,
            "unknown_types": unknown,
            "misfits": misfits,
            "lost": self.lost().map(|(reason, count)| (reason.to_owned(), json!(count))).collect::<serde_json::Map<_, _>>(),
            "until": self.until.map(|until| until.to_string()),
            "models": models,
            "interventions": self.measured["interventions"],
        })
    }
}

/// A type that no model names.
struct Unknown<'a> {
    kind: &'a str,
    count: u64,
    /// One that a model names and that is written much like it.
    meant: Option<String>,
}

impl Unknown<'_> {
    fn told(&self) -> String {
        let meant = self.meant.as_ref().map_or(String::new(), |meant| format!(", did you mean {}?", plain(meant)));
        format!("{} ({}{meant})", plain(self.kind), self.count)
    }

    fn json(&self) -> Value {
        json!({"type": self.kind, "count": self.count, "did_you_mean": self.meant})
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
        let mut table = table(&[
            "about",
            "completed",
            "abandoned",
            "left behind",
            "at stake",
            "resumed",
            "recovered",
            "won back",
            "friction",
        ]);
        for ((sort, name), happened) in &self.subjects {
            table.add_row([
                format!("{sort} {}", plain(name)),
                happened.completed.to_string(),
                match happened.at_stake.count() {
                    once if once.cast_signed() == happened.abandoned => once.to_string(),
                    distinct => format!("{} ({distinct} distinct)", happened.abandoned),
                },
                sums(&happened.at_stake.sums),
                happened.resumed.to_string(),
                happened.recovered.to_string(),
                sums(&happened.won_back.sums),
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
                    "abandoned_distinct": happened.at_stake.count(),
                    "resumed": happened.resumed,
                    "recovered": happened.recovered,
                    "friction": happened.friction,
                    "at_stake": amounts(&happened.at_stake.sums),
                    "won_back": amounts(&happened.won_back.sums),
                })
            })
            .collect();
        json!({
            "model": model.name.as_str(),
            "version": model.version,
            "outcomes": self.outcomes,
            "stages": stages,
            "subjects": subjects,
            "interventions": self.offers.json(),
        })
    }
}

/// Nearest rank, of sorted spans.
fn percentile(sorted: &[Span], percent: usize) -> Option<Span> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn sums(sums: &BTreeMap<Currency, i128>) -> String {
    let sums: Vec<String> =
        sums.iter().map(|(currency, micros)| format!("{:.2} {}", *micros as f64 / 1e6, currency.as_str())).collect();
    if sums.is_empty() { "-".to_owned() } else { sums.join(", ") }
}

fn amounts(sums: &BTreeMap<Currency, i128>) -> Value {
    sums.iter().map(|(currency, micros)| (currency.as_str().to_owned(), json!(*micros as f64 / 1e6))).collect()
}
