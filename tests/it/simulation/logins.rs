//! Customers who have devices and log in, inputs keyed by whatever the producers think of, and what the world does beside its
//! workers so that shards can hand customers to each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sillage::frontiers::Frontiers;
use sillage::ledger::OffsetMetadata;
use sillage::partitioner::Partitioner;
use sillage::port::{Now, ShardId};
use sillage::shard::{HandOff, Handed, may_be_ahead};
use sillage::time::{Span, Timestamp};
use sillage::wire::{erasures, handing};

use super::dice::Dice;
use super::load::{self, Arriving, Load};
use super::log::{Millis, Record};
use super::weather::Weather;
use super::world::{ProcessId, Sim};

/// Shards wait for each other at the end as well, each in its turn.
pub(super) const CALM: Millis = 30_000;
/// Between two questions how far other processes have come.
const ASKING: Millis = 200;

/// What was committed is known everywhere after so long.
const KNOWN: Millis = 3_000;

/// What there is of devices and logins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logins {
    pub(super) keyed: Keyed,
    // In a thousand.
    /// Of a customer's touchpoints: those that name a device as well.
    pub(super) links: u32,
    /// Of those: whose device is somebody else's.
    pub(super) shared: u32,
    /// Touchpoints that come later than the grace.
    pub(super) too_late: u32,
    /// Customers who are erased once nothing more comes of them.
    pub(super) erased: u32,
}

/// What the producers choose the partition by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keyed {
    /// The customer id, or else the anonymous id.
    ByIdentity,
    /// The anonymous id where there is one.
    ByDevice,
    /// Nothing useful.
    AtRandom,
}

/// The shard of an id.
pub(super) fn home(key: &[u8], shards: u32) -> ShardId {
    Partitioner::Murmur2.partition(key, shards).unwrap_or(ShardId::MAX)
}

/// A device of a customer.
pub(super) fn device(customer: usize, number: i64) -> String {
    format!("a{customer}-{number}")
}

/// The number of the customer whose an id is.
pub(super) fn person(id: &str) -> usize {
    let digits = id.get(1..).unwrap_or_default().split('-').next().unwrap_or_default();
    digits.parse().unwrap_or(usize::MAX)
}

/// Lets customers log in, several shards at least.
pub(super) fn come(weather: &mut Weather, dice: &mut Dice) {
    weather.shards = dice.between(2, 4) as u32;
    weather.customers = dice.between(2, 8) as usize;
    weather.grace = dice.pick(&[6_000, 12_000, 30_000]);
    if dice.happens(400) && weather.pause > 0 {
        // A backlog older than the grace.
        (weather.exodus, weather.longest_absence) = (dice.between(1, 3) as u32, 20_000);
    }
    let shares = dice.happens(150);
    weather.logins = Some(Logins {
        keyed: dice.pick(&[Keyed::ByIdentity, Keyed::ByDevice, Keyed::AtRandom]),
        links: dice.pick(&[60, 200, 600]),
        shared: if shares { 60 } else { 0 },
        too_late: if dice.happens(250) { 30 } else { 0 },
        erased: if dice.happens(300) && !shares { 400 } else { 0 },
    });
}

/// What customers and their devices do.
pub(super) fn make(dice: &mut Dice, weather: &Weather, logins: Logins, begins: Millis) -> Load {
    let (mut now, mut arriving, mut taken) = (begins, Vec::new(), BTreeSet::new());
    let mut last: BTreeMap<usize, Millis> = BTreeMap::new();
    for number in 0..weather.touches {
        now += load::gap(dice);
        let customer = dice.between(0, weather.customers as i64 - 1) as usize;
        let named = |dice: &mut Dice| match dice.happens(logins.shared) {
            true => device(dice.between(0, weather.customers as i64 - 1) as usize, 1),
            false => device(customer, dice.between(1, 2)),
        };
        let names = if dice.happens(450) {
            vec![("anonymous_id", device(customer, dice.between(1, 2)))]
        } else {
            let linked = dice.happens(logins.links).then(|| ("anonymous_id", named(dice)));
            [("customer_id", load::name(customer))].into_iter().chain(linked).collect()
        };
        let people: BTreeSet<usize> = names.iter().map(|(_, id)| person(id)).collect();
        let place = place(dice, weather, logins, &names);
        let key = names[0].1.clone().into_bytes();
        if dice.happens(weather.unusable) {
            arriving.push(Arriving { at: now, place, key, value: load::unusable(dice) });
            continue;
        }
        let delay = if dice.happens(logins.too_late) {
            weather.grace + dice.between(0, 10_000)
        } else if dice.happens(weather.late) {
            dice.between(0, weather.grace / 4)
        } else {
            dice.between(0, 6)
        };
        // Of two at one instant, the one that comes first would be the first.
        let mut happened = now - weather.regress - delay;
        while !taken.insert(happened) {
            happened -= 1;
        }
        let touch = load::touch(dice, happened);
        let value = load::written(&names, &format!("t{number}"), &touch);
        arriving.push(Arriving { at: now, place, key: key.clone(), value: value.clone() });
        let mut latest = now;
        if dice.happens(weather.twice) {
            let at = now + if dice.happens(500) { 0 } else { dice.between(0, 3_000) };
            arriving.push(Arriving { at, place: self::place(dice, weather, logins, &names), key, value });
            latest = at;
        }
        for person in people {
            last.insert(person, last.get(&person).copied().unwrap_or(latest).max(latest));
        }
    }
    let mut erased = Vec::new();
    for (person, last) in last {
        if dice.happens(logins.erased) {
            let id = if dice.happens(500) { load::name(person) } else { device(person, 1) };
            let (at, value) = (last + dice.between(50, 2_000), erasures::encode(&load::identity(&id)));
            // Whoever asks for it asks every shard.
            let orders = (0..weather.shards).map(|shard| (weather.inputs, shard));
            arriving.extend(orders.map(|place| Arriving { at, place, key: Vec::new(), value: value.clone() }));
            erased.push((person, id));
        }
    }
    arriving.sort_by_key(|arriving| arriving.at);
    Load { ends: arriving.last().map_or(begins, |last| last.at), arriving, made: Vec::new(), erased }
}

/// Where the producer puts it.
fn place(dice: &mut Dice, weather: &Weather, logins: Logins, names: &[(&str, String)]) -> (usize, ShardId) {
    let input = dice.between(0, weather.inputs as i64 - 1) as usize;
    let key = match logins.keyed {
        Keyed::ByIdentity => names.first(),
        Keyed::ByDevice => names.last(),
        Keyed::AtRandom => return (input, dice.between(0, i64::from(weather.shards) - 1) as ShardId),
    };
    (input, key.map_or(0, |(_, key)| home(key.as_bytes(), weather.shards)))
}

/// How far the shards of other processes have come, as one process hears of it: as `kafka/pace` does.
pub(super) struct Pace {
    frontiers: Arc<Frontiers>,
    asked: Millis,
}

impl Pace {
    pub(super) fn new(frontiers: Arc<Frontiers>) -> Self {
        Pace { frontiers, asked: 0 }
    }

    pub(super) fn go_on(&mut self, sim: &Sim, process: ProcessId, clock: &Now) {
        let (now, shards) = (sim.now(), sim.weather.shards);
        if now - self.asked < ASKING || self.frontiers.are_all_ours() || sim.is_cut(process) {
            return;
        }
        self.asked = now;
        let state = sim.state();
        let reached = |shard: ShardId| {
            let committed = state.brokers.committed_unstable((0, shard));
            let mark = committed.and_then(|committed| OffsetMetadata::parse(&committed.metadata));
            (shard, mark.and_then(|mark| mark.stream_time))
        };
        self.frontiers.heard((0..shards).map(reached), clock());
    }
}

/// What is known of hand-overs, and of how far shards are apart.
pub(super) struct Handing {
    grace: Span,
    /// By customer: so long after what caused it, by stream time, something that was handed over was applied at the latest.
    lateness: BTreeMap<usize, Millis>,
    /// By shard: when its committed stream time moved, and to where.
    moves: BTreeMap<ShardId, Vec<(Millis, Millis)>>,
    /// When it was committed last.
    commits: BTreeMap<ShardId, Millis>,
    /// The process in which a shard was seated last.
    owners: BTreeMap<ShardId, ProcessId>,
    /// When a process saw a shard last that it had.
    had: BTreeMap<(ProcessId, ShardId), Millis>,
    /// When a process began.
    pub(super) started: BTreeMap<ProcessId, Millis>,
    /// Processes that were neither frozen nor cut off for a while, as of now.
    pub(super) well: BTreeSet<ProcessId>,
    pub(super) now: Millis,
}

impl Handing {
    pub(super) fn new(grace: Span) -> Self {
        Handing {
            grace,
            lateness: BTreeMap::new(),
            moves: BTreeMap::new(),
            commits: BTreeMap::new(),
            owners: BTreeMap::new(),
            had: BTreeMap::new(),
            started: BTreeMap::new(),
            well: BTreeSet::new(),
            now: 0,
        }
    }

    pub(super) fn lateness(&self, person: usize) -> Millis {
        self.lateness.get(&person).copied().unwrap_or(0)
    }

    pub(super) fn seated(&mut self, shard: ShardId, process: ProcessId, now: Millis) {
        if let Some(before) = self.owners.insert(shard, process) {
            self.had.insert((before, shard), now);
        }
    }

    fn reached(&self, shard: ShardId) -> Option<Millis> {
        Some(self.moves.get(&shard)?.last()?.1)
    }

    /// A process has committed. How far it is ahead of one that it knows to move, where that is too far.
    pub(super) fn committed(&mut self, attempt: &str, shard: ShardId, stream_time: Millis) -> Result<(), String> {
        let (now, before) = (self.now, self.reached(shard));
        let since = self.commits.insert(shard, now).unwrap_or(now);
        if before == Some(stream_time) {
            return Ok(());
        }
        self.moves.entry(shard).or_default().push((now, stream_time));
        let process = attempt.strip_prefix('p').and_then(|rest| rest.split('-').next()?.parse::<ProcessId>().ok());
        let Some(process) = process.filter(|process| self.well.contains(process)) else { return Ok(()) };
        let knows_since = self.started.get(&process).copied().unwrap_or(Millis::MAX).saturating_add(KNOWN);
        for (other, moves) in self.moves.iter().filter(|(other, _)| **other != shard) {
            // Of a shard that it has, or had since, it knows more than what is committed.
            let had = self.had.get(&(process, *other)).copied();
            if self.owners.get(other) == Some(&process) || had >= moves.last().map(|(when, _)| *when) {
                continue;
            }
            // Known to have moved, now and again, as long as this can have been decided: since the commit before.
            let heard = moves.iter().map(|(when, _)| *when).filter(|when| *when >= knows_since);
            let times: Vec<Millis> = heard.chain([now]).collect();
            let moves_on = times.windows(2).filter(|pair| pair[1] >= since - KNOWN).all(|pair| pair[1] - pair[0] < KNOWN);
            let is_known = times.len() > 2 && times[1] < since - KNOWN;
            let Some(reached) = self.reached(*other).filter(|_| is_known && moves_on) else { continue };
            let ahead = may_be_ahead(self.grace).as_millis();
            if stream_time > reached + ahead {
                return Err(format!(
                    "shard {shard} is decided up to {stream_time}, shard {other} up to {reached}: more than {ahead}"
                ));
            }
        }
        Ok(())
    }

    /// A commit has taken these, with stream time at that instant.
    pub(super) fn taken<'a>(&mut self, stream_time: Option<Millis>, records: impl Iterator<Item = &'a Record>) {
        for record in records {
            let Ok(hand_off) = handing::decode(record.value.as_deref().unwrap_or_default()) else { continue };
            let late = stream_time.unwrap_or(Millis::MIN) - hand_off.log_time.as_millis();
            let who = match &hand_off.what {
                Handed::Touchpoint(touchpoint) => vec![touchpoint.identity.id.clone()],
                Handed::Claim(claim) => vec![claim.customer.clone(), claim.anonymous.clone()],
                // It is waited for.
                Handed::Answer { .. } => continue,
                Handed::Followed { customer, touchpoint, .. } => vec![customer.clone(), touchpoint.identity.id.clone()],
            };
            for id in who {
                let known = self.lateness.entry(person(&id)).or_default();
                *known = late.max(*known);
            }
        }
    }
}

/// What is handed over, as if it counted from when it was written.
pub(super) fn as_written(value: &[u8], log_time: Millis) -> Option<Vec<u8>> {
    let hand_off = handing::decode(value).ok()?;
    Some(handing::encode(&HandOff { log_time: Timestamp::from_millis(log_time), ..hand_off }))
}
