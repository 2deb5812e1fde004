//! Where a shard's journeys stand, counted.

use std::sync::Arc;

use crate::journey::Customer;
use crate::model::Model;
use crate::time::Timestamp;

/// Counts of a shard's customers, or the change of them since the last commit.
#[derive(Debug)]
pub(super) struct Census {
    /// By model and stage: journeys that stand there.
    pub(super) stages: Vec<Vec<i64>>,
    /// Customers of whom something is awaited.
    pub(super) waiting: i64,
}

impl Census {
    /// Nobody, under these models.
    pub(super) fn nobody(models: &[Arc<Model>]) -> Self {
        Census { stages: models.iter().map(|model| vec![0; model.stages.len()]).collect(), waiting: 0 }
    }

    /// Counts a customer, whose earliest deadline this is.
    pub(super) fn add(&mut self, customer: &Customer, deadline: Timestamp) {
        self.count(customer, deadline, 1);
    }

    /// Counts a customer no more.
    pub(super) fn subtract(&mut self, customer: &Customer, deadline: Timestamp) {
        self.count(customer, deadline, -1);
    }

    fn count(&mut self, customer: &Customer, deadline: Timestamp, change: i64) {
        if deadline != Timestamp::MAX {
            self.waiting += change;
        }
        for (journey, stages) in customer.journeys.iter().zip(&mut self.stages) {
            if let Some(stage) = journey.stage() {
                stages[usize::from(stage)] += change;
            }
        }
    }

    /// Takes the change in, and leaves none.
    pub(super) fn absorb(&mut self, change: &mut Census) {
        for (total, moved) in self.stages.iter_mut().flatten().zip(change.stages.iter_mut().flatten()) {
            *total += std::mem::take(moved);
        }
        self.waiting += std::mem::take(&mut change.waiting);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.stages.iter_mut().flatten().for_each(|count| *count = 0);
        self.waiting = 0;
    }
}
