//! What is measured of interventions, worked out anew by a slow reading of `docs/interventions.md` from what was published: each
//! customer once, by the first decision, with the goals that hold when it is due; and sums that are those of the measurements to
//! the last unit, whatever transactions are undone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sillage::journey::{Arm, ArmOf, ArmSums, Measured, Measurement, Outcome, Sums, What};
use sillage::model::{self, Model};
use sillage::shard::{Body, Buffered, Customers, Erasure, ErasureScope, Input, Settings};
use sillage::time::{Span, Timestamp};
use sillage::touchpoint::{Identity, Touchpoint};
use uuid::Uuid;

use crate::any_order::Dice;
use crate::laws::{Entered, Fate, decide_with};
use crate::offers::{GRACE, Terms, history, settings, told};
use crate::world::{START, World, after, sentences, touchpoint, with_id};

/// Within so many histories each deliberate defect must be caught.
const CATCH: u64 = 2_000;

/// Refuses with the law and what breaks it.
macro_rules! law {
    ($holds:expr, $($how:tt)*) => {
        if !$holds {
            return Err(format!($($how)*));
        }
    };
}

fn measurement(outcome: &Outcome) -> Option<&Measurement> {
    match &outcome.what {
        What::Measurement { of } => Some(of),
        _ => None,
    }
}

/// What stands of the completions of a customer after these outcomes.
fn completions<'a>(who: &Identity, said: &'a [Outcome]) -> Vec<&'a Outcome> {
    let mut last: BTreeMap<Uuid, &Outcome> = BTreeMap::new();
    for outcome in said.iter().filter(|outcome| outcome.identity == *who) {
        if matches!(outcome.what.original(), What::Completion { .. }) {
            last.insert(outcome.id, outcome);
        }
    }
    last.into_values().filter(|outcome| !outcome.what.is_retraction()).collect()
}

/// The sums of all measurements.
fn added_up(outcomes: &[Outcome]) -> Sums {
    let mut sums = Sums::default();
    for outcome in outcomes {
        let Some(of) = measurement(outcome) else { continue };
        let arm = ArmOf {
            intervention: format!("{}/{}", outcome.model, of.intervention).into(),
            version: of.version,
            arm: of.arm,
            variant: of.variant.clone(),
        };
        let measured = Measured { converted: of.converted, value: outcome.value, before: of.before, due: outcome.at };
        sums.measure(arm, measured);
    }
    sums
}

fn measured(outcome: &Outcome) -> &Measurement {
    measurement(outcome).unwrap_or_else(|| panic!("measures nothing: {outcome}"))
}

/// The sums of those who were measured, without those who were only counted.
fn of_measured(sums: &Sums) -> Vec<(ArmOf, ArmSums)> {
    let counted = |(of, sums): (&ArmOf, &ArmSums)| (of.clone(), ArmSums { crossed: 0, erased: 0, late: 0, ..sums.clone() });
    sums.iter().filter(|(_, sums)| sums.measured > 0).map(counted).collect()
}

#[derive(Debug, Default)]
struct Seen {
    measured: usize,
    converted: usize,
    before: usize,
    crossed: u64,
    late: u64,
}

fn judge(terms: &Terms, comes: &[Entered], outcomes: &[Outcome], sums: &Sums, seen: &mut Seen) -> Result<(), String> {
    let end = comes.last().map_or(START, |(_, came)| *came) + Span::from_days(2);
    let anonymous = |linked: &str| Identity::anonymous(linked);
    let joined: BTreeSet<Identity> = comes
        .iter()
        .filter_map(|(one, _)| Some([one.identity.clone(), anonymous(one.linked.as_deref()?)]))
        .flatten()
        .collect();
    let owner = |who: &Identity, at: Timestamp| {
        let is_it = |(one, came): &&Entered| one.linked.as_deref().map(anonymous).as_ref() == Some(who) && *came <= at;
        comes.iter().find(is_it).map_or_else(|| who.clone(), |(one, _)| one.identity.clone())
    };
    let mut exposed: BTreeSet<(&Identity, &str)> = BTreeSet::new();
    for (place, made) in outcomes.iter().enumerate() {
        let What::Intervention { offer } = &made.what else { continue };
        let hours = match offer.name.as_str() {
            "chat" => terms.goal_hours,
            "reminder" => 12,
            _ => continue,
        };
        if !exposed.insert((&made.identity, &offer.name)) || joined.contains(&made.identity) {
            continue;
        }
        let until = made.at + Span::from_secs(3_600 * hours);
        let due = until + GRACE;
        let is_its = |(_, one): &(usize, &Outcome)| measurement(one).is_some_and(|of| of.answers.id == made.id);
        let mut all = outcomes.iter().enumerate().filter(is_its);
        let found = all.next();
        law!(found.is_some() == (due <= end), "{made} is due {due}: {found:?}");
        law!(all.next().is_none(), "{made} is measured twice");
        let Some((later, found)) = found else { continue };
        let of = measured(found);
        law!(found.at == due && found.identity == made.identity, "{found} of {made} is due {due}");
        law!((of.arm, &of.variant) == (offer.arm, &offer.variant), "{found} in another arm than {made}");
        let reached = completions(&made.identity, &outcomes[..later]);
        let mut reached: Vec<&&Outcome> = reached.iter().filter(|one| (made.at..until).contains(&one.at)).collect();
        reached.sort_by_key(|one| (one.at, one.id));
        law!(of.converted != reached.is_empty(), "{found}, and there is {reached:?}");
        let micros: Vec<i64> = reached.iter().filter_map(|one| one.value).map(|value| value.micros).collect();
        let value = found.value.map(|value| value.micros);
        law!(value == (!micros.is_empty()).then(|| micros.iter().sum()), "{found} of {reached:?}");
        let recent = |one: &&&Outcome| one.at <= made.at && made.at.since(one.at) < Span::from_days(30);
        let before = completions(&made.identity, &outcomes[..place]).iter().filter(recent).count() as u64;
        // The state remembers what was completed though nothing was open.
        law!(of.before >= before, "{found}: reached {} times before, and not {before}", of.before);
        seen.before += usize::from(of.before > 0);
    }
    let all: Vec<&Outcome> = outcomes.iter().filter(|one| measurement(one).is_some()).collect();
    for (place, one) in all.iter().enumerate() {
        let who = owner(&one.identity, one.at);
        law!(who == one.identity, "{one} of somebody who is {who:?} by now");
        let of = measured(one);
        let again = all[..place].iter().find(|other| {
            let same = measured(other).intervention == of.intervention;
            same && owner(&other.identity, one.at) == who && owner(&other.identity, other.at) == who
        });
        law!(again.is_none(), "{one} once more, after {again:?}");
    }
    law!(of_measured(sums) == of_measured(&added_up(outcomes)), "the sums are not those of the measurements: {sums:#?}");
    seen.measured += all.len();
    seen.converted += all.iter().filter(|one| measured(one).converted).count();
    seen.crossed += sums.iter().map(|(_, sums)| sums.crossed).sum::<u64>();
    seen.late += sums.iter().map(|(_, sums)| sums.late).sum::<u64>();
    Ok(())
}

#[test]
fn each_customer_is_measured_once_by_what_holds_when_it_is_due() {
    let mut seen = Seen::default();
    for run in 0..1_500 {
        let mut dice = Dice::new(run);
        let (terms, comes) = (Terms::draw(&mut dice), history(&mut dice));
        let models = terms.models();
        let (outcomes, mut world) = decide_with(settings(usize::MAX), &models, &comes, &[Fate::Nothing]);
        if let Err(broken) = judge(&terms, &comes, &outcomes, &world.shard.sums(), &mut seen) {
            panic!("run {run}: {broken}\n{}", told(&comes, &outcomes));
        }
    }
    eprintln!("{seen:?}");
    assert!(seen.measured > 1_000 && seen.converted > 100 && seen.before > 20 && seen.crossed > 0, "{seen:?}");
}

/// How an engine could be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    /// What an undone transaction has measured stays in the sums.
    SumsStayAtUndo,
    /// An undone transaction is decided again without what was exposed before.
    ExposureForgottenAtUndo,
    /// A measurement is left out of what is published.
    MeasurementLost,
}

fn decide_wrongly(models: &[Arc<Model>], comes: &[Entered], defect: Defect) -> (Vec<Outcome>, Sums) {
    let mut world = World::new(models, settings(usize::MAX), 1);
    let mut said = Vec::new();
    let end = comes.last().map_or(START, |(_, came)| *came) + Span::from_days(2);
    let act = |world: &mut World, come: Option<&Entered>| match come {
        Some((touchpoint, log_time)) => world.give(0, touchpoint.clone(), *log_time),
        None => world.quiet_until(0, end),
    };
    for (number, come) in comes.iter().map(Some).chain([None]).enumerate() {
        let is_undone = number % 5 == 4 || come.is_none();
        match defect {
            Defect::ExposureForgottenAtUndo if is_undone => {
                world = with_changed(models, &mut world, &Sums::default(), true);
            }
            Defect::SumsStayAtUndo if is_undone => {
                let mut undone = with_changed(models, &mut world, &Sums::default(), false);
                act(&mut undone, come);
                let mut more = Sums::default();
                for (of, sums) in undone.shard.sums().iter() {
                    let before = world.shard.sums().get(of).map_or(0, |known| known.measured);
                    if sums.measured > before {
                        more.measure(of.clone(), Measured { converted: false, value: None, before: 0, due: end });
                    }
                }
                world = with_changed(models, &mut world, &more, false);
            }
            Defect::SumsStayAtUndo | Defect::ExposureForgottenAtUndo | Defect::MeasurementLost => {}
        }
        act(&mut world, come);
        if is_undone {
            world.take_outcomes();
            world.tell(Input::Aborted);
        }
        let lost = |outcome: &Outcome| defect == Defect::MeasurementLost && is_undone && measurement(outcome).is_some();
        said.extend(world.take_outcomes().into_iter().filter(|outcome| !lost(outcome)));
        world.commit();
    }
    said.extend(world.take_outcomes());
    (said, world.shard.sums())
}

/// The world as it was committed last, with these sums besides, and without what is kept of contacts where that is wished.
fn with_changed(models: &[Arc<Model>], world: &mut World, sums: &Sums, forgets: bool) -> World {
    let progress = world.shard.committed().clone();
    let mut customers = Customers::default();
    customers.restore_sums(&world.shard.customers().sums());
    customers.restore_sums(sums);
    for customer in world.customers() {
        customers.restore(&if forgets { customer.without_contacts() } else { customer });
    }
    World::going_on(models, settings(usize::MAX), customers, progress)
}

#[test]
fn every_deliberate_defect_is_noticed() {
    let mut missed = Vec::new();
    for defect in [Defect::SumsStayAtUndo, Defect::ExposureForgottenAtUndo, Defect::MeasurementLost] {
        let caught = (0..CATCH).find_map(|run| {
            let mut dice = Dice::new(run);
            let (terms, comes) = (Terms::draw(&mut dice), history(&mut dice));
            let (outcomes, sums) = decide_wrongly(&terms.models(), &comes, defect);
            Some((run, judge(&terms, &comes, &outcomes, &sums, &mut Seen::default()).err()?))
        });
        match caught {
            Some((run, broken)) => eprintln!("{defect:?}: caught in history {run}: {broken}"),
            None => missed.push(defect),
        }
    }
    assert!(missed.is_empty(), "within {CATCH} histories nobody noticed: {missed:?}");
}

const HELP: &str = "
sillage: 1
model: shop
version: 4
currency: EUR
stages: { shopping: { enter: page.viewed } }
episodes:
  basket: { known by: [cart_id, customer], opens: cart.added, completes: order.completed, worth: value }
friction: { lost: { on: page.slow, cool-down: 1s } }
interventions:
  help:
    on: { friction: lost }
    channel: chat
    quiet hours: ignore
    holdout: { share: 50%, salt: help-1 }
    expires: 5m
    goal: { completion: basket, within: 24h }
";

fn help() -> Arc<Model> {
    let (model, faults) = model::load("shop.yaml", HELP);
    Arc::new(model.unwrap_or_else(|| panic!("{faults:?}")))
}

fn world() -> World {
    World::new(&[help()], Settings { settle: Span::ZERO, grace: GRACE, ..Settings::default() }, 1)
}

fn bought(who: &str, at: &str, cart: &str, value: f64) -> Touchpoint {
    let mut made = touchpoint(who, "order.completed", after(at), &format!("bought {cart} {at}"));
    made.properties.push(("value".into(), sillage::touchpoint::Value::Number(value)));
    with_id(made, "cart_id", cart)
}

fn added(who: &str, at: &str, cart: &str) -> Touchpoint {
    with_id(touchpoint(who, "cart.added", after(at), &format!("added {cart}")), "cart_id", cart)
}

fn slow(who: &str, at: &str) -> Touchpoint {
    touchpoint(who, "page.slow", after(at), &format!("slow {at}"))
}

/// Plays a story as it happens, then waits.
fn play(world: &mut World, story: Vec<Touchpoint>, until: &str) -> Vec<Outcome> {
    for touchpoint in story {
        let at = touchpoint.event_time;
        world.give(0, touchpoint, at);
    }
    world.quiet_until(0, after(until));
    world.take_outcomes()
}

fn of_arm(sums: &Sums, arm: Arm) -> ArmSums {
    let of = ArmOf { intervention: "shop/help".into(), version: 4, arm, variant: None };
    sums.get(&of).cloned().unwrap_or_default()
}

/// The first of some names that draws this arm.
fn drawn(arm: Arm, kind: fn(String) -> Identity) -> String {
    let held_out = |id: &String| sillage::journey::arm::bucket("help-1", &kind(id.clone())) < 5_000;
    (0..).map(|number| format!("p{number}")).find(|id| held_out(id) == arm.is_held_out()).expect("there is one")
}

fn customer(id: String) -> Identity {
    Identity::customer(id)
}

fn anonymous(id: String) -> Identity {
    Identity::anonymous(id)
}

#[test]
fn what_is_measured_says_what_became_of_the_goal_and_what_was_before() {
    let mut world = world();
    let (anna, dora) = (drawn(Arm::Treated, customer), drawn(Arm::HeldOut, customer));
    let story = vec![
        added(&anna, "0m", "old"),
        bought(&anna, "1m", "old", 10.0),
        slow(&anna, "1h"),
        slow(&dora, "2h"),
        added(&anna, "3h", "a"),
        bought(&anna, "4h", "a", 120.0),
        added(&anna, "5h", "b"),
        bought(&anna, "6h", "b", 0.55),
        // The second decision about her is no exposure.
        slow(&anna, "7h"),
    ];
    let outcomes = play(&mut world, story, "3d");
    let all: Vec<&Outcome> = outcomes.iter().filter(|one| measurement(one).is_some()).collect();
    let said: Vec<Outcome> = all.iter().map(|one| (*one).clone()).collect();
    assert_eq!(sentences(&said), "measures help: converted, 120.55 EUR; measures help (held-out): not converted");
    assert_eq!(all.iter().map(|one| one.at).collect::<Vec<_>>(), [after("25h") + GRACE, after("26h") + GRACE]);
    let asked = outcomes.iter().find(|one| one.what.kind() == "intervention").expect("an offer");
    assert_eq!((measured(all[0]).answers.id, measured(all[0]).before), (asked.id, 1));
    let sums = world.shard.sums();
    let (treated, held_out) = (of_arm(&sums, Arm::Treated), of_arm(&sums, Arm::HeldOut));
    assert_eq!((treated.measured, treated.converted, treated.values[0].value), (1, 1, 12_055));
    assert_eq!((held_out.measured, held_out.converted, held_out.values.len()), (1, 0, 0));
    world.commit();
    assert_eq!((world.shard.customers().sums(), world.shard.customers().len()), (sums, 2));
}

#[test]
fn a_purchase_that_is_taken_back_before_it_is_due_is_no_goal_and_one_after_it_is_counted() {
    let mut world = world();
    let anna = drawn(Arm::Treated, customer);
    let story =
        vec![slow(&anna, "1h"), added(&anna, "24h", "a"), added(&anna, "24h1m", "y"), bought(&anna, "24h59m", "a", 50.0)];
    let mut outcomes = play(&mut world, story, "24h59m");
    // An earlier purchase of the same basket comes late: the later one was none.
    world.give(0, bought(&anna, "24h57m", "a", 20.0), after("25h5m"));
    outcomes.extend(play(&mut world, Vec::new(), "26h"));
    let measured: Vec<Outcome> = outcomes.into_iter().filter(|one| measurement(one).is_some()).collect();
    assert_eq!(sentences(&measured), "measures help: converted, 20 EUR");
    // Much too late: it happened within the window, and its customer has been measured.
    world.give(0, bought(&anna, "24h59m30s", "y", 20.0), after("27h"));
    let outcomes = play(&mut world, Vec::new(), "29h");
    assert!(outcomes.iter().all(|one| measurement(one).is_none()), "{}", sentences(&outcomes));
    let treated = of_arm(&world.shard.sums(), Arm::Treated);
    assert_eq!((treated.measured, treated.values[0].value, treated.late), (1, 2_000, 1));
}

#[test]
fn two_ids_of_one_customer_with_two_arms_are_left_out_and_counted() {
    let (anna, cookie, other) =
        (drawn(Arm::Treated, customer), drawn(Arm::HeldOut, anonymous), drawn(Arm::Treated, anonymous));
    for (anonymous, expected) in [(&cookie, (0, 1, 0)), (&other, (1, 0, 1))] {
        let mut world = world();
        let mut before = slow("", "1h");
        before.identity = Identity::anonymous(anonymous.as_str());
        let mut login = touchpoint(&anna, "page.viewed", after("3h"), "login");
        login.linked = Some(anonymous.as_str().into());
        let story = vec![before, slow(&anna, "2h"), login, added(&anna, "4h", "a"), bought(&anna, "5h", "a", 9.0)];
        let outcomes = play(&mut world, story, "3d");
        let measured = outcomes.iter().filter(|one| measurement(one).is_some()).count() as u64;
        let sums = world.shard.sums();
        let crossed: u64 = sums.iter().map(|(_, sums)| sums.crossed).sum();
        let converted: u64 = sums.iter().map(|(_, sums)| sums.converted).sum();
        assert_eq!((measured, crossed, converted), expected, "{sums:#?}");
    }
}

#[test]
fn who_is_erased_before_it_is_due_is_left_out_and_counted_and_the_sums_stay_after_it() {
    let (anna, dora) = (drawn(Arm::Treated, customer), drawn(Arm::HeldOut, customer));
    let erase = |world: &mut World, who: &str, at: &str| {
        let erasure = Erasure { scope: ErasureScope::AllShards, who: vec![Identity::customer(who)] };
        let body = Body::Erasure(Box::new(erasure));
        let record = Buffered { offset: world.next_offset(0), log_time: after(at), body };
        world.tell(Input::Record { input: 0, record });
    };
    let mut world = world();
    play(&mut world, vec![slow(&anna, "1h"), slow(&dora, "2h")], "3h");
    erase(&mut world, &dora, "4h");
    play(&mut world, Vec::new(), "2d");
    erase(&mut world, &anna, "2d1h");
    let sums = world.shard.sums();
    assert_eq!((of_arm(&sums, Arm::Treated).measured, of_arm(&sums, Arm::HeldOut).erased), (1, 1));
    assert_eq!(of_arm(&sums, Arm::HeldOut).measured, 0);
    world.commit();
    assert_eq!((world.shard.customers().sums(), world.shard.customers().len()), (sums, 0));
}

/// Baskets that are left behind are reminded of, in two variants or not at all.
const REMINDER: &str = "
sillage: 1
model: shop
currency: EUR
stages: { shopping: { enter: [page.viewed, product.viewed] } }
episodes:
  basket:
    known by: [cart_id, checkout_id, order_id, customer]
    opens: cart.added
    progresses: [cart.viewed, checkout.started]
    completes: order.completed
    worth: value
    abandoned after: 30m
interventions:
  reminder:
    on: { abandonment: basket }
    channel: mail
    quiet hours: ignore
    holdout: { share: 30% }
    variants: { plain: 1, warm: 1 }
    expires: 1h
    goal: { completion: basket, within: 2d }
";

#[test]
fn sums_are_the_same_to_the_last_unit_however_many_partitions_there_are() {
    let folder = tempfile::tempdir().expect("a directory");
    let (made, model) = (folder.path().join("made.ndjson"), folder.path().join("shop.yaml"));
    std::fs::write(&model, REMINDER).expect("written");
    let sillage = || std::process::Command::new(env!("CARGO_BIN_EXE_sillage"));
    let made_up = sillage().args(["generate", "--count", "20000", "--customers", "1500"]).arg(&made).output();
    assert!(made_up.expect("sillage runs").status.success());
    let replay = |partitions: &str| -> serde_json::Value {
        let mut command = sillage();
        command.arg("replay").arg(&made).arg("--model").arg(&model).args(["--partitions", partitions, "--summary", "json"]);
        let output = command.args(["--until", "2026-06-01T00:00:00Z"]).output().expect("sillage runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON")["interventions"].take()
    };
    let alone = replay("1");
    let arms = alone[0]["arms"].as_array().expect("arms");
    let of = |name: &str| arms.iter().map(|arm| arm[name].as_u64().unwrap_or_default()).sum::<u64>();
    assert_eq!(arms.len(), 3, "{alone:#}");
    assert!(of("measured") > 200 && of("converted") > 20, "{alone:#}");
    assert!(arms.iter().any(|arm| !arm["values"].as_array().is_none_or(Vec::is_empty)), "{alone:#}");
    for partitions in ["2", "12"] {
        assert_eq!(replay(partitions), alone, "{partitions} partitions");
    }
}
