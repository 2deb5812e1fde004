//! What is otherwise beyond the structure: spans, and what touchpoints mean. All of it counts from the next touchpoint.

use super::{Change, Effect};
use crate::expression::Expression;
use crate::model::graph::Words;
use crate::model::{Again, EpisodeKind, EpisodeRole, Model, Section, Stage, Structure, TypeRoles, Wait};
use crate::time::Span;

pub(super) fn between(old: &Model, new: &Model, after: &Structure) -> Vec<Change> {
    let words = (Words::of(old), Words::of(new));
    let mut changes = Vec::new();
    let mut say = |section, name: &str, told: Vec<String>| {
        let change = |words| Change { section, name: name.into(), effect: Effect::Otherwise, words, refused: None };
        changes.extend(told.into_iter().map(change));
    };
    for (at, before) in old.stages.iter().enumerate() {
        let Some(place) = after.place_of(Section::Stages, &before.name) else { continue };
        let stage = &new.stages[place];
        let mut told = stages((old, before), (new, stage), &words);
        type Does = fn(&TypeRoles, usize) -> bool;
        let all: [(&str, Does); 5] = [
            ("entered", enters),
            ("put off", |roles, stage| roles.progresses[stage]),
            ("led back", |roles, stage| roles.back[stage].is_some()),
            ("begun again", |roles, stage| roles.again[stage]),
            ("renewed", |roles, stage| roles.renews[stage].is_some()),
        ];
        told.extend(
            all.iter().flat_map(|(done, does)| types(&words, done, |roles| does(roles, at), |roles| does(roles, place))),
        );
        say(Section::Stages, &stage.name, told);
    }
    for (at, before) in old.episodes.iter().enumerate() {
        let Some(place) = after.place_of(Section::Episodes, &before.name) else { continue };
        let kind = &new.episodes[place];
        let mut told = episodes(before, kind, &words);
        type Is = fn(&EpisodeRole) -> bool;
        let all: [(&str, Is); 5] = [
            ("opened", |role| role.opens),
            ("progressed", |role| role.belongs && !role.opens),
            ("completed", |role| role.completes),
            ("emptied", |role| role.empties),
            ("cancelled", |role| role.cancels),
        ];
        told.extend(all.iter().flat_map(|(done, does)| {
            types(&words, done, |roles| does(&roles.episodes[at]), |roles| does(&roles.episodes[place]))
        }));
        say(Section::Episodes, &kind.name, told);
    }
    for (at, before) in old.friction.iter().enumerate() {
        let Some(place) = after.place_of(Section::Friction, &before.name) else { continue };
        let rule = &new.friction[place];
        let (was, is) = (words.0.friction(at, before).join("; "), words.1.friction(place, rule).join("; "));
        say(Section::Friction, &rule.name, otherwise("looks", was, is));
    }
    for before in &old.segments {
        let Some(place) = after.place_of(Section::Segments, &before.name) else { continue };
        let segment = &new.segments[place];
        let line = |when: &Option<Expression>| when.as_ref().map_or("everyone", Expression::source).to_owned();
        say(Section::Segments, &segment.name, otherwise("holds", line(&before.when), line(&segment.when)));
    }
    changes
}

fn stages((old, before): (&Model, &Stage), (new, after): (&Model, &Stage), words: &(Words<'_>, Words<'_>)) -> Vec<String> {
    let wait = |words: &Words<'_>, wait: &Option<Wait>| wait.as_ref().map_or("never".to_owned(), |wait| words.wait(wait));
    let then = |model: &Model, stage: &Stage| stage.then.map_or("nothing", |then| model.stage_name(then)).to_owned();
    [
        otherwise("quiet", wait(&words.0, &before.quiet), wait(&words.1, &after.quiet)),
        otherwise("abandoned at", line(before.abandoned_at.as_ref()), line(after.abandoned_at.as_ref())),
        otherwise("every", again(before.abandoned_again), again(after.abandoned_again)),
        otherwise("recovered within", before.recovered_within.to_string(), after.recovered_within.to_string()),
        otherwise("at least", span(before.at_least), span(after.at_least)),
        otherwise("when", line(before.when.as_ref()), line(after.when.as_ref())),
        otherwise("then", then(old, before), then(new, after)),
    ]
    .concat()
}

fn episodes(before: &EpisodeKind, after: &EpisodeKind, words: &(Words<'_>, Words<'_>)) -> Vec<String> {
    let wait = |words: &Words<'_>, wait: &Option<Wait>| wait.as_ref().map_or("never".to_owned(), |wait| words.wait(wait));
    let worth = |kind: &EpisodeKind| kind.worth.as_deref().unwrap_or("nothing").to_owned();
    let joins = |kind: &EpisodeKind| {
        let ways: Vec<String> = kind.joins.iter().map(|join| format!("{} into {}", join.from.0, join.into.0)).collect();
        if ways.is_empty() { "nothing".to_owned() } else { ways.join(", ") }
    };
    let strict = |kind: &EpisodeKind| kind.strict.to_string();
    [
        otherwise("abandoned after", wait(&words.0, &before.abandoned_after), wait(&words.1, &after.abandoned_after)),
        otherwise("abandoned at", line(before.abandoned_at.as_ref()), line(after.abandoned_at.as_ref())),
        otherwise("every", again(before.again), again(after.again)),
        otherwise("recovered within", before.recovered_within.to_string(), after.recovered_within.to_string()),
        otherwise("remembered for", before.remembered_for.to_string(), after.remembered_for.to_string()),
        otherwise("worth", worth(before), worth(after)),
        otherwise("completes when", line(before.completes_when.as_ref()), line(after.completes_when.as_ref())),
        otherwise("joins", joins(before), joins(after)),
        otherwise("strict", strict(before), strict(after)),
    ]
    .concat()
}

fn otherwise(what: &str, was: String, is: String) -> Vec<String> {
    if was == is { Vec::new() } else { vec![format!("{what} {is}, was {was}")] }
}

fn line(line: Option<&Expression>) -> String {
    line.map_or("never", Expression::source).to_owned()
}

fn again(again: Option<Again>) -> String {
    again.map_or("never".to_owned(), |again| format!("{}, {} times", again.every, again.at_most))
}

fn span(span: Option<Span>) -> String {
    span.map_or("nothing".to_owned(), |span| span.to_string())
}

fn enters(roles: &TypeRoles, stage: usize) -> bool {
    roles.enters.iter().any(|way| usize::from(way.stage) == stage)
}

/// The types that do something now and did not before, or the other way round.
fn types(
    words: &(Words<'_>, Words<'_>),
    done: &str,
    did: impl Fn(&TypeRoles) -> bool,
    does: impl Fn(&TypeRoles) -> bool,
) -> Vec<String> {
    otherwise(&format!("{done} by"), words.0.types(did), words.1.types(does))
}
