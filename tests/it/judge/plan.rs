//! A model as the judge knows it: plain lists, and how they are written as YAML.

use std::fmt::Write as _;

/// A type of touchpoint or a group.
pub(crate) type Name = String;
/// Seconds.
pub(crate) type Seconds = i64;

#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) groups: Vec<Group>,
    pub(crate) tallies: Vec<(Name, Sum)>,
    /// The first whose condition holds; `None` always does.
    pub(crate) segments: Vec<(Name, Option<Condition>)>,
    pub(crate) stages: Vec<Stage>,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: Name,
    pub(crate) of: Vec<Name>,
    pub(crate) when: Option<Condition>,
}

#[derive(Clone, Debug)]
pub(crate) enum Sum {
    Count(Name),
    /// Of the amount `value`.
    Value(Name),
    /// The latest `nps`.
    Last(Name),
    Visits,
    /// How many different `question`s.
    Distinct(Name),
    /// Of the amount `value`, the latest of each `question`.
    ValueOnce(Name),
}

#[derive(Clone, Debug)]
pub(crate) enum Condition {
    Nps(i64),
    /// `nps` matters for touchpoints of this type only.
    NpsOf(Name, i64),
    Customer(Name, i64),
    Journey(Name, i64),
    StageLast(Name, i64),
    Open(Name),
    Worth(Name, i64),
    InSegment(Name),
    JourneyNumber(i64),
    StageTouches(i64),
    StageAge(Seconds),
    JourneyAge(Seconds),
    Touches(Name, i64),
    Abandonments(Name, i64),
    Not(Box<Condition>),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
}

#[derive(Clone, Debug)]
pub(crate) enum Way {
    One(Name),
    Count(usize, Name, Seconds),
    All(Vec<Name>, Seconds),
}

#[derive(Clone, Debug)]
pub(crate) enum Wait {
    Fixed(Seconds),
    BySegment(Vec<(Name, Seconds)>),
    Computed(Condition, Seconds, Seconds),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Stage {
    pub(crate) name: Name,
    pub(crate) enter: Vec<Way>,
    pub(crate) when: Option<Condition>,
    pub(crate) quiet: Option<Wait>,
    /// `None`: any touchpoint of the customer.
    pub(crate) progresses: Option<Vec<Name>>,
    pub(crate) abandoned_at: bool,
    /// The abandonment is told again so long after, and at most so often in all.
    pub(crate) again_every: Option<(Seconds, u32)>,
    pub(crate) at_least: Option<Seconds>,
    /// To which stage, and the types, groups and `friction.RULE` that lead there.
    pub(crate) back: Option<(Name, Vec<Name>)>,
    pub(crate) again: Option<Name>,
    pub(crate) renews: Option<(Name, Name)>,
    pub(crate) then: Option<Name>,
    pub(crate) ends: bool,
    pub(crate) recovered_within: Seconds,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Kind {
    pub(crate) name: Name,
    /// By the property `k`, or else by the customer.
    pub(crate) by_id: bool,
    pub(crate) opens: Name,
    /// `None`: any touchpoint of the customer.
    pub(crate) progresses: Option<Vec<Name>>,
    pub(crate) completes: Name,
    pub(crate) empties: Option<Name>,
    pub(crate) cancels: Option<Name>,
    pub(crate) after: Option<Wait>,
    pub(crate) abandoned_at: bool,
    /// The abandonment is told again so long after, and at most so often in all.
    pub(crate) again_every: Option<(Seconds, u32)>,
    pub(crate) recovered_within: Seconds,
    /// What pays for it by `value`, and what has to be paid; `None`: what it is worth.
    pub(crate) pays: Option<(Name, Option<i64>)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scope {
    Episode(Name),
    Session,
    Stage,
    Journey,
}

#[derive(Clone, Debug)]
pub(crate) enum Sign {
    Count(usize, Name, Option<Seconds>),
    Pattern(Vec<Name>, Option<Seconds>),
    Missing { after: Name, answer: Name, within: Wait, by: bool },
    Dwells { on: Name, length: Seconds, until: Option<Name> },
    Score { at: Vec<(Option<Name>, u32)>, from: Vec<(Name, u32)>, within: Option<Seconds> },
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: Name,
    pub(crate) scope: Scope,
    pub(crate) sign: Sign,
    pub(crate) cool_down: Option<Seconds>,
    pub(crate) evidence_only: bool,
    pub(crate) segments: Vec<Name>,
}

/// What a customer does.
#[derive(Clone, Debug)]
pub(crate) struct Touch {
    pub(crate) happened: Seconds,
    pub(crate) log_time: Seconds,
    pub(crate) kind: &'static str,
    pub(crate) k: Option<u8>,
    pub(crate) session: Option<u8>,
    pub(crate) question: Option<u8>,
    pub(crate) nps: Option<i64>,
    pub(crate) value: Option<i64>,
    pub(crate) ends: Option<Seconds>,
}

impl Condition {
    fn cel(&self) -> String {
        match self {
            Condition::Nps(least) => format!("touchpoint.nps >= {least}"),
            Condition::NpsOf(kind, least) => format!("touchpoint.nps >= {least} || touchpoint.type != \"{kind}\""),
            Condition::Customer(tally, least) => format!("customer.{tally} >= {least}"),
            Condition::Journey(tally, least) => format!("journey.{tally} >= {least}"),
            Condition::StageLast(tally, least) => format!("stage.{tally} >= {least}"),
            Condition::Open(kind) => format!("{kind}.open"),
            Condition::Worth(kind, least) => format!("{kind}.value > {least}"),
            Condition::InSegment(name) => format!("segment == \"{name}\""),
            Condition::JourneyNumber(least) => format!("journey.number >= {least}"),
            Condition::StageTouches(least) => format!("stage.touchpoints >= {least}"),
            Condition::StageAge(least) => format!("touchpoint.at - stage.entered_at >= duration(\"{least}s\")"),
            Condition::JourneyAge(least) => format!("touchpoint.at - journey.started_at >= duration(\"{least}s\")"),
            Condition::Touches(kind, least) => format!("{kind}.touchpoints >= {least}"),
            Condition::Abandonments(kind, least) => format!("{kind}.abandonments >= {least}"),
            Condition::Not(inner) => format!("!({})", inner.cel()),
            Condition::And(one, other) => format!("({}) && ({})", one.cel(), other.cel()),
            Condition::Or(one, other) => format!("({}) || ({})", one.cel(), other.cel()),
        }
    }
}

impl Wait {
    fn yaml(&self) -> String {
        match self {
            Wait::Fixed(seconds) => format!("{seconds}s"),
            Wait::BySegment(waits) => {
                let waits: Vec<String> = waits.iter().map(|(name, seconds)| format!("{name}: {seconds}s")).collect();
                format!("{{ {} }}", waits.join(", "))
            }
            Wait::Computed(condition, yes, no) => {
                format!("'({}) ? duration(\"{yes}s\") : duration(\"{no}s\")'", condition.cel())
            }
        }
    }
}

impl Way {
    fn yaml(&self) -> String {
        match self {
            Way::One(name) => name.clone(),
            Way::Count(times, name, within) => format!("{{ {times} of: {name}, within: {within}s }}"),
            Way::All(names, within) => format!("{{ all of: [{}], within: {within}s }}", names.join(", ")),
        }
    }
}

impl Plan {
    /// The model as its author would write it.
    pub(crate) fn yaml(&self) -> String {
        let mut text = "sillage: 1\nmodel: judged\nversion: 1\nabout: Judged.\ncurrency: EUR\nproperties: \
                        { nps: number, value: money, ends_at: instant }\n"
            .to_owned();
        let mut section = |name: &str, lines: Vec<String>| {
            if !lines.is_empty() {
                let _ = write!(text, "{name}:\n  {}\n", lines.join("\n  "));
            }
        };
        let quoted = |condition: &Condition| format!("'{}'", condition.cel());
        let groups = self.groups.iter().map(|group| match &group.when {
            None => format!("{}: [{}]", group.name, group.of.join(", ")),
            Some(when) => format!("{}: {{ of: [{}], when: {} }}", group.name, group.of.join(", "), quoted(when)),
        });
        section("touchpoints", groups.collect());
        let tallies = self.tallies.iter().map(|(name, sum)| match sum {
            Sum::Count(of) => format!("{name}: {{ count: {of} }}"),
            Sum::Value(of) => format!("{name}: {{ sum: value, of: {of} }}"),
            Sum::Last(of) => format!("{name}: {{ last: nps, of: {of} }}"),
            Sum::Distinct(of) => format!("{name}: {{ count distinct: question, of: {of} }}"),
            Sum::ValueOnce(of) => format!("{name}: {{ sum: value, of: {of}, once per: question }}"),
            Sum::Visits => format!("{name}: {{ visits: any }}"),
        });
        section("tallies", tallies.collect());
        let segments = self.segments.iter().map(|(name, when)| match when {
            None => format!("{name}: true"),
            Some(when) => format!("{name}: {}", quoted(when)),
        });
        section("segments", segments.collect());
        section("stages", self.stages.iter().map(Stage::yaml).collect());
        section("episodes", self.kinds.iter().map(Kind::yaml).collect());
        section("friction", self.rules.iter().map(Rule::yaml).collect());
        text
    }
}

impl Stage {
    fn yaml(&self) -> String {
        let ways: Vec<String> = self.enter.iter().map(Way::yaml).collect();
        let mut parts =
            vec![if ways.len() == 1 { format!("enter: {}", ways[0]) } else { format!("enter: [{}]", ways.join(", ")) }];
        parts.extend(self.when.as_ref().map(|when| format!("when: '{}'", when.cel())));
        parts.extend(self.quiet.as_ref().map(|wait| format!("quiet: {}", wait.yaml())));
        let progresses = self.progresses.as_ref().filter(|_| self.quiet.is_some());
        parts.extend(progresses.map(|names| format!("progresses: [{}]", names.join(", "))));
        parts.extend(self.abandoned_at.then(|| "abandoned at: touchpoint.ends_at".to_owned()));
        parts.extend(self.at_least.map(|seconds| format!("at least: {seconds}s")));
        parts.extend(self.back.as_ref().map(|(to, by)| format!("back: {{ {to}: [{}] }}", by.join(", "))));
        parts.extend(self.again.as_ref().map(|by| format!("again: {by}")));
        parts.extend(self.renews.as_ref().map(|(to, by)| format!("renews: {{ {to}: {by} }}")));
        parts.extend(self.then.as_ref().map(|to| format!("then: {to}")));
        parts.extend(self.ends.then(|| "ends: true".to_owned()));
        if self.quiet.is_some() || self.abandoned_at {
            parts.extend(again(self.again_every));
            parts.push(format!("recovered within: {}s", self.recovered_within));
        }
        format!("{}: {{ {} }}", self.name, parts.join(", "))
    }
}

impl Kind {
    fn yaml(&self) -> String {
        let known = if self.by_id { "k, strict: true" } else { "customer" };
        let mut parts =
            vec![format!("known by: {known}"), format!("opens: {}", self.opens), format!("completes: {}", self.completes)];
        parts.extend(self.progresses.as_ref().map(|names| format!("progresses: [{}]", names.join(", "))));
        parts.extend(self.empties.as_ref().map(|name| format!("empties: {name}")));
        parts.extend(self.cancels.as_ref().map(|name| format!("cancels: {name}")));
        parts.push("worth: value".to_owned());
        if let Some((by, all)) = &self.pays {
            let all = all.map_or_else(|| format!("{}.worth", self.name), |all| all.to_string());
            parts.push(format!("sums: {{ paid: {{ sum: value, of: {by} }} }}"));
            parts.push(format!("completes when: '{}.paid >= {all}'", self.name));
        }
        parts.extend(self.after.as_ref().map(|wait| format!("abandoned after: {}", wait.yaml())));
        parts.extend(self.abandoned_at.then(|| "abandoned at: touchpoint.ends_at".to_owned()));
        if self.after.is_some() || self.abandoned_at {
            parts.extend(again(self.again_every));
        }
        parts.push(format!("recovered within: {}s", self.recovered_within));
        format!("{}: {{ {} }}", self.name, parts.join(", "))
    }
}

fn again(every: Option<(Seconds, u32)>) -> Option<String> {
    every.map(|(every, most)| format!("every: {every}s, at most: {most}"))
}

impl Rule {
    fn yaml(&self) -> String {
        let mut parts = Vec::new();
        match &self.scope {
            Scope::Episode(kind) => parts.push(format!("in: {kind}")),
            Scope::Session => parts.push("in: session".to_owned()),
            Scope::Stage => parts.push("in: stage".to_owned()),
            Scope::Journey => {}
        }
        match &self.sign {
            Sign::Count(1, of, None) => parts.push(format!("on: {of}")),
            Sign::Count(times, of, within) => {
                parts.push(format!("{times} of: {of}"));
                parts.extend(within.map(|seconds| format!("within: {seconds}s")));
            }
            Sign::Pattern(names, within) => {
                parts.push(format!("pattern: [{}]", names.join(", ")));
                parts.extend(within.map(|seconds| format!("within: {seconds}s")));
            }
            Sign::Missing { after, answer, within, by } => {
                parts.push(format!("after: {after}, missing: {answer}, within: {}", within.yaml()));
                parts.extend(by.then(|| "by: question".to_owned()));
            }
            Sign::Dwells { on, length, until } => {
                parts.push(format!("dwells: {on}, for: {length}s"));
                parts.extend(until.as_ref().map(|until| format!("until: [{until}]")));
            }
            Sign::Score { at, from, within } => {
                let at: Vec<String> = at
                    .iter()
                    .map(|(segment, least)| match segment {
                        None => least.to_string(),
                        Some(segment) => format!("{segment}: {least}"),
                    })
                    .collect();
                let by_segment = at.iter().any(|part| part.contains(':'));
                parts.push(if by_segment { format!("score: {{ {} }}", at.join(", ")) } else { format!("score: {}", at[0]) });
                let from: Vec<String> = from.iter().map(|(rule, weight)| format!("{rule}: {weight}")).collect();
                parts.push(format!("from: {{ {} }}", from.join(", ")));
                parts.extend(within.map(|seconds| format!("within: {seconds}s")));
            }
        }
        parts.extend(self.cool_down.map(|seconds| format!("cool-down: {seconds}s")));
        parts.extend(self.evidence_only.then(|| "evidence only: true".to_owned()));
        if !self.segments.is_empty() {
            parts.push(format!("segments: [{}]", self.segments.join(", ")));
        }
        format!("{}: {{ {} }}", self.name, parts.join(", "))
    }
}
