//! A customer's state for people, made of what look-ups say in JSON.

use serde_json::Value;

use crate::terminal::plain;

/// Lines that say where a customer stands.
pub(super) fn text(told: &Value) -> String {
    let mut lines = head(told);
    for journey in list(&told["journeys"]) {
        lines.push(String::new());
        lines.extend(one_journey(journey));
    }
    lines.push(String::new());
    lines.push("latest touchpoints".to_owned());
    for past in list(&told["history"]) {
        let channel = past["channel"].as_str().map(|channel| format!(" on {channel}")).unwrap_or_default();
        lines.push(format!(
            "  {}  {}{channel}  {}",
            word(&past["occurred_at"]),
            word(&past["type"]),
            word(&past["event_id"])
        ));
    }
    // Ids, types and names come from strangers; here, at the end, none of them can be forgotten.
    lines.iter().map(|line| plain(line)).collect::<Vec<_>>().join("\n") + "\n"
}

fn head(told: &Value) -> Vec<String> {
    let who = match &told["customer_id"] {
        Value::Null => format!("anonymous customer {}", word(&told["anonymous_id"])),
        id => format!("customer {}", word(id)),
    };
    let links = joined(list(&told["links"]).iter().map(word));
    let links = if links.is_empty() { links } else { format!(", also seen as {links}") };
    vec![
        format!("{who}{links}"),
        format!("{} touchpoints", told["touchpoints"]),
        format!("partition {}, commit {}, decided until {}", told["partition"], told["commit"], word(&told["stream_time"])),
    ]
}

fn one_journey(journey: &Value) -> Vec<String> {
    let mut lines = vec![format!(
        "{} (version {}): journey {}, since {}; {} outcomes, {} of them friction",
        word(&journey["model"]),
        journey["model_version"],
        journey["journey"],
        word(&journey["journey_started_at"]),
        journey["sequence"],
        journey["frictions"]
    )];
    let mut line = |name: &str, text: String| {
        if !text.is_empty() {
            lines.push(format!("  {name:<10} {text}"));
        }
    };
    line(
        "stage",
        match &journey["stage"] {
            Value::Null => "none yet".to_owned(),
            stage => format!("{}, {}", word(&stage["stage"]), watched(stage)),
        },
    );
    line("reached", joined(pairs(&journey["reached"]).map(|(stage, at)| format!("{stage} {}", word(at)))));
    line("segment", journey["segment"].as_str().unwrap_or_default().to_owned());
    let sums = |(name, sums): (&String, &Value)| {
        format!("{name} {} ({} in this journey)", sum(&sums["customer"]), sum(&sums["journey"]))
    };
    line("sums", joined(pairs(&journey["tallies"]).map(sums)));
    for episode in list(&journey["episodes"]) {
        let ids = joined(pairs(&episode["ids"]).map(|(name, ids)| format!("{name} {}", sum(ids))));
        let name = format!("{} {}", word(&episode["episode"]), episode["number"]);
        let parts = [ids, sum_or_nothing(&episode["value"]), watched(episode)];
        line(&name, joined(parts.into_iter().filter(|part| !part.is_empty())));
    }
    lines
}

/// What a stage and an episode have in common.
fn watched(thing: &Value) -> String {
    let end = match (&thing["deadline"], thing["abandoned"].as_bool()) {
        (Value::Null, Some(true)) => "abandoned".to_owned(),
        (Value::Null, _) => "nothing is awaited".to_owned(),
        (deadline, _) => format!("abandoned at {} if nothing comes", word(deadline)),
    };
    format!(
        "since {} ({} touchpoints, the last at {}); {end}",
        word(&thing["opened_at"]),
        thing["progress_count"],
        word(&thing["last_progress_at"])
    )
}

/// A sum of any sort: a number, amounts, a value.
fn sum(value: &Value) -> String {
    match value {
        Value::Array(several) if several.is_empty() => "0".to_owned(),
        Value::Array(several) => several.iter().map(sum).collect::<Vec<_>>().join(" + "),
        Value::Object(money) => format!("{} {}", money["amount"], word(&money["currency"])),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => word(value),
    }
}

fn sum_or_nothing(value: &Value) -> String {
    if value.is_null() { String::new() } else { sum(value) }
}

/// A value as people write it; `-` for what is absent.
fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn pairs(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::terminal::steers;

    #[test]
    fn what_strangers_named_does_not_steer_the_terminal() {
        let hostile = "\u{1b}[2J\u{7}\r\n\u{202e}";
        let told = json!({
            "customer_id": hostile, "links": [hostile], "touchpoints": 1, "partition": 0, "commit": 1,
            "journeys": [{ "model": hostile, "segment": hostile, "reached": { hostile: hostile },
                "episodes": [{ "episode": hostile, "number": 1, "ids": { hostile: [hostile] } }] }],
            "history": [{ "channel": hostile, "type": hostile, "event_id": hostile }],
        });
        let shown = text(&told);
        assert!(shown.contains("\\u{1b}[2J\\u{7}\\u{d}"), "{shown}");
        assert!(!shown.chars().any(|c| c != '\n' && steers(c)), "{shown:?}");
        assert_eq!(
            shown.lines().count(),
            text(&json!({
                "customer_id": "a", "links": ["a"], "touchpoints": 1, "partition": 0, "commit": 1,
                "journeys": [{ "model": "a", "segment": "a", "reached": { "a": "a" },
                    "episodes": [{ "episode": "a", "number": 1, "ids": { "a": ["a"] } }] }],
                "history": [{ "channel": "a", "type": "a", "event_id": "a" }],
            }))
            .lines()
            .count(),
            "no line is forged"
        );
    }
}
