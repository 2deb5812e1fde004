//! The room of scenarios itself: what it reads and refuses, what it shows, writes and counts, and the command around it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use compact_str::CompactString;
use proptest::prelude::*;
use sillage::diagnostic::{CODES, Diagnostic, Style, render};
use sillage::journey::{About, Movement, Outcome, Subject, What};
use sillage::model::{self, Friction, Model, RuleIndex, Scope, Segment, Sign, Threshold, TypeRoles, Types};
use sillage::scenario::{self, Coverage, Models, Row, START, Suite};
use sillage::time::{Span, Timestamp};
use sillage::touchpoint::{Form, Identity, Value};

const SHOP: &str = "sillage: 1
model: shop
stages:
  looking: { enter: product.viewed, quiet: 7d }
  deciding: { enter: cart.added, back: { looking: cart.emptied } }
  owning: { enter: order.completed, again: product.viewed }
episodes:
  basket:
    known by: [cart_id, customer]
    opens: cart.added
    completes: order.completed
    worth: value
    abandoned after: 30m
    recovered within: 7d
";

/// One model, under the name `shop.yaml`.
struct OneModel;

impl Models for OneModel {
    fn model(&mut self, path: &str) -> Result<(Option<Arc<Model>>, Vec<Diagnostic>), String> {
        match path {
            "shop.yaml" => Ok((Some(shop()), Vec::new())),
            "broken.yaml" => {
                let (model, faults) = model::load("broken.yaml", "sillage: 1\nmodel: broken\n");
                Ok((model.map(Arc::new), faults))
            }
            _ => Err("there is no such file".to_owned()),
        }
    }

    fn fragment(&self, _: &str) -> Result<String, String> {
        Err("there is no such file".to_owned())
    }

    fn default(&self) -> Option<Arc<Model>> {
        None
    }
}

fn shop() -> Arc<Model> {
    Arc::new(model::load("shop.yaml", SHOP).0.expect("a good model"))
}

fn good(text: &str) -> Suite {
    let (suite, faults) = scenario::read("stories.md", text, &mut OneModel);
    assert!(faults.is_empty(), "{}", render(&faults, Style::Plain));
    suite.expect("no fault")
}

/// A story through the shop, of rows without their bars at the ends.
fn story(rows: &[&str]) -> String {
    let head = "## A story\n\nmodel: shop.yaml\n\n| when | Anna does | Sillage says |\n| --- | --- | --- |\n";
    rows.iter().fold(head.to_owned(), |text, row| format!("{text}| {row} |\n"))
}

/// What a row does, read.
fn touchpoint(does: &str) -> sillage::touchpoint::Touchpoint {
    let suite = good(&story(&[&format!("1d | {does} | quiet")]));
    suite.scenarios[0].rows[0].touchpoint.clone().expect("a touchpoint")
}

fn said(suite: &Suite) -> Vec<String> {
    suite.play().into_iter().flatten().map(|said| said.says).collect()
}

#[test]
fn a_word_is_what_it_looks_like() {
    let text = |text: &str| Value::Text(text.into());
    for (word, value) in [
        ("p=9", Value::Number(9.0)),
        ("p=-0.5", Value::Number(-0.5)),
        ("p=007", text("007")),
        ("p=1e5", text("1e5")),
        ("p=inf", text("inf")),
        ("p=.", text(".")),
        ("p=true", Value::Flag(true)),
        ("p=False", text("False")),
        ("p=\"9\"", text("9")),
        ("p=\"two  words\"", text("two  words")),
        ("p=two\" \"words", text("two words")),
        ("p=\"\"", text("")),
        ("p=a=b", text("a=b")),
        ("p=a\\|b", text("a|b")),
        ("p=@30d", text("2026-01-31T00:00:00.000Z")),
        ("p=@1d_2h", text("2026-01-02T02:00:00.000Z")),
        ("p=\"@30d\"", text("@30d")),
    ] {
        assert_eq!(touchpoint(&format!("a.b {word}")).property("p"), Some(&value), "{word}");
    }
    for (word, name) in [("cart_id=7", "cart_id"), ("question_id=7", "question_id"), ("id_card=7", "")] {
        let stays_text = touchpoint(&format!("a.b {word}")).property(name) == Some(&text("7"));
        assert_eq!(stays_text, !name.is_empty(), "{word}");
    }
}

#[test]
fn some_words_are_not_properties() {
    let made =
        touchpoint("cart.added as=anonymous:c-17 at=23h_30m id=T1 session=S1 channel=store total=19.90 eur tax=2 EUR");
    assert_eq!(made.identity, Identity::anonymous("c-17"));
    assert_eq!(made.event_time, START + Span::from_secs(23 * 3_600 + 1_800));
    assert_eq!((made.id.as_str(), made.session.as_deref(), made.channel.as_deref()), ("T1", Some("S1"), Some("store")));
    let names: Vec<&str> = made.properties.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["currency", "tax", "total"], "sorted, as a touchpoint wants them");
    assert_eq!(made.money("total", Form::default(), None).expect("money").to_string(), "19.90 EUR");
    assert_eq!(touchpoint("a.b on=app").channel.as_deref(), Some("app"));
    assert_eq!(touchpoint("a.b").identity, Identity::customer("Anna"));
}

#[test]
fn a_story_may_have_dates_when_it_begins_with_one() {
    let dated = good(&story(&[
        "2026-02-28 | product.viewed | enters looking",
        "1d | | quiet",
        "2026-03-01T12:00:00+02:00 | | quiet",
    ]));
    let at: Vec<String> = dated.scenarios[0].rows.iter().map(|row: &Row| row.at.to_string()).collect();
    assert_eq!(at, ["2026-02-28T00:00:00.000Z", "2026-03-01T00:00:00.000Z", "2026-03-01T10:00:00.000Z"]);
    assert_eq!(codes(&story(&["0m | | quiet", "2026-03-01 | | quiet"])), ["S003"]);
}

#[test]
fn prose_other_tables_and_blocks_are_left_alone() {
    let text = "# All about Anna

| Word | Meaning |
| ---- | ------- |
| cart | basket  |

```text
| when | Anna does | Sillage says |
## not a title
model: nowhere.yaml
```

## Only prose

Nothing happens here.

## Two tables, one story

model: shop.yaml

| When | Anna does | Sillage Says |
| ---- | --------- | ------------ |
| 0m   | product.viewed | enters looking |

Meanwhile, elsewhere:

| when | Ben does | Sillage says |
| ---- | -------- | ------------ |
| 1d   | product.viewed | enters looking |
| 7d   |          | Anna: abandons looking after 7d |
";
    let suite = good(text);
    let titles: Vec<&str> = suite.scenarios.iter().map(|story| story.title.as_str()).collect();
    assert_eq!(titles, ["Two tables, one story"]);
    assert_eq!(said(&suite), ["enters looking", "enters looking", "Anna: abandons looking after 7d"]);
    let untouched = suite.play();
    assert_eq!(scenario::updated(&suite, &untouched), text);
}

#[test]
fn a_model_within_the_file_is_judged_at_its_own_lines() {
    let model = SHOP.replace("quiet: 7d", "quiet: 7");
    let text = format!("# Stories\n\n```yaml\n{model}```\n") + &story(&["0m | | quiet"]).replace("model: shop.yaml", "");
    let (suite, faults) = scenario::read("stories.md", &text, &mut OneModel);
    assert!(suite.is_none());
    assert_eq!(faults[0].place.position(), "stories.md:7:44", "{}", render(&faults, Style::Plain));
}

/// The codes of what is told, in order.
fn codes(text: &str) -> Vec<&'static str> {
    let (suite, faults) = scenario::read("stories.md", text, &mut OneModel);
    assert_eq!(suite.is_some(), faults.iter().all(|fault| fault.code == "S010"), "{faults:?}");
    for fault in &faults {
        assert!(!fault.cause.ends_with('.') && !fault.help.ends_with('.') && !fault.help.is_empty(), "{fault:?}");
    }
    faults.iter().map(|fault| fault.code).collect()
}

#[test]
fn every_code_is_raised_and_with_it_no_other() {
    let one = |row: &str| story(&[row]);
    let whole = |text: &str| text.to_owned();
    let cases = [
        ("S001", story(&[]).replace("Anna does", "Anna") + "| 0m | | quiet |\n"),
        ("S001", story(&[]).replace("Sillage says", "Silage say") + "| 0m | | quiet |\n"),
        ("S001", without_bars(&one("0m | product.viewed | enters owning"))),
        ("S001", one("0m | | quiet") + &without_bars("| 1m | | quiet |\n| 2m | | quiet |\n")),
        ("S001", one("0m | | quiet") + "\n" + &without_bars(&one("1m | | enters owning"))),
        ("S002", one("0m | product.viewed")),
        ("S002", one("0m | a.b p=a|b | quiet")),
        ("S003", one("soon | product.viewed | quiet")),
        ("S003", one("| product.viewed | quiet")),
        ("S003", one("0m | a.b p=@soon | quiet")),
        ("S003", one("999999y | | quiet")),
        ("S004", story(&["2m | | quiet", "1m | | quiet"])),
        ("S005", one("0m | | quiet").replace("model: shop.yaml", "")),
        ("S006", one("0m | | quiet").replace("shop.yaml", "nowhere.yaml")),
        ("S007", one("0m | | quiet").replace("## A story", "")),
        ("S008", one("0m | cart_id=A | quiet")),
        ("S008", one("0m | cart.added quickly | quiet")),
        ("S008", one("0m | cart.added cart_id= | quiet")),
        ("S008", one("0m | cart.added =A | quiet")),
        ("S009", one("0m | cart.added p=\"two words | quiet")),
        ("S009", one("0m | a.b p=1 EUR q=2 USD | quiet")),
        ("S009", one(&format!("0m | a.b p={} | quiet", "x".repeat(5_000)))),
        ("S009", one("0m | a.b as=anonymous: | quiet")),
        ("S010", one("0m | product.veiwed | quiet")),
        ("S011", whole("# Nothing\n")),
        ("S011", story(&[])),
        ("S012", one("0m | | quiet") + "\n```text\n"),
        ("S013", one("0m | a.b p=1 p=2 | quiet")),
        ("S013", one("0m | a.b on=app channel=web | quiet")),
        ("S013", one("0m | | quiet") + "\nmodel: shop.yaml\n"),
        ("S014", one("1m | a.b at=2m | quiet")),
        ("Y002", " ".repeat((1 << 20) + 1)),
    ];
    for (code, text) in &cases {
        assert_eq!(codes(text), [*code], "{}", text.get(..500).unwrap_or(text));
    }
    let raised: BTreeSet<&str> = cases.iter().map(|(code, _)| *code).collect();
    let missing: Vec<&str> =
        CODES.iter().map(|(code, _)| *code).filter(|code| code.starts_with('S') && !raised.contains(code)).collect();
    assert!(missing.is_empty(), "nothing raises {missing:?}");
    let broken = codes(&one("0m | | quiet").replace("shop.yaml", "broken.yaml"));
    assert!(broken.contains(&"S006") && broken.len() > 1, "what is wrong with the model is told as well: {broken:?}");
}

/// Tables as other readers of Markdown take them, too.
fn without_bars(text: &str) -> String {
    text.lines().fold(String::new(), |text, line| text + line.trim_start_matches("| ").trim_end_matches(" |") + "\n")
}

#[test]
fn a_story_without_bars_is_told_where_it_begins() {
    let (_, faults) = scenario::read("stories.md", &without_bars(&story(&["0m | | enters owning"])), &mut OneModel);
    let told = render(&faults, Style::Plain);
    assert!(told.contains("error[S001]: this row of a story does not begin with a bar"), "{told}");
    assert!(told.contains("--> stories.md:5:1\n") && told.contains("help: begin and end every row with `|`\n"), "{told}");
}

#[test]
fn tables_that_are_no_stories_may_stand_beside_one_or_above_all() {
    let table = "\n| word | meaning |\n| --- | --- |\n| a | b |\n";
    let bare = "\nword | meaning\n--- | ---\na | b\n";
    let fenced = "\n```text\nwhen | Anna does | Sillage says\n--- | --- | ---\n```\n";
    let line = "\nEither this | or that.\n\n## A title without a table\n\nwhen | Anna does | Sillage says\n";
    good(&format!("# Words\n{table}{bare}\n{}{table}{bare}{fenced}{line}", story(&["0m | | quiet"])));
}

#[test]
fn everything_is_told_at_once_with_its_place_and_what_to_write() {
    let text = story(&[
        "soon | cart.added quickly | quiet",
        "0m | product.veiwed | quiet",
        "0m | cart.added cart_id=A id=\"1 | quiet",
    ]);
    let (_, faults) = scenario::read("stories.md", &text, &mut OneModel);
    let told = render(&faults, Style::Plain);
    for line in [
        "error[S003]: `soon` is not a time\n --> stories.md:7:3\n",
        "error[S008]: `quickly` is no name=value\n --> stories.md:7:21\n",
        "warning[S010]: the model shop does not know `product.veiwed`\n --> stories.md:8:8\n",
        "help: did you mean `product.viewed`?",
        "error[S009]: the quotes that begin here do not end\n --> stories.md:9:32\n",
    ] {
        assert!(told.contains(line), "{line}\nis not in\n{told}");
    }
}

#[test]
fn what_differs_is_shown_where_it_stands() {
    let suite = good(&story(&["0m | product.viewed | enters looking", "5m | cart.added cart_id=A | quiet", "35m | |"]));
    let played = suite.play();
    let differences = scenario::differences(&suite.scenarios[0], &played[0]);
    let shown = scenario::shown("stories.md", "A story", &differences, Style::Plain);
    assert_eq!(
        shown,
        "A story
  stories.md:8:  5m  cart.added cart_id=A
    - quiet
    + looking → deciding
  stories.md:9:  35m  (time passes)
    - (nothing is written)
    + abandons basket A after 30m
"
    );
    let coloured = scenario::shown("stories.md", "A story", &differences, Style::Coloured);
    assert!(coloured.contains("\u{1b}[32mlooking → deciding\u{1b}[0m"), "{coloured:?}");
    let mut uncoloured = coloured.clone();
    for code in ["0", "1", "2", "31", "32"] {
        uncoloured = uncoloured.replace(&format!("\u{1b}[{code}m"), "");
    }
    assert_eq!(uncoloured, shown, "colours say nothing that the text does not");
}

fn update(text: &str) -> String {
    let suite = good(text);
    scenario::updated(&suite, &suite.play())
}

#[test]
fn an_update_writes_the_last_column_and_nothing_else() {
    let compact = story(&[
        "0m | product.viewed | quiet",
        "5m | cart.added cart_id=A value=5 EUR | looking → deciding",
        "1d | | quiet",
    ]);
    let written = update(&compact);
    let changed: Vec<(&str, &str)> =
        compact.lines().zip(written.lines()).filter(|(before, after)| before != after).collect();
    let expected = [
        ("| 0m | product.viewed | quiet |", "| 0m | product.viewed | enters looking |"),
        ("| 1d | | quiet |", "| 1d | | abandons basket A (5 EUR) after 30m |"),
    ];
    assert_eq!(changed, expected, "a close table stays close");
    assert_eq!(update(&written), written);
}

#[test]
fn an_update_keeps_columns_under_each_other() {
    let aligned = "## t\r
\r
model: shop.yaml\r
\r
| when | Anna does              | Sillage says |\r
| :--- | ---------------------- | -----------: |\r
| 0m   | product.viewed         | quiet        |\r
| 5m   | cart.added cart_id=a\\|b | quiet        |\r
| 35m  |                        |\r
\r
Prose | with bars.";
    let (suite, _) = scenario::read("stories.md", &aligned.replace("|\r\n\r\nProse", "| |\r\n\r\nProse"), &mut OneModel);
    let suite = suite.expect("no fault");
    let written = scenario::updated(&suite, &suite.play());
    assert_eq!(
        written,
        "## t\r
\r
model: shop.yaml\r
\r
| when | Anna does               | Sillage says                   |\r
| :--- | ----------------------- | -----------------------------: |\r
| 0m   | product.viewed          | enters looking                 |\r
| 5m   | cart.added cart_id=a\\|b | looking → deciding             |\r
| 35m  |                         | abandons basket a\\|b after 30m |\r
\r
Prose | with bars."
    );
    assert_eq!(update(&written), written, "a second time changes nothing");
    assert!(said(&good(&written)).contains(&"abandons basket a|b after 30m".to_owned()));
}

#[test]
fn junit_holds_a_case_for_each_story_and_escapes_what_xml_knows() {
    let text = story(&["0m | product.viewed | quiet"]).replace("A story", "<Anna> & \"Ben's\"") + &story(&["0m | | quiet"]);
    let suite = good(&text);
    let differences: Vec<_> =
        suite.scenarios.iter().zip(suite.play()).map(|(story, said)| scenario::differences(story, &said)).collect();
    let xml = scenario::junit(&[(&suite, &differences, Span::from_millis(12))]);
    assert_eq!(
        xml,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<testsuites name=\"sillage model test\" tests=\"2\" failures=\"1\">
  <testsuite name=\"stories.md\" tests=\"2\" failures=\"1\" errors=\"0\" time=\"0.012\">
    <testcase classname=\"stories.md\" name=\"&lt;Anna&gt; &amp; &quot;Ben&apos;s&quot;\" file=\"stories.md\" line=\"1\">
      <failure message=\"1 row differs\">&lt;Anna&gt; &amp; &quot;Ben&apos;s&quot;
  stories.md:7:  0m  product.viewed
    - quiet
    + enters looking
</failure>
    </testcase>
    <testcase classname=\"stories.md\" name=\"A story\" file=\"stories.md\" line=\"8\"/>
  </testsuite>
</testsuites>
"
    );
}

#[test]
fn coverage_tells_what_no_story_exercises() {
    let mut coverage = Coverage::new(shop());
    assert_eq!((coverage.total(), coverage.exercised(), coverage.percent()), (8, 0, 0));
    let play = |rows: &[&str], coverage: &mut Coverage| {
        for said in good(&story(rows)).play().into_iter().flatten() {
            coverage.take(&said.outcomes);
        }
    };
    play(&["0m | product.viewed |", "1m | cart.added cart_id=A |", "40m | |"], &mut coverage);
    assert_eq!(
        coverage.missing(),
        [
            "stage looking abandoned",
            "way back deciding → looking",
            "stage owning (nothing enters it)",
            "the next journey from owning (again)",
            "episode basket completed",
        ]
    );
    play(&["0m | product.viewed |", "8d | cart.added |", "8d 1m | cart.emptied |"], &mut coverage);
    play(&["0m | order.completed |", "1m | product.viewed |"], &mut coverage);
    assert_eq!(coverage.missing(), ["episode basket completed"]);
    assert_eq!(coverage.percent(), 87, "never 100 while something is missing");
    play(&["0m | cart.added |", "1m | order.completed |"], &mut coverage);
    assert_eq!((coverage.missing().len(), coverage.percent()), (0, 100));
}

/// The shop with everything that coverage knows, put together by hand.
fn rich() -> Model {
    let mut model = Model::clone(&shop());
    let rule = |name: &str, evidence_only: bool, sign: Sign| Friction {
        name: name.into(),
        scope: Scope::Journey,
        sign,
        cool_down: Span::ZERO,
        evidence_only,
        segments: Vec::new(),
    };
    let score = Sign::Score { threshold: Threshold::Fixed(2), weights: vec![(0 as RuleIndex, 2)], within: None };
    model.friction = vec![rule("denied", true, Sign::Count { times: 1, within: None }), rule("hard", false, score)];
    model.segments = vec![Segment { name: "loyal".into(), when: None }];
    let mut lapsed = model.stages[0].clone();
    (lapsed.name, lapsed.ends, lapsed.quiet) = ("lapsed".into(), true, None);
    model.stages.push(lapsed);
    model.stages[0].then = Some(3);
    model.stages[1].back_on_friction = vec![(1, 0)];
    // Both a touchpoint and friction lead back to looking; a touchpoint renews from owning.
    let mut roles = TypeRoles::unnamed(&[false; 4], 1);
    roles.back[1] = Some(0);
    roles.renews[2] = Some(1);
    model.types = Types::new(TypeRoles::unnamed(&[false; 4], 1), TypeRoles::unnamed(&[false; 4], 1));
    model.types.name("a.b", Vec::new(), vec![roles]);
    model
}

fn outcome(what: What, cause: Option<&str>, segment: Option<&str>) -> Outcome {
    Outcome {
        id: uuid::Uuid::nil(),
        model: "shop".into(),
        model_version: 1,
        identity: Identity::customer("Anna"),
        journey: 1,
        journey_started_at: START,
        sequence: 1,
        at: START,
        cause: cause.map(sillage::journey::Id::from),
        value: None,
        channel: None,
        session: None,
        segment: segment.map(CompactString::from),
        hindsight: false,
        again: false,
        what,
    }
}

fn moved(from: &str, to: &str, movement: Movement) -> What {
    What::Transition { from: Some(from.into()), to: to.into(), movement, time_in_stage: None, decision: None }
}

fn about() -> About {
    About {
        subject: Subject::Journey,
        opened_by: "T1".into(),
        opened_at: START,
        last_progress: "T1".into(),
        last_progress_at: START,
        progress_count: 1,
        abandonments: 0,
    }
}

#[test]
fn coverage_knows_friction_segments_renewals_and_endings_by_their_outcomes() {
    let mut coverage = Coverage::new(Arc::new(rich()));
    let expected = |coverage: &Coverage, part: &str| !coverage.missing().iter().any(|missing| missing == part);
    let steps: [(&[Outcome], &str, &str); 6] = [
        (
            &[outcome(moved("deciding", "looking", Movement::Regress), Some("T"), None)],
            "way back deciding → looking",
            "way back deciding → looking on friction hard",
        ),
        (
            &[
                outcome(
                    What::Friction {
                        about: about(),
                        rule: "hard".into(),
                        evidence: vec![],
                        score: Some((2, vec!["denied".into()])),
                    },
                    Some("T"),
                    None,
                ),
                outcome(moved("deciding", "looking", Movement::Regress), Some("T"), None),
            ],
            "way back deciding → looking on friction hard",
            "segment loyal",
        ),
        (&[], "friction denied as evidence in a score", "renewal owning → deciding"),
        (
            &[outcome(moved("owning", "deciding", Movement::Renew), Some("T"), Some("loyal"))],
            "renewal owning → deciding",
            "ending in lapsed after looking was abandoned (then)",
        ),
        (
            // By a touchpoint, not by the absence.
            &[outcome(moved("looking", "lapsed", Movement::End), Some("T"), None)],
            "stage lapsed (nothing enters it)",
            "ending in lapsed after looking was abandoned (then)",
        ),
        (
            &[outcome(moved("looking", "lapsed", Movement::End), None, None)],
            "ending in lapsed after looking was abandoned (then)",
            "stage owning (nothing enters it)",
        ),
    ];
    for (outcomes, exercised, missing) in steps {
        coverage.take(outcomes);
        assert!(expected(&coverage, exercised), "{exercised} is exercised");
        assert!(!expected(&coverage, missing), "{missing} is not");
    }
    assert!(expected(&coverage, "segment loyal") && expected(&coverage, "friction hard"));
}

#[derive(Clone, Debug)]
enum Slip {
    Drop(usize, usize),
    Put(usize, &'static str),
    Repeat(usize, usize),
}

fn slip() -> impl Strategy<Value = Slip> {
    let at = 0..10_000_usize;
    let bits = [
        "|",
        "\\|",
        "\\",
        " ",
        "\n",
        "\r\n",
        "\r",
        "\t",
        "`",
        "```",
        "```yaml\n",
        "~~~",
        "\"",
        "=",
        "@",
        "as=",
        "at=",
        "id=\"",
        "## ",
        "model: ",
        "é",
        "\u{0}",
        "\u{feff}",
        "\u{a0}",
        "\u{2028}",
        "9999y",
        "-1",
        "EUR",
        " =",
        "anonymous:",
        "2026-01-01",
        ":--",
        "; ",
    ];
    prop_oneof![
        (at.clone(), 1..40_usize).prop_map(|(at, bytes)| Slip::Drop(at, bytes)),
        (at.clone(), prop::sample::select(bits.to_vec())).prop_map(|(at, bit)| Slip::Put(at, bit)),
        (at.clone(), at).prop_map(|(from, to)| Slip::Repeat(from, to)),
    ]
}

fn slipped(text: &str, slip: &Slip) -> String {
    let boundary = |at: usize| text.floor_char_boundary(at % (text.len() + 1));
    let lines: Vec<&str> = text.split('\n').collect();
    match slip {
        Slip::Drop(at, bytes) => {
            let at = boundary(*at);
            format!("{}{}", &text[..at], &text[text.ceil_char_boundary((at + bytes).min(text.len()))..])
        }
        Slip::Put(at, bit) => format!("{}{bit}{}", &text[..boundary(*at)], &text[boundary(*at)..]),
        Slip::Repeat(from, to) => {
            let mut lines = lines.clone();
            lines.insert(to % lines.len(), lines[from % lines.len()]);
            lines.join("\n")
        }
    }
}

/// Whatever can be read can be played, shown, and written so that nothing differs any more.
fn holds(text: &str) -> Result<(), TestCaseError> {
    let (suite, faults) = scenario::read("stories.md", text, &mut OneModel);
    let told = render(&faults, Style::Plain);
    prop_assert!(suite.is_some() || !told.is_empty(), "refused without a reason");
    let Some(suite) = suite else { return Ok(()) };
    let said = suite.play();
    let differences: Vec<_> =
        suite.scenarios.iter().zip(&said).map(|(story, said)| scenario::differences(story, said)).collect();
    let xml = scenario::junit(&[(&suite, &differences, Span::ZERO)]);
    let whole = !xml.contains('\0') && xml.ends_with("</testsuites>\n");
    prop_assert!(whole);
    let written = scenario::updated(&suite, &said);
    let (again, _) = scenario::read("stories.md", &written, &mut OneModel);
    let Some(again) = again else { return Err(TestCaseError::fail(format!("cannot be read any more: {written:?}"))) };
    let said = again.play();
    for (story, said) in again.scenarios.iter().zip(&said) {
        let left = scenario::differences(story, said);
        prop_assert!(left.is_empty(), "{left:?} in {written:?}");
    }
    prop_assert_eq!(scenario::updated(&again, &said), written);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_slip_of_the_finger_panics_and_an_update_leaves_nothing_to_update(slips in prop::collection::vec(slip(), 0..5)) {
        let rows = ["0m | product.viewed as=Ben | ", "1d 1h | cart.added cart_id=\"A B\" value=499 EUR at=1d | looking → deciding", "40d | | quiet"];
        let aligned = "\n## Two\n\nmodel: shop.yaml\n\n| when | Anna does      | Sillage says |\n| ---- | -------------- | ------------ |\n| 0m   | product.viewed | quiet        |\n";
        let text = story(&rows) + aligned;
        holds(&slips.iter().fold(text, |text, slip| slipped(&text, slip)))?;
    }

    #[test]
    fn arbitrary_text_never_panics(text in "(## |model: shop.yaml|\\||[ -~\n]|\\PC){0,200}") {
        holds(&text)?;
    }
}

fn model_test(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sillage"));
    command.current_dir(folder).args(["model", "test"]).args(arguments).output().expect("sillage runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_command_finds_plays_updates_and_reports() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    let without_model = |rows: &[&str]| story(rows).replace("model: shop.yaml\n", "");
    write("models/shop.yaml", SHOP);
    write("models/shop.scenarios.md", &without_model(&["0m | product.viewed | quiet"]));
    write("stories/more.scenarios.md", &story(&["0m | | quiet"]).replace("shop.yaml", "../models/shop.yaml"));
    write("stories/prose.md", "# Not a story\n");
    write(".hidden/x.scenarios.md", "# Never read\n");
    let run = |arguments: &[&str]| model_test(folder.path(), arguments);

    let differs = run(&["--junit", "report.xml"]);
    assert_eq!(differs.status.code(), Some(1));
    let told = out(&differs);
    for part in [
        "FAIL models/shop.scenarios.md       1 story ",
        "ok   stories/more.scenarios.md      1 story ",
        "  models/shop.scenarios.md:6:  0m  product.viewed\n    - quiet\n    + enters looking\n",
        "2 stories in 2 files: 1 story ends otherwise, in 1 row",
        "shop (models/shop.yaml): 12 % exercised, 1 of 8\n",
        "  not exercised: episode basket abandoned\n",
    ] {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
    assert!(!told.contains('\u{1b}'), "no colours where there is no terminal");
    let xml = std::fs::read_to_string(folder.path().join("report.xml")).expect("a report");
    assert!(xml.contains("tests=\"2\" failures=\"1\""), "{xml}");

    let json: serde_json::Value =
        serde_json::from_slice(&run(&["models/shop.yaml", "--format", "json"]).stdout).expect("JSON");
    assert_eq!(json["files"][0]["stories"][0]["differences"][0]["said"], "enters looking");
    assert_eq!((&json["stories"], &json["coverage"][0]["percent"]), (&1.into(), &12.into()));

    let updated = run(&["--update"]);
    assert_eq!(updated.status.code(), Some(0), "{}", out(&updated));
    assert!(out(&updated).starts_with("models/shop.scenarios.md: 1 row written"), "{}", out(&updated));
    assert_eq!(run(&[]).status.code(), Some(0));
    let named = out(&run(&["stories/more.scenarios.md"]));
    assert!(named.contains("shop (models/shop.yaml): 0 %"), "{named}");
    assert_eq!(run(&["models", "--require-coverage"]).status.code(), Some(1), "much is not exercised");
    write("alone.md", &without_model(&["0m | product.viewed | enters looking"]));
    assert_eq!(run(&["alone.md", "--model", "models/shop.yaml"]).status.code(), Some(0));

    write("broken.scenarios.md", "# Nothing\n");
    for (arguments, message) in [
        (&["broken.scenarios.md", "alone.md"][..], "error[S011]"),
        (&["broken.scenarios.md", "alone.md"], "error[S005]"),
        (&["nowhere.md"], "cannot read nowhere.md"),
        (&["nowhere.yaml"], "write nowhere.scenarios.md beside it"),
        (&[".hidden/.."], "[S011]"),
        (&["alone.md", "--model", "nowhere.yaml"], "cannot read the model nowhere.yaml"),
    ] {
        let refused = run(arguments);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(message), "{arguments:?}: {told}");
    }
    std::fs::create_dir(folder.path().join("empty")).expect("made");
    assert_eq!(model_test(&folder.path().join("empty"), &[]).status.code(), Some(2), "nothing to play is no success");
}

#[test]
fn decades_pass_in_no_time() {
    let suite =
        good(&story(&["0m | product.viewed | enters looking", "90y | | abandons looking after 7d", "2000y | | quiet"]));
    assert_eq!(said(&suite)[1], "abandons looking after 7d");
    assert!(
        suite.scenarios[0].rows[2].at > Timestamp::parse("4000-01-01T00:00:00Z").expect("an instant") - Span::from_days(600)
    );
}
