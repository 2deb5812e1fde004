//! What a run is made of, drawn by its seed: how many of everything, and which faults come how often. Each seed has only some
//! of the faults, so that a fault that hides another does not hide it everywhere.

use sillage::ledger::group::Start;
use sillage::time::Timestamp;

use super::defects::Defect;
use super::dice::Dice;
use super::log::Millis;
use super::logins::Logins;
use super::story::BEGINNING;

/// No record is stamped so early, whosever clock is wrong.
const LONG_BEFORE: Millis = 86_400_000;

#[derive(Clone, Debug)]
pub(super) struct Weather {
    pub(super) workers: usize,
    pub(super) shards: u32,
    pub(super) inputs: usize,
    pub(super) customers: usize,
    pub(super) touches: usize,
    pub(super) seats: Seats,
    /// Where the group starts: at the first record, by whatever way that is found.
    pub(super) start: Start,
    pub(super) decisions_per_transaction: usize,
    /// How long a worker sleeps between two rounds, at most.
    pub(super) round: Millis,
    /// A marker comes so late at most.
    pub(super) marker: Millis,
    /// The answer about an end comes so late at most.
    pub(super) end_answer: Millis,
    /// A broker's clock may go back by so much when a partition moves.
    pub(super) regress: Millis,

    // In a thousand.
    pub(super) upstream: u32,
    pub(super) upstream_undone: u32,
    pub(super) twice: u32,
    pub(super) late: u32,
    pub(super) unusable: u32,
    pub(super) slow_call: u32,
    pub(super) lost_call: u32,
    pub(super) failed_send: u32,
    pub(super) slow_input: u32,
    /// Of rounds in which a record comes that nobody can take.
    pub(super) stray: u32,

    pub(super) leaders: Leaders,
    /// A replica that is in sync goes on without fetching for so long, at most.
    pub(super) longest_stall: Millis,
    /// How often a replica stops to fetch from an input's leader, in a thousand looks.
    pub(super) stalls: u32,
    /// How often a leader is deposed and does not hear of it, likewise.
    pub(super) depositions: u32,

    // How often each comes up among what goes wrong next.
    pub(super) kills: u32,
    pub(super) freezes: u32,
    pub(super) cuts: u32,
    pub(super) outages: u32,
    pub(super) leaves: u32,
    pub(super) joins: u32,
    /// Everybody goes, and the group forgets its offsets.
    pub(super) exodus: u32,
    /// They are away for so long, at most.
    pub(super) longest_absence: Millis,
    /// Of processes that follow the state logs before they begin, in a thousand.
    pub(super) standby: u32,
    /// Between two faults, at most; 0: none.
    pub(super) pause: Millis,
    /// Hosts an hour behind, in a thousand.
    pub(super) hour_behind: u32,
    /// By so much a host's clock, and a record's stamp, may be off either way.
    pub(super) skew: Millis,
    /// Touchpoints that come within this time of their event time are told in the order of events; 0: as they come.
    pub(super) grace: Millis,
    /// Customers have devices, and shards hand them to each other; `None`: everybody stays who he is.
    pub(super) logins: Option<Logins>,
}

/// How much the leaders of the inputs say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaders {
    /// Nobody copies from them.
    OneReplica,
    /// They say where their logs end, whoever may read it.
    Answer,
    /// They do not say that to this client.
    Refuse,
}

/// How members keep their places in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seats {
    /// Every generation anew.
    Loose,
    /// A member that comes back by its name finds its shards as they were.
    Fixed,
    /// The brokers deal, and ask back only what goes elsewhere (KIP-848).
    Dealt,
}

impl Weather {
    pub(super) fn new(dice: &mut Dice, sky: Sky) -> Self {
        let mut maybe = |permille, most: u32| if dice.happens(permille) { dice.between(1, most.into()) as u32 } else { 0 };
        let (upstream, upstream_undone) = (maybe(500, 250), maybe(500, 500));
        let (twice, late, unusable) = (maybe(500, 150), maybe(600, 400), maybe(400, 60));
        let (slow_call, lost_call, failed_send) = (maybe(500, 120), maybe(500, 80), maybe(300, 8));
        let (slow_input, stray) = (maybe(500, 40), maybe(500, 200));
        let (kills, freezes, cuts, outages) = (maybe(600, 4), maybe(500, 4), maybe(400, 3), maybe(300, 2));
        let (leaves, joins, exodus) = (maybe(500, 4), maybe(400, 3), maybe(150, 2));
        let (hour_behind, standby) = (maybe(300, 300), maybe(300, 600));
        let mut weather = Weather {
            workers: dice.between(1, 3) as usize,
            shards: dice.between(1, 3) as u32,
            inputs: dice.between(1, 3) as usize,
            customers: dice.between(3, 12) as usize,
            touches: dice.between(60, 300) as usize,
            seats: dice.pick(&[Seats::Loose, Seats::Fixed, Seats::Dealt]),
            start: dice.pick(&[Start::Earliest, Start::At(Timestamp::from_millis(BEGINNING - LONG_BEFORE))]),
            decisions_per_transaction: if dice.happens(300) { dice.between(1, 20) as usize } else { 20_000 },
            round: dice.pick(&[15, 30, 60]),
            marker: dice.pick(&[0, 20, 150, 600]),
            end_answer: dice.pick(&[10, 60, 400, 1_500]),
            regress: if dice.happens(300) { 15 } else { 0 },
            upstream,
            upstream_undone,
            twice,
            late,
            unusable,
            slow_call,
            lost_call,
            failed_send,
            slow_input,
            stray,
            kills,
            freezes,
            cuts,
            outages,
            leaves,
            joins,
            exodus,
            longest_absence: 3_000,
            standby,
            pause: dice.pick(&[500, 1_500, 4_000]),
            hour_behind,
            skew: 0,
            grace: dice.pick(&[0, 60, 1_000, 5_000]),
            logins: None,
            leaders: Leaders::OneReplica,
            longest_stall: 0,
            stalls: 0,
            depositions: 0,
        };
        weather.replicate(dice);
        match sky {
            Sky::Clear => weather.clear(),
            Sky::Stormy => {}
            // Whoever judges must know what was decided at which log time: one decision a commit.
            Sky::WrongClocks => {
                (weather.hour_behind, weather.decisions_per_transaction) = (0, 1);
                weather.skew = dice.pick(&[200, 3_000, 20_000]);
                weather.touches = weather.touches.min(100);
            }
        }
        weather
    }

    fn replicate(&mut self, dice: &mut Dice) {
        self.leaders = dice.pick(&[Leaders::OneReplica, Leaders::Answer, Leaders::Answer, Leaders::Refuse]);
        (self.longest_stall, self.stalls, self.depositions) = match self.leaders {
            Leaders::OneReplica => (0, 0, 0),
            Leaders::Answer => {
                let longest = dice.pick(&[300, 2_000, 6_000]);
                (longest, dice.pick(&[0, 200, 600]), dice.pick(&[0, 200, 600]))
            }
            // Nothing helps against a leader that was deposed.
            Leaders::Refuse => (dice.pick(&[200, 1_500]), dice.pick(&[200, 600]), 0),
        };
    }

    fn clear(&mut self) {
        (self.stalls, self.depositions) = (0, 0);
        (self.pause, self.marker, self.hour_behind, self.standby) = (0, 20, 0, 0);
        (self.slow_call, self.lost_call, self.failed_send) = (0, 0, 0);
        (self.slow_input, self.stray) = (0, 0);
    }
}

/// Whether anything goes wrong at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sky {
    Clear,
    Stormy,
    /// The same, and clocks of hosts and of those who stamp records are far off, either way.
    WrongClocks,
}

/// Who the customers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum People {
    /// Each is known by one id, and lives where its records are.
    Settled,
    /// Each has devices and logs in, and its records are anywhere.
    LogIn,
}

/// What is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) seed: u64,
    pub(super) sky: Sky,
    pub(super) people: People,
    pub(super) defect: Option<Defect>,
}
