//! The judge's walk through one customer's touchpoints: whole lists of what was, and everything worked out from them anew.

mod episodes;
mod facts;
mod friction;
mod stages;

use std::collections::BTreeSet;

use super::plan::{Name, Plan, Seconds, Touch};

/// A touchpoint longer on its way than this counts from its log time (rule 6).
pub(super) const MAX_DELAY: Seconds = 4;
/// Without session ids, a gap of so long begins a new visit.
const VISIT_GAP: Seconds = 1_800;
const COOL_DOWN: Seconds = 3_600;

/// A touchpoint that was applied, and what it was then.
struct Seen {
    touch: Touch,
    /// What its spans count from.
    counts_from: Seconds,
    /// Its type, and the groups whose condition held.
    names: BTreeSet<Name>,
    /// By stage: whether the stage's condition held for it.
    lets_in: Vec<bool>,
    /// In what friction is gathered from it.
    journey: u32,
    stay: Option<usize>,
    /// Whether it was part of buying, and the stage that the journey stood in after it.
    buying: bool,
    after: Option<usize>,
    /// The stay that it began.
    entered: Option<usize>,
    episodes: Vec<Option<usize>>,
    /// The journey and the stage in which it is summed up.
    summed_in: (u32, Option<usize>),
    /// The customer's segment, for friction.
    segment: Option<Name>,
}

/// One stay in a stage.
struct Stay {
    journey: u32,
    stage: usize,
    since: Seconds,
    /// The touchpoints before this one came before the stay.
    first: usize,
    /// When each progress was, and for how long from then on silence is allowed.
    progress: Vec<(Seconds, Option<Seconds>)>,
    /// How long that is after the latest one is not known yet.
    unmeasured: bool,
    /// The date that was carried last, by when that happened.
    date: Option<Seconds>,
    dated: Option<Seconds>,
    /// The latest abandonment, and whether it was not resumed.
    abandonment: Option<Seconds>,
    abandoned: bool,
    /// How many touchpoints there were when it was abandoned last, and how often a rule had fired.
    left: (usize, usize),
    /// How often the absence was told since the latest progress, and when it is told again.
    told: u32,
    next: Option<Seconds>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    Abandoned,
    Completed,
    Emptied,
    Cancelled,
}

struct Episode {
    kind: usize,
    /// 1, 2, … of its kind.
    number: usize,
    id: Option<u8>,
    /// When the touchpoint that opened it happened.
    opened: Seconds,
    state: State,
    progress: Vec<(Seconds, Option<Seconds>)>,
    /// Where in the list of touchpoints the latest progress stands.
    latest: usize,
    date: Option<Seconds>,
    dated: Option<Seconds>,
    value: Option<i64>,
    /// When what carried it happened.
    valued: Option<Seconds>,
    abandoned: Option<Seconds>,
    abandonments: i64,
    /// How many touchpoints there were when it was abandoned last, and how often a rule had fired.
    left: (usize, usize),
    /// How many episodes there were when it was abandoned last.
    then: usize,
    /// When each progress happened.
    happened: Vec<Seconds>,
    paid: i64,
    /// How often the absence was told since the latest progress, and when it is told again.
    told: u32,
    /// When that was.
    tellings: Vec<Seconds>,
    next: Option<Seconds>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Episode(usize),
    Session(u8),
    Stay(usize),
    Journey(u32),
}

/// A rule's threshold was reached.
struct Fired {
    rule: usize,
    place: Place,
    at: Seconds,
    evidence: Vec<usize>,
    /// How many touchpoints there were then.
    seen: usize,
    /// The scores that it added to, and where.
    weighed_in: Vec<(usize, Place)>,
}

/// An absence that is waited for; in the order in which they come when they are due at once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Due {
    /// Kind and place in the list.
    Episode(usize, usize),
    Question(usize, usize),
    Stage,
}

pub(super) struct Judge<'a> {
    plan: &'a Plan,
    seen: Vec<Seen>,
    stays: Vec<Stay>,
    episodes: Vec<Episode>,
    fired: Vec<Fired>,
    /// Questions whose time has come: rule and touchpoint.
    decided: Vec<(usize, usize)>,
    /// By question: how long its answer is waited for.
    awaited: Vec<(usize, usize, Option<Seconds>)>,
    /// The customer's segment after the latest touchpoint.
    segment: Option<Name>,
    /// Ids that were completed or cancelled, and when something was completed.
    closed: BTreeSet<(usize, u8)>,
    bought: Vec<(usize, Seconds)>,
    told: Vec<String>,
    /// What this touchpoint, or this absence, has said; the segment comes behind it at the end.
    saying: Vec<String>,
}

/// What must be published, a line each.
pub(crate) fn judge(plan: &Plan, touches: &[Touch], end: Seconds) -> Vec<String> {
    let mut judge = Judge {
        plan,
        seen: Vec::new(),
        stays: Vec::new(),
        episodes: Vec::new(),
        fired: Vec::new(),
        decided: Vec::new(),
        awaited: Vec::new(),
        segment: None,
        closed: BTreeSet::new(),
        bought: Vec::new(),
        told: Vec::new(),
        saying: Vec::new(),
    };
    for touch in touches {
        judge.pass_to(touch.log_time);
        judge.apply(touch.clone());
        judge.pass_to(touch.log_time);
    }
    judge.pass_to(end);
    judge.told
}

impl Judge<'_> {
    // Absence.

    fn pass_to(&mut self, now: Seconds) {
        while let Some((at, due)) = self.dues().into_iter().min().filter(|(at, _)| *at <= now) {
            match due {
                Due::Episode(_, number) => {
                    self.say(at, None, &format!("abandonment {}", self.episode_name(number)));
                    let there = self.of_kind(self.episodes[number].kind);
                    let left = (self.seen.len(), self.fired.len());
                    let episode = &mut self.episodes[number];
                    (episode.state, episode.abandoned) = (State::Abandoned, Some(at));
                    // One that opens while it is told again is later than it.
                    if episode.told == 0 {
                        episode.then = there;
                        episode.tellings.clear();
                    }
                    episode.left = left;
                    episode.abandonments += 1;
                    episode.told += 1;
                    episode.tellings.push(at);
                    let again = self.plan.kinds[episode.kind].again_every;
                    let again = again.filter(|(_, most)| episode.told < *most && latest(&episode.progress) <= at);
                    episode.next = again.map(|(every, _)| at + every);
                    // What has passed does not pass again.
                    episode.date = episode.date.filter(|date| *date > at);
                }
                Due::Question(..) => self.miss(at),
                Due::Stage => {
                    let left = (self.seen.len(), self.fired.len());
                    let stay = self.stays.last_mut().expect("a stage");
                    (stay.abandoned, stay.abandonment, stay.left) = (true, Some(at), left);
                    stay.date = stay.date.filter(|date| *date > at);
                    let stage = &self.plan.stages[stay.stage];
                    stay.told += 1;
                    let again = stage.again_every.filter(|_| stage.then.is_none());
                    let again = again.filter(|(_, most)| stay.told < *most && latest(&stay.progress) <= at);
                    stay.next = again.map(|(every, _)| at + every);
                    let name = stage.name.clone();
                    let then = stage.then.clone();
                    self.say(at, None, &format!("abandonment stage {name}"));
                    if let Some(then) = then {
                        let to = self.stage_called(&then);
                        self.enter(to, "End", at, None);
                        self.arm_stage();
                    }
                }
            }
            self.flush();
        }
    }

    /// Whatever is not answered by this instant; then the journey goes back, if that leads back.
    fn miss(&mut self, now: Seconds) {
        let mut dues = self.dues();
        dues.retain(|(at, _)| *at == now);
        dues.sort();
        let mut ways = Vec::new();
        for (_, due) in dues {
            let Due::Question(rule, question) = due else { continue };
            self.decided.push((rule, question));
            if self.applies(rule, &self.segment) {
                let place = self.place(rule, question).expect("a question that is waited for");
                ways.extend(self.fire(rule, place, now, vec![question], None));
            }
        }
        for rule in ways {
            if let Some(to) = self.leads_back(rule) {
                self.enter(to, "Regress", now, None);
                self.arm_stage();
            }
        }
    }

    fn dues(&self) -> Vec<(Seconds, Due)> {
        let mut dues = Vec::new();
        for (number, episode) in self.episodes.iter().enumerate() {
            if episode.state == State::Open {
                dues.extend(earliest(&episode.progress, episode.date).map(|at| (at, Due::Episode(episode.kind, number))));
            }
            if episode.state == State::Abandoned {
                dues.extend(episode.next.map(|at| (at, Due::Episode(episode.kind, number))));
            }
        }
        for (rule, question, length) in &self.awaited {
            if let Some(length) = length
                && self.is_unanswered(*rule, *question)
            {
                dues.push((self.seen[*question].counts_from + length, Due::Question(*rule, *question)));
            }
        }
        if let Some(stay) = self.stays.last()
            && !stay.abandoned
            && !self.plan.stages[stay.stage].ends
        {
            dues.extend(earliest(&stay.progress, stay.date).map(|at| (at, Due::Stage)));
        }
        dues.extend(self.stays.last().filter(|stay| stay.abandoned).and_then(|stay| stay.next).map(|at| (at, Due::Stage)));
        dues
    }

    // A touchpoint.

    fn apply(&mut self, touch: Touch) {
        let at = touch.happened;
        let counts_from = if touch.log_time - at > MAX_DELAY { touch.log_time } else { at };
        let here = self.seen.len();
        let journey = self.journey();
        let stay = self.stays.len().checked_sub(1);
        let mut names = BTreeSet::from([touch.kind.to_owned()]);
        // What a touchpoint means is decided by what was before it.
        for group in &self.plan.groups {
            let member = group.of.iter().any(|of| of == touch.kind);
            if member && group.when.as_ref().is_none_or(|when| self.holds(when, Some(&touch), None)) {
                names.insert(group.name.clone());
            }
        }
        self.seen.push(Seen {
            counts_from,
            names,
            lets_in: Vec::new(),
            journey,
            stay,
            buying: false,
            after: None,
            entered: None,
            episodes: Vec::new(),
            summed_in: (journey, self.stays.last().map(|stay| stay.stage)),
            segment: None,
            touch,
        });
        let stirred: Vec<usize> = (0..self.plan.kinds.len()).flat_map(|kind| self.episode_step(kind, here)).collect();
        self.seen[here].episodes = (0..self.plan.kinds.len()).map(|kind| self.concerned(kind, here)).collect();
        self.segment = self.find_segment();
        for number in stirred {
            if self.episodes[number].state == State::Open {
                let kind = &self.plan.kinds[self.episodes[number].kind];
                let length = kind.after.as_ref().and_then(|wait| self.length(wait, Some(number)));
                self.episodes[number].progress.last_mut().expect("this progress").1 = length;
            }
        }
        self.seen[here].segment = self.segment.clone();
        self.seen[here].buying = self.is_buying(here);
        let published = self.friction_step(here);
        self.stage_step(here, published);
        self.segment = self.find_segment();
        self.ask_where_entered(here);
        self.arm_stage();
        self.seen[here].after = self.stays.last().map(|stay| stay.stage);
        self.flush();
    }

    fn is(&self, here: usize, name: &str) -> bool {
        self.seen[here].names.contains(name)
    }

    // Telling.

    fn say(&mut self, at: Seconds, cause: Option<usize>, what: &str) {
        let cause = cause.map_or(String::new(), |cause| format!(" by t{cause}"));
        let journey = self.journey();
        self.saying.push(format!("{at}s {what}{cause} journey {journey}"));
    }

    fn flush(&mut self) {
        let segment = self.segment.as_ref().map_or(String::new(), |segment| format!(" of {segment}"));
        self.told.extend(self.saying.drain(..).map(|line| format!("{line}{segment}")));
    }
}

/// From when the latest progress counts.
fn latest(progress: &[(Seconds, Option<Seconds>)]) -> Seconds {
    progress.iter().map(|(at, _)| *at).max().unwrap_or(Seconds::MIN)
}

/// The earlier of the date and of the silence after the latest progress.
fn earliest(progress: &[(Seconds, Option<Seconds>)], date: Option<Seconds>) -> Option<Seconds> {
    let latest = progress.iter().map(|(at, _)| *at).max()?;
    let length = progress.last().and_then(|(_, length)| *length);
    let silent = length.map(|length| latest + length);
    [silent, date].into_iter().flatten().min()
}
