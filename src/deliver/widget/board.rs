//! The board: what stands for each subject now, and who is looking. Readers that do not keep up are let go.
//!
//! Holds what was read since some time before the start, so that every process with a widget shows the same.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use uuid::Uuid;

use crate::deliver::notice::{Notice, Offer, Withdrawal};
use crate::time::{Span, Timestamp};
use crate::touchpoint::Identity;

/// Items that a reader may be behind.
const BEHIND: usize = 64;
/// Streams of one subject: so many tabs.
const STREAMS: usize = 8;
/// Offers that are known at once; further ones are not shown.
const OFFERS: usize = 200_000;
/// An offer that has expired can still be answered for so long.
const ANSWERED: Span = Span::from_secs(600);

/// What a reader is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// `offer`, `withdrawal`, or `reset` where something may have been missed.
    pub(super) kind: &'static str,
    /// What is sent back as `Last-Event-ID`.
    pub(super) id: Option<Uuid>,
    /// JSON.
    pub(super) data: String,
}

/// What stands, and who is looking.
#[derive(Clone, Default)]
pub struct Board(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    subjects: HashMap<Identity, Subject>,
    /// Whose an offer is: its withdrawal may come under another id.
    owners: HashMap<Uuid, Identity>,
    /// When an offer can be forgotten.
    over: BTreeSet<(Timestamp, Uuid)>,
    /// Withdrawals that came before their offers, until then.
    early: HashMap<Uuid, Timestamp>,
    streams: usize,
}

#[derive(Default)]
struct Subject {
    /// In the order in which they came.
    events: Vec<Event>,
    streams: Vec<Sender<Item>>,
}

struct Event {
    /// The outcome.
    id: Uuid,
    offer: Uuid,
    item: Item,
    expires_at: Timestamp,
    stands: bool,
    channel: String,
    intervention: String,
}

/// About what an answer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) channel: String,
    pub(super) intervention: String,
}

impl Board {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A record was read.
    pub fn read(&self, notice: &Notice, now: Timestamp) {
        match notice {
            Notice::Offer(offer) => self.inner().offered(offer, now),
            Notice::Withdrawal(withdrawal) => self.inner().withdrawn(withdrawal, now),
        }
    }

    /// Lets go of what is over.
    pub fn tidy(&self, now: Timestamp) {
        self.inner().tidy(now);
    }

    /// Begins to look: what stands, from behind `after` where that is known, and what comes. `None` where too many look.
    pub(super) fn look(
        &self,
        subject: &Identity,
        after: Option<&str>,
        now: Timestamp,
    ) -> Option<(Vec<Item>, Receiver<Item>)> {
        let mut inner = self.inner();
        let known = inner.subjects.entry(subject.clone()).or_default();
        known.streams.retain(|stream| !stream.is_closed());
        if known.streams.len() >= STREAMS {
            return None;
        }
        let (sender, receiver) = channel(BEHIND);
        known.streams.push(sender);
        Some((known.missed(after, now), receiver))
    }

    /// An offer of this subject, which a customer may have seen.
    pub(super) fn known(&self, subject: &Identity, offer: Uuid, now: Timestamp) -> Option<Known> {
        let inner = self.inner();
        let events = &inner.subjects.get(subject)?.events;
        let event = events.iter().find(|event| event.id == offer && now < event.expires_at + ANSWERED)?;
        // A withdrawal is no offer.
        (event.offer == event.id).then(|| Known { channel: event.channel.clone(), intervention: event.intervention.clone() })
    }

    /// The customer has decided: the offer is shown nowhere any more.
    pub(super) fn decided(&self, subject: &Identity, offer: Uuid, how: &str) {
        let mut inner = self.inner();
        let Some(known) = inner.subjects.get_mut(subject) else { return };
        if known.end(offer) {
            known.tell(&ended(None, offer, how));
        }
    }
}

impl Inner {
    fn offered(&mut self, offer: &Offer, now: Timestamp) {
        let is_over = offer.expires_at <= now || self.owners.contains_key(&offer.id) || self.owners.len() >= OFFERS;
        if is_over || self.early.remove(&offer.id).is_some() {
            return;
        }
        self.owners.insert(offer.id, offer.whose.clone());
        self.over.insert((offer.expires_at + ANSWERED, offer.id));
        let item = Item { kind: "offer", id: Some(offer.id), data: shown(offer) };
        let subject = self.subjects.entry(offer.whose.clone()).or_default();
        subject.tell(&item);
        subject.events.push(Event {
            id: offer.id,
            offer: offer.id,
            item,
            expires_at: offer.expires_at,
            stands: true,
            channel: offer.channel.to_string(),
            intervention: offer.intervention.to_string(),
        });
    }

    fn withdrawn(&mut self, withdrawal: &Withdrawal, now: Timestamp) {
        let Some(owner) = self.owners.get(&withdrawal.answers) else {
            if self.early.len() >= OFFERS {
                self.early.retain(|_, until| *until > now);
            }
            if self.early.len() < OFFERS {
                self.early.insert(withdrawal.answers, now + ANSWERED);
            }
            return;
        };
        let Some(subject) = self.subjects.get_mut(owner) else { return };
        let Some(expires_at) = subject.expiry(withdrawal.answers) else { return };
        if subject.events.iter().any(|event| event.id == withdrawal.id) {
            return;
        }
        subject.end(withdrawal.answers);
        let record: Value = serde_json::from_str(withdrawal.record.get()).unwrap_or_default();
        let reason = record["intervention"]["reason"].as_str().unwrap_or("withdrawn");
        let item = ended(Some(withdrawal.id), withdrawal.answers, reason);
        subject.tell(&item);
        subject.events.push(Event {
            id: withdrawal.id,
            offer: withdrawal.answers,
            item,
            expires_at,
            stands: true,
            channel: String::new(),
            intervention: String::new(),
        });
    }

    fn tidy(&mut self, now: Timestamp) {
        while let Some((at, offer)) = self.over.first().copied().filter(|(at, _)| *at <= now) {
            self.over.remove(&(at, offer));
            let Some(owner) = self.owners.remove(&offer) else { continue };
            let Some(subject) = self.subjects.get_mut(&owner) else { continue };
            subject.events.retain(|event| event.offer != offer);
        }
        self.early.retain(|_, until| *until > now);
        self.subjects.retain(|_, subject| {
            subject.streams.retain(|stream| !stream.is_closed());
            !subject.events.is_empty() || !subject.streams.is_empty()
        });
        self.streams = self.subjects.values().map(|subject| subject.streams.len()).sum();
    }
}

impl Subject {
    /// What somebody has missed who saw this last: what still matters of it, in order.
    fn missed(&self, after: Option<&str>, now: Timestamp) -> Vec<Item> {
        let matters = |event: &&Event| event.stands && now < event.expires_at;
        let offers = |event: &&Event| matters(event) && event.id == event.offer;
        let Some(after) = after.filter(|after| !after.is_empty()) else {
            return self.events.iter().filter(offers).map(|event| event.item.clone()).collect();
        };
        let seen = after.parse::<Uuid>().ok().and_then(|id| self.events.iter().position(|event| event.id == id));
        match seen {
            Some(seen) => self.events[seen + 1..].iter().filter(matters).map(|event| event.item.clone()).collect(),
            // What it saw is not known here: let it forget, and begin anew.
            None => {
                let reset = Item { kind: "reset", id: None, data: "{}".to_owned() };
                let offers = self.events.iter().filter(offers).map(|event| event.item.clone());
                std::iter::once(reset).chain(offers).collect()
            }
        }
    }

    fn expiry(&self, offer: Uuid) -> Option<Timestamp> {
        self.events.iter().find(|event| event.id == offer).map(|event| event.expires_at)
    }

    /// Whether it stood until now.
    fn end(&mut self, offer: Uuid) -> bool {
        let found = self.events.iter_mut().find(|event| event.id == offer);
        found.is_some_and(|event| std::mem::replace(&mut event.stands, false))
    }

    /// Whoever has no room left is let go, and comes back for what it missed.
    fn tell(&mut self, item: &Item) {
        self.streams.retain(|stream| stream.try_send(item.clone()).is_ok());
    }
}

/// What a page may know of an offer: nothing of what the customer is worth, or of the comparison.
fn shown(offer: &Offer) -> String {
    let record: Value = serde_json::from_str(offer.record.get()).unwrap_or_default();
    let of = &record["intervention"];
    json!({
        "outcome_id": offer.id, "intervention": offer.intervention.as_str(), "channel": offer.channel.as_str(),
        "variant": of["variant"], "expires_at": of["expires_at"], "payload": of["payload"],
    })
    .to_string()
}

fn ended(id: Option<Uuid>, offer: Uuid, reason: &str) -> Item {
    Item { kind: "withdrawal", id, data: json!({"outcome_id": offer, "reason": reason}).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + millis)
    }

    fn offer(number: u128, whose: &str, expires: i64) -> Notice {
        let (kind, id) = whose.split_once(':').expect("kind and id");
        let record = json!({"outcome_id": Uuid::from_u128(number), "kind": "intervention", "model": "shop",
            (format!("{kind}_id")): id, "value": {"amount": 89.9},
            "intervention": {"name": "rescue", "channel": "chat", "arm": "treated", "variant": "plain",
                "expires_at": at(expires).to_string(), "payload": {"text": "help"}}});
        Notice::read(record.to_string().as_bytes()).expect("an outcome").expect("an offer")
    }

    fn withdrawal(number: u128, of: u128) -> Notice {
        let record = json!({"outcome_id": Uuid::from_u128(number), "kind": "withdrawal", "model": "shop",
            "customer_id": "c-17", "answers": {"outcome_id": Uuid::from_u128(of)},
            "intervention": {"name": "rescue", "channel": "chat", "arm": "treated",
                "expires_at": at(0).to_string(), "reason": "completed"}});
        Notice::read(record.to_string().as_bytes()).expect("an outcome").expect("a withdrawal")
    }

    fn ids(items: &[Item]) -> Vec<(&'static str, u128)> {
        items.iter().map(|item| (item.kind, item.id.map_or(0, |id| id.as_u128()))).collect()
    }

    fn id(number: u128) -> String {
        Uuid::from_u128(number).to_string()
    }

    #[test]
    fn each_subject_sees_its_own_and_nothing_that_is_over() {
        let board = Board::default();
        board.read(&offer(1, "customer:c-17", 60_000), at(0));
        board.read(&offer(2, "anonymous:c-17", 60_000), at(0));
        board.read(&offer(3, "customer:c-17", 1_000), at(0));
        board.read(&offer(4, "customer:c-17", -1), at(0));
        let (standing, mut coming) = board.look(&Identity::customer("c-17"), None, at(2_000)).expect("room");
        assert_eq!(ids(&standing), [("offer", 1)]);
        assert!(!standing[0].data.contains("89.9") && standing[0].data.contains("help"), "{}", standing[0].data);
        let (standing, mut other) = board.look(&Identity::anonymous("c-17"), None, at(2_000)).expect("room");
        assert_eq!(ids(&standing), [("offer", 2)]);
        board.read(&offer(5, "customer:c-17", 60_000), at(3_000));
        // Of the anonymous one, under the customer's id.
        board.read(&withdrawal(12, 2), at(3_000));
        assert_eq!(coming.try_recv().map(|item| item.id), Ok(Some(Uuid::from_u128(5))));
        assert!(coming.try_recv().is_err());
        assert_eq!(other.try_recv().map(|item| (item.kind, item.id)), Ok(("withdrawal", Some(Uuid::from_u128(12)))));
    }

    #[test]
    fn who_comes_back_gets_what_was_missed_or_is_told_to_begin_anew() {
        let board = Board::default();
        let subject = Identity::customer("c-17");
        board.read(&withdrawal(19, 9), at(0));
        for (number, expires) in [(1, 60_000), (2, 60_000), (3, 1_000), (9, 60_000)] {
            board.read(&offer(number, "customer:c-17", expires), at(0));
        }
        board.read(&withdrawal(11, 1), at(0));
        let look = |after: Option<&str>| ids(&board.look(&subject, after, at(2_000)).expect("room").0);
        assert_eq!(look(None), [("offer", 2)]);
        assert_eq!(look(Some(&id(1))), [("offer", 2), ("withdrawal", 11)]);
        assert_eq!(look(Some(&id(2))), [("withdrawal", 11)]);
        assert_eq!(look(Some(&id(11))), []);
        assert_eq!(look(Some(&id(77))), [("reset", 0), ("offer", 2)]);
        assert_eq!(look(Some("what?")), [("reset", 0), ("offer", 2)]);
    }

    #[test]
    fn an_answer_is_about_an_offer_of_that_subject() {
        let board = Board::default();
        let (ours, theirs) = (Identity::customer("c-17"), Identity::customer("c-18"));
        let unknown = Identity::anonymous("c-17");
        board.read(&offer(1, "customer:c-17", 60_000), at(0));
        board.read(&withdrawal(11, 1), at(0));
        let known = |subject, number, now| board.known(subject, Uuid::from_u128(number), at(now)).is_some();
        assert!(known(&ours, 1, 1_000), "one that is withdrawn may have been seen before");
        assert!(!known(&theirs, 1, 1_000) && !known(&unknown, 1, 1_000));
        assert!(!known(&ours, 11, 1_000) && !known(&ours, 2, 1_000));
        assert!(!known(&ours, 1, 60_000 + 600_000));
        board.tidy(at(60_000 + 600_000));
        assert!(board.inner().subjects.is_empty() && board.inner().owners.is_empty());
    }

    #[test]
    fn one_that_does_not_read_is_let_go_and_disturbs_nobody() {
        let board = Board::default();
        let subject = Identity::customer("c-17");
        let (_, mut reads) = board.look(&subject, None, at(0)).expect("room");
        let (_, stalled) = board.look(&subject, None, at(0)).expect("room");
        for number in 1..=200 {
            board.read(&offer(number, "customer:c-17", 60_000), at(0));
            assert_eq!(reads.try_recv().map(|item| item.id), Ok(Some(Uuid::from_u128(number))));
        }
        assert_eq!(stalled.len(), BEHIND);
        assert_eq!(board.inner().subjects[&subject].streams.len(), 1);
        let streams: Vec<_> = (0..STREAMS + 2).map_while(|_| board.look(&subject, None, at(0))).collect();
        assert_eq!(streams.len(), STREAMS - 1);
    }
}
