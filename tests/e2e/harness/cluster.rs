//! Three brokers that are one Kafka: three copies of everything, of which two must be in step. Each has proxies before it, so
//! that a client can be cut off from all of them or from one.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::broker::{Broker, INTERNAL_PARTITIONS, Place, quiet_ports};
use super::clients::{self, Standing};
use super::proxy::Proxy;
use super::wait;

pub(crate) const BROKERS: usize = 3;

/// A broker that is gone is missed after five seconds, and copies that lag are left behind soon. Starting often is more
/// important here than running fast.
const HASTY: &str = "broker.session.timeout.ms=5000\n\
                        broker.heartbeat.interval.ms=500\n\
                        replica.lag.time.max.ms=10000\n\
                        leader.imbalance.check.interval.seconds=20\n\
                        log.segment.bytes=67108864\n";

/// A broker that says nothing is missed after eighteen seconds, so that one which stands still for half of that is not given up;
/// copies that lag count as in step for as long as Kafka itself lets them.
const PATIENT: &str = "broker.session.timeout.ms=18000\n\
                       leader.imbalance.check.interval.seconds=20\n\
                       log.segment.bytes=67108864\n";

pub(crate) struct Cluster {
    brokers: Vec<Broker>,
    proxies: Vec<Proxy>,
    /// Where else clients may come, by protocol.
    guarded: BTreeMap<&'static str, String>,
}

impl Cluster {
    /// Starts all brokers and waits until they are one.
    pub(crate) fn start() -> Cluster {
        Cluster::start_with(HASTY.to_owned(), &[], &[])
    }

    /// The same with patience with brokers and copies.
    pub(crate) fn start_patient() -> Cluster {
        Cluster::start_with(PATIENT.to_owned(), &[], &[])
    }

    /// The same, with listeners of these protocols besides, for which these settings are.
    pub(crate) fn start_guarded(protocols: &[&'static str], settings: &str, users: &[String]) -> Cluster {
        Cluster::start_with(HASTY.to_owned() + settings, protocols, users)
    }

    fn start_with(settings: String, protocols: &[&'static str], users: &[String]) -> Cluster {
        let ports = quiet_ports(BROKERS * (3 + protocols.len()));
        let proxies: Vec<Proxy> = ports[..BROKERS].iter().map(|upstream| Proxy::before(*upstream)).collect();
        let controllers = ports[BROKERS..BROKERS * 2].to_vec();
        let place = |number: usize| Place {
            number,
            port: ports[BROKERS * 2 + number - 1],
            controllers: controllers.clone(),
            copies: BROKERS,
            java: &["-Xmx512m", "-XX:TieredStopAtLevel=1"],
            guarded: protocols
                .iter()
                .copied()
                .zip(ports[BROKERS * 3..].iter().copied().skip(number - 1).step_by(BROKERS))
                .collect(),
            settings: settings.clone(),
            users: users.to_vec(),
        };
        let prepare = &|number: usize, proxy: Proxy| Broker::prepare_at(&place(number), vec![proxy]);
        let brokers: Vec<Broker> = std::thread::scope(|scope| {
            let preparing: Vec<_> =
                proxies.iter().zip(1..).map(|(proxy, number)| scope.spawn(move || prepare(number, proxy.clone()))).collect();
            preparing.into_iter().map(|broker| broker.join().expect("a broker is prepared")).collect()
        });
        brokers.iter().for_each(Broker::launch);
        brokers.iter().for_each(Broker::wait_until_it_answers);
        let of = |place: usize| ports[BROKERS * (3 + place)..][..BROKERS].iter().map(|port| format!("localhost:{port}"));
        let guarded =
            protocols.iter().enumerate().map(|(place, protocol)| (*protocol, of(place).collect::<Vec<_>>().join(",")));
        Cluster { brokers, proxies, guarded: guarded.collect() }
    }

    /// `host:port` of all, separated by commas, where this protocol is spoken.
    pub(crate) fn guarded(&self, protocol: &str) -> &str {
        self.guarded.get(protocol).expect("it was started with such listeners")
    }

    /// `host:port` of all, separated by commas.
    pub(crate) fn bootstrap(&self) -> String {
        self.brokers.iter().map(Broker::bootstrap).collect::<Vec<_>>().join(",")
    }

    /// The same through the proxies.
    pub(crate) fn proxied(&self) -> String {
        self.proxies.iter().map(Proxy::address).collect::<Vec<_>>().join(",")
    }

    /// One before each broker.
    pub(crate) fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }

    /// Broker 1, 2, or 3.
    pub(crate) fn broker(&self, number: usize) -> &Broker {
        &self.brokers[number - 1]
    }

    /// The broker that leads this partition, if there is one.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<usize> {
        let all = clients::partitions(&self.bootstrap());
        let found = all.iter().find(|standing| standing.topic == topic && standing.partition == partition)?;
        usize::try_from(found.leader).ok().filter(|leader| (1..=BROKERS).contains(leader))
    }

    /// The broker that coordinates a group.
    pub(crate) fn group_coordinator(&self, group: &str) -> Option<usize> {
        self.leader("__consumer_offsets", internal_partition(group))
    }

    /// The broker that coordinates the transactions of an id.
    pub(crate) fn transaction_coordinator(&self, id: &str) -> Option<usize> {
        self.leader("__transaction_state", internal_partition(id))
    }

    /// Waits until all copies of everything are in step.
    pub(crate) fn wait_until_whole(&self, within: Duration) {
        let whole = |standing: &Standing| standing.in_step == BROKERS && standing.leader > 0;
        wait::until_true("all copies to be in step", within, || {
            let all = clients::partitions(&self.bootstrap());
            !all.is_empty() && all.iter().all(whole)
        });
    }

    /// Keeps the brokers' logs.
    pub(crate) fn keep_logs(&self, folder: &Path) {
        for (broker, number) in self.brokers.iter().zip(1..) {
            // It is only for whoever looks at a failure.
            let _ = std::fs::copy(broker.log(), folder.join(format!("broker-{number}.log")));
        }
    }
}

impl Drop for Cluster {
    /// Nobody needs what they hold, so they need not end in order, one after the other.
    fn drop(&mut self) {
        self.brokers.iter().for_each(Broker::end_at_once);
    }
}

/// Kafka's rule: Java's hash of the name, without its sign, by the number of partitions.
fn internal_partition(name: &str) -> i32 {
    let hash = name.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0) % INTERNAL_PARTITIONS
}
