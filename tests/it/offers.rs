//! What is offered, judged by an independent slow reading of `docs/interventions.md` over whole histories: never more than a
//! cap, never without consent, never in quiet hours, never after what takes it back, never to who is held out, one a channel.
//! In any order of arrival, and whatever transactions are undone.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use sillage::journey::{Outcome, Subject, What};
use sillage::model::{self, Model};
use sillage::shard::Settings;
use sillage::time::{Span, Timestamp};
use sillage::touchpoint::{Touchpoint, Value};
use uuid::Uuid;

use crate::any_order::Dice;
use crate::laws::{Entered, Fate, decide_with};
use crate::world::{START, touchpoint, with_id};

const GRACE: Span = Span::from_secs(600);
const MINUTE: i64 = 60_000;
const DAY: i64 = 1_440 * MINUTE;

const SHOP: &str = r#"
sillage: 1
model: shop
stages:
  shopping: { enter: page.viewed }
episodes:
  basket:
    known by: [cart_id, customer]
    opens: cart.added
    completes: order.completed
    abandoned after: 30m
friction:
  slow: { in: basket, on: page.slow, cool-down: 1s }
  trouble: { in: basket, 2 of: payment.failed, within: 10m, cool-down: 1s }
interventions:
  chat:
    on: { friction: [slow, trouble] }
    channel: chat
    priority: 2
    at most: { 2 within: 7d }
    needs: chat
    quiet hours: ignore
    holdout: { share: 30%, salt: chat-1 }
    expires: 5m
    withdrawn by: { completion: basket }
  hint:
    on: { friction: trouble }
    channel: chat
    priority: 1
    at most: { 1 within: 1d }
    expires: 10m
    withdrawn by: { completion: basket }
  reminder:
    on: { abandonment: basket }
    channel: mail
    cool-down: 1d
    expires: 2d
    withdrawn by: { completion: basket }
"#;

const CONTACTS: &str = r#"
consents:
  chat: { given: consent.given, withdrawn: consent.withdrawn }
contact:
  at most: { 5 within: 30d }
  quiet hours: { from: "21:00", to: "08:00", zone: touchpoint.timezone, otherwise: UTC }
"#;

fn shop() -> Arc<Model> {
    let (model, faults) = model::load("shop.yaml", SHOP);
    let mut model = model.unwrap_or_else(|| panic!("{faults:?}"));
    let (contacts, faults) = model::load_contacts("contacts.yaml", CONTACTS);
    let contacts = contacts.unwrap_or_else(|| panic!("{faults:?}"));
    assert!(model.contact_by(Some(&Arc::new(contacts))).is_empty());
    Arc::new(model)
}

/// A history of some customers in the order of arrival; log times differ to the millisecond, so that an instant names a step.
fn history(dice: &mut Dice) -> Vec<Entered> {
    const KINDS: [&str; 9] = [
        "consent.given",
        "cart.added",
        "page.slow",
        "payment.failed",
        "payment.failed",
        "order.completed",
        "cart.viewed",
        "consent.withdrawn",
        "page.slow",
    ];
    let mut comes = Vec::new();
    let mut at = START;
    for number in 0..dice.between(5, 60) {
        let gap = if dice.chance(10) { dice.between(0, 1_440) } else { dice.between(0, 12) };
        at = at + Span::from_secs(60 * gap);
        let who = ["anna", "ben", "cleo", "dora"][dice.between(0, 3) as usize];
        let kind = KINDS[dice.between(0, 8) as usize];
        let mut made = touchpoint(who, kind, at, &format!("t{number}"));
        if dice.chance(10) {
            let zone = if dice.chance(50) { "Asia/Tokyo" } else { "UTC" };
            made.properties.push(("timezone".into(), Value::Text(zone.into())));
        }
        made = with_id(made, "cart_id", ["A", "B"][usize::from(dice.chance(30))]);
        let delay = if dice.chance(60) { 0 } else { dice.delay(GRACE) / 1_000 * 1_000 };
        comes.push((made, at + Span::from_millis(delay + 1 + number)));
    }
    comes.sort_by_key(|(_, log_time)| *log_time);
    comes
}

/// The customer's bucket, by the formula of the page.
fn bucket(salt: &str, id: &str) -> u64 {
    let digest = Sha256::digest(format!("sillage.arm.1\0{salt}\0customer\0{id}"));
    let first = digest[..8].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    ((u128::from(first) * 10_000) >> 64) as u64
}

/// What has been offered, and not been found wrong.
#[derive(Default)]
struct Seen {
    offers: usize,
    held_out: usize,
    withdrawn: BTreeMap<&'static str, usize>,
}

struct Judge<'a> {
    comes: &'a [Entered],
    outcomes: &'a [Outcome],
}

impl Judge<'_> {
    /// What the customer had said by an instant.
    fn said(&self, who: &str, by: Timestamp) -> impl Iterator<Item = &Touchpoint> {
        self.comes
            .iter()
            .filter(move |(touchpoint, log_time)| touchpoint.identity.id == who && *log_time <= by)
            .map(|(touchpoint, _)| touchpoint)
    }

    fn agrees(&self, who: &str, by: Timestamp) -> bool {
        let statements = self.said(who, by).filter(|touchpoint| touchpoint.kind.starts_with("consent."));
        let last = statements.max_by_key(|touchpoint| (touchpoint.event_time, touchpoint.kind == "consent.withdrawn"));
        last.is_some_and(|touchpoint| touchpoint.kind == "consent.given")
    }

    /// Minutes after midnight, and how many milliseconds until nine in the evening, where the customer is.
    fn local(&self, who: &str, by: Timestamp) -> (i64, i64) {
        let zone = self.said(who, by).filter_map(|touchpoint| touchpoint.property("timezone")).last();
        let ahead = if zone == Some(&Value::Text("Asia/Tokyo".into())) { 9 * 60 * MINUTE } else { 0 };
        let of_day = (by.as_millis() + ahead).rem_euclid(DAY);
        (of_day / MINUTE, (21 * 60 * MINUTE - of_day).rem_euclid(DAY))
    }

    fn judge(&self, seen: &mut Seen) {
        let mut last: BTreeMap<Uuid, &Outcome> = BTreeMap::new();
        let mut made: Vec<&Outcome> = Vec::new();
        for (place, outcome) in self.outcomes.iter().enumerate() {
            match &outcome.what {
                What::Intervention { .. } => {
                    self.judge_offer(outcome, &last, &made);
                    made.push(outcome);
                    seen.offers += 1;
                    seen.held_out += usize::from(outcome.what.kind() == "would-have");
                }
                What::Withdrawal { offer, reason } => {
                    let of = last.get(&offer.answers.id).unwrap_or_else(|| panic!("nothing was offered: {outcome}"));
                    assert!(matches!(of.what, What::Intervention { .. }), "{of}");
                    assert!(of.what.offer().is_some_and(|of| of.expires_at > outcome.at && of.arm == offer.arm), "{of}");
                    *seen.withdrawn.entry(reason.as_str()).or_default() += 1;
                }
                What::Completion { .. } => self.judge_end(place, outcome, &made),
                _ => {}
            }
            last.insert(outcome.id, outcome);
        }
    }

    fn judge_offer(&self, outcome: &Outcome, last: &BTreeMap<Uuid, &Outcome>, made: &[&Outcome]) {
        let What::Intervention { offer } = &outcome.what else { unreachable!("asked for offers only") };
        let (who, at) = (outcome.identity.id.as_str(), outcome.at);
        let own = || made.iter().filter(|one| one.identity == outcome.identity);
        let within = |one: &&&Outcome, millis: i64| at.since(one.at) < Span::from_millis(millis);
        let named = |one: &&&Outcome, name: &str| one.what.offer().is_some_and(|offer| offer.name == name);
        let on = |one: &&&Outcome, channel: &str| one.what.offer().is_some_and(|offer| offer.channel == channel);
        assert!(own().filter(|one| within(one, 30 * DAY)).count() < 5, "a cap over all: {outcome}");
        assert!(!own().any(|one| one.at == at && on(&one, &offer.channel)), "two on one channel: {outcome}");
        let expires = match offer.name.as_str() {
            "chat" => {
                assert!(own().filter(|one| within(one, 7 * DAY) && named(one, "chat")).count() < 2, "a cap: {outcome}");
                assert!(self.agrees(who, at), "no consent: {outcome}");
                5 * MINUTE
            }
            "hint" => {
                assert!(!own().any(|one| within(&one, DAY) && named(&one, "hint")), "a cap: {outcome}");
                10 * MINUTE
            }
            "reminder" => {
                assert!(!own().any(|one| within(&one, DAY) && on(&one, "mail")), "a cool-down: {outcome}");
                2 * DAY
            }
            other => panic!("nobody asked for {other}"),
        };
        if offer.name != "chat" {
            let (minute, until_quiet) = self.local(who, at);
            assert!((8 * 60..21 * 60).contains(&minute), "quiet hours: {outcome}");
            assert!(offer.expires_at.since(at).as_millis() <= until_quiet, "it reaches into quiet hours: {outcome}");
        }
        let held_out = offer.name == "chat" && bucket("chat-1", who) < 3_000;
        assert_eq!(offer.arm.is_held_out(), held_out, "{who}: {outcome}");
        let asked = last.get(&offer.answers.id).unwrap_or_else(|| panic!("nothing asked for it: {outcome}"));
        assert!(!asked.what.is_retraction() && !asked.hindsight && asked.identity == outcome.identity, "{asked}");
        let age = at.since(asked.at).as_millis();
        assert!((0..=expires.min(5 * MINUTE)).contains(&age), "{age} ms old: {outcome}");
        let ended = last.values().find(|other| {
            matches!(other.what, What::Completion { .. }) && other.identity == outcome.identity && other.at >= asked.at
        });
        assert!(ended.is_none(), "{outcome} after {ended:?}");
    }

    /// What a completion ends is taken back before anything else happens to the customer.
    fn judge_end(&self, place: usize, completion: &Outcome, made: &[&Outcome]) {
        let cause = completion.cause.as_ref().map(ToString::to_string);
        let Some((_, now)) = self.comes.iter().find(|(touchpoint, _)| Some(touchpoint.id.as_str()) == cause.as_deref())
        else {
            return;
        };
        for offer in made.iter().filter(|one| one.identity == completion.identity) {
            let of = offer.what.offer().expect("an offer");
            // Of a story that was told anew it is not known here when that was.
            let is_out = of.expires_at > *now && offer.at < *now && of.answers.at <= completion.at;
            let taken_back = |other: &&Outcome| matches!(&other.what, What::Withdrawal { offer: back, .. } if back.answers.id == offer.id);
            if is_out {
                assert!(self.outcomes.iter().any(|other| taken_back(&other)), "{offer} outlives {completion} ({place})");
            }
        }
    }
}

fn settings(decisions: usize) -> Settings {
    Settings { settle: Span::ZERO, grace: GRACE, decisions_per_transaction: decisions, ..Settings::default() }
}

#[test]
fn offers_keep_their_promises_in_whatever_order_touchpoints_come() {
    let runs = std::env::var("OFFER_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(1_500);
    let models = [shop()];
    let mut seen = Seen::default();
    for run in 0..runs {
        let mut dice = Dice::new(run);
        let comes = history(&mut dice);
        let (outcomes, mut world) = decide_with(settings(usize::MAX), &models, &comes, &[Fate::Nothing]);
        Judge { comes: &comes, outcomes: &outcomes }.judge(&mut seen);
        // What is undone and decided again is decided alike.
        let fates = [Fate::Nothing, Fate::Abort, Fate::Commit, Fate::AbortPrepared];
        let (split, mut other) = decide_with(settings(dice.between(1, 9) as usize), &models, &comes, &fates);
        assert_eq!(split, outcomes, "run {run}");
        assert_eq!(world.state(), other.state(), "run {run}");
    }
    let counts = format!("{} offers, {} held out, withdrawn {:?}", seen.offers, seen.held_out, seen.withdrawn);
    assert!(seen.offers > 500 && seen.held_out > 50, "{counts}");
    assert!(
        ["completed", "consent-withdrawn", "retracted"].iter().all(|reason| seen.withdrawn.contains_key(reason)),
        "{counts}"
    );
}

/// The subject of what asked is handed on, so that the offer can name the basket.
#[test]
fn an_offer_says_what_it_is_about() {
    let models = [shop()];
    let at = |minutes: i64| START + Span::from_millis(10 * 60 * MINUTE + minutes * MINUTE);
    let story: Vec<Entered> = [("consent.given", 0), ("cart.added", 1), ("page.slow", 2)]
        .into_iter()
        .map(|(kind, minute)| (with_id(touchpoint("anna", kind, at(minute), kind), "cart_id", "A"), at(minute)))
        .collect();
    let (outcomes, _) = decide_with(settings(usize::MAX), &models, &story, &[Fate::Nothing]);
    let offer = outcomes.iter().find_map(|outcome| outcome.what.offer()).expect("an offer");
    let about = offer.about.as_ref().expect("a subject");
    assert!(matches!(&about.subject, Subject::Episode { kind, .. } if kind == "basket"), "{about:?}");
}
