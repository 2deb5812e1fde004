//! `sillage replay` on files as people have them: of every shape, in any order, with values of every sort; and how it ends.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

const MODEL: &str = r#"
sillage: 1
model: shop
currency: EUR
properties: { total: money }
tallies:
  purchases: { count: order.completed }
  revenue: { sum: total, of: order.completed }
segments:
  loyal: customer.revenue > 100
  everyone: true
stages:
  looking: { enter: product.viewed, quiet: 7d }
  deciding: { enter: [cart.added, checkout.started], quiet: 1h }
  owning: { enter: order.completed, quiet: 90d, again: product.viewed }
episodes:
  basket:
    known by: [cart_id, checkout_id, order_id, customer]
    opens: cart.added
    progresses: [cart.added, checkout.started]
    completes: order.completed
    worth: value
    abandoned after: 30m
"#;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("model.yaml"), MODEL).expect("written");
        Folder(folder)
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    }

    fn replay(&self, files: &[&Path], more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sillage"));
        command.arg("replay").args(files).arg("--model").arg(self.0.path().join("model.yaml")).args(more);
        command.output().expect("sillage runs")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn says(output: &Output) -> Vec<String> {
    let told = text(&output.stderr);
    assert!(output.status.success(), "{told}");
    let outcomes: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("an outcome")).collect();
    let about = |outcome: &&Value| outcome["episode"].is_object() || outcome["kind"] != "transition";
    outcomes.iter().filter(about).map(|outcome| outcome["says"].as_str().expect("a sentence").to_owned()).collect()
}

fn summary(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
}

fn line(id: &str, customer: &str, at: &str, kind: &str, properties: &Value) -> String {
    json!({"event_id": id, "customer_id": customer, "occurred_at": at, "type": kind, "properties": properties}).to_string()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).expect("in memory");
    gzip.finish().expect("in memory")
}

#[test]
fn the_same_touchpoints_are_read_from_files_of_every_shape() {
    let folder = Folder::new();
    let a = line("e1", "c", "2026-03-02T10:00:00Z", "cart.added", &json!({"cart_id": "A", "value": 40, "currency": "EUR"}));
    let b = line("e2", "c", "2026-03-02T12:00:00Z", "page.viewed", &json!({}));
    let lines = format!("{a}\n{b}\n");
    let array: Vec<Value> = [&a, &b].map(|line| serde_json::from_str(line).expect("JSON")).to_vec();
    let table = "event_id,customer_id,occurred_at,type,cart_id,value,currency\n\
                 e1,c,2026-03-02T10:00:00Z,cart.added,A,40.00,\ne2,c,2026-03-02T12:00:00Z,page.viewed,,,\n";
    for (name, bytes) in [
        ("lines", lines.clone().into_bytes()),
        ("marks", format!("\u{feff}{a}\r\n\u{feff}{b}").into_bytes()),
        ("array", serde_json::to_vec(&array).expect("JSON")),
        ("pretty", serde_json::to_vec_pretty(&array).expect("JSON")),
        ("one a line", format!("[\n{a},\n{b}\n]\n").into_bytes()),
        ("two on a line", format!("{a}{b}\n").into_bytes()),
        ("separators", format!("\u{1e}{a}\n\u{1e}{b}\n").into_bytes()),
        ("members", [gzip(a.as_bytes()), gzip(format!("\n{b}").as_bytes())].concat()),
        ("padded", [gzip(lines.as_bytes()), vec![0; 4096]].concat()),
        ("zstd", zstd::encode_all(lines.as_bytes(), 1).expect("in memory")),
        ("table", table.as_bytes().to_vec()),
        ("semicolons", gzip(table.replace(',', ";").as_bytes())),
    ] {
        let file = folder.file(name, bytes);
        let ended = folder.replay(&[&file], &[]);
        assert_eq!(says(&ended)[0], "abandons basket A (40 EUR) after 30m", "{name}: {}", text(&ended.stderr));
    }
    let mapped = folder
        .file("mapped.csv", "user;when;what;amount\nc;2026-03-02 11:00;cart.added;40\nc;2026-03-02 13:00;page.viewed;\n");
    let fields = ["customer_id=user", "occurred_at=when", "type=what", "properties.value=amount", "timezone=Europe/Paris"];
    let fields: Vec<&str> = fields.iter().flat_map(|field| ["--field", field]).collect();
    let ended = folder.replay(&[&mapped], &fields);
    assert_eq!(says(&ended)[0], "abandons basket #1 (40 EUR) after 30m", "{}", text(&ended.stderr));
    assert!(text(&ended.stdout).contains("2026-03-02T10:30:00.000Z"), "local times are those of the mapping");

    // A number that is none costs itself, and is told.
    let file = folder.file("nan", lines.replace("40", "NaN"));
    let ended = folder.replay(&[&file], &[]);
    assert_eq!(says(&ended)[0], "abandons basket A after 30m");
    assert!(text(&ended.stderr).contains("lost or mended: no-number 1"), "{}", text(&ended.stderr));
}

#[test]
fn what_cannot_be_used_ends_with_a_word_and_not_with_zero() {
    let folder = Folder::new();
    let good = line("e1", "c", "2026-03-02T10:00:00Z", "cart.added", &json!({}));
    let utf16: Vec<u8> = format!("\u{feff}{good}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let later = line("e2", "c", "2026-03-02T09:00:00Z", "cart.added", &json!({}));
    for (name, bytes, more, code, told) in [
        ("utf16", utf16, &[][..], 2, "it is UTF-16 text; save it as UTF-8"),
        ("empty", Vec::new(), &[], 1, "the files hold no touchpoint"),
        ("nonsense", b"nonsense\nmore of it\n".to_vec(), &[], 1, "nothing in the files can be used as a touchpoint"),
        ("foreign", b"{\"userId\":\"a\"}\n".to_vec(), &[], 1, "--field customer_id=user.id"),
        ("far ahead", good.replace("2026-03", "2996-03").into_bytes(), &[], 1, "more than 24h ahead of now"),
        ("cut off", format!("[{good},").into_bytes(), &[], 2, "it ends within an array"),
        ("half a gzip", gzip(good.as_bytes())[..40].to_vec(), &[], 2, "half a gzip: "),
        ("early", good.clone().into_bytes(), &["--until", "2026-03-02T09:59:59Z"], 2, "the files go on after --until"),
        ("early", good.clone().into_bytes(), &["--sorted", "--until", "2026-03-02T09:59:59Z"], 2, "go on after --until"),
        (
            "unsorted",
            format!("{good}\n{later}\n").into_bytes(),
            &["--sorted"],
            2,
            "unsorted:2: 2026-03-02T09:00:00.000Z lies before",
        ),
    ] {
        let file = folder.file(name, bytes);
        let ended = folder.replay(&[&file], more);
        let err = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{name}: {err}");
        assert!(err.contains(told), "{name}: {err}");
    }
    let file = folder.file("in time", &good);
    assert!(folder.replay(&[&file], &["--until", "2026-03-02T10:00:00Z"]).status.success());
}

#[test]
fn files_in_any_order_are_replayed_in_that_of_events() {
    let folder = Folder::new();
    let mut lines = Vec::new();
    for day in 1..=9 {
        let customer = format!("c-{day}");
        let at = |hour: &str| format!("2026-03-0{day}T{hour}:00:00Z");
        let cart = json!({"cart_id": format!("K{day}"), "value": 40});
        let order = json!({"cart_id": format!("K{day}"), "order_id": format!("O{day}"), "total": "40"});
        lines.push(line(&format!("{day}a"), &customer, &at("10"), "cart.added", &cart));
        lines.push(line(&format!("{day}b"), &customer, &at("15"), "order.completed", &order));
        lines.push(line(&format!("{day}c"), &customer, "2026-03-28T10:00:00Z", "page.viewed", &json!({})));
    }
    // Without ids, a touchpoint is known by where it stands.
    let anonymous = lines[0].replace("\"event_id\":\"1a\",", "");
    lines.push(anonymous.replace("c-1", "c-0").replace("K1", "K0"));
    let by_customer = folder.file("by-customer", lines.join("\n"));
    let newest_first: Vec<String> = lines.iter().rev().cloned().collect();
    let newest_first = folder.file("newest-first", newest_first.join("\n"));
    let mut by_time = lines.clone();
    by_time.sort_by_key(|line| serde_json::from_str::<Value>(line).expect("JSON")["occurred_at"].to_string());
    let by_time = folder.file("by-time", by_time.join("\n"));
    let (odd, even): (Vec<_>, Vec<_>) = lines.iter().enumerate().partition(|(at, _)| at % 2 == 1);
    let part = |name: &str, lines: Vec<(usize, &String)>| {
        folder.file(name, lines.into_iter().map(|(_, line)| format!("{line}\n")).collect::<String>())
    };
    let (odd, even) = (part("odd", odd), part("even", even));
    let expected = says(&folder.replay(&[&by_time], &["--sorted"]));
    let count = |what: &str| expected.iter().filter(|says| says.contains(what)).count();
    assert_eq!((count("abandons basket"), count("recovers basket")), (10, 9), "{expected:?}");
    for files in [vec![&by_customer], vec![&newest_first], vec![&by_time], vec![&odd, &even]] {
        let files: Vec<&Path> = files.into_iter().map(PathBuf::as_path).collect();
        let mut told = says(&folder.replay(&files, &[]));
        // Touchpoints of one instant stay as they stand in the files, and the last ones are of one.
        let mut expected = expected.clone();
        told.sort();
        expected.sort();
        assert_eq!(told, expected, "{files:?}");
    }
}

#[test]
fn the_summary_says_what_no_model_knows_what_never_came_and_counts_a_basket_once() {
    let folder = Folder::new();
    let cart = |id: &str, at: &str, value: Value| {
        line(id, "c", at, "cart.added", &json!({"cart_id": "A", "value": value, "currency": "EUR"}))
    };
    let lines = [
        cart("1", "2026-03-02T10:00:00Z", json!("30.00")),
        cart("2", "2026-03-02T12:00:00Z", json!("40.00")),
        line("3", "c", "2026-03-02T12:01:00Z", "cart.aded", &json!({})),
        line("4", "c", "2026-03-02T12:02:00Z", "weather.changed", &json!({})),
        line("5", "c", "2026-03-02T12:03:00Z", "weather.changed", &json!({})),
        line("6", "d", "2026-03-02T14:00:00Z", "order.completed", &json!({"total": "€ 9", "order_id": "O"})),
        line("7", "d", "2026-03-02T14:00:00Z", "order.completed", &json!({"total": "9,50", "order_id": "P"})),
    ];
    let file = folder.file("lines", lines.join("\n"));
    let told = summary(&folder.replay(&[&file], &["--summary", "json"]));
    assert_eq!(
        told["unknown_types"],
        json!([
            {"type": "weather.changed", "count": 2, "did_you_mean": null},
            {"type": "cart.aded", "count": 1, "did_you_mean": "cart.added"},
        ])
    );
    assert_eq!(told["models"][0]["absent_types"], json!(["checkout.started", "product.viewed"]));
    let subjects = told["models"][0]["subjects"].as_array().expect("subjects");
    let basket = subjects.iter().find(|subject| subject["episode"] == "basket").expect("baskets");
    let abandoned = (&basket["abandoned"], &basket["abandoned_distinct"], &basket["at_stake"]);
    assert_eq!(abandoned, (&json!(2), &json!(1), &json!({"EUR": 40.0})), "{basket}");
    let misfits = told["misfits"].as_array().expect("misfits");
    assert_eq!(misfits.len(), 1, "{misfits:?}");
    assert_eq!(
        (&misfits[0]["property"], &misfits[0]["count"], &misfits[0]["example"]),
        (&json!("total"), &json!(2), &json!("\"€ 9\""))
    );
    let shown = text(&folder.replay(&[&file], &[]).stderr);
    for told in [
        "types that no model names: weather.changed (2), cart.aded (1, did you mean cart.added?)",
        "types that shop names and that never came: checkout.started, product.viewed",
        "2 values of total are not a number, such as \"€ 9\": they count as absent",
        "2 (1 distinct)",
        "40.00 EUR",
    ] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
}

/// The ways in which sources wrote 2 March 2026, 10:00 UTC, or a second of that day; read, or refused with these words.
#[test]
fn an_instant_is_read_or_refused_and_never_another() {
    let folder = Folder::new();
    let ten = "2026-03-02T10:00:00.000Z";
    let ways: Vec<(Value, Result<&str, &str>)> = vec![
        (json!("2026-03-02T10:00:00+0000"), Ok(ten)),
        (json!("2026-03-02T11:00:00+01"), Ok(ten)),
        (json!("2026-03-02 10:00:00 UTC"), Ok(ten)),
        (json!("2026-03-02 10:00:00"), Err("has no zone")),
        (json!("2026-03-02T10:00:00"), Err("has no zone")),
        (json!("2026-03-02T10:00:00,500Z"), Ok("2026-03-02T10:00:00.500Z")),
        (json!("2026-03-02T11:00:00+01:00[Europe/Paris]"), Ok(ten)),
        (json!("1772445600000"), Ok(ten)),
        (json!("1772445600"), Ok(ten)),
        (json!(1_772_445_600), Ok(ten)),
        (json!(1_772_445_600.5), Ok("2026-03-02T10:00:00.500Z")),
        (json!(1_772_445_600_000_000_i64), Ok(ten)),
        (json!("2026-03-02T10:00Z"), Ok(ten)),
        (json!("Mon, 02 Mar 2026 10:00:00 GMT"), Ok(ten)),
        (json!("2026-03-02t10:00:00z"), Ok(ten)),
        (json!("2026-03-02T10:00:00.123456789Z"), Ok("2026-03-02T10:00:00.123Z")),
        (json!("2026-3-2T10:00:00Z"), Err("names no instant of the calendar")),
        (json!(" 2026-03-02T10:00:00Z"), Ok(ten)),
        (json!("/Date(1772445600000)/"), Err("Microsoft's form")),
        (json!("2026-03-02 10:00:00+00"), Ok(ten)),
        (json!("2026-03-02 10:00:00.123 +0000"), Ok("2026-03-02T10:00:00.123Z")),
        (json!("2026-03-02T11:00:00+02:00[Europe/Paris]"), Err("contradicts itself")),
        (json!("20260302T100000Z"), Ok(ten)),
        (json!("2026-02-30T10:00:00Z"), Err("names no instant of the calendar")),
        (json!("-2026-03-02T10:00:00Z"), Err("is no instant")),
        (json!("20260302100000"), Err("looks like the digits of a date and a time")),
        (json!("2026-03-02"), Err("is a day")),
    ];
    let lines: Vec<String> = ways
        .iter()
        .enumerate()
        .map(|(at, (written, _))| {
            json!({"customer_id": format!("c-{at}"), "occurred_at": written, "type": "product.viewed"}).to_string()
        })
        .collect();
    let (file, letters) = (folder.file("lines", lines.join("\n")), folder.0.path().join("letters"));
    let ended = folder.replay(&[&file], &["--dead-letters", letters.to_str().expect("text")]);
    let read = |bytes: &str| -> Vec<Value> { bytes.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect() };
    let outcomes = read(&text(&ended.stdout));
    let letters = read(&std::fs::read_to_string(&letters).expect("written"));
    for (at, (written, expected)) in ways.iter().enumerate() {
        let entered = outcomes.iter().find(|outcome| outcome["customer_id"] == format!("c-{at}"));
        let letter = letters.iter().find(|letter| letter["line"] == at + 1);
        match expected {
            Ok(instant) => assert_eq!(entered.map(|outcome| &outcome["at"]), Some(&json!(instant)), "{written}: {letter:?}"),
            Err(words) => {
                assert_eq!(entered, None, "{written}");
                let reason = letter.and_then(|letter| letter["reason"].as_str()).expect("refused");
                assert!(reason.contains(words), "{written}: {reason}");
            }
        }
    }
}

/// What holds at last, without what says when it was found out.
fn net(output: &Output) -> BTreeMap<String, Value> {
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut last: BTreeMap<String, Value> = BTreeMap::new();
    for line in text(&output.stdout).lines() {
        let outcome: Value = serde_json::from_str(line).expect("an outcome");
        let name = format!("{} {} {}", outcome["customer_id"], outcome["anonymous_id"], outcome["outcome_id"]);
        if last.get(&name).is_none_or(|known| known["sequence"].as_u64() < outcome["sequence"].as_u64()) {
            last.insert(name, outcome);
        }
    }
    last.retain(|_, outcome| outcome["kind"] != "retraction");
    for outcome in last.values_mut() {
        for field in ["sequence", "hindsight", "says"] {
            outcome[field].take();
        }
    }
    last
}

/// A third of what customers do they do before they log in, on a device of theirs.
#[test]
fn partitions_change_nobodys_story() {
    let folder = Folder::new();
    let made = folder.0.path().join("made.ndjson");
    let mut generate = Command::new(env!("CARGO_BIN_EXE_sillage"));
    generate.args(["generate", "--count", "12000", "--customers", "500"]).arg(&made);
    assert!(generate.output().expect("sillage runs").status.success());
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut lines = String::new();
    for line in std::fs::read_to_string(&made).expect("it was made").lines() {
        let mut act: Value = serde_json::from_str(line).expect("a touchpoint");
        if let Some(customer) = act["customer_id"].as_str().map(ToOwned::to_owned) {
            let count = seen.entry(customer.clone()).or_default();
            if *count % 9 < 4 {
                act["anonymous_id"] = format!("device-{customer}-{}", *count / 27).into();
            }
            if *count % 9 < 3 {
                act["customer_id"].take();
            }
            *count += 1;
        }
        lines += &format!("{act}\n");
    }
    let file = folder.file("acts.ndjson", lines);
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/five-stages.yaml");
    let replay = |partitions: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sillage"));
        command.arg("replay").arg(&file).args(["--model", model, "--partitions", partitions]);
        command.args(["--until", "2026-06-01T00:00:00Z"]).output().expect("sillage runs")
    };
    let alone = replay("1");
    let expected = net(&alone);
    let joined = expected.values().filter(|outcome| outcome["kind"] == "merge").count();
    assert!(joined > 400, "{joined} devices");
    for partitions in ["2", "7", "64"] {
        let several = replay(partitions);
        assert!(net(&several) == expected, "{partitions} partitions");
        let counted =
            |output: &Output| text(&output.stderr).lines().next().map(|line| line.split(' ').take(5).collect::<String>());
        assert_eq!(counted(&several), counted(&alone));
    }
}

/// Two models forward the same type: what is due when the first of the two has come is decided before the second, whether they
/// are handed over or not.
#[test]
fn what_several_models_forward_comes_one_after_the_other_on_any_number_of_partitions() {
    let folder = Folder::new();
    let lines = r#"{"event_id":"t","customer_id":"giver","occurred_at":"2026-05-26T04:00:00Z","type":"booking.made","properties":{"booking_id":"b1"}}
{"event_id":"s","customer_id":"friend","occurred_at":"2026-05-26T14:00:00Z","type":"referral.used","properties":{"booking_id":"b1","due":"2026-05-26T12:00:00Z","giver_id":"giver"}}
{"event_id":"z","customer_id":"nobody","occurred_at":"2026-05-26T20:00:00Z","type":"x"}
"#;
    let file = folder.file("acts.ndjson", lines);
    let models = [("one", "ad.seen"), ("other", "page.viewed")].map(|(name, becomes)| {
        let model = format!(
            "sillage: 1\nmodel: {name}\nproperties: {{ due: instant }}\nstages:\n  s: {{ enter: booking.made }}\nepisodes:\n  booking: \
             {{ known by: booking_id, opens: booking.made, completes: done, abandoned after: 2h, abandoned at: touchpoint.due }}\n\
             forwards:\n  referral.used: {{ to: giver_id, as: {becomes} }}\n"
        );
        folder.file(&format!("{name}.yaml"), model)
    });
    let replay = |partitions: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sillage"));
        command.arg("replay").arg(&file).args(["--partitions", partitions]);
        models.iter().for_each(|model| {
            command.arg("--model").arg(model);
        });
        net(&command.output().expect("sillage runs"))
    };
    let alone = replay("1");
    let dated = |outcome: &&Value| outcome["kind"] == "abandonment" && outcome["at"] == "2026-05-26T12:00:00.000Z";
    assert_eq!(alone.values().filter(dated).count(), 2, "{alone:?}");
    for partitions in ["2", "3", "4", "7"] {
        assert_eq!(replay(partitions), alone, "{partitions} partitions");
    }
}

/// What a device does after several customers have claimed it is its own, in the journeys too.
#[test]
fn a_shared_device_has_its_own_episodes() {
    let folder = Folder::new();
    let act = |number: usize, who: &str, kind: &str| {
        let at = format!("2026-05-26T0{number}:00:00Z");
        format!(
            "{{\"event_id\":\"e{number}\",{who},\"occurred_at\":\"{at}\",\"type\":\"{kind}\",\"properties\":{{\"cart_id\":\"A\"}}}}\n"
        )
    };
    let device = "\"anonymous_id\":\"device\"";
    let both = |customer: &str| format!("\"customer_id\":\"{customer}\",{device}");
    let lines = [
        act(0, device, "page.viewed"),
        act(1, &both("c-1"), "page.viewed"),
        act(2, &both("c-2"), "page.viewed"),
        act(3, device, "cart.added"),
        act(4, device, "order.completed"),
    ];
    let file = folder.file("acts.ndjson", lines.concat());
    let model = folder.file(
        "shop.yaml",
        "sillage: 1\nmodel: shop\nstages:\n  looking: { enter: page.viewed }\nepisodes:\n  basket: \
         { known by: cart_id, opens: cart.added, completes: order.completed, abandoned after: 5h }\n",
    );
    let journeys = folder.0.path().join("journeys.ndjson");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sillage"));
    command.arg("replay").arg(&file).arg("--model").arg(&model).arg("--journeys").arg(&journeys);
    assert!(command.output().expect("sillage runs").status.success());
    let written = std::fs::read_to_string(&journeys).expect("journeys");
    let with_baskets: Vec<&str> = written.lines().filter(|line| line.contains("\"completed\"")).collect();
    assert!(with_baskets.len() == 1 && with_baskets[0].contains("\"device\""), "{written}");
}
