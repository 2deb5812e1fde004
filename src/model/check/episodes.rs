//! Episodes: what they are known by, what opens and completes them, and when silence counts as abandonment.

use std::collections::HashMap;

use super::conditions::{Conditions, TallyFact};
use super::groups::{Groups, Mention, Types, includes};
use super::segments::Segments;
use super::{MAX_CHAIN, MAX_JOINS, at_most, check_again, check_name, check_recovery, tallies};
use crate::diagnostic::{Diagnostic, Faults, Place, quoted};
use crate::expression::Expression;
use crate::model::written::{Episode, List, Name, Progress};
use crate::model::{Join, Wait};
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

/// What names a customer and no episode, in letters and digits alone.
const OF_CUSTOMERS: [&str; 16] = [
    "email",
    "emailaddress",
    "emailhash",
    "hashedemail",
    "customeremail",
    "customerhash",
    "useremail",
    "userhash",
    "phone",
    "phonenumber",
    "visitorid",
    "clientid",
    "deviceid",
    "cookieid",
    "profileid",
    "contactid",
];

/// An episode kind with its types resolved.
pub(super) struct Checked<'a> {
    pub(super) written: &'a Episode,
    pub(super) chain: Chain<'a>,
    pub(super) opens: Types<'a>,
    /// `None`: any touchpoint is progress.
    pub(super) progresses: Option<Types<'a>>,
    pub(super) completes: Types<'a>,
    pub(super) completes_when: Option<Expression>,
    /// By way of joining, the types that do.
    pub(super) joins: Vec<(Join, Types<'a>)>,
    pub(super) sums: Vec<tallies::Checked<'a>>,
    pub(super) empties: Types<'a>,
    pub(super) cancels: Types<'a>,
    pub(super) abandoned_after: Option<Wait>,
    pub(super) abandoned_at: Option<Expression>,
}

impl<'a> Checked<'a> {
    /// Every type that the episode names.
    pub(super) fn named(&self) -> Types<'a> {
        let progresses = self.progresses.iter().flatten();
        let joins = self.joins.iter().flat_map(|(_, types)| types);
        let sums = self.sums.iter().filter_map(|sum| sum.of.as_ref()).flatten();
        let lists = self.opens.iter().chain(progresses).chain(&self.completes).chain(&self.empties).chain(&self.cancels);
        lists.chain(joins).chain(sums).cloned().collect()
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
    (episodes, sums): (&'a [Episode], &[Vec<TallyFact<'_>>]),
    segments: &Segments<'_>,
    groups: &mut Groups<'a>,
    conditions: &mut Conditions<'_>,
    faults: &mut Faults,
) -> Vec<Checked<'a>> {
    let all = episodes.iter().zip(sums);
    all.map(|(episode, sums)| check_one(episode, sums, segments, groups, conditions, faults)).collect()
}

fn check_one<'a>(
    episode: &'a Episode,
    sums: &[TallyFact<'_>],
    segments: &Segments<'_>,
    groups: &mut Groups<'a>,
    conditions: &mut Conditions<'_>,
    faults: &mut Faults,
) -> Checked<'a> {
    check_name("episode", &episode.name, faults);
    let chain = episode.known_by.as_ref().map_or_else(Chain::default, |(_, names)| chain(names, faults));
    let checked = Checked {
        written: episode,
        joins: joins(episode, &chain, groups, faults),
        chain,
        opens: groups.expand_or_any(episode.opens.as_deref().unwrap_or_default(), faults),
        progresses: match &episode.progresses {
            Progress::Any => None,
            Progress::Only { types, .. } => Some(groups.expand(types, faults)),
        },
        completes: groups.expand(episode.completes.as_deref().unwrap_or_default(), faults),
        completes_when: episode.completes_when.as_ref().and_then(|line| conditions.flag(line, faults)),
        sums: tallies::resolve(&episode.sums, sums, groups, faults),
        empties: groups.expand(&episode.empties, faults),
        cancels: groups.expand(&episode.cancels, faults),
        abandoned_after: episode.abandoned_after.as_ref().and_then(|wait| conditions.wait(wait, segments, faults)),
        abandoned_at: episode.abandoned_at.as_ref().and_then(|line| conditions.instant(line, faults)),
    };
    check_completion(&checked, faults);
    check_worth(&checked, faults);
    check_strict(&checked, faults);
    let absence = episode.abandoned_after.is_some() || episode.abandoned_at.is_some();
    check_again(episode.again.as_ref(), absence, "abandoned after", faults);
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
    let letters: String = lower.chars().filter(char::is_ascii_alphanumeric).collect();
    if OF_CUSTOMERS.contains(&letters.as_str()) {
        let cause = format!("{} looks like something that all episodes of a customer share", quoted(text));
        let help = "an id that was completed opens nothing while it is remembered; take it out, and end the chain with \
                    `customer`";
        faults.warning("M085", &name.place, cause, help);
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
    let joins: Types<'_> = episode.joins.iter().flat_map(|(_, types)| types).cloned().collect();
    let ends = [
        ("opens", &episode.opens),
        ("joins", &joins),
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
            // What opens one can join it to another, or complete it at once: solved at first contact.
            let fits = |earlier: &str| earlier == "opens" && matches!(*later, "joins" | "completes");
            let mut before = ends[..at].iter().filter(|(earlier, _)| !fits(earlier));
            if let Some((earlier, _)) = before.find(|(_, others)| others.iter().any(meets)) {
                let cause = format!("{} both {earlier} and {later} {name}", quoted(mention.kind));
                faults.error("M043", mention.place, cause, format!("remove it from `{earlier}` or from `{later}`"));
            }
        }
    }
    let sessions_only = episode.chain.ids.is_empty() && episode.chain.by_session;
    let none = episode.written.completes.as_ref().is_some_and(Vec::is_empty) && episode.written.completes_when.is_none();
    if none && !sessions_only && episode.written.known_by.is_some() {
        let help = "add `completes:` with the types that end it well";
        faults.warning("M040", &episode.written.name.place, format!("nothing completes the episode {name}"), help);
    }
}

/// Resolves the types that join one to another, each with the two properties.
fn joins<'a>(
    episode: &'a Episode,
    chain: &Chain<'_>,
    groups: &mut Groups<'a>,
    faults: &mut Faults,
) -> Vec<(Join, Types<'a>)> {
    let joins = at_most(MAX_JOINS, "types under `joins`", &episode.joins, |join| &join.name.place, faults);
    let mut resolved = Vec::new();
    for List { name, members } in joins {
        let types = groups.expand(std::slice::from_ref(name), faults);
        match members.as_slice() {
            [from, into] if from.value != into.value && !chain.ids.is_empty() => {
                // A property that is not in the chain carries ids by the first name of it.
                let place = |property: &Name| {
                    let place = chain.ids.iter().position(|id| *id == property.value).unwrap_or_default();
                    (property.value.as_str().into(), place as u8)
                };
                check_property_length(from, faults);
                check_property_length(into, faults);
                resolved.push((Join { from: place(from), into: place(into) }, types));
            }
            [_, _] if chain.ids.is_empty() && episode.known_by.is_some() => {
                let cause = format!("{} is known by no id, so none can join another", quoted(&episode.name.value));
                faults.error("M049", &name.place, cause, "add the name of an id to `known by`, or remove this line");
            }
            [] => {}
            members => {
                let place = members.get(1).map_or(&name.place, |member| &member.place);
                let cause = format!("{} does not name the two that become one", quoted(&name.value));
                let help = "name two properties: the id of the one that goes, then of the one that it goes into, \
                            such as `[guest_cart_id, cart_id]`";
                faults.error("M049", place, cause, help);
            }
        }
    }
    resolved
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
