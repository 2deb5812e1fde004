//! What is published, as fields in the order of `schemas/outcome.avsc`; and touchpoints, by `schemas/touchpoint.avsc`.

use compact_str::CompactString;
use uuid::Uuid;

use super::fields::Fields;
use crate::journey::{About, Outcome, Subject, What};
use crate::touchpoint::Touchpoint;

/// Writes an outcome. Every field is always there; what does not apply to its kind is null.
pub(super) fn write(outcome: &Outcome, fields: &mut impl Fields) {
    let what = &outcome.what;
    let about = what.about();
    id(fields, "outcome_id", outcome.id);
    fields.text("kind", what.kind());
    fields.text("model", &outcome.model);
    fields.whole("model_version", outcome.model_version.into());
    fields.text_or_null("customer_id", outcome.identity.customer_id());
    fields.text_or_null("anonymous_id", outcome.identity.anonymous_id());
    fields.whole("journey", outcome.journey.into());
    fields.instant("journey_started_at", outcome.journey_started_at);
    fields.whole("sequence", i64::try_from(outcome.sequence).unwrap_or(i64::MAX));
    fields.instant("at", outcome.at);
    fields.text_or_null("cause", outcome.cause.as_deref());
    write_transition(what, fields);
    fields.or_null("subject", about.map(|about| &about.subject), |fields, name, subject| {
        fields.record(name, |fields| write_subject(subject, fields));
    });
    write_story(about, fields);
    fields.or_null("answers", what.answers(), |fields, name, answers| {
        fields.record(name, |fields| {
            id(fields, "outcome_id", answers.id);
            fields.instant("at", answers.at);
        });
    });
    fields.or_null("value", outcome.value, |fields, name, value| {
        fields.record(name, |fields| {
            fields.amount("amount", value);
            fields.text("currency", value.currency.as_str());
        });
    });
    fields.text_or_null("segment", outcome.segment.as_deref());
    write_decision(what, fields);
    write_friction(what, fields);
    fields.text("says", &outcome.to_string());
}

fn write_transition(what: &What, fields: &mut impl Fields) {
    let (from, to, movement, time_in_stage) = match what {
        What::Transition { from, to, movement, time_in_stage, .. } => {
            (from.as_deref(), Some(to.as_str()), Some(movement.as_str()), *time_in_stage)
        }
        What::Completion { .. }
        | What::Abandonment { .. }
        | What::Resumption { .. }
        | What::Recovery { .. }
        | What::Friction { .. } => (None, None, None, None),
    };
    fields.text_or_null("from", from);
    fields.text_or_null("to", to);
    fields.text_or_null("movement", movement);
    fields.whole_or_null("time_in_stage_ms", time_in_stage.map(|span| span.as_millis()));
}

fn write_decision(what: &What, fields: &mut impl Fields) {
    let decision = match what {
        What::Transition { decision, .. } => decision.as_deref(),
        What::Completion { .. }
        | What::Abandonment { .. }
        | What::Resumption { .. }
        | What::Recovery { .. }
        | What::Friction { .. } => None,
    };
    fields.or_null("decision", decision, |fields, name, decision| {
        fields.record(name, |fields| {
            fields.text_or_null("stage", decision.stage.as_deref());
            fields.text("touchpoint", &decision.touchpoint);
            fields.text("type", &decision.kind);
            fields.text_or_null("channel", decision.channel.as_deref());
            fields.whole("before_ms", decision.before.as_millis());
        });
    });
}

fn write_friction(what: &What, fields: &mut impl Fields) {
    let friction = match what {
        What::Friction { rule, evidence, score, .. } => Some((rule, evidence, score)),
        What::Transition { .. }
        | What::Completion { .. }
        | What::Abandonment { .. }
        | What::Resumption { .. }
        | What::Recovery { .. } => None,
    };
    fields.or_null("friction", friction, |fields, name, (rule, evidence, score)| {
        let texts = |list: &[CompactString], write: &mut dyn FnMut(&[&str])| {
            write(&list.iter().map(CompactString::as_str).collect::<Vec<&str>>());
        };
        fields.record(name, |fields| {
            fields.text("rule", rule);
            texts(evidence, &mut |ids| fields.list("evidence", ids));
            fields.whole_or_null("score", score.as_ref().map(|(score, _)| i64::from(*score)));
            let rules = score.as_ref().map_or(&[][..], |(_, rules)| rules);
            texts(rules, &mut |rules| fields.list("rules", rules));
        });
    });
}

/// One episode can be known by several ids of one name, so each name has a list.
fn write_subject(subject: &Subject, fields: &mut impl Fields) {
    let mut by_name: Vec<(&str, Vec<&str>)> = Vec::new();
    let (stage, episode, number, session) = match subject {
        Subject::Stage(stage) => (Some(stage.as_str()), None, None, None),
        Subject::Episode { kind, number, ids } => {
            for (name, id) in ids {
                match by_name.iter_mut().find(|(known, _)| known == name) {
                    Some((_, ids)) => ids.push(id),
                    None => by_name.push((name, vec![id])),
                }
            }
            (None, Some(kind.as_str()), Some(i64::from(*number)), None)
        }
        Subject::Session(session) => (None, None, None, Some(session.as_str())),
        Subject::Journey => (None, None, None, None),
    };
    fields.text_or_null("stage", stage);
    fields.text_or_null("episode", episode);
    fields.whole_or_null("number", number);
    fields.texts("ids", &by_name);
    fields.text_or_null("session", session);
}

fn write_story(about: Option<&About>, fields: &mut impl Fields) {
    fields.text_or_null("opened_by", about.map(|about| about.opened_by.as_str()));
    fields.instant_or_null("opened_at", about.map(|about| about.opened_at));
    fields.text_or_null("last_progress", about.map(|about| about.last_progress.as_str()));
    fields.instant_or_null("last_progress_at", about.map(|about| about.last_progress_at));
    fields.whole_or_null("progress_count", about.map(|about| about.progress_count.into()));
}

fn id(fields: &mut impl Fields, name: &str, id: Uuid) {
    fields.text(name, id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
}

/// Writes a touchpoint. A derived id is left out: reading the record derives it anew, and it stays what was not given.
pub(super) fn write_touchpoint(touchpoint: &Touchpoint, fields: &mut impl Fields) {
    fields.text_or_null("event_id", Some(touchpoint.id.as_str()).filter(|_| touchpoint.id_given));
    fields.text_or_null("customer_id", touchpoint.identity.customer_id());
    fields.text_or_null("anonymous_id", touchpoint.linked.as_deref().or(touchpoint.identity.anonymous_id()));
    fields.instant("occurred_at", touchpoint.event_time);
    fields.text("type", &touchpoint.kind);
    fields.text_or_null("channel", touchpoint.channel.as_deref());
    fields.text_or_null("session_id", touchpoint.session.as_deref());
    fields.properties("properties", &touchpoint.properties);
}
