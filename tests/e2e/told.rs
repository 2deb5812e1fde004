//! What was published, in the oracle's words.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::oracle::Told;

/// A published outcome in the oracle's words.
pub(crate) fn read(outcome: &Value) -> Told {
    let text = |field: &str| outcome[field].as_str().map(ToOwned::to_owned);
    let instant =
        |value: &Value| value.as_str().map(|text| text.parse::<jiff::Timestamp>().expect("an instant").as_millisecond());
    let one_of = |field: &str, words: &[&'static str]| {
        let found = outcome[field].as_str()?;
        Some(*words.iter().find(|word| **word == found).unwrap_or(&"(another word)"))
    };
    const STAGES: [&str; 5] = ["awareness", "consideration", "decision", "retention", "advocacy"];
    let subject = &outcome["subject"];
    Told {
        sequence: outcome["sequence"].as_u64().expect("a number"),
        kind: one_of("kind", &["transition", "completion", "abandonment", "resumption", "recovery"]).expect("a kind"),
        journey: outcome["journey"].as_u64().expect("a number"),
        at: instant(&outcome["at"]).expect("an instant"),
        cause: text("cause"),
        from: one_of("from", &STAGES),
        to: one_of("to", &STAGES),
        movement: one_of("movement", &["advance", "skip", "regress", "re-enter", "complete"]),
        time_in_stage: outcome["time_in_stage_ms"].as_i64(),
        subject: match (subject["stage"].as_str(), subject["episode"].as_str()) {
            (Some(stage), _) => Some(format!("stage {stage}")),
            (None, Some(episode)) => Some(format!("{episode} {}", subject["number"])),
            (None, None) => None,
        },
        ids: ids(outcome),
        opened_by: text("opened_by"),
        opened_at: instant(&outcome["opened_at"]),
        last_progress: text("last_progress"),
        last_progress_at: instant(&outcome["last_progress_at"]),
        progress_count: outcome["progress_count"].as_u64(),
        answers: instant(&outcome["answers"]["at"]),
        value: outcome["value"]["amount"].as_f64().map(|amount| amount as i64),
    }
}

/// The ids that an episode is known by of its own. One without any says whose it is, by session or customer; the oracle has no name
/// for that.
fn ids(outcome: &Value) -> BTreeSet<String> {
    let ids = &outcome["subject"]["ids"];
    let who = outcome["customer_id"].as_str().or(outcome["anonymous_id"].as_str());
    if let Some(name) = ["session", "customer"].into_iter().find(|name| ids[name].is_array()) {
        assert_eq!(ids.as_object().map(serde_json::Map::len), Some(1), "{outcome}");
        assert!(name == "session" || ids[name][0].as_str() == who, "{outcome}");
        return BTreeSet::new();
    }
    let named = |(name, ids): (&String, &Value)| -> Vec<String> {
        ids.as_array().into_iter().flatten().map(|id| format!("{name}={}", id.as_str().unwrap_or("?"))).collect()
    };
    ids.as_object().into_iter().flatten().flat_map(named).collect()
}
