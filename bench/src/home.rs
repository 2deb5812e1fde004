//! The folder of a run and the processes in it. Whatever ends the harness, they are ended and the folder is removed.
//!
//! A small shell process, the janitor, holds the other end of a pipe: when the harness ends, however it ends, the pipe closes.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a process may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(20);

/// The folder.
pub struct Home {
    path: PathBuf,
    janitor: Child,
}

impl Home {
    /// A new folder among the temporary ones.
    pub fn make() -> Result<Home, String> {
        let made = tempfile::Builder::new().prefix("sillage-bench-").tempdir();
        let path = made.map_err(|error| format!("cannot make a temporary folder: {error}"))?.keep();
        // Signals meant for the whole group, such as ctrl-C, must not end the janitor before its work.
        let script = r#"trap '' TERM INT HUP; cat >/dev/null
            for file in *.pid; do
                pid=$(cat "$file" 2>/dev/null) || continue
                kill -9 "$pid" 2>/dev/null
                for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
            done
            cd / && rm -rf "$1""#;
        let mut command = Command::new("sh");
        command.args(["-c", script, "janitor"]).arg(&path).current_dir(&path);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let janitor = command.spawn().map_err(|error| format!("cannot start sh: {error}"))?;
        Ok(Home { path, janitor })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts a process in it whose output goes to `name.log`.
    pub fn start(&self, name: &str, command: &mut Command) -> Result<Process, String> {
        let log = self.path.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).map_err(|error| error.to_string())?;
        let errors = file.try_clone().map_err(|error| error.to_string())?;
        command.current_dir(&self.path).stdin(Stdio::piped()).stdout(file).stderr(errors);
        self.launch(name, command, log)
    }

    /// Starts a process that speaks: what it writes to its standard output is heard.
    pub fn start_heard(&self, name: &str, command: &mut Command) -> Result<Process, String> {
        let log = self.path.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).map_err(|error| error.to_string())?;
        command.current_dir(&self.path).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file);
        self.launch(name, command, log)
    }

    fn launch(&self, name: &str, command: &mut Command, log: PathBuf) -> Result<Process, String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().map_err(|error| format!("cannot start {program}: {error}"))?;
        let pid_file = self.path.join(format!("{name}.pid"));
        if let Err(error) = std::fs::write(&pid_file, child.id().to_string()) {
            let _ = child.kill();
            return Err(error.to_string());
        }
        Ok(Process { child, name: name.to_owned(), log, pid_file })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}

/// A process that is ended when it is dropped.
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
    pid_file: PathBuf,
}

impl Process {
    /// Its id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().map_or(true, |ended| ended.is_some())
    }

    /// Waits for a line that begins so on its standard output, which is heard.
    pub fn hear(&mut self, line: &str) -> Result<(), String> {
        let out = self.child.stdout.take().ok_or("the process is not heard")?;
        let mut lines = BufReader::new(out);
        let mut heard = String::new();
        while !heard.starts_with(line) {
            heard.clear();
            let read = lines.read_line(&mut heard).map_err(|error| error.to_string())?;
            if read == 0 {
                return Err(format!("{} ended before it said {line:?}:\n{}", self.name, self.log_tail()));
            }
        }
        self.child.stdout = Some(lines.into_inner());
        Ok(())
    }

    /// Tells it to go on: writes a line to its standard input.
    pub fn tell(&mut self) -> Result<(), String> {
        let input = self.child.stdin.as_mut().ok_or("the process does not listen")?;
        input.write_all(b"\n").and_then(|()| input.flush()).map_err(|error| error.to_string())
    }

    /// Kills it, as a machine that fails does.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// How many lines of its log say this.
    pub fn log_count(&self, what: &str) -> usize {
        let text = String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned();
        text.lines().filter(|line| line.contains(what)).count()
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let text = String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Asks it to end, and kills it where it does not.
    pub fn end(mut self) {
        self.end_now();
    }

    fn end_now(&mut self) {
        if !self.has_ended() {
            let _ = Command::new("kill").arg(self.pid().to_string()).status();
            let begun = Instant::now();
            while !self.has_ended() && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = std::fs::remove_file(&self.pid_file);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end_now();
    }
}
