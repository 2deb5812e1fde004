//! The commands beside `run`, on the same configurations as the service.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::service::{Setup, embedded_lines, lines};

/// The binary under test.
pub(crate) fn binary() -> String {
    std::env::var("SILLAGE_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_sillage").to_owned())
}

/// A command of the binary under test, which sees no setting of whoever runs the tests.
pub(crate) fn sillage() -> Command {
    without_settings(Command::new(binary()))
}

/// Without the variables that the binary takes for settings.
pub(crate) fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SILLAGE_")) {
        command.env_remove(name);
    }
    command
}

/// A file with a configuration, for commands.
pub(crate) struct Configured {
    path: PathBuf,
    _home: tempfile::TempDir,
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub code: Option<i32>,
    pub out: Vec<u8>,
    pub err: String,
}

impl Said {
    /// What it printed, as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    /// That it ended well.
    pub(crate) fn fine(self) -> Said {
        assert_eq!(self.code, Some(0), "{}\n{}", self.text(), self.err);
        self
    }

    /// That its answer was no, in these words.
    pub(crate) fn refused(self, words: &str) -> Said {
        assert_eq!(self.code, Some(1), "{}\n{}", self.text(), self.err);
        assert!(self.err.contains(words), "{}", self.err);
        self
    }
}

impl Configured {
    /// A service on Kafka.
    pub(crate) fn kafka(setup: &Setup) -> Configured {
        Configured::of(&lines(setup))
    }

    /// A service on the embedded log in this folder, with so many partitions.
    pub(crate) fn embedded(folder: &Path, model: &Path, partitions: u32) -> Configured {
        Configured::of(&embedded_lines(folder, model, partitions))
    }

    fn of(lines: &[String]) -> Configured {
        let home = tempfile::Builder::new().prefix("sillage-e2e-command-").tempdir().expect("a temporary directory");
        let path = home.path().join("sillage.yaml");
        std::fs::write(&path, lines.join("\n") + "\n").expect("the configuration can be written");
        Configured { path, _home: home }
    }

    /// Runs `sillage COMMAND -c FILE …`.
    pub(crate) fn run(&self, command: &[&str], more: &[&str], input: &[u8]) -> Said {
        let mut process = sillage();
        process.args(command).arg("-c").arg(&self.path).args(more);
        process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = process.spawn().expect("the command starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        std::thread::scope(|scope| {
            // A command that refuses does not read to the end.
            scope.spawn(move || drop(stdin.write_all(input)));
            let ended = child.wait_with_output().expect("it ends");
            let err = String::from_utf8_lossy(&ended.stderr).into_owned();
            Said { code: ended.status.code(), out: ended.stdout, err }
        })
    }
}
