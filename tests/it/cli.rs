//! The commands as people run them: what they print, and how they end.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sillage::embedded::{Entering, Entry, Settings, Store};
use sillage::model;
use sillage::runtime::clock::Clock;
use sillage::touchpoint::Identity;

fn sillage() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sillage"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    // Whoever runs the tests may have settings of a service in the environment.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SILLAGE_")) {
        command.env_remove(name);
    }
    command
}

fn fed(command: &mut Command, input: &str) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("sillage starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn says(output: &Output) -> Vec<String> {
    let say = |line: &str| {
        let outcome: Value = serde_json::from_str(line).expect("an outcome is JSON");
        outcome["says"].as_str().expect("a sentence").to_owned()
    };
    text(&output.stdout).lines().map(say).collect()
}

const STORY: &str = r#"
{"customer_id":"anna","occurred_at":"2026-01-05T10:00:00Z","type":"product.viewed"}
{"customer_id":"anna","occurred_at":"2026-01-05T10:01:00Z","type":"cart.added","properties":{"cart_id":"A","value":499,"currency":"EUR"}}
this is not JSON
{"customer_id":"anna","occurred_at":"yesterday","type":"cart.added"}
{"customer_id":"anna","occurred_at":"2026-01-05T10:02:00Z","type":"cart.added","properties":{"cart_id":"A","value":520,"currency":"EUR"}}
"#;

#[test]
fn replay_reads_standard_input_and_ends_at_the_last_touchpoint_or_later() {
    let replay = |more: &[&str]| {
        let mut command = sillage();
        fed(command.args(["replay", "-", "--model", "tests/models/plain-five-stages.yaml"]).args(more), STORY)
    };
    let ended = replay(&[]);
    assert!(ended.status.success());
    assert_eq!(says(&ended), ["enters consideration, skipping", "consideration → decision"]);
    let told = text(&ended.stderr);
    assert!(told.contains("-:4: ") && told.contains("-:5: "), "unusable lines are named: {told}");
    assert!(told.contains("3 touchpoints of 1 customers") && told.contains("2 lines that cannot be used"), "{told}");

    let ended = replay(&["--until", "2026-01-05T10:31:59.999Z"]);
    assert_eq!(says(&ended).len(), 2, "half an hour is not over");
    let ended = replay(&["--until", "2026-01-05T10:32:00Z"]);
    assert_eq!(says(&ended)[2], "abandons basket A (520 EUR) after 30m");
}

#[test]
fn replay_maps_fields_and_merges_files_by_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, lines: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, lines).expect("written");
        path
    };
    let line = |at: &str, event: &str| {
        format!(
            "{{\"userId\":\"anna\",\"timestamp\":\"2026-01-05T{at}Z\",\"event\":\"{event}\",\"props\":{{\"cart_id\":\"A\"}}}}\n"
        )
    };
    let web = file("web.ndjson", &(line("10:00:00", "cart.added") + &line("10:40:00", "product.viewed")));
    let store = file("store.ndjson", &line("10:20:00", "order.completed"));
    let fields =
        file("fields.yaml", "customer_id: userId\noccurred_at: timestamp # as Segment writes it\nproperties: props\n");
    let journeys = folder.path().join("journeys.ndjson");
    let mut command = sillage();
    command.args(["replay", "--model", "tests/models/plain-five-stages.yaml", "--field", "type=event", "--summary", "json"]);
    command.arg("--fields-file").arg(&fields).arg("--journeys").arg(&journeys).args([&web, &store]);
    let ended = command.output().expect("sillage runs");
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    let summary: Value = serde_json::from_slice(&ended.stdout).expect("the summary alone is on standard output");
    let basket = &summary["models"][0]["subjects"][0];
    assert_eq!((&basket["completed"], &basket["abandoned"]), (&1.into(), &0.into()), "the order came in time: {basket}");
    let journey: Value = serde_json::from_str(text(&std::fs::read(&journeys).expect("written")).trim()).expect("a line");
    assert_eq!(journey["episodes"][0]["state"], "completed");
    assert_eq!(journey["stage"], "consideration", "the last touchpoint begins the next journey");
    assert_eq!(journey["journey"], 2);
}

#[test]
fn a_replay_tells_what_would_have_been_offered_and_what_was_refused() {
    let line = |who: &str, minute: u32, kind: &str, properties: &str| {
        format!(
            "{{\"event_id\":\"{who} {minute}\",\"customer_id\":\"{who}\",\"occurred_at\":\"2026-01-01T10:{minute:02}:00Z\",\
             \"type\":\"{kind}\",\"properties\":{{{properties}}}}}\n"
        )
    };
    let cart = "\"cart_id\":\"A\",\"value\":89,\"currency\":\"EUR\"";
    let stuck = ["cart.added", "coupon.denied", "payment.failed", "payment.failed", "order.completed"];
    let mut story = line("Anna", 0, "consent.given", "\"purpose\":\"chat\"");
    for (minute, kind) in (1..).zip(stuck) {
        story += &line("Anna", minute, kind, cart);
        story += &line("Ben", minute, kind, cart);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("story.ndjson");
    std::fs::write(&path, story).expect("written");
    let replay = |shape: &str| {
        let command =
            sillage().args(["replay", "--model", "models/five-stages.yaml", "--summary", shape]).arg(&path).output();
        let ended = command.expect("sillage runs");
        assert!(ended.status.success(), "{}", text(&ended.stderr));
        ended
    };
    let told: Value = serde_json::from_slice(&replay("json").stdout).expect("the summary alone is on standard output");
    let offers = told["models"][0]["interventions"].as_array().expect("interventions");
    let chat = offers.iter().find(|one| one["intervention"] == "rescue-chat").expect("the chat");
    let figures = ["offered", "held_out", "withdrawn"].map(|name| chat[name].as_u64());
    assert_eq!(figures, [Some(1), Some(0), Some(1)], "{chat}");
    assert_eq!(chat["refused"], serde_json::json!({"no-consent": 1}), "{chat}");
    let shown = replay("text");
    let row = text(&shown.stderr).lines().find(|line| line.contains("rescue-chat")).expect("a row").to_owned();
    assert!(row.contains("no-consent 1"), "{row}");
}

#[test]
fn a_basket_that_is_left_every_day_is_left_behind_once_and_what_is_noticed_is_told() {
    let line = |day: u32, id: &str, kind: &str, cart: &str| {
        format!(
            "{{\"event_id\":\"{id}\",\"customer_id\":\"anna\",\"occurred_at\":\"2026-01-0{day}T10:00:00Z\",\"type\":\"{kind}\",\
             \"properties\":{{\"cart_id\":\"{cart}\",\"value\":100,\"currency\":\"EUR\"}}}}\n"
        )
    };
    let mut story: String = (1..=7).map(|day| line(day, &format!("e{day}"), "cart.added", "A")).collect();
    // Bought under the id of another touchpoint, and then filled once more under an id that is bought.
    story += &line(7, "e7", "order.completed", "A");
    story += &line(8, "e8", "cart.added", "A");
    let mut command = sillage();
    let told = fed(command.args(["replay", "-", "--model", "tests/models/plain-five-stages.yaml"]), &story);
    let told = text(&told.stderr);
    assert!(told.contains("1 with the id of another of another type, 1 openings left out"), "{told}");
    assert!(told.contains("100.00 EUR") && !told.contains("600.00 EUR") && !told.contains("700.00 EUR"), "{told}");
}

#[test]
fn what_cannot_run_says_why_and_ends_with_two() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("sillage.yaml");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/five-stages.yaml");
    let model = model.display();
    for (lines, told) in [
        ("modles: [x]".to_owned(), "did you mean `models`?"),
        ("models: [nowhere.yaml]".to_owned(), "cannot read"),
        (format!("models: [{model}]\ndirectory: /proc/none"), "/proc/none"),
        (format!("models: [{model}, {model}]"), "is listed twice"),
        (format!("models: [{model}]\nlisten: 192.0.2.1:80\ninsecure: true"), "cannot listen on 192.0.2.1:80"),
    ] {
        std::fs::write(&config, &lines).expect("written");
        let ended = sillage().args(["run", "-c"]).arg(&config).output().expect("sillage runs");
        assert_eq!(ended.status.code(), Some(2), "{lines}");
        assert!(text(&ended.stderr).contains(told), "{lines}: {}", text(&ended.stderr));
    }
}

#[test]
fn the_demo_shows_its_main_job_on_the_embedded_log() {
    let ended = sillage().args(["demo", "--seconds", "6"]).output().expect("sillage runs");
    let told = text(&ended.stdout);
    assert!(ended.status.success(), "{told}\n{}", text(&ended.stderr));
    let figure = |name: &str| -> u64 {
        let line = told.lines().rev().find(|line| line.trim_start().starts_with(name)).expect("the summary");
        let digits: String = line.trim_start()[name.len()..].trim_start().chars().take_while(|c| *c != ' ').collect();
        digits.replace(',', "").parse().expect("a number")
    };
    assert!(figure("transitions") > 20 && figure("abandonments") > 0, "{told}");
    assert!(told.contains("abandons "), "the latest abandonments are told: {told}");
    assert!(!told.contains('\u{1b}'), "plain lines where there is no terminal");
}

#[test]
fn a_backup_is_one_file_that_is_put_back_by_copying_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let configured = |directory: &str| {
        let path = folder.path().join(format!("{directory}.yaml"));
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/plain-five-stages.yaml");
        let lines = format!("models: [{:?}]\ndirectory: {:?}\n", model, folder.path().join(directory));
        std::fs::write(&path, lines).expect("written");
        path
    };
    let (from, to, file) = (configured("from"), configured("to"), folder.path().join("backup.db"));
    let run = |arguments: &[&str], config: &Path, more: &[&Path]| {
        sillage().args(arguments).arg("-c").arg(config).args(more).output().expect("it ends")
    };
    let refused = run(&["backup"], &from, &[&file]);
    assert_eq!(refused.status.code(), Some(2), "there is no store yet: {}", text(&refused.stderr));
    assert!(!file.exists());
    let settings = Settings::new(folder.path().join("from"));
    let (model, _) = model::load("five", &std::fs::read_to_string("tests/models/plain-five-stages.yaml").expect("there"));
    let now = Clock::starting_now(1.0).handle();
    let store = Store::open(&settings, &[model.expect("a model").into()], &now).expect("opened");
    let entry =
        Entry { identity: Some(Identity::customer("anna")), id: Some("1".into()), event_time: now(), value: b"{}".to_vec() };
    store.append(vec![entry], Entering::Live).expect("appended");
    // Somebody is at work on it.
    let made = run(&["backup"], &from, &[&file]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert!(text(&made.stdout).contains("0 customers, outcomes up to position 0"), "{}", text(&made.stdout));
    let again = run(&["backup"], &from, &[&file]);
    assert!(text(&again.stderr).contains("is there already"), "{}", text(&again.stderr));
    drop(store);
    std::fs::create_dir(folder.path().join("to")).expect("made");
    std::fs::copy(&file, folder.path().join("to/sillage.db")).expect("copied");
    let verified = run(&["state", "verify"], &to, &[]);
    assert!(text(&verified.stdout).contains("all is well"), "{}", text(&verified.stdout));
    let on_kafka = sillage().args(["backup", "-c", "tests/configs/good-kafka.yaml"]).arg(&file).output().expect("it ends");
    assert_eq!(on_kafka.status.code(), Some(2), "{}", text(&on_kafka.stderr));
}

/// What docs/interventions.md shows was printed. Generated customers know nothing of offers: whatever is measured is chance.
#[test]
fn what_interventions_have_brought_about_is_told_as_the_page_shows() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (deeds, consents) = (folder.path().join("deeds.ndjson"), folder.path().join("consents.ndjson"));
    let generate = ["generate", "--count", "600000", "--customers", "20000"];
    assert!(sillage().args(generate).arg(&deeds).status().expect("sillage starts").success());
    let mut agreed = std::collections::BTreeMap::new();
    for line in std::fs::read_to_string(&deeds).expect("what was generated").lines() {
        let deed: Value = serde_json::from_str(line).expect("a touchpoint is JSON");
        if let Some(customer) = deed["customer_id"].as_str() {
            agreed.entry(customer.to_owned()).or_insert_with(|| {
                serde_json::json!({
                    "event_id": format!("consent-{customer}"),
                    "customer_id": customer,
                    "type": "consent.given",
                    "occurred_at": deed["occurred_at"],
                    "properties": {"purpose": "email"},
                })
            });
        }
    }
    let lines: String = agreed.values().map(|consent| format!("{consent}\n")).collect();
    std::fs::write(&consents, lines).expect("written");
    let mut command = sillage();
    command.args(["replay", "--model", "models/five-stages.yaml", "--until", "2026-06-01T00:00:00Z", "--outcomes"]);
    let ended = command.arg(folder.path().join("outcomes")).args([&deeds, &consents]).output().expect("sillage starts");
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    let told: Vec<String> = text(&ended.stderr).lines().map(|line| line.trim_end().to_owned()).collect();
    let begins = told.iter().position(|line| line.starts_with("five-stages/free-delivery")).expect("figures");
    let page = std::fs::read_to_string("docs/interventions.md").expect("the page");
    let shown = page.split("```\n").find(|block| block.starts_with("five-stages/free-delivery")).expect("a block");
    assert_eq!(told[begins..].join("\n") + "\n", shown);
}
