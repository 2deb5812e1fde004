//! What is kept of how a customer may be and was contacted: consents, what was offered and what stands, arms.
//!
//! It lies above the journeys and beside the window: telling a story anew un-contacts nobody. Everything is known by its name,
//! so that it survives a change of the models.

use compact_str::CompactString;
use uuid::Uuid;

use super::arm::{Arm, flag, open_arm, open_word, pack_arm, pack_word};
use super::deferred::{Deferred, MAX_DEFERRED};
use super::exposures::Exposure;
use super::graves::Graves;
use super::packed::bytes::{Bytes, Damaged, push_number, push_signed};
use super::packed::words::Words;
use super::recent::{push_word, read_word};
use super::sums::Sums;
use crate::time::{Span, Timestamp};

/// What is kept of contacts with one customer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contacts {
    /// By consent: the latest statement.
    pub(super) consents: Vec<Statement>,
    /// The time zone that the customer was in last.
    pub(super) zone: Option<CompactString>,
    /// By salt: the arm that was drawn.
    pub(super) arms: Vec<Drawn>,
    /// What was offered, oldest first, as long as a cap or a cool-down looks back to it.
    pub(super) made: Vec<Made>,
    /// What is out and stands.
    pub(super) pending: Vec<Pending>,
    /// By intervention: when what takes it back came last, as long as what asks for it could be older.
    pub(super) ended: Vec<(CompactString, Timestamp)>,
    /// By intervention and version: the first decision, and what becomes of its goal.
    pub(super) exposures: Vec<Exposure>,
    /// What waits until it is not quiet any more.
    pub(super) waiting: Vec<Deferred>,
    /// Of a shard's own row only: what was measured in it.
    pub(super) sums: Sums,
    /// Of a shard's own row only: who was erased lately. They have a section of their own.
    pub(super) graves: Graves,
}

/// What the customer said last of a consent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Statement {
    pub(super) consent: CompactString,
    pub(super) given: bool,
    /// When it happened.
    pub(super) at: Timestamp,
}

/// An arm that was drawn. It stays, whatever shares become.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Drawn {
    /// The intervention's id; empty: the hold-out over all.
    pub(super) of: CompactString,
    pub(super) arm: Arm,
    pub(super) variant: Option<CompactString>,
}

/// Something that was offered, or would have been.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Made {
    pub(super) of: CompactString,
    pub(super) channel: CompactString,
    /// When it was decided.
    pub(super) at: Timestamp,
}

/// An offer that is out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pending {
    pub(super) of: CompactString,
    pub(super) channel: CompactString,
    /// Its outcome id.
    pub(super) id: Uuid,
    /// When it was decided.
    pub(super) at: Timestamp,
    /// The outcome that asked for it; nil where that was taken back when an anonymous id was handed over.
    pub(super) asked_by: Uuid,
    pub(super) asked_at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) arm: Arm,
    pub(super) variant: Option<CompactString>,
}

impl Contacts {
    /// Whether nothing is kept, but for the graves.
    pub(super) fn is_empty(&self) -> bool {
        let Contacts { consents, zone, arms, made, pending, ended, exposures, waiting, sums, graves: _ } = self;
        let silent = consents.is_empty() && zone.is_none() && arms.is_empty();
        let left_alone = made.is_empty() && pending.is_empty() && ended.is_empty();
        silent && left_alone && exposures.is_empty() && waiting.is_empty() && sums.is_empty()
    }

    pub(super) fn clear(&mut self) {
        let Contacts { consents, zone, arms, made, pending, ended, exposures, waiting, sums, graves } = self;
        consents.clear();
        *zone = None;
        arms.clear();
        made.clear();
        pending.clear();
        ended.clear();
        exposures.clear();
        waiting.clear();
        sums.clear();
        graves.clear();
    }

    /// By consent: whether it was given last, and when that was said.
    pub fn consents(&self) -> impl Iterator<Item = (&str, bool, Timestamp)> {
        self.consents.iter().map(|said| (said.consent.as_str(), said.given, said.at))
    }

    /// What was measured in a shard, whose own row this is.
    pub fn sums(&self) -> &Sums {
        &self.sums
    }

    /// Who was erased lately in a shard, whose own row this is.
    pub fn graves(&self) -> &Graves {
        &self.graves
    }

    /// What is kept of what was offered, oldest first: the intervention, the channel and when that was decided.
    pub fn offered(&self) -> impl Iterator<Item = (&str, &str, Timestamp)> {
        self.made.iter().map(|made| (made.of.as_str(), made.channel.as_str(), made.at))
    }

    /// What waits until it is not quiet any more: the intervention, and when it is judged again.
    pub fn waiting(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.waiting.iter().map(|waiting| (waiting.of.as_str(), waiting.due))
    }

    /// When something that waits is judged again; [`Timestamp::MAX`]: never.
    pub(super) fn next_waiting(&self) -> Timestamp {
        self.waiting.iter().map(|waiting| waiting.due).min().unwrap_or(Timestamp::MAX)
    }

    /// Takes in what is kept of contacts with an anonymous id that joins the customer: nobody gets a fresh allowance. An arm
    /// that only one of the two has drawn stays; where both have, the customer's stays.
    pub(super) fn unite(&mut self, mut other: Contacts) {
        self.unite_exposures(&mut other);
        let Contacts { consents, zone, arms, made, pending, ended, exposures: _, waiting, sums: _, graves: _ } = other;
        for Statement { consent, given, at } in consents {
            self.state(&consent, given, at);
        }
        self.zone = self.zone.take().or(zone);
        for drawn in arms {
            if !self.arms.iter().any(|mine| mine.of == drawn.of) {
                self.arms.push(drawn);
            }
        }
        self.made.extend(made);
        self.made.sort_by_key(|made| made.at);
        self.pending.extend(pending);
        for theirs in waiting {
            match self.waiting.iter_mut().find(|mine| mine.of == theirs.of) {
                Some(mine) if mine.asker.at >= theirs.asker.at => {}
                Some(mine) => *mine = theirs,
                None => self.waiting.push(theirs),
            }
        }
        self.waiting.truncate(MAX_DEFERRED);
        for (of, at) in ended {
            self.end(&of, at);
        }
    }

    /// What the customer said last of a consent.
    pub(super) fn consent(&self, name: &str) -> Option<bool> {
        self.consents.iter().find(|statement| statement.consent == name).map(|statement| statement.given)
    }

    /// Takes a statement: the latest by its own time counts, and of two of one instant the no.
    pub(super) fn state(&mut self, consent: &CompactString, given: bool, at: Timestamp) {
        match self.consents.iter_mut().find(|statement| statement.consent == *consent) {
            Some(known) if at > known.at || (at == known.at && !given) => (known.given, known.at) = (given, at),
            Some(_) => {}
            None => self.consents.push(Statement { consent: consent.clone(), given, at }),
        }
    }

    /// How many of an intervention, or of all, lie less than a time before now.
    pub(super) fn count(&self, of: Option<&str>, within: Span, now: Timestamp) -> usize {
        let counts = |made: &&Made| of.is_none_or(|of| made.of == of) && now.since(made.at) < within;
        self.made.iter().filter(counts).count()
    }

    /// Whether anything was offered on a channel less than a time before now.
    pub(super) fn is_fresh(&self, channel: &str, within: Span, now: Timestamp) -> bool {
        self.made.iter().any(|made| made.channel == channel && now.since(made.at) < within)
    }

    /// What takes an intervention back has come.
    pub(super) fn end(&mut self, of: &CompactString, at: Timestamp) {
        match self.ended.iter_mut().find(|(known, _)| known == of) {
            Some((_, last)) => *last = (*last).max(at),
            None => self.ended.push((of.clone(), at)),
        }
    }

    /// When what takes an intervention back came last.
    pub(super) fn ended(&self, of: &str) -> Option<Timestamp> {
        self.ended.iter().find(|(known, _)| known == of).map(|(_, at)| *at)
    }

    /// Appends all of it; nothing where nothing is kept.
    pub(super) fn pack(&self, words: &mut Words, out: &mut Vec<u8>) {
        if self.is_empty() {
            return;
        }
        let Contacts { consents, zone, arms, made, pending, ended, exposures: _, waiting: _, sums: _, graves: _ } = self;
        let time = |at: Timestamp, out: &mut Vec<u8>| push_signed(out, at.as_millis());
        push_number(out, consents.len() as u64);
        for Statement { consent, given, at } in consents {
            push_word(out, words, consent);
            out.push(u8::from(*given));
            time(*at, out);
        }
        pack_word(zone.as_ref(), words, out);
        push_number(out, arms.len() as u64);
        for Drawn { of, arm, variant } in arms {
            pack_word(Some(of).filter(|of| !of.is_empty()), words, out);
            pack_arm(*arm, variant.as_ref(), words, out);
        }
        push_number(out, made.len() as u64);
        for Made { of, channel, at } in made {
            push_word(out, words, of);
            push_word(out, words, channel);
            time(*at, out);
        }
        push_number(out, pending.len() as u64);
        for Pending { of, channel, id, at, asked_by, asked_at, expires_at, arm, variant } in pending {
            push_word(out, words, of);
            push_word(out, words, channel);
            out.extend_from_slice(id.as_bytes());
            out.extend_from_slice(asked_by.as_bytes());
            [at, asked_at, expires_at].into_iter().for_each(|at| time(*at, out));
            pack_arm(*arm, variant.as_ref(), words, out);
        }
        push_number(out, ended.len() as u64);
        for (of, at) in ended {
            push_word(out, words, of);
            time(*at, out);
        }
        self.pack_measured(words, out);
    }

    /// Reads what [`Contacts::pack`] wrote.
    pub(super) fn open(&mut self, mut bytes: Bytes<'_>, words: &Words) -> Result<(), Damaged> {
        self.clear();
        let bytes = &mut bytes;
        let time = |bytes: &mut Bytes<'_>| bytes.signed().map(Timestamp::from_millis);
        for _ in 0..bytes.count()? {
            let consent = read_word(bytes, words)?;
            let given = flag(bytes)?;
            self.consents.push(Statement { consent, given, at: time(bytes)? });
        }
        self.zone = open_word(bytes, words)?;
        for _ in 0..bytes.count()? {
            let of = open_word(bytes, words)?.unwrap_or_default();
            let (arm, variant) = open_arm(bytes, words)?;
            self.arms.push(Drawn { of, arm, variant });
        }
        for _ in 0..bytes.count()? {
            let (of, channel) = (read_word(bytes, words)?, read_word(bytes, words)?);
            self.made.push(Made { of, channel, at: time(bytes)? });
        }
        for _ in 0..bytes.count()? {
            let (of, channel) = (read_word(bytes, words)?, read_word(bytes, words)?);
            let (id, asked_by) = (Uuid::from_bytes(bytes.array()?), Uuid::from_bytes(bytes.array()?));
            let (at, asked_at, expires_at) = (time(bytes)?, time(bytes)?, time(bytes)?);
            let (arm, variant) = open_arm(bytes, words)?;
            self.pending.push(Pending { of, channel, id, at, asked_by, asked_at, expires_at, arm, variant });
        }
        for _ in 0..bytes.count()? {
            let of = read_word(bytes, words)?;
            self.ended.push((of, time(bytes)?));
        }
        self.open_measured(bytes, words)?;
        if bytes.is_empty() { Ok(()) } else { Err(Damaged) }
    }

    /// Appends exposures, sums, and what waits; nothing of what is not there and has nothing behind it.
    fn pack_measured(&self, words: &mut Words, out: &mut Vec<u8>) {
        let waits = !self.waiting.is_empty();
        let is_summed = waits || !self.sums.is_empty();
        if self.exposures.is_empty() && !is_summed {
            return;
        }
        push_number(out, self.exposures.len() as u64);
        self.exposures.iter().for_each(|exposure| exposure.pack(words, out));
        if is_summed {
            self.sums.pack(words, out);
        }
        if waits {
            push_number(out, self.waiting.len() as u64);
            self.waiting.iter().for_each(|waiting| waiting.pack(words, out));
        }
    }

    /// Reads what [`Contacts::pack_measured`] wrote.
    fn open_measured(&mut self, bytes: &mut Bytes<'_>, words: &Words) -> Result<(), Damaged> {
        if bytes.is_empty() {
            return Ok(());
        }
        for _ in 0..bytes.count()? {
            self.exposures.push(Exposure::open(bytes, words)?);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.sums.open(bytes, words)?;
        if bytes.is_empty() {
            return Ok(());
        }
        for _ in 0..bytes.count()? {
            self.waiting.push(Deferred::open(bytes, words)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::deferred::AskingOutcome;
    use super::super::exposures::{self, Goal};
    use super::super::{About, ArmOf, Id, Subject};
    use super::*;
    use crate::touchpoint::{Currency, Money};

    fn exposure(intervention: CompactString, pending: bool) -> Exposure {
        let at = Timestamp::from_millis;
        let value = Money { micros: -7, currency: Currency::parse("EUR").expect("a currency") };
        let goal = |value| Goal { id: Uuid::from_u128(4), at: at(14), value };
        let goals = vec![goal(Some(value)), goal(None)];
        let pending =
            pending.then(|| exposures::Pending { id: Uuid::from_u128(3), due: at(20), before: 2, crossed: true, goals });
        let of = ArmOf { intervention, version: 3, arm: Arm::HeldOut, variant: None };
        Exposure { of, at: at(12), until: at(18), pending }
    }

    /// With all that can be known of the outcome that asks, or with nothing.
    fn waiting(all: bool) -> Deferred {
        let at = Timestamp::from_millis;
        let known = |word: &str| all.then(|| CompactString::from(word));
        let about = |subject| About {
            subject,
            opened_by: Id::of("t1"),
            opened_at: at(1),
            last_progress: Id::of("6a1d5c0e-77b4-4d0a-9c65-5111a9e05e11"),
            last_progress_at: at(2),
            progress_count: 3,
            abandonments: 4,
        };
        let ids = vec![("cart_id".into(), "B1".into()), ("order_id".into(), "O1".into())];
        let asker = AskingOutcome {
            id: Uuid::from_u128(7),
            at: at(9),
            kind: "abandonment".into(),
            name: known("basket"),
            about: all.then(|| about(Subject::Episode { kind: "basket".into(), number: 2, ids })),
            value: all.then(|| Money { micros: -1, currency: Currency::parse("EUR").expect("a currency") }),
            segment: known("loyal"),
            cause: all.then(|| Id::of("t9")),
            channel: known("web"),
            session: known("s-1"),
        };
        Deferred { of: "shop/reminder".into(), asker, due: at(40) }
    }

    fn full() -> Contacts {
        let at = Timestamp::from_millis;
        let of = CompactString::from("shop/rescue-chat");
        Contacts {
            consents: vec![Statement { consent: "chat".into(), given: true, at: at(5) }],
            zone: Some("Europe/Paris".into()),
            arms: vec![
                Drawn { of: CompactString::default(), arm: Arm::Treated, variant: None },
                Drawn { of: of.clone(), arm: Arm::Treated, variant: Some("plain".into()) },
                Drawn { of: "shop/other".into(), arm: Arm::HeldOut, variant: None },
            ],
            made: vec![Made { of: of.clone(), channel: "chat".into(), at: at(-7) }],
            pending: vec![Pending {
                of: of.clone(),
                channel: "chat".into(),
                id: Uuid::from_u128(1),
                at: at(8),
                asked_by: Uuid::from_u128(2),
                asked_at: at(9),
                expires_at: at(10),
                arm: Arm::HeldOutOfAll,
                variant: None,
            }],
            ended: vec![(of.clone(), at(11))],
            exposures: vec![exposure(of.clone(), true), exposure("shop/other".into(), false)],
            waiting: vec![waiting(true), waiting(false)],
            sums: Sums::default(),
            graves: Graves::default(),
        }
    }

    #[test]
    fn what_is_packed_is_read_and_a_part_of_it_is_refused() {
        let (mut words, mut packed, mut read) = (Words::default(), Vec::new(), Contacts::default());
        full().pack(&mut words, &mut packed);
        assert_eq!(read.open(Bytes(&packed), &words), Ok(()));
        assert_eq!(read, full());
        // Where exposures begin, what was written before there were any ends.
        let (mut before, mut unexposed) = (full(), Vec::new());
        before.exposures.clear();
        before.waiting.clear();
        before.pack(&mut words, &mut unexposed);
        assert!(packed.starts_with(&unexposed));
        assert_eq!((read.open(Bytes(&unexposed), &words), &read), (Ok(()), &before));
        // The same where what waits begins; sums stand between, and are none.
        let (mut before, mut unwaited) = (full(), Vec::new());
        before.waiting.clear();
        before.pack(&mut words, &mut unwaited);
        assert!(packed.starts_with(&unwaited));
        assert_eq!((read.open(Bytes(&unwaited), &words), &read), (Ok(()), &before));
        let whole = [unexposed.len(), unwaited.len(), unwaited.len() + 1];
        for end in (0..packed.len()).filter(|end| !whole.contains(end)) {
            assert_eq!(read.open(Bytes(&packed[..end]), &words), Err(Damaged), "{end} of {} bytes", packed.len());
        }
        packed.clear();
        Contacts::default().pack(&mut words, &mut packed);
        assert!(packed.is_empty(), "nobody pays for what is not there");
    }

    #[test]
    fn of_two_who_are_one_nothing_is_forgotten_and_the_customers_arm_stays() {
        let at = Timestamp::from_millis;
        let (of, mut mine, theirs) = (CompactString::from("shop/rescue-chat"), full(), full());
        mine.consents[0] = Statement { consent: "chat".into(), given: false, at: at(5) };
        mine.zone = None;
        mine.arms = vec![Drawn { of: of.clone(), arm: Arm::HeldOut, variant: None }];
        mine.made[0].at = at(3);
        mine.ended = vec![(of.clone(), at(1))];
        mine.unite(theirs);
        assert_eq!(mine.consent("chat"), Some(false), "of two statements of one instant the no");
        assert_eq!(mine.zone.as_deref(), Some("Europe/Paris"));
        let arms: Vec<(&str, Arm)> = mine.arms.iter().map(|drawn| (drawn.of.as_str(), drawn.arm)).collect();
        assert_eq!(arms, [(of.as_str(), Arm::HeldOut), ("", Arm::Treated), ("shop/other", Arm::HeldOut)]);
        assert_eq!(mine.made.iter().map(|made| made.at).collect::<Vec<_>>(), [at(-7), at(3)]);
        assert_eq!((mine.pending.len(), mine.ended(&of)), (2, Some(at(11))));
    }

    #[test]
    fn the_latest_statement_counts_and_of_two_of_one_instant_the_no() {
        let mut contacts = Contacts::default();
        let chat = CompactString::from("chat");
        for (given, at, holds) in
            [(true, 10, true), (false, 5, true), (false, 10, false), (true, 10, false), (true, 11, true), (false, 12, false)]
        {
            contacts.state(&chat, given, Timestamp::from_millis(at));
            assert_eq!(contacts.consent("chat"), Some(holds), "{given} at {at}");
        }
        assert_eq!(contacts.consent("mail"), None);
    }
}
