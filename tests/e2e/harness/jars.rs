//! Kafka's jars, from Maven Central, once per target directory.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How to install what the tests need beside Rust.
pub(crate) const INSTALL: &str = "sudo apt-get install -y openjdk-17-jdk-headless maven";

/// The directory with the jars, got on first use by whoever comes first: Maven's own store does not bear two at once. The
/// directory is renamed into its place only when it is whole, so a download that broke is never taken for a good one.
pub(crate) fn directory() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
    let done = target.join("kafka-4.3.1-libs");
    if done.is_dir() {
        return done;
    }
    let turn = File::create(target.join("kafka-4.3.1-libs.lock")).expect("a file in the target directory");
    turn.lock().expect("a lock");
    if done.is_dir() {
        return done;
    }
    super::say("getting Apache Kafka 4.3.1 from Maven Central (54 MB, once)");
    let part = target.join("kafka-4.3.1-libs.part");
    // Maven keeps a file that is there, and one of a download that broke may be half a file.
    let _ = std::fs::remove_dir_all(&part);
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/kafka/pom.xml");
    let ended = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", part.display()))
        .stdin(Stdio::null())
        .output()
        .expect("mvn starts");
    let told = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "mvn cannot get Kafka's jars; is Maven Central reachable?\n{told}");
    std::fs::rename(&part, &done).expect("the target directory can be written");
    done
}

/// The first tool that is missing: Java always, Maven only while there are no jars.
pub(crate) fn missing_tool() -> Option<&'static str> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
    let answers = |tool: &str, flag: &str| {
        let asked = Command::new(tool).arg(flag).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    };
    if !answers("java", "-version") {
        return Some("java");
    }
    (!target.join("kafka-4.3.1-libs").is_dir() && !answers("mvn", "-version")).then_some("mvn")
}
