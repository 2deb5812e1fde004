//! Episodes: what they are known by, what opens and completes them, and when silence counts as abandonment.

use std::collections::HashMap;

use super::conditions::Conditions;
use super::groups::{Groups, Mention, Types, includes};
use super::segments::Segments;
use super::{MAX_CHAIN, at_most, check_name, check_recovery};
use crate::diagnostic::{Diagnostic, Faults, Place, quoted};
use crate::expression::Expression;
use crate::model::Wait;
use crate::model::written::{Episode, Name, Progress};
use crate::touchpoint;

/// Names that stand for a part of the touchpoint itself, with what people write for them.
const ENVELOPE: [(&str, &str); 6] = [
    ("session_id", "session"),
    ("sessionid", "session"),
    ("customer_id", "customer"),
    ("customerid", "customer"),
    ("user_id", "customer"),
    ("anonymous_id", "customer"),
];

/// An episode kind with its types resolved.
pub(super) struct Checked<'a> {
    pub(super) written: &'a Episode,
    pub(super) chain: Chain<'a>,
    pub(super) opens: Types<'a>,
    /// `None`: any touchpoint is progress.
    pub(super) progresses: Option<Types<'a>>,
    pub(super) completes: Types<'a>,
    pub(super) empties: Types<'a>,
    pub(super) cancels: Types<'a>,
    pub(super) abandoned_after: Option<Wait>,
    pub(super) abandoned_at: Option<Expression>,
}

impl<'a> Checked<'a> {
    /// Every type that the episode names.
    pub(super) fn named(&self) -> Types<'a> {
        let progresses = self.progresses.iter().flatten();
        let lists = self.opens.iter().chain(progresses).chain(&self.completes).chain(&self.empties).chain(&self.cancels);
        lists.cloned().collect()
    }
}

/// The correlation chain (rule 11).
#[derive(Default)]
pub(super) struct Chain<'a> {
    pub(super) ids: Vec<&'a str>,
    pub(super) by_session: bool,
    pub(super) by_customer: bool,
}

/// Resolves and checks the episode kinds, no more of them than a model may have.
pub(super) fn check<'a>(
    episodes: &'a [Episode],
    segments: &Segments<'_>,
    groups: &mut Groups<'a>,
    conditions: &mut Conditions<'_>,
    faults: &mut Faults,
) -> Vec<Checked<'a>> {
    episodes.iter().map(|episode| check_one(episode, segments, groups, conditions, faults)).collect()
}

fn check_one<'a>(
    episode: &'a Episode,
    segments: &Segments<'_>,
    groups: &mut Groups<'a>,
    conditions: &mut Conditions<'_>,
    faults: &mut Faults,
) -> Checked<'a> {
    check_name("episode", &episode.name, faults);
    let checked = Checked {
        written: episode,
        chain: episode.known_by.as_ref().map_or_else(Chain::default, |(_, names)| chain(names, faults)),
        opens: groups.expand(episode.opens.as_deref().unwrap_or_default(), faults),
        progresses: match &episode.progresses {
            Progress::Any => None,
            Progress::Only { types, .. } => Some(groups.expand(types, faults)),
        },
        completes: groups.expand(episode.completes.as_deref().unwrap_or_default(), faults),
        empties: groups.expand(&episode.empties, faults),
        cancels: groups.expand(&episode.cancels, faults),
        abandoned_after: episode.abandoned_after.as_ref().and_then(|wait| conditions.wait(wait, segments, faults)),
        abandoned_at: episode.abandoned_at.as_ref().and_then(|line| conditions.instant(line, faults)),
    };
    check_completion(&checked, faults);
    check_worth(&checked, faults);
    check_strict(&checked, faults);
    let absence = episode.abandoned_after.is_some() || episode.abandoned_at.is_some();
    check_recovery(&episode.recovered, episode.abandoned_after.as_ref(), absence, "abandoned after", faults);
    checked
}

/// Reads the chain: property names, then `session`, then `customer`.
fn chain<'a>(names: &'a [Name], faults: &mut Faults) -> Chain<'a> {
    let names = at_most(MAX_CHAIN, "names in `known by`", names, |name| &name.place, faults);
    let mut chain = Chain::default();
    let mut first: HashMap<&str, &Place> = HashMap::new();
    for name in names {
        let text = name.value.as_str();
        if let Some(place) = first.insert(text, &name.place) {
            let cause = format!("{} is listed twice", quoted(text));
            faults
                .push(Diagnostic::warning("M008", &name.place, cause, "remove one of the two").see(place, "the first one"));
            continue;
        }
        check_order(name, &chain, faults);
        match text {
            "session" => chain.by_session = true,
            "customer" => chain.by_customer = true,
            property => {
                check_property(name, faults);
                chain.ids.push(property);
            }
        }
    }
    chain
}

/// `before` is what stands before the name: nothing may follow `customer`, and only `customer` may follow `session`.
fn check_order(name: &Name, before: &Chain<'_>, faults: &mut Faults) {
    let text = name.value.as_str();
    let late = before.by_customer || (before.by_session && text != "customer");
    if late {
        let fallback = if before.by_customer { "customer" } else { "session" };
        let cause = format!("{} comes after the fallback {}", quoted(text), quoted(fallback));
        faults.error("M041", &name.place, cause, "put property names first, then `session`, then `customer`");
    }
}

fn check_property(name: &Name, faults: &mut Faults) {
    let text = name.value.as_str();
    let lower = text.to_ascii_lowercase();
    if let Some((_, word)) = ENVELOPE.iter().find(|(field, _)| *field == lower) {
        let cause = format!("{} is read as the name of a property", quoted(text));
        faults.warning(
            "M042",
            &name.place,
            cause,
            format!("did you mean {}, which the touchpoint itself carries?", quoted(word)),
        );
    }
    check_property_length(name, faults);
}

fn check_property_length(name: &Name, faults: &mut Faults) {
    if name.value.len() > touchpoint::MAX_NAME_BYTES {
        let cause =
            format!("{} is longer than the {} bytes of a property's name", quoted(&name.value), touchpoint::MAX_NAME_BYTES);
        faults.error("M002", &name.place, cause, "check the spelling; no touchpoint can have this property");
    }
}

fn check_completion(episode: &Checked<'_>, faults: &mut Faults) {
    let name = quoted(&episode.written.name.value);
    let ends = [
        ("opens", &episode.opens),
        ("completes", &episode.completes),
        ("empties", &episode.empties),
        ("cancels", &episode.cancels),
    ];
    for (at, (later, types)) in ends.iter().enumerate() {
        for mention in *types {
            let meets = |other: &Mention<'_>| {
                other.kind == mention.kind
                    && (includes(&other.guard, &mention.guard) || includes(&mention.guard, &other.guard))
            };
            if let Some((earlier, _)) = ends[..at].iter().find(|(_, others)| others.iter().any(meets)) {
                let cause = format!("{} both {earlier} and {later} {name}", quoted(mention.kind));
                faults.error("M043", mention.place, cause, format!("remove it from `{earlier}` or from `{later}`"));
            }
        }
    }
    let sessions_only = episode.chain.ids.is_empty() && episode.chain.by_session;
    let none = episode.written.completes.as_ref().is_some_and(Vec::is_empty);
    if none && !sessions_only && episode.written.known_by.is_some() {
        let help = "add `completes:` with the types that end it well";
        faults.warning("M040", &episode.written.name.place, format!("nothing completes the episode {name}"), help);
    }
}

fn check_worth(episode: &Checked<'_>, faults: &mut Faults) {
    let Some(worth) = &episode.written.worth else { return };
    check_property_length(worth, faults);
    if worth.value == "currency" {
        let help = "name the property with the amount; `currency` is read beside it";
        faults.error("M044", &worth.place, "`currency` is no amount", help);
    } else if episode.chain.ids.contains(&worth.value.as_str()) {
        let cause = format!("{} is an id in `known by`, so it is no amount", quoted(&worth.value));
        faults.error("M044", &worth.place, cause, "name the property with the amount, such as `value`");
    }
}

fn check_strict(episode: &Checked<'_>, faults: &mut Faults) {
    let strict = episode.written.strict.as_ref().filter(|strict| strict.value);
    let (Some(strict), Some(_)) = (strict, &episode.written.known_by) else { return };
    if episode.chain.ids.is_empty() {
        let cause = "`strict` has no effect: this episode is known by no id";
        faults.warning("M045", &strict.place, cause, "add the name of an id to `known by`, or remove this line");
    }
}
