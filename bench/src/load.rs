//! The load: shoppers of a web shop, deterministic for a seed, in the order of event time.
//!
//! Customers come in visits. Who comes is drawn with a skew (a visit's customer is `candidates · u^1.5`), so that some come
//! once and some a hundred times. What they do there is drawn by a [`Mix`]. Knows nothing of Kafka.

use std::fmt::Write;

/// The types of touchpoints. The last three are what real shops send all the time and the model does not name.
pub const TYPES: [&str; 23] = [
    "ad.seen",
    "email.opened",
    "post.seen",
    "press.read",
    "page.viewed",
    "product.viewed",
    "search.performed",
    "list.viewed",
    "review.read",
    "promo.engaged",
    "cart.added",
    "cart.emptied",
    "checkout.started",
    "checkout.step",
    "payment.submitted",
    "payment.failed",
    "order.completed",
    "order.shipped",
    "review.published",
    "referral.shared",
    "page.scrolled",
    "video.played",
    "page.left",
];
const UNNAMED: usize = 20;
/// Marks the visit in which somebody comes back to a basket.
const RETURNED: u32 = 0x8000_0000;
const CHANNELS: [&str; 3] = ["web", "app", "email"];

/// One touchpoint before it is written.
#[derive(Clone, Copy)]
pub struct Deed {
    /// Milliseconds since the beginning.
    pub at: u64,
    /// Who.
    pub customer: u32,
    visit: u32,
    basket: u32,
    cents: u32,
    number: u16,
    kind: u8,
    channel: u8,
}

/// What visits are like, in percent of visits; the rest shops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Sees an ad, reads a mail.
    pub notice: u64,
    /// Looks at pages and products.
    pub look: u64,
    /// Does nothing that the model names: scrolls, plays a video.
    pub idle: u64,
    /// Pages that a visit looks at, at most.
    pub pages: u64,
}

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The same seed, the same load.
    pub seed: u64,
    /// So many touchpoints.
    pub touchpoints: usize,
    /// Customers who may come; fewer do.
    pub candidates: u32,
    /// The time that the visits are spread over.
    pub span_ms: u64,
    /// What visits are like.
    pub mix: Mix,
}

/// A number from a number: the first that its dice throw.
pub fn mixed(number: u64) -> u64 {
    Dice(number).next()
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    /// Short ones often, long ones rarely: every doubling is as likely.
    fn pause(&mut self, low: u64, high: u64) -> u64 {
        let octaves = u64::from(high.ilog2() - low.ilog2());
        let base = low << self.below(octaves + 1);
        (base + self.below(base)).min(high)
    }

    /// `n · u^1.5` by one multiplication and one root, both correctly rounded: the same on every machine.
    fn skewed(&mut self, n: u32) -> u32 {
        let u = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        ((f64::from(n) * (u * u.sqrt())) as u32).min(n - 1)
    }
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

fn index(kind: &str) -> u8 {
    TYPES.iter().position(|name| *name == kind).expect("a known type") as u8
}

struct Visit<'a> {
    out: &'a mut Vec<Deed>,
    span: u64,
    deed: Deed,
}

impl Visit<'_> {
    fn after(&mut self, pause: u64, kind: &str) {
        self.deed.at += pause;
        self.deed.kind = index(kind);
        self.deed.number += 1;
        if self.deed.at < self.span {
            self.out.push(self.deed);
        }
    }
}

/// Visits until there are so many touchpoints, in the order of event time.
pub fn deeds(settings: &Settings) -> Vec<Deed> {
    let mut out: Vec<Deed> = Vec::with_capacity(settings.touchpoints + 64);
    let mut visits = 0;
    while out.len() < settings.touchpoints {
        visits += 1;
        let mut dice = Dice(settings.seed ^ (u64::from(visits) << 20));
        dice.next();
        let customer = dice.skewed(settings.candidates);
        let at = dice.below(settings.span_ms);
        let channel = dice.below(2) as u8;
        let deed = Deed { at, customer, visit: visits, basket: visits, cents: 0, number: 0, kind: 0, channel };
        let mut visit = Visit { out: &mut out, span: settings.span_ms, deed };
        live(&mut dice, &mut visit, settings.mix);
    }
    out.truncate(settings.touchpoints);
    out.sort_by_key(|deed| (deed.at, deed.visit, deed.number));
    out
}

fn live(dice: &mut Dice, visit: &mut Visit<'_>, mix: Mix) {
    let what = dice.below(100);
    if what < mix.notice {
        for round in 0..=dice.below(2) {
            visit.deed.channel = dice.below(3) as u8;
            let pause = if round == 0 { 0 } else { dice.pause(10 * MINUTE, 3 * HOUR) };
            visit.after(pause, TYPES[dice.below(4) as usize]);
        }
    } else if what < mix.notice + mix.look {
        look(dice, visit, mix.pages);
    } else if what < mix.notice + mix.look + mix.idle {
        for round in 0..=dice.below(mix.pages) {
            let pause = if round == 0 { 0 } else { dice.pause(5 * SECOND, 4 * MINUTE) };
            visit.after(pause, TYPES[UNNAMED + dice.below(3) as usize]);
        }
    } else {
        shop(dice, visit);
    }
}

fn look(dice: &mut Dice, visit: &mut Visit<'_>, most: u64) {
    for round in 0..=dice.below(most) {
        visit.deed.cents = 500 + dice.below(30_000) as u32;
        let pause = if round == 0 { 0 } else { dice.pause(5 * SECOND, 4 * MINUTE) };
        visit.after(pause, TYPES[4 + dice.below(6) as usize]);
    }
}

fn shop(dice: &mut Dice, visit: &mut Visit<'_>) {
    look(dice, visit, 2);
    for _ in 0..=dice.below(2) {
        visit.after(dice.pause(5 * SECOND, 3 * MINUTE), "cart.added");
        visit.deed.cents += 300;
    }
    if dice.percent(8) {
        return visit.after(dice.pause(10 * SECOND, 5 * MINUTE), "cart.emptied");
    }
    let left = if dice.percent(45) {
        true
    } else {
        visit.after(dice.pause(5 * SECOND, 3 * MINUTE), "checkout.started");
        for _ in 0..=dice.below(3) {
            visit.after(dice.pause(8 * SECOND, 2 * MINUTE), "checkout.step");
        }
        dice.percent(45)
    };
    if left {
        if !dice.percent(30) {
            return;
        }
        // Comes back in another visit, to the same basket; most of the time it counts as abandoned by then.
        visit.deed.at += dice.pause(20 * MINUTE, 10 * HOUR);
        visit.deed.visit |= RETURNED;
        visit.after(0, "checkout.started");
    }
    visit.after(dice.pause(8 * SECOND, 2 * MINUTE), "payment.submitted");
    if dice.percent(8) {
        visit.after(dice.pause(2 * SECOND, 15 * SECOND), "payment.failed");
        visit.after(dice.pause(20 * SECOND, 10 * MINUTE), "payment.submitted");
    }
    visit.after(dice.pause(2 * SECOND, 15 * SECOND), "order.completed");
    visit.deed.channel = 2;
    visit.after(dice.pause(2 * HOUR, 20 * HOUR), "order.shipped");
    if dice.percent(25) {
        visit.after(dice.pause(HOUR, 12 * HOUR), "review.published");
    }
    if dice.percent(10) {
        visit.after(dice.pause(HOUR, 12 * HOUR), "referral.shared");
    }
}

/// The record's key.
pub fn key(deed: &Deed, out: &mut String) {
    out.clear();
    let _ = write!(out, "c-{:08}", deed.customer);
}

/// A property's value.
pub enum Value {
    /// Text that begins so, and goes on with a number where there is one.
    Text(&'static str, Option<u32>),
    /// An amount in hundredths.
    Cents(u32),
    /// A whole number.
    Whole(u32),
    /// Yes or no.
    Truth(bool),
    /// A page of the shop: its channel and its article.
    Page(&'static str, u32),
}

impl Deed {
    /// Which visit it belongs to.
    pub fn visit(&self) -> u32 {
        self.visit & !RETURNED
    }

    /// Its number in the visit, from 1.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Its type.
    pub fn kind(&self) -> &'static str {
        TYPES[usize::from(self.kind)]
    }

    /// Its channel.
    pub fn channel(&self) -> &'static str {
        CHANNELS[usize::from(self.channel)]
    }

    /// Its properties, in order.
    pub fn properties(&self) -> Vec<(&'static str, Value)> {
        use Value::{Cents, Page, Text, Truth, Whole};
        let Deed { basket, cents, number, .. } = *self;
        let (article, basket) = (cents % 9_973, Some(basket));
        let (cart, checkout) = (("cart_id", Text("B", basket)), ("checkout_id", Text("C", basket)));
        let (order, currency) = (("order_id", Text("O", basket)), ("currency", Text("EUR", None)));
        match self.kind() {
            "cart.added" => {
                let sku = ("sku", Text("P", Some(article)));
                vec![cart, ("value", Cents(cents)), currency, sku, ("quantity", Whole(1))]
            }
            "cart.emptied" => vec![cart, ("reason", Text("none given by the customer", None))],
            "checkout.started" => vec![cart, checkout, ("value", Cents(cents)), currency],
            "checkout.step" => {
                let name = ("name", Text("address and delivery", None));
                vec![checkout, ("step", Whole(number.into())), name, ("valid", Truth(true))]
            }
            "payment.submitted" => {
                vec![checkout, ("method", Text("card", None)), ("attempt", Whole(1)), ("saved", Truth(false))]
            }
            "payment.failed" => vec![checkout, ("error_code", Text("card_declined", None)), ("attempt", Whole(1))],
            "order.completed" => vec![cart, checkout, order, ("total", Cents(cents)), currency],
            "order.shipped" | "review.published" => {
                vec![order, ("carrier", Text("post", None)), ("stars", Whole(5)), ("country", Text("FR", None))]
            }
            "product.viewed" => {
                let product = ("product_id", Text("P", Some(article)));
                vec![product, ("price", Cents(cents)), currency, ("list", Text("recommended", None))]
            }
            _ => vec![("campaign", Text("winter-2026", None)), ("url", Page(self.channel(), article))],
        }
    }
}

/// Appends the touchpoint's id.
pub fn id(deed: &Deed, out: &mut String) {
    let _ = write!(out, "t-{:x}-{}", deed.visit, deed.number);
}

/// Appends the session's id.
pub fn session(deed: &Deed, out: &mut String) {
    let _ = write!(out, "s-{:x}", deed.visit);
}

/// Appends the id of the device that a visit comes from: one that no other visit comes from.
pub fn device(deed: &Deed, out: &mut String) {
    let _ = write!(out, "d-{:x}", deed.visit());
}

/// By which ids a touchpoint names whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// By the customer's.
    Customer,
    /// By the device's, as an anonymous id.
    Device,
    /// By both.
    Both,
}

/// The record's value; `at` in milliseconds since 1970.
pub fn json(deed: &Deed, at: i64, out: &mut String) {
    json_named(Named::Customer, deed, at, out);
}

/// The same, named otherwise.
pub fn json_named(named: Named, deed: &Deed, at: i64, out: &mut String) {
    out.clear();
    out.push_str(r#"{"event_id":""#);
    id(deed, out);
    rest(named, deed, at, out);
}

/// The same under another id.
pub fn json_as(id: &str, deed: &Deed, at: i64, out: &mut String) {
    out.clear();
    out.push_str(r#"{"event_id":""#);
    out.push_str(id);
    rest(Named::Customer, deed, at, out);
}

fn rest(named: Named, deed: &Deed, at: i64, out: &mut String) {
    let Deed { customer, visit, .. } = *deed;
    out.push('"');
    if named != Named::Device {
        let _ = write!(out, r#","customer_id":"c-{customer:08}""#);
    }
    if named != Named::Customer {
        out.push_str(r#","anonymous_id":""#);
        device(deed, out);
        out.push('"');
    }
    out.push_str(r#","occurred_at":""#);
    instant(at, out);
    let (kind, channel) = (deed.kind(), deed.channel());
    let _ = write!(out, r#"","type":"{kind}","channel":"{channel}","session_id":"s-{visit:x}","properties":{{"#);
    for (place, (name, value)) in deed.properties().iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        let _ = write!(out, r#"{comma}"{name}":"#);
        let _ = match value {
            Value::Text(..) | Value::Page(..) => write!(out, r#""{value}""#),
            Value::Cents(_) | Value::Whole(_) | Value::Truth(_) => write!(out, "{value}"),
        };
    }
    out.push_str("}}");
}

impl std::fmt::Display for Value {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Text(text, None) => write!(out, "{text}"),
            Value::Text(text, Some(number)) => write!(out, "{text}{number}"),
            Value::Cents(cents) => write!(out, "{}.{:02}", cents / 100, cents % 100),
            Value::Whole(number) => write!(out, "{number}"),
            Value::Truth(truth) => write!(out, "{truth}"),
            Value::Page(channel, article) => write!(out, "https://shop.example/{channel}/{article}"),
        }
    }
}

/// Appends an instant as RFC 3339 with milliseconds (days to date by Howard Hinnant's method).
pub fn instant(ms: i64, out: &mut String) {
    let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (h, m, s, ms) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60, rest % 1_000);
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z");
}

/// The milliseconds of an instant as [`instant`] writes it.
pub fn millis(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let y = year - i64::from(month <= 2);
    let era = y.div_euclid(400);
    let yoe = y - era * 400;
    let doy = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
    let minutes = days * 1_440 + number(11, 13)? * 60 + number(14, 16)?;
    Some(minutes * 60_000 + number(17, 19)? * 1_000 + number(20, 23)?)
}

/// What the touchpoint that closes a partition has as its value: of a type that no stage names, at the very end.
pub fn closing(partition: i32, customer: &str, at: i64) -> String {
    let mut text = format!(r#"{{"event_id":"end-{partition}","customer_id":"{customer}","occurred_at":""#);
    instant(at, &mut text);
    text.push_str(r#"","type":"page.left","channel":"web","session_id":"s-end","properties":{}}"#);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan;

    /// Figures of different days compare only where the load is the same: the hash of what a seed gives must not change.
    #[test]
    fn a_seed_is_one_load_for_ever() {
        let load = plan::loads().into_iter().find(|load| load.name == "rows").expect("a load");
        let deeds = deeds(&Settings { touchpoints: 2_000, ..load.settings });
        assert!(deeds.windows(2).all(|pair| pair[0].at <= pair[1].at));
        let (mut line, mut hash) = (String::new(), 0xcbf2_9ce4_8422_2325_u64);
        for deed in &deeds {
            json(deed, deed.at as i64, &mut line);
            line.bytes().for_each(|byte| hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        }
        assert_eq!((deeds.len(), hash), (2_000, 0x5bda_9a2e_c27b_8988));
    }

    #[test]
    fn an_instant_reads_back() {
        for at in [0, 951_782_399_999, 1_795_910_400_123, 4_102_444_800_000] {
            let mut text = String::new();
            instant(at, &mut text);
            assert_eq!(millis(&text), Some(at), "{text}");
        }
    }
}
