//! What must come of one customer's touchpoints under `models/shop.yaml`: slow, obvious, and by rules written down here.
//!
//! It takes the whole story at once, in order of time. It knows no shards, no partitions and no late records: the load is
//! made so that none of these can change the answer.

use std::collections::BTreeSet;

/// Seconds, as the story counts milliseconds.
const SECOND: i64 = 1_000;

const STAGES: [&str; 5] = ["awareness", "consideration", "decision", "retention", "advocacy"];
const STAGE_QUIET: [Option<i64>; 5] = [Some(15 * SECOND), Some(10 * SECOND), Some(12 * SECOND), Some(15 * SECOND), None];
const STAGE_RECOVERED: [i64; 5] = [60 * SECOND, 30 * SECOND, 60 * SECOND, 60 * SECOND, 7 * 86_400 * SECOND];

const EPISODES: [&str; 2] = ["basket", "checkout"];
const EPISODE_QUIET: [i64; 2] = [10 * SECOND, 12 * SECOND];
const EPISODE_RECOVERED: [i64; 2] = [30 * SECOND, 60 * SECOND];
const BASKET: usize = 0;

/// A touchpoint as the oracle sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Act {
    pub at: i64,
    pub id: String,
    pub kind: &'static str,
    pub session: Option<String>,
    pub cart: Option<String>,
    pub checkout: Option<String>,
    pub order: Option<String>,
    pub value: Option<i64>,
}

/// What must be published, as far as it is not a matter of wording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub sequence: u64,
    pub kind: &'static str,
    pub journey: u64,
    pub at: i64,
    pub cause: Option<String>,
    pub from: Option<&'static str>,
    pub to: Option<&'static str>,
    pub movement: Option<&'static str>,
    pub time_in_stage: Option<i64>,
    pub subject: Option<String>,
    pub ids: BTreeSet<String>,
    pub opened_by: Option<String>,
    pub opened_at: Option<i64>,
    pub last_progress: Option<String>,
    pub last_progress_at: Option<i64>,
    pub progress_count: Option<u64>,
    /// The deadline of the abandonment that it answers.
    pub answers: Option<i64>,
    pub value: Option<i64>,
}

/// What is watched for absence.
#[derive(Clone, Debug)]
struct Watched {
    opened_by: String,
    opened_at: i64,
    last: String,
    last_at: i64,
    count: u64,
    /// `None`: nothing is awaited.
    deadline: Option<i64>,
    /// Deadline of the latest abandonment.
    abandonment: Option<i64>,
    /// How many episodes of the kind had been opened by then.
    opened_then: u64,
    abandoned: bool,
}

impl Watched {
    fn by(act: &Act, quiet: Option<i64>) -> Watched {
        Watched {
            opened_by: act.id.clone(),
            opened_at: act.at,
            last: act.id.clone(),
            last_at: act.at,
            count: 1,
            deadline: quiet.map(|quiet| act.at + quiet),
            abandonment: None,
            opened_then: 0,
            abandoned: false,
        }
    }

    fn progress(&mut self, act: &Act, quiet: Option<i64>) {
        self.last = act.id.clone();
        self.last_at = act.at;
        self.count += 1;
        self.deadline = quiet.map(|quiet| act.at + quiet);
        self.abandoned = false;
    }

    fn abandon(&mut self, at: i64) {
        self.deadline = None;
        self.abandonment = Some(at);
        self.abandoned = true;
    }

    fn answered(&self, at: i64, within: i64) -> Option<i64> {
        self.abandonment.filter(|abandonment| at < abandonment + within)
    }

    fn about(&self, subject: String) -> Told {
        Told {
            subject: Some(subject),
            opened_by: Some(self.opened_by.clone()),
            opened_at: Some(self.opened_at),
            last_progress: Some(self.last.clone()),
            last_progress_at: Some(self.last_at),
            progress_count: Some(self.count),
            ..Told::default()
        }
    }
}

#[derive(Clone, Debug)]
struct Episode {
    kind: usize,
    number: u64,
    ids: BTreeSet<String>,
    session: Option<String>,
    value: Option<i64>,
    /// When a touchpoint was last about it.
    touched: i64,
    watched: Watched,
}

impl Episode {
    fn about(&self) -> Told {
        let about = self.watched.about(format!("{} {}", EPISODES[self.kind], self.number));
        Told { ids: self.ids.clone(), value: self.value, ..about }
    }
}

#[derive(Default)]
struct Story {
    told: Vec<Told>,
    journey: u64,
    stage: Option<(usize, Watched)>,
    episodes: Vec<Episode>,
    opened: [u64; 2],
    /// By kind: the ids of each that is completed.
    closed: [Vec<BTreeSet<String>>; 2],
}

/// Everything that must be published about one customer until `end`.
pub(crate) fn judge(acts: &[Act], end: i64) -> Vec<Told> {
    let mut story = Story { journey: 1, ..Story::default() };
    for act in acts {
        story.pass_time_until(act.at);
        story.take_basket(act);
        story.take_checkout(act);
        story.take_stage(act);
    }
    story.pass_time_until(end);
    story.told
}

/// Whether two name the same thing: the first name of the chain under which both have an id decides.
fn is_same(one: &BTreeSet<String>, other: &BTreeSet<String>) -> bool {
    let of = |ids: &BTreeSet<String>, name: &str| -> BTreeSet<String> {
        ids.iter().filter(|id| id.starts_with(name)).cloned().collect()
    };
    let both = ["cart_id", "checkout_id", "order_id"].map(|name| (of(one, name), of(other, name)));
    let decides = both.iter().find(|(one, other)| !one.is_empty() && !other.is_empty());
    decides.is_some_and(|(one, other)| !one.is_disjoint(other))
}

impl Story {
    fn tell(&mut self, told: Told) {
        self.told.push(Told { sequence: self.told.len() as u64 + 1, journey: self.journey, ..told });
    }

    /// A touchpoint exactly at a deadline is too late.
    fn pass_time_until(&mut self, now: i64) {
        loop {
            let of_episodes = self.episodes.iter().filter_map(|episode| episode.watched.deadline);
            let of_stage = self.stage.iter().filter_map(|(_, watched)| watched.deadline);
            let Some(next) = of_episodes.chain(of_stage).min().filter(|next| *next <= now) else { return };
            self.episodes.sort_by_key(|episode| (episode.kind, episode.number));
            for place in 0..self.episodes.len() {
                if self.episodes[place].watched.deadline == Some(next) {
                    let about = self.episodes[place].about();
                    self.tell(Told { kind: "abandonment", at: next, ..about });
                    self.episodes[place].watched.abandon(next);
                    self.episodes[place].watched.opened_then = self.opened[self.episodes[place].kind];
                }
            }
            let value = self.at_stake();
            if let Some((stage, watched)) = self.stage.as_mut().filter(|(_, watched)| watched.deadline == Some(next)) {
                let about = watched.about(format!("stage {}", STAGES[*stage]));
                watched.abandon(next);
                self.tell(Told { kind: "abandonment", at: next, value, ..about });
            }
        }
    }

    /// The worth of the open episode that was touched last, among those that have one; of two touched at once, the one opened
    /// later.
    fn at_stake(&self) -> Option<i64> {
        let open = self.episodes.iter().filter(|episode| !episode.watched.abandoned && episode.value.is_some());
        open.max_by_key(|episode| (episode.touched, episode.watched.opened_at, episode.kind))?.value
    }

    /// Any touchpoint keeps a basket from being abandoned.
    fn take_basket(&mut self, act: &Act) {
        let ids: BTreeSet<String> =
            [named("cart_id", &act.cart), named("checkout_id", &act.checkout), named("order_id", &act.order)]
                .into_iter()
                .flatten()
                .collect();
        let mut about = None;
        if act.kind == "order.completed" {
            self.complete(BASKET, act, &ids);
        } else if self.is_closed(BASKET, &ids) {
            self.tie_to_closed(BASKET, act, &ids);
        } else {
            // Only adding to a basket is about a basket; anything else is about one that it names.
            about = match self.named_by(BASKET, act) {
                Some(number) => Some(number),
                None if act.kind != "cart.added" => None,
                None if ids.is_empty() => self.latest_open(BASKET, act.session.as_ref()),
                None => self.nameless(BASKET, act.session.as_ref()),
            };
            match about {
                Some(number) => self.touch(BASKET, number, act, &ids),
                None if act.kind == "cart.added" => about = Some(self.open(BASKET, act, ids)),
                None => {}
            }
        }
        for episode in self.episodes.iter_mut().filter(|episode| episode.kind == BASKET && !episode.watched.abandoned) {
            if Some(episode.number) != about {
                episode.watched.progress(act, Some(EPISODE_QUIET[BASKET]));
            }
        }
    }

    /// Only what belongs to the checkout keeps it from being abandoned.
    fn take_checkout(&mut self, act: &Act) {
        const CHECKOUT: usize = 1;
        let ids: BTreeSet<String> =
            [named("checkout_id", &act.checkout), named("order_id", &act.order)].into_iter().flatten().collect();
        match act.kind {
            "order.completed" => self.complete(CHECKOUT, act, &ids),
            "checkout.started" | "checkout.step" | "payment.failed" => {
                if self.is_closed(CHECKOUT, &ids) {
                    return self.tie_to_closed(CHECKOUT, act, &ids);
                }
                let latest = self.latest_open(CHECKOUT, act.session.as_ref());
                // A second name for the open checkout, unless that has such a name already.
                let alias = latest.filter(|number| {
                    let known = &self.episode(CHECKOUT, *number).ids;
                    let has = |name: &str| known.iter().any(|id| id.starts_with(name));
                    !(act.checkout.is_some() && has("checkout_id") || act.order.is_some() && has("order_id"))
                });
                let about = match self.named_by(CHECKOUT, act) {
                    Some(number) => Some(number),
                    None if ids.is_empty() => latest,
                    None if act.kind == "checkout.started" => self.nameless(CHECKOUT, act.session.as_ref()),
                    None => alias,
                };
                match about {
                    Some(number) => self.touch(CHECKOUT, number, act, &ids),
                    None if act.kind == "checkout.started" => {
                        self.open(CHECKOUT, act, ids);
                    }
                    None => {}
                }
            }
            _ => {}
        }
    }

    fn episode(&mut self, kind: usize, number: u64) -> &mut Episode {
        let found = self.episodes.iter_mut().find(|episode| episode.kind == kind && episode.number == number);
        found.expect("it was found a moment ago")
    }

    /// The open or abandoned episode that has one of the touchpoint's ids; the cart's id speaks before the checkout's, that
    /// before the order's.
    fn named_by(&self, kind: usize, act: &Act) -> Option<u64> {
        let cart = named("cart_id", &act.cart).filter(|_| kind == BASKET);
        let ids = [cart, named("checkout_id", &act.checkout), named("order_id", &act.order)];
        let of_act: BTreeSet<String> = ids.iter().flatten().cloned().collect();
        ids.into_iter().flatten().find_map(|id| {
            let is_it =
                |episode: &&Episode| episode.kind == kind && episode.ids.contains(&id) && is_same(&of_act, &episode.ids);
            self.episodes.iter().find(is_it).map(|found| found.number)
        })
    }

    fn latest_open(&self, kind: usize, session: Option<&String>) -> Option<u64> {
        self.latest_of(kind, session, |_| true)
    }

    /// What was opened without an id takes that of the next one that would open.
    fn nameless(&self, kind: usize, session: Option<&String>) -> Option<u64> {
        self.latest_of(kind, session, |episode| episode.ids.is_empty())
    }

    fn latest_of(&self, kind: usize, session: Option<&String>, fits: impl Fn(&Episode) -> bool) -> Option<u64> {
        let open = |episode: &&Episode| episode.kind == kind && !episode.watched.abandoned && fits(episode);
        let latest = |episodes: Vec<&Episode>| {
            episodes.into_iter().max_by_key(|episode| (episode.touched, episode.number)).map(|episode| episode.number)
        };
        let in_session = |episode: &&Episode| session.is_some() && episode.session.as_ref() == session;
        latest(self.episodes.iter().filter(open).filter(in_session).collect())
            .or_else(|| latest(self.episodes.iter().filter(open).collect()))
    }

    fn open(&mut self, kind: usize, act: &Act, ids: BTreeSet<String>) -> u64 {
        self.opened[kind] += 1;
        let number = self.opened[kind];
        self.episodes.push(Episode {
            kind,
            number,
            ids,
            session: act.session.clone(),
            value: act.value,
            touched: act.at,
            watched: Watched::by(act, Some(EPISODE_QUIET[kind])),
        });
        number
    }

    fn touch(&mut self, kind: usize, number: u64, act: &Act, ids: &BTreeSet<String>) {
        let episode = self.episode(kind, number);
        episode.ids.extend(ids.iter().cloned());
        episode.session = act.session.clone().or(episode.session.take());
        episode.value = act.value.or(episode.value);
        episode.touched = act.at;
        let resumed = episode.watched.abandoned.then_some(episode.watched.abandonment).flatten();
        episode.watched.progress(act, Some(EPISODE_QUIET[kind]));
        if resumed.is_some() {
            let about = episode.about();
            self.tell(Told { kind: "resumption", at: act.at, cause: Some(act.id.clone()), answers: resumed, ..about });
        }
    }

    fn is_closed(&self, kind: usize, ids: &BTreeSet<String>) -> bool {
        self.closed[kind].iter().any(|closed| is_same(ids, closed))
    }

    /// All episodes that these ids name.
    fn all_named(&self, kind: usize, ids: &BTreeSet<String>) -> Vec<u64> {
        let named = self.episodes.iter().filter(|episode| episode.kind == kind && is_same(ids, &episode.ids));
        named.map(|episode| episode.number).collect()
    }

    /// The abandonment that a completion now recovers: not too long ago, and nothing of the kind was opened since.
    fn recovered(&self, episode: &Episode, at: i64) -> Option<i64> {
        let answered = episode.watched.answered(at, EPISODE_RECOVERED[episode.kind]);
        answered.filter(|_| episode.watched.opened_then == self.opened[episode.kind])
    }

    /// A purchase completes the episodes that it names; without a known name, all open ones of its session, or of the customer
    /// where it has no session; where its session has none, the customer's latest; where none is open, the abandoned one there
    /// that it recovers.
    fn complete(&mut self, kind: usize, act: &Act, ids: &BTreeSet<String>) {
        let mut numbers = self.all_named(kind, ids);
        if numbers.is_empty() && !self.is_closed(kind, ids) {
            // Where one of the ids is known, nothing is meant that does not have it.
            let shares = |known: &BTreeSet<String>| !known.is_disjoint(ids);
            let is_known =
                self.episodes.iter().any(|one| one.kind == kind && shares(&one.ids)) || self.closed[kind].iter().any(shares);
            let may = |one: &Episode| !is_known || shares(&one.ids);
            let here =
                |one: &&Episode| one.kind == kind && (act.session.is_none() || one.session == act.session) && may(one);
            let all_here = || self.episodes.iter().filter(here);
            numbers.extend(all_here().filter(|one| !one.watched.abandoned).map(|one| one.number));
            if numbers.is_empty() {
                numbers.extend(self.latest_of(kind, None, may));
            }
            if numbers.is_empty() {
                let recovers = |one: &&Episode| {
                    one.kind == kind && one.watched.abandoned && may(one) && self.recovered(one, act.at).is_some()
                };
                let latest = all_here().filter(recovers).max_by_key(|one| (one.touched, one.number));
                let anywhere = self.episodes.iter().filter(recovers).max_by_key(|one| (one.touched, one.number));
                numbers.extend(latest.or(anywhere).map(|one| one.number));
            }
        }
        self.close(kind, numbers, act, ids);
    }

    /// A touchpoint says that a completed id and other ids are one thing: what is open under those is completed as well.
    fn tie_to_closed(&mut self, kind: usize, act: &Act, ids: &BTreeSet<String>) {
        self.close(kind, self.all_named(kind, ids), act, ids);
    }

    fn close(&mut self, kind: usize, mut numbers: Vec<u64>, act: &Act, ids: &BTreeSet<String>) {
        numbers.sort_unstable();
        // What a purchase of several was for stands once at most.
        let all: Vec<Episode> = numbers.iter().map(|number| self.episode(kind, *number).clone()).collect();
        let is_valued = all.iter().any(|episode| episode.value.is_some());
        let last = all.iter().max_by_key(|episode| (episode.touched, episode.number)).map(|episode| episode.number);
        for mut episode in all {
            let number = episode.number;
            episode.ids.extend(ids.iter().cloned());
            self.closed[kind].push(episode.ids.clone());
            episode.value = match numbers.len() {
                1 => act.value.or(episode.value),
                _ => episode.value.or(act.value.filter(|_| !is_valued && last == Some(number))),
            };
            let (about, answers) = (episode.about(), self.recovered(&episode, act.at));
            self.episodes.retain(|episode| episode.kind != kind || episode.number != number);
            let cause = Some(act.id.clone());
            self.tell(Told { kind: "completion", at: act.at, cause: cause.clone(), ..about.clone() });
            if answers.is_some() {
                self.tell(Told { kind: "recovery", at: act.at, cause, answers, ..about });
            }
        }
        self.closed[kind].push(ids.clone());
    }

    fn take_stage(&mut self, act: &Act) {
        let belongs = match act.kind {
            "ad.seen" | "email.opened" => Some(0),
            "page.viewed" | "product.viewed" => Some(1),
            "cart.added" | "checkout.started" | "checkout.step" | "payment.failed" => Some(2),
            "order.completed" => Some(3),
            "review.published" => Some(4),
            _ => None,
        };
        let present = self.stage.as_ref().map(|(stage, _)| *stage);
        match (present, belongs) {
            (None, None) => {}
            (Some(2), None) if act.kind == "coupon.denied" => self.enter(1, "regress", act),
            (Some(3 | 4), Some(1)) if act.kind == "product.viewed" => self.enter(1, "re-enter", act),
            (Some(present), Some(to)) if to == present => self.stay(true, act),
            (present, Some(to)) if present.is_none_or(|present| to > present) => {
                let next = present.map_or(0, |present| present + 1);
                let movement = match to {
                    4 => "complete",
                    to if to == next => "advance",
                    _ => "skip",
                };
                self.enter(to, movement, act);
            }
            (Some(_), _) => self.stay(false, act),
            (None, Some(_)) => unreachable!("every stage lies after none"),
        }
    }

    fn enter(&mut self, to: usize, movement: &'static str, act: &Act) {
        let value = self.at_stake();
        let left = self.stage.take();
        let cause = Some(act.id.clone());
        if let Some((from, watched)) = &left
            && matches!(movement, "advance" | "skip" | "complete")
            && let Some(abandonment) = watched.answered(act.at, STAGE_RECOVERED[*from])
        {
            let about = watched.about(format!("stage {}", STAGES[*from]));
            let (cause, answers) = (cause.clone(), Some(abandonment));
            self.tell(Told { kind: "recovery", at: act.at, cause, answers, value, ..about });
        }
        if movement == "re-enter" {
            self.journey += 1;
        }
        self.tell(Told {
            kind: "transition",
            at: act.at,
            cause,
            from: left.as_ref().map(|(from, _)| STAGES[*from]),
            to: Some(STAGES[to]),
            movement: Some(movement),
            time_in_stage: left.map(|(_, watched)| act.at - watched.opened_at),
            value,
            ..Told::default()
        });
        self.stage = Some((to, Watched::by(act, STAGE_QUIET[to])));
    }

    /// Any touchpoint keeps a stage from being abandoned; only one that belongs to it takes it up again.
    fn stay(&mut self, belongs: bool, act: &Act) {
        let value = self.at_stake();
        let Some((stage, watched)) = &mut self.stage else { return };
        if watched.abandoned && !belongs {
            return;
        }
        let resumed = watched.abandoned.then_some(watched.abandonment).flatten();
        watched.progress(act, STAGE_QUIET[*stage]);
        if resumed.is_some() {
            let about = watched.about(format!("stage {}", STAGES[*stage]));
            self.tell(Told {
                kind: "resumption",
                at: act.at,
                cause: Some(act.id.clone()),
                answers: resumed,
                value,
                ..about
            });
        }
    }
}

fn named(name: &str, id: &Option<String>) -> Option<String> {
    id.as_ref().map(|id| format!("{name}={id}"))
}
