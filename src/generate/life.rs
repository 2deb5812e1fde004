//! One customer's life, planned a chapter at a time: messages, research, buying, coming back, service.

use std::collections::VecDeque;

use super::deed::{Act, Channel, Deed, Known};
use super::dice::Dice;
use super::figures as f;
use crate::time::{Span, Timestamp};
use crate::touchpoint::Touchpoint;

const SECOND: Span = Span::from_secs(1);
const MINUTE: Span = Span::from_secs(60);
const HOUR: Span = Span::from_secs(3_600);
const DAY: Span = Span::from_days(1);

/// Whether an offer is taken up is drawn apart from all else, so that whoever is offered nothing lives as before.
const OFFERED: u64 = 0x6f66_6665_7265;

const fn times(number: i64, span: Span) -> Span {
    Span::from_millis(number * span.as_millis())
}

/// What comes next in a customer's life.
#[derive(Clone, Copy, Debug)]
enum Chapter {
    /// Messages are seen.
    Messages,
    /// So many visits are left before the decision.
    Research { visits: u32 },
    /// The customer comes back to what was left.
    Return { left: Left },
    /// The customer takes up what was offered over it.
    TakeUp { left: Left },
    /// After the purchase.
    Service,
}

/// What was left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Basket,
    Checkout,
}

/// How dear what is looked for is; decides for how long it is considered.
#[derive(Clone, Copy, Debug)]
enum Price {
    Small,
    Middle,
    Dear,
}

/// A customer, and what is already certain of its future.
#[derive(Debug)]
pub(super) struct Life {
    number: u32,
    chapter: Chapter,
    /// Chapters planned so far; chance begins anew in each.
    chapters: u32,
    planned: VecDeque<Deed>,
    sequence: u32,
    // The pen: where and when the next deed is written.
    at: Timestamp,
    channel: Channel,
    known: Known,
    session: Option<u32>,
    sessions: u32,
    price: Price,
    basket: u32,
    cents: u32,
    /// When the customer did something last.
    acted_at: Timestamp,
    /// What is left at the end of the chapter that is planned, and when.
    leaves: Option<(Left, Timestamp)>,
    /// The same of the chapter before.
    has_left: Option<(Left, Timestamp)>,
}

impl Life {
    pub(super) fn new(number: u32, begins: Timestamp, dice: &mut Dice) -> Self {
        let known = if dice.happens(&f::BEGINS_ANONYMOUS) { Known::Anonymous } else { Known::ByName };
        Life {
            number,
            chapter: Chapter::Messages,
            chapters: 0,
            planned: VecDeque::new(),
            sequence: 0,
            at: begins,
            channel: Channel::Web,
            known,
            session: None,
            sessions: 0,
            price: Price::Small,
            basket: 0,
            cents: 0,
            acted_at: begins,
            leaves: None,
            has_left: None,
        }
    }

    /// When the customer does something next.
    pub(super) fn due(&mut self, seed: u64) -> Timestamp {
        loop {
            if let Some(deed) = self.planned.front() {
                return deed.at;
            }
            // Every chapter holds at least one deed.
            self.plan(seed);
        }
    }

    /// Does it. `None` only before [`Life::due`] was asked.
    pub(super) fn act(&mut self, seed: u64) -> Option<Touchpoint> {
        let deed = self.planned.pop_front()?;
        self.sequence += 1;
        self.acted_at = deed.at;
        Some(deed.touchpoint(seed, self.number, self.sequence))
    }

    /// Lets what is due go by: it happened before anybody looked.
    pub(super) fn skip(&mut self) {
        let gone = self.planned.pop_front();
        self.acted_at = gone.map_or(self.acted_at, |deed| deed.at);
        self.sequence += 1;
    }

    /// Something is offered at an instant. Whoever has left something, or is about to, and takes the offer up comes back to it
    /// now; whether anything changes.
    pub(super) fn hear_offer(&mut self, now: Timestamp, seed: u64) -> bool {
        let is_away = |(_, since): &(Left, Timestamp)| self.acted_at <= *since;
        let Some((left, since)) = self.has_left.filter(is_away).or(self.leaves) else { return false };
        if !Dice::new(seed ^ OFFERED, self.number, self.chapters).happens(&f::TAKES_OFFER_UP) {
            return false;
        }
        self.planned.retain(|deed| deed.at <= since);
        self.at = now.max(since) + times(i64::from(self.number % 5 + 1), MINUTE);
        self.chapter = Chapter::TakeUp { left };
        (self.has_left, self.leaves) = (None, None);
        true
    }

    fn plan(&mut self, seed: u64) {
        self.chapters += 1;
        self.has_left = self.leaves.take();
        let dice = &mut Dice::new(seed, self.number, self.chapters);
        self.chapter = match self.chapter {
            Chapter::Messages => self.messages(dice),
            Chapter::Research { visits } => self.research(dice, visits),
            Chapter::Return { left } => self.come_back(dice, left),
            Chapter::TakeUp { left } => {
                self.enter(dice);
                self.now(Act::Plain("offer.accepted"));
                self.wait(dice.pause(times(5, SECOND), MINUTE));
                self.go_on(dice, left)
            }
            Chapter::Service => self.service(dice),
        };
    }

    fn messages(&mut self, dice: &mut Dice) -> Chapter {
        self.session = None;
        for _ in 0..dice.number(f::EXPOSURES_BEFORE_NOTICE - 3, f::EXPOSURES_BEFORE_NOTICE + 3) {
            let (channel, kind) = match self.known {
                // Nobody can write to somebody unknown.
                Known::Anonymous => dice.one_of([(Channel::Web, "ad.seen"), (Channel::App, "post.seen")]),
                Known::SigningIn | Known::ByName => dice.one_of([
                    (Channel::Web, "ad.seen"),
                    (Channel::App, "post.seen"),
                    (Channel::Web, "press.read"),
                    (Channel::Email, "email.opened"),
                ]),
            };
            self.channel = channel;
            self.after(dice.pause(times(10, MINUTE), times(8, HOUR)), Act::Plain(kind));
        }
        if dice.happens(&f::NOTICES) {
            self.wait(dice.pause(MINUTE, times(6, HOUR)));
            self.wish(dice)
        } else {
            // Longer than the thirty days after which a model may call it forgotten.
            self.wait(dice.span(times(25, DAY), times(45, DAY)));
            Chapter::Messages
        }
    }

    /// Something is wanted, at some price: the dearer, the more visits.
    fn wish(&mut self, dice: &mut Dice) -> Chapter {
        use Price::{Dear, Middle, Small};
        self.price = dice.one_of([Small, Small, Small, Small, Small, Middle, Middle, Middle, Dear, Dear]);
        let visits = match self.price {
            Small => dice.number(1, 2),
            Middle => dice.number(1, 4),
            Dear => dice.number(3, 6),
        };
        Chapter::Research { visits }
    }

    fn research(&mut self, dice: &mut Dice, visits: u32) -> Chapter {
        let in_store = matches!(self.price, Price::Dear) && self.known == Known::ByName && dice.happens(&f::VISITS_STORE);
        if in_store {
            self.channel = Channel::Store;
            self.session = None;
            self.now(Act::Plain("store.visited"));
            if dice.happens(&f::BUYS_IN_STORE) {
                self.basket += 1;
                self.cents = self.costs(dice);
                self.after(dice.pause(times(5, MINUTE), HOUR), Act::BoughtInStore);
                return self.bought(dice);
            }
        } else {
            self.look_around(dice);
        }
        if visits > 1 {
            let (low, high) = match self.price {
                Price::Small => (times(10, MINUTE), times(12, HOUR)),
                Price::Middle => (HOUR, times(3, DAY)),
                // Up to more than the seven days after which a model may call it abandoned.
                Price::Dear => (times(6, HOUR), times(9, DAY)),
            };
            self.wait(dice.pause(low, high));
            return Chapter::Research { visits: visits - 1 };
        }
        if in_store || !dice.happens(&f::FILLS_BASKET) {
            return self.drift(dice);
        }
        self.fill_basket(dice)
    }

    /// A visit in the web shop or the app.
    fn look_around(&mut self, dice: &mut Dice) {
        self.enter(dice);
        // The first is one that begins the next journey of somebody who has bought before.
        let first = dice.one_of([Act::ProductViewed, Act::Plain("search.performed")]);
        self.cents = self.costs(dice);
        self.now(first);
        for _ in 0..dice.number(1, 5) {
            let act = dice.one_of([
                Act::ProductViewed,
                Act::ProductViewed,
                Act::Plain("page.viewed"),
                Act::Plain("list.viewed"),
                Act::Plain("search.performed"),
                Act::Plain("promo.engaged"),
                Act::Plain("review.read"),
            ]);
            self.cents = self.costs(dice);
            self.after(dice.pause(times(5, SECOND), times(4, MINUTE)), act);
        }
    }

    fn fill_basket(&mut self, dice: &mut Dice) -> Chapter {
        let moment = |dice: &mut Dice| dice.pause(times(5, SECOND), times(3, MINUTE));
        if self.known == Known::Anonymous {
            self.known = Known::SigningIn;
            self.after(moment(dice), Act::SignedIn);
            self.known = Known::ByName;
        }
        self.basket += 1;
        self.cents = 0;
        for _ in 0..dice.number(1, 3) {
            self.cents += self.costs(dice);
            self.after(moment(dice), Act::CartAdded);
        }
        if dice.happens(&f::EMPTIES_BASKET) {
            self.after(dice.pause(times(20, SECOND), times(10, MINUTE)), Act::CartEmptied);
            return self.drift(dice);
        }
        if dice.happens(&f::LEAVES_BASKET) {
            return self.leave(dice, Left::Basket);
        }
        self.after(moment(dice), Act::CheckoutStarted);
        self.check_out(dice)
    }

    /// From the first step of the checkout to the order, or away.
    fn check_out(&mut self, dice: &mut Dice) -> Chapter {
        let moment = |dice: &mut Dice| dice.pause(times(8, SECOND), times(2, MINUTE));
        let help_at = dice.happens(&f::NEEDS_HELP).then(|| dice.number(1, 3));
        let denied = dice.happens(&f::COUPON_DENIED);
        for step in 1..=3_u8 {
            self.after(moment(dice), Act::CheckoutStep(step));
            if help_at == Some(u32::from(step)) && self.is_left_alone(dice) {
                return self.leave(dice, Left::Checkout);
            }
            if denied && step == 2 {
                self.after(moment(dice), Act::CouponDenied);
                if dice.happens(&f::LEAVES_WITHOUT_COUPON) {
                    return self.leave(dice, Left::Checkout);
                }
            }
        }
        self.pay(dice)
    }

    /// Asks a question; whether the customer goes away over it.
    fn is_left_alone(&mut self, dice: &mut Dice) -> bool {
        self.after(dice.pause(times(5, SECOND), MINUTE), Act::QuestionAsked);
        if dice.happens(&f::ANSWERED_QUICKLY) {
            self.after(dice.span(times(15, SECOND), times(110, SECOND)), Act::QuestionAnswered);
            return false;
        }
        let leaves = dice.happens(&f::LEAVES_UNANSWERED);
        if dice.happens(&f::ANSWERED_LATE) {
            self.after(dice.pause(times(4, MINUTE), times(25, MINUTE)), Act::QuestionAnswered);
        } else if !leaves {
            // Finds out alone, which may take longer than a checkout is waited for.
            self.wait(dice.pause(times(5, MINUTE), times(25, MINUTE)));
        }
        leaves
    }

    fn pay(&mut self, dice: &mut Dice) -> Chapter {
        let answer = |dice: &mut Dice| dice.span(times(2, SECOND), times(15, SECOND));
        self.after(dice.pause(times(8, SECOND), times(2, MINUTE)), Act::PaymentSubmitted);
        if dice.happens(&f::PAYMENT_FAILS) {
            self.after(answer(dice), Act::PaymentFailed);
            if dice.happens(&f::LEAVES_UNPAID) {
                return self.leave(dice, Left::Checkout);
            }
            // Looks for another card, sometimes for longer than a checkout is waited for.
            self.after(dice.pause(times(20, SECOND), times(20, MINUTE)), Act::PaymentSubmitted);
        }
        self.after(answer(dice), Act::OrderCompleted);
        self.bought(dice)
    }

    fn come_back(&mut self, dice: &mut Dice, left: Left) -> Chapter {
        if dice.happens(&f::ORDERS_BY_PHONE) {
            self.session = None;
            self.channel = Channel::Phone;
            self.now(match left {
                Left::Basket => Act::BasketOrdered,
                Left::Checkout => Act::OrderCompleted,
            });
            return self.bought(dice);
        }
        if dice.happens(&f::IS_REMINDED) {
            self.session = None;
            self.channel = Channel::Email;
            self.now(Act::Plain("email.opened"));
            self.wait(dice.pause(times(5, SECOND), times(5, MINUTE)));
        }
        self.enter(dice);
        self.go_on(dice, left)
    }

    /// Where it was left.
    fn go_on(&mut self, dice: &mut Dice, left: Left) -> Chapter {
        match left {
            Left::Basket => {
                self.now(Act::CheckoutStarted);
                self.check_out(dice)
            }
            Left::Checkout => {
                self.now(Act::CheckoutStep(3));
                self.pay(dice)
            }
        }
    }

    fn service(&mut self, dice: &mut Dice) -> Chapter {
        self.session = None;
        self.channel = Channel::Email;
        self.after(dice.pause(times(2, HOUR), times(30, HOUR)), Act::Order("order.shipped"));
        self.after(dice.pause(times(12, HOUR), times(3, DAY)), Act::Order("order.delivered"));
        if dice.happens(&f::NEEDS_SERVICE) {
            self.channel = dice.one_of([Channel::Phone, Channel::Email, Channel::Web]);
            self.after(dice.pause(HOUR, times(4, DAY)), Act::Order("ticket.opened"));
            self.after(dice.pause(times(10, MINUTE), times(2, DAY)), Act::Order("ticket.resolved"));
        }
        if dice.happens(&f::ANSWERS_SURVEY) {
            self.channel = Channel::Email;
            let grade = dice.one_of([2, 5, 7, 8, 9, 9, 10, 10]);
            self.after(dice.pause(HOUR, times(3, DAY)), Act::SurveyAnswered(grade));
        }
        self.channel = Channel::Web;
        if dice.happens(&f::WRITES_REVIEW) {
            let stars = dice.one_of([1, 3, 4, 5, 5, 5]);
            self.after(dice.pause(times(3, HOUR), times(9, DAY)), Act::ReviewPublished(stars));
        }
        if dice.happens(&f::RECOMMENDS) {
            self.channel = Channel::App;
            self.after(dice.pause(HOUR, times(9, DAY)), Act::ReferralShared);
        }
        if dice.happens(&f::LOOKS_AGAIN) {
            self.wait(dice.pause(times(6, HOUR), times(12, DAY)));
            return self.wish(dice);
        }
        if dice.happens(&f::FALLS_SILENT) {
            self.wait(dice.span(times(91, DAY), times(130, DAY)));
        } else {
            self.wait(dice.pause(DAY, times(20, DAY)));
        }
        Chapter::Messages
    }

    /// The order is given; what follows takes some time.
    fn bought(&mut self, dice: &mut Dice) -> Chapter {
        self.wait(dice.span(times(20, MINUTE), HOUR));
        Chapter::Service
    }

    /// Goes away from something begun: some come back, never before baskets and checkouts count as abandoned.
    fn leave(&mut self, dice: &mut Dice, left: Left) -> Chapter {
        self.leaves = Some((left, self.at));
        if dice.happens(&f::COMES_BACK) {
            self.wait(dice.pause(times(35, MINUTE), times(47, HOUR)));
            return Chapter::Return { left };
        }
        self.drift(dice)
    }

    /// Loses interest for a while.
    fn drift(&mut self, dice: &mut Dice) -> Chapter {
        self.wait(dice.pause(times(6, HOUR), times(12, DAY)));
        Chapter::Messages
    }

    fn costs(&self, dice: &mut Dice) -> u32 {
        match self.price {
            Price::Small => dice.number(5, 40) * 100 - 10,
            Price::Middle => dice.number(40, 200) * 100,
            Price::Dear => dice.number(250, 900) * 100,
        }
    }

    fn enter(&mut self, dice: &mut Dice) {
        self.channel = dice.one_of([Channel::Web, Channel::Web, Channel::App]);
        self.sessions += 1;
        self.session = Some(self.sessions);
    }

    fn wait(&mut self, span: Span) {
        self.at = self.at + span;
    }

    fn after(&mut self, span: Span, act: Act) {
        self.wait(span);
        self.now(act);
    }

    fn now(&mut self, act: Act) {
        let Life { at, channel, known, session, basket, cents, .. } = *self;
        self.planned.push_back(Deed { at, act, channel, known, session, basket, cents });
    }
}
