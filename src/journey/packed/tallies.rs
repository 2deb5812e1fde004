//! What is summed up as bytes, and back.

use super::bytes::Damaged;
use super::{Opener, Packer};
use crate::journey::{Amount, CountedOnce, LatestAt, TallyState};
use crate::time::Timestamp;
use crate::touchpoint::{Currency, Money, Value};

/// What a tally sums up; with [`SAME`], the sum of the journey is that of the customer and stands once.
mod tally {
    pub(super) const COUNT: u8 = 0;
    pub(super) const NUMBER: u8 = 1;
    pub(super) const MONEY: u8 = 2;
    pub(super) const LAST: u8 = 3;
    pub(super) const VISITS: u8 = 4;
    /// As [`LAST`], and then when each value happened.
    pub(super) const LAST_AT: u8 = 5;
    /// A count or a sum, and what has counted once in it.
    pub(super) const ONCE: u8 = 6;
    pub(super) const SAME: u8 = 8;
}

pub(super) fn pack_tally(state: &TallyState, to: &mut Packer<'_>) {
    let head = |sort: u8, same: bool| if same { sort | tally::SAME } else { sort };
    match state {
        TallyState::Count { customer, journey } => {
            to.out.push(head(tally::COUNT, customer == journey));
            to.number(*customer);
            if customer != journey {
                to.number(*journey);
            }
        }
        TallyState::Number { customer, journey } => {
            let same = customer.to_bits() == journey.to_bits();
            to.out.push(head(tally::NUMBER, same));
            to.out.extend_from_slice(&customer.to_bits().to_le_bytes());
            if !same {
                to.out.extend_from_slice(&journey.to_bits().to_le_bytes());
            }
        }
        TallyState::Money { customer, journey } => {
            let same = customer == journey;
            to.out.push(head(tally::MONEY, same));
            for sums in [Some(customer), Some(journey).filter(|_| !same)].into_iter().flatten() {
                to.number(sums.len() as u64);
                sums.iter().for_each(|money| pack_money(*money, to));
            }
        }
        TallyState::Last { customer, journey, stages, at } => {
            let same = customer == journey;
            let timed = *at != LatestAt::default();
            to.out.push(head(if timed { tally::LAST_AT } else { tally::LAST }, same));
            for value in [Some(customer), Some(journey).filter(|_| !same)].into_iter().flatten() {
                to.out.push(u8::from(value.is_some()));
                value.iter().for_each(|value| pack_value(value, to));
            }
            to.number(stages.len() as u64);
            for (stage, value) in stages {
                to.number(*stage);
                pack_value(value, to);
            }
            if timed {
                let times = at.stages.iter().copied().chain(std::iter::repeat(Timestamp::MIN));
                [at.customer, at.journey].into_iter().chain(times.take(stages.len())).for_each(|at| to.moment(at));
            }
        }
        TallyState::Once { sum, seen } => {
            to.out.push(tally::ONCE);
            pack_tally(sum, to);
            to.number(seen.len() as u64);
            seen.iter().for_each(|one| pack_once(one, to));
        }
        TallyState::Visits { customer, journey, sessions, latest } => {
            to.out.push(head(tally::VISITS, customer == journey));
            to.number(*customer);
            if customer != journey {
                to.number(*journey);
            }
            to.number((sessions.len() as u64) << 1 | u64::from(latest.is_some()));
            sessions.iter().for_each(|session| to.out.extend_from_slice(&session.to_le_bytes()));
            if let Some(latest) = latest {
                to.moment(*latest);
            }
        }
    }
}

/// What a thing added, and with [`once::HERE`] that it came first in this journey.
mod once {
    pub(super) const ONE: u8 = 0;
    pub(super) const NUMBER: u8 = 1;
    pub(super) const MONEY: u8 = 2;
    pub(super) const HERE: u8 = 4;
}

fn pack_once(one: &CountedOnce, to: &mut Packer<'_>) {
    to.out.extend_from_slice(&one.hash.to_le_bytes());
    let sort = match one.added {
        Amount::One => once::ONE,
        Amount::Number(_) => once::NUMBER,
        Amount::Money(_) => once::MONEY,
    };
    to.out.push(if one.here { sort | once::HERE } else { sort });
    to.moment(one.at);
    match one.added {
        Amount::One => {}
        Amount::Number(number) => to.out.extend_from_slice(&number.to_bits().to_le_bytes()),
        Amount::Money(money) => pack_money(money, to),
    }
}

fn open_once(from: &mut Opener<'_>) -> Result<CountedOnce, Damaged> {
    let hash = u64::from_le_bytes(from.bytes.array()?);
    let head = from.bytes.byte()?;
    let at = from.moment()?;
    let added = match head & !once::HERE {
        once::ONE => Amount::One,
        once::NUMBER => Amount::Number(f64::from_bits(u64::from_le_bytes(from.bytes.array()?))),
        once::MONEY => Amount::Money(open_money(from)?),
        _ => return Err(Damaged),
    };
    Ok(CountedOnce { hash, at, added, here: head & once::HERE != 0 })
}

pub(super) fn open_tally(from: &mut Opener<'_>) -> Result<TallyState, Damaged> {
    match from.bytes.byte()? {
        tally::ONCE => {
            // Of the two, the sum is a plain one: none stands within another.
            let head = from.bytes.byte()?;
            let sum = Box::new(open_plain(head, from)?);
            let seen = (0..from.bytes.count()?).map(|_| open_once(from)).collect::<Result<_, _>>()?;
            Ok(TallyState::Once { sum, seen })
        }
        head => open_plain(head, from),
    }
}

fn open_plain(head: u8, from: &mut Opener<'_>) -> Result<TallyState, Damaged> {
    let same = head & tally::SAME != 0;
    match head & !tally::SAME {
        tally::COUNT => {
            let customer = from.bytes.number()?;
            Ok(TallyState::Count { customer, journey: if same { customer } else { from.bytes.number()? } })
        }
        tally::NUMBER => {
            let number = |from: &mut Opener<'_>| Ok(f64::from_bits(u64::from_le_bytes(from.bytes.array()?)));
            let customer = number(from)?;
            Ok(TallyState::Number { customer, journey: if same { customer } else { number(from)? } })
        }
        tally::MONEY => {
            let sums =
                |from: &mut Opener<'_>| (0..from.bytes.count()?).map(|_| open_money(from)).collect::<Result<Vec<_>, _>>();
            let customer = sums(from)?;
            let journey = if same { customer.clone() } else { sums(from)? };
            Ok(TallyState::Money { customer, journey })
        }
        sort @ (tally::LAST | tally::LAST_AT) => {
            let value = |from: &mut Opener<'_>| match from.bytes.byte()? {
                0 => Ok(None),
                _ => open_value(from).map(Some),
            };
            let customer = value(from)?;
            let journey = if same { customer.clone() } else { value(from)? };
            let stage = |from: &mut Opener<'_>| Ok((from.bytes.small()?, open_value(from)?));
            let stages = (0..from.bytes.count()?).map(|_| stage(from)).collect::<Result<Vec<_>, _>>()?;
            let mut at = LatestAt::default();
            if sort == tally::LAST_AT {
                (at.customer, at.journey) = (from.moment()?, from.moment()?);
                at.stages = stages.iter().map(|_| from.moment()).collect::<Result<_, _>>()?;
            }
            Ok(TallyState::Last { customer, journey, stages, at })
        }
        tally::VISITS => {
            let customer = from.bytes.number()?;
            let journey = if same { customer } else { from.bytes.number()? };
            let head = from.bytes.number()?;
            let hash = |from: &mut Opener<'_>| from.bytes.array().map(u64::from_le_bytes);
            let hashes = usize::try_from(head >> 1).ok().filter(|hashes| *hashes <= from.bytes.0.len()).ok_or(Damaged)?;
            let sessions = (0..hashes).map(|_| hash(from)).collect::<Result<_, _>>()?;
            let latest = if head & 1 != 0 { Some(from.moment()?) } else { None };
            Ok(TallyState::Visits { customer, journey, sessions, latest })
        }
        _ => Err(Damaged),
    }
}

fn pack_value(value: &Value, to: &mut Packer<'_>) {
    match value {
        Value::Flag(set) => to.out.push(u8::from(*set)),
        Value::Number(number) => {
            to.out.push(2);
            to.out.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        Value::Text(text) => {
            to.out.push(3);
            to.text(text);
        }
    }
}

fn open_value(from: &mut Opener<'_>) -> Result<Value, Damaged> {
    match from.bytes.byte()? {
        set @ 0..=1 => Ok(Value::Flag(set == 1)),
        2 => Ok(Value::Number(f64::from_bits(u64::from_le_bytes(from.bytes.array()?)))),
        3 => Ok(Value::Text(from.bytes.text()?.into())),
        _ => Err(Damaged),
    }
}

pub(super) fn pack_money(money: Money, to: &mut Packer<'_>) {
    to.word(money.currency.as_str());
    super::push_signed(to.out, money.micros);
}

pub(super) fn open_money(from: &mut Opener<'_>) -> Result<Money, Damaged> {
    let currency = Currency::parse(&from.word()?).ok_or(Damaged)?;
    Ok(Money { currency, micros: from.bytes.signed()? })
}
