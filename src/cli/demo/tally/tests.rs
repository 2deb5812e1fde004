//! What the demo counts.

use uuid::Uuid;

use super::*;
use crate::cli::demo::trials::Reached;
use crate::cli::demo::{MODEL, model};
use crate::journey::{Abandonment, Arm, Offer, Passed};
use crate::touchpoint::{Currency, Money};

fn tally() -> Tally {
    assert!(MODEL.contains("five-stages"));
    Tally::new(&model().expect("a fine model"))
}

fn outcome(who: &str, journey: u32, cents: i64, what: What) -> Outcome {
    let currency = Currency::parse("EUR").expect("a currency");
    Outcome {
        id: Uuid::nil(),
        model: "five-stages".into(),
        model_version: 1,
        identity: Identity::customer(who),
        journey,
        journey_started_at: Timestamp::from_millis(0),
        sequence: 1,
        at: Timestamp::from_millis(3_600_000),
        cause: None,
        value: Some(Money { micros: cents * 10_000, currency }),
        channel: None,
        session: None,
        segment: None,
        hindsight: false,
        again: false,
        what,
    }
}

fn movement(who: &str, journey: u32, from: Option<&str>, to: &str, movement: Movement) -> Outcome {
    let what = What::Transition { from: from.map(Into::into), to: to.into(), movement, time_in_stage: None, decision: None };
    outcome(who, journey, 0, what)
}

fn about(subject: Subject) -> About {
    About {
        subject,
        opened_by: "t1".into(),
        opened_at: Timestamp::from_millis(0),
        last_progress: "t2".into(),
        last_progress_at: Timestamp::from_millis(1_800_000),
        progress_count: 2,
        abandonments: 0,
    }
}

fn episode(kind: &str, number: u32) -> About {
    about(Subject::Episode { kind: kind.into(), number, ids: vec![("cart_id".into(), "B1".into())] })
}

fn answers() -> Abandonment {
    Abandonment { id: Uuid::nil(), at: Timestamp::from_millis(0) }
}

fn funnel(tally: &mut Tally) -> Vec<(u64, u64)> {
    let snapshot = tally.snapshot(Timestamp::from_millis(0), Duration::from_secs(1));
    snapshot.stages.iter().map(|stage| (stage.population, stage.reached)).collect()
}

#[test]
fn the_funnel_follows_customers_forward_back_and_round_again() {
    let mut tally = tally();
    let steps = [
        (movement("c", 1, None, "awareness", Movement::Advance), [(1, 1), (0, 0), (0, 0), (0, 0)]),
        (movement("c", 1, Some("awareness"), "decision", Movement::Skip), [(0, 1), (0, 0), (1, 1), (0, 0)]),
        (movement("c", 1, Some("decision"), "consideration", Movement::Regress), [(0, 1), (1, 1), (0, 1), (0, 0)]),
        // In the same journey, nobody reaches a stage twice.
        (movement("c", 1, Some("consideration"), "decision", Movement::Advance), [(0, 1), (0, 1), (1, 1), (0, 0)]),
        (movement("c", 1, Some("decision"), "retention", Movement::Advance), [(0, 1), (0, 1), (0, 1), (1, 1)]),
        (movement("c", 2, Some("retention"), "consideration", Movement::ReEnter), [(0, 1), (1, 2), (0, 1), (0, 1)]),
    ];
    for (step, expected) in steps {
        tally.committed(std::slice::from_ref(&step), &[]);
        assert_eq!(funnel(&mut tally)[..4], expected, "after {step}");
    }
}

#[test]
fn a_basket_is_at_stake_once_however_often_it_is_abandoned() {
    let mut tally = tally();
    let abandons = |number, cents, kind| {
        outcome("c", 1, cents, What::Abandonment { about: episode(kind, number), passed: Passed::Silence })
    };
    tally.committed(&[abandons(1, 5_000, "basket"), abandons(1, 5_000, "checkout"), abandons(1, 7_000, "basket")], &[]);
    tally.committed(&[abandons(2, 1_000, "basket")], &[]);
    let stage = What::Abandonment { about: about(Subject::Stage("decision".into())), passed: Passed::Silence };
    tally.committed(&[outcome("c", 1, 5_000, stage)], &[]);
    let recovers = |kind| outcome("c", 1, 1_000, What::Recovery { about: episode(kind, 2), answers: answers() });
    tally.committed(&[recovers("basket"), recovers("checkout")], &[]);

    let snapshot = tally.snapshot(Timestamp::from_millis(0), Duration::from_secs(1));
    assert_eq!((snapshot.at_stake, snapshot.recovered), (60_000_000, 10_000_000));
    assert_eq!((snapshot.counts.abandonments, snapshot.counts.recoveries), (5, 2));
    // The stage's abandonment is counted, not told.
    assert_eq!((snapshot.told, snapshot.latest.len()), (6, 6));
    assert_eq!(snapshot.latest[0].words, "recovers checkout B1 (10 EUR)");
    assert_eq!((snapshot.latest[0].news, snapshot.latest[5].news), (News::Good, News::Bad));
    assert_eq!(snapshot.latest[5].words, "abandons basket B1 (50 EUR) after 30m");
}

/// There is much more friction than abandonment; in a list of both nobody would see the baskets left behind.
#[test]
fn friction_is_counted_and_crowds_no_abandonment_out() {
    let mut tally = tally();
    tally.committed(
        &[outcome("c", 1, 5_000, What::Abandonment { about: episode("basket", 1), passed: Passed::Silence })],
        &[],
    );
    let friction =
        What::Friction { about: episode("basket", 1), rule: "declined".into(), evidence: Vec::new(), score: None };
    for _ in 0..200 {
        tally.committed(&[outcome("c", 1, 5_000, friction.clone())], &[]);
    }
    let snapshot = tally.snapshot(Timestamp::from_millis(0), Duration::from_secs(1));
    assert_eq!((snapshot.counts.frictions, snapshot.told), (200, 1));
    assert_eq!(snapshot.latest[0].words, "abandons basket B1 (50 EUR) after 30m");
}

#[test]
fn stream_time_is_as_far_behind_as_the_slowest_shard() {
    let mut tally = tally();
    let at = |millis| Progress { stream_time: Some(Timestamp::from_millis(millis)), ..Progress::default() };
    assert_eq!(tally.snapshot(Timestamp::from_millis(9_000), Duration::ZERO).behind, None);
    tally.committed(&[], &[(0, at(5_000)), (1, at(8_000))]);
    tally.committed(&[], &[(1, at(8_500)), (2, Progress::default())]);
    let behind = tally.snapshot(Timestamp::from_millis(9_000), Duration::ZERO).behind;
    assert_eq!(behind, Some(Span::from_secs(4)));
}

#[test]
fn rates_are_of_the_last_seconds_only() {
    let mut tally = tally();
    let now = Timestamp::from_millis(0);
    tally.written(1_000);
    assert_eq!(tally.snapshot(now, Duration::from_secs(1)).rates.touchpoints, 1_000.0);
    for second in 2..=20 {
        tally.written(50);
        tally.snapshot(now, Duration::from_secs(second));
    }
    assert_eq!(tally.snapshot(now, Duration::from_secs(20)).rates.touchpoints, 50.0);
    for second in 21..=30 {
        tally.snapshot(now, Duration::from_secs(second));
    }
    assert_eq!(tally.snapshot(now, Duration::from_secs(30)).rates.touchpoints, 0.0);
}

/// Somebody counts once in each intervention, in the arm of the first decision, and once as bought.
#[test]
fn what_came_of_offers_is_counted_by_customer() {
    let mut tally = tally();
    let offer = |name: &str, arm| What::Intervention {
        offer: Box::new(Offer {
            name: name.into(),
            channel: "chat".into(),
            arm,
            variant: None,
            expires_at: Timestamp::from_millis(7_200_000),
            answers: answers(),
            about: Some(episode("basket", 1)),
            payload: Vec::new(),
        }),
    };
    let decide =
        |tally: &mut Tally, who: &str, name: &str, arm| tally.committed(&[outcome(who, 1, 100, offer(name, arm))], &[]);
    let buys = |tally: &mut Tally, who: &str, kind: &str| {
        tally.committed(&[outcome(who, 1, 100, What::Completion { about: episode(kind, 1) })], &[]);
    };
    buys(&mut tally, "early", "basket");
    for who in ["early", "buys", "buys", "waits"] {
        decide(&mut tally, who, "rescue-chat", Arm::Treated);
    }
    decide(&mut tally, "buys", "free-delivery", Arm::HeldOut);
    decide(&mut tally, "alone", "rescue-chat", Arm::HeldOut);
    decide(&mut tally, "alone", "no-goal", Arm::Treated);
    for kind in ["checkout", "basket", "basket"] {
        buys(&mut tally, "buys", kind);
    }
    let shown = tally.snapshot(Timestamp::from_millis(0), Duration::from_secs(1)).trials;
    let arm = |arm: Reached| (arm.customers, arm.reached);
    let arms: Vec<_> = shown.iter().map(|trial| (trial.name.as_str(), arm(trial.offered), arm(trial.held_out))).collect();
    assert_eq!(arms[0], ("rescue-chat", (3, 1), (1, 0)));
    assert_eq!(arms[1], ("free-delivery", (0, 0), (1, 1)));
    assert!(shown.iter().all(|trial| trial.interval.is_none()), "there are too few");
}
