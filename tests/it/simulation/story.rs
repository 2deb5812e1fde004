//! The model of a run, and what must have been published in the end: worked out by the judge of `tests/it/judge`, customer by
//! customer, from what stands in the inputs. Shares no code with what it judges.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::dice::Dice;
use super::load::{self, Made};
use super::log::Millis;
use super::offers;
use crate::judge::{Condition, Kind, Plan, Rule, Scope, Sign, Stage, Sum, Wait, Way, judge};

/// True time begins here, after 1970.
pub(super) const BEGINNING: Millis = 1_767_225_600_000;

/// RFC 3339.
pub(super) fn instant(millis: Millis) -> String {
    sillage::time::Timestamp::from_millis(millis).to_string()
}

/// Nothing is waited for longer than this.
pub(super) const LONGEST: Millis = 4_500;

/// Stages with dwell, baskets that are abandoned and recovered, friction of two sorts. All spans in milliseconds.
pub(super) fn plan(dice: &mut Dice) -> Plan {
    let wait = |dice: &mut Dice| Wait::Fixed(dice.between(1_200, LONGEST));
    let stage = |name: &str, by: &str, quiet: Option<Wait>| Stage {
        name: name.to_owned(),
        enter: vec![Way::One(by.to_owned())],
        quiet,
        recovered_within: 6_000,
        ..Stage::default()
    };
    let mut deciding = stage("deciding", "opens", dice.happens(600).then(|| wait(dice)));
    deciding.back = dice.happens(500).then(|| ("looking".to_owned(), vec!["empties".to_owned()]));
    let basket = Kind {
        name: "basket".to_owned(),
        by_id: dice.happens(500),
        opens: "opens".to_owned(),
        progresses: dice.happens(500).then(|| vec!["views".to_owned()]),
        completes: "buys".to_owned(),
        empties: dice.happens(500).then(|| "empties".to_owned()),
        after: Some(if dice.happens(300) {
            Wait::BySegment(vec![("keen".to_owned(), dice.between(1_200, LONGEST)), ("everyone".to_owned(), 2_000)])
        } else {
            wait(dice)
        }),
        recovered_within: dice.between(2_000, 9_000),
        ..Kind::default()
    };
    let rule = |name: &str, sign: Sign, cool_down: i64| Rule {
        name: name.to_owned(),
        scope: Scope::Journey,
        sign,
        cool_down: Some(cool_down),
        evidence_only: false,
        segments: Vec::new(),
    };
    let unanswered =
        Sign::Missing { after: "asks".to_owned(), answer: "answers".to_owned(), within: wait(dice), by: dice.happens(500) };
    Plan {
        tallies: vec![("seen".to_owned(), Sum::Count("views".to_owned()))],
        segments: vec![
            ("keen".to_owned(), Some(Condition::Customer("seen".to_owned(), dice.between(2, 5)))),
            ("everyone".to_owned(), None),
        ],
        stages: vec![
            stage("looking", "views", dice.happens(600).then(|| wait(dice))),
            deciding,
            stage("bought", "buys", None),
        ],
        kinds: vec![basket],
        rules: vec![
            rule("stuck", Sign::Count(3, "fails".to_owned(), Some(dice.between(1_000, 6_000))), 3_000),
            rule("unanswered", unanswered, 1_000),
        ],
        ..Plan::default()
    }
}

/// The plan's text, with its spans in milliseconds, and what is offered, which the judge of stories does not read.
pub(super) fn yaml(plan: &Plan) -> String {
    let seconds = regex_lite::Regex::new(r"\b(\d+)s\b").expect("an expression");
    seconds.replace_all(&plan.yaml(), "${1}ms").into_owned() + offers::INTERVENTIONS
}

/// What stands committed in an input of a shard: when it entered, where, and its bytes.
pub(super) struct Entered<'a> {
    pub(super) log_time: Millis,
    pub(super) input: usize,
    pub(super) offset: i64,
    pub(super) value: &'a [u8],
}

/// How what was published differs from what should have been.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) lost: Vec<String>,
    pub(super) twice: Vec<String>,
    pub(super) wrong: Vec<String>,
    pub(super) after_the_purchase: Vec<String>,
    pub(super) out_of_sequence: Vec<String>,
}

impl Difference {
    pub(super) fn is_none(&self) -> bool {
        let all = [&self.lost, &self.twice, &self.wrong, &self.after_the_purchase, &self.out_of_sequence];
        all.iter().all(|list| list.is_empty())
    }
}

/// Everything that was published, against everything that should have been; without a plan, only whether it can be right. How
/// many outcomes there were.
pub(super) fn compare(
    plan: Option<&Plan>,
    made: &[Made],
    entered: &mut [Entered<'_>],
    published: &[Value],
    grace: Millis,
) -> (usize, Difference) {
    entered.sort_by_key(|record| (record.log_time, record.input, record.offset));
    let by_id: BTreeMap<&str, &Made> = made.iter().map(|made| (made.id.as_str(), made)).collect();
    let mut touches: BTreeMap<usize, Vec<(&Made, Millis)>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for record in entered.iter() {
        let Ok(json) = serde_json::from_slice::<Value>(record.value) else { continue };
        let Some(made) = json["event_id"].as_str().and_then(|id| by_id.get(id)) else { continue };
        if seen.insert(&made.id) {
            touches.entry(made.customer).or_default().push((made, record.log_time));
        }
    }
    let mut difference = Difference::default();
    let mut ids = BTreeSet::new();
    for outcome in published {
        // What is told anew comes under the same id, and with a number of its own.
        if !ids.insert((outcome["outcome_id"].to_string(), outcome["sequence"].to_string())) {
            difference.twice.push(outcome["says"].to_string());
        }
    }
    let mut told: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for outcome in published {
        told.entry(outcome["customer_id"].as_str().unwrap_or_default().to_owned()).or_default().push(outcome);
    }
    for (customer, touches) in touches {
        let name = load::name(customer);
        let mut told = told.remove(&name).unwrap_or_default();
        told.sort_by_key(|outcome| outcome["sequence"].as_i64());
        let touches = in_order(touches, grace);
        one(plan, &name, &touches, &told, grace, &mut difference);
    }
    difference.wrong.extend(told.into_keys().map(|customer| format!("{customer} did nothing")));
    (published.len(), difference)
}

/// As they are told: by when they happened, those that came too late by when they came.
fn in_order(mut touches: Vec<(&Made, Millis)>, grace: Millis) -> Vec<(&Made, Millis)> {
    if grace > 0 {
        for (made, log_time) in &mut touches {
            if *log_time - made.touch.happened <= grace {
                *log_time = made.touch.happened;
            }
        }
        touches.sort_by_key(|(_, at)| *at);
    }
    touches
}

/// Of all that name an id, the last one, unless it takes the others back.
fn net<'a>(told: &[&'a Value]) -> Vec<&'a Value> {
    let last: BTreeMap<&str, &Value> =
        told.iter().map(|outcome| (outcome["outcome_id"].as_str().unwrap_or_default(), *outcome)).collect();
    let mut holds: Vec<&Value> = last.into_values().filter(|outcome| outcome["kind"] != "retraction").collect();
    holds.sort_by_key(|outcome| outcome["sequence"].as_i64());
    holds
}

fn one(
    plan: Option<&Plan>,
    name: &str,
    touches: &[(&Made, Millis)],
    told: &[&Value],
    grace: Millis,
    difference: &mut Difference,
) {
    let place: BTreeMap<&str, usize> = touches.iter().enumerate().map(|(at, (made, _))| (made.id.as_str(), at)).collect();
    let list: Vec<_> = touches
        .iter()
        .map(|(made, log_time)| {
            let mut touch = made.touch.clone();
            touch.happened -= BEGINNING;
            touch.log_time = log_time - BEGINNING;
            touch
        })
        .collect();
    let lines: Vec<String> = told.iter().map(|outcome| format!("{name}: {}", line(outcome, &place))).collect();
    let mut closed = BTreeSet::new();
    for (at, outcome) in told.iter().enumerate() {
        if outcome["sequence"].as_i64() != Some(at as i64 + 1) {
            difference.out_of_sequence.push(format!("{} is number {}", lines[at], outcome["sequence"]));
        }
        // Not by its number, which a telling anew may give to another.
        let episode = (outcome["subject"]["episode"].to_string(), outcome["opened_by"].to_string());
        match outcome["kind"].as_str() {
            Some("retraction") if outcome["retracts"] == "completion" => drop(closed.remove(&episode)),
            Some("completion") => drop(closed.insert(episode)),
            Some("abandonment") if closed.contains(&episode) && outcome["hindsight"] != true => {
                difference.after_the_purchase.push(lines[at].clone());
            }
            _ => {}
        }
    }
    let holds = net(told).into_iter().filter(|outcome| !offers::is_offer(outcome));
    let lines: Vec<String> = holds.map(|outcome| format!("{name}: {}", line(outcome, &place))).collect();
    let Some(plan) = plan else { return };
    let mut expected: Vec<String> = Vec::new();
    for line in judge(plan, &list, 1_000_000_000) {
        // Taken back: what was said of the same thing at the same instant.
        let Some((thing, _)) = line.split_once(" journey ").filter(|(thing, _)| thing.contains(" retraction ")) else {
            expected.push(format!("{name}: {line}"));
            continue;
        };
        let taken_back = format!("{name}: {} journey ", thing.replace(" retraction ", " abandonment "));
        if let Some(place) = expected.iter().rposition(|told| told.starts_with(&taken_back)) {
            expected.remove(place);
        }
    }
    if expected == lines {
        return;
    }
    let mut left = lines.clone();
    for line in &expected {
        // What was taken back and is said again has the segment that the customer was in then.
        let same_but_for_segment = |told: &&String| {
            let head = |line: &str| line.rsplit_once(" of ").map(|(head, _)| head.to_owned());
            line.contains(" abandonment ") && head(told) == head(line)
        };
        let exact = left.iter().position(|told| told == line);
        match exact.or_else(|| left.iter().position(|told| same_but_for_segment(&told))) {
            Some(at) => drop(left.remove(at)),
            None => difference.lost.push(line.clone()),
        }
    }
    if grace == 0 && difference.lost.is_empty() && left.is_empty() {
        difference.out_of_sequence.push(format!("{name}: the right outcomes in another order: {lines:#?}"));
    }
    difference.wrong.extend(left);
}

/// An outcome in the judge's words.
fn line(outcome: &Value, place: &BTreeMap<&str, usize>) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("nowhere").to_owned();
    let touch = |value: &Value| {
        let id = value.as_str().unwrap_or_default();
        place.get(id).map_or(format!("an unknown touchpoint {id}"), |place| format!("t{place}"))
    };
    let at = outcome["at"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
    let at = at.map_or(0, |at| at.as_millisecond() - BEGINNING);
    let subject = &outcome["subject"];
    let about = match (subject["stage"].as_str(), subject["episode"].as_str()) {
        (Some(stage), _) => format!("stage {stage}"),
        (None, Some(kind)) => format!("{kind}#{}", subject["number"]),
        (None, None) => "journey".to_owned(),
    };
    let what = match outcome["kind"].as_str().unwrap_or_default() {
        "transition" => {
            let movement: Vec<String> = text(&outcome["movement"]).split('-').map(capital).collect();
            let decision = &outcome["decision"];
            let decided = (!decision.is_null()).then(|| {
                let (by, stage) = (touch(&decision["touchpoint"]), text(&decision["stage"]));
                format!(" decided by {by} in {stage} {}s before", decision["before_ms"])
            });
            let (from, to) = (text(&outcome["from"]), text(&outcome["to"]));
            format!("move {from} > {to} {}{}", movement.concat(), decided.unwrap_or_default())
        }
        "friction" => {
            let evidence = outcome["friction"]["evidence"].as_array().cloned().unwrap_or_default();
            let evidence: Vec<String> = evidence.iter().map(touch).collect();
            format!("friction {} in {about} of {}", text(&outcome["friction"]["rule"]), evidence.join(","))
        }
        kind => format!("{kind} {about}"),
    };
    let cause = &outcome["cause"];
    let cause = if cause.is_null() { String::new() } else { format!(" by {}", touch(cause)) };
    let segment = outcome["segment"].as_str().map(|segment| format!(" of {segment}")).unwrap_or_default();
    format!("{at}s {what}{cause} journey {}{segment}", outcome["journey"])
}

fn capital(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}
