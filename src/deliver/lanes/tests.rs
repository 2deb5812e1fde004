//! Deliveries by hand: what is sent, in which order, and what is not; and a storm that holds the laws of the contract.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::deliver::lanes::delivery::State as S;

const FIVE_MINUTES: i64 = 300_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + millis)
}

fn limits() -> Limits {
    Limits {
        channels: Vec::new(),
        interventions: Vec::new(),
        withdrawals: true,
        at_once: 4,
        rate: 1_000,
        burst: 1_000,
        waiting: 1_000,
    }
}

fn offer(number: u128, customer: &str, expires: i64) -> Notice {
    let record = format!(
        r#"{{"outcome_id":"{}","kind":"intervention","model":"shop","customer_id":"{customer}","anonymous_id":null,"answers":null,
            "intervention":{{"name":"rescue","channel":"chat","arm":"treated","expires_at":"{}"}}}}"#,
        Uuid::from_u128(number),
        at(expires)
    );
    Notice::read(record.as_bytes()).expect("an outcome").expect("an offer")
}

fn withdrawal(number: u128, of: u128, customer: &str) -> Notice {
    let record = format!(
        r#"{{"outcome_id":"{}","kind":"withdrawal","model":"shop","customer_id":"{customer}","anonymous_id":null,
            "answers":{{"outcome_id":"{}","at":"2027-01-15T08:00:00.000Z"}},
            "intervention":{{"name":"rescue","channel":"chat","arm":"treated","expires_at":"2027-01-15T08:00:00.000Z"}}}}"#,
        Uuid::from_u128(number),
        Uuid::from_u128(of)
    );
    Notice::read(record.as_bytes()).expect("an outcome").expect("a withdrawal")
}

fn accepted() -> Reply {
    Reply::Accepted
}

fn refused() -> Reply {
    Reply::Refused { reason: "connection refused".to_owned() }
}

fn unclear() -> Reply {
    Reply::Unclear { reason: "no answer in 10 s".to_owned() }
}

/// Lanes with what is on its way from them.
struct Desk {
    lanes: Lanes,
    order: u64,
    told: Vec<(u128, S)>,
    dead: Vec<(u128, S)>,
}

impl Desk {
    fn new(destinations: &[&str]) -> Self {
        Desk::with(destinations, limits())
    }

    fn with(destinations: &[&str], limits: Limits) -> Self {
        let lanes = destinations.iter().map(|name| (Arc::from(*name), limits.clone()));
        Desk { lanes: Lanes::new(lanes), order: 0, told: Vec::new(), dead: Vec::new() }
    }

    fn read(&mut self, notice: &Notice, now: i64) {
        self.order += 1;
        self.lanes.read(notice, 0, self.order, at(now));
    }

    /// What begins to be sent now.
    fn sent(&mut self, now: i64) -> Vec<u128> {
        self.lanes.wake(at(now));
        let mut sent = Vec::new();
        for action in self.lanes.take_actions() {
            let state = |key: &Key| (key.outcome.as_u128(), self.lanes.get(key).expect("known").state);
            match action {
                Action::Send { key, .. } => sent.push(key.outcome.as_u128()),
                Action::Ended(key) => {
                    let delivery = self.lanes.get(&key).expect("known");
                    self.told.extend(delivery.told_as().map(|_| state(&key)));
                    self.dead.extend(matches!(delivery.state, S::Failed(_)).then(|| state(&key)));
                }
                Action::Keep(_) | Action::Forget(..) | Action::SwitchedOff { .. } => {}
            }
        }
        sent
    }

    fn reply(&mut self, number: u128, reply: Reply, now: i64) {
        self.lanes.replied(&key(number, "desk"), reply, BTreeMap::new(), at(now));
    }

    fn state(&self, number: u128) -> S {
        self.lanes.get(&key(number, "desk")).expect("known").state
    }
}

fn key(number: u128, destination: &str) -> Key {
    Key { outcome: Uuid::from_u128(number), destination: Arc::from(destination) }
}

#[test]
fn an_offer_is_sent_once_and_told() {
    let mut desk = Desk::new(&["desk"]);
    desk.read(&offer(1, "anna", FIVE_MINUTES), 0);
    assert_eq!(desk.sent(0), [1]);
    // The log is read again.
    desk.read(&offer(1, "anna", FIVE_MINUTES), 1);
    desk.reply(1, accepted(), 2);
    desk.read(&offer(1, "anna", FIVE_MINUTES), 3);
    assert_eq!(desk.sent(4), []);
    assert_eq!((desk.told, desk.dead), (vec![(1, S::Sent)], vec![]));
}

#[test]
fn a_failure_is_tried_again_until_the_offer_expires() {
    let mut desk = Desk::new(&["desk"]);
    desk.read(&offer(1, "anna", 60_000), 0);
    let mut tries = Vec::new();
    for now in (0..120_000).step_by(100) {
        for number in desk.sent(now) {
            tries.push(now);
            desk.reply(number, unclear(), now + 10);
        }
    }
    assert!((4..=8).contains(&tries.len()), "{tries:?}");
    assert!(tries.iter().all(|now| *now < 60_000), "{tries:?}");
    assert_eq!((desk.told, desk.dead), (vec![(1, S::Failed(Why::Tries))], vec![(1, S::Failed(Why::Tries))]));
}

#[test]
fn what_was_never_tried_expires_without_a_dead_letter() {
    let mut desk = Desk::with(&["desk"], Limits { at_once: 1, ..limits() });
    desk.read(&offer(1, "anna", FIVE_MINUTES), 0);
    desk.read(&offer(2, "bert", 5_000), 0);
    assert_eq!(desk.sent(0), [1]);
    assert_eq!(desk.sent(5_000), []);
    desk.reply(1, accepted(), 6_000);
    assert_eq!(desk.sent(6_000), []);
    assert_eq!((desk.told, desk.dead), (vec![(2, S::Expired), (1, S::Sent)], vec![]));
}

#[test]
fn a_withdrawal_overtakes_what_was_not_sent() {
    let mut desk = Desk::with(&["desk"], Limits { at_once: 1, ..limits() });
    for (number, customer) in [(1, "anna"), (2, "bert")] {
        desk.read(&offer(number, customer, FIVE_MINUTES), 0);
    }
    assert_eq!(desk.sent(0), [1]);
    desk.read(&withdrawal(12, 2, "bert"), 1);
    desk.reply(1, accepted(), 2);
    assert_eq!(desk.sent(3), []);
    assert_eq!(desk.state(2), S::Withdrawn);
    // Neither the offer nor its withdrawal: nobody knows of either.
    assert_eq!(desk.lanes.get(&key(12, "desk")).map(|known| known.state), None);
    assert_eq!(desk.told, [(1, S::Sent)]);
}

#[test]
fn a_withdrawal_follows_what_was_sent_or_may_have_been() {
    for (reply, is_out) in [(accepted(), true), (unclear(), true), (refused(), false)] {
        for while_it_flies in [false, true] {
            let mut desk = Desk::new(&["desk"]);
            desk.read(&offer(1, "anna", FIVE_MINUTES), 0);
            assert_eq!(desk.sent(0), [1]);
            if while_it_flies {
                desk.read(&withdrawal(11, 1, "anna"), 1);
                assert_eq!(desk.sent(2), [], "not before the answer");
            }
            desk.reply(1, reply.clone(), 3);
            if !while_it_flies {
                desk.read(&withdrawal(11, 1, "anna"), 4);
            }
            let expected: &[u128] = if is_out { &[11] } else { &[] };
            assert_eq!(desk.sent(10_000), expected, "{reply:?}, while it flies: {while_it_flies}");
            let state = if reply == accepted() { S::Sent } else { S::Withdrawn };
            assert_eq!(desk.state(1), state);
            // Read again, it is not sent again.
            desk.read(&withdrawal(11, 1, "anna"), 10_001);
            assert_eq!(desk.sent(10_002), []);
        }
    }
}

#[test]
fn a_withdrawal_that_comes_before_its_offer_stops_it() {
    let mut desk = Desk::new(&["desk"]);
    desk.read(&withdrawal(11, 1, "anna"), 0);
    desk.read(&offer(1, "v-1", FIVE_MINUTES), 1);
    assert_eq!(desk.sent(2), []);
    assert_eq!(desk.state(1), S::Withdrawn);
}

#[test]
fn a_withdrawal_is_tried_by_the_schedule_and_then_a_dead_letter() {
    let mut desk = Desk::new(&["desk"]);
    desk.read(&offer(1, "anna", FIVE_MINUTES), 0);
    desk.sent(0);
    desk.reply(1, accepted(), 1);
    desk.read(&withdrawal(11, 1, "anna"), 2);
    let mut tries: Vec<i64> = Vec::new();
    let mut now = 2;
    while desk.dead.is_empty() {
        for number in desk.sent(now) {
            tries.push(now);
            desk.reply(number, unclear(), now);
        }
        now = desk.lanes.next_wakeup(at(now)).map_or(now + 1, |next| (next.as_millis() - at(0).as_millis()).max(now + 1));
    }
    assert_eq!(tries.len(), 10);
    let pauses: Vec<i64> = tries.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000).collect();
    for (pause, least) in pauses.iter().zip(schedule::PAUSES) {
        let least = least.as_millis() / 1_000;
        // Longer by a fifth at the most, or by the breaker's last pause.
        assert!((least..=least * 6 / 5 + 120).contains(pause), "{pauses:?}");
    }
    assert_eq!(desk.dead, [(11, S::Failed(Why::Tries))]);
    // Models are told of offers only.
    assert_eq!(desk.told, [(1, S::Sent)]);
}

#[test]
fn one_customer_waits_for_their_first_offer_and_others_do_not() {
    let mut desk = Desk::new(&["desk"]);
    for (number, customer) in [(1, "anna"), (2, "anna"), (3, "bert")] {
        desk.read(&offer(number, customer, FIVE_MINUTES), 0);
    }
    assert_eq!(desk.sent(0), [1, 3]);
    desk.reply(1, refused(), 1);
    assert_eq!(desk.sent(2), [], "the second does not overtake the first");
    assert_eq!(desk.sent(2_000), [1]);
    desk.reply(1, accepted(), 2_001);
    assert_eq!(desk.sent(2_002), [2]);
}

#[test]
fn gone_switches_the_destination_off_and_no_other() {
    let mut desk = Desk::new(&["desk", "mail"]);
    for number in 1..=9 {
        desk.read(&offer(number, &format!("c-{number}"), FIVE_MINUTES), 0);
    }
    assert_eq!(desk.sent(0).len(), 8, "four to each");
    desk.reply(1, Reply::Gone, 1);
    let others: Vec<u128> = desk.sent(2);
    assert_eq!(others, [], "mail has four on their way");
    // Of nine, three are on their way to the desk; what comes later fails at once.
    assert_eq!(desk.dead.len(), 6);
    desk.read(&offer(10, "c-10", FIVE_MINUTES), 3);
    assert_eq!(desk.sent(3), []);
    assert_eq!(desk.state(10), S::Failed(Why::Gone));
    desk.reply(2, accepted(), 4);
    assert_eq!(desk.state(2), S::Sent, "what was on its way has arrived");
    desk.lanes.replied(&key(1, "mail"), accepted(), BTreeMap::new(), at(5));
    assert_eq!(desk.sent(6), [5], "to mail");
}

#[test]
fn a_receiver_that_asks_for_time_gets_it() {
    let mut desk = Desk::new(&["desk"]);
    for number in 1..=3 {
        desk.read(&offer(number, &format!("c-{number}"), FIVE_MINUTES), 0);
    }
    assert_eq!(desk.sent(0), [1, 2, 3]);
    desk.reply(1, Reply::Slow { after: Some(Span::from_secs(30)), reason: "429".to_owned() }, 1);
    desk.reply(2, accepted(), 2);
    desk.read(&offer(4, "c-4", FIVE_MINUTES), 3);
    assert_eq!(desk.sent(29_000), []);
    assert_eq!(desk.lanes.next_wakeup(at(29_000)), Some(at(30_001)));
    assert_eq!(desk.sent(30_001), [4, 1], "in the order in which they could have been sent");
}

#[test]
fn a_dead_receiver_is_asked_now_and_then_and_comes_back() {
    let mut desk = Desk::new(&["desk"]);
    for number in 1..=100 {
        desk.read(&offer(number, &format!("c-{number}"), FIVE_MINUTES), 0);
    }
    let mut tries = 0;
    for now in (0..60_000).step_by(50) {
        for number in desk.sent(now) {
            tries += 1;
            desk.reply(number, refused(), now);
        }
    }
    assert!((10..20).contains(&tries), "{tries} tries in a minute");
    let mut answered = 0;
    for now in (60_000..180_000).step_by(50) {
        for number in desk.sent(now) {
            answered += 1;
            desk.reply(number, accepted(), now);
        }
    }
    assert_eq!(answered, 100);
}

#[test]
fn the_rate_is_kept() {
    let mut desk = Desk::with(&["desk"], Limits { rate: 10, burst: 5, at_once: 100, ..limits() });
    for number in 1..=100 {
        desk.read(&offer(number, &format!("c-{number}"), FIVE_MINUTES), 0);
    }
    let mut sent = Vec::new();
    for now in 0..4_000 {
        for number in desk.sent(now) {
            sent.push(now);
            desk.reply(number, accepted(), now);
        }
    }
    assert_eq!(sent.iter().filter(|now| **now == 0).count(), 5);
    assert!((44..=45).contains(&sent.len()), "{}", sent.len());
}

#[test]
fn what_does_not_fit_is_a_dead_letter_and_stops_nobody() {
    let mut desk = Desk::with(&["desk"], Limits { waiting: 2, at_once: 1, ..limits() });
    for number in 1..=4 {
        desk.read(&offer(number, &format!("c-{number}"), FIVE_MINUTES), 0);
    }
    assert_eq!(desk.sent(0), [1]);
    assert_eq!(desk.dead, [(3, S::Failed(Why::Full)), (4, S::Failed(Why::Full))]);
}

#[test]
fn the_held_out_are_left_alone() {
    let held = String::from_utf8_lossy(
        br#"{"outcome_id":"00000000-0000-0000-0000-000000000001","kind":"intervention","model":"shop","customer_id":"anna",
            "anonymous_id":null,"answers":null,
            "intervention":{"name":"rescue","channel":"chat","arm":"held-out","expires_at":"2027-01-15T08:00:00.000Z"}}"#,
    );
    assert!(Notice::read(held.as_bytes()).expect("an outcome").is_none());
    assert!(Notice::read(held.replace("intervention\"", "would-have\"").as_bytes()).expect("an outcome").is_none());
    assert!(Notice::read(b"{}").is_err() && Notice::read(b"\xff").is_err());
}

/// What a receiver that does not see the future would note, over a storm of offers, withdrawals, failures and kills.
#[derive(Default)]
struct Receiver {
    got: BTreeMap<u128, i64>,
    withdrawn: BTreeSet<u128>,
}

/// Xorshift: the same storm for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Kept deliveries survive a kill; nothing else does. Offers are `1..`, the withdrawal of `n` is `1_000_000 + n`.
#[test]
fn in_a_storm_nothing_is_lost_and_nothing_comes_too_late() {
    for seed in 1..=60 {
        storm(seed);
    }
}

fn storm(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let customers = ["a", "b", "c", "d", "e"];
    let fresh = || Lanes::new([(Arc::from("desk"), Limits { rate: 50, burst: 5, ..limits() })]);
    let (mut lanes, mut kept) = (fresh(), BTreeMap::<Key, String>::new());
    let mut receiver = Receiver::default();
    // The log: what was read, by whom it is and when; what is read again after a kill goes back by a few records.
    let mut log: Vec<(Notice, i64)> = Vec::new();
    let (mut position, mut committed) = (0, 0);
    let mut expires: BTreeMap<u128, i64> = BTreeMap::new();
    let mut read_withdrawals: BTreeMap<u128, i64> = BTreeMap::new();
    let mut flying: Vec<(Key, Option<Timestamp>)> = Vec::new();
    let mut ended: BTreeMap<u128, (S, bool)> = BTreeMap::new();
    let mut offers = 0;
    let mut now = 0;
    // Calm after a while, and then as long as what does not expire may be tried again.
    while now < 4 * 86_400_000 {
        let is_calm = now > 200_000;
        if !is_calm && dice.roll(10) == 0 {
            offers += 1;
            let until = now + 1_000 + dice.roll(60_000) as i64;
            expires.insert(offers, until);
            log.push((offer(offers, customers[dice.roll(5) as usize], until), now));
        }
        if offers > 0 && !is_calm && dice.roll(25) == 0 {
            let of = 1 + u128::from(dice.roll(offers as u64));
            let Notice::Offer(offer) = &log.iter().find(|(notice, _)| id(notice) == of).expect("logged").0 else { return };
            let notice = withdrawal(1_000_000 + of, of, &offer.whose.id.clone());
            log.push((notice, now));
        }
        if !is_calm && dice.roll(200) == 0 {
            lanes = fresh();
            let restored = kept.iter().map(|(key, text)| (key.clone(), serde_json::from_str(text).expect("as kept")));
            lanes.assigned(restored.collect::<Vec<_>>(), at(now));
            // What was on its way may have arrived all the same.
            for (key, until) in flying.drain(..) {
                let number = key.outcome.as_u128();
                if until.is_some_and(|until| at(now) >= until) || dice.roll(2) == 0 {
                    continue;
                }
                if number > 1_000_000 {
                    receiver.withdrawn.insert(number - 1_000_000);
                } else {
                    receiver.got.insert(number, now);
                }
            }
            position = committed;
        }
        while position < log.len() {
            let notice = &log[position].0;
            if let Notice::Withdrawal(withdrawal) = notice {
                read_withdrawals.entry(withdrawal.answers.as_u128()).or_insert(now);
            }
            lanes.read(notice, 0, position as u64, at(now));
            position += 1;
        }
        while !flying.is_empty() && dice.roll(3) > 0 {
            let (key, until) = flying.swap_remove(dice.roll(flying.len() as u64) as usize);
            let number = key.outcome.as_u128();
            let is_in_time = until.is_none_or(|until| at(now) < until);
            let reply = match dice.roll(if is_calm { 2 } else { 6 }) {
                _ if !is_in_time => unclear(),
                0..=2 => accepted(),
                3 => unclear(),
                4 => refused(),
                _ => Reply::Slow { after: None, reason: "503".to_owned() },
            };
            let arrives = reply == accepted() || (reply == unclear() && is_in_time && dice.roll(2) == 0);
            if arrives && number > 1_000_000 {
                receiver.withdrawn.insert(number - 1_000_000);
            } else if arrives {
                receiver.got.insert(number, now);
            }
            lanes.replied(&key, reply, BTreeMap::new(), at(now));
        }
        lanes.wake(at(now));
        for action in lanes.take_actions() {
            match action {
                Action::Keep(key) => {
                    let text = serde_json::to_string(lanes.get(&key).expect("known")).expect("written");
                    drop(kept.insert(key, text));
                }
                Action::Forget(key, _) => drop(kept.remove(&key)),
                Action::Ended(key) => {
                    let delivery = lanes.get(&key).expect("known");
                    ended.insert(key.outcome.as_u128(), (delivery.state, delivery.told_as().is_some()));
                }
                Action::Send { key, until } => {
                    let number = key.outcome.as_u128();
                    if let Some(until) = expires.get(&number) {
                        assert!(now < *until, "seed {seed}: {number} is sent after it expired");
                        let withdrawn = read_withdrawals.get(&number).is_some_and(|read| *read < now);
                        assert!(!withdrawn, "seed {seed}: {number} is sent after it was withdrawn");
                    }
                    flying.push((key, until));
                }
                Action::SwitchedOff { .. } => {}
            }
        }
        committed = position;
        now = match lanes.next_wakeup(at(now)) {
            Some(next) if is_calm && flying.is_empty() => (next.as_millis() - at(0).as_millis()).max(now + 20),
            None if is_calm && flying.is_empty() => break,
            Some(_) | None => now + 20,
        };
    }
    for number in 1..=offers {
        let (state, told) = ended.get(&number).copied().unwrap_or_else(|| panic!("seed {seed}: {number} is left"));
        assert_eq!(told, state != S::Withdrawn, "seed {seed}: {number} is {state:?}");
        let out = receiver.got.contains_key(&number);
        assert!(out || state != S::Sent, "seed {seed}: {number} did not arrive");
        if out && read_withdrawals.contains_key(&number) {
            assert!(receiver.withdrawn.contains(&number), "seed {seed}: nobody withdraws {number} at the receiver");
        }
    }
}

fn id(notice: &Notice) -> u128 {
    match notice {
        Notice::Offer(offer) => offer.id.as_u128(),
        Notice::Withdrawal(withdrawal) => withdrawal.id.as_u128(),
    }
}
