//! One thing a customer does, kept small until its time comes, and the touchpoint that it becomes.

use compact_str::{CompactString, format_compact};

use crate::time::Timestamp;
use crate::touchpoint::{Identity, Touchpoint, Value};

/// What is done. The types of the touchpoints are those of `models/five-stages.yaml`, and a few that it does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// A type that carries nothing but itself.
    Plain(&'static str),
    ProductViewed,
    SignedIn,
    CartAdded,
    CartEmptied,
    CheckoutStarted,
    CheckoutStep(u8),
    QuestionAsked,
    QuestionAnswered,
    CouponDenied,
    PaymentSubmitted,
    PaymentFailed,
    OrderCompleted,
    /// An order of what lies in a basket that never came to a checkout.
    BasketOrdered,
    /// An order that no basket led to.
    BoughtInStore,
    /// What happens to an order: its type.
    Order(&'static str),
    /// A survey answered: from 0 to 10.
    SurveyAnswered(u8),
    /// A review published: its stars.
    ReviewPublished(u8),
    ReferralShared,
}

impl Act {
    pub(super) fn kind(self) -> &'static str {
        match self {
            Act::Plain(kind) | Act::Order(kind) => kind,
            Act::ProductViewed => "product.viewed",
            Act::SignedIn => "account.signed_in",
            Act::CartAdded => "cart.added",
            Act::CartEmptied => "cart.emptied",
            Act::CheckoutStarted => "checkout.started",
            Act::CheckoutStep(_) => "checkout.step",
            Act::QuestionAsked => "question.asked",
            Act::QuestionAnswered => "question.answered",
            Act::CouponDenied => "coupon.denied",
            Act::PaymentSubmitted => "payment.submitted",
            Act::PaymentFailed => "payment.failed",
            Act::OrderCompleted | Act::BasketOrdered | Act::BoughtInStore => "order.completed",
            Act::SurveyAnswered(_) => "survey.answered",
            Act::ReviewPublished(_) => "review.published",
            Act::ReferralShared => "referral.shared",
        }
    }
}

/// Where it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Web,
    App,
    Store,
    Email,
    Phone,
}

impl Channel {
    fn as_str(self) -> &'static str {
        match self {
            Channel::Web => "web",
            Channel::App => "app",
            Channel::Store => "store",
            Channel::Email => "email",
            Channel::Phone => "phone",
        }
    }
}

/// What the shop knows about who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// The anonymous id only.
    Anonymous,
    /// Both ids, once: the customer signs in.
    SigningIn,
    /// The customer id.
    ByName,
}

/// What somebody does at an instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deed {
    pub(super) at: Timestamp,
    pub(super) act: Act,
    pub(super) channel: Channel,
    pub(super) known: Known,
    /// Number of the visit; none outside of one.
    pub(super) session: Option<u32>,
    /// Number of the basket, of its checkout and its order.
    pub(super) basket: u32,
    /// What is in the basket, or what the product costs, in cents.
    pub(super) cents: u32,
}

impl Deed {
    /// The touchpoint, as the `sequence`-th of customer `number` under this seed.
    pub(super) fn touchpoint(&self, seed: u64, number: u32, sequence: u32) -> Touchpoint {
        let by_name = || format_compact!("c-{number:06}");
        let cookie = || format_compact!("a-{number:06}");
        let (identity, linked) = match self.known {
            Known::Anonymous => (Identity::anonymous(cookie()), None),
            Known::SigningIn => (Identity::customer(by_name()), Some(cookie())),
            Known::ByName => (Identity::customer(by_name()), None),
        };
        Touchpoint {
            // The seed is part of it: another run into the same topic must not be taken for repeats of the first.
            id: format_compact!("{seed:x}-{number:x}-{sequence:x}"),
            id_given: true,
            identity,
            linked,
            event_time: self.at,
            kind: CompactString::const_new(self.act.kind()),
            channel: Some(CompactString::const_new(self.channel.as_str())),
            session: self.session.map(|session| format_compact!("s-{number}-{session}")),
            properties: self.properties(number),
        }
    }

    /// Sorted by name, as a touchpoint's must be.
    fn properties(&self, number: u32) -> Vec<(CompactString, Value)> {
        let cart = || text("cart_id", format_compact!("B{number}-{}", self.basket));
        let checkout = || text("checkout_id", format_compact!("C{number}-{}", self.basket));
        let order = || text("order_id", format_compact!("O{number}-{}", self.basket));
        let euro = || text("currency", CompactString::const_new("EUR"));
        let value = || euros("value", self.cents);
        match self.act {
            Act::Plain(_) | Act::SignedIn => Vec::new(),
            Act::ProductViewed => {
                vec![euro(), euros("price", self.cents), text("product_id", format_compact!("P{}", self.cents % 997))]
            }
            Act::CartAdded => vec![cart(), euro(), value()],
            Act::CartEmptied => vec![cart()],
            Act::CheckoutStarted => vec![cart(), checkout(), euro(), value()],
            Act::CheckoutStep(step) => vec![checkout(), count("step", step)],
            Act::QuestionAsked | Act::QuestionAnswered | Act::PaymentSubmitted => vec![checkout()],
            Act::CouponDenied => vec![cart(), checkout(), constant("coupon_id", "WELCOME10"), constant("reason", "expired")],
            Act::PaymentFailed => vec![checkout(), constant("error_code", "card_declined")],
            Act::OrderCompleted => vec![cart(), checkout(), euro(), order(), euros("total", self.total()), value()],
            Act::BasketOrdered => vec![cart(), euro(), order(), euros("total", self.total()), value()],
            Act::BoughtInStore => vec![euro(), order(), euros("total", self.cents), value()],
            Act::Order(_) => vec![order()],
            Act::SurveyAnswered(nps) => vec![count("nps", nps), order()],
            Act::ReviewPublished(stars) => vec![order(), count("stars", stars)],
            Act::ReferralShared => vec![text("referral_id", format_compact!("R{number}-{}", self.basket))],
        }
    }

    /// Below fifty euros, delivery is paid for.
    fn total(&self) -> u32 {
        if self.cents < 5_000 { self.cents + 490 } else { self.cents }
    }
}

fn text(name: &'static str, value: CompactString) -> (CompactString, Value) {
    (CompactString::const_new(name), Value::Text(value))
}

fn constant(name: &'static str, value: &'static str) -> (CompactString, Value) {
    text(name, CompactString::const_new(value))
}

fn count(name: &'static str, value: u8) -> (CompactString, Value) {
    (CompactString::const_new(name), Value::Number(f64::from(value)))
}

/// One division of two whole numbers: the nearest double, everywhere the same.
fn euros(name: &'static str, cents: u32) -> (CompactString, Value) {
    (CompactString::const_new(name), Value::Number(f64::from(cents) / 100.0))
}
