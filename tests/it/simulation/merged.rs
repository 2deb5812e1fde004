//! What must have been published in the end where customers log in: for everybody whose touchpoints came within the grace, what
//! one shard says that gets them in the order in which they happened; and what holds however late they came.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use sillage::journey::Customer;
use sillage::shard::{Action, Body, Buffered, Control, Customers, Input, Position, Progress, Settings, Shard};
use sillage::time::{Span, Timestamp};
use sillage::touchpoint::Touchpoint;
use sillage::wire::{self, Arrival, Format, Limits};

use super::Counts;
use super::laws::Laws;
use super::load;
use super::log::Millis;
use super::logins;
use super::story::Entered;
use super::world::{Broken, Sim, State};
use crate::any_order::unnumbered;

const LAW: &str = "the number of partitions changes nobody's story";

/// A touchpoint as it came first.
struct Came {
    touchpoint: Touchpoint,
    log_time: Millis,
    /// Whom it names.
    people: BTreeSet<usize>,
}

pub(super) fn judge(sim: &Sim, state: &State, entered: &[Entered<'_>], published: &[Value]) -> Result<Counts, Broken> {
    let came = came(entered);
    let (laws, erased) = (&state.laws, &state.load.erased);
    joined(laws, &came, erased)?;
    if sim.weather.skew == 0 {
        gone(laws, &came, erased)?;
    }
    let offers = keep_promises(published, erased, sim.weather.logins.is_some_and(|logins| logins.shared > 0))?;
    let all: BTreeSet<usize> = came.iter().flat_map(|came| came.people.iter().copied()).collect();
    let mut compared = within_the_grace(sim, laws, &came, &all);
    compared.retain(|person| erased.iter().all(|(erased, _)| erased != person));
    let touchpoints = came.iter().filter(|came| came.people.iter().all(|person| compared.contains(person)));
    let (expected, expected_state) = alone(sim, touchpoints.map(|came| &came.touchpoint));
    let is_compared = |id: &str| compared.contains(&logins::person(id));
    let holds: BTreeMap<(String, String), Value> =
        net(published).into_iter().filter(|((id, _), _)| is_compared(id)).collect();
    compare(&net(&expected), &holds).map_err(|how| Broken { law: LAW, how })?;
    let found = laws.states().map(|bytes| wire::state::decode(bytes).expect("what was written"));
    let found = decided(sim, found.filter(|customer| is_compared(&customer.identity.id)).collect());
    if let Some(how) = differs(&expected_state, &found) {
        return Err(Broken { law: LAW, how });
    }
    let lateness = laws.handing.as_ref().map(|handing| all.iter().map(|person| handing.lateness(*person)).max());
    let latest = lateness.flatten().unwrap_or(0);
    Ok(Counts { outcomes: published.len(), offers, people: all.len(), compared: compared.len(), latest })
}

/// What holds however late anything comes: numbers are given once, nothing is said of what was bought but what was before, and
/// nobody is offered more than is allowed, under however many names. How many offers there are.
fn keep_promises(published: &[Value], erased: &[(usize, String)], shares: bool) -> Result<usize, Broken> {
    let mut by_name: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    // Whoever is erased begins anew, if anything is on its way.
    let is_kept = |outcome: &&Value| erased.iter().all(|(person, _)| *person != logins::person(whose(outcome)));
    for outcome in published.iter().filter(is_kept) {
        by_name.entry(whose(outcome)).or_default().push(outcome);
    }
    for (who, outcomes) in &mut by_name {
        outcomes.sort_by_key(|outcome| outcome["sequence"].as_i64());
        let twice = outcomes.windows(2).find(|pair| pair[0]["sequence"] == pair[1]["sequence"]).map(<[_]>::to_vec);
        if let Some(twice) = twice {
            let how = format!("{who}: {}", lines(outcomes, &twice));
            return Err(Broken { law: "every number is given once", how });
        }
    }
    let net = net(published);
    let mut offers = 0;
    for (who, outcomes) in &by_name {
        let of_person = by_name.iter().filter(|(name, _)| logins::person(name) == logins::person(who));
        let all: Vec<&Value> = of_person.flat_map(|(_, outcomes)| outcomes.iter().copied()).collect();
        bought_is_bought(who, (outcomes, &all), &net).map_err(|broken| {
            let others = by_name.iter().filter(|(name, _)| logins::person(name) == logins::person(who));
            let told: Vec<String> = others.map(|(_, outcomes)| lines(outcomes, &[])).collect();
            Broken { how: format!("{}\n{}", broken.how, told.join("\n")), ..broken }
        })?;
        let mut made: Vec<&Value> = Vec::new();
        for outcome in outcomes {
            // What somebody's device is offered who shares it counts for nobody else.
            if outcome["kind"] == "merge" && !shares && outcome["merge"]["touchpoints"].as_i64() > Some(0) {
                let device = outcome["merge"]["anonymous_id"].as_str().and_then(|device| by_name.get(device));
                let theirs = device.into_iter().flatten().filter(|offer| super::offers::is_made(offer));
                let joins: Vec<&Value> = theirs.copied().filter(|offer| !made.contains(offer)).collect();
                made.extend(joins);
            } else if super::offers::is_made(outcome) {
                offers += 1;
                if let Some(cap) = broken_cap(outcome, &made) {
                    let how = format!("{who}: {outcome} breaks {cap}: {}", lines(outcomes, &made));
                    return Err(Broken { law: super::offers::LAW, how });
                }
                made.push(outcome);
            }
        }
    }
    Ok(offers)
}

fn lines(outcomes: &[&Value], made: &[&Value]) -> String {
    let line =
        |outcome: &&Value| format!("{} {} {} {}", whose(outcome), outcome["sequence"], outcome["at"], outcome["says"]);
    let (outcomes, made): (Vec<String>, Vec<String>) =
        (outcomes.iter().map(line).collect(), made.iter().map(line).collect());
    format!("{outcomes:#?}\nmade {made:#?}")
}

/// The cap that an offer breaks after these.
fn broken_cap(offer: &Value, made: &[&Value]) -> Option<&'static str> {
    let now = at(&offer["at"]);
    let within = |millis: Millis| made.iter().filter(move |one| (0..millis).contains(&(now - at(&one["at"]))));
    let of = |field: &'static str| move |one: &&&Value| one["intervention"][field] == offer["intervention"][field];
    match offer["intervention"]["name"].as_str().unwrap_or_default() {
        "help" if within(5_000).any(|one| of("name")(&one)) => Some("the cap of help"),
        "hint" if within(8_000).filter(of("name")).count() >= 2 => Some("the cap of hints"),
        "reminder" if within(4_000).any(|one| of("channel")(&one)) => Some("the cool-down"),
        _ if within(15_000).count() >= 4 => Some("the cap over all"),
        _ => None,
    }
}

/// At last nothing is abandoned that was bought before; in between only what is told with hindsight.
fn bought_is_bought(
    who: &str,
    (outcomes, all): (&[&Value], &[&Value]),
    net: &BTreeMap<(String, String), Value>,
) -> Result<(), Broken> {
    let episode = |outcome: &Value| (outcome["subject"]["episode"].to_string(), outcome["opened_by"].to_string());
    let broken =
        |outcome: &Value| Broken { law: "nothing fires after the purchase", how: format!("{who}: {}", shown(outcome)) };
    let mut closed = BTreeSet::new();
    for outcome in outcomes {
        match outcome["kind"].as_str() {
            Some("retraction") if outcome["retracts"] == "completion" => drop(closed.remove(&episode(outcome))),
            Some("completion") => drop(closed.insert(episode(outcome))),
            Some("abandonment") if closed.contains(&episode(outcome)) && outcome["hindsight"] != true => {
                return Err(broken(outcome));
            }
            _ => {}
        }
    }
    let holds =
        || net.iter().filter(|((name, _), _)| logins::person(name) == logins::person(who)).map(|(_, outcome)| outcome);
    for bought in holds().filter(|outcome| outcome["kind"] == "completion" && whose(outcome) == who) {
        let of_it = |other: &Value, kind: &str| other["kind"] == kind && episode(other) == episode(bought);
        let abandoned = all.iter().filter(|other| of_it(other, "abandonment")).map(|other| at(&other["at"]));
        let resumed = |after: Millis| all.iter().any(|other| of_it(other, "resumption") && at(&other["at"]) > after);
        let last = abandoned.max().unwrap_or(Millis::MIN);
        // What comes too late takes back the last abandonment, under whosever name that was told, and not what went before.
        let is_after = |other: &&Value| {
            let told = at(&other["at"]);
            of_it(other, "abandonment")
                && told > at(&bought["at"])
                && at(&other["opened_at"]) <= at(&bought["at"])
                && told >= last
                && !resumed(told)
                && outcomes.iter().all(|taken| taken["kind"] != "retraction" || taken["outcome_id"] != other["outcome_id"])
        };
        if let Some(after) = holds().find(is_after) {
            return Err(broken(after));
        }
    }
    Ok(())
}

fn at(value: &Value) -> Millis {
    let instant = value.as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
    instant.map_or(i64::MIN, |instant| instant.as_millisecond())
}

/// Whoever was named together is one, unless others were named with the device as well.
fn joined(laws: &Laws, came: &[Came], erased: &[(usize, String)]) -> Result<(), Broken> {
    let mut owners: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for came in came {
        if let Some(device) = &came.touchpoint.linked {
            owners.entry(device.as_str()).or_default().insert(came.touchpoint.identity.id.as_str());
        }
    }
    let found = laws.states().map(|bytes| wire::state::decode(bytes).expect("what was written"));
    let found: BTreeMap<String, Customer> = found.map(|customer| (customer.identity.id.to_string(), customer)).collect();
    for (device, owners) in owners {
        let people: BTreeSet<usize> = owners.iter().copied().chain([device]).map(logins::person).collect();
        if erased.iter().any(|(person, _)| people.contains(person)) {
            continue;
        }
        let known = found.get(device);
        let (into, shared) = (known.and_then(Customer::redirected_to), known.is_some_and(Customer::is_shared));
        let is_right = match owners.len() {
            1 => into.is_some_and(|into| owners.contains(into.id.as_str())) && !shared,
            _ => shared,
        };
        if !is_right {
            let how = format!("{device} was named together with {owners:?}: {known:?}");
            return Err(Broken { law: "whoever logs in is one", how });
        }
    }
    Ok(())
}

/// Of whoever was erased nothing is left: by the customer id all names, by that of a device what it was joined to as well.
fn gone(laws: &Laws, came: &[Came], erased: &[(usize, String)]) -> Result<(), Broken> {
    for (person, by) in erased {
        let shares = came.iter().any(|came| came.people.len() > 1 && came.people.contains(person));
        let links = came.iter().any(|came| came.touchpoint.linked.as_deref() == Some(by.as_str()));
        let left = laws.states().filter_map(|bytes| wire::state::decode(bytes).ok()).find(|customer| {
            let id = customer.identity.id.as_str();
            let joined = |id: &str| came.iter().any(|came| came.touchpoint.linked.as_deref() == Some(id));
            let goes =
                id == by || (links || load::identity(by).customer_id().is_some()) && (id.starts_with('c') || joined(id));
            logins::person(id) == *person && goes && !shares
        });
        if let Some(left) = left {
            let how = format!("{by} was erased: {left:?}");
            return Err(Broken { law: "whoever is erased is gone", how });
        }
    }
    Ok(())
}

/// Every touchpoint once.
fn came(entered: &[Entered<'_>]) -> Vec<Came> {
    let mut first: BTreeMap<String, Came> = BTreeMap::new();
    for record in entered {
        let log_time = Timestamp::from_millis(record.log_time);
        let arrival = Arrival { log_time, topic: "in", partition: 0, offset: record.offset, limits: Limits::default() };
        let Ok(told) = wire::decode(Format::Json, None, record.value, &arrival) else { continue };
        let touchpoint = told.touchpoint;
        let names = [Some(&touchpoint.identity.id), touchpoint.linked.as_ref()];
        let people = names.into_iter().flatten().map(|id| logins::person(id)).collect();
        let (id, came) = (touchpoint.id.to_string(), Came { touchpoint, log_time: record.log_time, people });
        match first.entry(id) {
            std::collections::btree_map::Entry::Occupied(mut known) if known.get().log_time > came.log_time => {
                known.insert(came);
            }
            std::collections::btree_map::Entry::Occupied(_) => {}
            std::collections::btree_map::Entry::Vacant(place) => drop(place.insert(came)),
        }
    }
    let mut came: Vec<Came> = first.into_values().collect();
    came.sort_by_key(|came| came.touchpoint.event_time);
    came
}

/// Those of whom everything came in time, through however many shards it went, and who share no device.
fn within_the_grace(sim: &Sim, laws: &Laws, came: &[Came], all: &BTreeSet<usize>) -> BTreeSet<usize> {
    let mut latest: BTreeMap<usize, Millis> = BTreeMap::new();
    let mut compared = if sim.weather.skew == 0 { all.clone() } else { BTreeSet::new() };
    for came in came {
        if came.people.len() > 1 {
            compared.retain(|person| !came.people.contains(person));
        }
        let delay = came.log_time - came.touchpoint.event_time.as_millis();
        for person in &came.people {
            let latest = latest.entry(*person).or_default();
            *latest = delay.max(*latest);
        }
    }
    let Some(handing) = &laws.handing else { return BTreeSet::new() };
    compared.retain(|person| latest[person] + handing.lateness(*person) <= sim.weather.grace);
    compared
}

/// What one shard says that gets everything in the order of events, and everybody's state.
fn alone<'a>(sim: &Sim, touchpoints: impl Iterator<Item = &'a Touchpoint>) -> (Vec<Value>, Vec<Customer>) {
    let start = Progress { positions: vec![Position { offset: 0, log_time: Timestamp::MIN }], ..Progress::default() };
    let settings =
        Settings { control: Control::AmongTouchpoints, decisions_per_transaction: usize::MAX, ..sim.settings.clone() };
    let mut shard = Shard::new(Arc::clone(&sim.models), settings, Customers::default(), start);
    let (mut actions, mut offset) = (Vec::new(), 0);
    for touchpoint in touchpoints {
        let body = Body::Touchpoint(Box::new(touchpoint.clone()));
        shard.handle(
            Input::Record { input: 0, record: Buffered { offset, log_time: touchpoint.event_time, body } },
            &mut actions,
        );
        offset += 1;
    }
    let at = Timestamp::from_millis(sim.now()) + Span::from_millis(1_000);
    shard.handle(Input::CaughtUp { input: 0, position: offset, at }, &mut actions);
    shard.handle(Input::Prepare, &mut actions);
    shard.handle(Input::Committed, &mut actions);
    let said = actions.into_iter().filter_map(Action::outcome).map(|outcome| {
        let mut bytes = Vec::new();
        wire::encode_outcome(Format::Json, &outcome, &mut bytes);
        serde_json::from_slice(&bytes).expect("an outcome is JSON")
    });
    (said.collect(), settled(shard.customers().all()))
}

/// These once what is due is decided: what says nothing is not committed by itself.
fn decided(sim: &Sim, customers: Customers) -> Vec<Customer> {
    let position = Position { offset: 0, log_time: Timestamp::MIN };
    let start = Progress { positions: vec![position], ..Progress::default() };
    let settings = Settings { control: Control::AmongTouchpoints, ..sim.settings.clone() };
    let mut shard = Shard::new(Arc::clone(&sim.models), settings, customers, start);
    let at = Timestamp::from_millis(sim.now()) + Span::from_millis(1_000);
    shard.handle(Input::CaughtUp { input: 0, position: 0, at }, &mut Vec::new());
    settled(shard.customers().all())
}

fn settled(customers: Vec<Customer>) -> Vec<Customer> {
    let mut customers = unnumbered(customers);
    customers.sort_by(|one, other| one.identity.cmp(&other.identity));
    customers
}

/// Whose an outcome is.
fn whose(outcome: &Value) -> &str {
    outcome["customer_id"].as_str().or(outcome["anonymous_id"].as_str()).unwrap_or_default()
}

/// What holds at last, by whose it is and its id; without what says when it was found out, and without what was offered.
fn net(outcomes: &[Value]) -> BTreeMap<(String, String), Value> {
    let mut last: BTreeMap<(String, String), &Value> = BTreeMap::new();
    for outcome in outcomes {
        let id = outcome["outcome_id"].as_str().unwrap_or_default().to_owned();
        let known = last.entry((whose(outcome).to_owned(), id)).or_insert(outcome);
        if outcome["sequence"].as_i64() > known["sequence"].as_i64() {
            *known = outcome;
        }
    }
    let holds = last.into_iter().filter(|(_, outcome)| outcome["kind"] != "retraction" && !super::offers::is_offer(outcome));
    let plain = |outcome: &Value| {
        let mut plain = outcome.clone();
        ["sequence", "hindsight", "says"].iter().for_each(|field| plain[*field] = Value::Null);
        plain
    };
    holds.map(|(key, outcome)| (key, plain(outcome))).collect()
}

fn compare(expected: &BTreeMap<(String, String), Value>, holds: &BTreeMap<(String, String), Value>) -> Result<(), String> {
    if expected == holds {
        return Ok(());
    }
    let differs = |one: &BTreeMap<(String, String), Value>, other: &BTreeMap<(String, String), Value>| -> Vec<String> {
        let differs = one.iter().filter(|(key, outcome)| other.get(*key) != Some(outcome));
        differs.map(|((who, id), outcome)| format!("{who} {id}: {}", shown(outcome))).collect()
    };
    Err(format!("missing {:#?}\nnot expected {:#?}", differs(expected, holds), differs(holds, expected)))
}

/// Without what says nothing.
fn shown(outcome: &Value) -> String {
    let fields = outcome.as_object().into_iter().flatten();
    let told: serde_json::Map<String, Value> =
        fields.filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), value.clone())).collect();
    Value::Object(told).to_string()
}

fn differs(expected: &[Customer], found: &[Customer]) -> Option<String> {
    let by_id = |customers: &[Customer]| -> BTreeMap<String, Customer> {
        customers.iter().map(|customer| (customer.identity.id.to_string(), customer.clone())).collect()
    };
    let (expected, found) = (by_id(expected), by_id(found));
    let ids: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    let differs = ids.into_iter().find(|id| expected.get(*id) != found.get(*id))?;
    let kind = load::identity(differs).kind;
    Some(format!("{kind:?} {differs}\nexpected {:#?}\nfound    {:#?}", expected.get(differs), found.get(differs)))
}
