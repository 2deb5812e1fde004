//! Random models, and random things that a customer does under them.

use super::plan::{Condition, Group, Kind, Name, Plan, Rule, Scope, Seconds, Sign, Stage, Sum, Touch, Wait, Way};

const WORDS: [&str; 16] = [
    "a", "b", "c", "d", "e", "w", "opens", "views", "buys", "empties", "cancels", "fails", "asks", "answers", "leaves",
    "renewed",
];

/// SplitMix64: a seed reproduces a case for ever.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5111_a9e0)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn between(&mut self, least: i64, most: i64) -> i64 {
        least + (self.roll() % (most - least + 1) as u64) as i64
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.roll() % 100 < percent
    }

    fn maybe<T>(&mut self, percent: u64, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.chance(percent) { Some(make(self)) } else { None }
    }

    fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[(self.roll() % among.len() as u64) as usize]
    }

    fn name(&mut self, among: &[&str]) -> Name {
        (*self.pick(among)).to_owned()
    }

    fn within(&mut self) -> Seconds {
        *self.pick(&[3, 5, 8, 12, 20, 40, 100])
    }

    /// A model of the new parts of the language.
    pub(super) fn plan(&mut self) -> Plan {
        let mut plan = Plan::default();
        self.kinds(&mut plan);
        self.tallies(&mut plan);
        self.segments(&mut plan);
        self.another_kind(&mut plan);
        self.groups(&mut plan);
        self.stages(&mut plan);
        self.rules(&mut plan);
        self.ways_back(&mut plan);
        plan
    }

    fn groups(&mut self, plan: &mut Plan) {
        let settled = self.settled_condition(plan);
        let mut add = |name: &str, of: &[&str], when| {
            plan.groups.push(Group { name: name.into(), of: of.iter().map(|&of| of.into()).collect(), when });
        };
        if self.chance(30) {
            add("g0", &["a", "b"], None);
        }
        if self.chance(30) {
            add("happy", &["e"], Some(Condition::Nps(5)));
        }
        if self.chance(30) {
            add("early", &["a", "d"], Some(settled));
        }
    }

    fn kinds(&mut self, plan: &mut Plan) {
        if self.chance(60) {
            plan.kinds.push(Kind {
                name: "basket".into(),
                by_id: self.chance(60),
                opens: "opens".into(),
                progresses: self.maybe(60, |dice| {
                    let mut types = vec!["views".to_owned()];
                    types.extend(dice.maybe(40, |_| "fails".to_owned()));
                    types.extend(dice.maybe(30, |_| "asks".to_owned()));
                    types
                }),
                completes: "buys".into(),
                empties: self.maybe(30, |_| "empties".into()),
                cancels: self.maybe(30, |_| "cancels".into()),
                after: self.maybe(70, |dice| Wait::Fixed(dice.within())),
                abandoned_at: self.chance(20),
                again_every: self.maybe(25, |dice| (dice.within(), dice.between(2, 4) as u32)),
                recovered_within: 50,
                pays: self.maybe(30, |dice| (dice.name(&["fails", "views"]), dice.maybe(50, |dice| dice.between(50, 300)))),
            });
        }
    }

    fn another_kind(&mut self, plan: &mut Plan) {
        if self.chance(30) {
            plan.kinds.push(Kind {
                name: "ticket".into(),
                by_id: self.chance(20),
                opens: "asks".into(),
                progresses: self.maybe(70, |_| vec!["fails".to_owned()]),
                completes: self.name(&["answers", "buys"]),
                after: self.maybe(70, |dice| dice.wait(plan)),
                recovered_within: 50,
                ..Kind::default()
            });
        }
    }

    fn tallies(&mut self, plan: &mut Plan) {
        if self.chance(40) {
            plan.tallies.push(("done".into(), Sum::Count(self.name(&["a", "buys", "fails", "e"]))));
        }
        if self.chance(20) {
            plan.tallies.push(("spent".into(), Sum::Value(self.name(&["buys", "b", "opens"]))));
        }
        if self.chance(20) {
            plan.tallies.push(("mood".into(), Sum::Last(self.name(&["e", "a"]))));
        }
        if self.chance(20) {
            plan.tallies.push(("questions".into(), Sum::Distinct(self.name(&["asks", "a", "fails"]))));
        }
        if self.chance(20) {
            plan.tallies.push(("owed".into(), Sum::ValueOnce(self.name(&["buys", "b", "a"]))));
        }
        if self.chance(20) {
            plan.tallies.push(("visits".into(), Sum::Visits));
        }
    }

    fn segments(&mut self, plan: &mut Plan) {
        if self.chance(60) {
            return;
        }
        if self.chance(80) {
            let condition = self.settled_condition(plan);
            plan.segments.push(("loyal".into(), Some(condition)));
        }
        if self.chance(40) {
            let condition = self.settled_condition(plan);
            plan.segments.push(("careful".into(), Some(condition)));
        }
        plan.segments.push(("everyone".into(), None));
    }

    /// A condition that no single touchpoint decides.
    fn settled_condition(&mut self, plan: &Plan) -> Condition {
        let mut choices = vec![Condition::JourneyNumber(2), Condition::StageTouches(self.between(2, 4))];
        for (tally, sum) in &plan.tallies {
            let least = match sum {
                Sum::Count(_) | Sum::Visits => self.between(1, 3),
                Sum::Distinct(_) => self.between(1, 2),
                Sum::Value(_) | Sum::ValueOnce(_) => self.between(1, 200),
                Sum::Last(_) => self.between(2, 8),
            };
            choices.push(Condition::Customer(tally.clone(), least));
            choices.push(Condition::Journey(tally.clone(), least));
            choices.extend(matches!(sum, Sum::Last(_)).then(|| Condition::StageLast(tally.clone(), least)));
        }
        for kind in &plan.kinds {
            choices.push(Condition::Open(kind.name.clone()));
            choices.push(Condition::Worth(kind.name.clone(), self.between(1, 100)));
            choices.push(Condition::Touches(kind.name.clone(), self.between(2, 4)));
            choices.push(Condition::Abandonments(kind.name.clone(), 1));
        }
        let one = self.pick(&choices).clone();
        let other = self.pick(&choices).clone();
        match self.between(0, 9) {
            0 => Condition::Not(Box::new(one)),
            1 => Condition::And(Box::new(one), Box::new(other)),
            2 => Condition::Or(Box::new(one), Box::new(other)),
            _ => one,
        }
    }

    fn wait(&mut self, plan: &Plan) -> Wait {
        let mut names: Vec<Name> = plan.segments.iter().map(|(name, _)| name.clone()).collect();
        if !names.is_empty() && self.chance(40) {
            // Not every segment need be waited for; the last one mostly is.
            names.retain(|name| name == "everyone" || self.chance(60));
            return Wait::BySegment(names.into_iter().map(|name| (name, self.within())).collect());
        }
        if self.chance(20) {
            let condition = self.settled_condition(plan);
            return Wait::Computed(condition, self.within(), self.within());
        }
        Wait::Fixed(self.within())
    }

    fn entering(&self, plan: &Plan) -> Vec<Name> {
        let mut names: Vec<Name> = ["a", "b", "c", "d", "e"].iter().map(|&name| name.into()).collect();
        names.extend(plan.groups.iter().map(|group| group.name.clone()));
        names.extend((!plan.kinds.is_empty()).then(|| "buys".to_owned()));
        names
    }

    fn stages(&mut self, plan: &mut Plan) {
        let names = self.entering(plan);
        let count = self.between(1, 4);
        for number in 0..count {
            let mut enter = Vec::new();
            for _ in 0..self.between(1, 2) {
                enter.push(match self.between(0, 9) {
                    0..=2 => Way::Count(self.between(2, 3) as usize, self.pick(&names).clone(), self.within()),
                    3..=4 => {
                        let parts = if self.chance(70) { vec!["a", "c"] } else { vec!["b", "d", "e"] };
                        Way::All(parts.into_iter().map(str::to_owned).collect(), self.within())
                    }
                    _ => Way::One(self.pick(&names).clone()),
                });
            }
            let when = self.maybe(25, |dice| match dice.between(0, 6) {
                0 => Condition::Nps(4),
                1 => Condition::NpsOf("a".into(), 4),
                2 if !plan.segments.is_empty() => Condition::InSegment(dice.pick(&plan.segments).0.clone()),
                3 if number > 0 => Condition::StageAge(dice.within()),
                4 if number > 0 => Condition::JourneyAge(dice.within()),
                _ => dice.settled_condition(plan),
            });
            plan.stages.push(Stage {
                name: format!("s{number}"),
                enter,
                when,
                quiet: self.maybe(60, |dice| dice.wait(plan)),
                progresses: self.maybe(30, |dice| vec![dice.name(&["views", "w", "e"])]),
                abandoned_at: self.chance(15),
                again_every: self.maybe(20, |dice| (dice.within(), dice.between(2, 4) as u32)),
                at_least: self.maybe(20, Dice::within),
                recovered_within: 50,
                ..Stage::default()
            });
        }
        if self.chance(30) {
            let enter = vec![Way::One("leaves".into())];
            plan.stages.push(Stage { name: "over".into(), ends: true, enter, ..Stage::default() });
            for stage in &mut plan.stages {
                let can = !stage.ends && (stage.quiet.is_some() || stage.abandoned_at);
                stage.then = (can && self.chance(50)).then(|| "over".into());
            }
        }
    }

    fn rules(&mut self, plan: &mut Plan) {
        for number in 0..self.between(0, 4) {
            let scope = match self.between(0, 3) {
                0 => Scope::Session,
                1 => Scope::Stage,
                2 if !plan.kinds.is_empty() => Scope::Episode(self.pick(&plan.kinds).name.clone()),
                _ => Scope::Journey,
            };
            let mut of = vec!["fails", "fails", "views", "a", "b"];
            of.extend(plan.groups.iter().map(|group| group.name.as_str()));
            let mixed = self.chance(30);
            let fitting: Vec<Name> = plan
                .rules
                .iter()
                .filter(|rule| mixed || rule.scope == scope)
                .filter(|rule| sources(rule).is_empty())
                .map(|rule| rule.name.clone())
                .collect();
            let sign = match self.between(0, 9) {
                0..=2 => {
                    let times = self.between(1, 3) as usize;
                    let within = if times > 1 { self.maybe(80, Dice::within) } else { None };
                    Sign::Count(times, self.name(&of), within)
                }
                3..=4 => {
                    let (one, other) = (self.name(&["fails", "views"]), self.name(&["a", "asks"]));
                    let parts = match self.between(0, 2) {
                        0 => vec![one, other],
                        1 => vec![one.clone(), other.clone(), one, other],
                        _ => vec![one.clone(), one, other],
                    };
                    Sign::Pattern(parts, self.maybe(70, Dice::within))
                }
                5..=6 => Sign::Missing {
                    after: "asks".into(),
                    answer: "answers".into(),
                    within: self.wait(plan),
                    by: self.chance(40),
                },
                7 => Sign::Dwells {
                    on: self.name(&["views", "fails"]),
                    length: self.within(),
                    until: match scope {
                        Scope::Episode(_) => self.maybe(50, |_| "answers".to_owned()),
                        Scope::Session | Scope::Stage | Scope::Journey => Some("answers".to_owned()),
                    },
                },
                _ if !fitting.is_empty() => {
                    let from = fitting.into_iter().map(|name| (name, self.between(1, 2) as u32)).collect();
                    let at = if plan.segments.is_empty() || self.chance(60) {
                        vec![(None, self.between(1, 4) as u32)]
                    } else {
                        let mut at = Vec::new();
                        for (segment, _) in &plan.segments {
                            at.push((Some(segment.clone()), self.between(1, 4) as u32));
                        }
                        at
                    };
                    Sign::Score { at, from, within: self.maybe(50, Dice::within) }
                }
                _ => Sign::Count(1, self.name(&of), None),
            };
            let segments = match plan.segments.is_empty() || self.chance(75) {
                true => Vec::new(),
                false => vec![self.pick(&plan.segments).0.clone()],
            };
            plan.rules.push(Rule {
                name: format!("f{number}"),
                scope,
                sign,
                cool_down: self.maybe(70, |dice| *dice.pick(&[1, 4, 10, 30])),
                evidence_only: false,
                segments,
            });
        }
        // What adds to a score may be silent itself.
        let scored: Vec<Name> = plan.rules.iter().flat_map(sources).collect();
        for rule in &mut plan.rules {
            rule.evidence_only = scored.contains(&rule.name) && self.chance(40);
        }
    }

    fn ways_back(&mut self, plan: &mut Plan) {
        let loud: Vec<Name> =
            plan.rules.iter().filter(|rule| !rule.evidence_only).map(|rule| format!("friction.{}", rule.name)).collect();
        // What leads on into another journey must enter a stage as it comes.
        let plain = plan.stages.iter().filter(|stage| stage.when.is_none() && !stage.ends).flat_map(|stage| &stage.enter);
        let plain: Vec<Name> = plain
            .filter_map(|way| match way {
                Way::One(name) if !plan.groups.iter().any(|group| group.name == *name) => Some(name.clone()),
                Way::One(_) | Way::Count(..) | Way::All(..) => None,
            })
            .collect();
        let count = plan.stages.iter().filter(|stage| !stage.ends).count();
        for number in 0..count {
            if number > 0 && self.chance(40) {
                let to = format!("s{}", self.between(0, number as i64 - 1));
                let mut by = Vec::new();
                if loud.is_empty() || self.chance(50) {
                    by.push(self.name(&["empties", "w", "fails"]));
                }
                if !loud.is_empty() && (by.is_empty() || self.chance(50)) {
                    by.push(self.pick(&loud).clone());
                }
                if self.chance(20) {
                    by = vec!["any".to_owned()];
                }
                plan.stages[number].back = Some((to, by));
            }
            if number > 0 && !plain.is_empty() && self.chance(25) {
                plan.stages[number].again = Some(self.pick(&plain).clone());
            }
            if self.chance(15) {
                plan.stages[number].renews = Some((format!("s{}", self.between(0, count as i64 - 1)), "renewed".into()));
            }
        }
    }

    /// What a customer does under this model; every second at most one thing.
    pub(super) fn touches(&mut self, plan: &Plan, delays: bool) -> Vec<Touch> {
        let yaml = plan.yaml();
        let mentioned: Vec<&str> = yaml.split(|letter: char| !letter.is_ascii_alphanumeric()).collect();
        let words: Vec<&'static str> = WORDS.into_iter().filter(|word| mentioned.contains(word)).collect();
        let by_id = plan.kinds.iter().any(|kind| kind.by_id);
        let in_sessions = self.chance(60);
        let mixed = self.chance(30);
        let mut session = 1;
        let mut now = 100;
        let mut touches = Vec::new();
        for _ in 0..self.between(5, 40) {
            now += match self.between(0, 19) {
                0..=13 => self.between(1, 4),
                14..=18 => self.between(5, 30),
                _ => self.between(30, 120),
            };
            if self.chance(15) {
                // The evidence of four sessions is kept at once.
                session = if mixed { self.between(1, 3) as u8 } else { 4.min(session + 1) };
            }
            let kind = if self.chance(5) { "w" } else { *self.pick(&words) };
            let names_one = matches!(kind, "opens" | "buys" | "empties" | "cancels" | "asks" | "answers");
            let delay = if delays && self.chance(30) { self.between(1, 30) } else { 0 };
            touches.push(Touch {
                happened: now - delay,
                log_time: now,
                kind,
                k: if by_id && (names_one || self.chance(75)) { Some(self.between(1, 3) as u8) } else { None },
                session: in_sessions.then_some(session),
                question: self.maybe(60, |dice| dice.between(1, 2) as u8),
                nps: self.maybe(60, |dice| dice.between(0, 10)),
                value: self.maybe(50, |dice| dice.between(1, 150)),
                ends: self.maybe(40, |dice| now + dice.between(-15, 60)),
            });
        }
        touches
    }
}

/// The rules that add to this one.
fn sources(rule: &Rule) -> Vec<Name> {
    match &rule.sign {
        Sign::Score { from, .. } => from.iter().map(|(name, _)| name.clone()).collect(),
        Sign::Count(..) | Sign::Pattern(..) | Sign::Missing { .. } | Sign::Dwells { .. } => Vec::new(),
    }
}
