//! An episode kind as it is written.

use super::{
    Again, List, Name, Progress, Recovery, Tally, Wait, duration, listed_names, lists, progress, tallies, text, types,
};
use crate::diagnostic::{Faults, Place, Spanned, quoted};
use crate::time::Span;
use crate::yaml::{Entry, Value};

/// An episode kind.
#[derive(Debug)]
pub struct Episode {
    /// The name.
    pub name: Name,
    /// The correlation chain and where `known by` stands; `None` where it could not be read.
    pub known_by: Option<(Place, Vec<Name>)>,
    /// The types that open one; `None` where they could not be read.
    pub opens: Option<Vec<Name>>,
    /// What counts as progress.
    pub progresses: Progress,
    /// The types that complete it; `None` where they could not be read.
    pub completes: Option<Vec<Name>>,
    /// Completed as well where this holds.
    pub completes_when: Option<Name>,
    /// By type, the properties that name the one that goes and the one that it goes into.
    pub joins: Vec<List>,
    /// What is summed up in it.
    pub sums: Vec<Tally>,
    /// The types that drop it, so that its id may open one again.
    pub empties: Vec<Name>,
    /// The types that drop it for good.
    pub cancels: Vec<Name>,
    /// The property that carries its worth.
    pub worth: Option<Name>,
    /// Abandoned after so long without progress.
    pub abandoned_after: Option<Wait>,
    /// Abandoned at this instant.
    pub abandoned_at: Option<Name>,
    /// Told again while nothing comes.
    pub again: Option<Again>,
    /// The recovery window.
    pub recovered: Recovery,
    /// For how long what ended is remembered.
    pub remembered_for: Option<Spanned<Span>>,
    /// No fallback for completions with an unknown id.
    pub strict: Option<Spanned<bool>>,
}

impl Episode {
    /// One that cannot be read keeps its name, so that what mentions it is not reported as well.
    pub(super) fn read(entry: &Entry, faults: &mut Faults) -> Episode {
        let mut episode = Episode {
            name: entry.key.clone(),
            known_by: None,
            opens: None,
            progresses: Progress::Any,
            completes: None,
            completes_when: None,
            joins: Vec::new(),
            sums: Vec::new(),
            empties: Vec::new(),
            cancels: Vec::new(),
            worth: None,
            abandoned_after: None,
            abandoned_at: None,
            again: None,
            recovered: Recovery::read(None, faults),
            remembered_for: None,
            strict: None,
        };
        let what = format!("episode {}", quoted(&entry.key.value));
        let Some(mut reader) = Value::from(entry).map(what, faults) else { return episode };
        let known_by = reader.required("known by", "known by: [cart_id, session, customer]", faults);
        let opens = reader.required("opens", "opens: cart.added", faults);
        episode.known_by = known_by.and_then(|value| {
            let place = value.key_place().clone();
            Some((place, listed_names(&value, "the name of a property", faults)?))
        });
        episode.opens = opens.and_then(|value| types(Some(value), faults));
        episode.progresses = progress(reader.optional("progresses"), faults);
        episode.completes = types(reader.optional("completes"), faults);
        episode.completes_when = text(reader.optional("completes when"), faults);
        let joins = reader.optional("joins");
        episode.joins = joins.map_or_else(Vec::new, |value| lists(&value, "joins", "the name of a property", faults));
        episode.sums = reader.optional("sums").map_or_else(Vec::new, |value| tallies(&value, faults));
        episode.empties = types(reader.optional("empties"), faults).unwrap_or_default();
        episode.cancels = types(reader.optional("cancels"), faults).unwrap_or_default();
        episode.worth = text(reader.optional("worth"), faults);
        episode.abandoned_after = Wait::read(reader.optional("abandoned after"), faults);
        episode.abandoned_at = text(reader.optional("abandoned at"), faults);
        episode.again = Again::read(reader.optional("every"), reader.optional("at most"), faults);
        episode.recovered = Recovery::read(reader.optional("recovered within"), faults);
        episode.remembered_for = duration(reader.optional("remembered for"), faults);
        episode.strict = reader.optional("strict").and_then(|value| value.flag(faults));
        reader.finish(faults);
        episode
    }
}
