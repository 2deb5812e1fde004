//! Synthetic customers for `models/shop.yaml`, the same for the same seed.
//!
//! A customer comes in up to three bursts of at most 4.5 s, which begin 25 s apart. All spans of the model lie between 10 s
//! and 15 s, so every touchpoint keeps at least 5 s away from every deadline, whichever touchpoints it counts from. A
//! customer's touchpoints on different topics are at least 1 s apart.

use serde_json::json;

use crate::oracle::Act;

const BURST: i64 = 4_500;
const BETWEEN_BURSTS: i64 = 25_000;
/// Customers come in at any time within this.
const ARRIVALS: i64 = 14_000;

/// A customer and everything that he or she does, in order of time.
pub(crate) struct Customer {
    pub id: String,
    pub anonymous: bool,
    /// Each with the index of its topic. Times count from the beginning of the load.
    pub acts: Vec<(usize, Act)>,
}

/// A small random number generator (SplitMix64): enough for a load, and the same everywhere.
pub(crate) struct Dice(pub u64);

impl Dice {
    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    fn between(&mut self, least: i64, most: i64) -> i64 {
        least + self.below((most - least + 1) as u64) as i64
    }
}

/// So many touchpoints, to the one, of as many customers as it takes.
pub(crate) fn customers(seed: u64, touchpoints: usize) -> Vec<Customer> {
    let mut dice = Dice(seed);
    let mut all = Vec::new();
    let mut left = touchpoints;
    while left > 0 {
        let mut customer = customer(&mut dice, all.len());
        customer.acts.truncate(left);
        left -= customer.acts.len();
        all.push(customer);
    }
    all
}

fn customer(dice: &mut Dice, number: usize) -> Customer {
    let id = format!("c{number}");
    let mut shopper = Shopper { id: id.clone(), cart: None, checkout: None, old_cart: None, counted: 0 };
    let arrival = dice.between(0, ARRIVALS);
    let mut acts = Vec::new();
    let mut topic = dice.below(2) as usize;
    for burst in 0..=dice.below(3) as i64 {
        let begin = arrival + burst * BETWEEN_BURSTS;
        let session = dice.percent(60).then(|| format!("{id}-s{burst}"));
        let mut at = begin;
        for _ in 0..dice.between(2, 8) {
            acts.push((topic, Act { at, session: session.clone(), ..shopper.act(dice) }));
            let other = dice.percent(35);
            if other {
                topic = 1 - topic;
            }
            at += if other { dice.between(1_000, 1_400) } else { dice.between(40, 400) };
            if at > begin + BURST {
                break;
            }
        }
    }
    for (count, (_, act)) in acts.iter_mut().enumerate() {
        act.id = format!("{id}-{count}");
    }
    Customer { id, anonymous: number % 10 == 9, acts }
}

/// What a customer has in hand, so that touchpoints name things as a shop would.
struct Shopper {
    id: String,
    cart: Option<String>,
    checkout: Option<String>,
    old_cart: Option<String>,
    counted: u32,
}

impl Shopper {
    fn fresh(&mut self, what: &str) -> String {
        self.counted += 1;
        format!("{}-{what}{}", self.id, self.counted)
    }

    /// The order that the next purchase will have.
    fn next_order(&self) -> String {
        format!("{}-o{}", self.id, self.counted)
    }

    fn act(&mut self, dice: &mut Dice) -> Act {
        let kind = match dice.below(110) {
            0..8 => "ad.seen",
            8..12 => "email.opened",
            12..22 => "page.viewed",
            22..38 => "product.viewed",
            38..46 => "search.performed",
            46..66 => "cart.added",
            66..78 => "checkout.started",
            78..84 => "checkout.step",
            84..92 => "payment.failed",
            92..102 => "order.completed",
            102..106 => "coupon.denied",
            _ => "review.published",
        };
        let mut act = Act { kind, ..Act::default() };
        match kind {
            "cart.added" => self.add(dice, &mut act),
            "checkout.started" => {
                self.checkout = Some(self.fresh("ch"));
                act.checkout = self.checkout.clone().filter(|_| dice.percent(90));
                act.cart = self.cart.clone().filter(|_| dice.percent(70));
                act.value = Some(dice.between(1, 500));
            }
            "checkout.step" => act.checkout = self.checkout.clone().filter(|_| dice.percent(60)),
            "payment.failed" => match dice.below(3) {
                0 => act.checkout = self.checkout.clone(),
                1 => act.order = Some(self.next_order()),
                _ => {}
            },
            "order.completed" => self.buy(dice, &mut act),
            _ => {}
        }
        act
    }

    fn add(&mut self, dice: &mut Dice, act: &mut Act) {
        act.value = dice.percent(80).then(|| dice.between(1, 500));
        act.cart = match dice.below(20) {
            0..2 => None,
            2..5 => Some(self.fresh("b")),
            5 => self.old_cart.clone(),
            _ => Some(self.cart.clone().unwrap_or_else(|| self.fresh("b"))),
        };
        if act.cart.is_some() && act.cart != self.old_cart {
            self.cart = act.cart.clone();
        }
    }

    fn buy(&mut self, dice: &mut Dice, act: &mut Act) {
        act.order = Some(self.next_order());
        act.value = dice.percent(90).then(|| dice.between(1, 500));
        match dice.below(10) {
            0..4 => act.cart = self.cart.clone(),
            4..7 => act.checkout = self.checkout.clone(),
            _ => {}
        }
        self.old_cart = self.cart.take();
        self.checkout = None;
        // The next order has another id.
        self.counted += 1;
    }
}

/// The record's value, for a load that begins at `begin`.
pub(crate) fn encode(customer: &Customer, act: &Act, begin: i64) -> Vec<u8> {
    let who = if customer.anonymous { "anonymous_id" } else { "customer_id" };
    let mut properties = serde_json::Map::new();
    let ids = [("cart_id", &act.cart), ("checkout_id", &act.checkout), ("order_id", &act.order)];
    for (name, id) in ids {
        if let Some(id) = id {
            properties.insert(name.to_owned(), json!(id));
        }
    }
    if let Some(value) = act.value {
        properties.insert("value".to_owned(), json!(value));
        properties.insert("currency".to_owned(), json!("EUR"));
    }
    let touchpoint = json!({
        who: customer.id,
        "event_id": act.id,
        "occurred_at": begin + act.at,
        "type": act.kind,
        "session_id": act.session,
        "channel": "web",
        "properties": properties,
    });
    touchpoint.to_string().into_bytes()
}

/// The load keeps what its answers rely on.
#[test]
fn every_gap_keeps_away_from_every_deadline() {
    let customers = customers(7, 20_000);
    assert_eq!(customers.iter().map(|customer| customer.acts.len()).sum::<usize>(), 20_000);
    for customer in &customers {
        let times: Vec<i64> = customer.acts.iter().map(|(_, act)| act.at).collect();
        for (place, later) in times.iter().enumerate() {
            for earlier in &times[..place] {
                for deadline in [10_000, 12_000, 15_000].map(|span| earlier + span) {
                    assert!((later - deadline).abs() >= 5_000, "{}: {later} is close to {deadline}", customer.id);
                }
            }
        }
        for pair in customer.acts.windows(2) {
            let apart = if pair[0].0 == pair[1].0 { 1 } else { 1_000 };
            assert!(pair[1].1.at - pair[0].1.at >= apart, "{}", customer.id);
        }
    }
}
