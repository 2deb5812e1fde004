//! What expressions mean, case by case. What is told of wrong ones stands in `tests/expressions/faults.txt`.

use super::*;
use crate::diagnostic::{Severity, Source, Style, render};

/// Facts in the order of `environment`.
#[derive(Default)]
struct Given {
    nps: Option<f64>,
    kind: Option<&'static str>,
    vip: Option<bool>,
    at: Option<i64>,
    age: Option<i64>,
    value: Option<f64>,
}

impl Facts for Given {
    fn number(&self, slot: Slot) -> Option<f64> {
        match slot {
            0 => self.nps,
            5 => self.value,
            _ => None,
        }
    }
    fn text(&self, slot: Slot) -> Option<&str> {
        if slot == 1 { self.kind } else { None }
    }
    fn flag(&self, slot: Slot) -> Option<bool> {
        if slot == 2 { self.vip } else { None }
    }
    fn instant(&self, slot: Slot) -> Option<Timestamp> {
        if slot == 3 { self.at.map(Timestamp::from_millis) } else { None }
    }
    fn duration(&self, slot: Slot) -> Option<Span> {
        if slot == 4 { self.age.map(Span::from_millis) } else { None }
    }
}

fn environment() -> Environment {
    let mut environment = Environment::default();
    environment.declare("touchpoint.nps", Type::Number);
    environment.declare("touchpoint.type", Type::Text);
    environment.declare("touchpoint.vip", Type::Flag);
    environment.declare("touchpoint.at", Type::Instant);
    environment.declare("journey.age", Type::Duration);
    environment.declare("hard_basket.value", Type::Number);
    environment.declare("segment", Type::Text);
    environment.advise("touchpoint", "declare it: `*: number` under `properties`");
    environment.withhold("session", "`session.*` is not known here", "name a fact of the journey");
    environment
}

fn compiled(text: &str, expected: Type) -> (Option<Expression>, Vec<crate::diagnostic::Diagnostic>) {
    let source = Source::file("m.yaml", &format!("when: {text}\n"));
    let text = Spanned { value: text.to_owned(), place: source.place(6..6 + text.len()) };
    let mut faults = Faults::default();
    let expression = Expression::compile(&text, &environment(), expected, &mut faults);
    faults.settle(expression)
}

fn good(text: &str, expected: Type) -> Expression {
    let (expression, faults) = compiled(text, expected);
    expression.unwrap_or_else(|| panic!("{text}\n{}", render(&faults, Style::Plain)))
}

#[test]
fn an_absent_fact_leaves_no_value_unless_the_rest_decides() {
    for (text, value) in [
        ("touchpoint.nps >= 9", None),
        ("touchpoint.nps >= 9 || touchpoint.type == \"a\"", Some(true)),
        ("touchpoint.type == \"a\" || touchpoint.nps >= 9", Some(true)),
        ("touchpoint.nps >= 9 || touchpoint.type == \"b\"", None),
        ("touchpoint.nps >= 9 && touchpoint.type == \"b\"", Some(false)),
        ("touchpoint.nps >= 9 && touchpoint.type == \"a\"", None),
        ("!(touchpoint.nps >= 9)", None),
        ("has(touchpoint.nps)", Some(false)),
        ("!has(touchpoint.nps) && has(touchpoint.type)", Some(true)),
        ("touchpoint.nps >= 9 ? true : touchpoint.type == \"a\"", Some(true)),
        ("(touchpoint.nps >= 9 ? 1 : 2) == 2", Some(true)),
        ("touchpoint.nps in [1, 2]", None),
        ("touchpoint.type in [\"b\", 'a']", Some(true)),
        ("touchpoint.type.startsWith(\"a\") && size(touchpoint.type) == 1", Some(true)),
        ("touchpoint.at == timestamp(\"1970-01-01T00:00:01Z\")", Some(true)),
        ("touchpoint.at - timestamp(\"1970-01-01T00:00:00Z\") == duration(\"1s\")", Some(true)),
        ("1 + 2 * 3 - -4 / 2 == 9 && touchpoint.type != \"\"", Some(true)),
        ("0 / 0 == 0 / 0", Some(false)),
        ("0 / 0 > 1", None),
        ("touchpoint.nps / 0 > 1 || 1 / 0 > 1", Some(true)),
        (".5e1 == 5 == true", Some(true)),
        ("\"\\u00e9\\x41\\101\\n\" == \"éAA\\n\"", Some(true)),
    ] {
        let facts = Given { kind: Some("a"), at: Some(1_000), ..Given::default() };
        let expression = good(text, Type::Flag);
        assert_eq!(expression.flag(&facts), value, "{text}");
        assert_eq!(expression.holds(&facts), value == Some(true), "{text}");
    }
}

#[test]
fn spans_are_never_negative_and_time_never_overflows() {
    let facts = Given { at: Some(i64::MAX), age: Some(i64::MAX), ..Given::default() };
    for (text, millis) in [
        ("duration(\"1h\") - duration(\"2h\")", Some(0)),
        ("duration(\"1h\") + duration(\"30m\")", Some(5_400_000)),
        ("journey.age + duration(\"1ms\")", None),
        ("journey.age - duration(\"1ms\")", Some(i64::MAX - 1)),
        ("duration(\"0s\") - journey.age - journey.age", None),
        ("touchpoint.at - timestamp(\"1969-12-31T23:59:59Z\")", None),
        ("touchpoint.nps > 5 ? duration(\"1m\") : duration(\"2m\")", Some(120_000)),
    ] {
        let expression = good(text, Type::Duration);
        assert_eq!(expression.span(&facts).map(Span::as_millis), millis, "{text}");
        assert_eq!((expression.holds(&facts), expression.instant(&facts)), (false, None), "{text}");
    }
    assert_eq!(good("touchpoint.at + duration(\"1ms\")", Type::Instant).instant(&facts), None);
    let earlier = good("touchpoint.at - duration(\"1ms\")", Type::Instant).instant(&facts);
    assert_eq!(earlier, Some(Timestamp::from_millis(i64::MAX - 1)));
}

#[test]
fn an_expression_knows_its_text_and_its_facts() {
    let text = "touchpoint.type == \"a\" && has(touchpoint.nps) && touchpoint.type != \"b\"";
    let expression = good(text, Type::Flag);
    assert_eq!((expression.source(), expression.slots()), (text, &[0, 1][..]));
    assert_eq!(format!("{:?}", good("has(segment)", Type::Flag)), "Expression(\"has(segment)\")");
    assert_eq!(expression, expression.clone());
    assert_ne!(expression, good("has(segment)", Type::Flag));
    assert!(good("true", Type::Flag).always_holds() && !good("has(segment)", Type::Flag).always_holds());
    fn shared<T: Send + Sync + Clone>() {}
    shared::<Expression>();
    shared::<Environment>();
}

/// Eight warnings and then an error: a line that cannot be compiled is never without an error, or the model would be taken as
/// if the line were not there.
#[test]
fn warnings_do_not_crowd_out_errors() {
    let (expression, told) = compiled(&format!("{}touchpoint.bogus > 1", "1 > 2 || ".repeat(9)), Type::Flag);
    assert!(expression.is_none());
    let errors: Vec<&str> = told.iter().filter(|fault| fault.severity == Severity::Error).map(|fault| fault.code).collect();
    assert_eq!(errors, ["M101"], "{}", render(&told, Style::Plain));
    assert_eq!(told.len(), 9, "as many warnings as one line may have, and the error");
}

/// What stands after a duration is no part of it.
#[test]
fn a_bare_duration_ends_before_the_space() {
    let (_, told) = compiled("journey.age > 5m && touchpoint.vip", Type::Flag);
    let [only] = told.as_slice() else { panic!("{}", render(&told, Style::Plain)) };
    assert_eq!(only.help, "write `duration(\"5m\")`");
}
