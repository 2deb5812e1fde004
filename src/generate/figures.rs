//! How often customers do what: every figure of the load with its source.

/// How often something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// What happens, in words.
    pub what: &'static str,
    /// In so many of a thousand cases.
    pub permille: u32,
    /// Where the figure comes from.
    pub source: Source,
}

/// Where a figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The article about the stages of the customer's life cycle, in its step about buying.
    LifeCycleArticle,
    /// No source gives it; chosen for the reason given.
    Chosen(&'static str),
}

/// A message is seen so often, on average, before it is noticed: the same article, in its step about awareness.
pub const EXPOSURES_BEFORE_NOTICE: u32 = 7;

const fn article(what: &'static str, permille: u32) -> Figure {
    Figure { what, permille, source: Source::LifeCycleArticle }
}

const fn chosen(what: &'static str, permille: u32, why: &'static str) -> Figure {
    Figure { what, permille, source: Source::Chosen(why) }
}

const CARTS: &str = "about seven in ten baskets are never bought: the long-known average of online shops";
const VARIETY: &str = "enough to be seen in a minute's demo, rare enough not to govern it";

/// Buyers who have a question at the checkout.
pub const NEEDS_HELP: Figure = article("needs some help while buying online", 830);
/// Of those who find no quick answer.
pub const LEAVES_UNANSWERED: Figure = article("leaves where no quick answer is found", 530);
/// Questions that are answered within two minutes.
pub const ANSWERED_QUICKLY: Figure = chosen("a question is answered within two minutes", 600, VARIETY);
/// Questions without a quick answer that are answered at all.
pub const ANSWERED_LATE: Figure = chosen("an answer that is not quick comes late, not never", 600, VARIETY);
/// Customers who look further once they have noticed the messages.
pub const NOTICES: Figure = chosen("looks further after the messages", 750, "86 of 362 messages a day are noticed at once");
/// Customers who are known by a cookie only until they sign in.
pub const BEGINS_ANONYMOUS: Figure = chosen("is anonymous at first", 250, VARIETY);
/// Visits to a shop in the street among the visits of those who look for something dear.
pub const VISITS_STORE: Figure = chosen("looks at something dear in the store", 250, VARIETY);
/// Purchases in the store among such visits.
pub const BUYS_IN_STORE: Figure = chosen("buys in the store", 200, VARIETY);
/// Customers who put something into the basket after their research.
pub const FILLS_BASKET: Figure = chosen("fills a basket after the research", 600, VARIETY);
/// Baskets that are emptied again.
pub const EMPTIES_BASKET: Figure = chosen("empties the basket", 60, VARIETY);
/// Baskets left lying before the checkout.
pub const LEAVES_BASKET: Figure = chosen("leaves a basket lying", 400, CARTS);
/// Checkouts in which a discount code is refused.
pub const COUPON_DENIED: Figure = chosen("has a discount code refused", 70, VARIETY);
/// Of those.
pub const LEAVES_WITHOUT_COUPON: Figure = chosen("leaves without the discount", 500, VARIETY);
/// Payments that fail.
pub const PAYMENT_FAILS: Figure = chosen("has a payment refused", 80, "card payments online fail at about that rate");
/// Of those.
pub const LEAVES_UNPAID: Figure = chosen("leaves after a refused payment", 400, VARIETY);
/// Baskets and checkouts that were left and are taken up again within two days.
pub const COMES_BACK: Figure = chosen("comes back within two days", 350, VARIETY);
/// Of those, customers whom an e-mail reminds.
pub const IS_REMINDED: Figure = chosen("comes back after an e-mail", 500, VARIETY);
/// Of those, customers who order by phone instead.
pub const ORDERS_BY_PHONE: Figure = chosen("orders by phone instead", 100, VARIETY);
/// Of those who have left a basket or a checkout, those who come back to it for an offer.
pub const TAKES_OFFER_UP: Figure =
    chosen("comes back for an offer", 400, "over 40 % call live help one of the most important features of a site");
/// Buyers who need service afterwards.
pub const NEEDS_SERVICE: Figure = chosen("opens a ticket after buying", 150, VARIETY);
/// Buyers who answer a survey.
pub const ANSWERS_SURVEY: Figure = chosen("answers the survey", 300, VARIETY);
/// Buyers who publish a review.
pub const WRITES_REVIEW: Figure = chosen("publishes a review", 200, VARIETY);
/// Buyers who recommend.
pub const RECOMMENDS: Figure = chosen("shares a referral link", 100, VARIETY);
/// Buyers who look for something else within weeks, by themselves.
pub const LOOKS_AGAIN: Figure =
    chosen("looks for something else within weeks", 600, "keeping is said to cost a fifth of acquiring");
/// Of the others, those who are silent for more than a quarter.
pub const FALLS_SILENT: Figure = chosen("is silent for a quarter of a year", 250, VARIETY);

/// All of them, in the order of a customer's life.
pub const ALL: [&Figure; 25] = [
    &BEGINS_ANONYMOUS,
    &NOTICES,
    &VISITS_STORE,
    &BUYS_IN_STORE,
    &FILLS_BASKET,
    &EMPTIES_BASKET,
    &LEAVES_BASKET,
    &NEEDS_HELP,
    &ANSWERED_QUICKLY,
    &ANSWERED_LATE,
    &LEAVES_UNANSWERED,
    &COUPON_DENIED,
    &LEAVES_WITHOUT_COUPON,
    &PAYMENT_FAILS,
    &LEAVES_UNPAID,
    &COMES_BACK,
    &IS_REMINDED,
    &ORDERS_BY_PHONE,
    &TAKES_OFFER_UP,
    &NEEDS_SERVICE,
    &ANSWERS_SURVEY,
    &WRITES_REVIEW,
    &RECOMMENDS,
    &LOOKS_AGAIN,
    &FALLS_SILENT,
];
