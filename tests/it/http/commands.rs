//! `sillage ingest` and `sillage outcomes` against a real server.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::shop::{Shop, touchpoint};

pub(super) fn sillage(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sillage"));
    command.args(args).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = sillage(args).output().expect("a binary");
    (status.code(), String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned())
}

fn path(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn files_are_ingested_once_however_often_the_command_runs() {
    let shop = Shop::open();
    let dir = tempfile::tempdir().expect("a directory");
    let (plain, packed) = (dir.path().join("a.ndjson"), dir.path().join("b.ndjson.gz"));
    // Without ids: the command's keys must make them the same each time.
    let mut lines = String::new();
    for n in 0..250 {
        let mut line = touchpoint(&format!("c{n}"), "", "ad.seen");
        line.as_object_mut().expect("an object").remove("event_id");
        lines += &format!("{line}\n");
    }
    std::fs::write(&plain, lines + "nonsense\n").expect("written");
    let mut gzip =
        flate2::write::GzEncoder::new(std::fs::File::create(&packed).expect("a file"), flate2::Compression::fast());
    for n in 0..30 {
        writeln!(gzip, "{}", touchpoint(&format!("d{n}"), "1", "ad.seen")).expect("written");
    }
    gzip.finish().expect("written");
    let url = shop.url();
    let args = ["ingest", path(&plain), path(&packed), "--url", &url, "--batch", "100"];
    let (code, out, err) = run(&args);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("accepted 281, repeats dropped 0; 1 of them cannot be used"), "{out}");
    let (code, out, err) = run(&args);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("accepted 0, repeats dropped 281"), "{out}");
    assert_eq!(shop.outcomes("topic=transitions", 280).len(), 280);

    let (code, out, err) = run(&["outcomes", "--url", &url]);
    assert_eq!(code, Some(0), "{err}");
    let all: Vec<&str> = out.lines().collect();
    assert_eq!(all.len(), 280);
    let tenth: Value = serde_json::from_str(all[9]).expect("JSON");
    let after = tenth["position"].to_string();
    let (_, rest, _) = run(&["outcomes", "--url", &url, "--after", &after, "--limit", "20"]);
    assert_eq!(rest.lines().collect::<Vec<_>>(), all[10..30]);
    let (_, letters, _) = run(&["outcomes", "--url", &url, "--topic", "dead-letters"]);
    assert_eq!(letters.lines().count(), 1);
}

#[test]
fn following_prints_what_comes_and_ends_when_nobody_reads() {
    let shop = Shop::open();
    let mut follow =
        sillage(&["outcomes", "--follow", "--url", &shop.url()]).stdout(Stdio::piped()).spawn().expect("a binary");
    let mut lines = BufReader::new(follow.stdout.take().expect("piped")).lines();
    let post = |id: &str, kind: &str| {
        let reply = super::post(&shop, "/v1/touchpoints", &touchpoint("ada", id, kind).to_string());
        assert_eq!(reply.status, 200, "{}", reply.text());
    };
    post("1", "ad.seen");
    let line: Value = serde_json::from_str(&lines.next().expect("a line").expect("text")).expect("JSON");
    assert_eq!(line["topic"], "transitions");
    drop(lines);
    post("2", "page.viewed");
    let status = follow.wait().expect("an end");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_history_is_loaded_from_standard_input() {
    let shop = Shop::open();
    let mut load = sillage(&["ingest", "-", "--history", "--url", &shop.url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a binary");
    let mut touchpoint = touchpoint("ada", "1", "cart.added");
    touchpoint["occurred_at"] = "2025-03-01T10:00:00Z".into();
    writeln!(load.stdin.take().expect("piped"), "{touchpoint}").expect("read");
    let output = load.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let abandoned = shop.outcomes("topic=abandonments", 1);
    assert!(abandoned.iter().any(|line| line.to_string().contains("2025-03-01T10:30:00.000Z")), "{abandoned:?}");
}

#[test]
fn what_cannot_run_says_why_and_ends_with_two() {
    let shop = Shop::open();
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("http://{}", listener.local_addr().expect("an address"))
    };
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("a.ndjson");
    std::fs::write(&file, touchpoint("ada", "1", "ad.seen").to_string()).expect("written");
    let bad = dir.path().join("bad.ndjson");
    std::fs::write(&bad, "nonsense\n").expect("written");
    let url = shop.url();
    for (args, code, words) in [
        (vec!["ingest", path(&file), "--url", &nobody, "--patience", "0s"], 2, "does not answer"),
        (vec!["outcomes", "--url", &nobody], 2, "does not answer"),
        (vec!["ingest", "no/such/file", "--url", &url], 2, "no/such/file cannot be read"),
        (vec!["ingest", path(&bad), "--history", "--url", &url], 2, "give it with --first"),
        (vec!["ingest", path(&file), "--url", "https://localhost"], 2, "is not the address of a service"),
        (vec!["ingest", path(&file), "--url", "localhost:80"], 2, "is not the address of a service"),
        (vec!["ingest", path(&file), "--keep-open"], 2, "--history"),
        (vec!["outcomes", "--url", &url, "--topic", "purchases"], 1, "there are: transitions"),
        (vec!["outcomes", "--url", &url, "--topic", "a&b"], 2, "is not the name of a topic"),
    ] {
        let (ended, _, err) = run(&args);
        assert_eq!(ended, Some(code), "{args:?}: {err}");
        assert!(err.contains(words), "{args:?}: {err}");
    }
}

#[test]
fn a_line_that_is_too_long_is_noticed_and_the_answer_is_no() {
    let shop = Shop::open();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("a.ndjson");
    let good = touchpoint("ada", "1", "ad.seen").to_string();
    std::fs::write(&file, format!("{}\n{good}\n", "x".repeat(20_000_000))).expect("written");
    let (code, out, err) = run(&["ingest", path(&file), "--url", &shop.url()]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("a.ndjson:1: 20000000 bytes are too long"), "{err}");
    assert!(out.starts_with("accepted 1, repeats dropped 0; 1 too long or misshapen, left out"), "{out}");
}

#[test]
fn a_customer_is_erased_by_command() {
    let shop = Shop::open();
    let posted = shop.call("POST", "/v1/touchpoints", &[], touchpoint("ada/l", "1", "ad.seen").to_string().as_bytes());
    assert_eq!(posted.status, 200);
    shop.get_until(200, "/v1/customers/ada%2Fl");
    let (code, out, err) = run(&["erase", "ada/l", "--url", &shop.url()]);
    assert_eq!((code, out.as_str()), (Some(0), "asked the service to erase the customer\n"), "{err}");
    shop.get_until(404, "/v1/customers/ada%2Fl");
    let (code, _, err) = run(&["erase", " ", "--url", &shop.url()]);
    assert_eq!(code, Some(2));
    assert!(err.contains("it is empty"), "{err}");
    let (code, _, err) = run(&["erase", "x", "--url", "http://127.0.0.1:1"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("start the service, or give its address with --url"), "{err}");
}
