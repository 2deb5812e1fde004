//! How customers may be contacted, whichever model asks: consents, and what holds over all interventions (`contacts.yaml`).
//!
//! Several models may run, and a customer has one inbox, so this stands once beside them.

use std::sync::Arc;

use compact_str::CompactString;

use super::written::{self, Cap, Kind, Name};
use super::{Fact, Holdout, Model};
use crate::diagnostic::{Diagnostic, Faults, Source, did_you_mean, quoted};
use crate::expression::{Environment, Expression, Facts, Slot, Type};
use crate::time::{Span, Timestamp, Zone};
use crate::touchpoint::{Decimal, Touchpoint, Value as Carried};
use crate::yaml::{self, Entry, Value};

/// The most consents.
pub(crate) const MAX_CONSENTS: usize = 32;
/// Where touchpoints are in conditions and in the zone.
const TOUCHPOINT: &str = "touchpoint.";

/// How customers may be contacted.
#[derive(Clone, Debug, Default)]
pub struct Contacts {
    /// What customers agree to.
    pub consents: Vec<Consent>,
    /// Who gets nothing at all, for comparison.
    pub holdout: Option<Holdout>,
    /// How often one customer is contacted, over all interventions.
    pub caps: Vec<Cap>,
    /// When nobody is contacted.
    pub quiet: Option<QuietHours>,
    facts: Vec<Fact>,
}

/// Something that customers agree to.
#[derive(Clone, Debug, PartialEq)]
pub struct Consent {
    /// The name.
    pub name: CompactString,
    /// The types that give it.
    pub given: Vec<CompactString>,
    /// The types that withdraw it.
    pub withdrawn: Vec<CompactString>,
    /// Which of those touchpoints count.
    pub when: Option<Expression>,
    /// Whether silence is a yes.
    pub otherwise_given: bool,
}

/// The hours in which nobody is contacted.
#[derive(Clone, Debug, PartialEq)]
pub struct QuietHours {
    /// Minutes after midnight from which on it is quiet.
    pub from: u16,
    /// Minutes after midnight at which that ends.
    pub to: u16,
    /// The property that names the customer's time zone.
    pub zone: Option<CompactString>,
    /// The zone of customers whose own is not known; without one it is quiet for them.
    pub otherwise: Option<Zone>,
}

impl Contacts {
    /// What a touchpoint says of a consent: `None` where it says nothing.
    pub fn says(&self, consent: &Consent, touchpoint: &Touchpoint) -> Option<bool> {
        let is_one = |types: &[CompactString]| types.contains(&touchpoint.kind);
        let given = match (is_one(&consent.given), is_one(&consent.withdrawn)) {
            (false, false) => return None,
            // What is both is a no.
            (_, true) => false,
            (true, false) => true,
        };
        let holds = consent.when.as_ref().is_none_or(|when| when.holds(&Seen { facts: &self.facts, touchpoint }));
        holds.then_some(given)
    }

    /// The consent of this name.
    pub fn consent(&self, name: &str) -> Option<&Consent> {
        self.consents.iter().find(|consent| consent.name == name)
    }

    /// The properties of touchpoints that it reads.
    fn properties(&self) -> impl Iterator<Item = CompactString> {
        let of_lines = self.facts.iter().filter_map(|fact| match fact {
            Fact::Property(name) => Some(name.clone()),
            _ => None,
        });
        of_lines.chain(self.quiet.iter().filter_map(|quiet| quiet.zone.clone()))
    }

    /// The longest time that any of its caps looks back.
    pub fn looks_back(&self) -> Span {
        self.caps.iter().map(|cap| cap.within).max().unwrap_or(Span::ZERO)
    }
}

impl Model {
    /// Takes in how customers may be contacted. What interventions need and nobody can give is told.
    pub fn contact_by(&mut self, contacts: Option<&Arc<Contacts>>) -> Vec<Diagnostic> {
        let mut faults = Faults::default();
        for intervention in &self.interventions {
            let Some((needs, place)) = &intervention.needs else { continue };
            if contacts.is_some_and(|contacts| contacts.consent(needs).is_some()) {
                continue;
            }
            let known: Vec<&str> =
                contacts.iter().flat_map(|contacts| contacts.consents.iter().map(|consent| consent.name.as_str())).collect();
            let cause = format!("there is no consent {}, so {} is never made", quoted(needs), quoted(&intervention.name));
            let help = if known.is_empty() {
                format!("add it to `contacts.yaml`: consents: {{ {needs}: {{ given: consent.given }} }}")
            } else {
                did_you_mean(needs, &known, "the consents are")
            };
            faults.error("M110", place, cause, help);
        }
        self.contacts = contacts.cloned();
        for name in contacts.iter().flat_map(|contacts| contacts.properties()) {
            if let Err(place) = self.properties.binary_search(&name) {
                self.properties.insert(place, name);
                self.declared.insert(place, super::Declared::default());
            }
        }
        faults.settle(Some(())).1
    }
}

/// Reads and checks a file of contacts; `file_name` is how diagnostics call it. `Some` only where there is no error.
pub fn load_contacts(file_name: &str, source: &str) -> (Option<Contacts>, Vec<Diagnostic>) {
    let source = Source::file(file_name, source);
    let mut faults = Faults::default();
    let read = yaml::parse(&source, &mut faults).and_then(|root| {
        let mut reader = yaml::Reader::open(&root, "a file of contacts", &root.place, &mut faults)?;
        let properties = reader.optional("properties");
        let consents = reader.optional("consents");
        let contact = reader.optional("contact");
        reader.finish(&mut faults);
        let properties = properties.map_or_else(Vec::new, |value| written::properties(&value, &mut faults));
        let (environment, facts) = environment(&properties);
        let mut contacts = Contacts { facts, ..Contacts::default() };
        if let Some(consents) = consents {
            let entries = consents.entries("consents", &mut faults).unwrap_or_default();
            contacts.consents = entries.iter().filter_map(|entry| consent(entry, &environment, &mut faults)).collect();
            if entries.len() > MAX_CONSENTS {
                let cause = format!("{} consents are more than the {MAX_CONSENTS} that there may be", entries.len());
                faults.error("M004", consents.place(), cause, "keep those that interventions need");
            }
        }
        if let Some(contact) = contact {
            contact_of(&contact, &mut contacts, &mut faults);
        }
        Some(contacts)
    });
    faults.settle(read)
}

fn environment(properties: &[written::Property]) -> (Environment, Vec<Fact>) {
    let mut environment = Environment::default();
    let mut facts = Vec::new();
    for (name, kind, fact) in [
        ("type", Type::Text, Fact::TouchpointType),
        ("channel", Type::Text, Fact::TouchpointChannel),
        ("session", Type::Text, Fact::TouchpointSession),
        ("at", Type::Instant, Fact::TouchpointAt),
    ] {
        environment.declare(format!("{TOUCHPOINT}{name}"), kind);
        facts.push(fact);
    }
    for property in properties {
        let kind = match property.kind {
            Some(Kind::Text) => Type::Text,
            Some(Kind::Flag) => Type::Flag,
            Some(Kind::Instant) => Type::Instant,
            Some(Kind::Number | Kind::Money) | None => Type::Number,
        };
        environment.declare(format!("{TOUCHPOINT}{}", property.name.value.replace('-', "_")), kind);
        facts.push(Fact::Property(property.name.value.as_str().into()));
    }
    environment.advise("touchpoint", "declare it under `properties:` of this file, such as `*: text`");
    (environment, facts)
}

fn consent(entry: &Entry, environment: &Environment, faults: &mut Faults) -> Option<Consent> {
    let mut reader = Value::from(entry).map(format!("consent {}", quoted(&entry.key.value)), faults)?;
    let given = reader.required("given", "given: consent.given", faults);
    let withdrawn = reader.optional("withdrawn");
    let when = reader.optional("when").and_then(|value| value.text(faults));
    let otherwise =
        reader.optional("otherwise").and_then(|value| value.word(&[("given", true), ("withdrawn", false)], faults));
    reader.finish(faults);
    let types = |value: Option<Value<'_>>, faults: &mut Faults| -> Vec<CompactString> {
        let names: Vec<Name> =
            value.and_then(|value| written::listed_names(&value, "a type of touchpoint", faults)).unwrap_or_default();
        names.iter().map(|name| name.value.as_str().into()).collect()
    };
    let compiled = when.as_ref().map(|line| Expression::compile(line, environment, Type::Flag, faults));
    Some(Consent {
        name: entry.key.value.as_str().into(),
        given: types(given, faults),
        withdrawn: types(withdrawn, faults),
        when: match compiled {
            Some(compiled) => Some(compiled?),
            None => None,
        },
        otherwise_given: otherwise.is_some_and(|word| word.value),
    })
}

fn contact_of(value: &Value<'_>, contacts: &mut Contacts, faults: &mut Faults) {
    let Some(mut reader) = value.map("`contact`", faults) else { return };
    let holdout = reader.optional("holdout").and_then(|value| written::Holdout::read(&value, faults));
    contacts.holdout = holdout.map(|holdout| Holdout {
        share: holdout.share,
        salt: holdout.salt.map_or("everything".into(), |salt| salt.value.as_str().into()),
    });
    contacts.caps = reader.optional("at most").map_or_else(Vec::new, |value| written::caps(&value, faults));
    contacts.quiet = reader.optional("quiet hours").and_then(|value| quiet_hours(&value, faults));
    reader.finish(faults);
}

fn quiet_hours(value: &Value<'_>, faults: &mut Faults) -> Option<QuietHours> {
    let mut reader = value.map("`quiet hours`", faults)?;
    let from = reader.required("from", "from: \"21:00\"", faults).and_then(|value| minute(&value, faults));
    let to = reader.required("to", "to: \"08:00\"", faults).and_then(|value| minute(&value, faults));
    let zone = reader.optional("zone").and_then(|value| value.text(faults));
    let otherwise = reader.optional("otherwise").and_then(|value| value.text(faults));
    reader.finish(faults);
    let property = zone.as_ref().and_then(|zone| zone.value.strip_prefix(TOUCHPOINT)).map(CompactString::from);
    let fixed = zone.filter(|_| property.is_none());
    let mut otherwise_zone = None;
    for name in fixed.iter().chain(&otherwise) {
        otherwise_zone = Zone::named(&name.value);
        if otherwise_zone.is_none() {
            let help = "write a name of the IANA database, such as `Europe/Paris`, or `touchpoint.PROPERTY`";
            faults.error("M056", &name.place, format!("{} is no time zone", quoted(&name.value)), help);
        }
    }
    Some(QuietHours { from: from?, to: to?, zone: property, otherwise: otherwise_zone })
}

/// `21:00` in minutes after midnight.
fn minute(value: &Value<'_>, faults: &mut Faults) -> Option<u16> {
    let text = value.text(faults)?;
    let two = |part: &str| (part.len() == 2).then(|| part.parse::<u16>().ok()).flatten();
    let read = text.value.split_once(':').and_then(|(hours, minutes)| Some((two(hours)?, two(minutes)?)));
    let read = read.filter(|(hours, minutes)| *hours < 24 && *minutes < 60).map(|(hours, minutes)| hours * 60 + minutes);
    if read.is_none() {
        let cause = format!("{} must be a time of day, found {}", value.label(), quoted(&text.value));
        faults.error("Y013", value.place(), cause, "write hours and minutes in quotes, such as \"21:00\"");
    }
    read
}

/// A touchpoint as the conditions of consents see it.
struct Seen<'a> {
    facts: &'a [Fact],
    touchpoint: &'a Touchpoint,
}

impl<'a> Seen<'a> {
    fn carried(&self, slot: Slot) -> Option<&'a Carried> {
        match self.facts.get(usize::from(slot))? {
            Fact::Property(name) => self.touchpoint.property(name),
            _ => None,
        }
    }
}

impl Facts for Seen<'_> {
    fn number(&self, slot: Slot) -> Option<f64> {
        self.carried(slot)?.as_number(Decimal::Point)
    }

    fn text(&self, slot: Slot) -> Option<&str> {
        match self.facts.get(usize::from(slot))? {
            Fact::TouchpointType => Some(&self.touchpoint.kind),
            Fact::TouchpointChannel => self.touchpoint.channel.as_deref(),
            Fact::TouchpointSession => self.touchpoint.session.as_deref(),
            _ => match self.carried(slot)? {
                Carried::Text(text) => Some(text),
                Carried::Number(_) | Carried::Flag(_) => None,
            },
        }
    }

    fn flag(&self, slot: Slot) -> Option<bool> {
        self.carried(slot)?.as_flag()
    }

    fn instant(&self, slot: Slot) -> Option<Timestamp> {
        match self.facts.get(usize::from(slot))? {
            Fact::TouchpointAt => Some(self.touchpoint.event_time),
            _ => self.carried(slot)?.as_instant(None),
        }
    }

    fn duration(&self, _slot: Slot) -> Option<Span> {
        None
    }
}
