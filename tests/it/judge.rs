//! A slow and obvious judge of what the model language can say beyond episodes: counted entries, conditions, segments,
//! tallies, friction, ways back and on.
//!
//! Random models meet random touchpoints of one customer. The judge keeps every touchpoint and works everything out from the
//! whole list again and again; it shares no code with the engine. Where the two disagree, model and touchpoints are cut down
//! to the smallest that still do, and shown as a scenario. `JUDGE_SEED` runs one case, `JUDGE_CASES` more of them.

mod dice;
mod engine;
mod late;
mod migrated;
mod plan;
mod walk;

use std::fmt::Write as _;

use dice::Dice;
use engine::engine;
use plan::Seconds;
pub(crate) use plan::{Condition, Kind, Plan, Rule, Scope, Sign, Stage, Sum, Touch, Wait, Way};
pub(crate) use walk::judge;

/// So long after the last touchpoint, everything has been decided.
const QUIET: Seconds = 20_000;

#[test]
fn the_engine_and_the_judge_agree() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("JUDGE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("JUDGE_CASES").unwrap_or(2_000),
    };
    let mut said = 0;
    for seed in seeds {
        let mut dice = Dice::new(seed);
        let plan = dice.plan();
        let touches = dice.touches(&plan, seed % 4 == 3);
        let end = end(&touches);
        let told = engine(&plan, &touches, end).unwrap_or_else(|faults| panic!("seed {seed}: {faults}\n{}", plan.yaml()));
        said += told.len();
        if told != walk::judge(&plan, &touches, end) {
            panic!("the engine and the judge disagree; JUDGE_SEED={seed}\n{}", smallest(plan, touches));
        }
    }
    assert!(said > 0, "no case said anything");
}

fn end(touches: &[Touch]) -> Seconds {
    touches.last().map_or(0, |last| last.log_time) + QUIET
}

/// Cuts away whatever can go while the two still disagree, and shows what is left.
fn smallest(mut plan: Plan, mut touches: Vec<Touch>) -> String {
    let disagree = |plan: &Plan, touches: &[Touch]| {
        let end = end(touches);
        engine(plan, touches, end).is_ok_and(|told| told != walk::judge(plan, touches, end))
    };
    loop {
        let mut smaller = false;
        for at in (0..touches.len()).rev() {
            let mut fewer = touches.clone();
            fewer.remove(at);
            if !fewer.is_empty() && disagree(&plan, &fewer) {
                (touches, smaller) = (fewer, true);
            }
        }
        for at in 0..touches.len() {
            for cut in TOUCH_CUTS {
                let mut plainer = touches.clone();
                cut(&mut plainer[at]);
                if format!("{plainer:?}") != format!("{touches:?}") && disagree(&plan, &plainer) {
                    (touches, smaller) = (plainer, true);
                }
            }
        }
        for less in lesser(&plan) {
            if less.yaml() != plan.yaml() && disagree(&less, &touches) {
                (plan, smaller) = (less, true);
                break;
            }
        }
        if !smaller {
            return shown(&plan, &touches);
        }
    }
}

const TOUCH_CUTS: [fn(&mut Touch); 6] = [
    |touch| touch.session = None,
    |touch| touch.question = None,
    |touch| touch.nps = None,
    |touch| touch.value = None,
    |touch| touch.ends = None,
    |touch| touch.happened = touch.log_time,
];

/// The plan with one thing less, in every way.
fn lesser(plan: &Plan) -> Vec<Plan> {
    let mut all = Vec::new();
    let mut change = |how: &dyn Fn(&mut Plan)| {
        let mut less = plan.clone();
        how(&mut less);
        all.push(less);
    };
    for at in 0..plan.rules.len() {
        change(&|plan| drop(plan.rules.remove(at)));
        change(&|plan| plan.rules[at].segments.clear());
        change(&|plan| plan.rules[at].evidence_only = false);
        change(&|plan| plan.rules[at].cool_down = None);
        change(&|plan| match &mut plan.rules[at].sign {
            plan::Sign::Count(_, _, within) | plan::Sign::Pattern(_, within) | plan::Sign::Score { within, .. } => {
                *within = None
            }
            plan::Sign::Missing { by, .. } => *by = false,
            plan::Sign::Dwells { until, .. } => *until = Some("answers".to_owned()),
        });
        change(&|plan| {
            if let plan::Sign::Score { from, .. } = &mut plan.rules[at].sign {
                from.pop();
            }
        });
    }
    for at in 0..plan.kinds.len() {
        change(&|plan| drop(plan.kinds.remove(at)));
        change(&|plan| plan.kinds[at].after = None);
        change(&|plan| plan.kinds[at].pays = None);
        change(&|plan| plan.kinds[at].empties = None);
        change(&|plan| plan.kinds[at].cancels = None);
        change(&|plan| plan.kinds[at].progresses = Some(vec!["views".to_owned()]));
        change(&|plan| plan.kinds[at].abandoned_at = false);
        change(&|plan| plan.kinds[at].again_every = None);
        change(&|plan| plan.kinds[at].by_id = false);
    }
    for at in 0..plan.stages.len() {
        change(&|plan| drop(plan.stages.remove(at)));
        change(&|plan| plan.stages[at].when = None);
        change(&|plan| plan.stages[at].quiet = None);
        change(&|plan| plan.stages[at].progresses = None);
        change(&|plan| plan.stages[at].abandoned_at = false);
        change(&|plan| plan.stages[at].again_every = None);
        change(&|plan| plan.stages[at].at_least = None);
        change(&|plan| plan.stages[at].back = None);
        change(&|plan| plan.stages[at].again = None);
        change(&|plan| plan.stages[at].renews = None);
        change(&|plan| plan.stages[at].then = None);
        change(&|plan| plan.stages[at].enter.truncate(1));
        change(&|plan| drop(plan.stages[at].enter.remove(0)));
        change(&|plan| {
            if let Some((_, by)) = &mut plan.stages[at].back {
                by.truncate(1);
            }
        });
        change(&|plan| {
            if let Some((_, by)) = &mut plan.stages[at].back {
                by.remove(0);
            }
        });
    }
    change(&|plan| plan.segments.clear());
    for at in 0..plan.segments.len() {
        change(&|plan| drop(plan.segments.remove(at)));
    }
    for at in 0..plan.tallies.len() {
        change(&|plan| drop(plan.tallies.remove(at)));
    }
    for at in 0..plan.groups.len() {
        change(&|plan| drop(plan.groups.remove(at)));
        change(&|plan| plan.groups[at].when = None);
    }
    all
}

/// As a scenario whose last column is the engine's, with both lists behind it.
fn shown(plan: &Plan, touches: &[Touch]) -> String {
    let mut text = format!("\n```yaml\n{}```\n\n| when | Anna does |\n| ---- | --------- |\n", plan.yaml());
    for touch in touches {
        let _ = write!(text, "| {}s | {}", touch.log_time, touch.kind);
        if touch.happened != touch.log_time {
            let _ = write!(text, " at={}s", touch.happened);
        }
        for (name, id) in [("k", touch.k), ("session", touch.session), ("question", touch.question)] {
            let _ = id.map_or(Ok(()), |id| write!(text, " {name}={id}"));
        }
        let _ = touch.nps.map_or(Ok(()), |nps| write!(text, " nps={nps}"));
        let _ = touch.value.map_or(Ok(()), |value| write!(text, " value={value} EUR"));
        let _ = touch.ends.map_or(Ok(()), |ends| write!(text, " ends_at={ends}s"));
        text.push_str(" |\n");
    }
    let told = engine(plan, touches, end(touches)).unwrap_or_else(|faults| vec![faults]);
    let judged = walk::judge(plan, touches, end(touches));
    let _ = write!(text, "\nthe engine:\n  {}\nthe judge:\n  {}\n", told.join("\n  "), judged.join("\n  "));
    text
}

#[test]
fn the_judge_knows_a_story_worked_out_by_hand() {
    let looking = Stage {
        name: "looking".into(),
        enter: vec![Way::Count(2, "a".into(), 10)],
        quiet: Some(Wait::Fixed(20)),
        at_least: Some(5),
        ..Stage::default()
    };
    let deciding = Stage {
        name: "deciding".into(),
        enter: vec![Way::One("b".into())],
        back: Some(("looking".into(), vec!["friction.trouble".into()])),
        ..Stage::default()
    };
    let trouble = Rule {
        name: "trouble".into(),
        scope: Scope::Journey,
        sign: Sign::Count(2, "fails".into(), Some(5)),
        cool_down: Some(30),
        evidence_only: false,
        segments: Vec::new(),
    };
    let plan = Plan { stages: vec![looking, deciding], rules: vec![trouble], ..Plan::default() };
    let story = [(99, "a"), (109, "a"), (110, "a"), (113, "b"), (115, "b"), (120, "fails"), (125, "fails"), (129, "fails")];
    let bare = |(at, kind)| Touch {
        happened: at,
        log_time: at,
        kind,
        k: None,
        session: None,
        question: None,
        nps: None,
        value: None,
        ends: None,
    };
    // The first two lie ten seconds apart: too far. Three seconds are too short a stay, five are not. Then she is silent.
    let expected = [
        "110s move nowhere > looking Advance by t2 journey 1",
        "115s move looking > deciding Complete by t4 journey 1",
        "129s friction trouble in journey of t6,t7 by t7 journey 1",
        "129s move deciding > looking Regress by t7 journey 1",
        "149s abandonment stage looking journey 1",
    ];
    assert_eq!(walk::judge(&plan, &story.map(bare), 1_000), expected);
}
