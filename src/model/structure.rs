//! What running journeys refer to in a model, and nothing else: names, and what tells one thing from another (rule 25).
//!
//! A customer's state names stages, episode kinds, ids, rules, tallies and segments by their places in the model. Whoever
//! reads that state under another file needs to know what stood in these places: so the structure is written beside the
//! state, as JSON, which can grow without making older logs unreadable. What the model says about its earlier versions
//! (`renamed`, `removed`) is part of it, so that each step that a log has gone through can be gone through again.

use compact_str::{CompactString, format_compact};
use serde::{Deserialize, Serialize};

use super::{Demand, EpisodeKind, Friction, Model, Scope, Sign, Stage, StageIndex, Sum, Tally};

/// A part of a model whose names running journeys go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Section {
    /// Stages.
    Stages,
    /// Episode kinds.
    Episodes,
    /// The properties by which episodes are known.
    Ids,
    /// Friction rules.
    Friction,
    /// Tallies.
    Tallies,
    /// Segments.
    Segments,
}

impl Section {
    /// All of them, in the order of the file.
    pub const ALL: [Section; 6] =
        [Section::Stages, Section::Episodes, Section::Ids, Section::Friction, Section::Tallies, Section::Segments];

    /// The key under `renamed` and `removed`, and the heading in what is told.
    pub fn as_str(self) -> &'static str {
        match self {
            Section::Stages => "stages",
            Section::Episodes => "episodes",
            Section::Ids => "ids",
            Section::Friction => "friction",
            Section::Tallies => "tallies",
            Section::Segments => "segments",
        }
    }

    /// One of them.
    pub fn one(self) -> &'static str {
        match self {
            Section::Stages => "stage",
            Section::Episodes => "episode",
            Section::Ids => "id",
            Section::Friction => "friction rule",
            Section::Tallies => "tally",
            Section::Segments => "segment",
        }
    }
}

/// A model as running journeys know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Structure {
    /// The stages in order.
    pub stages: Vec<StageShape>,
    /// The episode kinds in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub episodes: Vec<KindShape>,
    /// The friction rules in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub friction: Vec<RuleShape>,
    /// The tallies in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tallies: Vec<TallyShape>,
    /// The segments in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<CompactString>,
    /// What it says about earlier versions.
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    pub changes: Changes,
    /// Read from a log that held names alone: nothing is known of the rest.
    #[serde(skip)]
    pub names_only: bool,
}

/// A stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageShape {
    /// The name.
    pub name: CompactString,
    /// Terminal.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ends: bool,
    /// Its ways in, where any of them counts: what was counted so far is known by the place here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub demands: Vec<DemandShape>,
}

/// A way into a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DemandShape {
    /// One touchpoint: nothing is kept.
    #[serde(rename = "one")]
    One,
    /// Several of the same; a mark of the types.
    #[serde(rename = "of")]
    Count(u32),
    /// One of each part; a mark of each part's types.
    #[serde(rename = "all")]
    All(Vec<u32>),
}

/// An episode kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindShape {
    /// The name.
    pub name: CompactString,
    /// The properties that carry its ids, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<CompactString>,
    /// Known by the session as well.
    #[serde(default, skip_serializing_if = "is_false")]
    pub session: bool,
    /// Known by the customer as well.
    #[serde(default, skip_serializing_if = "is_false")]
    pub customer: bool,
    /// What is summed up in one, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sums: Vec<TallyShape>,
}

/// A friction rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleShape {
    /// The name.
    pub name: CompactString,
    /// Where evidence is gathered: the name of an episode kind, `session`, `stage` or `journey`.
    #[serde(rename = "in")]
    pub scope: CompactString,
    /// What the evidence is, as far as what was gathered depends on it.
    pub sign: CompactString,
}

/// A tally.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TallyShape {
    /// The name.
    pub name: CompactString,
    /// How it sums up.
    pub sum: SumShape,
    /// The property that is summed up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<CompactString>,
    /// The property that names what counts once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<CompactString>,
}

impl TallyShape {
    /// Whether what was summed up as the other says can go on.
    pub fn goes_on_from(&self, before: &TallyShape) -> bool {
        (self.sum, &self.once) == (before.sum, &before.once)
    }
}

/// How a tally sums up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SumShape {
    /// How many.
    Count,
    /// A number.
    Number,
    /// Amounts.
    Money,
    /// The latest value.
    Last,
    /// How many sessions.
    Visits,
}

impl SumShape {
    /// The shape of a sum.
    pub fn of(sum: &Sum) -> Self {
        match sum {
            Sum::Count => SumShape::Count,
            Sum::Number(_) => SumShape::Number,
            Sum::Money(_) => SumShape::Money,
            Sum::Last(..) => SumShape::Last,
            Sum::Visits => SumShape::Visits,
        }
    }
}

/// What a model says about its earlier versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Old and new names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renamed: Vec<(Section, CompactString, CompactString)>,
    /// What is gone, and the stage in which journeys go on that stood there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<(Section, CompactString, Option<CompactString>)>,
}

impl Changes {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.renamed.is_empty() && self.removed.is_empty()
    }

    /// What had this name before is called so now.
    pub fn new_name<'a>(&'a self, section: Section, old: &'a str) -> &'a str {
        let told = self.renamed.iter().find(|(of, from, _)| *of == section && from == old);
        told.map_or(old, |(_, _, to)| to)
    }

    /// Whether it says that this is gone.
    pub fn removes(&self, section: Section, old: &str) -> bool {
        self.removed.iter().any(|(of, name, _)| *of == section && name == old)
    }

    /// The stage in which journeys go on that stood in a stage that is gone.
    pub fn instead_of(&self, stage: &str) -> Option<&str> {
        let told = self.removed.iter().find(|(of, name, _)| *of == Section::Stages && name == stage);
        told.and_then(|(_, _, to)| to.as_deref())
    }
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

impl Structure {
    /// The structure of a model.
    pub fn of(model: &Model) -> Self {
        Structure {
            stages: (0..).zip(&model.stages).map(|(index, stage)| stage_shape(model, index, stage)).collect(),
            episodes: model.episodes.iter().map(kind_shape).collect(),
            friction: (0..).zip(&model.friction).map(|(index, rule)| rule_shape(model, index, rule)).collect(),
            tallies: model.tallies.iter().map(tally_shape).collect(),
            segments: model.segments.iter().map(|segment| segment.name.clone()).collect(),
            changes: model.changes.clone(),
            names_only: false,
        }
    }

    /// As it stands beside the state: JSON in one line.
    pub fn text(&self) -> String {
        // A structure is made of names and numbers only; there is nothing in it that JSON cannot hold.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what [`Structure::text`] wrote; and the list of names that stood there before (until layout 2 of the pages).
    ///
    /// # Errors
    /// A text that is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('{') {
            return serde_json::from_str(text).map_err(|error| {
                format!("the structure of a model cannot be read ({error}); use the Sillage that wrote it")
            });
        }
        names(text).ok_or_else(|| "the structure of a model cannot be read; use the Sillage that wrote it".to_owned())
    }

    /// Whether journeys of one are journeys of the other as they are. What they say about earlier versions does not matter.
    pub fn is_same(&self, other: &Structure) -> bool {
        if self.names_only || other.names_only {
            return Section::ALL
                .into_iter()
                .filter(|section| *section != Section::Ids)
                .all(|section| self.names(section) == other.names(section));
        }
        let shape = |of: &Structure| Structure { changes: Changes::default(), ..of.clone() };
        shape(self) == shape(other)
    }

    /// The names of a section in order; ids of all kinds, each once.
    pub fn names(&self, section: Section) -> Vec<&str> {
        match section {
            Section::Stages => self.stages.iter().map(|stage| stage.name.as_str()).collect(),
            Section::Episodes => self.episodes.iter().map(|kind| kind.name.as_str()).collect(),
            Section::Friction => self.friction.iter().map(|rule| rule.name.as_str()).collect(),
            Section::Tallies => self.tallies.iter().map(|tally| tally.name.as_str()).collect(),
            Section::Segments => self.segments.iter().map(CompactString::as_str).collect(),
            Section::Ids => {
                let mut names: Vec<&str> = Vec::new();
                for id in self.episodes.iter().flat_map(|kind| &kind.ids) {
                    if !names.contains(&id.as_str()) {
                        names.push(id);
                    }
                }
                names
            }
        }
    }

    /// Where in the new structure that stands which had this place in the old one, going by its name.
    pub fn place_of(&self, section: Section, old: &str) -> Option<usize> {
        let name = self.changes.new_name(section, old);
        self.names(section).iter().position(|known| *known == name)
    }
}

/// `shop: stages a, b; episodes basket; friction trouble`: names only.
fn names(text: &str) -> Option<Structure> {
    let (_, parts) = text.split_once(": ")?;
    let mut structure = Structure { names_only: true, ..Structure::default() };
    for part in parts.split("; ") {
        let (what, names) = part.split_once(' ')?;
        let names = names.split(", ").filter(|name| !name.is_empty()).map(CompactString::from);
        match what {
            "stages" => {
                structure.stages = names.map(|name| StageShape { name, ends: false, demands: Vec::new() }).collect();
            }
            "episodes" => {
                let kind = |name| KindShape { name, ids: Vec::new(), session: false, customer: false, sums: Vec::new() };
                structure.episodes = names.map(kind).collect();
            }
            "friction" => {
                let rule = |name| RuleShape { name, scope: CompactString::default(), sign: CompactString::default() };
                structure.friction = names.map(rule).collect();
            }
            "tallies" => {
                structure.tallies =
                    names.map(|name| TallyShape { name, sum: SumShape::Count, of: None, once: None }).collect();
            }
            "segments" => structure.segments = names.collect(),
            _ => return None,
        }
    }
    (!structure.stages.is_empty()).then_some(structure)
}

fn stage_shape(model: &Model, index: StageIndex, stage: &Stage) -> StageShape {
    let marks = |demand: usize, part: u8| {
        model.types.mark(|roles| {
            roles.enters.iter().any(|way| way.stage == index && usize::from(way.demand) == demand && way.part == part)
        })
    };
    let shape = |(demand, of): (usize, &Demand)| match of {
        Demand::One => DemandShape::One,
        Demand::Count { .. } => DemandShape::Count(marks(demand, 0)),
        Demand::All { parts, .. } => DemandShape::All((0..*parts).map(|part| marks(demand, part)).collect()),
    };
    let mut demands: Vec<DemandShape> = stage.demands.iter().enumerate().map(shape).collect();
    if demands.iter().all(|demand| *demand == DemandShape::One) {
        demands.clear();
    }
    StageShape { name: stage.name.clone(), ends: stage.ends, demands }
}

fn kind_shape(kind: &EpisodeKind) -> KindShape {
    KindShape {
        name: kind.name.clone(),
        ids: kind.ids.clone(),
        session: kind.by_session,
        customer: kind.by_customer,
        sums: kind.sums.iter().map(tally_shape).collect(),
    }
}

fn rule_shape(model: &Model, index: u16, rule: &Friction) -> RuleShape {
    let scope = match rule.scope {
        Scope::Episode(kind) => model.episodes[usize::from(kind)].name.clone(),
        Scope::Session => "session".into(),
        Scope::Stage => "stage".into(),
        Scope::Journey => "journey".into(),
    };
    let sign = match &rule.sign {
        Sign::Count { .. } => "count".into(),
        // What was seen is kept as which parts it can be.
        Sign::Pattern { parts, .. } => {
            let part = |part: u8| {
                model.types.mark(|roles| {
                    roles.friction.iter().any(|evidence| evidence.rule == index && evidence.parts & (1 << part) != 0)
                })
            };
            let parts: Vec<String> = (0..*parts).map(|number| format!("{:x}", part(number))).collect();
            format_compact!("pattern {}", parts.join(" "))
        }
        // A question is kept with what names it.
        Sign::Missing { by, .. } => by.as_ref().map_or("missing".into(), |by| format_compact!("missing by {by}")),
        Sign::Score { .. } => "score".into(),
    };
    RuleShape { name: rule.name.clone(), scope, sign }
}

fn tally_shape(tally: &Tally) -> TallyShape {
    let of = match &tally.sum {
        Sum::Number(property) | Sum::Money(property) | Sum::Last(property, _) => Some(property.clone()),
        Sum::Count | Sum::Visits => None,
    };
    TallyShape { name: tally.name.clone(), sum: SumShape::of(&tally.sum), of, once: tally.once.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn structure(text: &str) -> Structure {
        let (model, faults) = crate::model::load("m.yaml", text);
        Structure::of(&model.unwrap_or_else(|| panic!("{faults:?}")))
    }

    const SHOP: &str = "
sillage: 1
model: shop
version: 2
properties: { total: money, nps: number }
currency: EUR
tallies: { bought: { count: order.completed }, spent: { sum: total, of: order.completed }, mood: { last: nps, of: any } }
segments: { loyal: customer.bought > 2 && customer.spent > 5 && customer.mood > 1, everyone: true }
stages:
  noticing: { enter: [page.viewed, { 3 of: ad.seen, within: 1d }, { all of: [ad.clicked, mail.opened], within: 1d }] }
  browsing: { enter: product.viewed }
  gone: { ends: true, enter: account.closed }
episodes:
  cart: { known by: [basket_id, session], opens: cart.added, completes: order.completed }
friction:
  trouble: { in: cart, 2 of: payment.failed, within: 10m }
  lost: { in: session, pattern: [step, cart.viewed], within: 1h }
  ignored: { after: asked, missing: answered, within: 2m, by: question }
renamed: { stages: { looking: browsing }, episodes: { basket: cart }, ids: { cart_id: basket_id } }
removed: { stages: { dreaming: noticing }, episodes: [wish] }
";

    #[test]
    fn a_structure_reads_back() {
        let of = structure(SHOP);
        assert_eq!(Structure::parse(&of.text()), Ok(of.clone()));
        assert!(of.text().len() < 1_200, "{}", of.text());
        assert_eq!(of.changes.new_name(Section::Stages, "looking"), "browsing");
        assert_eq!(of.changes.instead_of("dreaming"), Some("noticing"));
        assert!(of.changes.removes(Section::Episodes, "wish") && !of.changes.removes(Section::Stages, "wish"));
        assert!(Structure::parse("{\"stages\": 1}").is_err() && Structure::parse("").is_err());
    }

    #[test]
    fn what_may_change_freely_is_no_part_of_it_and_what_journeys_need_is() {
        let of = structure(SHOP);
        for (from, to, same) in [
            ("version: 2", "version: 3", true),
            ("renamed: { stages: { looking: browsing },", "renamed: {", true),
            ("{ enter: product.viewed }", "{ enter: [product.viewed, b], quiet: 3d }", true),
            ("2 of: payment.failed, within: 10m", "3 of: payment.failed, within: 1h", true),
            ("3 of: ad.seen, within: 1d", "5 of: ad.seen, within: 2d", true),
            ("3 of: ad.seen", "3 of: [ad.seen, tv.seen]", false),
            ("known by: [basket_id, session]", "known by: [basket_id, customer]", false),
            ("known by: [basket_id, session]", "known by: [order_id, basket_id, session]", false),
            ("spent: { sum: total, of: order.completed }", "spent: { count: order.completed }", false),
            ("pattern: [step, cart.viewed]", "pattern: [cart.viewed, step]", false),
            (", by: question", "", false),
            ("in: cart, 2 of", "in: session, 2 of", false),
            ("loyal: ", "true-fans: ", false),
        ] {
            let other = structure(&SHOP.replace(from, to));
            assert_eq!(of.is_same(&other), same, "{from} → {to}");
        }
    }

    #[test]
    fn the_names_of_an_older_log_are_read_and_compared() {
        let before = "shop: stages noticing, browsing, gone; episodes cart; friction trouble, lost, ignored; \
                      tallies bought, spent, mood; segments loyal, everyone";
        let read = Structure::parse(before).expect("names");
        assert!(read.names_only && read.is_same(&structure(SHOP)));
        let fewer = Structure::parse("shop: stages noticing, browsing; episodes ").expect("names");
        assert!(!fewer.is_same(&structure(SHOP)));
        assert_eq!((fewer.stages.len(), fewer.episodes.len()), (2, 0));
    }
}
