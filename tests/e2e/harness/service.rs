//! The service under test, as a process of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::command::sillage;
use super::wait;

/// How to run it.
#[derive(Clone)]
pub(crate) struct Setup {
    pub brokers: String,
    pub group: String,
    pub instance: String,
    pub inputs: Vec<String>,
    pub output: String,
    pub model: PathBuf,
    pub start: &'static str,
    pub commit_interval: &'static str,
    /// Further lines of the configuration.
    pub extra: Vec<String>,
    /// Further arguments of the command.
    pub arguments: Vec<&'static str>,
}

impl Setup {
    /// Names of the output topics.
    pub(crate) fn output_topics(&self, outputs: &[&str]) -> Vec<String> {
        outputs.iter().map(|output| format!("{}.{output}", self.output)).collect()
    }
}

/// The running service; killed when dropped.
pub(crate) struct Service {
    child: Child,
    home: PathBuf,
    name: String,
    /// Removes the home at the end, where nobody else does.
    _temporary: Option<TempDir>,
}

/// How it was after it ended.
pub(crate) struct Ended {
    pub status: ExitStatus,
    pub log: String,
}

impl Service {
    /// Starts it; does not wait for anything.
    pub(crate) fn start(setup: &Setup) -> Service {
        Service::launch(Home::temporary(), &setup.instance, &lines(setup), &setup.arguments)
    }

    /// Starts it in a folder that stays, where its log goes on; does not wait for anything.
    pub(crate) fn start_in(folder: &Path, setup: &Setup) -> Service {
        std::fs::create_dir_all(folder).expect("the folder can be made");
        Service::launch(Home::Given(folder.to_owned()), &setup.instance, &lines(setup), &setup.arguments)
    }

    /// Starts it on the embedded log in this folder.
    pub(crate) fn start_embedded(folder: &Path, model: &Path) -> Service {
        Service::start_embedded_with(folder, model, 4)
    }

    /// The same with so many partitions.
    pub(crate) fn start_embedded_with(folder: &Path, model: &Path, partitions: u32) -> Service {
        Service::launch(Home::temporary(), "embedded", &embedded_lines(folder, model, partitions), &[])
    }

    /// The same with a further line of its configuration.
    pub(crate) fn start_embedded_saying(folder: &Path, model: &Path, line: &str) -> Service {
        let mut lines = embedded_lines(folder, model, 4);
        lines.push(line.to_owned());
        Service::launch(Home::temporary(), "embedded", &lines, &[])
    }

    fn launch(home: Home, name: &str, lines: &[String], arguments: &[&str]) -> Service {
        let (home, temporary) = match home {
            Home::Temporary(home) => (home.path().to_owned(), Some(home)),
            Home::Given(home) => (home, None),
        };
        let config = home.join("sillage.yaml");
        std::fs::write(&config, lines.join("\n") + "\n").expect("the configuration can be written");
        let log = File::options().create(true).append(true).open(home.join("log")).expect("a log file");
        // That of an earlier life is no longer its.
        let _ = std::fs::remove_file(home.join("address"));
        let mut command = sillage();
        command.arg("run").arg("-c").arg(&config).arg("--announce").arg(home.join("address"));
        command.args(arguments).current_dir(&home);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log file")).stderr(log);
        let child = command.spawn().expect("the service starts");
        Service { child, home, name: name.to_owned(), _temporary: temporary }
    }

    /// Everything it has logged.
    pub(crate) fn log(&self) -> String {
        let text = std::fs::read(self.home.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Waits until a log line holds this text.
    pub(crate) fn wait_for_line(&mut self, text: &str, within: Duration) {
        let what = format!("{text:?} in the log of {}", self.name);
        wait::until_true(&what, within, || self.log().contains(text));
    }

    /// Waits until it is ready: it has been given its shards.
    pub(crate) fn wait_until_ready(&mut self, within: Duration) {
        let what = format!("{} to be ready", self.name);
        wait::until_true(&what, within, || {
            assert!(self.child.try_wait().expect("its state").is_none(), "{} ended:\n{}", self.name, self.log());
            self.is_ready()
        });
    }

    /// Whether it has its shards.
    pub(crate) fn is_ready(&self) -> bool {
        self.get("/readyz").is_some()
    }

    /// The sum of a metric over all its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").expect("the metrics");
        let of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        text.lines().filter(of).filter_map(value).sum()
    }

    /// The status of the answer about a customer's journey.
    pub(crate) fn look_up(&self, customer: &str) -> u16 {
        self.about(customer, |agent, url| agent.get(url).call())
    }

    /// Waits until the answer about a customer has this status: 200 or 404.
    pub(crate) fn until_known(&self, status: u16, customer: &str) {
        let within = Duration::from_secs(30);
        wait::until_true(&format!("{status} for {customer}"), within, || self.look_up(customer) == status);
    }

    /// The status of the answer to an order to erase a customer.
    pub(crate) fn erase(&self, customer: &str) -> u16 {
        self.about(customer, |agent, url| agent.delete(url).call())
    }

    fn about(
        &self,
        customer: &str,
        ask: impl FnOnce(&ureq::Agent, &str) -> Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> u16 {
        let address = self.address().expect("an address");
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let answer = ask(&agent, &format!("http://{}/v1/customers/{customer}", address.trim()));
        answer.expect("an answer").status().as_u16()
    }

    /// Where it serves HTTP, once it does.
    pub(crate) fn address(&self) -> Option<String> {
        std::fs::read_to_string(self.home.join("address")).ok().filter(|text| !text.is_empty())
    }

    fn get(&self, path: &str) -> Option<String> {
        let address = self.address()?;
        ureq::get(format!("http://{}{path}", address.trim())).call().ok()?.body_mut().read_to_string().ok()
    }

    /// Processor time it has used so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("its statistics");
        // The name, in parentheses, may hold blanks; user and system time are the 14th and 15th field, in hundredths.
        let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
        (ticks(11) + ticks(12)) / 100.0
    }

    /// The most memory that it has had so far, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("its status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the most that was resident");
        peak.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") << 10
    }

    /// Why it is not ready, if it is not.
    pub(crate) fn not_ready(&self) -> Option<String> {
        let address = self.address()?;
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let mut answer = agent.get(format!("http://{}/readyz", address.trim())).call().ok()?;
        let text = answer.body_mut().read_to_string().ok()?;
        (answer.status() != 200).then_some(text)
    }

    /// Asks it to end and waits.
    pub(crate) fn terminate(self) -> Ended {
        self.terminate_within(Duration::from_secs(25))
    }

    /// Asks it to end and waits so long at most.
    pub(crate) fn terminate_within(self, within: Duration) -> Ended {
        self.signal("-TERM");
        self.wait_for_end(within)
    }

    /// The instance.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Kills it.
    pub(crate) fn kill(self) -> Ended {
        self.signal("-KILL");
        self.wait_for_end(Duration::from_secs(5))
    }

    /// Tells a standby to take the place of its member.
    pub(crate) fn take_over(&self) {
        self.signal("-USR1");
    }

    /// Stops it where it stands, as a machine does that is suspended.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("its state")
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().expect("kill starts");
        assert!(sent.success(), "{} has ended before:\n{}", self.name, self.log());
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait_for_end(mut self, within: Duration) -> Ended {
        let what = format!("the end of {}", self.name);
        let status = wait::until(&what, within, || self.child.try_wait().expect("its state"));
        Ended { status, log: self.log() }
    }
}

/// The lines of its configuration on the embedded log.
pub(super) fn embedded_lines(folder: &Path, model: &Path, partitions: u32) -> Vec<String> {
    vec![
        format!("models: [\"{}\"]", model.display()),
        format!("directory: \"{}\"", folder.display()),
        format!("partitions: {partitions}"),
        "listen: 127.0.0.1:0".to_owned(),
        "allow_erase: true".to_owned(),
        "allow_history: true".to_owned(),
    ]
}

/// The lines of its configuration.
pub(super) fn lines(setup: &Setup) -> Vec<String> {
    let mut lines = vec![
        format!("models: [\"{}\"]", setup.model.display()),
        format!("brokers: \"{}\"", setup.brokers),
        format!("group: {}", setup.group),
        format!("instance: {}", setup.instance),
        format!("inputs: [{}]", setup.inputs.join(", ")),
        format!("output: {}", setup.output),
        format!("start: {}", setup.start),
        "listen: 127.0.0.1:0".to_owned(),
        "allow_erase: true".to_owned(),
        format!("commit_interval: {}", setup.commit_interval),
        "create_topics: true".to_owned(),
    ];
    lines.extend(setup.extra.iter().cloned());
    lines
}

/// Where a service runs.
enum Home {
    Temporary(TempDir),
    Given(PathBuf),
}

impl Home {
    fn temporary() -> Home {
        Home::Temporary(tempfile::Builder::new().prefix("sillage-e2e-run-").tempdir().expect("a temporary directory"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = super::tail(&self.home.join("log"), 40);
            eprintln!("--- the log of {} ends so:\n{log}", self.name);
            if let Some(super::Kafka::Own(broker)) = super::kafka_so_far() {
                eprintln!("--- the broker's log ends so:\n{}", broker.log_tail());
            }
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
