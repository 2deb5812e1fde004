//! Synthetic shoppers: what they do and how it is written down, the same for the same dice. When they do it is the load's
//! matter.

use serde_json::json;

use crate::oracle::Act;

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

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// A number from `least` to `most`, both included.
    pub(crate) fn between(&mut self, least: i64, most: i64) -> i64 {
        least + self.below((most - least + 1) as u64) as i64
    }
}

/// What a customer has in hand, so that touchpoints name things as a shop would.
pub(crate) struct Shopper {
    id: String,
    cart: Option<String>,
    checkout: Option<String>,
    old_cart: Option<String>,
    counted: u32,
}

impl Shopper {
    /// Somebody who has nothing in hand yet.
    pub(crate) fn new(id: &str) -> Shopper {
        Shopper { id: id.to_owned(), cart: None, checkout: None, old_cart: None, counted: 0 }
    }

    fn fresh(&mut self, what: &str) -> String {
        self.counted += 1;
        format!("{}-{what}{}", self.id, self.counted)
    }

    /// The order that the next purchase will have.
    fn next_order(&self) -> String {
        format!("{}-o{}", self.id, self.counted)
    }

    /// The next thing he or she does, at an instant and under an id that are yet to be given.
    pub(crate) fn act(&mut self, dice: &mut Dice) -> Act {
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
