//! A Kafka broker (KRaft, broker and controller in one process) on loopback, in a directory of its own: alone, or one of a
//! cluster.
//!
//! A small shell process, the janitor, holds the other end of a pipe: when this process ends, however it ends, the pipe
//! closes, and the janitor stops the broker and removes its directory.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::proxy::Proxy;
use super::{clients, jars, now_millis, tail, wait};

/// Any base64 UUID does; a fixed one spares a Java start.
const CLUSTER: &str = "c2lsbGFnZS1lMmUtdGVzdA";

/// Partitions of the topics that hold groups and transactions: what is there is on the one of its name's hash.
pub(crate) const INTERNAL_PARTITIONS: i32 = 4;

/// What a broker is among others.
#[derive(Clone)]
pub(crate) struct Place {
    /// 1, 2, ….
    pub number: usize,
    /// Of the clients that come directly.
    pub port: u16,
    /// The controllers' ports, of broker 1, 2, ….
    pub controllers: Vec<u16>,
    /// How many copies internal topics have; one fewer must be in step for a write to be accepted.
    pub copies: usize,
    /// Java's options.
    pub java: &'static [&'static str],
    /// Listeners for clients that encrypt, or say who they are: the protocol, and the port on which it is spoken.
    pub guarded: Vec<(&'static str, u16)>,
    /// Further lines of the settings.
    pub settings: String,
    /// Who has a password that is proved without being sent, in the words of Kafka's tool.
    pub users: Vec<String>,
}

/// A broker, running or not.
pub(crate) struct Broker {
    home: PathBuf,
    port: u16,
    options: &'static [&'static str],
    proxies: Mutex<Vec<Proxy>>,
    process: Mutex<Option<Child>>,
    janitor: Child,
}

impl Broker {
    /// A broker that is alone: chooses ports and formats the directory; does not start.
    pub(crate) fn prepare(proxies: usize) -> Broker {
        let ports = quiet_ports(2 + proxies);
        let proxies = ports[2..].iter().map(|upstream| Proxy::before(*upstream)).collect();
        let (port, controllers) = (ports[0], vec![ports[1]]);
        let (guarded, settings, users) = (Vec::new(), String::new(), Vec::new());
        let place = Place { number: 1, port, controllers, copies: 1, java: &["-Xmx768m"], guarded, settings, users };
        Broker::prepare_at(&place, proxies)
    }

    /// A broker at its place, with these proxies before it: formats the directory; does not start.
    pub(crate) fn prepare_at(place: &Place, proxies: Vec<Proxy>) -> Broker {
        let home = tempfile::Builder::new().prefix("sillage-e2e-").tempdir().expect("a temporary directory").keep();
        let janitor = janitor(&home);
        let settings = settings(&home, place, &proxies);
        std::fs::write(home.join("server.properties"), settings).expect("the settings can be written");
        let (proxies, process) = (Mutex::new(proxies), Mutex::new(None));
        let broker = Broker { home, port: place.port, options: place.java, proxies, process, janitor };
        let mut format = vec!["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", "server.properties"];
        place.users.iter().for_each(|user| format.extend(["--add-scram", user]));
        let ended = broker.java(&format).status().expect("java starts");
        assert!(ended.success(), "the broker's directory cannot be formatted:\n{}", broker.log_tail());
        broker
    }

    /// `host:port`.
    pub(crate) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts the process and waits until it answers.
    pub(crate) fn start(&self) {
        self.launch();
        self.wait_until_it_answers();
    }

    /// Starts the process; does not wait for anything.
    pub(crate) fn launch(&self) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(process.is_none(), "the broker runs already");
        let child = self.java(&["kafka.Kafka", "server.properties"]).spawn().expect("java starts");
        std::fs::write(self.home.join("pid"), child.id().to_string()).expect("the pid can be written");
        *process = Some(child);
    }

    /// Waits until it answers.
    pub(crate) fn wait_until_it_answers(&self) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let child = process.as_mut().expect("it was started");
        let up = || match child.try_wait() {
            Ok(None) => clients::answers(&self.bootstrap()).then_some(true),
            Ok(Some(_)) | Err(_) => Some(false),
        };
        let up = wait::until("the broker to answer", Duration::from_secs(90), up);
        assert!(up, "the broker ended at once:\n{}", self.log_tail());
    }

    /// Stops the process in an orderly way.
    pub(crate) fn stop(&self) {
        self.end("-TERM");
    }

    /// Kills the process.
    pub(crate) fn kill(&self) {
        self.end("-KILL");
    }

    /// Stops the process where it stands, as a machine does that is suspended.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let child = process.as_ref().expect("the broker runs");
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill starts");
        assert!(sent.success(), "the broker has ended before:\n{}", self.log_tail());
    }

    /// Kills the process if there is one.
    pub(crate) fn end_at_once(&self) {
        if self.process.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            self.kill();
        }
    }

    /// A proxy that nobody has yet.
    pub(crate) fn claim_proxy(&self) -> Proxy {
        let claimed = self.proxies.lock().unwrap_or_else(PoisonError::into_inner).pop();
        claimed.expect("there are as many proxies as tests that need one; raise PROXIES")
    }

    /// Everything it has logged.
    pub(crate) fn log(&self) -> PathBuf {
        self.home.join("broker.log")
    }

    /// The end of the broker's log.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.log(), 40)
    }

    fn end(&self, signal: &str) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let mut child = process.take().expect("the broker runs");
        let _ = Command::new("kill").args([signal, &child.id().to_string()]).status();
        child.wait().expect("the broker ends");
        std::fs::remove_file(self.home.join("pid")).expect("the pid was written");
    }

    fn java(&self, arguments: &[&str]) -> Command {
        let log = || File::options().create(true).append(true).open(self.log()).expect("a log file");
        let mut command = Command::new("java");
        command.current_dir(&self.home).args(self.options).args(["-XX:+UseSerialGC", "-cp"]);
        command.arg(format!("{}/*", jars::directory().display())).args(arguments);
        command.stdin(Stdio::null()).stdout(log()).stderr(log());
        command
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the broker's log ends so:\n{}", self.log_tail());
        }
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
        if let Some(mut child) = self.process.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = child.wait();
        }
    }
}

/// Waits for the end of its standard input, then for that of the broker, and removes the directory.
fn janitor(home: &Path) -> Child {
    // Signals meant for the whole group, such as ctrl-C, must not end the janitor before its work.
    let script = r#"trap '' TERM INT HUP; cat >/dev/null
        if pid=$(cat pid 2>/dev/null); then
            kill "$pid" 2>/dev/null
            for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" 2>/dev/null || break; sleep 0.5; done
            kill -9 "$pid" 2>/dev/null
        fi
        cd / && rm -rf "$1""#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "janitor"]).arg(home).current_dir(home);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("sh starts")
}

/// Free ports that no client gets by chance: until the broker listens there, and while it is away, the system could lend them to
/// a connection. Those are taken from 32768 on, at most systems.
pub(super) fn quiet_ports(count: usize) -> Vec<u16> {
    /// The last one that was given away: none is given twice.
    static LAST: Mutex<Option<u16>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let begin = || 12_000 + (now_millis() % 9_000) as u16 + (std::process::id() % 97) as u16 * 97;
    let mut candidate = last.unwrap_or_else(begin);
    let mut held: BTreeMap<u16, TcpListener> = BTreeMap::new();
    while held.len() < count {
        candidate += 1;
        assert!(candidate < 32_000, "no free ports below 32000");
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, candidate)) {
            held.insert(candidate, listener);
        }
    }
    *last = Some(candidate);
    held.into_keys().collect()
}

/// Clients follow advertised addresses, so each proxy has a listener of the broker behind it that advertises the proxy.
fn settings(home: &Path, place: &Place, proxies: &[Proxy]) -> String {
    let (port, copies) = (place.port, place.copies);
    let controller = place.controllers[place.number - 1];
    let voters: Vec<String> =
        place.controllers.iter().zip(1..).map(|(port, number)| format!("{number}@127.0.0.1:{port}")).collect();
    let mut listeners = format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}");
    let mut advertised = format!("PLAINTEXT://127.0.0.1:{port}");
    let mut protocols = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned();
    for (number, proxy) in proxies.iter().enumerate() {
        listeners += &format!(",PROXIED{number}://127.0.0.1:{}", proxy.upstream());
        advertised += &format!(",PROXIED{number}://{}", proxy.address());
        protocols += &format!(",PROXIED{number}:PLAINTEXT");
    }
    for (protocol, port) in &place.guarded {
        listeners += &format!(",{protocol}://127.0.0.1:{port}");
        // By the name that stands in the certificates.
        advertised += &format!(",{protocol}://localhost:{port}");
        protocols += &format!(",{protocol}:{protocol}");
    }
    format!(
        "process.roles=broker,controller\n\
         node.id={}\n\
         controller.quorum.voters={}\n\
         listeners={listeners}\n\
         advertised.listeners={advertised}\n\
         inter.broker.listener.name=PLAINTEXT\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map={protocols}\n\
         log.dirs={}/data\n\
         default.replication.factor={copies}\n\
         min.insync.replicas={least}\n\
         offsets.topic.replication.factor={copies}\n\
         offsets.topic.num.partitions={INTERNAL_PARTITIONS}\n\
         transaction.state.log.replication.factor={copies}\n\
         transaction.state.log.min.isr={least}\n\
         transaction.state.log.num.partitions={INTERNAL_PARTITIONS}\n\
         group.initial.rebalance.delay.ms=0\n\
         group.consumer.min.session.timeout.ms=6000\n\
         group.consumer.session.timeout.ms=6000\n\
         group.consumer.min.heartbeat.interval.ms=500\n\
         group.consumer.heartbeat.interval.ms=500\n\
         auto.create.topics.enable=false\n{}",
        place.number,
        voters.join(","),
        home.display(),
        place.settings,
        least = copies.saturating_sub(1).max(1),
    )
}
