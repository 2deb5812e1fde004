//! The model language as a JSON Schema, for editors: which keys there are, what they hold, and what they mean.
//!
//! One table of keys; everything is generated from it. A schema cannot say what names refer to, so it accepts more than
//! [`super::check`] does; it never refuses a model that is fine.

use serde_json::{Map, Value, json};

use super::written::KINDS;

/// A key of some map of the language.
struct Key {
    name: &'static str,
    holds: Holds,
    /// Shown where the pointer rests.
    means: &'static str,
}

const fn key(name: &'static str, holds: Holds, means: &'static str) -> Key {
    Key { name, holds, means }
}

/// What a key holds.
enum Holds {
    /// `1`.
    LanguageVersion,
    /// A whole number from 1.
    Number,
    /// Any text.
    Text,
    /// `true` or `false`.
    Flag,
    /// One of some words.
    Word(&'static [&'static str]),
    /// What a property is.
    Property,
    /// The name of something in the model.
    Name,
    /// One such name or several.
    Names,
    /// Several, as a list.
    Parts,
    /// Types and groups, one or several.
    Types,
    /// Types and groups, or `any`.
    Progress,
    /// A duration.
    Span,
    /// A duration, one by segment, or a condition language line.
    Wait,
    /// A condition language line.
    Line,
    /// What enters a stage.
    Ways,
    /// A whole number, or one by segment.
    Score,
    /// A map from names to something.
    Named(&'static Holds),
    /// A map from properties to something.
    ByProperty(&'static Holds),
    /// A map with these keys.
    Keys(&'static Closed),
    /// A list of types and groups, or a map with these keys.
    TypesOr(&'static Closed),
    /// A condition, or `true`.
    LineOrTrue,
    /// A whole number from 0.
    Whole,
    /// Outcomes by kind and name.
    Outcomes,
    /// Caps: `{ 2 within: 1d }`, one or several.
    Caps,
    /// An outcome and a time.
    Goal,
    /// Values by name, or by name and variant.
    Payload,
    /// A part of a hundred.
    Share,
}

/// A map whose keys are given.
struct Closed {
    keys: &'static [Key],
    required: &'static [&'static str],
    /// Whether `7 of` is a key, and from which number on.
    counted: Option<u8>,
}

const SPAN: &str = r"^\s*\d+\s*(ms|s|m|h|d|w|y)(\s*\d+\s*(ms|s|m|h|d|w|y))*\s*$";
/// A number or an amount that is summed up over a list.
const SUM_OF_LIST: &str =
    r"^(number|money)( with decimal comma| in cents)?, sum of [^\s*\[\]]+\[\]\.[^\s*\[\]]+(\s*\*\s*[^\s*]+)?$";
const NAME: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";

static MODEL: Closed = Closed {
    keys: &[
        key("sillage", Holds::LanguageVersion, "The version of the model language."),
        key("model", Holds::Name, "The model's name. It stands in outcomes, metrics and dashboards."),
        key("version", Holds::Number, "Your own count of the model's versions."),
        key("about", Holds::Text, "What the model is for, in a sentence."),
        key("import", Holds::Parts, "Files that share groups of touchpoints and properties, relative to this one."),
        key(
            "currency",
            Holds::Text,
            "What amounts are in that have no currency beside them, and what amounts in conditions are compared in, such as \
             EUR. Needed as soon as a condition touches money.",
        ),
        key("timezone", Holds::Text, "Where local times and days are read, such as Europe/Paris."),
        key(
            "properties",
            Holds::ByProperty(&Holds::Property),
            "Every property of touchpoints that a condition or a tally mentions, with what it is. Money has its `currency` beside it. \
             A number or an amount can be summed up over a list: `money, sum of products[].price * quantity`.",
        ),
        key(
            "touchpoints",
            Holds::Named(&Holds::TypesOr(&GROUP)),
            "Groups of types of touchpoints. A group stands wherever a type can.",
        ),
        key("tallies", Holds::Named(&Holds::Keys(&TALLY)), "What is summed up over what customers do, for conditions."),
        key(
            "segments",
            Holds::Named(&Holds::LineOrTrue),
            "Groups of customers. The first whose condition holds is the customer's; `true` is everyone left.",
        ),
        key("phases", Holds::Named(&Holds::Names), "Headings over the stages, in the same order."),
        key("stages", Holds::Named(&Holds::Keys(&STAGE)), "The stages of a journey, in order."),
        key(
            "episodes",
            Holds::Named(&Holds::Keys(&EPISODE)),
            "Things inside a journey with an id and a deadline of their own: a basket, a checkout, an order, a ticket.",
        ),
        key("friction", Holds::Named(&Holds::Keys(&FRICTION)), "What shows that something went wrong for the customer."),
        key(
            "interventions",
            Holds::Named(&Holds::Keys(&INTERVENTION)),
            "What is offered to customers while they are still there.",
        ),
        key(
            "forwards",
            Holds::ByProperty(&Holds::Keys(&FORWARD)),
            "Types of touchpoints that concern another customer as well, such as the use of somebody's link.",
        ),
        key("renamed", Holds::Keys(&RENAMED), "What earlier versions of this model called otherwise, for running journeys."),
        key("removed", Holds::Keys(&REMOVED), "What earlier versions had, and what becomes of the journeys that run there."),
    ],
    required: &["sillage"],
    counted: None,
};

static GROUP: Closed = Closed {
    keys: &[
        key("of", Holds::Types, "The types and groups that may belong here."),
        key("when", Holds::Line, "A touchpoint belongs here only where this condition holds."),
    ],
    required: &["of", "when"],
    counted: None,
};

static TALLY: Closed = Closed {
    keys: &[
        key("count", Holds::Progress, "Counts touchpoints of these types."),
        key("count distinct", Holds::Text, "Counts the different values of this property, such as ids of orders."),
        key("sum", Holds::Text, "Adds this property up: a number, or money, kept by currency."),
        key("once per", Holds::Text, "Of touchpoints with the same value of this property, `sum` adds the latest only."),
        key("last", Holds::Text, "Keeps the latest value of this property: overall, by journey and by stage."),
        key("visits", Holds::Progress, "Counts sessions. Without session ids, a gap of 30 minutes begins a new one."),
        key("of", Holds::Progress, "The touchpoints that `sum`, `last` and `count distinct` look at."),
    ],
    required: &[],
    counted: None,
};

static FORWARD: Closed = Closed {
    keys: &[
        key("to", Holds::Text, "The property that names the other customer, by the customer's id."),
        key("as", Holds::Text, "The type that it has there."),
    ],
    required: &["to", "as"],
    counted: None,
};

static STAGE: Closed = Closed {
    keys: &[
        key("enter", Holds::Ways, "What leads into this stage: any one of these."),
        key("when", Holds::Line, "Must hold for whatever enters."),
        key("quiet", Holds::Wait, "After so long without progress the stage is abandoned. Without it, never."),
        key("abandoned at", Holds::Line, "Abandoned at this instant, carried by the touchpoint that enters."),
        key("progresses", Holds::Progress, "What puts `quiet` off. By default any touchpoint of the customer."),
        key("every", Holds::Span, "Told again each time so much more has passed and nothing has come."),
        key("at most", Holds::Number, "So often in all, with `every`. By default 3."),
        key("recovered within", Holds::Span, "So long after an abandonment, moving forward is a recovery. By default 7d."),
        key("at least", Holds::Span, "No touchpoint moves the journey forward from here sooner than this."),
        key(
            "back",
            Holds::Named(&Holds::Types),
            "Earlier stages, each with the types, groups and friction (`friction.NAME`) that lead back there.",
        ),
        key("again", Holds::Types, "What begins the customer's next journey, from here."),
        key("renews", Holds::Named(&Holds::Types), "What completes this journey and begins the next, in which stage."),
        key("then", Holds::Name, "When this stage is abandoned, the journey ends in this terminal stage."),
        key("ends", Holds::Flag, "A terminal stage: the journey ends here. Listed after all others."),
        key("optional", Holds::Flag, "Left out of drop-off figures. Changes no movement."),
    ],
    required: &[],
    counted: None,
};

static WAY: Closed = Closed {
    keys: &[
        key("all of", Holds::Parts, "One touchpoint of each of these."),
        key("within", Holds::Span, "The first and the last less than this apart."),
    ],
    required: &["within"],
    counted: Some(2),
};

static EPISODE: Closed = Closed {
    keys: &[
        key(
            "known by",
            Holds::Names,
            "What tells one from another: ids among the properties in order, then `session`, then `customer`. The first that is there counts.",
        ),
        key("opens", Holds::Types, "What opens one where none is open."),
        key("progresses", Holds::Progress, "What puts the deadline off. By default any touchpoint of the customer."),
        key("completes", Holds::Types, "What completes it."),
        key("completes when", Holds::Line, "Completed as well when this holds after a touchpoint that belongs to it."),
        key("sums", Holds::Named(&Holds::Keys(&TALLY)), "What is summed up in one, for its lines: the form of tallies."),
        key(
            "joins",
            Holds::ByProperty(&Holds::Names),
            "Types that merge one into another: the property with the id of the one that goes, then of the one that stays.",
        ),
        key("empties", Holds::Types, "Drops it without a word; the id may open one again."),
        key("cancels", Holds::Types, "Drops it without a word; the id stays closed."),
        key("worth", Holds::Text, "The property with the amount at stake; its `currency` is read beside it."),
        key("abandoned after", Holds::Wait, "After so long without progress it is abandoned. Without it, never."),
        key("abandoned at", Holds::Line, "Abandoned at this instant, whatever progress comes."),
        key("every", Holds::Span, "Told again each time so much more has passed and nothing has come."),
        key("at most", Holds::Number, "So often in all, with `every`. By default 3."),
        key("recovered within", Holds::Span, "So long after an abandonment, completing it is a recovery. By default 7d."),
        key(
            "remembered for",
            Holds::Span,
            "So long its ids are remembered after it ended, and an abandoned one can be taken up again. By default 30d, or the recovery window where that is longer.",
        ),
        key("strict", Holds::Flag, "A completing touchpoint whose id is unknown completes nothing."),
    ],
    required: &["known by", "opens"],
    counted: None,
};

static FRICTION: Closed = Closed {
    keys: &[
        key("in", Holds::Name, "Where evidence is gathered: an episode, `session`, `stage` or `journey` (by default)."),
        key("on", Holds::Types, "One such touchpoint is enough."),
        key("pattern", Holds::Parts, "Touchpoints in this order, none of the named ones between."),
        key("after", Holds::Types, "What is to be answered."),
        key("missing", Holds::Types, "What would answer it."),
        key("by", Holds::Text, "The property that names the question."),
        key("dwells", Holds::Types, "In what the customer dwells."),
        key("for", Holds::Wait, "How long they must dwell."),
        key("until", Holds::Types, "What ends the dwelling. By default everything that the episode names."),
        key("score", Holds::Score, "From this sum of weights on there is friction."),
        key("from", Holds::Named(&Holds::Number), "The rules that count for the score, with their weights."),
        key("within", Holds::Wait, "Within which time."),
        key("cool-down", Holds::Span, "For so long it is not told again. By default 1h."),
        key("evidence only", Holds::Flag, "Counts for a score, and publishes nothing itself."),
        key("segments", Holds::Names, "Applies to customers of these segments only."),
    ],
    required: &[],
    counted: Some(1),
};

static INTERVENTION: Closed = Closed {
    keys: &[
        key("on", Holds::Outcomes, "The outcomes that ask for it, by kind and name, such as { abandonment: basket }."),
        key("when", Holds::Line, "Must hold when it is asked for. It may mention `outcome.value`."),
        key("for", Holds::Names, "Is for customers of these segments only."),
        key("channel", Holds::Name, "Where it reaches the customer. One touchpoint offers one thing on a channel."),
        key("priority", Holds::Whole, "The higher wins the channel. By default 0; of equal ones the first in the file."),
        key("at most", Holds::Caps, "How often one customer gets it, such as { 1 within: 7d }."),
        key("cool-down", Holds::Span, "For so long after anything on its channel it is not offered."),
        key("needs", Holds::Name, "The consent without which it is not offered, by its name in the file of contacts."),
        key(
            "quiet hours",
            Holds::Word(&["skip", "wait", "ignore"]),
            "What becomes of it in quiet hours. By default `skip`.",
        ),
        key(
            "wait at most",
            Holds::Span,
            "With `quiet hours: wait`: the longest time since the outcome that asks. By default 12h.",
        ),
        key("holdout", Holds::Keys(&HOLDOUT), "Customers who never get it, to compare the others with."),
        key("variants", Holds::Named(&Holds::Number), "Which variants there are, with their weights."),
        key("expires", Holds::Span, "How long it stands."),
        key("withdrawn by", Holds::Outcomes, "The outcomes that take it back: nothing is offered after them."),
        key("goal", Holds::Goal, "What it is to bring about, and in which time."),
        key("payload", Holds::Payload, "What is handed on with it, the same for all or by variant."),
    ],
    required: &["on", "channel", "expires"],
    counted: None,
};

static HOLDOUT: Closed = Closed {
    keys: &[
        key("share", Holds::Share, "Which part of the customers, such as 10%."),
        key("salt", Holds::Text, "What the draw depends on beside the customer. By default the intervention's name."),
    ],
    required: &["share"],
    counted: None,
};

static RENAMED: Closed = Closed {
    keys: &[
        key("stages", Holds::Named(&Holds::Name), "Old names of stages, each with the new one."),
        key("episodes", Holds::Named(&Holds::Name), "Old names of episodes, each with the new one."),
        key("ids", Holds::ByProperty(&Holds::Text), "Properties in `known by` that touchpoints call otherwise now."),
        key("friction", Holds::Named(&Holds::Name), "Old names of friction rules, each with the new one."),
        key("tallies", Holds::Named(&Holds::Name), "Old names of tallies, each with the new one."),
        key("segments", Holds::Named(&Holds::Name), "Old names of segments, each with the new one."),
    ],
    required: &[],
    counted: None,
};

static REMOVED: Closed = Closed {
    keys: &[
        key("stages", Holds::Named(&Holds::Name), "Stages that are gone, each with the one where journeys go on."),
        key("episodes", Holds::Names, "Episodes that are gone: open ones are forgotten."),
        key("ids", Holds::Names, "Properties that no episode is known by any more."),
    ],
    required: &[],
    counted: None,
};

/// The schema as a document of JSON Schema 2020-12.
pub fn schema() -> String {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sillage model",
        "description": "A customer journey: stages, episodes, friction. Or a fragment that models import.",
    });
    merge(&mut schema, MODEL.schema());
    merge(
        &mut schema,
        json!({
            // Without either it is a fragment, which has groups and properties only.
            "if": { "anyOf": [{ "required": ["model"] }, { "required": ["stages"] }] },
            "then": { "required": ["model", "stages"] },
            "$defs": definitions(),
        }),
    );
    format!("{schema:#}\n")
}

fn definitions() -> Value {
    json!({
        "name": { "type": "string", "pattern": NAME, "maxLength": 64 },
        "type": { "type": "string", "minLength": 1, "maxLength": 256, "description": "A type of touchpoint or a group." },
        "types": one_or_many(json!({ "$ref": "#/$defs/type" })),
        "span": {
            "type": "string", "pattern": SPAN, "examples": ["90s", "30m", "1h 30m", "7d", "2y"],
            "description": "A duration: numbers with units (ms, s, m, h, d, w, y).",
        },
        "line": {
            "type": "string", "minLength": 1, "examples": ["touchpoint.nps >= 9", "customer.purchases >= 3"],
            "description": "One line of the condition language.",
        },
        "wait": {
            "description": "A duration (30m), one by segment ({ loyal: 3d, everyone: 7d }), or a line that computes one.",
            "anyOf": [
                { "$ref": "#/$defs/line" },
                {
                    "type": "object", "minProperties": 1, "propertyNames": { "$ref": "#/$defs/name" },
                    "additionalProperties": { "$ref": "#/$defs/line" },
                },
            ],
        },
        "way": WAY.schema(),
    })
}

impl Closed {
    fn schema(&self) -> Value {
        let property = |key: &Key| {
            let mut holds = key.holds.schema();
            holds["description"] = key.means.into();
            (key.name.to_owned(), holds)
        };
        let properties: Map<String, Value> = self.keys.iter().map(property).collect();
        let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
        if !self.required.is_empty() {
            schema["required"] = self.required.into();
        }
        if let Some(least) = self.counted {
            // From `least` to 32.
            let numbers = format!("^([{least}-9]|[12][0-9]|3[0-2]) of$");
            let description = "So many touchpoints of these types and groups.";
            schema["patternProperties"] = json!({ (numbers): { "$ref": "#/$defs/types", "description": description } });
        }
        schema
    }
}

impl Holds {
    fn schema(&self) -> Value {
        let reference = |name: &str| json!({ "$ref": format!("#/$defs/{name}") });
        match self {
            Holds::LanguageVersion => json!({ "const": 1 }),
            Holds::Number => json!({ "type": "integer", "minimum": 1 }),
            Holds::Text => json!({ "type": "string", "minLength": 1 }),
            Holds::Flag => json!({ "type": "boolean" }),
            Holds::Word(words) => json!({ "enum": words }),
            Holds::Property => {
                let kinds = KINDS.map(|(word, _)| word);
                json!({ "anyOf": [{ "enum": kinds }, { "type": "string", "pattern": SUM_OF_LIST }] })
            }
            Holds::Name => reference("name"),
            Holds::Names => one_or_many(json!({ "type": "string", "minLength": 1 })),
            Holds::Parts => one_or_many(reference("type")),
            Holds::Types | Holds::Progress => reference("types"),
            Holds::Span => reference("span"),
            Holds::Wait => reference("wait"),
            Holds::Line => reference("line"),
            Holds::LineOrTrue => json!({ "anyOf": [{ "const": true }, reference("line")] }),
            Holds::Ways => one_or_many(json!({ "anyOf": [reference("type"), reference("way")] })),
            Holds::Score => {
                let number = Holds::Number.schema();
                json!({ "anyOf": [number.clone(), by_name(number)] })
            }
            Holds::Named(holds) => by_name(holds.schema()),
            Holds::ByProperty(holds) => json!({ "type": "object", "additionalProperties": holds.schema() }),
            Holds::Whole => json!({ "type": "integer", "minimum": 0 }),
            Holds::Outcomes => one_or_many(by_kind(one_or_many(reference("name")))),
            Holds::Caps => one_or_many(json!({
                "type": "object", "minProperties": 1, "additionalProperties": false,
                "patternProperties": { "^[0-9]+ within$": reference("span") },
            })),
            Holds::Goal => {
                let mut goal = by_kind(reference("name"));
                goal["properties"]["within"] = reference("span");
                goal["required"] = json!(["within"]);
                goal
            }
            Holds::Payload => {
                let text = json!({ "anyOf": [{ "type": "string" }, { "type": "number" }, { "type": "boolean" }] });
                json!({ "type": "object", "additionalProperties": { "anyOf": [text.clone(), by_name(text)] } })
            }
            Holds::Share => json!({ "type": "string", "pattern": r"^\d{1,2}(\.\d{1,2})?\s*%$" }),
            Holds::Keys(closed) => closed.schema(),
            Holds::TypesOr(closed) => json!({ "anyOf": [reference("types"), closed.schema()] }),
        }
    }
}

/// Outcomes by their kind.
fn by_kind(names: Value) -> Value {
    let kinds = ["friction", "abandonment", "transition", "completion", "resumption", "recovery"];
    let kinds: Map<String, Value> = kinds.into_iter().map(|kind| (kind.to_owned(), names.clone())).collect();
    json!({ "type": "object", "minProperties": 1, "properties": kinds, "additionalProperties": false })
}

/// A map whose keys are names of the writer's.
fn by_name(holds: Value) -> Value {
    json!({ "type": "object", "propertyNames": { "$ref": "#/$defs/name" }, "additionalProperties": holds })
}

/// Wherever a list is expected, one value will do.
fn one_or_many(item: Value) -> Value {
    json!({ "anyOf": [item, { "type": "array", "items": item, "minItems": 1 }] })
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}
