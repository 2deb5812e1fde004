//! What was written once stays readable: a customer's state and a page of the state log, as bytes of every version there
//! was, beside the value that they stand for.
//!
//! `tests/golden/NAME.vN.hex` holds the bytes, `NAME.vN.txt` the value in Rust's own notation. A file of bytes is never
//! changed: where the layout changes, its version goes up and a new pair is added (`GOLDEN=write cargo test --test it golden`
//! writes what is missing, and the texts anew; look at what changed in them before you commit).

mod story;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sillage::journey::packed::{self, Words};
use sillage::journey::{Amount, CountedOnce, Customer, Received, Retelling, Rules, TallyState};
use sillage::ledger::{Ledger, Reading};
use sillage::model::Model;
use sillage::shard::{Action, Body, Buffered, Input, Position, Progress, Settings, Shard, StateLog};
use sillage::time::{Span, Timestamp};
use sillage::touchpoint::{Currency, Identity, Money, Touchpoint};
use sillage::wire::pages::{self, Draft, Head, Mark};
use sillage::wire::{Format, state};

/// The versions that are written now.
const STATE: u8 = 10;
const PAGE: u8 = 11;

/// The typical customer takes no more than this in the log.
const TYPICAL_BYTES: usize = 1_100;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Whether what is missing is to be written.
fn writes() -> bool {
    std::env::var("GOLDEN").is_ok_and(|wish| wish == "write")
}

/// The versions of which bytes are kept under this name.
fn versions(name: &str) -> BTreeSet<u8> {
    let files = std::fs::read_dir(folder()).expect("tests/golden").map(|entry| entry.expect("an entry").file_name());
    let version = |file: std::ffi::OsString| -> Option<u8> {
        let file = file.to_str()?.to_owned();
        file.strip_prefix(name)?.strip_prefix(".v")?.strip_suffix(".hex")?.parse().ok()
    };
    files.filter_map(version).collect()
}

/// The bytes of a version.
fn bytes(name: &str, version: u8) -> Vec<u8> {
    let path = folder().join(format!("{name}.v{version}.hex"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("two digits");
    digits.chunks(2).map(pair).collect()
}

/// Writes the bytes of a version that is not there yet.
fn write_bytes(name: &str, version: u8, bytes: &[u8]) {
    let mut text = String::new();
    for line in bytes.chunks(64) {
        text.extend(line.iter().map(|byte| format!("{byte:02x}")));
        text.push('\n');
    }
    std::fs::write(folder().join(format!("{name}.v{version}.hex")), text).expect("tests/golden can be written");
}

/// The value that the bytes stand for, as it is stored beside them.
fn agrees_with_text(name: &str, version: u8, value: &impl Debug) {
    let path = folder().join(format!("{name}.v{version}.txt"));
    let shown = format!("{value:#?}\n");
    if writes() {
        std::fs::write(&path, &shown).expect("tests/golden can be written");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let differs = stored.lines().zip(shown.lines()).enumerate().find(|(_, (stored, shown))| stored != shown);
    assert!(stored == shown, "{name} version {version} is read as another value than it was: {differs:?}");
}

/// Adds the current version where it is missing and that is wished.
fn kept(name: &str, current: u8, written: impl FnOnce() -> Vec<u8>) -> BTreeSet<u8> {
    if writes() && !versions(name).contains(&current) {
        write_bytes(name, current, &written());
    }
    let versions = versions(name);
    assert!(versions.contains(&current), "no bytes of version {current} of {name}: see the head of tests/it/golden.rs");
    versions
}

fn encoded(customer: &Customer) -> Vec<u8> {
    let mut bytes = Vec::new();
    state::encode(customer, &mut bytes);
    bytes
}

/// The same customer, whose last touchpoints came out of order: the story since can be told anew.
fn customer_with_window(model: &Arc<Model>, touchpoints: &[Touchpoint]) -> Customer {
    let (settings, models) = (Settings::default(), std::slice::from_ref(model));
    let (early, late) = touchpoints.split_at(touchpoints.len() - 3);
    let (customer, _) = story::customer(model, early);
    let (mut words, mut packed) = (Words::default(), Vec::new());
    customer.pack(&mut words, &mut packed);
    let mut customer = Customer::default();
    customer.open(&packed, &words).expect("as packed");
    let rules = Rules {
        grace: Span::from_days(7),
        max_delay: settings.max_delay,
        history: settings.history,
        stale_after: settings.stale_after,
    };
    let (mut retelling, mut outcomes) = (Retelling::default(), Vec::new());
    let now = late.iter().map(|touchpoint| touchpoint.event_time).max().expect("some");
    for touchpoint in [&late[0], &late[2], &late[1]] {
        let received = Received { touchpoint, log_time: now, stream_time: now };
        customer.receive(models, received, &rules, &mut words, &mut retelling, &mut outcomes);
        packed.clear();
        customer.pack(&mut words, &mut packed);
        customer.open(&packed, &words).expect("as packed");
    }
    assert_eq!(retelling.counted.out_of_order, 1);
    Customer::image(&packed, &words).expect("as packed")
}

/// The same customer, as if the model summed up in its baskets and told their abandonments again.
fn with_sums(mut customer: Customer) -> Customer {
    let money = |micros| Money { micros, currency: Currency::parse("EUR").expect("a currency") };
    let at = Timestamp::from_millis(1_767_225_600_123);
    let paid = |hash, micros, here| CountedOnce { hash, at, added: Amount::Money(money(micros)), here };
    let once = |sum, seen| TallyState::Once { sum: Box::new(sum), seen };
    let sums = vec![
        TallyState::Count { customer: 3, journey: 3 },
        once(
            TallyState::Money { customer: vec![money(450_000_000)], journey: vec![money(150_000_000)] },
            vec![paid(1, 300_000_000, false), paid(u64::MAX, 150_000_000, true)],
        ),
        once(
            TallyState::Number { customer: 2.5, journey: 2.5 },
            vec![CountedOnce { hash: 7, at, added: Amount::Number(2.5), here: true }],
        ),
        once(
            TallyState::Count { customer: 1, journey: 0 },
            vec![CountedOnce { hash: 8, at, added: Amount::One, here: false }],
        ),
    ];
    let journey = &mut customer.journeys[0];
    assert!(!journey.episodes.is_empty(), "a basket to sum up in");
    for (repeats, episode) in (1..).zip(&mut journey.episodes) {
        episode.sums.clone_from(&sums);
        episode.watch.repeats = repeats;
    }
    customer
}

#[test]
fn a_customer_written_by_any_version_is_read_and_the_current_one_is_written_to_the_byte() {
    let typical = || encoded(&with_sums(customer_with_window(&story::model(), &story::touchpoints())));
    for version in kept("customer", STATE, typical) {
        let bytes = bytes("customer", version);
        let customer = state::decode(&bytes).unwrap_or_else(|reason| panic!("version {version}: {reason}"));
        agrees_with_text("customer", version, &customer);
        assert_eq!(bytes[0], version);
        if version == STATE {
            assert!(encoded(&customer) == bytes, "version {version} is written otherwise: raise the version instead");
        }
    }
}

/// A customer whom an anonymous one has joined just now, and what is left of that one.
fn joined_customers(model: &Arc<Model>) -> Vec<Customer> {
    let mut world = crate::world::World::new(std::slice::from_ref(model), Settings::default(), 1);
    let at = |minutes: &str| crate::world::after(minutes);
    let mut cart = crate::world::with_id(crate::world::touchpoint("", "cart.added", at("1m"), "1"), "cart_id", "A");
    cart.identity = Identity::anonymous("cookie");
    let mut login = crate::world::touchpoint("dora", "login", at("2m"), "2");
    login.linked = Some("cookie".into());
    for touchpoint in [cart, login] {
        let at = touchpoint.event_time;
        world.give(0, touchpoint, at);
    }
    world.quiet_until(0, at("3m"));
    world.customers()
}

/// A customer who agreed to something, was offered something that stands, and has drawn an arm.
fn contacted_customer() -> Customer {
    contacted("", ("ignore", "Asia/Tokyo"), "3m").customers().pop().expect("a customer")
}

/// The same where it is night, and the offer waits for the morning.
fn waiting_customer() -> Customer {
    let customer = contacted("", ("wait", "Europe/Paris"), "3m").customers().pop().expect("a customer");
    assert_eq!(customer.contacts().waiting().count(), 1, "{customer:#?}");
    customer
}

/// The same with a goal of the offer, which was reached; and the row of the shard after that was measured.
fn exposed_customer() -> [Vec<u8>; 2] {
    let goal = "    goal: { transition: shopping, within: 1h }\n";
    ["5m", "2h"].map(|until| {
        let mut world = contacted(goal, ("ignore", "Asia/Tokyo"), until);
        let mut rows = Vec::new();
        world.commit();
        world.shard.customers().each_packed(|packed| rows.push(packed.to_vec()));
        // The row of the shard is that of an empty id.
        let sums = rows.iter().position(|row| packed::identity_of(row).is_ok_and(|who| who.id.is_empty()));
        rows.swap_remove(sums.unwrap_or(0))
    })
}

fn contacted(goal: &str, (quiet, zone): (&str, &str), until: &str) -> crate::world::World {
    let text = format!(
        "
sillage: 1
model: shop
stages: {{ shopping: {{ enter: page.viewed }} }}
friction: {{ lost: {{ on: page.slow }} }}
interventions:
  help:
    on: {{ friction: lost }}
    channel: chat
    needs: chat
    at most: {{ 1 within: 7d }}
    quiet hours: {quiet}
    variants: {{ plain: 1, warm: 1 }}
    expires: 5m
    withdrawn by: {{ transition: shopping }}
"
    );
    let contacts = "
consents: { chat: { given: agrees, withdrawn: refuses } }
contact: { quiet hours: { from: \"21:00\", to: \"08:00\", zone: touchpoint.timezone } }
";
    let (model, faults) = sillage::model::load("shop.yaml", &format!("{text}{goal}"));
    let mut model = model.unwrap_or_else(|| panic!("{faults:?}"));
    let (contacts, faults) = sillage::model::load_contacts("contacts.yaml", contacts);
    assert!(model.contact_by(contacts.map(Arc::new).as_ref()).is_empty(), "{faults:?}");
    let mut world = crate::world::World::new(&[Arc::new(model)], Settings::default(), 1);
    let at = |minutes: &str| crate::world::after(minutes);
    let mut agrees = crate::world::touchpoint("emil", "agrees", at("1m"), "1");
    agrees.properties.push(("timezone".into(), sillage::touchpoint::Value::Text(zone.into())));
    let mut acts = vec![agrees, crate::world::touchpoint("emil", "page.slow", at("2m"), "2")];
    if !goal.is_empty() {
        acts.push(crate::world::touchpoint("emil", "page.viewed", at("4m"), "3"));
    }
    for touchpoint in acts {
        let at = touchpoint.event_time;
        world.give(0, touchpoint, at);
    }
    world.quiet_until(0, at(until));
    let customer = world.customers().pop().expect("a customer");
    let offered = usize::from(quiet == "ignore");
    let contacts = customer.contacts();
    assert_eq!((contacts.consents().count(), contacts.offered().count()), (1, offered), "{customer:#?}");
    world
}

/// The end of a customer who began on the page before, two more, that one is gone (since version 3), how another changed
/// (since version 4), and a word of the dictionary (since version 5); that another has a window (since version 6); a customer
/// whom an anonymous one has joined, and what is left of that (since version 7); one whose baskets have sums, and are told again
/// (since version 8); one who was offered something (since version 9); one whose goal was reached, and the row of the shard with
/// what was measured (since version 10); one to whom something is offered in the morning (since version 11).
fn a_page() -> Vec<u8> {
    let long = |letter: &str| Customer::new(Identity::anonymous(letter.repeat(pages::FULL - 7)));
    let mut draft = Draft::default();
    let mut words = Words::default();
    let mut packed = |customer: &Customer| {
        let mut packed = Vec::new();
        customer.pack(&mut words, &mut packed);
        packed
    };
    draft.add(&packed(&long("x"))).expect("added");
    let first = draft.finish(&head(0, None)).expect("a page");
    assert!(first.len() > pages::FULL);
    for id in ["anna", "bob"] {
        draft.add(&packed(&Customer::new(Identity::customer(id)))).expect("added");
    }
    draft.add_gone(&Identity::anonymous("carla")).expect("added");
    let (model, touchpoints) = (story::model(), story::touchpoints());
    let (before, _) = story::customer(&model, &touchpoints[..touchpoints.len() - 2]);
    let (before, now) = (packed(&before), packed(&story::customer(&model, &touchpoints).0));
    draft.add_change(&before, &now).expect("added");
    let with_window = packed(&customer_with_window(&model, &touchpoints));
    draft.add_change(&now, &with_window).expect("added");
    for customer in joined_customers(&model) {
        draft.add(&packed(&customer)).expect("added");
    }
    draft.add(&packed(&with_sums(story::customer(&model, &touchpoints).0))).expect("added");
    draft.add(&packed(&contacted_customer())).expect("added");
    for row in exposed_customer() {
        draft.add(&row).expect("added");
    }
    draft.add(&packed(&waiting_customer())).expect("added");
    draft.add_word(1, "ad.seen").expect("added");
    draft.finish(&head(1, Some(7))).expect("a page")
}

fn head(part: u32, sequence: Option<u64>) -> Head {
    let position = |offset, millis| Position { offset, log_time: Timestamp::from_millis(millis) };
    let positions = vec![position(4_711, 1_767_225_600_000), position(0, 0)];
    let stream_time = Some(Timestamp::from_millis(1_767_225_600_123));
    Head {
        part,
        partitions: 6,
        inputs: vec!["touchpoints.app".to_owned(), "touchpoints.web".to_owned()],
        models: vec![Mark {
            name: "five-stages".to_owned(),
            version: 3,
            structure: "five-stages: stages a, b; episodes basket".to_owned(),
        }],
        progress: sequence.map(|sequence| Progress { positions, stream_time, sequence }),
        attempt: "c0ffee-12".to_owned(),
        retain_from: 5,
    }
}

#[test]
fn a_page_written_by_any_version_is_read_and_the_current_one_is_written_to_the_byte() {
    for version in kept("page", PAGE, a_page) {
        let bytes = bytes("page", version);
        let page = pages::read(&bytes).unwrap_or_else(|reason| panic!("version {version}: {reason}"));
        let more = usize::from(version >= 3)
            + usize::from(version >= 4)
            + usize::from(version >= 5)
            + usize::from(version >= 6)
            + 2 * usize::from(version >= 7)
            + usize::from(version >= 8)
            + usize::from(version >= 9)
            + 2 * usize::from(version >= 10)
            + usize::from(version >= 11);
        let carried = if version >= 5 { 2 } else { 11 };
        assert_eq!((bytes[3], page.entries.len(), page.carried.len()), (version, 2 + more, carried), "version {version}");
        agrees_with_text("page", version, &page);
        if version == PAGE {
            assert!(a_page() == bytes, "version {version} is written otherwise: raise the version instead");
        }
    }
}

#[test]
fn the_typical_customer_is_small_in_the_log() {
    let model = story::model();
    let (customer, told) = story::customer(&model, &story::touchpoints());
    let journey = &customer.journeys[0];
    assert!(journey.reached.iter().all(Option::is_some), "five stages visited: {:?}", journey.reached);
    assert_eq!((journey.reached.len(), customer.history().len(), customer.links.len()), (5, 20, 2));
    let open = journey.episodes.iter().filter(|episode| episode.watch.deadline != Timestamp::MAX).count();
    assert_eq!(open, 1, "one open basket: {:#?}", journey.episodes);
    let bytes = encoded(&customer).len();
    let touchpoints = story::touchpoints();
    let (before, _) = story::customer(&model, &touchpoints[..touchpoints.len() - 1]);
    let (mut words, mut images, mut change) = (Words::default(), [Vec::new(), Vec::new()], Vec::new());
    before.pack(&mut words, &mut images[0]);
    customer.pack(&mut words, &mut images[1]);
    packed::difference(&images[0], &images[1], &mut change).expect("packed");
    let change = change.len();
    eprintln!("typical customer: {bytes} bytes in the log, {change} by one more touchpoint, after {} outcomes", told.len());
    assert!(change * 2 < bytes, "{change} bytes of change");
    assert!((500..TYPICAL_BYTES).contains(&bytes), "{bytes} bytes");
}

/// A page of version 4 with one commit, holding a customer as version 2 of a state's bytes.
fn a_page_of_version_4(head: &Head, customer: &[u8]) -> Vec<u8> {
    let mut draft = Draft::default();
    draft.add(customer).expect("added");
    let mut page = draft.finish(head).expect("a page");
    page[3] = 4;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[4]);
    hasher.update(&page[8..]);
    page[4..8].copy_from_slice(&hasher.finalize().to_le_bytes());
    page
}

#[test]
fn a_log_of_version_4_goes_on_in_the_current_one() {
    let model = story::model();
    let (inputs, models) = (vec!["in".to_owned()], vec![Mark::of(&model)]);
    let ledger = Ledger {
        group: "shop".to_owned(),
        inputs: inputs.clone(),
        output: "out".to_owned(),
        partitions: 1,
        format: Format::Json,
        dead_letter_bytes: 1,
        models: models.clone(),
    };
    let last = story::touchpoints().last().expect("a story").clone();
    let progress = |sequence: u64| Progress {
        positions: vec![Position { offset: sequence as i64, log_time: last.event_time }],
        stream_time: Some(last.event_time),
        sequence,
    };
    let head = |sequence: u64, retain_from: u64| Head {
        part: 0,
        partitions: 1,
        inputs: inputs.clone(),
        models: models.clone(),
        progress: Some(progress(sequence)),
        attempt: "a-1".to_owned(),
        retain_from,
    };
    let mut log = vec![a_page_of_version_4(&head(1, 0), &bytes("customer", 2))];
    let read = |log: &[Vec<u8>]| {
        let mut reading = Reading::of(0);
        log.iter().try_for_each(|page| reading.take(&ledger, page)).expect("readable");
        reading.finish(&ledger).expect("whole").0
    };
    let settings = Settings { state_log: StateLog::Changes, ..Settings::default() };
    let mut shard = Shard::new(vec![model].into(), settings, read(&log), progress(1));
    let (mut actions, mut wholes) = (Vec::new(), Vec::new());
    for sequence in 2..=6 {
        let mut touchpoint = last.clone();
        touchpoint.id = format!("later-{sequence}").into();
        let record =
            Buffered { offset: sequence as i64, log_time: last.event_time, body: Body::Touchpoint(Box::new(touchpoint)) };
        shard.handle(Input::Record { input: 0, record }, &mut actions);
        actions.clear();
        shard.handle(Input::Prepare, &mut actions);
        let mut draft = Draft::default();
        for action in actions.drain(..) {
            let Action::Remember(slot) = action else { continue };
            let written = shard.written(slot).expect("somebody");
            wholes.push(written.before.is_none());
            match written.before {
                Some(before) => draft.add_change(before, written.now),
                None => draft.add(written.now),
            }
            .expect("added");
        }
        // The turn goes on with the third commit: until then the log holds this customer in the older layout, and then whole.
        if sequence >= 4 {
            while let Some(slot) = shard.refresh() {
                draft.add(shard.written(slot).expect("somebody").now).expect("added");
            }
        }
        for (number, text) in shard.new_words() {
            draft.add_word(number, text).expect("added");
        }
        log.push(draft.finish(&head(sequence, shard.retain_from())).expect("a page"));
        shard.handle(Input::Committed, &mut actions);
        assert_eq!(read(&log).all(), shard.customers().all(), "commit {sequence}");
    }
    assert_eq!(wholes, [true, true, true, false, false]);
}
