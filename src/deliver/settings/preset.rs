//! Presets: how a kind of receiver is asked, as YAML. They are part of the binary (`presets/`); a destination can also say its
//! own steps.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::deliver::request::{Body, Step};
use crate::deliver::template::{Text, Tree};
use crate::diagnostic::{Faults, Place, Source, Spanned};
use crate::yaml::{self, Node, Reader, Shape, Value};

/// The presets, by name.
pub const PRESETS: &[(&str, &str)] = &[
    ("webhook", include_str!("../../../presets/webhook.yaml")),
    ("chatwoot", include_str!("../../../presets/chatwoot.yaml")),
    ("segment", include_str!("../../../presets/segment.yaml")),
    ("mautic", include_str!("../../../presets/mautic.yaml")),
    ("slack", include_str!("../../../presets/slack.yaml")),
];

const METHODS: &[(&str, &str)] =
    &[("post", "POST"), ("put", "PUT"), ("patch", "PATCH"), ("get", "GET"), ("delete", "DELETE")];
/// Requests that one delivery may take.
const STEPS: usize = 8;

/// How a kind of receiver is asked.
#[derive(Clone, Debug)]
pub(super) struct Preset {
    /// What is asked for an offer.
    pub(super) offer: Vec<Step>,
    /// What is asked for a withdrawal.
    pub(super) withdrawal: Vec<Step>,
    signed: bool,
}

/// The preset that a destination names, or the steps that it says itself.
pub(super) fn chosen(reader: &mut Reader<'_>, faults: &mut Faults) -> Option<Preset> {
    let named = reader.optional("preset");
    let own = (reader.optional("offer"), reader.optional("withdrawal"));
    match (named, own) {
        (Some(value), (None, None)) => {
            let presets: Vec<(&'static str, &'static str)> = PRESETS.to_vec();
            let name = value.word(&presets, faults)?;
            Some(built_in(name.value))
        }
        (None, (Some(offer), withdrawal)) => Some(Preset {
            offer: steps(&offer, faults),
            withdrawal: withdrawal.map(|value| steps(&value, faults)).unwrap_or_default(),
            signed: false,
        }),
        (Some(value), (_, _)) => {
            let help = "keep `preset`, or the steps";
            faults.error("Y013", value.place(), "a destination has either a preset or steps of its own", help);
            None
        }
        (None, (None, _)) => reader.required("preset", "preset: webhook", faults).and(None),
    }
}

/// A preset of ours has no faults; a test reads them all.
fn built_in(text: &'static str) -> Preset {
    let mut faults = Faults::default();
    let source = Source::file("preset", text);
    let root = yaml::parse(&source, &mut faults);
    let preset = root.and_then(|root| {
        let mut reader = Reader::open(&root, "a preset", &root.place, &mut faults)?;
        let mut steps_of = |key| reader.optional(key).map(|value| steps(&value, &mut faults)).unwrap_or_default();
        let (offer, withdrawal) = (steps_of("offer"), steps_of("withdrawal"));
        let signed = reader.optional("signed").and_then(|value| value.flag(&mut faults));
        reader.finish(&mut faults);
        Some(Preset { offer, withdrawal, signed: signed.is_some_and(|signed| signed.value) })
    });
    debug_assert!(faults.usable(), "a preset of ours has faults");
    preset.unwrap_or(Preset { offer: Vec::new(), withdrawal: Vec::new(), signed: false })
}

impl Preset {
    /// Whether all that the templates look up is there.
    pub(super) fn check(
        &self,
        place: &Place,
        values: &BTreeMap<String, String>,
        (has_secret, has_signing): (bool, bool),
        faults: &mut Faults,
    ) {
        let mut missing: Vec<String> = Vec::new();
        for step in self.offer.iter().chain(&self.withdrawal) {
            let headers = step.headers.iter().flat_map(|(_, text)| text.names());
            let mut names: Vec<&str> = step.path.names().chain(headers).collect();
            if let Body::Json(tree) = &step.body {
                tree_names(tree, &mut names);
            }
            for name in names {
                let is_there = match name.strip_prefix("values.") {
                    Some(value) => values.contains_key(value),
                    None => name != "secret" || has_secret,
                };
                if !is_there && !missing.iter().any(|known| known == name) {
                    missing.push(name.to_owned());
                }
            }
        }
        for name in missing {
            let help = match name.strip_prefix("values.") {
                Some(value) => format!("add a line such as `values: {{ {value}: … }}`"),
                None => "add a line such as `secret: { variable: CHAT_TOKEN }`".to_owned(),
            };
            faults.error("Y011", place, format!("the requests need `{name}`"), help);
        }
        if self.signed && !has_signing {
            let help = "add a line such as `signing_secret: { variable: WEBHOOK_SECRET }`; make one with \
                        `echo whsec_$(openssl rand -base64 32)`";
            faults.error("Y011", place, "the requests are signed, and there is no secret", help);
        }
    }
}

fn tree_names<'a>(tree: &'a Tree, names: &mut Vec<&'a str>) {
    match tree {
        Tree::Text(text) => names.extend(text.names()),
        Tree::List(items) => items.iter().for_each(|item| tree_names(item, names)),
        Tree::Map(lines) => lines.iter().for_each(|(_, item)| tree_names(item, names)),
        Tree::Plain(_) => {}
    }
}

fn steps(value: &Value<'_>, faults: &mut Faults) -> Vec<Step> {
    let items = value.items();
    if items.len() > STEPS {
        let cause = format!("{} has {} steps, more than {STEPS}", value.label(), items.len());
        faults.error("Y014", value.place(), cause, "ask for less");
    }
    items.iter().filter_map(|item| step(item, faults)).collect()
}

fn step(value: &Value<'_>, faults: &mut Faults) -> Option<Step> {
    let mut reader = value.map("a step", faults)?;
    let asked = METHODS.iter().filter_map(|(key, method)| Some((*method, reader.optional(key)?)));
    let asked: Vec<(&'static str, Value<'_>)> = asked.collect();
    let body = reader.optional("body").and_then(|value| body(&value, faults));
    let headers = lines(&mut reader, "headers", faults);
    let keep = lines(&mut reader, "keep", faults);
    let fine = reader.optional("fine").map(|value| value.items()).unwrap_or_default();
    let fine = fine.iter().filter_map(|value| value.integer(100..=599, faults)).map(|status| status.value as u16).collect();
    reader.finish(faults);
    let [(method, path)] = asked.as_slice() else {
        let help = "write one line such as `post: /api/messages`";
        faults.error("Y011", value.place(), "a step asks for one path, in one way", help);
        return None;
    };
    // Nothing is a path too: that of the URL itself.
    let text = match path.as_text() {
        Some("") => Spanned { value: String::new(), place: path.place().clone() },
        Some(_) | None => path.text(faults)?,
    };
    if !text.value.starts_with('/') && !text.value.is_empty() {
        faults.error("Y013", path.place(), "a path begins with `/`", "write a path such as /api/messages");
    }
    let path = template(&text, faults)?;
    let headers = headers.into_iter().filter_map(|(name, text)| {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if !name.chars().all(is_name) {
            faults.error(
                "Y013",
                &text.place,
                "a header's name has letters, digits, hyphens and underscores",
                "write a name such as authorization",
            );
        }
        Some((name.to_ascii_lowercase(), template(&text, faults)?))
    });
    let headers = headers.collect();
    let keep = keep.into_iter().map(|(name, path)| (name, path.value)).collect();
    Some(Step { method, path, headers, body: body.unwrap_or(Body::Nothing), keep, fine })
}

fn template(text: &Spanned<String>, faults: &mut Faults) -> Option<Text> {
    let read = Text::read(&text.value);
    read.map_err(|cause| faults.error("Y013", &text.place, cause, "write a name between `{{` and `}}`")).ok()
}

fn lines(reader: &mut Reader<'_>, key: &'static str, faults: &mut Faults) -> Vec<(String, Spanned<String>)> {
    let entries = reader.optional(key).and_then(|value| value.entries(key, faults)).unwrap_or_default();
    entries.iter().filter_map(|entry| Some((entry.key.value.clone(), Value::from(entry).text(faults)?))).collect()
}

/// `outcome`, or a tree.
fn body(value: &Value<'_>, faults: &mut Faults) -> Option<Body> {
    match value.as_text() {
        Some("outcome") => Some(Body::Outcome),
        Some(_) | None => Some(Body::Json(tree(value.node(), faults)?)),
    }
}

fn tree(node: &Node, faults: &mut Faults) -> Option<Tree> {
    Some(match &node.shape {
        Shape::Nothing => Tree::Plain(Json::Null),
        Shape::Refused => return None,
        Shape::Scalar { text, quoted: false } if is_json(text) => Tree::Plain(serde_json::from_str(text).ok()?),
        Shape::Scalar { text, .. } => {
            Tree::Text(template(&Spanned { value: text.clone(), place: node.place.clone() }, faults)?)
        }
        Shape::List(items) => Tree::List(items.iter().map(|item| tree(item, faults)).collect::<Option<_>>()?),
        Shape::Map(entries) => {
            let lines = entries.iter().map(|entry| Some((entry.key.value.clone(), tree(&entry.value, faults)?)));
            Tree::Map(lines.collect::<Option<_>>()?)
        }
    })
}

/// A number or a flag that stands without quotes is one in JSON too.
fn is_json(text: &str) -> bool {
    matches!(text, "true" | "false") || serde_json::from_str::<serde_json::Number>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_can_be_read() {
        for (name, text) in PRESETS {
            let preset = built_in(text);
            assert!(!preset.offer.is_empty(), "{name}");
        }
    }
}
