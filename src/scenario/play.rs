//! A story runs: a shard of its own, whose time stands where the rows say.

use std::sync::Arc;

use super::{QUIET, Row, Said, Scenario, Suite};
use crate::journey::Outcome;
use crate::shard::{Action, Body, Buffered, Customers, Input, Position, Progress, Settings, Shard, Undo};
use crate::time::{Span, Timestamp};
use crate::touchpoint::Identity;

impl Suite {
    /// Plays every story: what came out, by story and row.
    pub fn play(&self) -> Vec<Vec<Said>> {
        self.scenarios.iter().map(Scenario::play).collect()
    }
}

impl Scenario {
    /// What comes out, row by row.
    pub fn play(&self) -> Vec<Said> {
        let mut stage = Stage::new(self);
        self.rows.iter().map(|row| stage.play(row)).collect()
    }
}

/// Where a story is played.
struct Stage {
    shard: Shard,
    offset: i64,
}

impl Stage {
    fn new(scenario: &Scenario) -> Self {
        let settings =
            Settings { settle: Span::ZERO, undo: Undo::Never, decisions_per_transaction: usize::MAX, ..Settings::default() };
        let nowhere = Position { offset: 0, log_time: Timestamp::MIN };
        let progress = Progress { positions: vec![nowhere], ..Progress::default() };
        let models = [Arc::clone(&scenario.model)];
        Stage { shard: Shard::new(models.into(), settings, Customers::default(), progress), offset: 0 }
    }

    /// Everything until the row's time comes out, the touchpoint's outcomes after what was due before it.
    fn play(&mut self, row: &Row) -> Said {
        let mut actions = Vec::new();
        if let Some(touchpoint) = &row.touchpoint {
            let log_time = self.shard.log_time(0, row.at, Timestamp::MAX);
            let body = Body::Touchpoint(Box::new(touchpoint.clone()));
            let record = Buffered { offset: self.offset, log_time, body };
            self.offset += 1;
            self.shard.handle(Input::Record { input: 0, record }, &mut actions);
        }
        self.shard.handle(Input::CaughtUp { input: 0, position: self.offset, at: row.at }, &mut actions);
        let outcomes: Vec<Outcome> = actions.into_iter().filter_map(Action::outcome).map(|outcome| *outcome).collect();
        Said { says: says(&outcomes, &row.who), outcomes }
    }
}

/// Sentences about somebody else begin with the name.
fn says(outcomes: &[Outcome], who: &Identity) -> String {
    let sentence = |outcome: &Outcome| match outcome.identity == *who {
        true => outcome.to_string(),
        false => format!("{}: {outcome}", outcome.identity.id),
    };
    let sentences: Vec<String> = outcomes.iter().map(sentence).collect();
    if sentences.is_empty() { QUIET.to_owned() } else { sentences.join("; ").trim().to_owned() }
}
