//! What terminals do to Sillage, and what strangers would do to terminals.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// ESC, BEL, CR and a change of direction, as JSON writes them; each steers a terminal.
const HOSTILE: &str = "\\u001b[2J\\u0007\\r\\u202e\\u2066evil";

#[test]
fn a_hangup_ends_the_demo_and_its_folder_is_gone() {
    let temporary = tempfile::tempdir().expect("a folder");
    let folders = || std::fs::read_dir(temporary.path()).expect("the folder").count();
    let mut demo = demo(temporary.path(), Stdio::piped());
    wait_until("the demo has made its folder", || folders() == 1);
    let sent = Command::new("kill").args(["-s", "HUP", &demo.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    wait_until("the demo has ended", || demo.try_wait().expect("a child").is_some());
    assert!(demo.wait().expect("a child").code().is_some(), "it ends by itself, not by the signal");
    assert_eq!(folders(), 0);
}

/// No signal comes where the terminal does not control the process: the end of input must do.
#[test]
fn a_closed_terminal_ends_the_demo_and_its_folder_is_gone() {
    let temporary = tempfile::tempdir().expect("a folder");
    let mut ours = File::from(openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal"));
    grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("a terminal");
    let path = ptsname(&ours, Vec::new()).expect("its name").into_string().expect("a path");
    let theirs = || Stdio::from(OpenOptions::new().read(true).write(true).open(&path).expect("the other end"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_sillage"));
    command.arg("demo").env("TMPDIR", temporary.path()).env("TERM", "xterm");
    let mut demo = command.stdin(theirs()).stdout(theirs()).stderr(Stdio::null()).spawn().expect("sillage starts");
    assert!(ours.read(&mut [0; 64]).expect("it draws") > 0);
    drop((ours, command));
    wait_until("the demo has ended", || demo.try_wait().expect("a child").is_some());
    assert_eq!(std::fs::read_dir(temporary.path()).expect("the folder").count(), 0);
}

/// As ctrl-C does: what was begun is finished, and everything is in the one file.
#[test]
fn a_hangup_ends_the_service_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/plain-five-stages.yaml");
    let lines = format!("models: [\"{}\"]\ndirectory: store\nlisten: 127.0.0.1:0\n", model.display());
    std::fs::write(file("sillage.yaml"), lines).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sillage"));
    command.arg("run").arg("-c").arg(file("sillage.yaml")).arg("--announce").arg(file("address"));
    let mut service = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sillage starts");
    wait_until("the service listens", || file("address").exists());
    let sent = Command::new("kill").args(["-s", "HUP", &service.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    wait_until("the service has ended", || service.try_wait().expect("a child").is_some());
    assert_eq!(service.wait().expect("a child").code(), Some(0));
    assert!(file("store/sillage.db").exists() && !file("store/sillage.db-wal").exists());
}

#[test]
fn output_that_nobody_takes_ends_the_demo() {
    let temporary = tempfile::tempdir().expect("a folder");
    let mut demo = demo(temporary.path(), Stdio::null());
    drop(demo.stdout.take());
    wait_until("the demo has ended", || demo.try_wait().expect("a child").is_some());
    assert_eq!(std::fs::read_dir(temporary.path()).expect("the folder").count(), 0);
}

#[test]
fn what_strangers_send_does_not_steer_the_terminal_of_a_replay() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("lines.ndjson");
    let line = |kind: &str, id: &str| {
        format!("{{\"customer_id\":\"{id}\",\"occurred_at\":\"2026-01-05T10:00:00Z\",\"type\":\"{kind}\"}}\n")
    };
    let wrong = format!("{{\"customer_id\":\"a\",\"occurred_at\":\"{HOSTILE}\",\"type\":\"cart.added\"}}\n");
    std::fs::write(&file, line("cart.added", HOSTILE) + &line(HOSTILE, "a") + &wrong).expect("written");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/plain-five-stages.yaml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sillage"));
    let ended = command.args(["replay", "--model"]).arg(model).arg(&file).output().expect("sillage runs");
    assert!(ended.status.success());
    // Outcomes on standard output are JSON for machines; what people read is on standard error.
    let told = String::from_utf8(ended.stderr).expect("UTF-8");
    assert!(told.contains("lines that cannot be used"), "{told}");
    assert!(!told.chars().any(|c| c != '\n' && c != '\t' && sillage::terminal::steers(c)), "{told:?}");
}

/// A demo that runs until it is told to end, and makes its folder here.
fn demo(temporary: &Path, stderr: Stdio) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sillage"));
    command.args(["demo", "--customers", "50"]).env("TMPDIR", temporary);
    command.stdout(Stdio::piped()).stderr(stderr).spawn().expect("sillage starts")
}

fn wait_until(what: &str, done: impl FnMut() -> bool) {
    let (begun, mut done) = (Instant::now(), done);
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "not yet: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
