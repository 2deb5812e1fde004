//! `sillage replay` over real data, against answers that an independent batch program computed.
//!
//! The data sets are not part of this repository. They are looked for in `SILLAGE_TEST_DATA`, by default `../shared/data`; in
//! CI they must be there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What is compared of an episode: customer, opening, opening touchpoint, last activity, outcome, end, closing touchpoint,
/// recovery.
type Episode = [String; 8];

/// Sessions of a shop on the web.
const SHOP: &str = "retentioneering_ecom";
/// Campaigns that households received, and coupons they redeemed.
const CAMPAIGNS: &str = "complete_journey";

/// A file of a data set; `None` where it is not there and need not be.
pub(crate) fn data(set: &str, file: &str) -> Option<PathBuf> {
    let root = std::env::var_os("SILLAGE_TEST_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let path = root.join(set).join(file);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing; in CI the data must be there", path.display());
    eprintln!("SKIPPED: {} is missing; set SILLAGE_TEST_DATA to the folder with the data sets", path.display());
    None
}

fn lines(path: &Path) -> Vec<Value> {
    let file = std::fs::File::open(path).expect("the file opens");
    let reader: Box<dyn BufRead> = if path.extension().is_some_and(|end| end == "gz") {
        Box::new(BufReader::new(flate2::read::GzDecoder::new(file)))
    } else {
        Box::new(BufReader::new(file))
    };
    reader.lines().map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON")).collect()
}

struct Replayed {
    outcomes: Vec<Value>,
    journeys: Vec<Value>,
    summary: Value,
}

fn replay(events: &Path, model: &str) -> Replayed {
    let folder = tempfile::tempdir().expect("a folder");
    let (outcomes, journeys) = (folder.path().join("outcomes.ndjson"), folder.path().join("journeys.ndjson"));
    let ran = Command::new(env!("CARGO_BIN_EXE_sillage"))
        .args(["replay", "--summary", "json", "--model"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(model))
        .arg("--outcomes")
        .arg(&outcomes)
        .arg("--journeys")
        .arg(&journeys)
        .arg(events)
        .output()
        .expect("sillage runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    Replayed {
        outcomes: lines(&outcomes),
        journeys: lines(&journeys),
        summary: serde_json::from_slice(&ran.stdout).expect("a JSON summary"),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn expected_episodes(path: &Path) -> BTreeSet<Episode> {
    let fields = ["customer_id", "opened_at", "opening_event", "last_activity_at", "outcome", "closed_at"];
    let all = lines(path);
    let count = all.len();
    let episodes: BTreeSet<Episode> = all
        .iter()
        .map(|line| {
            let [customer, opened, by, last, outcome, closed] = fields.map(|field| text(&line[field]));
            [customer, opened, by, last, outcome, closed, text(&line["closing_event"]), text(&line["recovered_at"])]
        })
        .collect();
    assert_eq!(episodes.len(), count, "no two expected episodes are alike");
    episodes
}

/// The same of the journeys that came out; episodes that are still open are left out there as well.
fn replayed_episodes(journeys: &[Value], kind: &str) -> BTreeSet<Episode> {
    let mut episodes = BTreeSet::new();
    for journey in journeys {
        for episode in journey["episodes"].as_array().expect("a list") {
            let story = episode["story"].as_array().expect("a list");
            let Some(end) = story.first().filter(|_| episode["episode"] == kind) else { continue };
            let outcome = if end["what"] == "abandonment" { "abandoned" } else { "purchased" };
            let recovery = story.iter().find(|event| event["what"] == "recovery");
            episodes.insert([
                text(&journey["customer_id"]),
                text(&episode["opened_at"]),
                text(&episode["opened_by"]),
                text(&episode["last_progress_at"]),
                outcome.to_owned(),
                text(&end["at"]),
                text(&end["cause"]),
                recovery.map(|event| text(&event["at"])).unwrap_or_default(),
            ]);
        }
    }
    episodes
}

fn counts(replayed: &Replayed, kind: &str) -> [u64; 3] {
    let subjects = replayed.summary["models"][0]["subjects"].as_array().expect("a list");
    let subject = subjects.iter().find(|subject| subject["episode"] == kind).expect("the episode kind");
    let count = |name: &str| subject[name].as_u64().expect("a count");
    // An episode that was abandoned and then recovered is completed as well.
    [count("abandoned"), count("completed") - count("recovered"), count("recovered")]
}

#[test]
fn cart_and_checkout_episodes_are_as_expected_under_any_activity() {
    let Some(events) = data(SHOP, "events.ndjson.gz") else { return };
    let replayed = replay(&events, "retentioneering-any.yaml");
    assert_eq!(replayed.summary["touchpoints"], 31_106);
    assert_eq!(counts(&replayed, "cart"), [856, 364, 12]);
    assert_eq!(counts(&replayed, "checkout"), [493, 325, 6]);
    for (kind, file) in
        [("cart", "expected_cart_episodes_any.ndjson.gz"), ("checkout", "expected_checkout_episodes_any.ndjson.gz")]
    {
        let Some(expected) = data(SHOP, file) else { return };
        let (expected, found) = (expected_episodes(&expected), replayed_episodes(&replayed.journeys, kind));
        let missing: Vec<_> = expected.difference(&found).take(3).collect();
        let surplus: Vec<_> = found.difference(&expected).take(3).collect();
        assert!(missing.is_empty() && surplus.is_empty(), "{kind}: missing {missing:?}, surplus {surplus:?}");
    }
    let abandonments = replayed.outcomes.iter().filter(|outcome| outcome["kind"] == "abandonment").count();
    assert_eq!(abandonments, 856 + 493);
}

#[test]
fn cart_episodes_are_as_expected_under_the_listed_types() {
    let Some(events) = data(SHOP, "events.ndjson.gz") else { return };
    assert_eq!(counts(&replay(&events, "retentioneering-cart.yaml"), "cart"), [859, 364, 12]);
}

#[test]
fn stages_are_first_reached_as_expected() {
    let (Some(events), Some(expected)) = (data(SHOP, "events.ndjson.gz"), data(SHOP, "expected_stages.ndjson.gz")) else {
        return;
    };
    let journeys = replay(&events, "retentioneering-any.yaml").journeys;
    let expected = lines(&expected);
    assert_eq!(journeys.len(), expected.len());
    for (journey, expected) in journeys.iter().zip(&expected) {
        assert_eq!(journey["customer_id"], expected["customer_id"], "both are in the order of the customers");
        for (found, wanted) in [("reached", "first_reached"), ("furthest", "furthest"), ("touchpoints", "events")] {
            assert_eq!(journey[found], expected[wanted], "{found} of {}", journey["customer_id"]);
        }
    }
}

/// A campaign as a household lived it: household, campaign, `completion` or `abandonment`, and when.
type Campaign = [String; 4];

#[test]
fn campaigns_are_redeemed_or_expire_at_the_instants_that_they_carry() {
    let (Some(events), Some(expected)) =
        (data(CAMPAIGNS, "events.ndjson.gz"), data(CAMPAIGNS, "expected_campaigns.ndjson.gz"))
    else {
        return;
    };
    let replayed = replay(&events, "complete-journey.yaml");
    assert_eq!(replayed.summary["touchpoints"], 55_934);
    let found: Vec<Campaign> = replayed
        .outcomes
        .iter()
        .filter(|outcome| outcome["subject"]["episode"] == "campaign")
        .map(|outcome| {
            let ids = &outcome["subject"]["ids"]["campaign_id"];
            assert_eq!(ids.as_array().map(Vec::len), Some(1), "{outcome}");
            [text(&outcome["customer_id"]), text(&ids[0]), text(&outcome["kind"]), text(&outcome["at"])]
        })
        .collect();
    // Neither redeemed nor expired: valid beyond the last touchpoint, where the replay ends. Of these nothing is said.
    let expected: BTreeSet<Campaign> = lines(&expected)
        .iter()
        .filter_map(|line| {
            let (redeemed, expired) = (text(&line["first_redeemed_at"]), text(&line["expired_unredeemed_at"]));
            let (kind, at) = match (redeemed.is_empty(), expired.is_empty()) {
                (false, true) => ("completion", redeemed),
                (true, false) => ("abandonment", expired),
                (true, true) => return None,
                (false, false) => panic!("redeemed and expired: {line}"),
            };
            Some([text(&line["household"]), text(&line["campaign"]), kind.to_owned(), at])
        })
        .collect();
    let count = |kind: &str| found.iter().filter(|campaign| campaign[2] == kind).count();
    assert_eq!((count("completion"), count("abandonment"), found.len()), (792, 5_045, 792 + 5_045), "nothing twice");
    let found = BTreeSet::from_iter(found);
    let missing: Vec<_> = expected.difference(&found).take(3).collect();
    let surplus: Vec<_> = found.difference(&expected).take(3).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing {missing:?}, surplus {surplus:?}");
}

/// What is known of a session with friction: customer, first friction, kinds in the order they came, whether a purchase and
/// whether a support chat followed in it.
type Trouble = (String, String, Vec<String>, bool, bool);

/// Everything is read from outcomes. The first friction of a session opens two episodes that are known by their session: a
/// purchase completes the one, a support chat the other, as long as it comes later in the same session. So what followed is
/// a completion whose episode was opened by the touchpoint that caused the session's first friction. Further friction opens
/// another episode only after such a completion, and then the answer is known.
fn troubles(outcomes: &[Value]) -> BTreeMap<String, Trouble> {
    let completed = |kind: &str| -> BTreeSet<String> {
        let of_kind = outcomes.iter().filter(|done| done["kind"] == "completion" && done["subject"]["episode"] == kind);
        of_kind.map(|done| text(&done["opened_by"])).collect()
    };
    let (bought, helped) = (completed("bought-after"), completed("helped-after"));
    let mut troubles: BTreeMap<String, Trouble> = BTreeMap::new();
    for friction in outcomes.iter().filter(|outcome| outcome["kind"] == "friction") {
        let (cause, kind) = (text(&friction["cause"]), text(&friction["friction"]["rule"]).replace('-', "_"));
        assert_eq!(friction["friction"]["evidence"], serde_json::json!([cause]), "the touchpoint itself is the evidence");
        let session = text(&friction["subject"]["session"]);
        troubles
            .entry(session)
            .and_modify(|trouble| {
                assert!(!trouble.2.contains(&kind), "{kind} is told twice: {friction}");
                trouble.2.push(kind.clone());
            })
            .or_insert_with(|| {
                let customer = text(&friction["customer_id"]);
                (customer, text(&friction["at"]), vec![kind], bought.contains(&cause), helped.contains(&cause))
            });
    }
    troubles
}

#[test]
fn sessions_with_friction_and_what_followed_are_as_expected() {
    let (Some(events), Some(expected)) =
        (data(SHOP, "events.ndjson.gz"), data(SHOP, "expected_friction_sessions.ndjson.gz"))
    else {
        return;
    };
    let found = troubles(&replay(&events, "retentioneering-friction.yaml").outcomes);
    let expected: BTreeMap<String, Trouble> = lines(&expected)
        .iter()
        .map(|line| {
            let mut kinds: Vec<String> = Vec::new();
            for kind in line["types"].as_array().expect("a list").iter().map(text) {
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
            let flag = |name: &str| line[name].as_bool().expect("true or false");
            let trouble = (
                text(&line["customer_id"]),
                text(&line["first_friction_at"]),
                kinds,
                flag("purchased_after"),
                flag("support_chat_after"),
            );
            (text(&line["session_id"]), trouble)
        })
        .collect();
    assert_eq!(expected.len(), 366);
    assert_eq!(found.len(), 366);
    for (session, trouble) in &expected {
        assert_eq!(found.get(session), Some(trouble), "session {session}");
    }
    assert_eq!(found.values().filter(|trouble| trouble.3).count(), 40);
}
