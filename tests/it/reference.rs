//! A slow and obvious judge of episodes known by their customer. It walks through time second by second, keeps whole lists
//! where the engine keeps one number, and shares no code with what it judges.

use proptest::prelude::*;
use sillage::journey::{Subject, What};
use sillage::shard::Settings;
use sillage::time::Span;

use crate::world::{START, World, good_model, touchpoint};

// All in seconds.
const ABANDONED_AFTER: i64 = 10;
const RECOVERED_WITHIN: i64 = 40;
const MAX_DELAY: i64 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Opens,
    Listed,
    Other,
    Completes,
}

#[derive(Clone, Copy, Debug)]
struct Entered {
    kind: Kind,
    happened: i64,
    log_time: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Abandoned,
    /// It was not: it had been bought.
    Retracted,
    Completed,
    Recovered,
}

#[derive(Default)]
struct Story {
    /// When the touchpoint that opened it happened.
    opened: i64,
    /// What each progress counts from, the opening first.
    progress: Vec<i64>,
    abandoned_at: Option<i64>,
    completed: bool,
}

impl Story {
    fn is_open(&self) -> bool {
        self.abandoned_at.is_none() && !self.completed
    }
}

/// Verdict, episode number and instant, in the order in which they must be published.
fn judge(entered: &[Entered], any_progress: bool, end: i64) -> Vec<(Verdict, usize, i64)> {
    let mut told = Vec::new();
    let mut episodes: Vec<Story> = Vec::new();
    let mut purchases: Vec<i64> = Vec::new();
    for now in 0..=end {
        abandon(&mut episodes, now, &mut told);
        for touchpoint in entered.iter().filter(|touchpoint| touchpoint.log_time == now) {
            let late = now - touchpoint.happened > MAX_DELAY;
            let counts_from = if late { now } else { touchpoint.happened };
            let open = episodes.iter().rposition(Story::is_open);
            match (touchpoint.kind, open) {
                (Kind::Completes, _) => {
                    let (bought, all) = (touchpoint.happened, episodes.len());
                    // One that was open when this happened; else the last episode, unless it was completed, is recovered within
                    // its window; else one that was open then was not abandoned after all; else one that opened since.
                    let verdict = |number: usize, story: &Story| match story.abandoned_at {
                        Some(at) if story.opened <= bought && bought < at => Some(Some((Verdict::Retracted, at))),
                        Some(at) if number == all && at <= bought && bought < at + RECOVERED_WITHIN => {
                            Some(Some((Verdict::Recovered, bought)))
                        }
                        Some(_) => None,
                        None => Some(None),
                    };
                    let by_then = open.filter(|place| episodes[*place].opened <= bought);
                    let left = |place: &usize| {
                        episodes[*place].abandoned_at.is_some() && verdict(place + 1, &episodes[*place]).is_some()
                    };
                    let left = (0..all).rev().filter(|place| !episodes[*place].completed).find(left);
                    if let Some(place) = by_then.or(left).or(open) {
                        let verdict = verdict(place + 1, &episodes[place]).flatten();
                        let retracted = verdict.filter(|(verdict, _)| *verdict == Verdict::Retracted);
                        let recovered = verdict.filter(|(verdict, _)| *verdict == Verdict::Recovered);
                        told.extend(retracted.map(|(verdict, at)| (verdict, place + 1, at)));
                        told.push((Verdict::Completed, place + 1, bought));
                        told.extend(recovered.map(|(verdict, at)| (verdict, place + 1, at)));
                        episodes[place].completed = true;
                    }
                    // It is progress in what stays open.
                    let others = episodes.iter_mut().filter(|story| any_progress && story.is_open());
                    others.for_each(|story| story.progress.push(counts_from));
                    purchases.push(bought);
                }
                (Kind::Opens, None) => {
                    if purchases.iter().all(|bought| touchpoint.happened >= *bought) {
                        let opened = touchpoint.happened;
                        episodes.push(Story { opened, progress: vec![counts_from], ..Story::default() });
                    }
                }
                (Kind::Opens | Kind::Listed, Some(number)) => episodes[number].progress.push(counts_from),
                (Kind::Other, Some(number)) if any_progress => episodes[number].progress.push(counts_from),
                (Kind::Listed | Kind::Other, _) => {}
            }
            // A deadline that lies behind already is due at once.
            abandon(&mut episodes, now, &mut told);
        }
    }
    told
}

fn abandon(episodes: &mut [Story], now: i64, told: &mut Vec<(Verdict, usize, i64)>) {
    for (index, episode) in episodes.iter_mut().enumerate().filter(|(_, episode)| episode.is_open()) {
        let deadline = episode.progress.iter().max().expect("the opening") + ABANDONED_AFTER;
        if deadline <= now {
            episode.abandoned_at = Some(deadline);
            told.push((Verdict::Abandoned, index + 1, deadline));
        }
    }
}

/// What the engine says of the same.
fn engine(entered: &[Entered], any_progress: bool, end: i64) -> Vec<(Verdict, usize, i64)> {
    let progresses = if any_progress { "any" } else { "listed" };
    let model = good_model(
        "reference",
        &format!(
            "sillage: 1\nmodel: reference\nstages: {{ somewhere: {{ enter: never }} }}\nepisodes:\n  thing: {{ known by: \
             customer, opens: opens, progresses: {progresses}, completes: completes, abandoned after: {ABANDONED_AFTER}s, \
             recovered within: {RECOVERED_WITHIN}s }}\n"
        ),
    );
    let settings =
        Settings { settle: Span::ZERO, grace: Span::ZERO, max_delay: Span::from_secs(MAX_DELAY), ..Settings::default() };
    let mut world = World::new(&[model], settings, 1);
    for (number, touched) in entered.iter().enumerate() {
        let kind = match touched.kind {
            Kind::Opens => "opens",
            Kind::Listed => "listed",
            Kind::Other => "other",
            Kind::Completes => "completes",
        };
        let at = |seconds: i64| START + Span::from_secs(seconds);
        world.give(0, touchpoint("a", kind, at(touched.happened), &number.to_string()), at(touched.log_time));
    }
    world.quiet_until(0, START + Span::from_secs(end));
    let outcomes = world.take_outcomes();
    let told = outcomes.iter().map(|outcome| {
        let (verdict, about) = match &outcome.what {
            What::Abandonment { about, .. } => (Verdict::Abandoned, about),
            What::Completion { about } => (Verdict::Completed, about),
            What::Recovery { about, .. } => (Verdict::Recovered, about),
            What::Retraction { of } => (Verdict::Retracted, of.about().expect("an episode")),
            What::Transition { .. } | What::Resumption { .. } | What::Friction { .. } | What::Merge { .. } => {
                panic!("unexpected: {outcome}")
            }
            What::Intervention { .. } | What::Withdrawal { .. } | What::Measurement { .. } => {
                panic!("unexpected: {outcome}")
            }
        };
        let Subject::Episode { number, .. } = about.subject else { panic!("unexpected: {outcome}") };
        (verdict, number as usize, (outcome.at.as_millis() - START.as_millis()) / 1_000)
    });
    told.collect()
}

fn entered() -> impl Strategy<Value = Vec<Entered>> {
    let kind =
        prop_oneof![3 => Just(Kind::Opens), 2 => Just(Kind::Listed), 2 => Just(Kind::Other), 2 => Just(Kind::Completes)];
    let delay = prop_oneof![4 => Just(0_i64), 2 => 0..=MAX_DELAY + 1, 1 => 0..30_i64];
    let gap = prop_oneof![6 => 0..6_i64, 2 => ABANDONED_AFTER - 1..=ABANDONED_AFTER + 1, 1 => 0..60_i64];
    prop::collection::vec((kind, gap, delay), 1..30).prop_map(|steps| {
        let mut log_time = 30;
        let entered = steps.into_iter().map(|(kind, gap, delay)| {
            log_time += gap;
            Entered { kind, happened: log_time - delay, log_time }
        });
        entered.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_and_the_judge_agree(entered in entered(), any_progress in prop::bool::ANY) {
        let end = entered.last().map_or(0, |last| last.log_time) + 100;
        prop_assert_eq!(engine(&entered, any_progress, end), judge(&entered, any_progress, end));
    }
}

#[test]
fn the_judge_knows_a_story_worked_out_by_hand() {
    let at = |kind, happened, log_time| Entered { kind, happened, log_time };
    let story = [
        at(Kind::Opens, 0, 0),
        at(Kind::Other, 5, 5),
        at(Kind::Listed, 6, 9),
        at(Kind::Completes, 20, 20),
        at(Kind::Opens, 19, 21),
        at(Kind::Opens, 22, 22),
        at(Kind::Completes, 31, 31),
    ];
    use Verdict::{Abandoned, Completed, Recovered};
    // 6 + 10 = 16: abandoned, then bought at 20; what is older than that opens nothing; the second is bought in time.
    let expected = [(Abandoned, 1, 16), (Completed, 1, 20), (Recovered, 1, 20), (Completed, 2, 31)];
    assert_eq!(judge(&story, true, 60), expected);
    assert_eq!(judge(&story, false, 60), expected);
}
