//! What is published, as fields in the order of `schemas/outcome.avsc`; and touchpoints, by `schemas/touchpoint.avsc`.

use uuid::Uuid;

use super::fields::{Fields, Name, name};
use crate::journey::{About, Id, Outcome, Subject, What};
use crate::touchpoint::Touchpoint;

/// Writes an outcome. Every field is always there; what does not apply to its kind is null.
pub(super) fn write(outcome: &Outcome, fields: &mut impl Fields) {
    let (kind, what) = (outcome.what.kind(), outcome.what.original());
    let retracts = matches!(outcome.what, What::Retraction { .. }).then(|| what.kind());
    let about = what.about();
    id(fields, name!("outcome_id"), outcome.id);
    fields.text(name!("kind"), kind);
    fields.text(name!("model"), &outcome.model);
    fields.whole(name!("model_version"), outcome.model_version.into());
    fields.text_or_null(name!("customer_id"), outcome.identity.customer_id());
    fields.text_or_null(name!("anonymous_id"), outcome.identity.anonymous_id());
    fields.whole(name!("journey"), outcome.journey.into());
    fields.instant(name!("journey_started_at"), outcome.journey_started_at);
    fields.whole(name!("sequence"), i64::try_from(outcome.sequence).unwrap_or(i64::MAX));
    fields.instant(name!("at"), outcome.at);
    touchpoint(fields, name!("cause"), outcome.cause.as_ref());
    fields.text_or_null(name!("channel"), outcome.channel.as_deref());
    fields.text_or_null(name!("session_id"), outcome.session.as_deref());
    write_transition(what, fields);
    fields.or_null(name!("subject"), about.map(|about| &about.subject), |fields, name, subject| {
        fields.record(name, |fields| write_subject(subject, fields));
    });
    write_story(about, fields);
    fields.or_null(name!("answers"), what.answers(), |fields, name, answers| {
        fields.record(name, |fields| {
            id(fields, name!("outcome_id"), answers.id);
            fields.instant(name!("at"), answers.at);
        });
    });
    fields.or_null(name!("value"), outcome.value, |fields, name, value| {
        fields.record(name, |fields| {
            fields.amount(name!("amount"), value);
            fields.text(name!("currency"), value.currency.as_str());
        });
    });
    fields.text_or_null(name!("segment"), outcome.segment.as_deref());
    write_decision(what, fields);
    write_friction(what, fields);
    write_offer(what, fields);
    write_measurement(what, fields);
    write_merge(what, fields);
    fields.text_or_null(name!("retracts"), retracts);
    fields.flag(name!("hindsight"), outcome.hindsight);
    fields.shown(name!("says"), outcome);
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
        | What::Friction { .. }
        | What::Intervention { .. }
        | What::Withdrawal { .. }
        | What::Measurement { .. }
        | What::Merge { .. }
        | What::Retraction { .. } => (None, None, None, None),
    };
    fields.text_or_null(name!("from"), from);
    fields.text_or_null(name!("to"), to);
    fields.text_or_null(name!("movement"), movement);
    fields.whole_or_null(name!("time_in_stage_ms"), time_in_stage.map(|span| span.as_millis()));
}

fn write_decision(what: &What, fields: &mut impl Fields) {
    let decision = match what {
        What::Transition { decision, .. } => decision.as_deref(),
        What::Completion { .. }
        | What::Abandonment { .. }
        | What::Resumption { .. }
        | What::Recovery { .. }
        | What::Friction { .. }
        | What::Intervention { .. }
        | What::Withdrawal { .. }
        | What::Measurement { .. }
        | What::Merge { .. }
        | What::Retraction { .. } => None,
    };
    fields.or_null(name!("decision"), decision, |fields, name, decision| {
        fields.record(name, |fields| {
            fields.text_or_null(name!("stage"), decision.stage.as_deref());
            fields.text(name!("touchpoint"), decision.touchpoint.text(&mut Uuid::encode_buffer()));
            fields.text(name!("type"), &decision.kind);
            fields.text_or_null(name!("channel"), decision.channel.as_deref());
            fields.whole(name!("before_ms"), decision.before.as_millis());
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
        | What::Recovery { .. }
        | What::Intervention { .. }
        | What::Withdrawal { .. }
        | What::Measurement { .. }
        | What::Merge { .. }
        | What::Retraction { .. } => None,
    };
    fields.or_null(name!("friction"), friction, |fields, name, (rule, evidence, score)| {
        fields.record(name, |fields| {
            fields.text(name!("rule"), rule);
            fields.list(name!("evidence"), evidence);
            fields.whole_or_null(name!("score"), score.as_ref().map(|(score, _)| i64::from(*score)));
            let rules = score.as_ref().map_or(&[][..], |(_, rules)| rules);
            fields.list(name!("rules"), rules);
        });
    });
}

fn write_merge(what: &What, fields: &mut impl Fields) {
    let merge = match what {
        What::Merge { from, moved } => Some((from, moved)),
        What::Transition { .. }
        | What::Completion { .. }
        | What::Abandonment { .. }
        | What::Resumption { .. }
        | What::Recovery { .. }
        | What::Friction { .. }
        | What::Intervention { .. }
        | What::Withdrawal { .. }
        | What::Measurement { .. }
        | What::Retraction { .. } => None,
    };
    fields.or_null(name!("merge"), merge, |fields, name, (from, moved)| {
        fields.record(name, |fields| {
            fields.text(name!("anonymous_id"), from);
            fields.whole(name!("touchpoints"), i64::try_from(moved.touchpoints).unwrap_or(i64::MAX));
            fields.whole(name!("episodes"), moved.episodes.into());
            fields.text_or_null(name!("stage"), moved.stage.as_deref());
        });
    });
}

fn write_offer(what: &What, fields: &mut impl Fields) {
    let reason = match what {
        What::Withdrawal { reason, .. } => Some(reason.as_str()),
        What::Transition { .. }
        | What::Completion { .. }
        | What::Abandonment { .. }
        | What::Resumption { .. }
        | What::Recovery { .. }
        | What::Friction { .. }
        | What::Intervention { .. }
        | What::Measurement { .. }
        | What::Merge { .. }
        | What::Retraction { .. } => None,
    };
    fields.or_null(name!("intervention"), what.offer(), |fields, name, offer| {
        fields.record(name, |fields| {
            fields.text(name!("name"), &offer.name);
            fields.text(name!("channel"), &offer.channel);
            fields.text(name!("arm"), offer.arm.as_str());
            fields.text_or_null(name!("variant"), offer.variant.as_deref());
            fields.instant(name!("expires_at"), offer.expires_at);
            fields.by_name(name!("payload"), &offer.payload);
            fields.text_or_null(name!("reason"), reason);
        });
    });
}

fn write_measurement(what: &What, fields: &mut impl Fields) {
    let measurement = match what {
        What::Measurement { of } => Some(of),
        What::Transition { .. }
        | What::Completion { .. }
        | What::Abandonment { .. }
        | What::Resumption { .. }
        | What::Recovery { .. }
        | What::Friction { .. }
        | What::Intervention { .. }
        | What::Withdrawal { .. }
        | What::Merge { .. }
        | What::Retraction { .. } => None,
    };
    fields.or_null(name!("measurement"), measurement, |fields, name, of| {
        fields.record(name, |fields| {
            fields.text(name!("intervention"), &of.intervention);
            fields.whole(name!("version"), of.version.into());
            fields.text(name!("arm"), of.arm.as_str());
            fields.text_or_null(name!("variant"), of.variant.as_deref());
            fields.flag(name!("converted"), of.converted);
            fields.whole(name!("before"), i64::try_from(of.before).unwrap_or(i64::MAX));
        });
    });
}

/// One episode can be known by several ids of one name, so each name has a list.
fn write_subject(subject: &Subject, fields: &mut impl Fields) {
    let (stage, episode, number, ids, session) = match subject {
        Subject::Stage(stage) => (Some(stage.as_str()), None, None, &[][..], None),
        Subject::Episode { kind, number, ids } => {
            (None, Some(kind.as_str()), Some(i64::from(*number)), ids.as_slice(), None)
        }
        Subject::Session(session) => (None, None, None, &[][..], Some(session.as_str())),
        Subject::Journey => (None, None, None, &[][..], None),
    };
    fields.text_or_null(name!("stage"), stage);
    fields.text_or_null(name!("episode"), episode);
    fields.whole_or_null(name!("number"), number);
    fields.texts(name!("ids"), ids);
    fields.text_or_null(name!("session"), session);
}

fn write_story(about: Option<&About>, fields: &mut impl Fields) {
    touchpoint(fields, name!("opened_by"), about.map(|about| &about.opened_by));
    fields.instant_or_null(name!("opened_at"), about.map(|about| about.opened_at));
    touchpoint(fields, name!("last_progress"), about.map(|about| &about.last_progress));
    fields.instant_or_null(name!("last_progress_at"), about.map(|about| about.last_progress_at));
    fields.whole_or_null(name!("progress_count"), about.map(|about| about.progress_count.into()));
}

fn id(fields: &mut impl Fields, name: Name, id: Uuid) {
    fields.text(name, id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
}

fn touchpoint(fields: &mut impl Fields, name: Name, id: Option<&Id>) {
    let mut buffer = Uuid::encode_buffer();
    fields.text_or_null(name, id.map(|id| id.text(&mut buffer)));
}

/// Writes a touchpoint. A derived id is left out: reading the record derives it anew, and it stays what was not given.
pub(super) fn write_touchpoint(touchpoint: &Touchpoint, fields: &mut impl Fields) {
    fields.text_or_null(name!("event_id"), Some(touchpoint.id.as_str()).filter(|_| touchpoint.id_given));
    fields.text_or_null(name!("customer_id"), touchpoint.identity.customer_id());
    fields.text_or_null(name!("anonymous_id"), touchpoint.linked.as_deref().or(touchpoint.identity.anonymous_id()));
    fields.instant(name!("occurred_at"), touchpoint.event_time);
    fields.text(name!("type"), &touchpoint.kind);
    fields.text_or_null(name!("channel"), touchpoint.channel.as_deref());
    fields.text_or_null(name!("session_id"), touchpoint.session.as_deref());
    fields.properties(name!("properties"), &touchpoint.properties);
}
