//! The worker processes, and who looks after them: whichever ends without being asked to is started again, as a supervisor
//! does.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::harness::service::{Service, Setup};
use crate::harness::wait;
use crate::shopper::Dice;

/// Longer than a session (6 s) and a transaction (10 s) may last.
const ZOMBIE: Duration = Duration::from_secs(13);
const SOON: Duration = Duration::from_secs(60);

/// What was done to them.
#[derive(Default)]
pub(crate) struct Done {
    pub kills: AtomicUsize,
    pub kills_before_ready: AtomicUsize,
    pub zombies: AtomicUsize,
    pub replaced: AtomicUsize,
    pub rebalances: AtomicUsize,
    /// Ended without being asked to: the last words of each.
    pub ended: Mutex<Vec<String>>,
}

pub(crate) struct Team {
    folder: PathBuf,
    members: Vec<Member>,
    pub done: Done,
}

struct Member {
    setup: Setup,
    /// Nobody only while something is being done to it.
    desk: Mutex<Option<Service>>,
}

impl Member {
    fn desk(&self) -> MutexGuard<'_, Option<Service>> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(counter: &AtomicUsize, more: usize) {
    counter.fetch_add(more, Ordering::AcqRel);
}

impl Team {
    /// Starts a worker for each setup, with its log in a folder of its own, and waits until all are ready.
    pub(crate) fn start(folder: &Path, setups: Vec<Setup>) -> Team {
        let folder = folder.to_owned();
        let member = |setup: Setup| {
            let desk = Mutex::new(Some(Service::start_in(&folder.join(&setup.instance), &setup)));
            Member { setup, desk }
        };
        let members = setups.into_iter().map(member).collect();
        let team = Team { members, done: Done::default(), folder };
        for member in &team.members {
            member.desk().as_mut().expect("it runs").wait_until_ready(SOON * 2);
        }
        team
    }

    pub(crate) fn size(&self) -> usize {
        self.members.len()
    }

    fn begin(&self, setup: &Setup) -> Service {
        Service::start_in(&self.folder.join(&setup.instance), setup)
    }

    /// Starts again whoever ends, until told to stop.
    pub(crate) fn look_after(&self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            for member in &self.members {
                let Ok(mut desk) = member.desk.try_lock() else { continue };
                let Some(status) = desk.as_mut().and_then(Service::ended) else { continue };
                let log = desk.take().map(|service| service.log()).unwrap_or_default();
                let last = log.lines().last().unwrap_or_default();
                let words = format!("{} {status}: {last}", member.setup.instance);
                self.done.ended.lock().unwrap_or_else(PoisonError::into_inner).push(words);
                *desk = Some(self.begin(&member.setup));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Kills one and starts it again at once.
    pub(crate) fn kill(&self, number: usize) {
        let mut desk = self.members[number].desk();
        if let Some(mut service) = desk.take()
            && service.ended().is_none()
        {
            if !service.is_ready() {
                count(&self.done.kills_before_ready, 1);
            }
            service.kill();
            count(&self.done.kills, 1);
        }
        *desk = Some(self.begin(&self.members[number].setup));
    }

    /// Kills one, and again while it is on its way.
    pub(crate) fn kill_twice(&self, number: usize, dice: &mut Dice) {
        self.kill(number);
        wait::until_true("a worker to live", SOON, || {
            self.members[number].desk().as_ref().is_some_and(|service| service.address().is_some())
        });
        std::thread::sleep(Duration::from_millis(dice.below(1_500)));
        self.kill(number);
    }

    /// Stops one for long, then lets it go on.
    pub(crate) fn freeze(&self, number: usize) {
        let mut desk = self.members[number].desk();
        let service = desk.as_mut().expect("it runs");
        if service.ended().is_some() {
            return;
        }
        service.freeze();
        std::thread::sleep(ZOMBIE);
        service.thaw();
        count(&self.done.zombies, 1);
    }

    /// Stops one for long; another process takes its place under its name; then the first goes on beside it, and is killed a
    /// little later unless it has seen that it is no longer needed.
    pub(crate) fn freeze_and_replace(&self, number: usize) {
        let mut zombie = {
            let mut desk = self.members[number].desk();
            let Some(zombie) = desk.take_if(|service| service.ended().is_none()) else { return };
            zombie.freeze();
            *desk = Some(self.begin(&self.members[number].setup));
            zombie
        };
        std::thread::sleep(ZOMBIE);
        zombie.thaw();
        count(&self.done.zombies, 1);
        count(&self.done.replaced, 1);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(4) && zombie.ended().is_none() {
            std::thread::sleep(Duration::from_millis(50));
        }
        if zombie.ended().is_none() {
            zombie.kill();
        }
    }

    /// A further worker, of another name each time, comes and goes.
    pub(crate) fn storm(&self, times: usize, dice: &mut Dice) {
        for _ in 0..times {
            let number = self.done.rebalances.load(Ordering::Acquire) / 2;
            let setup = Setup { instance: format!("guest-{number}"), ..self.members[0].setup.clone() };
            let mut guest = self.begin(&setup);
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(8) && !guest.is_ready() && guest.ended().is_none() {
                std::thread::sleep(Duration::from_millis(50));
            }
            std::thread::sleep(Duration::from_millis(dice.below(2_000)));
            assert!(guest.ended().is_none(), "a guest ended by itself:\n{}", guest.log());
            let ended = guest.terminate();
            assert_eq!(ended.status.code(), Some(0), "a guest did not end well:\n{}", ended.log);
            // Its coming and its going.
            count(&self.done.rebalances, 2);
        }
    }

    /// Asks all to end; each must end well.
    pub(crate) fn terminate(&self) {
        for member in &self.members {
            let ended = member.desk().take().expect("it runs").terminate();
            assert_eq!(ended.status.code(), Some(0), "{} did not end well:\n{}", member.setup.instance, ended.log);
        }
    }

    /// Lines of all logs that hold this text.
    pub(crate) fn logged(&self, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.folder).expect("the folder").flatten() {
            let log = std::fs::read(entry.path().join("log")).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            found.extend(log.lines().filter(|line| line.contains(text)).map(ToOwned::to_owned));
        }
        found
    }
}
