//! A model as a picture: what stands in it, in words; [`mermaid`] and [`svg`] draw it.
//!
//! Everything comes from the compiled model, so the picture shows what runs, not what was meant. Names of groups are
//! resolved by then; types stand in their place, in the order of the alphabet. Same model, same bytes.

mod mermaid;
mod svg;
mod words;

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Demand, Model, Stage, StageIndex, TypeRoles};

pub use mermaid::mermaid;
pub use svg::svg;

pub(super) use words::Words;

/// What there is to draw.
struct Picture {
    /// `five-stages, version 1`
    title: String,
    /// Phases by name, each with a run of stages; `None` where the model has none, and around terminal stages.
    bands: Vec<(Option<String>, Range<usize>)>,
    stages: Vec<Card>,
    ways: Vec<Way>,
    notes: Vec<Note>,
}

/// A stage.
struct Card {
    name: String,
    kind: CardKind,
    /// What leads in, and which absences are noticed.
    lines: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CardKind {
    Ordinary,
    Optional,
    /// Terminal: the journey ends here.
    Ends,
}

/// A way from one stage to another that the stage itself names; ways forward go from each stage to the next, and need no
/// words.
struct Way {
    from: usize,
    to: usize,
    kind: WayKind,
    /// What leads there.
    on: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum WayKind {
    /// To an earlier stage of the same journey.
    Back,
    /// Into the customer's next journey.
    Again,
    /// Completes this journey and begins the next.
    Renews,
    /// Abandoned, the journey ends.
    Then,
}

impl WayKind {
    const ALL: [WayKind; 4] = [WayKind::Back, WayKind::Again, WayKind::Renews, WayKind::Then];

    /// What the line means, for the legend.
    fn meaning(self) -> &'static str {
        match self {
            WayKind::Back => "back",
            WayKind::Again => "next journey",
            WayKind::Renews => "renewed",
            WayKind::Then => "ends when abandoned",
        }
    }
}

/// Something beside the stages.
struct Note {
    kind: NoteKind,
    name: String,
    lines: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NoteKind {
    Episode,
    Friction,
    Segments,
}

impl NoteKind {
    fn heading(self) -> &'static str {
        match self {
            NoteKind::Episode => "episode",
            NoteKind::Friction => "friction",
            NoteKind::Segments => "segments",
        }
    }
}

impl Picture {
    fn of(model: &Model) -> Picture {
        let words = Words::of(model);
        Picture {
            title: format!("{}, version {}", model.name, model.version),
            bands: bands(model),
            stages: (0..).zip(&model.stages).map(|(index, stage)| card(index, stage, &words)).collect(),
            ways: ways(model, &words),
            notes: notes(model, &words),
        }
    }
}

/// Phases first, then the terminal stages, which are outside them or stand for themselves.
fn bands(model: &Model) -> Vec<(Option<String>, Range<usize>)> {
    let mut bands: Vec<(Option<String>, Range<usize>)> = Vec::new();
    for (index, stage) in model.stages.iter().enumerate() {
        let in_phase = |(_, stages): &&(_, Vec<StageIndex>)| stages.iter().any(|of| usize::from(*of) == index);
        let phase = match model.phases.iter().find(in_phase) {
            Some((name, _)) => Some(name.to_string()),
            None => stage.ends.then(|| "the end".to_owned()),
        };
        match bands.last_mut() {
            Some((name, stages)) if *name == phase => stages.end = index + 1,
            Some(_) | None => bands.push((phase, index..index + 1)),
        }
    }
    bands
}

fn card(index: StageIndex, stage: &Stage, words: &Words<'_>) -> Card {
    let mut lines = Vec::new();
    for (number, demand) in (0..).zip(&stage.demands) {
        let part = |part: u8| {
            words.types(move |roles: &TypeRoles| {
                roles.enters.iter().any(|way| way.stage == index && way.demand == number && way.part == part)
            })
        };
        lines.push(match demand {
            Demand::One => format!("on {}", part(0)),
            Demand::Count { times, within } => format!("{times} × {} in {within}", part(0)),
            Demand::All { parts, within } => {
                let parts: Vec<String> = (0..*parts).map(part).collect();
                format!("all of {} in {within}", parts.join(" + "))
            }
        });
    }
    // A line that nothing counts for says nothing.
    lines.retain(|line| line != "on nothing");
    lines.extend(stage.when.as_ref().map(|when| format!("when {}", when.source())));
    lines.extend(stage.at_least.map(|span| format!("left after {span} at the earliest")));
    lines.extend(stage.quiet.as_ref().map(|wait| format!("quiet for {}: abandoned", words.wait(wait))));
    lines.extend(stage.abandoned_at.as_ref().map(|at| format!("abandoned at {}", at.source())));
    let kind = match (stage.ends, stage.optional) {
        (true, _) => CardKind::Ends,
        (false, true) => CardKind::Optional,
        (false, false) => CardKind::Ordinary,
    };
    Card { name: stage.name.to_string(), kind, lines }
}

/// Where touchpoints of some roles lead from a stage.
type Target<'a> = &'a dyn Fn(&TypeRoles) -> Option<StageIndex>;

fn ways(model: &Model, words: &Words<'_>) -> Vec<Way> {
    let mut ways = Vec::new();
    for from in 0..model.stages.len() {
        let targets: [(WayKind, Target<'_>); 4] = [
            (WayKind::Back, &|roles| roles.back[from]),
            (WayKind::Back, &|roles| roles.back_otherwise[from]),
            (WayKind::Again, &|roles| roles.again[from].then(|| roles.enters.first().map(|way| way.stage))?),
            (WayKind::Renews, &|roles| roles.renews[from]),
        ];
        let mut found: BTreeMap<(WayKind, StageIndex), Vec<String>> = BTreeMap::new();
        for (kind, target) in targets {
            for to in words.targets(target) {
                let types = words.types(|roles: &TypeRoles| target(roles) == Some(to));
                found.entry((kind, to)).or_default().push(types);
            }
        }
        let stage = &model.stages[from];
        for (rule, to) in &stage.back_on_friction {
            let friction = format!("friction {}", words.rule(*rule));
            found.entry((WayKind::Back, *to)).or_default().push(friction);
        }
        if let Some(to) = stage.then {
            found.entry((WayKind::Then, to)).or_default().push("abandoned".to_owned());
        }
        let way =
            |((kind, to), on): ((WayKind, StageIndex), Vec<String>)| Way { from, to: to.into(), kind, on: on.join(", ") };
        ways.extend(found.into_iter().map(way));
    }
    ways
}

fn notes(model: &Model, words: &Words<'_>) -> Vec<Note> {
    let episode = |(index, kind): (usize, &super::EpisodeKind)| {
        let by =
            |role: fn(&super::EpisodeRole) -> bool| words.types(move |roles| roles.episodes.get(index).is_some_and(role));
        let mut lines =
            vec![format!("opens on {}", by(|role| role.opens)), format!("completes on {}", by(|role| role.completes))];
        lines.push(format!("emptied on {}", by(|role| role.empties)));
        lines.push(format!("cancelled on {}", by(|role| role.cancels)));
        let joins = words.types(move |roles| roles.episodes.get(index).is_some_and(|role| role.joins.is_some()));
        lines.push(format!("joined to another on {joins}"));
        lines.retain(|line| !line.ends_with(" on nothing"));
        lines.extend(kind.completes_when.as_ref().map(|when| format!("completes when {}", when.source())));
        lines.extend(kind.abandoned_after.as_ref().map(|wait| format!("abandoned after {}", words.wait(wait))));
        lines.extend(kind.abandoned_at.as_ref().map(|at| format!("abandoned at {}", at.source())));
        Note { kind: NoteKind::Episode, name: kind.name.to_string(), lines }
    };
    let friction = |(index, rule): (usize, &super::Friction)| Note {
        kind: NoteKind::Friction,
        name: rule.name.to_string(),
        lines: words.friction(index, rule),
    };
    let segment = |segment: &super::Segment| match &segment.when {
        Some(when) => format!("{}: {}", segment.name, when.source()),
        None => format!("{}: all others", segment.name),
    };
    let mut notes: Vec<Note> = model.episodes.iter().enumerate().map(episode).collect();
    notes.extend(model.friction.iter().enumerate().map(friction));
    if !model.segments.is_empty() {
        let lines = model.segments.iter().map(segment).collect();
        notes.push(Note { kind: NoteKind::Segments, name: String::new(), lines });
    }
    notes
}
