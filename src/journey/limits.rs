//! Every limit that a model, a touchpoint or what is kept of customers meets: one table, which `docs/limits.md` is written from.

use super::{
    closed, deferred, episodes, exposures, friction, graves, offering, packed, recent, redirect, signs, sums, tallies,
    watch, window,
};
use crate::model::{MAX_ADDED, MAX_CONSENTS, check};
use crate::{expression, touchpoint};

/// One limit.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// What is limited.
    pub what: &'static str,
    /// How much of it there may be.
    pub most: usize,
    /// Of what, where that is not the things themselves.
    pub unit: &'static str,
    /// What happens beyond it.
    pub beyond: &'static str,
    /// What counts it.
    pub metric: Option<&'static str>,
    /// How it can be raised.
    pub raise: Option<&'static str>,
}

const fn limit(what: &'static str, most: usize, beyond: &'static str) -> Limit {
    Limit { what, most, unit: "", beyond, metric: None, raise: None }
}

impl Limit {
    const fn of(self, unit: &'static str) -> Self {
        Limit { unit, ..self }
    }

    const fn counted(self, metric: &'static str) -> Self {
        Limit { metric: Some(metric), ..self }
    }

    const fn raised(self, how: &'static str) -> Self {
        Limit { raise: Some(how), ..self }
    }
}

/// Of a model: beyond these it is refused, with a diagnostic.
const REFUSED: &str = "The model is refused (M004).";

/// What a model may have.
pub const OF_MODELS: &[Limit] = &[
    limit("stages", check::MAX_STAGES, REFUSED),
    limit("ways into a stage", check::MAX_WAYS, REFUSED),
    limit("kinds of episodes", check::MAX_EPISODES, REFUSED),
    limit("names in `known by`", check::MAX_CHAIN, REFUSED),
    limit("friction rules", check::MAX_FRICTION, REFUSED),
    limit("interventions", check::MAX_INTERVENTIONS, REFUSED),
    limit("tallies", check::MAX_TALLIES, REFUSED),
    limit("sums of one kind of episodes", check::MAX_SUMS, REFUSED),
    limit("types under `joins` of one kind", check::MAX_JOINS, REFUSED),
    limit("segments", check::MAX_SEGMENTS, REFUSED),
    limit("properties", check::MAX_PROPERTIES, REFUSED),
    limit("types under `forwards`", check::MAX_FORWARDS, REFUSED),
    limit("consents, in a file of contacts", MAX_CONSENTS, "The file is refused (M004)."),
    limit("groups", check::MAX_GROUPS, REFUSED),
    limit("groups with conditions that one type belongs to", check::MAX_CONDITIONS, "The model is refused (M080)."),
    limit("types", check::MAX_TYPES, REFUSED),
    limit("shared files", check::MAX_IMPORTS, REFUSED),
    limit("names under `renamed`, and under `removed`", check::MAX_CHANGES, REFUSED),
    limit("a name", check::MAX_NAME_BYTES, "The model is refused (M002).").of("bytes"),
    limit("a condition", expression::MAX_BYTES, "The model is refused (M105).").of("bytes"),
];

/// What is kept of one customer.
pub const OF_CUSTOMERS: &[Limit] = &[
    limit(
        "episodes of one kind, open or abandoned and remembered",
        episodes::MAX_EPISODES,
        "The one abandoned longest ago is forgotten. Where all are open, the one untouched longest is abandoned and forgotten, and the outcome says why: bought later, it is neither completed nor recovered.",
    )
    .counted("sillage_episodes_displaced_total"),
    limit(
        "touchpoints within the grace that can be told in any order",
        2 * window::MAX_TOUCHPOINTS,
        "The first half becomes too old: what happened before its end is applied as it comes.",
    )
    .counted("sillage_touchpoints_late_total"),
    limit("the same", 2 * window::MAX_BYTES, "Likewise.").of("bytes of what models read of them").counted("sillage_touchpoints_late_total"),
    limit("ids of one episode", closed::MAX_ALIASES, "A further id is not taken.").counted("sillage_ids_forgotten_total"),
    limit(
        "ids remembered of episodes that are over, by kind",
        closed::MAX_CLOSED_BYTES,
        "The oldest are forgotten before their time.",
    )
    .of("bytes")
    .counted("sillage_ids_forgotten_total")
    .raised("`remembered for`, shorter, leaves room for more of them."),
    limit(
        "tellings of one absence before the latest (`every`)",
        watch::MAX_TOLD_BEFORE,
        "Those before are not taken back where it turns out that the absence never was.",
    ),
    limit("ids that turned out to name no single episode, by kind", closed::MAX_REUSED, "The oldest is forgotten."),
    limit("touchpoint ids by which repeats are told", recent::MAX_SEEN, "The oldest is forgotten: a repeat of it counts."),
    limit("anonymous ids that join one customer within 30 days", redirect::MAX_LINKS, "Further ones are not joined.")
        .counted("sillage_identities_refused_total"),
    limit("claims on anonymous ids of other partitions that wait for an answer", window::MAX_CLAIMS, "Further ones are not joined.")
        .counted("sillage_identities_refused_total"),
    limit("currencies in one sum", tallies::MAX_CURRENCIES, "Amounts in further ones are left out of the sum."),
    limit(
        "things that one tally or sum counts once",
        tallies::MAX_ONCE,
        "The one reported longest ago is forgotten, and stays counted: reported again, it counts again.",
    ),
    limit(
        "sessions that `visits` tells apart at once",
        tallies::MAX_SESSIONS,
        "The one seen longest ago is forgotten: coming back to it is another visit.",
    ),
    limit(
        "sessions whose evidence of friction is kept at once",
        friction::MAX_SESSIONS,
        "The evidence of the one touched longest ago is forgotten.",
    ),
    limit(
        "questions of one rule that wait for an answer in one place",
        signs::MAX_QUESTIONS,
        "Further ones are not waited for.",
    ),
    limit("touchpoints listed as evidence of a score", signs::MAX_EVIDENCE, "The latest are listed."),
    limit("outcomes of rules that one score remembers", MAX_ADDED, "The oldest counts no more."),
    limit("offers that stand at once", offering::MAX_STANDING, "Nothing more is offered until one of them is over. Those of an anonymous id that joins come on top.")
        .counted("sillage_interventions_refused_total"),
    limit("interventions that wait for the end of quiet hours", deferred::MAX_DEFERRED, "Further ones are not made; where an anonymous id joins, they are dropped.")
        .counted("sillage_interventions_refused_total"),
    limit(
        "interventions, by version, of which the first decision is kept",
        exposures::MAX_EXPOSURES,
        "The one decided longest ago of those that were measured is forgotten; where none was, a further one is not measured.",
    ),
    limit("goals reached that are kept of one decision", exposures::MAX_GOALS, "Further ones add nothing to its value."),
];

/// What is kept in one partition beside its customers.
pub const OF_PARTITIONS: &[Limit] = &[
    limit(
        "types, channels, currencies and other words that are kept once",
        packed::MAX_WORDS,
        "Further ones stand wherever they are used, and take more memory. So does one of more than 64 bytes.",
    ),
    limit(
        "arms of interventions that are summed up, by version and variant",
        sums::MAX_ARMS,
        "The sums of the arm measured longest ago are forgotten.",
    ),
    limit("currencies of one arm", sums::MAX_CURRENCIES, "Amounts in the last ones by name are left out."),
    limit(
        "erasures of the last 7 days, as hashes",
        graves::MAX_GRAVES,
        "The oldest is forgotten: what another partition still hands over of that customer is applied.",
    ),
];

/// What a touchpoint may have.
pub const OF_TOUCHPOINTS: &[Limit] = &[
    limit("its id, whose it is, its type", touchpoint::MAX_NAME_BYTES, "The record is a dead letter.")
        .of("bytes")
        .counted("sillage_dead_letters_total"),
    limit("a channel, a session, a property's name", touchpoint::MAX_NAME_BYTES, "That part is left out.")
        .of("bytes")
        .counted("sillage_touchpoint_parts_lost_total"),
    limit("a property's text", touchpoint::MAX_TEXT_BYTES, "It is cut there.")
        .of("bytes")
        .counted("sillage_touchpoint_parts_lost_total"),
    limit("an amount of money", touchpoint::MAX_AMOUNT as usize, "It is absent, as what is no amount is.")
        .of("units of its currency, less a millionth")
        .counted("sillage_property_misfits_total"),
];

/// The page as it stands in the documentation.
pub fn page() -> String {
    let mut page = "\
# Limits

Everything has a limit, so that nothing that is sent can fill a machine. This page is written from the code; a test holds it.
Sizes of records, and how many touchpoints of a customer are kept, are [configuration](configuration.md).
"
    .to_owned();
    for (title, limits) in [
        ("Of a model", OF_MODELS),
        ("Of a customer", OF_CUSTOMERS),
        ("Of a touchpoint", OF_TOUCHPOINTS),
        ("Of one partition, beside its customers", OF_PARTITIONS),
    ] {
        page += &format!("\n## {title}\n\n| what | at most | what happens beyond it | counted by | can be raised |\n");
        page += "| --- | --- | --- | --- | --- |\n";
        for Limit { what, most, unit, beyond, metric, raise } in limits {
            let metric = metric.map_or("-".to_owned(), |metric| format!("`{metric}`"));
            let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
            let raise = raise.unwrap_or("no");
            page += &format!("| {what} | {most}{unit} | {beyond} | {metric} | {raise} |\n");
        }
    }
    page
}
