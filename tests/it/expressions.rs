//! Conditions held against an independent reading of CEL (the crate `cel`), and what is told of wrong ones.
//!
//! `tests/expressions/faults.txt` lists wrong expressions with the place, the code and the words; `SILLAGE_BLESS=1` writes it
//! anew: read the diff.

mod oracle;
mod sketch;

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sillage::diagnostic::{CODES, Diagnostic, Faults, Source, Spanned, Style, render};
use sillage::expression::{Environment, Expression, MAX_BYTES, Type};

use oracle::Oracle;
use sketch::{FACTS, Given, Sketch, WRONG, sketches};

/// The facts of the sketches, in the order of their slots; and those that are of the wrong type wherever they stand.
fn environment() -> Environment {
    let mut environment = Environment::default();
    for (name, kind) in FACTS.iter().chain(WRONG) {
        environment.declare(*name, *kind);
    }
    environment.declare("big_basket.value", Type::Number);
    environment.advise("touchpoint", "declare it: `*: number` under `properties`");
    environment.withhold("survey", "`survey.*` is nothing that a condition sees", "write `touchpoint.*`");
    environment
}

fn compile(text: &str, environment: &Environment, expected: Type) -> (Option<Expression>, Vec<Diagnostic>) {
    let source = Source::file("m.yaml", &format!("when: {text}\n"));
    let text = Spanned { value: text.to_owned(), place: source.place(6..6 + text.len()) };
    let mut faults = Faults::default();
    let expression = Expression::compile(&text, environment, expected, &mut faults);
    assert_eq!(expression.is_some(), faults.usable(), "a fault is told exactly where there is no expression");
    faults.settle(expression)
}

/// The bytes of a fault within the expression.
fn bytes(fault: &Diagnostic) -> Range<usize> {
    fault.place.span.start - 6..fault.place.span.end - 6
}

#[test]
fn a_compiled_expression_has_the_value_that_cel_gives_it() {
    let environment = environment();
    let mut seen = [0u32; 4];
    let mut runner = TestRunner::new(Config { cases: 4_000, failure_persistence: None, ..Config::default() });
    let seen_inside = std::cell::RefCell::new(&mut seen);
    let result = runner.run(&(sketches(), Given::any()), |(sketch, given)| {
        let text = sketch.written();
        prop_assume!(text.len() <= MAX_BYTES);
        let (expression, faults) = compile(&text, &environment, sketch.kind());
        let expression = expression.ok_or_else(|| TestCaseError::fail(render(&faults, Style::Plain)))?;
        let oracle = Oracle::new(&given);
        let (cel, deviates) = oracle.translate(&sketch);
        let literal = match sketch.kind() {
            Type::Flag => expression.flag(&given).map(|flag| flag.to_string()),
            Type::Number => expression.number(&given).map(oracle::number),
            Type::Text => expression.text(&given).map(sketch::quoted),
            Type::Duration => expression.span(&given).map(oracle::duration),
            Type::Instant => expression.instant(&given).map(oracle::instant),
        };
        match &literal {
            // A span is never negative, and NaN equals nothing.
            Some(zero) if sketch.kind() == Type::Duration && *zero == oracle::duration(sillage::time::Span::ZERO) => {
                prop_assert_eq!(oracle.ask(&format!("({cel}) <= {zero}")), Ok(true), "{}", &text);
            }
            Some(nan) if *nan == oracle::number(f64::NAN) => {
                prop_assert_eq!(oracle.ask(&format!("({cel}) != ({cel})")), Ok(true), "{}", &text);
            }
            Some(value) => {
                prop_assert_eq!(oracle.ask(&format!("({cel}) == {value}")), Ok(true), "{} is not {}", &text, value)
            }
            None => prop_assert!(oracle.has_no_value(&cel), "{} has a value: {}", &text, &cel),
        }
        prop_assert_eq!(expression.holds(&given), literal.as_deref() == Some("true"));
        let mut seen = seen_inside.borrow_mut();
        match literal.as_deref() {
            None => seen[0] += 1,
            Some("false") => seen[1] += 1,
            Some(_) => seen[2] += 1,
        }
        seen[3] += u32::from(deviates);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    // Otherwise the comparison says little.
    assert!(seen.iter().all(|count| *count > 100), "no value, false, other, deviating: {seen:?}");
}

/// What the crate does with errors beside `||` and `&&` is what CEL's specification says: the other side decides, wherever it
/// stands. It was not always so; if a new version fails here, the oracle is wrong, not we.
#[test]
fn the_oracle_absorbs_errors_as_the_specification_says() {
    let oracle = Oracle::new(&Given::none());
    for (text, value) in [
        ("touchpoint.nps > 1.0 || true", Some(true)),
        ("true || touchpoint.nps > 1.0", Some(true)),
        ("touchpoint.nps > 1.0 && false", Some(false)),
        ("false && touchpoint.nps > 1.0", Some(false)),
        ("touchpoint.nps > 1.0 || false", None),
        ("touchpoint.nps > 1.0 && true", None),
        ("!(touchpoint.nps > 1.0)", None),
        ("has(touchpoint.nps)", Some(false)),
        ("touchpoint.nps > 1.0 ? true : true", None),
        ("0.0 / 0.0 == 0.0 / 0.0", Some(false)),
        ("0.0 / 0.0 < 1.0", None),
    ] {
        assert_eq!(oracle.ask(text).ok(), value, "{text}");
    }
}

#[test]
fn a_part_of_the_wrong_type_is_refused_where_it_stands() {
    let environment = environment();
    let mut runner = TestRunner::new(Config { cases: 2_000, failure_persistence: None, ..Config::default() });
    let strategy = (sketches(), any::<prop::sample::Index>(), any::<prop::sample::Index>());
    let result = runner.run(&strategy, |(sketch, place, wrong)| {
        let mutant = sketch.with_wrong_part(&place, &wrong);
        let text = mutant.whole.written();
        prop_assume!(text.len() <= MAX_BYTES);
        let (expression, faults) = compile(&text, &environment, sketch.kind());
        prop_assert!(expression.is_none(), "{}", &text);
        let parent = mutant.parent.as_ref().map_or_else(|| text.clone(), Sketch::written);
        let start = text.find(&parent).expect("the parent is a part of the whole");
        let at = text.find(&mutant.name).expect("the wrong fact is a part of the whole");
        let wrong = at..at + mutant.name.len();
        let errors: Vec<&Diagnostic> = faults.iter().filter(|fault| fault.code != "M108").collect();
        prop_assert_eq!(errors.len(), 1, "{}\n{}", &text, render(&faults, Style::Plain));
        let told = bytes(errors[0]);
        prop_assert!(matches!(errors[0].code, "M102" | "M103"), "{}", errors[0].code);
        prop_assert!(start <= told.start && told.end <= start + parent.len(), "{}: {}", &text, &text[told]);
        // On the part itself, or beside it on the operator or on the value that does not go with it, not around it.
        let apart = told.end <= wrong.start || wrong.end <= told.start;
        let itself = told.start <= wrong.start
            && wrong.end <= told.end
            && text[told.clone()].trim_matches(['(', ')', '!', '-']) == mutant.name;
        prop_assert!(apart || itself, "{}: {}", &text, &text[told]);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn wrong_expressions_are_told_where_why_and_what_to_write() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expressions/faults.txt");
    let before = std::fs::read_to_string(&path).expect("the list of wrong expressions");
    let environment = environment();
    let (mut told, mut count) = (String::new(), 0);
    for line in before.lines() {
        let Some((kind, text)) = line.split_once(": ").filter(|(kind, _)| !kind.starts_with(['#', ' '])) else {
            if line.starts_with('#') || line.is_empty() {
                let _ = writeln!(told, "{line}");
            }
            continue;
        };
        let expected = match kind {
            "condition" => Type::Flag,
            "duration" => Type::Duration,
            "instant" => Type::Instant,
            other => panic!("{other} is no kind of expression"),
        };
        let _ = writeln!(told, "{line}");
        let (_, faults) = compile(text, &environment, expected);
        assert!(!faults.is_empty(), "{text} is fine");
        for fault in faults {
            let at = bytes(&fault);
            let (before, marked) = (text[..at.start].chars().count(), text[at].chars().count().max(1));
            let indent = " ".repeat(kind.len() + 2 + before);
            let _ = writeln!(told, "{indent}{} {}: {}; {}", "^".repeat(marked), fault.code, fault.cause, fault.help);
            count += 1;
        }
    }
    if std::env::var_os("SILLAGE_BLESS").is_some() {
        std::fs::write(&path, &told).expect("a text that can be written");
    }
    assert!(told == before || std::env::var_os("SILLAGE_BLESS").is_some(), "told now:\n{told}");
    assert!(count > 60, "only {count} faults");
    for (code, _) in CODES.iter().filter(|(code, _)| code.starts_with("M10")).filter(|(code, _)| *code != "M105") {
        assert!(told.contains(&format!(" {code}: ")), "no expression raises {code}");
    }
}

#[test]
fn a_long_or_deep_expression_is_refused_at_once() {
    let environment = environment();
    let codes = |text: &str| compile(text, &environment, Type::Flag).1.iter().map(|fault| fault.code).collect::<Vec<_>>();
    let nested = |depth: usize| format!("{}touchpoint.vip{}", "(".repeat(depth), ")".repeat(depth));
    let chain = |count: usize| format!("{} > 1", vec!["touchpoint.nps"; count].join(" + "));
    assert_eq!(codes(&nested(32)), Vec::<&str>::new());
    assert_eq!(codes(&nested(33)), ["M105"]);
    assert_eq!(codes(&chain(31)), Vec::<&str>::new());
    assert_eq!(codes(&chain(33)), ["M105"]);
    // Alternatives are one level, however many.
    assert_eq!(codes(&vec!["touchpoint.vip"; 56].join(" || ")), Vec::<&str>::new());
    assert_eq!(codes(&"!".repeat(900)), ["M105"]);
    let padded = |length: usize| format!("{:length$}", "touchpoint.vip");
    assert_eq!(codes(&padded(MAX_BYTES)), Vec::<&str>::new());
    assert_eq!(codes(&padded(MAX_BYTES + 1)), ["M105"]);
}

#[test]
fn no_text_takes_long() {
    let mut environment = environment();
    for number in 0..500 {
        environment.declare(format!("customer.tally_number_{number}"), Type::Number);
    }
    let fill = |part: &str| part.repeat(MAX_BYTES / part.len());
    for part in [
        "(",
        "!",
        "-",
        "[",
        "a.",
        "a+",
        "a||",
        "a?",
        "a ? b : ",
        "x in [",
        "\"",
        "\\",
        "'\\",
        "1",
        "1h ",
        "aaaa && ",
        "customer.tally_x + ",
        "f(",
        "has(",
        "é",
        "“",
    ] {
        for text in [fill(part), fill(part) + "a", part.repeat(2_000_000 / part.len())] {
            let begun = Instant::now();
            let _ = compile(&text, &environment, Type::Flag);
            let took = begun.elapsed();
            assert!(took < Duration::from_millis(250), "{part} × {} took {took:?}", text.len() / part.len());
        }
    }
}

/// Texts made of what expressions are made of.
fn soup() -> impl Strategy<Value = String> {
    const PARTS: &[&str] = &[
        "touchpoint.nps",
        "touchpoint.type",
        "touchpoint.vip",
        "journey.started_at",
        "visit.length",
        "segment",
        "nonsense",
        "1",
        "2.5",
        "1e9",
        "\"a\"",
        "'b'",
        "\"",
        "'",
        "\\",
        "true",
        "false",
        "in",
        "not",
        "and",
        "or",
        "has(",
        "size(",
        "duration(\"1h\")",
        "timestamp(\"2026-01-01T00:00:00Z\")",
        "duration(",
        ".contains(",
        ".startsWith(\"a\")",
        "(",
        ")",
        "[",
        "]",
        ",",
        ".",
        "?",
        ":",
        "||",
        "&&",
        "==",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        "+",
        "-",
        "*",
        "/",
        "!",
        "=",
        "&",
        "%",
        "5m",
        " ",
        "  ",
        "\n",
        "é",
        "“",
        "\u{0}",
        "null",
        "if",
        "{",
        "}",
        "@",
    ];
    prop::collection::vec(prop::sample::select(PARTS), 0..24).prop_map(|parts| parts.join(" "))
}

proptest! {
    #![proptest_config(Config { cases: 3_000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn whatever_is_written_nothing_panics(
        text in prop_oneof![soup(), any::<String>(), "[ -~]{0,60}", prop::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())],
        kind in prop::sample::select(&[Type::Flag, Type::Duration, Type::Instant, Type::Number, Type::Text]),
        given in Given::any(),
    ) {
        let (expression, faults) = compile(&text, &environment(), kind);
        for fault in &faults {
            let at = bytes(fault);
            prop_assert!(at.start <= at.end && at.end <= text.len() && text.is_char_boundary(at.start) && text.is_char_boundary(at.end));
            prop_assert!(!fault.cause.ends_with('.') && !fault.help.ends_with('.') || fault.help.ends_with("…"), "{fault:?}");
            prop_assert!(CODES.iter().any(|(code, _)| *code == fault.code));
        }
        let _ = render(&faults, Style::Plain);
        if let Some(expression) = expression {
            let _ = (expression.holds(&given), expression.span(&given), expression.instant(&given), expression.number(&given), expression.text(&given));
            prop_assert!(expression.slots().is_sorted());
        }
    }
}
