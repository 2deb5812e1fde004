//! The judge as the second implementation of *in any order*: touchpoints come in any order within the grace, the judge is given
//! them sorted, and what holds at last must be the same (rule 18).

use sillage::shard::Settings;
use sillage::time::Span;

use super::dice::Dice;
use super::engine::{line, made, model_of};
use super::plan::{Plan, Seconds, Touch};
use super::{QUIET, judge};
use crate::any_order::net;
use crate::world::{START, World};

const GRACE: Seconds = 600;

/// What holds at last, as the engine says it of touchpoints that come so late each; in no order.
fn engine(plan: &Plan, touches: &[Touch], delays: &[Seconds], end: Seconds) -> Result<Vec<String>, String> {
    let settings = Settings { settle: Span::ZERO, grace: Span::from_secs(GRACE), ..Settings::default() };
    let mut world = World::new(&[model_of(plan)?], settings, 1);
    let mut arriving: Vec<(Seconds, usize)> =
        touches.iter().zip(delays).enumerate().map(|(number, (touch, delay))| (touch.happened + delay, number)).collect();
    arriving.sort_unstable();
    for (log_time, number) in arriving {
        world.give(0, made(&touches[number], number), START + Span::from_secs(log_time));
    }
    world.quiet_until(0, START + Span::from_secs(end));
    let mut lines: Vec<String> = net(&world.take_outcomes()).iter().map(line).collect();
    lines.sort();
    Ok(lines)
}

/// What the judge says of the same in the order of events.
fn expected(plan: &Plan, touches: &[Touch], end: Seconds) -> Vec<String> {
    let mut lines = judge(plan, touches, end);
    lines.sort();
    lines
}

/// As they happened, each at a second of its own: which of two at one instant comes first is not told by the order of events.
fn in_order(mut touches: Vec<Touch>) -> Vec<Touch> {
    touches.sort_by_key(|touch| touch.happened);
    let mut last = Seconds::MIN;
    for touch in &mut touches {
        touch.happened = touch.happened.max(last + 1);
        touch.log_time = touch.happened;
        last = touch.happened;
    }
    touches
}

fn smallest(plan: &Plan, mut touches: Vec<Touch>, mut delays: Vec<Seconds>) -> String {
    let end = |touches: &[Touch]| touches.last().map_or(0, |last| last.happened) + GRACE + QUIET;
    let disagree = |touches: &[Touch], delays: &[Seconds]| {
        let end = end(touches);
        engine(plan, touches, delays, end).is_ok_and(|told| told != expected(plan, touches, end))
    };
    loop {
        let mut smaller = false;
        for at in (0..touches.len()).rev() {
            let (mut fewer, mut less) = (touches.clone(), delays.clone());
            fewer.remove(at);
            less.remove(at);
            if !fewer.is_empty() && disagree(&fewer, &less) {
                (touches, delays, smaller) = (fewer, less, true);
            }
        }
        for at in 0..delays.len() {
            let mut sooner = delays.clone();
            sooner[at] = 0;
            if delays[at] > 0 && disagree(&touches, &sooner) {
                (delays, smaller) = (sooner, true);
            }
        }
        if !smaller {
            break;
        }
    }
    let end = end(&touches);
    format!(
        "{}\n{touches:#?}\nso late: {delays:?}\nengine {:#?}\njudge {:#?}",
        plan.yaml(),
        engine(plan, &touches, &delays, end),
        expected(plan, &touches, end)
    )
}

#[test]
fn the_engine_says_in_any_order_what_the_judge_says_in_the_order_of_events() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("JUDGE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("JUDGE_CASES").unwrap_or(2_000),
    };
    let mut said = 0;
    for seed in seeds {
        let mut dice = Dice::new(seed);
        let plan = dice.plan();
        let touches = in_order(dice.touches(&plan, false));
        let delays: Vec<Seconds> = touches
            .iter()
            .map(|_| match dice.between(0, 3) {
                0 => 0,
                1 => dice.between(0, 20),
                _ => dice.between(0, GRACE),
            })
            .collect();
        let end = touches.last().map_or(0, |last| last.happened) + GRACE + QUIET;
        let told = engine(&plan, &touches, &delays, end).unwrap_or_else(|faults| panic!("seed {seed}: {faults}"));
        said += told.len();
        if told != expected(&plan, &touches, end) {
            panic!("the engine and the judge disagree; JUDGE_SEED={seed}\n{}", smallest(&plan, touches, delays));
        }
    }
    assert!(said > 0, "no case said anything");
}
