//! What is offered, judged by an independent slow reading of `docs/interventions.md` over random rules and histories: never
//! more than a cap, never without consent, never in quiet hours, never after what takes it back, never to who is held out, one
//! a channel. In any order of arrival, whatever transactions are undone, and also where an anonymous id joins the customer.
//!
//! `OFFER_RUNS` asks for more than CI runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use sillage::journey::{Arm, Offer, Outcome, Subject, What};
use sillage::model::{self, Model};
use sillage::shard::{Action, Body, Buffered, Customers, Erasure, ErasureScope, Input, Settings};
use sillage::time::{Span, Timestamp};
use sillage::touchpoint::{Identity, IdentityKind, Value};
use uuid::Uuid;

use crate::any_order::Dice;
use crate::laws::{Entered, Fate, decide_with};
use crate::world::{START, World, touchpoint, with_id};

pub(crate) const GRACE: Span = Span::from_secs(600);
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Within so many histories each deliberate defect must be caught.
const CATCH: u64 = 5_000;

/// The numbers of the rules that a run is judged by.
#[derive(Debug)]
pub(crate) struct Terms {
    /// At most so many chats within so many hours.
    chat: (usize, i64),
    chat_share: u64,
    chat_expires: i64,
    /// Whether who has said nothing agrees to chats.
    silence: bool,
    hint_hours: i64,
    hint_expires: i64,
    guide_priority: u64,
    guide: (usize, i64),
    /// The longest time between two mails.
    cool_down: i64,
    /// So many hours mails wait for the end of quiet hours; nothing: they are not made.
    mail_waits: Option<i64>,
    all: (usize, i64),
    all_share: u64,
    /// Minutes after midnight.
    quiet: (i64, i64),
    /// Whether a zone is assumed where none is known.
    otherwise: bool,
    /// So long a basket that is completed counts as brought about.
    pub(crate) goal_hours: i64,
}

impl Terms {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let quiet = dice.between(0, 1_439);
        Terms {
            chat: (dice.between(1, 3) as usize, dice.between(1, 168)),
            chat_share: [0, 10, 30, 50][dice.between(0, 3) as usize],
            chat_expires: dice.between(1, 10),
            silence: dice.chance(20),
            hint_hours: dice.between(1, 6),
            hint_expires: dice.between(2, 30),
            guide_priority: dice.between(0, 4) as u64,
            guide: (dice.between(1, 3) as usize, dice.between(1, 48)),
            cool_down: dice.between(1, 24),
            all: (dice.between(1, 8) as usize, dice.between(1, 720)),
            all_share: [0, 0, 20][dice.between(0, 2) as usize],
            quiet: (quiet, (quiet + dice.between(0, 720)) % 1_440),
            otherwise: dice.chance(80),
            goal_hours: dice.between(1, 36),
            mail_waits: dice.chance(60).then(|| dice.between(1, 12)),
        }
    }

    pub(crate) fn models(&self) -> [Arc<Model>; 2] {
        let Terms { chat: (chats, chat_hours), chat_share, chat_expires, hint_hours, hint_expires, goal_hours, .. } = self;
        let holdout =
            if *chat_share > 0 { format!("holdout: {{ share: {chat_share}%, salt: chat-1 }}") } else { String::new() };
        let shop = format!(
            "
sillage: 1
model: shop
currency: EUR
stages:
  shopping: {{ enter: page.viewed }}
episodes:
  basket:
    known by: [cart_id, customer]
    opens: cart.added
    completes: order.completed
    worth: value
    abandoned after: 30m
friction:
  slow: {{ in: basket, on: page.slow, cool-down: 1s }}
  trouble: {{ in: basket, 2 of: payment.failed, within: 10m, cool-down: 1s }}
interventions:
  chat:
    on: {{ friction: [slow, trouble] }}
    channel: chat
    priority: 3
    at most: {{ {chats} within: {chat_hours}h }}
    needs: chat
    quiet hours: ignore
    {holdout}
    variants: {{ plain: 1, warm: 2 }}
    expires: {chat_expires}m
    withdrawn by: {{ completion: basket }}
    goal: {{ completion: basket, within: {goal_hours}h }}
  hint:
    on: {{ friction: trouble }}
    channel: chat
    priority: 1
    at most: {{ 1 within: {hint_hours}h }}
    expires: {hint_expires}m
    withdrawn by: {{ completion: basket }}
  reminder:
    on: {{ abandonment: basket }}
    channel: mail
    cool-down: {cool_down}h
    {quiet}
    expires: 2d
    withdrawn by: {{ completion: basket }}
    goal: {{ completion: basket, within: 12h }}
",
            cool_down = self.cool_down,
            quiet =
                self.mail_waits.map_or_else(String::new, |hours| format!("quiet hours: wait\n    wait at most: {hours}h"))
        );
        let (guides, guide_hours) = self.guide;
        let help = format!(
            "
sillage: 1
model: help
stages:
  reading: {{ enter: [page.viewed, cart.added] }}
friction:
  lost: {{ on: page.slow, cool-down: 1s }}
interventions:
  guide:
    on: {{ friction: lost }}
    channel: chat
    priority: {}
    at most: {{ {guides} within: {guide_hours}h }}
    quiet hours: ignore
    expires: 3m
",
            self.guide_priority
        );
        let contacts = Arc::new(self.contacts());
        [("shop.yaml", shop), ("help.yaml", help)].map(|(name, text)| {
            let (model, faults) = model::load(name, &text);
            let mut model = model.unwrap_or_else(|| panic!("{faults:?}\n{text}"));
            assert!(model.contact_by(Some(&contacts)).is_empty());
            Arc::new(model)
        })
    }

    fn contacts(&self) -> model::Contacts {
        let time = |minute: i64| format!("\"{:02}:{:02}\"", minute / 60, minute % 60);
        let silence = if self.silence { ", otherwise: given" } else { "" };
        let share = self.all_share;
        let holdout = if share > 0 { format!("holdout: {{ share: {share}%, salt: all-1 }}") } else { String::new() };
        let text = format!(
            "
consents:
  chat: {{ given: consent.given, withdrawn: consent.withdrawn{silence} }}
contact:
  {holdout}
  at most: {{ {} within: {}h }}
  quiet hours: {{ from: {}, to: {}, zone: touchpoint.timezone{} }}
",
            self.all.0,
            self.all.1,
            time(self.quiet.0),
            time(self.quiet.1),
            if self.otherwise { ", otherwise: UTC" } else { "" }
        );
        let (contacts, faults) = model::load_contacts("contacts.yaml", &text);
        contacts.unwrap_or_else(|| panic!("{faults:?}\n{text}"))
    }
}

/// A history of some customers in the order of arrival; log times differ to the millisecond, so that an instant names a step.
pub(crate) fn history(dice: &mut Dice) -> Vec<Entered> {
    const KINDS: [&str; 12] = [
        "consent.given",
        "consent.given",
        "consent.withdrawn",
        "cart.added",
        "cart.added",
        "cart.viewed",
        "page.slow",
        "payment.failed",
        "payment.failed",
        "payment.failed",
        "payment.failed",
        "order.completed",
    ];
    let mut comes = Vec::new();
    let mut at = START + Span::from_millis(dice.between(0, 23) * HOUR);
    let whose = dice.between(0, 9);
    let joins = dice.chance(40);
    for number in 0..dice.between(5, 80) {
        let gap = if dice.chance(5) { dice.between(0, 1_440) } else { dice.between(0, 6) };
        at = at + Span::from_secs(60 * gap);
        let person = whose + dice.between(0, 2);
        let who = format!("c{person}");
        let kind = KINDS[dice.between(0, 11) as usize];
        let mut made = touchpoint(&who, kind, at, &format!("t{number}"));
        if dice.chance(10) {
            let zone = if dice.chance(50) { "Asia/Tokyo" } else { "UTC" };
            made.properties.push(("timezone".into(), Value::Text(zone.into())));
        }
        if dice.chance(60) {
            made.properties.push(("value".into(), Value::Number(dice.between(100, 40_000) as f64 / 100.0)));
        }
        made = with_id(made, "cart_id", ["A", "B"][usize::from(dice.chance(20))]);
        match joins.then(|| dice.between(0, 9)) {
            Some(0..=3) => made.identity = Identity::anonymous(format!("a{person}").as_str()),
            Some(4) => made.linked = Some(format!("a{person}").into()),
            Some(_) | None => {}
        }
        let delay = match dice.between(0, 9) {
            0..=4 => 0,
            5..=8 => dice.delay(GRACE) / 1_000 * 1_000,
            // Too late to be told in its place.
            _ => GRACE.as_millis() + dice.between(0, 40) * MINUTE,
        };
        comes.push((made, at + Span::from_millis(delay + 1 + number)));
    }
    comes.sort_by_key(|(_, log_time)| *log_time);
    comes
}

/// The customer's bucket, by the formula of the page.
pub(crate) fn bucket(salt: &str, id: &str) -> u64 {
    bucket_of(salt, &Identity::customer(id))
}

fn bucket_of(salt: &str, who: &Identity) -> u64 {
    let kind = match who.kind {
        IdentityKind::Customer => "customer",
        IdentityKind::Anonymous => "anonymous",
    };
    let digest = Sha256::digest(format!("sillage.arm.1\0{salt}\0{kind}\0{}", who.id));
    let first = digest[..8].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    ((u128::from(first) * 10_000) >> 64) as u64
}

/// What has been offered, and not been found wrong.
#[derive(Debug, Default)]
struct Seen {
    offers: BTreeMap<String, usize>,
    held_out: usize,
    withdrawn: BTreeMap<&'static str, usize>,
    /// Offers to a customer who had been offered something as somebody anonymous.
    joined: usize,
    /// Offers that had waited for the end of quiet hours.
    waited: usize,
}

struct Judge<'a> {
    terms: &'a Terms,
    comes: &'a [Entered],
    outcomes: &'a [Outcome],
    /// By anonymous id: whose it is, and since when.
    joins: BTreeMap<Identity, (Identity, Timestamp)>,
}

/// By hold-out: whether somebody is in it, once that was drawn.
type Arms = BTreeMap<(Identity, &'static str), bool>;

/// Refuses with the law and what breaks it.
macro_rules! law {
    ($holds:expr, $($how:tt)*) => {
        if !$holds {
            return Err(format!($($how)*));
        }
    };
}

fn offer_of(outcome: &Outcome) -> &Offer {
    outcome.what.offer().unwrap_or_else(|| panic!("offers nothing: {outcome}"))
}

impl<'a> Judge<'a> {
    fn new(terms: &'a Terms, comes: &'a [Entered], outcomes: &'a [Outcome]) -> Self {
        let mut joins = BTreeMap::new();
        for (touchpoint, came) in comes {
            let Some(linked) = &touchpoint.linked else { continue };
            let whose = || (touchpoint.identity.clone(), *came);
            joins.entry(Identity::anonymous(linked.clone())).or_insert_with(whose);
        }
        Judge { terms, comes, outcomes, joins }
    }

    /// Whose something is at an instant.
    fn owner<'b>(&'b self, who: &'b Identity, at: Timestamp) -> &'b Identity {
        self.joins.get(who).filter(|(_, since)| *since <= at).map_or(who, |(into, _)| into)
    }

    /// What the customer had said by an instant.
    fn said(&self, who: &Identity, by: Timestamp) -> impl Iterator<Item = &Entered> {
        self.comes.iter().filter(move |(touchpoint, came)| *came <= by && self.owner(&touchpoint.identity, by) == who)
    }

    fn agrees(&self, who: &Identity, by: Timestamp) -> bool {
        let statements =
            self.said(who, by).map(|(said, _)| said).filter(|touchpoint| touchpoint.kind.starts_with("consent."));
        let last = statements.max_by_key(|touchpoint| (touchpoint.event_time, touchpoint.kind == "consent.withdrawn"));
        last.map_or(self.terms.silence, |touchpoint| touchpoint.kind == "consent.given")
    }

    /// Whether it is quiet where the customer is, and the milliseconds until it is next.
    fn quiet(&self, who: &Identity, by: Timestamp) -> (bool, i64) {
        let (from, to) = self.terms.quiet;
        let named = self.said(who, by).filter(|(said, _)| said.property("timezone").is_some());
        // What the customer named itself counts more than what came with an anonymous id.
        let last = named.max_by_key(|(said, came)| (self.owner(&said.identity, *came) == who, *came));
        let zone = last.and_then(|(said, _)| said.property("timezone"));
        if zone.is_none() && !self.terms.otherwise {
            return (true, 0);
        }
        let ahead = if zone == Some(&Value::Text("Asia/Tokyo".into())) { 9 * HOUR } else { 0 };
        let of_day = (by.as_millis() + ahead).rem_euclid(DAY);
        // Since it began: less than it lasts.
        let begun = (of_day / MINUTE - from).rem_euclid(1_440);
        (begun < (to - from).rem_euclid(1_440), (from * MINUTE - of_day).rem_euclid(DAY))
    }

    fn judge(&self, seen: &mut Seen) -> Result<(), String> {
        let mut last: BTreeMap<Uuid, &Outcome> = BTreeMap::new();
        let mut made: Vec<&Outcome> = Vec::new();
        let mut arms = Arms::new();
        for (place, outcome) in self.outcomes.iter().enumerate() {
            match &outcome.what {
                What::Intervention { offer } => {
                    for (from, (into, _)) in self.joins.iter().filter(|(_, (_, since))| *since <= outcome.at) {
                        for salt in ["all-1", "chat-1"] {
                            let Some(drawn) = arms.remove(&(from.clone(), salt)) else { continue };
                            arms.entry((into.clone(), salt)).or_insert(drawn);
                        }
                    }
                    self.judge_offer(outcome, &last, &made, (&mut arms, seen))?;
                    let is_older = |one: &&&Outcome| one.identity != outcome.identity;
                    let own = |one: &&&Outcome| self.owner(&one.identity, outcome.at) == &outcome.identity;
                    seen.joined += usize::from(made.iter().filter(is_older).any(|one| own(&one)));
                    made.push(outcome);
                    *seen.offers.entry(offer.name.to_string()).or_default() += 1;
                    seen.held_out += usize::from(outcome.what.kind() == "would-have");
                }
                What::Withdrawal { offer, reason } => {
                    let of = last.get(&offer.answers.id).ok_or_else(|| format!("nothing was offered: {outcome}"))?;
                    law!(matches!(of.what, What::Intervention { .. }), "what is no offer is withdrawn: {of}");
                    let same = offer_of(of).expires_at > outcome.at && offer_of(of).arm == offer.arm;
                    law!(same, "what is over, or another's, is withdrawn: {of}, {outcome}");
                    *seen.withdrawn.entry(reason.as_str()).or_default() += 1;
                }
                What::Completion { .. } => self.judge_end(place, outcome, &made)?,
                _ => {}
            }
            last.insert(outcome.id, outcome);
        }
        self.judge_consents(&made)
    }

    fn judge_offer(
        &self,
        outcome: &Outcome,
        last: &BTreeMap<Uuid, &Outcome>,
        made: &[&Outcome],
        (arms, seen): (&mut Arms, &mut Seen),
    ) -> Result<(), String> {
        let terms = self.terms;
        let (offer, who, at) = (offer_of(outcome), &outcome.identity, outcome.at);
        law!(self.owner(who, at) == who, "to one who is another's by now: {outcome}");
        let within = |hours: i64| {
            let own = made.iter().filter(|one| self.owner(&one.identity, at) == who);
            own.filter(move |one| at.since(one.at) < Span::from_millis(hours * HOUR))
        };
        let named = |name: &str, hours: i64| within(hours).filter(|one| offer_of(one).name == name).count();
        law!(within(terms.all.1).count() < terms.all.0, "the cap over all: {outcome}");
        let at_once = within(1).any(|one| one.at == at && offer_of(one).channel == offer.channel);
        law!(!at_once, "two on one channel: {outcome}");
        let (expires, ignores_quiet) = match offer.name.as_str() {
            "chat" => {
                law!(named("chat", terms.chat.1) < terms.chat.0, "the cap of chats: {outcome}");
                law!(self.agrees(who, at), "without consent: {outcome}");
                (terms.chat_expires * MINUTE, true)
            }
            "hint" => {
                law!(named("hint", terms.hint_hours) == 0, "the cap of hints: {outcome}");
                (terms.hint_expires * MINUTE, false)
            }
            "guide" => {
                law!(named("guide", terms.guide.1) < terms.guide.0, "the cap of guides: {outcome}");
                (3 * MINUTE, true)
            }
            "reminder" => {
                let fresh = within(terms.cool_down).any(|one| offer_of(one).channel == "mail");
                law!(!fresh, "the cool-down: {outcome}");
                (2 * DAY, false)
            }
            other => return Err(format!("nobody asked for {other}")),
        };
        let mut longest = expires;
        if !ignores_quiet {
            let (is_quiet, until_quiet) = self.quiet(who, at);
            law!(!is_quiet, "in quiet hours: {outcome}");
            longest = longest.min(until_quiet);
        }
        law!(offer.expires_at.since(at).as_millis() <= longest, "it stands too long: {outcome}");
        let mut is_in = |salt: &'static str, share: u64| {
            *arms.entry((who.clone(), salt)).or_insert_with(|| bucket_of(salt, who) < share * 100)
        };
        let of_all = terms.all_share > 0 && is_in("all-1", terms.all_share);
        let held_out = of_all || offer.name == "chat" && is_in("chat-1", terms.chat_share);
        law!(offer.arm.is_held_out() == held_out, "{who:?} is in another arm: {outcome}");
        law!(held_out || offer.name != "chat" || offer.variant.is_some(), "no variant: {outcome}");
        let asked = last.get(&offer.answers.id).ok_or_else(|| format!("nothing asked for it: {outcome}"))?;
        let fair = !asked.what.is_retraction() && !asked.hindsight && self.owner(&asked.identity, at) == who;
        law!(fair, "{outcome} answers {asked}");
        let age = at.since(asked.at).as_millis();
        let is_fresh = age <= expires.min(5 * MINUTE);
        let waits = terms.mail_waits.filter(|_| offer.name == "reminder");
        // What is not fresh has waited until it was quiet no more, in the zone that was known when it was asked for.
        let since_quiet = |ahead: i64| (at.as_millis() + ahead - terms.quiet.1 * MINUTE).rem_euclid(DAY);
        let ends_now = || [0, 9 * HOUR].into_iter().any(|ahead| since_quiet(ahead) <= 5 * MINUTE);
        let has_waited = || waits.is_some_and(|hours| age <= (hours * HOUR) + 5 * MINUTE) && ends_now();
        seen.waited += usize::from(!is_fresh);
        law!(age >= 0 && (is_fresh || has_waited()), "asked {age} ms ago: {outcome}");
        let ended = last.values().find(|other| {
            let is_own = self.owner(&other.identity, at) == who;
            matches!(other.what, What::Completion { .. }) && is_own && other.at >= asked.at
        });
        law!(offer.name == "guide" || ended.is_none(), "{outcome} after {ended:?}");
        Ok(())
    }

    /// Whether an offer is withdrawn among these outcomes.
    fn is_withdrawn(&self, offer: &Outcome, among: &[Outcome]) -> bool {
        let is =
            |other: &Outcome| matches!(&other.what, What::Withdrawal { offer: back, .. } if back.answers.id == offer.id);
        among.iter().any(is)
    }

    /// What a completion ends is taken back in the step that says so, or was before.
    fn judge_end(&self, place: usize, completion: &Outcome, made: &[&Outcome]) -> Result<(), String> {
        let cause = completion.cause.as_ref().map(ToString::to_string);
        let came = self.comes.iter().find(|(touchpoint, _)| Some(touchpoint.id.as_str()) == cause.as_deref());
        let Some((_, now)) = came else { return Ok(()) };
        let who = self.owner(&completion.identity, *now);
        let is_own = |other: &Outcome| self.owner(&other.identity, *now) == who;
        // What came late may have shown only then that something is completed.
        let before = |(one, came): &&Entered| self.owner(&one.identity, *came) == who && one.event_time <= completion.at;
        let known = self.comes.iter().filter(before).map(|(_, came)| *came).fold(*now, Timestamp::max);
        // The outcomes of a step stand together.
        let step = self.outcomes[place..].iter().take_while(|other| is_own(other)).count();
        for offer in made.iter().filter(|one| is_own(one) && offer_of(one).name != "guide") {
            let of = offer_of(offer);
            if of.expires_at > known && offer.at < *now && of.answers.at <= completion.at {
                let back = self.is_withdrawn(offer, &self.outcomes[..place + step]);
                law!(back, "{offer} outlives {completion}");
            }
        }
        Ok(())
    }

    /// No chat stands while the customer does not agree.
    fn judge_consents(&self, made: &[&Outcome]) -> Result<(), String> {
        let withdrawn = self.comes.iter().filter(|(touchpoint, _)| touchpoint.kind == "consent.withdrawn");
        let withdrawn = withdrawn.map(|(touchpoint, now)| (self.owner(&touchpoint.identity, *now), now));
        for (who, now) in withdrawn.chain(self.joins.values().map(|(into, since)| (into, since))) {
            if self.agrees(who, *now) {
                continue;
            }
            let own = |one: &&&Outcome| self.owner(&one.identity, *now) == who && offer_of(one).name == "chat";
            for offer in made.iter().filter(own) {
                let is_out = offer.at < *now && offer_of(offer).expires_at > *now;
                let so_far = self.outcomes.iter().filter(|other| other.at <= *now).cloned().collect::<Vec<_>>();
                law!(!is_out || self.is_withdrawn(offer, &so_far), "{offer} outlives the consent");
            }
        }
        Ok(())
    }
}

pub(crate) fn settings(decisions: usize) -> Settings {
    Settings { settle: Span::ZERO, grace: GRACE, decisions_per_transaction: decisions, ..Settings::default() }
}

fn runs(usual: u64) -> u64 {
    std::env::var("OFFER_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(usual)
}

#[test]
fn offers_keep_their_promises_in_whatever_order_touchpoints_come() {
    let mut seen = Seen::default();
    for run in 0..runs(1_500) {
        let mut dice = Dice::new(run);
        let (terms, comes) = (Terms::draw(&mut dice), history(&mut dice));
        let models = terms.models();
        let (outcomes, mut world) = decide_with(settings(usize::MAX), &models, &comes, &[Fate::Nothing]);
        if let Err(broken) = Judge::new(&terms, &comes, &outcomes).judge(&mut seen) {
            panic!("run {run}: {broken}\n{terms:#?}\n{}", told(&comes, &outcomes));
        }
        // What is undone and decided again is decided alike.
        let fates = [Fate::Nothing, Fate::Abort, Fate::Commit, Fate::AbortPrepared];
        let (split, mut other) = decide_with(settings(dice.between(1, 9) as usize), &models, &comes, &fates);
        assert_eq!(split, outcomes, "run {run}");
        assert_eq!(world.state(), other.state(), "run {run}");
    }
    eprintln!("{seen:?}");
    let enough =
        ["chat", "hint", "guide", "reminder"].iter().all(|name| seen.offers.get(*name).is_some_and(|made| *made > 100));
    assert!(enough && seen.held_out > 50 && seen.joined > 20 && seen.waited > 100, "{seen:?}");
    let reasons = ["completed", "consent-withdrawn", "retracted"];
    assert!(reasons.iter().all(|reason| seen.withdrawn.contains_key(reason)), "{seen:?}");
}

/// What came and what was said, for whoever looks into a broken law.
pub(crate) fn told(comes: &[Entered], outcomes: &[Outcome]) -> String {
    let came = comes.iter().map(|(one, log_time)| {
        format!("{log_time} {} {} of {} {:?}\n", one.identity.id, one.kind, one.event_time, one.properties)
    });
    let said = outcomes.iter().map(|one| format!("{} {} #{} {one}\n", one.at, one.identity.id, one.sequence));
    came.chain(said).collect()
}

/// How an engine could be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    /// What an undone transaction is decided again from knows nothing of what was offered.
    CapForgottenAtUndo,
    /// An anonymous id that joins a customer brings nothing of what it was offered.
    CapForgottenAtJoin,
    /// Of two statements the one that came last counts.
    ConsentByArrival,
    /// What a transaction that is undone takes back is not taken back when it is decided again.
    WithdrawalLost,
    /// A transaction that is decided again draws arms by another name.
    ArmDrawnAgain,
}

/// Decides with a defect. Each touchpoint is a transaction of its own, and every fifth one is undone and decided again.
fn decide_wrongly(models: &[Arc<Model>], comes: &[Entered], defect: Defect) -> Vec<Outcome> {
    let mut world = World::new(models, settings(usize::MAX), 1);
    let mut said = Vec::new();
    for (number, (touchpoint, log_time)) in comes.iter().enumerate() {
        let mut made = touchpoint.clone();
        if defect == Defect::ConsentByArrival && made.kind.starts_with("consent.") {
            made.event_time = *log_time;
        }
        let is_undone = number % 5 == 4;
        if is_undone && defect == Defect::CapForgottenAtUndo {
            world = forgetful(models, &mut world, |_| true);
        }
        if made.linked.is_some() && defect == Defect::CapForgottenAtJoin {
            world = forgetful(models, &mut world, |who| who.kind == IdentityKind::Anonymous);
        }
        world.give(0, made, *log_time);
        if is_undone {
            world.take_outcomes();
            world.tell(Input::Aborted);
        }
        for mut outcome in world.take_outcomes() {
            match &mut outcome.what {
                What::Withdrawal { .. } if is_undone && defect == Defect::WithdrawalLost => continue,
                What::Intervention { offer } if is_undone && defect == Defect::ArmDrawnAgain => {
                    let below = bucket("chat-1", &format!("{}?", outcome.identity.id)) < 3_000;
                    offer.arm = if below { Arm::HeldOut } else { Arm::Treated };
                }
                _ => {}
            }
            said.push(outcome);
        }
        world.commit();
    }
    said
}

/// The world as it was committed last, but for what is kept of contacts with some.
fn forgetful(models: &[Arc<Model>], world: &mut World, forgotten: impl Fn(&Identity) -> bool) -> World {
    let mut customers = Customers::default();
    for customer in world.customers() {
        let customer = if forgotten(&customer.identity) { customer.without_contacts() } else { customer };
        customers.restore(&customer);
    }
    World::going_on(models, settings(usize::MAX), customers, world.shard.committed().clone())
}

#[test]
fn every_deliberate_defect_breaks_a_promise() {
    let defects = [
        Defect::CapForgottenAtUndo,
        Defect::CapForgottenAtJoin,
        Defect::ConsentByArrival,
        Defect::WithdrawalLost,
        Defect::ArmDrawnAgain,
    ];
    let mut missed = Vec::new();
    for defect in defects {
        let caught = (0..CATCH).find_map(|run| {
            let mut dice = Dice::new(run);
            let (terms, comes) = (Terms::draw(&mut dice), history(&mut dice));
            let outcomes = decide_wrongly(&terms.models(), &comes, defect);
            let judged = Judge::new(&terms, &comes, &outcomes).judge(&mut Seen::default());
            Some((run, judged.err()?))
        });
        match caught {
            Some((run, broken)) => eprintln!("{defect:?}: caught in history {run}: {broken}"),
            None => missed.push(defect),
        }
    }
    assert!(missed.is_empty(), "within {CATCH} histories nobody noticed: {missed:?}");
}

/// What was offered to somebody who is erased is taken back, before all that was published of them is.
#[test]
fn an_offer_is_withdrawn_when_its_customer_is_erased() {
    let mut dice = Dice::new(1);
    let terms = Terms { chat: (1, 1), all: (1, 1), all_share: 0, chat_share: 0, ..Terms::draw(&mut dice) };
    let at = |minutes: i64| START + Span::from_millis(minutes * MINUTE);
    let [shop, _] = terms.models();
    let mut world = World::new(&[shop], settings(usize::MAX), 1);
    for (kind, minute) in [("consent.given", 0), ("cart.added", 1), ("page.slow", 2)] {
        world.give(0, with_id(touchpoint("anna", kind, at(minute), kind), "cart_id", "A"), at(minute));
    }
    let offered = world.take_outcomes();
    let offer = offered.iter().find(|outcome| outcome.what.offer().is_some()).expect("an offer");
    world.commit();
    let erasure = Erasure { who: vec![Identity::customer("anna")], scope: ErasureScope::AllShards };
    let record = Buffered { offset: world.next_offset(0), log_time: at(3), body: Body::Erasure(Box::new(erasure)) };
    world.tell(Input::Record { input: 0, record });
    let said: Vec<String> = world
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Publish { outcome, .. } => Some(format!("{outcome}")),
            Action::Tombstone(who) => Some(format!("tombstone {}", who.id)),
            _ => None,
        })
        .collect();
    assert_eq!(said, ["withdraws chat: erased", "tombstone anna"]);
    let withdrawal = world.take_outcomes().remove(0);
    assert_eq!((offer_of(&withdrawal).answers.id, withdrawal.at), (offer.id, at(3)));
}

/// The subject of what asked is handed on, so that the offer can name the basket.
#[test]
fn an_offer_says_what_it_is_about() {
    let mut dice = Dice::new(1);
    let terms = Terms { chat: (1, 1), all: (1, 1), all_share: 0, chat_share: 0, ..Terms::draw(&mut dice) };
    let at = |minutes: i64| START + Span::from_millis(minutes * MINUTE);
    let story: Vec<Entered> = [("consent.given", 0), ("cart.added", 1), ("page.slow", 2)]
        .into_iter()
        .map(|(kind, minute)| (with_id(touchpoint("anna", kind, at(minute), kind), "cart_id", "A"), at(minute)))
        .collect();
    let [shop, _] = terms.models();
    let (outcomes, _) = decide_with(settings(usize::MAX), &[shop], &story, &[Fate::Nothing]);
    let offer = outcomes.iter().find_map(|outcome| outcome.what.offer()).expect("an offer");
    let about = offer.about.as_ref().expect("a subject");
    assert!(matches!(&about.subject, Subject::Episode { kind, .. } if kind == "basket"), "{about:?}");
}

/// An offer that waits: asked for at night, made in the morning, and not at all where what takes it back comes before, where the
/// night is longer than it may wait, or where nobody knows when it is morning.
#[test]
fn what_is_asked_for_at_night_is_offered_in_the_morning_unless_it_is_over() {
    let mut dice = Dice::new(1);
    let of_day = |minutes: i64| (START.as_millis() / MINUTE + minutes).rem_euclid(1_440);
    let usual = |mail_waits, otherwise| Terms {
        mail_waits,
        otherwise,
        all: (5, 24),
        all_share: 0,
        // From an hour before the story begins, for nine hours.
        quiet: (of_day(-60), of_day(480)),
        ..Terms::draw(&mut Dice::new(1))
    };
    let at = |minutes: i64| START + Span::from_millis(minutes * MINUTE);
    let filled = || (with_id(touchpoint("anna", "cart.added", at(5), "1"), "cart_id", "A"), at(5));
    let bought = |minute| (with_id(touchpoint("anna", "order.completed", at(minute), "2"), "cart_id", "A"), at(minute));
    let end = || (touchpoint("bert", "page.viewed", at(1_000), "9"), at(1_000));
    let mut offers = |terms: Terms, story: &[Entered]| -> Vec<Timestamp> {
        let [shop, _] = terms.models();
        let settings = settings(dice.between(1, 9) as usize);
        let (outcomes, mut world) = decide_with(settings, &[shop], story, &[Fate::Nothing, Fate::Abort]);
        let waits = world.customers().iter().any(|customer| customer.contacts().waiting().count() > 0);
        assert!(!waits, "nothing waits for ever");
        outcomes.iter().filter(|one| matches!(one.what, What::Intervention { .. })).map(|one| one.at).collect()
    };
    // Abandoned after 35 minutes; it is not quiet any more after 480.
    assert_eq!(offers(usual(Some(12), true), &[filled(), end()]), [at(480)]);
    assert_eq!(offers(usual(Some(7), true), &[filled(), end()]), [], "it would wait for longer than it may");
    assert_eq!(offers(usual(None, true), &[filled(), end()]), [], "it does not wait");
    assert_eq!(offers(usual(Some(12), false), &[filled(), end()]), [], "nobody knows when it is morning");
    assert_eq!(offers(usual(Some(12), true), &[filled(), bought(400), end()]), [], "it was bought at night");
    assert_eq!(offers(usual(Some(12), true), &[filled(), bought(600), end()]), [at(480)]);
    // The purchase of before is told late, within the grace: what was told of the basket is taken back.
    let late = (with_id(touchpoint("anna", "order.completed", at(30), "2"), "cart_id", "A"), at(38));
    assert_eq!(offers(usual(Some(12), true), &[filled(), late, end()]), [], "it had been bought");
}

/// What waits as somebody anonymous is over where the customer has bought meanwhile, however long before the two are one.
#[test]
fn what_waits_under_another_id_is_over_once_the_customer_has_bought() {
    let of_day = |minutes: i64| (START.as_millis() / MINUTE + minutes).rem_euclid(1_440);
    let usual = || Terms {
        mail_waits: Some(12),
        otherwise: true,
        all: (5, 24),
        all_share: 0,
        quiet: (of_day(-60), of_day(480)),
        ..Terms::draw(&mut Dice::new(1))
    };
    let at = |minutes: i64| START + Span::from_millis(minutes * MINUTE);
    let act = |who: &str, kind: &str, cart: &str, minute: i64| {
        (with_id(touchpoint(who, kind, at(minute), &format!("{kind}{minute}")), "cart_id", cart), at(minute))
    };
    let mut filled = act("", "cart.added", "A", 5);
    filled.0.identity = Identity::anonymous("a1");
    let mut login = act("anna", "page.viewed", "", 300);
    login.0.linked = Some("a1".into());
    let end = (touchpoint("bert", "page.viewed", at(1_000), "9"), at(1_000));
    let [shop, _] = usual().models();
    let offers = |story: &[Entered]| {
        let (outcomes, _) = decide_with(settings(usize::MAX), &[Arc::clone(&shop)], story, &[Fate::Nothing]);
        outcomes.iter().filter(|one| matches!(one.what, What::Intervention { .. })).count()
    };
    assert_eq!(offers(&[filled.clone(), login.clone(), end.clone()]), 1);
    let bought = [act("anna", "cart.added", "B", 50), act("anna", "order.completed", "B", 60)];
    assert_eq!(offers(&[vec![filled], bought.to_vec(), vec![login, end]].concat()), 0);
}

/// A model that knows no interventions any more has nothing wait, and goes on.
#[test]
fn what_waits_for_an_intervention_that_is_gone_is_forgotten() {
    let at = |minutes: i64| START + Span::from_millis(minutes * MINUTE);
    let contacts = "contact: { quiet hours: { from: \"00:00\", to: \"12:00\", otherwise: UTC } }";
    let model = |interventions: &str| {
        let text = format!(
            "sillage: 1\nmodel: shop\nstages: {{ shopping: {{ enter: page.viewed }} }}\nepisodes:\n  basket: {{ known by: \
             customer, opens: cart.added, completes: order.completed, abandoned after: 30m }}\n{interventions}"
        );
        let (model, faults) = model::load("shop.yaml", &text);
        let mut model = model.unwrap_or_else(|| panic!("{faults:?}\n{text}"));
        let (contacts, _) = model::load_contacts("contacts.yaml", contacts);
        assert!(model.contact_by(contacts.map(Arc::new).as_ref()).is_empty());
        Arc::new(model)
    };
    let reminder = |name: &str| {
        format!(
            "interventions:\n  {name}: {{ on: {{ abandonment: basket }}, channel: mail, quiet hours: wait, expires: 1d }}\n"
        )
    };
    for (interventions, offers) in [(reminder("reminder"), 1), (reminder("another"), 0), (String::new(), 0)] {
        let mut world = World::new(&[model(&reminder("reminder"))], settings(usize::MAX), 1);
        world.give(0, touchpoint("anna", "cart.added", at(5), "1"), at(5));
        world.quiet_until(0, at(60));
        world.commit();
        let waits = |world: &mut World| world.customers().iter().map(|one| one.contacts().waiting().count()).sum::<usize>();
        assert_eq!(waits(&mut world), 1);
        let mut customers = Customers::default();
        world.customers().iter().for_each(|customer| customers.restore(customer));
        let committed = world.shard.committed().clone();
        let mut world = World::going_on(&[model(&interventions)], settings(usize::MAX), customers, committed);
        world.quiet_until(0, at(1_440));
        let made = world.take_outcomes().iter().filter(|one| matches!(one.what, What::Intervention { .. })).count();
        assert_eq!((made, waits(&mut world)), (offers, 0), "{interventions}");
    }
}
