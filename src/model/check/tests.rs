//! What the compiled model says; how faults are told is for `tests/it/diagnostics.rs`.

use super::*;
use crate::diagnostic::{Style, render};
use crate::expression::{Facts, Slot, Type};
use crate::model::{
    Demand, Enters, EpisodeRole, Evidence, Fact, Scope, Section, Sign, Structure, Sum, Threshold, TypeRoles, Wait,
};

fn good(file: &str, text: &str) -> Model {
    let (model, faults) = load(file, text);
    assert!(faults.is_empty(), "{}", render(&faults, Style::Plain));
    model.expect("no diagnostic, so a model")
}

/// The model that uses every key, with what it imports.
fn whole_language() -> Model {
    let fragments = |path: &str| match path {
        "shared/touchpoints.yaml" => Ok(include_str!("../../../tests/models/shared/touchpoints.yaml").to_owned()),
        "shared/properties.yaml" => Ok(include_str!("../../../tests/models/shared/properties.yaml").to_owned()),
        _ => Err("no such file".to_owned()),
    };
    let text = include_str!("../../../tests/models/whole-language.yaml");
    let (model, faults) = load_with("whole-language.yaml", text, &fragments);
    assert!(faults.is_empty(), "{}", render(&faults, Style::Plain));
    model.expect("no diagnostic, so a model")
}

#[test]
fn the_whole_language_compiles() {
    let model = whole_language();
    let structure = Structure::of(&model);
    let names = Section::ALL.map(|section| structure.names(section).join(" "));
    assert_eq!(
        names,
        [
            "awareness consideration decision usage renewal advocacy cancelled lapsed",
            "basket offer visit",
            "cart_id checkout_id order_id offer_id",
            "payment-trouble error angry back-and-forth unanswered-question unanswered-advice slow-step stuck restless \
             hard-checkout",
            "purchases revenue satisfaction mood visits",
            "loyal careful everyone",
        ]
    );
    assert_eq!(model.currency.map(|currency| currency.as_str().to_owned()).as_deref(), Some("EUR"));
    let sums: Vec<&Sum> = model.tallies.iter().map(|tally| &tally.sum).collect();
    let last = |property: &str| Sum::Last(property.into(), Type::Number);
    assert_eq!(sums, [&Sum::Count, &Sum::Money("total".into()), &last("csat"), &last("nps"), &Sum::Visits]);
    assert!(model.segments[0].when.is_some() && model.segments[2].when.is_none());
    // What any touchpoint counts for, named or not, and what only some do.
    assert_eq!(model.types.plain("weather.changed").tallies, [3, 4]);
    assert_eq!(model.types.plain("order.completed").tallies, [0, 1, 3, 4]);
    assert!(!model.types.plain("weather.changed").progresses[0]);
}

#[test]
fn stages_know_what_they_demand_and_where_they_lead() {
    let model = whole_language();
    let days = Span::from_days;
    assert_eq!(model.stages[0].demands, [Demand::Count { times: 7, within: days(30) }]);
    assert_eq!(
        model.stages[1].demands,
        [Demand::One, Demand::All { parts: 2, within: days(7) }, Demand::Count { times: 3, within: Span::from_secs(3600) }]
    );
    let enters = |kind: &str| model.types.plain(kind).enters.clone();
    let way = |stage, demand, part| Enters { stage, demand, part };
    assert_eq!(enters("page.viewed"), [way(1, 0, 0)]);
    assert_eq!(enters("store.visited"), [way(1, 1, 1)]);
    assert_eq!(enters("advice.given"), [way(1, 2, 0)]);
    assert_eq!(enters("ad.seen"), [way(0, 0, 0)]);
    let Some(Wait::BySegment(waits)) = &model.stages[1].quiet else { panic!("{:?}", model.stages[1].quiet) };
    assert_eq!((&waits[0], &waits[2]), (&Some(Wait::Fixed(days(3))), &Some(Wait::Fixed(days(7)))));
    assert!(matches!(&waits[1], Some(Wait::Computed(line)) if line.source().contains("basket.open")));
    let decision = &model.stages[2];
    assert!(matches!(decision.quiet, Some(Wait::Computed(_))) && decision.when.is_some());
    assert_eq!((decision.at_least, decision.back_on_friction.as_slice()), (Some(Span::from_secs(10)), &[(9, 1)][..]));
    let renewal = &model.stages[4];
    assert_eq!((renewal.then, renewal.abandoned_at.is_some(), renewal.quiet.is_none()), (Some(7), true, true));
    assert_eq!(
        model.stages.iter().map(|stage| stage.ends).collect::<Vec<_>>(),
        [false, false, false, false, false, false, true, true]
    );
    assert_eq!(model.last_stage(), 5);
    // Everyone's wait is that of segments not named, and customers of a segment without any do not exist here.
    let after = &model.episodes[0].abandoned_after;
    let Some(Wait::BySegment(waits)) = after else { panic!("{after:?}") };
    let minutes = |minutes: i64| Some(Wait::Fixed(Span::from_secs(60 * minutes)));
    assert_eq!(waits.as_slice(), [minutes(60), minutes(30), minutes(30)]);
}

/// What is held against the journey: facts by their names.
struct Known<'a>(&'a Model, &'a [(&'a str, f64)]);

impl Facts for Known<'_> {
    fn number(&self, slot: Slot) -> Option<f64> {
        let name = match self.0.fact(slot)? {
            Fact::Property(name) => name.to_string(),
            Fact::CustomerTally(index) => format!("customer.{}", self.0.tallies[*index].name),
            other => panic!("{other:?} is asked for"),
        };
        self.1.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
    }
    fn text(&self, _: Slot) -> Option<&str> {
        None
    }
    fn flag(&self, _: Slot) -> Option<bool> {
        None
    }
    fn instant(&self, _: Slot) -> Option<crate::time::Timestamp> {
        None
    }
    fn duration(&self, _: Slot) -> Option<Span> {
        None
    }
}

#[test]
fn conditions_of_groups_decide_what_a_type_means() {
    let model = whole_language();
    let roles = |facts: &[(&str, f64)]| model.types.roles("survey.answered", &Known(&model, facts)).0.clone();
    let promoter = roles(&[("nps", 9.0)]);
    assert_eq!((promoter.enters.as_slice(), promoter.back[2]), (&[Enters { stage: 5, demand: 0, part: 0 }][..], None));
    let detractor = roles(&[("nps", 6.0), ("customer.purchases", 1.0)]);
    assert_eq!((detractor.enters.len(), detractor.back[2]), (0, None));
    assert_eq!(detractor.friction, [Evidence { rule: 2, parts: 1 }]);
    // Angry regulars are detractors as well: both conditions must hold.
    assert_eq!(roles(&[("nps", 6.0), ("customer.purchases", 2.0)]).back[2], Some(0));
    assert_eq!(roles(&[("nps", 7.0), ("customer.purchases", 2.0)]).back[2], None);
    let passive = roles(&[]);
    assert_eq!((passive.enters.len(), passive.friction.len(), passive.tallies.as_slice()), (0, 0, &[2, 3, 4][..]));
    // A type that is listed plainly as well does not ask for the condition.
    let text = "\
sillage: 1
model: m
properties: { nps: number }
touchpoints:
  happy: { of: [survey.answered, review.published], when: touchpoint.nps >= 9 }
stages:
  first: { enter: [happy, survey.answered] }
  second: { enter: order.completed, back: { first: happy } }
";
    let model = good("m", text);
    let plain = |kind| model.types.plain(kind);
    assert_eq!((plain("survey.answered").enters.len(), plain("review.published").enters.len()), (1, 0));
    assert_eq!(plain("survey.answered").back, [None, None]);
}

#[test]
fn friction_knows_its_evidence_by_parts() {
    let model = whole_language();
    let parts = |kind: &str, rule| {
        let evidence = model.types.plain(kind).friction.iter().find(|evidence| evidence.rule == rule);
        evidence.map_or(0, |evidence| evidence.parts)
    };
    assert_eq!((parts("checkout.step", 3), parts("cart.viewed", 3)), (0b0101, 0b1010));
    assert_eq!((parts("question.asked", 4), parts("question.answered", 4)), (1, 2));
    // What is dwelt in begins anew; what ends it is listed, or is all that the episode names.
    assert_eq!((parts("checkout.step", 6), parts("payment.submitted", 6), parts("cart.viewed", 6)), (3, 2, 0));
    assert_eq!((parts("checkout.started", 7), parts("cart.viewed", 7), parts("order.cancelled", 7)), (3, 2, 2));
    assert_eq!((parts("search.performed", 7), parts("search.performed", 8)), (0, 1));
    let rule = |name: &str| model.friction.iter().find(|rule| rule.name == name).expect(name);
    assert_eq!(rule("payment-trouble").scope, Scope::Episode(0));
    assert_eq!((rule("error").scope, rule("error").evidence_only), (Scope::Session, true));
    assert_eq!(rule("error").sign, Sign::Count { times: 1, within: None });
    assert_eq!(
        (rule("angry").scope, rule("angry").segments.as_slice(), rule("angry").cool_down),
        (Scope::Journey, &[0, 2][..], Span::from_days(30))
    );
    assert_eq!(rule("restless").cool_down, Span::from_secs(3600));
    let Sign::Score { threshold, weights, within } = &rule("hard-checkout").sign else { panic!("a score") };
    assert_eq!(*threshold, Threshold::BySegment(vec![Some(2), Some(3), Some(3)]));
    assert_eq!((weights.as_slice(), *within), (&[(0, 2), (3, 1), (4, 1), (1, 1)][..], Some(Span::from_secs(3600))));
    assert!(
        matches!(&rule("unanswered-question").sign, Sign::Missing { within: Wait::Fixed(_), by: Some(by) } if by == "question_id")
    );
}

#[test]
fn episodes_know_all_their_ends() {
    let model = whole_language();
    let role = |kind: &str, at: usize| model.types.plain(kind).episodes[at];
    assert!(role("cart.emptied", 0).empties && !role("cart.emptied", 0).cancels);
    assert!(role("order.cancelled", 0).cancels && !role("order.cancelled", 0).completes);
    assert!(role("offer.redeemed", 1).completes && role("page.viewed", 2).opens);
    let offer = &model.episodes[1];
    assert!(offer.strict && offer.any_progress && offer.abandoned_after.is_none() && offer.abandoned_at.is_some());
}

#[test]
fn slots_are_places_in_the_list_of_facts_for_segments_too() {
    let model = whole_language();
    let Some(careful) = &model.segments[1].when else { panic!("a condition") };
    let facts: Vec<&Fact> = careful.slots().iter().filter_map(|slot| model.fact(*slot)).collect();
    assert_eq!(facts, [&Fact::CustomerTally(3), &Fact::EpisodeValue(0)]);
    let Some(when) = &model.stages[5].when else { panic!("a condition") };
    let facts: Vec<&Fact> = when.slots().iter().filter_map(|slot| model.fact(*slot)).collect();
    assert_eq!(facts, [&Fact::StageTally(2), &Fact::TouchpointType]);
}

fn five_stages() -> Model {
    good("plain-five-stages.yaml", include_str!("../../../tests/models/plain-five-stages.yaml"))
}

#[test]
fn the_shipped_and_the_test_models_are_good() {
    let model = five_stages();
    let structure = Structure::of(&model);
    assert_eq!(structure.names(Section::Stages).join(" "), "awareness consideration decision retention advocacy");
    assert_eq!(structure.names(Section::Episodes).join(" "), "basket checkout");
    let phases: Vec<_> = model.phases.iter().map(|(name, stages)| (name.as_str(), stages.as_slice())).collect();
    assert_eq!(phases, [("before", &[0, 1][..]), ("during", &[2]), ("after", &[3, 4])]);
    let any = good("any", include_str!("../../../tests/models/retentioneering-any.yaml"));
    let cart = good("cart", include_str!("../../../tests/models/retentioneering-cart.yaml"));
    assert_eq!((any.stages.len(), any.episodes.len(), any.episodes[0].any_progress), (6, 2, true));
    assert_eq!((cart.stages.len(), cart.episodes.len(), cart.episodes[0].any_progress), (6, 1, false));
    let role = |kind| cart.types.plain(kind).episodes[0];
    assert_eq!(role("add_to_cart"), EpisodeRole { opens: true, belongs: true, ..EpisodeRole::default() });
    assert_eq!(role("cart"), EpisodeRole { opens: false, belongs: true, ..EpisodeRole::default() });
    assert_eq!(role("purchase"), EpisodeRole { completes: true, ..EpisodeRole::default() });
    assert_eq!(role("search"), EpisodeRole::default());
}

#[test]
fn roles_are_by_present_stage_and_by_episode() {
    let model = five_stages();
    let roles = model.types.plain("coupon.denied");
    assert_eq!(roles.back, [None, None, Some(1), None, None]);
    assert_eq!((roles.enters.len(), &roles.progresses), (0, &vec![true; 5]));
    let roles = model.types.plain("product.viewed");
    assert_eq!((roles.enters[0].stage, &roles.again), (1, &vec![false, false, false, true, true]));
    let roles = model.types.plain("order.completed");
    assert!(roles.episodes.iter().all(|role| role.completes && !role.opens));
    assert!(model.types.names("payment.failed") && !model.types.names("checkout") && !model.types.names("weather.changed"));
    assert_eq!(model.types.plain("weather.changed"), &TypeRoles::unnamed(&[true; 5], 2));
}

#[test]
fn a_short_model_gets_the_defaults() {
    let model = good("m", "sillage: 1\nmodel: m\nstages:\n  visit: { enter: page.viewed, quiet: 1d }\n");
    assert_eq!((model.version, model.phases.len(), model.episodes.len()), (1, 0, 0));
    let stage = &model.stages[0];
    assert_eq!(
        (stage.quiet.clone(), stage.recovered_within, stage.optional),
        (Some(Wait::Fixed(Span::from_days(1))), Span::from_days(7), false)
    );
}

#[test]
fn listed_progress_of_a_stage_is_what_is_listed_and_groups_within_groups_resolve() {
    let text = "\
sillage: 1
model: m
touchpoints:
  outer: [inner, c]
  inner: [a, b]
stages:
  first: { enter: outer, quiet: 1d, progresses: [d] }
  second: { enter: e }
episodes:
  visit: { known by: session, opens: inner, progresses: any, strict: false }
";
    let model = good("m", text);
    // What enters is progress as far as the stage's condition lets it in, which is for the journey to say.
    for (kind, listed) in [("a", false), ("b", false), ("c", false), ("d", true)] {
        assert_eq!(model.types.plain(kind).progresses, [listed, true], "{kind}");
    }
    assert_eq!(model.types.plain("unknown").progresses, [false, true]);
    assert!(model.types.plain("b").episodes[0].opens && !model.types.plain("c").episodes[0].opens);
    let visit = &model.episodes[0];
    assert_eq!(
        (visit.ids.len(), visit.by_session, visit.by_customer, visit.abandoned_after.is_some()),
        (0, true, false, false)
    );
}

#[test]
fn every_list_is_bounded() {
    let stages = |count: usize| (0..count).map(|n| format!("  s{n}: {{ enter: t{n} }}\n")).collect::<String>();
    let codes = |text: &str| load("m", text).1.iter().map(|fault| fault.code).collect::<Vec<_>>();
    let head = "sillage: 1\nmodel: m\n";
    assert_eq!(codes(&format!("{head}stages:\n{}", stages(64))), [""; 0]);
    assert_eq!(codes(&format!("{head}stages:\n{}", stages(65))), ["M004"]);
    assert_eq!(codes(&format!("{head}stages:\n{}", stages(70_000))), ["Y002"]);
    assert_eq!(codes(&format!("{head}stages:\n{}", stages(30_000))), ["M004"]);
    let episodes: String = (0..33).map(|n| format!("  e{n}: {{ known by: customer, opens: o, completes: c }}\n")).collect();
    assert_eq!(codes(&format!("{head}stages:\n{}episodes:\n{episodes}", stages(1))), ["M004"]);
    let names: Vec<String> = (0..17).map(|n| format!("id{n}")).collect();
    let known =
        |names: &[String]| format!("episodes:\n  e: {{ known by: [{}], opens: o, completes: c }}\n", names.join(", "));
    assert_eq!(codes(&format!("{head}stages:\n{}{}", stages(1), known(&names))), ["M004"]);
    assert_eq!(codes(&format!("{head}stages:\n{}{}", stages(1), known(&names[1..]))), [""; 0]);
    let types: Vec<String> = (0..4097).map(|n| format!("t{n}")).collect();
    assert_eq!(codes(&format!("{head}stages:\n  s: {{ enter: [{}] }}\n", types.join(", "))), ["M004"]);
    let groups: String = (0..129).map(|n| format!("  g{n}: [x]\n")).collect();
    let used: Vec<String> = (0..129).map(|n| format!("g{n}")).collect();
    assert_eq!(codes(&format!("{head}touchpoints:\n{groups}stages:\n  s: {{ enter: [{}] }}\n", used.join(", "))), ["M004"]);
    assert_eq!(codes(&format!("{head}stages:\n  {}: {{ enter: x }}\n", "s".repeat(65))), ["M002"]);
    assert_eq!(codes(&format!("{head}stages:\n  s: {{ enter: {} }}\n", "t".repeat(257))), ["M002"]);
}

#[test]
fn what_renews_may_enter_the_stage_that_it_leads_to() {
    let text = "\
sillage: 1
model: m
stages:
  trial: { enter: trial.started }
  usage: { enter: order.completed, renews: { usage: order.completed } }
";
    let model = good("m", text);
    let roles = model.types.plain("order.completed");
    assert_eq!((roles.enters.len(), roles.renews.as_slice()), (1, &[None, Some(1)][..]));
}

/// Evidence alone adds without a cool-down, but only so many additions are kept.
#[test]
fn a_score_beyond_what_is_kept_of_it_is_never_reached() {
    let text = |score: u32| {
        format!(
            "sillage: 1\nmodel: m\nstages:\n  visit: {{ enter: page.viewed }}\nfriction:\n  \
             error: {{ on: error.shown, evidence only: true }}\n  \
             stuck: {{ score: {score}, from: {{ error: 2 }} }}\n"
        )
    };
    let (_, faults) = load("m.yaml", &text(64));
    assert!(faults.is_empty(), "{}", render(&faults, Style::Plain));
    let (model, faults) = load("m.yaml", &text(65));
    assert_eq!(faults.iter().map(|fault| fault.code).collect::<Vec<_>>(), ["M074"]);
    assert!(model.is_some(), "a warning");
}

/// Ways are told apart by a byte.
#[test]
fn a_stage_has_no_more_ways_in_than_are_told_apart() {
    let text = |ways: usize| {
        let each: Vec<String> = (0..ways).map(|at| format!("{{ 2 of: type.number{at}x, within: 1d }}")).collect();
        format!("sillage: 1\nmodel: m\nstages:\n  visit: {{ enter: [{}] }}\n", each.join(", "))
    };
    let codes = |ways| load("m.yaml", &text(ways)).1.iter().map(|fault| fault.code).collect::<Vec<_>>();
    assert_eq!(codes(MAX_WAYS), [""; 0]);
    assert_eq!(codes(300), ["M004"]);
}

/// Groups of groups hand on no more types than a model may name, and one more so that it is told.
#[test]
fn more_types_than_a_model_may_name_are_told_once_however_many_groups_hand_them_on() {
    let types: Vec<String> = (0..MAX_TYPES + 1_000).map(|at| format!("type.number{at}x")).collect();
    let mut text = format!("sillage: 1\nmodel: m\ntouchpoints:\n  g0: [{}]\n", types.join(", "));
    for group in 1..MAX_GROUPS {
        text += &format!("  g{group}: [g{}]\n", group - 1);
    }
    text += &format!("stages:\n  visit: {{ enter: g{} }}\n", MAX_GROUPS - 1);
    let codes: Vec<&str> = load("m.yaml", &text).1.iter().map(|fault| fault.code).collect();
    assert_eq!(codes, ["M004"]);
}

#[test]
fn the_properties_that_a_model_reads_are_all_that_it_mentions() {
    let text = r#"
sillage: 1
model: m
version: 1
currency: EUR
properties: { price: money, nps: number, due: instant, tier: text, spare: text, spent: money, points: number, mood: text, gift: flag }
tallies: { sum: { sum: spent, of: any }, points: { sum: points, of: any }, mood: { last: mood, of: any } }
segments: { gold: customer.points > 3, everyone: true }
stages:
  first: { enter: seen, when: touchpoint.nps > 3, quiet: 'touchpoint.gift ? duration("1d") : duration("2d")', abandoned at: touchpoint.due }
  second: { enter: bought, when: 'has(touchpoint.tier)' }
episodes:
  basket: { known by: [cart_id, order.id, session, customer], opens: added, completes: bought, worth: value, abandoned after: 'touchpoint.price > 100 ? duration("1h") : duration("2h")' }
friction:
  ignored: { after: asked, missing: answered, within: 2m, by: question }
"#;
    let (model, faults) = load("m.yaml", text);
    let model = model.unwrap_or_else(|| panic!("{faults:?}"));
    let mut expected = vec![
        "cart_id", "currency", "due", "gift", "mood", "nps", "order.id", "points", "price", "question", "spent", "tier",
        "value",
    ];
    expected.sort_unstable();
    assert_eq!(model.properties, expected);
    // Without amounts, nobody asks for a currency.
    let (model, _) = load("m.yaml", "sillage: 1\nmodel: m\nversion: 1\nstages: { first: { enter: seen } }\n");
    assert_eq!(model.expect("a model").properties, [""; 0]);
}
