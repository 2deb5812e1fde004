//! What customers do, when, and in which input it lands. Everything is made before the run.

use serde_json::{Map, Value, json};

use sillage::touchpoint::Identity;

use super::brokers::Place;
use super::dice::Dice;
use super::log::Millis;
use super::offers;
use super::story;
use super::weather::Weather;
use crate::judge::Touch;

/// A record on its way into an input.
#[derive(Clone, Debug)]
pub(super) struct Arriving {
    pub(super) at: Millis,
    pub(super) place: Place,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// A touchpoint as its customer made it; `log_time` is not known yet.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) customer: usize,
    pub(super) id: String,
    pub(super) touch: Touch,
}

pub(super) struct Load {
    pub(super) arriving: Vec<Arriving>,
    pub(super) made: Vec<Made>,
    /// Who is erased, and by which name.
    pub(super) erased: Vec<(usize, String)>,
    pub(super) ends: Millis,
}

/// The shard of a customer.
pub(super) fn shard_of(customer: usize, shards: u32) -> u32 {
    customer as u32 % shards
}

/// Whose a key is: that of a customer, or of a device.
pub(super) fn identity(id: &str) -> Identity {
    if id.starts_with('a') { Identity::anonymous(id) } else { Identity::customer(id) }
}

pub(super) fn name(customer: usize) -> String {
    format!("c{customer}")
}

const KINDS: [(&str, i64); 10] = [
    ("views", 34),
    ("opens", 20),
    ("buys", 9),
    ("fails", 13),
    ("asks", 7),
    ("answers", 6),
    ("empties", 3),
    ("w", 8),
    (offers::AGREES, 5),
    (offers::REFUSES, 3),
];

pub(super) fn make(dice: &mut Dice, weather: &Weather, begins: Millis) -> Load {
    let mut now = begins;
    let (mut arriving, mut made) = (Vec::new(), Vec::new());
    for number in 0..weather.touches {
        now += gap(dice);
        let customer = dice.between(0, weather.customers as i64 - 1) as usize;
        let place = (dice.between(0, weather.inputs as i64 - 1) as usize, shard_of(customer, weather.shards));
        if dice.happens(weather.unusable) {
            let value = unusable(dice);
            arriving.push(Arriving { at: now, place, key: name(customer).into_bytes(), value });
            continue;
        }
        // A broker's clock may be behind: what happened lies before it all the same.
        let delay = if dice.happens(weather.late) { dice.between(0, 4_000) } else { dice.between(0, 6) };
        let touch = touch(dice, now - weather.regress - delay);
        let id = format!("c{customer}-{number}");
        let value = written(&[("customer_id", name(customer))], &id, &touch);
        arriving.push(Arriving { at: now, place, key: name(customer).into_bytes(), value: value.clone() });
        if dice.happens(weather.twice) {
            let at = now + if dice.happens(500) { 0 } else { dice.between(0, 3_000) };
            let place = (dice.between(0, weather.inputs as i64 - 1) as usize, place.1);
            arriving.push(Arriving { at, place, key: name(customer).into_bytes(), value });
        }
        made.push(Made { customer, id, touch });
    }
    arriving.sort_by_key(|arriving| arriving.at);
    Load { ends: arriving.last().map_or(begins, |last| last.at), arriving, made, erased: Vec::new() }
}

/// What nobody can read.
pub(super) fn unusable(dice: &mut Dice) -> Vec<u8> {
    dice.pick(&[&b"no JSON"[..], b"{}", b"{\"type\":\"views\"}", b""]).to_vec()
}

/// Between two touchpoints.
pub(super) fn gap(dice: &mut Dice) -> Millis {
    match dice.between(0, 19) {
        0..=11 => dice.between(0, 60),
        12..=17 => dice.between(50, 300),
        _ => dice.between(300, 1_800),
    }
}

pub(super) fn touch(dice: &mut Dice, happened: Millis) -> Touch {
    let mut roll = dice.between(0, KINDS.iter().map(|(_, weight)| weight).sum::<i64>() - 1);
    let mut kind = KINDS[0].0;
    for (name, weight) in KINDS {
        kind = name;
        roll -= weight;
        if roll < 0 {
            break;
        }
    }
    let by_id = matches!(kind, "opens" | "buys" | "empties") || dice.happens(700);
    Touch {
        happened,
        log_time: happened,
        kind,
        k: by_id.then(|| dice.between(1, 3) as u8),
        session: None,
        question: dice.happens(600).then(|| dice.between(1, 2) as u8),
        nps: None,
        value: dice.happens(400).then(|| dice.between(1, 150)),
        ends: None,
    }
}

/// A touchpoint as a record, of whom these names are.
pub(super) fn written(names: &[(&str, String)], id: &str, touch: &Touch) -> Vec<u8> {
    let mut properties = Map::new();
    let mut put = |name: &str, value: Option<Value>| drop(value.map(|value| properties.insert(name.to_owned(), value)));
    put("k", touch.k.map(|k| json!(k.to_string())));
    put("question", touch.question.map(|question| json!(question.to_string())));
    put("value", touch.value.map(|value| json!(value)));
    put("currency", touch.value.map(|_| json!("EUR")));
    let mut record = json!({
        "event_id": id,
        "occurred_at": story::instant(touch.happened),
        "type": touch.kind,
        "properties": properties,
    });
    names.iter().for_each(|(name, id)| record[*name] = json!(id));
    record.to_string().into_bytes()
}
