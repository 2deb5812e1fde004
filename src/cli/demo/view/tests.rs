//! The view at several sizes.

use super::*;
use crate::cli::demo::tally::{Counts, Rates};
use crate::cli::demo::trials::Reached;
use crate::time::Timestamp;

fn header() -> Header<'static> {
    Header { model: "five-stages", customers: 3_000, speed: 1_200.0, left: Some(Duration::from_millis(17_400)) }
}

fn snapshot(sentences: usize) -> Snapshot {
    let stage = |name: &str, population, reached| Stage { name: name.into(), population, reached };
    let told = |index: usize| Sentence {
        at: Timestamp::from_millis(1_000 * index as i64),
        who: "c-000123".into(),
        words: format!("abandons basket B123-{index} (49.90 EUR) after 30m"),
        news: if index.is_multiple_of(2) { News::Bad } else { News::Good },
    };
    Snapshot {
        elapsed: Duration::from_secs(12),
        now: Timestamp::from_millis(0),
        behind: Some(Span::from_secs(120)),
        stages: vec![
            stage("awareness", 400, 1_200),
            stage("consideration", 300, 600),
            stage("decision", 12, 100),
            stage("retention", 1, 1),
            stage("advocacy", 0, 0),
        ],
        counts: Counts { touchpoints: 12_345, transitions: 678, abandonments: 90, recoveries: 5, ..Counts::default() },
        rates: Rates { touchpoints: 81.25, transitions: 10.0, abandonments: 2.5, recoveries: 0.2 },
        at_stake: 4_567_890_000,
        recovered: 49_900_000,
        trials: vec![
            Trial {
                name: "rescue-chat".into(),
                offered: Reached { customers: 2_312, reached: 1_045 },
                held_out: Reached { customers: 235, reached: 60 },
                interval: Some((8.04, 31.26)),
            },
            Trial {
                name: "free-delivery".into(),
                offered: Reached { customers: 3, reached: 1 },
                held_out: Reached::default(),
                interval: None,
            },
        ],
        latest: (0..sentences).map(told).collect(),
        told: sentences as u64,
    }
}

fn texts(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.text.trim_end()).collect()
}

#[test]
fn the_picture_at_eighty_by_twenty_four() {
    let picture = picture(&header(), &snapshot(30), 80, 24);
    let expected = "\
Sillage · five-stages · 3,000 customers · 1 s shows 20m

stage               now  reached
awareness           400    1,200  ███████████████░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░
consideration       300      600  ████████████░░░░░░░░░░░
decision             12      100  █░░░
retention             1        1  █
advocacy              0        0

touchpoints     12,345     81.2/s  stream time 0.1 s behind
transitions        678     10.0/s
abandonments        90      2.5/s  baskets worth 4,567 EUR left behind
recoveries           5      0.2/s  of these, 49 EUR bought after all

latest abandonments and recoveries, by the customers' clock
00:00:00  c-000123  abandons basket B123-0 (49.90 EUR) after 30m
00:00:01  c-000123  abandons basket B123-1 (49.90 EUR) after 30m
00:00:02  c-000123  abandons basket B123-2 (49.90 EUR) after 30m
00:00:03  c-000123  abandons basket B123-3 (49.90 EUR) after 30m
00:00:04  c-000123  abandons basket B123-4 (49.90 EUR) after 30m
00:00:05  c-000123  abandons basket B123-5 (49.90 EUR) after 30m
00:00:06  c-000123  abandons basket B123-6 (49.90 EUR) after 30m
00:00:07  c-000123  abandons basket B123-7 (49.90 EUR) after 30m
q or ctrl-C ends · ends by itself in 18 s";
    assert_eq!(texts(&picture), expected.lines().collect::<Vec<_>>());
    let tones: Vec<Tone> = picture[15..17].iter().map(|line| line.tone).collect();
    assert_eq!(tones, [Tone::Loss, Tone::Gain]);
}

#[test]
fn the_picture_fits_every_terminal() {
    for width in [0, 1, 7, 20, 40, 60, 80, 132, 300] {
        for height in [0, 1, 2, 5, 10, 24, 50, 200] {
            for sentences in [0, 3, 64] {
                let picture = picture(&header(), &snapshot(sentences), width, height);
                assert_eq!(picture.len(), height, "{width}×{height}");
                let widest = picture.iter().map(|line| line.text.chars().count()).max().unwrap_or(0);
                assert!(widest <= width, "{widest} of {width}");
            }
        }
    }
}

#[test]
fn a_taller_terminal_shows_more_sentences_and_the_help_stays_last() {
    // From 28 lines on, three go to what came of offers.
    for (height, shown) in [(24, 8), (27, 11), (28, 9), (30, 11), (16, 0), (100, 30)] {
        let picture = picture(&header(), &snapshot(30), 100, height);
        let sentences = picture.iter().filter(|line| line.text.contains("abandons basket")).count();
        assert_eq!(sentences, shown, "at {height}");
        assert!(picture.last().is_some_and(|line| line.text.starts_with("q or ctrl-C ends")));
    }
}

#[test]
fn what_came_of_offers_is_shown_by_arm() {
    let picture = picture(&header(), &snapshot(30), 110, 28);
    let expected = [
        "rescue-chat      2,312 offered: 45.2 % bought · 235 held out: 25.5 % · difference +8.0 to +31.3 points",
        "free-delivery        3 offered: 33.3 % bought · 0 held out · too few to say more",
    ];
    assert_eq!(texts(&picture)[14..16], expected);
    let summary = summary(&snapshot(0), 1_200.0);
    assert!(expected.iter().all(|line| summary.contains(&format!("  {line}"))), "{summary:#?}");
}

#[test]
fn nothing_yet_is_a_picture_too() {
    let mut empty = snapshot(0);
    empty.stages.iter_mut().for_each(|stage| (stage.population, stage.reached) = (0, 0));
    empty.behind = None;
    let picture = picture(&Header { left: None, ..header() }, &empty, 80, 24);
    assert!(texts(&picture).iter().any(|line| line.ends_with("stream time has not begun")));
    assert_eq!(picture.last().map(|line| line.text.as_str()), Some("q or ctrl-C ends"));
}

#[test]
fn lines_and_summary_carry_no_escape_codes() {
    let snapshot = snapshot(3);
    let mut all = vec![line(&snapshot), title(&header())];
    all.extend(summary(&snapshot, 1_200.0));
    all.extend(snapshot.latest.iter().map(sentence));
    assert!(all.iter().all(|line| !line.contains('\u{1b}') && !line.contains('\n')));
    assert_eq!(all[2], "In 12 s the customers lived 4h.");
    assert!(
        all[0].starts_with("  12s touchpoints 12,345 · transitions 678 (10.0/s) · abandonments 90 (2.5/s)"),
        "{}",
        all[0]
    );
}

#[test]
fn digits_are_grouped_by_three() {
    for (number, shown) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
        assert_eq!(grouped(number), shown);
    }
}
