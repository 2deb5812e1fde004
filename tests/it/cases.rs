//! Situations that people reported, one small input each: what `sillage replay` makes of them. The inputs are not part of this
//! repository ([`crate::real_data::data`]).

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::real_data::data;

/// Everything that is awaited has been decided by then.
const END: &str = "2026-04-10T00:00:00Z";

struct Replayed {
    /// What holds at last, as `MM-DD HH:MM customer: says`, but for what is about stages.
    told: Vec<String>,
    /// What people are told beside it.
    said: String,
    worked: bool,
}

fn replay(case: &str, file: &str, fields: &[&str]) -> Option<Replayed> {
    let (model, events) = (data("cases", &format!("{case}/model.yaml"))?, data("cases", &format!("{case}/{file}"))?);
    let mut command = Command::new(env!("CARGO_BIN_EXE_sillage"));
    command.args(["replay", "--until", END, "--model"]).arg(model).arg(events);
    for field in fields {
        command.args(["--field", field]);
    }
    let ran = command.output().expect("sillage runs");
    let text = String::from_utf8(ran.stdout).expect("text");
    let outcomes: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let latest = |outcome: &&Value| {
        let is_same = |other: &&Value| other["outcome_id"] == outcome["outcome_id"];
        outcomes.iter().filter(is_same).map(|other| other["sequence"].as_u64()).max() == Some(outcome["sequence"].as_u64())
    };
    let about_episodes = |outcome: &&Value| outcome["subject"]["episode"].is_string() && outcome["kind"] != "retraction";
    let line = |outcome: &Value| {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let at = word(&outcome["at"]);
        format!("{} {} {}: {}", &at[5..10], &at[11..16], word(&outcome["customer_id"]), word(&outcome["says"]))
    };
    Some(Replayed {
        told: outcomes.iter().filter(latest).filter(about_episodes).map(line).collect(),
        said: String::from_utf8_lossy(&ran.stderr).into_owned(),
        worked: ran.status.success(),
    })
}

/// Case, file, what is told, and what people are told beside it.
type Right = (&'static str, &'static str, &'static [&'static str], &'static str);

const BOUGHT: &[&str] = &["03-02 10:00 c-1: completes basket A (40 EUR)"];
const LEFT: &[&str] = &["03-02 10:30 c-1: abandons basket A (40 EUR) after 30m"];
const ORDERS: &str = "02-order-webhook-before-late-cart";
const SHAPES: &str = "13-shapes-of-files";
const VISIT: &str = "43-the-order-comes-in-a-new-visit";

const RIGHT: &[Right] = &[
    (ORDERS, "in-order.ndjson", BOUGHT, ""),
    (ORDERS, "shared-id.ndjson", BOUGHT, ""),
    (ORDERS, "touchpoints.ndjson", BOUGHT, ""),
    (
        "04-amounts-written-as-text",
        "touchpoints.ndjson",
        &[
            "03-02 10:30 c-1: abandons basket A (189.90 EUR) after 30m",
            "03-02 11:00 c-1: completes basket A (189.90 EUR)",
            "03-02 11:00 c-1: recovers basket A (189.90 EUR)",
            "03-02 11:40 c-1: abandons basket B (20 EUR) after 30m",
        ],
        "",
    ),
    (
        "10-one-event-id-for-two-things",
        "touchpoints.ndjson",
        &["03-02 10:05 c-1: completes basket X (40 EUR)"],
        "1 with the id of another of another type",
    ),
    (
        "11-back-after-seven-days",
        "cart-id-per-customer.ndjson",
        &["03-02 10:10 c-1: completes basket cart-of-c-1 (40 EUR)"],
        "1 openings left out (their id had been completed before)",
    ),
    ("11-back-after-seven-days", "late-device.ndjson", &["03-02 10:10 c-1: completes basket A (40 EUR)"], ""),
    (SHAPES, "array-one-a-line.json", LEFT, ""),
    (SHAPES, "array.json", LEFT, ""),
    (SHAPES, "bom-crlf.ndjson", LEFT, ""),
    (SHAPES, "bom-in-the-middle.ndjson", LEFT, ""),
    (SHAPES, "nan.ndjson", &["03-02 10:30 c-1: abandons basket A after 30m"], "no-number 1"),
    (SHAPES, "one-line-two-objects.ndjson", LEFT, ""),
    (SHAPES, "padded.ndjson.gz", LEFT, ""),
    (SHAPES, "pretty.json", LEFT, ""),
    (SHAPES, "record-separators.jsonseq", LEFT, ""),
    (SHAPES, "table.csv", LEFT, ""),
    (SHAPES, "two-members.ndjson.gz", LEFT, ""),
    // The model has both lines: the one that leaves out whoever says nothing has its doubt.
    (
        "26-a-crawler-fills-baskets",
        "touchpoints.ndjson",
        &[
            "03-02 10:30 person-1: abandons first-try B after 30m",
            "03-02 10:30 person-1: abandons basket B after 30m",
            "03-02 10:30 person-2: abandons basket C after 30m",
        ],
        "warning[M084]",
    ),
    ("30-bought-in-time-told-late", "touchpoints.ndjson", &["03-02 10:10 c-1: completes basket A (40 EUR)"], ""),
    (VISIT, "touchpoints.ndjson", &["03-02 10:05 c-1: completes basket O1 (40 EUR)"], ""),
    (VISIT, "no-session.ndjson", &["03-02 10:05 c-1: completes basket O1 (40 EUR)"], ""),
    (VISIT, "no-order-id.ndjson", &["03-02 10:05 c-1: completes basket #1 (40 EUR)"], ""),
    ("real-completed-id-forgotten", "events.ndjson", &["01-02 00:00 c: completes order 7"], ""),
    (
        "real-late-completion-untold",
        "events.ndjson",
        &["01-01 00:30 c: abandons basket 7 after 30m", "01-10 00:00 c: completes basket 7"],
        "",
    ),
];

#[test]
fn what_people_reported_is_told_right() {
    for (case, file, told, said) in RIGHT {
        let Some(replayed) = replay(case, file, &[]) else { return };
        assert!(replayed.worked, "{case}/{file}: {}", replayed.said);
        assert_eq!(replayed.told, *told, "{case}/{file}: {}", replayed.said);
        assert!(replayed.said.contains(said), "{case}/{file}: {said:?} is not in\n{}", replayed.said);
    }
}

#[test]
fn a_hundred_orders_of_two_minutes_are_a_hundred_completions() {
    let Some(replayed) = replay("11-back-after-seven-days", "hundred-orders.ndjson", &[]) else { return };
    let completed = replayed.told.iter().filter(|line| line.contains(": completes basket ")).count();
    assert_eq!((completed, replayed.told.len()), (100, 100));
}

#[test]
fn the_order_of_a_file_changes_nothing() {
    let case = "32-a-file-sorted-by-customer";
    let files = ["by-time.ndjson", "touchpoints.ndjson", "newest-first.ndjson"];
    for file in files {
        let Some(replayed) = replay(case, file, &[]) else { return };
        let count = |word: &str| replayed.told.iter().filter(|line| line.contains(word)).count();
        let counts = [count(": abandons basket"), count(": completes basket"), count(": recovers basket")];
        assert_eq!((counts, replayed.told.len()), ([5, 5, 5], 15), "{file}: {:?}", replayed.told);
    }
}

#[test]
fn a_basket_that_is_left_every_day_is_one_basket() {
    let Some(replayed) = replay("34-the-same-basket-every-day", "touchpoints.ndjson", &[]) else { return };
    let left = replayed.told.iter().filter(|line| line.contains(": abandons basket A (100 EUR)")).count();
    assert_eq!(left, 7, "{:?}", replayed.told);
    let row = replayed.said.lines().find(|line| line.contains("episode basket")).expect("a row");
    let row: Vec<&str> = row.split_whitespace().collect();
    // Completed, abandoned, at stake.
    assert_eq!(row[2..].join(" ").find("0 7 (1 distinct) 100.00 EUR"), Some(0), "{row:?}");
}

/// A day is told as an instant where a zone is named; else it is told that it is none.
#[test]
fn a_date_that_has_passed_is_told_once() {
    let (case, file) = ("real-past-date-again", "events.ndjson");
    let Some(replayed) = replay(case, file, &["timezone=UTC"]) else { return };
    let expected = ["01-15 00:00 c: abandons bill 7 at its date", "01-20 00:00 c: resumes bill 7"];
    assert_eq!(replayed.told, expected, "{}", replayed.said);
    let Some(replayed) = replay(case, file, &[]) else { return };
    assert!(replayed.said.contains("3 values of due are not an instant"), "{}", replayed.said);
}

#[test]
fn no_instant_is_read_as_another() {
    let case = "14-ways-to-write-an-instant";
    let Some(replayed) = replay(case, "touchpoints.ndjson", &[]) else { return };
    for (line, reason) in [
        (4, "has no zone"),
        (5, "has no zone"),
        (17, "names no instant of the calendar"),
        (19, "names no instant of the calendar"),
        (21, "Microsoft's form of a date"),
        (24, "contradicts itself"),
        (26, "names no instant of the calendar"),
        (27, "is no instant"),
    ] {
        let place = format!("touchpoints.ndjson:{line}: ");
        let told = replayed.said.lines().find(|told| told.contains(&place));
        assert!(told.is_some_and(|told| told.contains(reason)), "line {line}: {told:?}");
    }
    assert!(replayed.said.contains("19 touchpoints of 19 customers"), "{}", replayed.said);
}

#[test]
fn a_file_in_utf_16_is_refused_with_what_to_do() {
    let Some(replayed) = replay(SHAPES, "utf16.ndjson", &[]) else { return };
    assert!(!replayed.worked && replayed.said.contains("it is UTF-16 text; save it as UTF-8"), "{}", replayed.said);
}

/// What stages say: the instants are those of the first stage, and of the quiet that nothing put off.
#[test]
fn stages_begin_where_they_are_entered_and_are_left_when_nothing_belongs_to_them() {
    for (case, expected) in [
        (
            "real-journey-starts-before-its-first-stage",
            ["2026-01-05T00:00:00.000Z enters one", "2026-01-05T00:30:00.000Z one → two"],
        ),
        (
            "real-when-still-puts-off",
            ["2026-01-01T00:00:00.000Z enters waiting", "2026-01-02T00:00:00.000Z abandons waiting after 1d"],
        ),
        (
            "07-older-webhook-comes-last",
            ["2026-03-02T10:00:00.000Z enters paying", "2026-04-02T10:00:00.000Z abandons paying at its date"],
        ),
    ] {
        let file = if case.starts_with("07") { "touchpoints.ndjson" } else { "events.ndjson" };
        let (Some(model), Some(events)) =
            (data("cases", &format!("{case}/model.yaml")), data("cases", &format!("{case}/{file}")))
        else {
            return;
        };
        assert_eq!(stages(&model, &events)[..2], expected, "{case}");
    }
}

fn stages(model: &Path, events: &Path) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sillage"));
    let ran = command.args(["replay", "--until", END, "--model"]).arg(model).arg(events).output().expect("sillage runs");
    let text = String::from_utf8(ran.stdout).expect("text");
    let line = |line: &str| {
        let outcome: Value = serde_json::from_str(line).expect("JSON");
        format!("{} {}", outcome["at"].as_str().unwrap_or_default(), outcome["says"].as_str().unwrap_or_default())
    };
    text.lines().map(line).collect()
}
