//! One Kafka broker (KRaft, broker and controller in one process) on loopback, in a directory of its own.
//!
//! A small shell process, the janitor, holds the other end of a pipe: when this process ends, however it ends, the pipe
//! closes, and the janitor stops the broker and removes its directory.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::proxy::Proxy;
use super::{clients, jars, tail, wait};

/// Any base64 UUID does; a fixed one spares a Java start.
const CLUSTER: &str = "c2lsbGFnZS1lMmUtdGVzdA";

/// A broker, running or not.
pub(crate) struct Broker {
    home: PathBuf,
    port: u16,
    proxies: Mutex<Vec<Proxy>>,
    process: Mutex<Option<Child>>,
    janitor: Child,
}

impl Broker {
    /// Chooses ports and formats the directory; does not start.
    pub(crate) fn prepare(proxies: usize) -> Broker {
        let home = tempfile::Builder::new().prefix("sillage-e2e-").tempdir().expect("a temporary directory").keep();
        let janitor = janitor(&home);
        let ports = free_ports(2 + proxies);
        let proxies: Vec<Proxy> = ports[2..].iter().map(|upstream| Proxy::before(*upstream)).collect();
        let settings = settings(&home, ports[0], ports[1], &proxies);
        std::fs::write(home.join("server.properties"), settings).expect("the settings can be written");
        let broker = Broker { home, port: ports[0], proxies: Mutex::new(proxies), process: Mutex::new(None), janitor };
        let format = ["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", "server.properties"];
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
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(process.is_none(), "the broker runs already");
        let child = self.java(&["kafka.Kafka", "server.properties"]).spawn().expect("java starts");
        std::fs::write(self.home.join("pid"), child.id().to_string()).expect("the pid can be written");
        let child = process.insert(child);
        let up = || match child.try_wait() {
            Ok(None) => clients::answers(&self.bootstrap()).then_some(true),
            Ok(Some(_)) | Err(_) => Some(false),
        };
        let up = wait::until("the broker to answer", Duration::from_secs(90), up);
        assert!(up, "the broker ended at once:\n{}", self.log_tail());
    }

    /// Stops the process in an orderly way.
    #[expect(dead_code, reason = "the tests so far need only kill")]
    pub(crate) fn stop(&self) {
        self.end("-TERM");
    }

    /// Kills the process.
    pub(crate) fn kill(&self) {
        self.end("-KILL");
    }

    /// A proxy that nobody has yet.
    pub(crate) fn claim_proxy(&self) -> Proxy {
        let claimed = self.proxies.lock().unwrap_or_else(PoisonError::into_inner).pop();
        claimed.expect("there are as many proxies as tests that need one; raise PROXIES")
    }

    /// The end of the broker's log.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.home.join("broker.log"), 40)
    }

    fn end(&self, signal: &str) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let mut child = process.take().expect("the broker runs");
        let _ = Command::new("kill").args([signal, &child.id().to_string()]).status();
        child.wait().expect("the broker ends");
        std::fs::remove_file(self.home.join("pid")).expect("the pid was written");
    }

    fn java(&self, arguments: &[&str]) -> Command {
        let log = || File::options().create(true).append(true).open(self.home.join("broker.log")).expect("a log file");
        let mut command = Command::new("java");
        command.current_dir(&self.home).args(["-Xmx768m", "-XX:+UseSerialGC", "-cp"]);
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

fn free_ports(count: usize) -> Vec<u16> {
    // Held together, so that no port is found twice.
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")).collect();
    held.iter().map(|listener| listener.local_addr().expect("an address").port()).collect()
}

/// Clients follow advertised addresses, so each proxy has a listener of the broker behind it that advertises the proxy.
fn settings(home: &Path, port: u16, controller: u16, proxies: &[Proxy]) -> String {
    let mut listeners = format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}");
    let mut advertised = format!("PLAINTEXT://127.0.0.1:{port}");
    let mut protocols = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned();
    for (number, proxy) in proxies.iter().enumerate() {
        listeners += &format!(",PROXIED{number}://127.0.0.1:{}", proxy.upstream());
        advertised += &format!(",PROXIED{number}://{}", proxy.address());
        protocols += &format!(",PROXIED{number}:PLAINTEXT");
    }
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners={listeners}\n\
         advertised.listeners={advertised}\n\
         inter.broker.listener.name=PLAINTEXT\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map={protocols}\n\
         log.dirs={}/data\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=4\n\
         group.initial.rebalance.delay.ms=0\n\
         group.consumer.min.session.timeout.ms=6000\n\
         group.consumer.session.timeout.ms=6000\n\
         group.consumer.min.heartbeat.interval.ms=500\n\
         group.consumer.heartbeat.interval.ms=500\n\
         auto.create.topics.enable=false\n",
        home.display()
    )
}
