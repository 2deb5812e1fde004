//! What the compiled model says; how faults are told is for `tests/it/diagnostics.rs`.

use super::*;
use crate::diagnostic::{Style, render};
use crate::model::{EpisodeRole, TypeRoles, Wait};

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
    assert_eq!(model.stages.len(), 8);
}

fn five_stages() -> Model {
    good("five-stages.yaml", include_str!("../../../models/five-stages.yaml"))
}

#[test]
fn the_shipped_and_the_test_models_are_good() {
    let model = five_stages();
    assert_eq!(
        model.structure(),
        "five-stages: stages awareness, consideration, decision, retention, advocacy; episodes basket, checkout"
    );
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
fn listed_progress_of_a_stage_includes_what_enters_it_and_groups_within_groups_resolve() {
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
    for kind in ["a", "b", "c", "d"] {
        assert_eq!(model.types.plain(kind).progresses, [true, true], "{kind}");
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
