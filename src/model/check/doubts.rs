//! What is allowed and hardly meant: types that look misspelt, and more kinds of outcomes than a dashboard can bear.

use std::collections::HashMap;

use super::compile::Parts;
use super::groups::Groups;
use crate::diagnostic::{Diagnostic, Faults, Place, quoted};
use crate::model::written::Written;

/// More series of outcomes than this are hard to keep and to read.
const MOST_SERIES: usize = 1_000;
/// Shorter types, and words within, differ by one letter too easily to say.
const LEAST_LETTERS: usize = 8;
/// Longer types are not compared.
const MOST_LETTERS: usize = 48;

pub(super) fn check(written: &Written, parts: &Parts<'_>, groups: &Groups<'_>, faults: &mut Faults) {
    check_series(written, parts, faults);
    check_spelling(groups, faults);
}

/// Metrics and dashboards have one series for each thing that outcomes are about, each kind of outcome and each segment.
fn check_series(written: &Written, parts: &Parts<'_>, faults: &mut Faults) {
    const ABSENCE: usize = 3; // abandonment, resumption, recovery
    let stages = parts.stages.iter().map(|stage| {
        let absence = stage.written.quiet.is_some() || stage.written.abandoned_at.is_some();
        1 + if absence { ABSENCE } else { 0 }
    });
    let episodes = parts.episodes.iter().map(|episode| {
        let absence = episode.written.abandoned_after.is_some() || episode.written.abandoned_at.is_some();
        1 + if absence { ABSENCE } else { 0 }
    });
    let friction = parts.friction.iter().filter(|checked| !checked.rule.evidence_only).count();
    let about: usize = stages.chain(episodes).sum::<usize>() + friction;
    let series = about * parts.segments.len().max(1);
    if series > MOST_SERIES
        && let Some(name) = &written.name
    {
        let segments = parts.segments.len().max(1);
        let cause = format!(
            "outcomes of this model come in {series} series: {about} kinds by stage, episode and rule, times {segments} segments"
        );
        let help = format!(
            "keep it under {MOST_SERIES}, or dashboards become slow: fewer segments, or `evidence only: true` for rules that a score counts"
        );
        faults.warning("M082", &name.place, cause, help);
    }
}

/// Two types that differ by one letter, where one is written once: most likely a slip.
fn check_spelling(groups: &Groups<'_>, faults: &mut Faults) {
    let mut by_rest: HashMap<String, Vec<&str>> = HashMap::new();
    let mut kinds: Vec<(&str, (usize, &Place))> = groups.written().iter().map(|(kind, written)| (*kind, *written)).collect();
    kinds.sort_unstable_by_key(|(kind, (_, place))| (place.source.name.as_str(), place.span.start, *kind));
    kinds.retain(|(kind, _)| kind.is_ascii() && (LEAST_LETTERS..=MOST_LETTERS).contains(&kind.len()));
    // Two words at most one letter apart have a rest in common when a letter, or none, is left out of each.
    for (kind, _) in &kinds {
        for rest in rests(kind) {
            by_rest.entry(rest).or_default().push(kind);
        }
    }
    for (kind, (times, place)) in &kinds {
        let near = rests(kind).into_iter().flat_map(|rest| by_rest.get(&rest).into_iter().flatten());
        let near = near.copied().filter(|other| *other != *kind && one_slip(kind, other));
        let likelier = near.filter_map(|other| {
            let (other_times, other_place) = groups.written()[other];
            (*times == 1 && other_times > 1).then_some((other_times, other, other_place))
        });
        if let Some((_, other, other_place)) = likelier.max_by_key(|(times, other, _)| (*times, std::cmp::Reverse(*other))) {
            let cause = format!("{} is named once, and {} more often: they differ by one letter", quoted(kind), quoted(other));
            let help = format!("did you mean {}? If both are sent, name this one in a group of its own", quoted(other));
            faults.push(Diagnostic::warning("M081", place, cause, help).see(other_place, "the other one"));
        }
    }
}

fn rests(kind: &str) -> Vec<String> {
    let without = |at: usize| format!("{}{}", &kind[..at], &kind[at + 1..]);
    std::iter::once(kind.to_owned()).chain((0..kind.len()).map(without)).collect()
}

/// One letter too many, too few, another, or two exchanged; numbers and one-letter words differ on purpose.
fn one_slip(one: &str, other: &str) -> bool {
    if strsim::damerau_levenshtein(one, other) != 1 {
        return false;
    }
    let digits = |text: &str| text.bytes().filter(u8::is_ascii_digit).collect::<Vec<_>>();
    let shortest = |text: &str| text.split(|c: char| !c.is_ascii_alphanumeric()).map(str::len).min().unwrap_or_default();
    digits(one) == digits(other) && shortest(one).min(shortest(other)) >= 2
}
