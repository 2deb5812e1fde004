//! Two models in one process: each says what it would say alone, to the byte, and what is common is kept once (rule 9).

use std::collections::BTreeMap;
use std::sync::Arc;

use sillage::generate::{Load, Opening, Settings as LoadSettings};
use sillage::journey::Customer;
use sillage::model::Model;
use sillage::shard::{Settings, Undo};
use sillage::time::{Span, Timestamp};
use sillage::touchpoint::Touchpoint;
use sillage::wire::{self, Format};

use crate::world::{World, good_model};

fn models() -> [Arc<Model>; 2] {
    [
        good_model("five-stages", include_str!("../../models/five-stages.yaml")),
        good_model("lifecycle-bond", include_str!("../../models/lifecycle-bond.yaml")),
    ]
}

fn load() -> Vec<Touchpoint> {
    let start = Timestamp::from_millis(1_767_600_000_000);
    let opening = Opening::AllNew { within: Span::from_days(3) };
    Load::new(&LoadSettings { seed: 7, customers: 300, start, opening }).take(20_000).collect()
}

/// Every outcome as it would be published, by model; and the customers as they stand then.
fn run(models: &[Arc<Model>], touchpoints: &[Touchpoint]) -> (BTreeMap<String, Vec<Vec<u8>>>, Vec<Customer>) {
    let settings =
        Settings { settle: Span::ZERO, undo: Undo::Never, decisions_per_transaction: usize::MAX, ..Settings::default() };
    let mut world = World::new(models, settings, 1);
    for touchpoint in touchpoints {
        world.give(0, touchpoint.clone(), touchpoint.event_time);
    }
    let mut said: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for outcome in world.take_outcomes() {
        let mut bytes = Vec::new();
        wire::encode_outcome(Format::Json, &outcome, &mut bytes);
        said.entry(outcome.model.to_string()).or_default().push(bytes);
    }
    // What can still be told anew holds journeys of its own.
    (said, world.customers().into_iter().map(Customer::without_window).collect())
}

fn bytes(customers: &[Customer]) -> usize {
    let known = customers.iter().filter(|customer| customer.redirected_to().is_none());
    known.map(|customer| crate::world::encoded(customer).len()).sum()
}

#[test]
fn each_model_says_to_the_byte_what_it_says_alone_and_the_common_part_is_kept_once() {
    let (models, touchpoints) = (models(), load());
    let (together, both) = run(&models, &touchpoints);
    let mut alone = 0;
    for (place, model) in models.iter().enumerate() {
        let (said, customers) = run(std::slice::from_ref(model), &touchpoints);
        let name = model.name.as_str();
        assert!(said[name].len() > 500, "{name} says only {} things", said[name].len());
        let differs = together[name].iter().zip(&said[name]).find(|(together, alone)| together != alone);
        let shown =
            differs.map(|(together, alone)| [together, alone].map(|bytes| String::from_utf8_lossy(bytes).into_owned()));
        assert!(together[name] == said[name], "{name} says other things beside another model: {shown:#?}");
        // What is left of an anonymous id that joined a customer has no journeys.
        let known = customers.iter().zip(&both).filter(|(one, _)| one.redirected_to().is_none());
        for (one, both) in known {
            assert_eq!(one.journeys[0], both.journeys[place], "the journey of {:?}", one.identity);
        }
        alone += bytes(&customers);
    }
    // What stands of contacts is each model's own.
    let mut common: Vec<Customer> = both.iter().cloned().map(Customer::without_contacts).collect();
    common.iter_mut().for_each(|customer| customer.journeys.clear());
    // What is left without the journeys stands in each of the two alone, and once in both; so do words that both models use.
    let together = bytes(&both) + bytes(&common);
    assert!((alone * 99 / 100..=alone).contains(&together), "{together} bytes, and {alone} apart");
    assert!(bytes(&common) > 300 * 200, "histories and ids are common");
}
