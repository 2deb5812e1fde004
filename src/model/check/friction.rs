//! Friction: in what each rule gathers evidence, of which types or rules, and whether it can ever be enough.

use super::conditions::Conditions;
use super::groups::{Groups, Mention, Types, includes};
use super::segments::Segments;
use super::{check_name, episodes};
use crate::diagnostic::{Diagnostic, Faults, Place, did_you_mean, quoted};
use crate::model::written::{self, Friction, Name, Stage};
use crate::model::{self, EpisodeIndex, RuleIndex, Scope, Sign, Threshold};

/// A rule with its names resolved.
pub(super) struct Checked<'a> {
    pub(super) rule: model::Friction,
    /// By part of its sign, the types that can be that part.
    pub(super) parts: Vec<Types<'a>>,
}

/// What the rules refer to.
pub(super) struct Around<'r, 'a> {
    pub(super) rules: &'a [Friction],
    pub(super) stages: &'a [Stage],
    pub(super) episodes: &'r [episodes::Checked<'a>],
    pub(super) segments: &'r Segments<'a>,
}

/// Resolves and checks the rules; those with something wrong are left out, which no model is compiled of.
pub(super) fn check<'a>(
    around: &Around<'_, 'a>,
    groups: &mut Groups<'a>,
    conditions: &mut Conditions<'_>,
    faults: &mut Faults,
) -> Vec<Checked<'a>> {
    for rule in around.rules {
        check_name("friction rule", &rule.name, faults);
    }
    let checked = around.rules.iter().filter_map(|rule| check_one(rule, around, groups, conditions, faults)).collect();
    check_evidence(around.rules, around.stages, faults);
    checked
}

/// The index of a rule by its name; a diagnostic at `place` where there is none.
pub(super) fn find(name: &str, place: &Place, rules: &[Friction], faults: &mut Faults) -> Option<RuleIndex> {
    let found = rules.iter().position(|rule| rule.name.value == name);
    if found.is_none() {
        let names: Vec<&str> = rules.iter().map(|rule| rule.name.value.as_str()).collect();
        let cause = format!("there is no friction rule {}", quoted(name));
        let help = if names.is_empty() {
            "the model has no friction rules; add it under `friction:`, or remove it here".to_owned()
        } else {
            did_you_mean(name, &names, "the rules are")
        };
        faults.error("M072", place, cause, help);
    }
    found.and_then(|at| RuleIndex::try_from(at).ok())
}

fn check_one<'a>(
    rule: &'a Friction,
    around: &Around<'_, 'a>,
    groups: &mut Groups<'a>,
    conditions: &mut Conditions<'_>,
    faults: &mut Faults,
) -> Option<Checked<'a>> {
    let scope = scope(rule, around, faults);
    let segments: Vec<_> = rule.segments.iter().map(|name| around.segments.find(name, faults)).collect();
    let (sign, parts) = sign(rule, scope, around, groups, conditions, faults)?;
    if let Some(Scope::Episode(at)) = scope {
        check_alive(rule, &sign, &parts, &around.episodes[usize::from(at)], faults);
    }
    let rule = model::Friction {
        name: rule.name.value.as_str().into(),
        scope: scope?,
        sign,
        cool_down: rule.cool_down,
        evidence_only: rule.evidence_only.is_some(),
        segments: segments.into_iter().collect::<Option<_>>()?,
    };
    Some(Checked { rule, parts })
}

fn scope(rule: &Friction, around: &Around<'_, '_>, faults: &mut Faults) -> Option<Scope> {
    let Some(name) = &rule.scope else { return Some(Scope::Journey) };
    match name.value.as_str() {
        "session" => return Some(Scope::Session),
        "stage" => return Some(Scope::Stage),
        "journey" => return Some(Scope::Journey),
        _ => {}
    }
    let found = around.episodes.iter().position(|episode| episode.written.name.value == name.value);
    if found.is_none() {
        let episodes = around.episodes.iter().map(|episode| episode.written.name.value.as_str());
        let names: Vec<&str> = episodes.chain(["session", "stage", "journey"]).collect();
        let cause = format!("friction cannot be gathered in {}: there is no such episode", quoted(&name.value));
        faults.error("M075", &name.place, cause, did_you_mean(&name.value, &names, "write one of"));
    }
    found.and_then(|at| EpisodeIndex::try_from(at).ok()).map(Scope::Episode)
}

fn sign<'a>(
    rule: &'a Friction,
    scope: Option<Scope>,
    around: &Around<'_, 'a>,
    groups: &mut Groups<'a>,
    conditions: &mut Conditions<'_>,
    faults: &mut Faults,
) -> Option<(Sign, Vec<Types<'a>>)> {
    match rule.sign.as_ref()? {
        written::Sign::Count { times, of, within } => {
            let within = within.as_ref().map(|span| span.value);
            Some((Sign::Count { times: *times, within }, vec![groups.expand(of, faults)]))
        }
        written::Sign::Pattern { parts, within } => {
            let types = groups.expand_each(parts, faults);
            let parts = u8::try_from(parts.len()).unwrap_or(u8::MAX);
            Some((Sign::Pattern { parts, within: within.as_ref().map(|span| span.value) }, types))
        }
        written::Sign::Missing { after, missing, within, by } => {
            let parts = vec![groups.expand(after, faults), groups.expand(missing, faults)];
            check_in_time(rule, within, scope, around, faults);
            let within = conditions.wait(within, around.segments, faults);
            let by = by.as_ref().map(|name| name.value.as_str().into());
            Some((Sign::Missing { within: within?, by }, parts))
        }
        written::Sign::Dwell { place, on, wait, until } => {
            let on = groups.expand(on, faults);
            let mut ends = match (until, scope) {
                (Some(until), _) => groups.expand_or_any(until, faults),
                (None, Some(Scope::Episode(at))) => around.episodes[usize::from(at)].named(),
                (None, Some(Scope::Session | Scope::Stage | Scope::Journey)) => {
                    let cause = format!("friction {} does not say what ends the dwelling", quoted(&rule.name.value));
                    let help = "add `until:` with the types that end it, or `in:` with an episode, whose types all do";
                    faults.error("M077", place, cause, help);
                    Types::new()
                }
                (None, None) => Types::new(),
            };
            ends.extend(on.iter().cloned());
            check_in_time(rule, wait, scope, around, faults);
            let within = conditions.wait(wait, around.segments, faults);
            Some((Sign::Missing { within: within?, by: None }, vec![on, ends]))
        }
        written::Sign::Score { threshold, from, within, .. } => {
            let weights = weights(from, around.rules, faults);
            let threshold = read_threshold(threshold, around.segments, faults);
            check_reachable(rule, around, threshold.as_ref(), faults);
            check_parts(rule, from, around.rules, faults);
            let within = within.as_ref().map(|span| span.value);
            Some((Sign::Score { threshold: threshold?, weights: weights?, within }, Vec::new()))
        }
    }
}

fn weights(from: &[(Name, u32)], rules: &[Friction], faults: &mut Faults) -> Option<Vec<(RuleIndex, u32)>> {
    let found = from.iter().map(|(name, weight)| {
        let index = find(&name.value, &name.place, rules, faults)?;
        let other = &rules[usize::from(index)];
        if matches!(other.sign, Some(written::Sign::Score { .. })) {
            let cause = format!("{} is itself a score, and a score adds up rules only", quoted(&name.value));
            faults.push(
                Diagnostic::error("M073", &name.place, cause, "name the rules that it is made of")
                    .see(&other.name.place, "the score"),
            );
        }
        Some((index, *weight))
    });
    let found: Vec<_> = found.collect();
    found.into_iter().collect()
}

fn read_threshold(threshold: &written::Threshold, segments: &Segments<'_>, faults: &mut Faults) -> Option<Threshold> {
    match threshold {
        written::Threshold::Fixed(number) => Some(Threshold::Fixed(*number)),
        written::Threshold::BySegment { place, thresholds } => {
            let given = thresholds.iter().map(|(name, number)| (name, Some(*number))).collect();
            segments.spread(given, place, "a threshold", faults).map(Threshold::BySegment)
        }
    }
}

/// The most that a score can be: what is kept of it, and each rule adds its weight once in a cool-down, as long as that is
/// fresh.
fn check_reachable(score: &Friction, around: &Around<'_, '_>, threshold: Option<&Threshold>, faults: &mut Faults) {
    let Some(written::Sign::Score { place, from, within, .. }) = &score.sign else { return };
    let least = match threshold {
        Some(Threshold::Fixed(number)) => Some(*number),
        Some(Threshold::BySegment(numbers)) => numbers.iter().flatten().min().copied(),
        None => None,
    };
    let Some(least) = least else { return };
    let heaviest = from.iter().map(|(_, weight)| u64::from(*weight)).max().unwrap_or_default();
    let kept = heaviest.saturating_mul(model::MAX_ADDED as u64);
    if u64::from(least) > kept {
        let cause = format!(
            "a score of {least} is never reached: the latest {} additions count, which make {kept} at most",
            model::MAX_ADDED
        );
        faults.warning("M074", place, cause, "lower the score, or raise the weights");
        return;
    }
    let Some(within) = within else { return };
    let times = |name: &Name| -> Option<u64> {
        let rule = around.rules.iter().find(|rule| rule.name.value == name.value)?;
        let scope = |rule: &Friction| rule.scope.as_ref().map_or("journey".to_owned(), |name| name.value.clone());
        // Evidence alone knows no cool-down, and another place has one of its own.
        let bounded = rule.evidence_only.is_none() && scope(rule) == scope(score);
        let cool_down = u64::try_from(rule.cool_down.as_millis()).ok().filter(|millis| bounded && *millis > 0)?;
        let window = u64::try_from(within.value.as_millis()).ok()?;
        Some(1 + window.saturating_sub(1) / cool_down)
    };
    let most = from.iter().map(|(name, weight)| Some(times(name)?.saturating_mul(u64::from(*weight))));
    let Some(most) = most.sum::<Option<u64>>() else { return };
    if u64::from(least) > most {
        let cause =
            format!("a score of {least} is never reached: within {} the rules add up to {most} at most", within.value);
        faults.warning("M074", place, cause, "lower the score, raise the weights, or let evidence count for longer");
    }
}

/// What is noticed by silence has no touchpoint that would belong to an episode or a session: there a score counts only what
/// is gathered in the same.
fn check_parts(score: &Friction, from: &[(Name, u32)], rules: &[Friction], faults: &mut Faults) {
    let scope = |rule: &Friction| rule.scope.as_ref().map_or("journey".to_owned(), |name| name.value.clone());
    let own = scope(score);
    if own == "journey" || own == "stage" {
        return;
    }
    for (name, _) in from {
        let Some(rule) = rules.iter().find(|rule| rule.name.value == name.value) else { continue };
        let silent = matches!(rule.sign, Some(written::Sign::Missing { .. } | written::Sign::Dwell { .. }));
        if silent && scope(rule) != own {
            let cause = format!(
                "{} never adds to this score: it is noticed by silence in {}, and the score is gathered in {}",
                quoted(&name.value),
                quoted(&scope(rule)),
                quoted(&own)
            );
            faults.push(
                Diagnostic::warning("M074", &name.place, cause, format!("write `in: {own}` for both"))
                    .see(&rule.name.place, "the rule"),
            );
        }
    }
}

/// An episode that is abandoned sooner than a rule waits.
fn check_in_time(rule: &Friction, wait: &written::Wait, scope: Option<Scope>, around: &Around<'_, '_>, faults: &mut Faults) {
    let (Some(Scope::Episode(at)), Some(wait)) = (scope, wait.fixed()) else { return };
    let episode = around.episodes[usize::from(at)].written;
    let Some(after) = episode.abandoned_after.as_ref().and_then(written::Wait::fixed) else { return };
    if wait.value >= after.value {
        let cause = format!(
            "{} waits {}, and a silent {} is abandoned after {} already",
            quoted(&rule.name.value),
            wait.value,
            quoted(&episode.name.value),
            after.value
        );
        faults.push(
            Diagnostic::warning("M078", &wait.place, cause, "wait less here, or longer before the episode is abandoned")
                .see(&after.place, "the episode's own wait"),
        );
    }
}

/// What ends an episode is no evidence in it: the episode is over before the touchpoint is looked at.
fn check_alive(rule: &Friction, sign: &Sign, parts: &[Types<'_>], episode: &episodes::Checked<'_>, faults: &mut Faults) {
    // What answers may well be the end.
    let needed = match sign {
        Sign::Missing { .. } => &parts[..1],
        Sign::Count { .. } | Sign::Pattern { .. } | Sign::Score { .. } => parts,
    };
    let lists = [("completes", &episode.completes), ("empties", &episode.empties), ("cancels", &episode.cancels)];
    let end = |mention: &Mention<'_>| {
        let mut ends =
            lists.iter().flat_map(|(verb, types)| types.iter().map(move |end| (*verb, end.kind, end.place, &end.guard)));
        let found = ends.find(|(_, kind, _, guard)| *kind == mention.kind && includes(guard, &mention.guard));
        found.map(|(verb, _, place, _)| (verb, place))
    };
    let ended = needed.iter().find(|part| part.iter().all(|mention| end(mention).is_some()));
    let Some(first) = ended.and_then(|part| part.first()) else { return };
    let Some((verb, place)) = end(first) else { return };
    let (name, episode) = (quoted(&rule.name.value), quoted(&episode.written.name.value));
    let cause = format!("{name} can never fire: {} {verb} {episode}, which then gathers nothing more", quoted(first.kind));
    let help = format!("write `in: journey`, or look for something that happens while {episode} is open");
    faults.push(Diagnostic::warning("M083", first.place, cause, help).see(place, "the end of the episode"));
}

/// A rule that publishes nothing counts for scores alone: it leads nowhere, and without a score it does nothing.
fn check_evidence(rules: &[Friction], stages: &[Stage], faults: &mut Faults) {
    let counted = |name: &str| {
        rules.iter().any(|rule| match &rule.sign {
            Some(written::Sign::Score { from, .. }) => from.iter().any(|(other, _)| other.value == name),
            Some(_) | None => false,
        })
    };
    let led = || stages.iter().flat_map(|stage| stage.back.iter().flat_map(|way| &way.members));
    for rule in rules {
        let Some(place) = &rule.evidence_only else { continue };
        let name = rule.name.value.as_str();
        if !counted(name) {
            let cause = format!("nothing comes of {}: it publishes nothing, and no score counts it", quoted(name));
            faults.warning("M079", place, cause, "name it in a score, or remove this line");
        }
        for member in led().filter(|member| member.value.strip_prefix("friction.") == Some(name)) {
            let cause =
                format!("{} leads nowhere: the rule is evidence only, so it is never published", quoted(&member.value));
            faults.push(
                Diagnostic::error("M079", &member.place, cause, "name the score that counts it, or let the rule publish")
                    .see(place, "evidence only"),
            );
        }
    }
}
