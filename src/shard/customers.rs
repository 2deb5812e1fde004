//! A shard's customers: one row each, their states as packed bytes, and what undoing and readers need of an open transaction.
//!
//! The image that a transaction changes takes the place of the one before, which stays where it is until the end is known:
//! committing forgets it, undoing puts it back, and readers are given it meanwhile.

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::arena::{Arena, Block};
use super::slot::Slot;
use crate::journey::Customer;
use crate::journey::packed::{Damaged, Words, identity_bytes, identity_of, pack_identity, window_of, without_window};
use crate::time::Timestamp;
use crate::touchpoint::Identity;

/// A customer's place.
#[derive(Clone, Copy, Debug)]
struct Row {
    hash: u64,
    /// The latest image, committed or not; none of somebody whom the open transaction erases, or of nobody.
    image: Block,
    /// One more than the place in the list of changes; 0: the open transaction does not change the customer.
    change: u32,
    /// When the wheel asks for the customer next, never later than the earliest deadline; [`Timestamp::MAX`]: nothing is
    /// awaited. Not part of the state: an abort does not undo it.
    next_wakeup: Timestamp,
    /// A later instant at which the wheel asks as well, left from before something nearer was awaited. Remembered so that
    /// the same far deadline is not put into the wheel again after every near one.
    far_wakeup: Timestamp,
}

/// What the open transaction changes.
#[derive(Clone, Copy, Debug)]
struct Change {
    slot: Slot,
    /// The image last committed; none of somebody who is new.
    before: Block,
    /// To when the window of the latest image lasts, without the grace; `None` where there is none.
    window_to: Option<Timestamp>,
}

/// The customers of one shard.
#[derive(Debug, Default)]
pub struct Customers {
    rows: Vec<Row>,
    /// Rows of nobody.
    free: Vec<Slot>,
    index: HashTable<Slot>,
    arena: Arena,
    words: Words,
    changes: Vec<Change>,
    /// Customers as last committed.
    committed: usize,
    /// By row, as bits: customers of whom the log holds nothing that a change could follow from, since what it holds is of an
    /// older layout. Empty where there are none.
    unwritten: Vec<u64>,
    /// Whose row is asked for, and what is packed, one at a time.
    key: Vec<u8>,
    packed: Vec<u8>,
}

impl Customers {
    /// The row of a customer, where there is one.
    pub(super) fn find(&mut self, who: &Identity) -> Option<Slot> {
        self.key.clear();
        pack_identity(who, &mut self.key);
        let hash = hash(&self.key);
        let Customers { rows, index, arena, changes, key, .. } = self;
        index.find(hash, |slot| is(rows, arena, changes, *slot, hash, key)).copied()
    }

    /// The row of the shard itself with what was measured, where there is one.
    pub(super) fn find_nobody(&self) -> Option<Slot> {
        self.find_own(&super::sums::nobody())
    }

    /// The rows of the shard itself.
    fn own_rows(&self) -> [Option<Slot>; 2] {
        [self.find_nobody(), self.find_own(&super::graves::graves_row())]
    }

    /// A row of the shard itself, where there is one.
    pub(super) fn find_own(&self, whose: &Identity) -> Option<Slot> {
        let mut key = Vec::with_capacity(1);
        pack_identity(whose, &mut key);
        let hash = hash(&key);
        self.index.find(hash, |slot| is(&self.rows, &self.arena, &self.changes, *slot, hash, &key)).copied()
    }

    /// What is most likely the row of a customer: it is named by a part of its hash.
    pub(super) fn guess(&mut self, who: &Identity) -> Option<Slot> {
        self.key.clear();
        pack_identity(who, &mut self.key);
        self.index.find(hash(&self.key), |_| true).copied()
    }

    /// Reads the rows and the images of these customers, one after the other without waiting for any, so that they are near
    /// when they are worked on.
    pub(super) fn warm_up(&self, slots: &[Slot]) {
        let images: SmallVec<[Block; super::WARM]> = slots.iter().map(|slot| self.rows[slot.index()].image).collect();
        let read: u8 = images
            .iter()
            .filter(|image| !image.is_none())
            .map(|image| self.arena.touch(*image))
            .fold(0, |all, one| all ^ one);
        std::hint::black_box(read);
    }

    /// The row of a customer, a new one where there is none yet, and whether nobody was there.
    pub(super) fn find_or_add(&mut self, who: &Identity) -> (Slot, bool) {
        if let Some(slot) = self.find(who) {
            return (slot, self.is_vacant(slot));
        }
        let hash = hash(&self.key);
        (self.add(hash), true)
    }

    fn add(&mut self, hash: u64) -> Slot {
        let row = Row { hash, image: Block::NONE, change: 0, next_wakeup: Timestamp::MAX, far_wakeup: Timestamp::MAX };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.rows[slot.index()] = row;
                slot
            }
            None => {
                self.rows.push(row);
                Slot::new(self.rows.len() - 1)
            }
        };
        let rows = &self.rows;
        self.index.insert_unique(hash, slot, |slot| rows[slot.index()].hash);
        slot
    }

    /// The latest image, committed or not, for the shard itself.
    pub(super) fn latest(&self, slot: Slot) -> Option<&[u8]> {
        let image = self.rows[slot.index()].image;
        (!image.is_none()).then(|| self.arena.get(image))
    }

    /// The image last committed of a customer whom the open transaction changes, or erases.
    pub(super) fn before(&self, slot: Slot) -> Option<&[u8]> {
        let before = self.change(slot)?.before;
        (!before.is_none()).then(|| self.arena.get(before))
    }

    fn change(&self, slot: Slot) -> Option<Change> {
        let place = (self.rows[slot.index()].change as usize).checked_sub(1)?;
        self.changes.get(place).copied()
    }

    /// The image last committed, for readers.
    pub(super) fn committed_image(&self, slot: Slot) -> Option<&[u8]> {
        if self.rows[slot.index()].change == 0 { self.latest(slot) } else { self.before(slot) }
    }

    /// Opens the latest image; says whether there was one.
    ///
    /// # Panics
    /// The image cannot be read: an invariant is broken.
    pub(super) fn open(&self, slot: Slot, customer: &mut Customer) -> bool {
        let Some(image) = self.latest(slot) else { return false };
        if customer.open(image, &self.words).is_err() {
            unreachable!("a customer's packed state cannot be read");
        }
        true
    }

    /// Puts in the image of a customer that the open transaction changes. Returns by how many bytes what it holds has grown: an
    /// image that it had put in itself is held no more.
    pub(super) fn put(&mut self, slot: Slot, customer: &Customer, undo: super::Undo) -> isize {
        self.packed.clear();
        let Row { image: known, change, .. } = self.rows[slot.index()];
        let replaced = if change == 0 || known.is_none() { 0 } else { self.arena.get(known).len() };
        match (!known.is_none()).then(|| identity_bytes(self.arena.get(known))) {
            // Whose it is does not change.
            Some(Ok(key)) => self.packed.extend_from_slice(key),
            Some(Err(_)) | None => pack_identity(&customer.identity, &mut self.packed),
        }
        customer.pack_rest(&mut self.words, &mut self.packed);
        let image = self.arena.insert(&self.packed);
        self.replace(slot, image, undo);
        let changed = (self.rows[slot.index()].change as usize).checked_sub(1);
        if let Some(change) = changed.and_then(|place| self.changes.get_mut(place)) {
            change.window_to = customer.window_to();
        }
        self.packed.len().wrapping_sub(replaced).cast_signed()
    }

    /// To when a customer's window lasts, without the grace; `None` where there is none.
    pub(super) fn window_to(&self, slot: Slot) -> Option<Timestamp> {
        // What is in a shard was packed here, or checked when it was restored.
        window_of(self.latest(slot)?).ok().flatten()
    }

    /// Drops the window of a customer whom the open transaction does not change. Readers and the log are told nothing: what is
    /// dropped means nothing any more.
    pub(super) fn drop_window(&mut self, slot: Slot) {
        let Row { image, change, .. } = self.rows[slot.index()];
        debug_assert!(change == 0, "what is open may be undone");
        if !image.is_none() {
            self.put_without_window(slot, image);
        }
    }

    /// Drops the windows that will be over once the open transaction is committed, of whomever it changes: what is over when it
    /// is written need not be written.
    pub(super) fn drop_changed_windows(&mut self, is_over: impl Fn(Timestamp) -> bool) {
        for at in 0..self.changes.len() {
            let Change { slot, window_to, .. } = self.changes[at];
            let image = self.rows[slot.index()].image;
            if !image.is_none() && window_to.is_some_and(&is_over) {
                self.put_without_window(slot, image);
            }
        }
    }

    fn put_without_window(&mut self, slot: Slot, image: Block) {
        let Ok(state) = without_window(self.arena.get(image)) else { return };
        self.packed.clear();
        self.packed.extend_from_slice(state);
        self.arena.remove(image);
        self.rows[slot.index()].image = self.arena.insert(&self.packed);
    }

    /// Lets the open transaction erase a customer.
    pub(super) fn erase(&mut self, slot: Slot, undo: super::Undo) {
        self.replace(slot, Block::NONE, undo);
    }

    fn replace(&mut self, slot: Slot, image: Block, undo: super::Undo) {
        let row = &mut self.rows[slot.index()];
        let before = std::mem::replace(&mut row.image, image);
        match undo {
            super::Undo::Kept if row.change == 0 => {
                self.changes.push(Change { slot, before, window_to: None });
                row.change = self.changes.len() as u32;
            }
            super::Undo::Kept | super::Undo::Never => {
                if !before.is_none() {
                    self.arena.remove(before);
                }
            }
        }
        if undo == super::Undo::Never {
            self.committed = self.committed + usize::from(!image.is_none()) - usize::from(!before.is_none());
        }
    }

    /// Customers whom the open transaction changes, in the order of their first change.
    pub(super) fn changed(&self, place: usize) -> Option<Slot> {
        self.changes.get(place).map(|change| change.slot)
    }

    /// The transaction is committed: what was before is forgotten. Hands over everybody of whom nothing is left.
    pub(super) fn commit(&mut self, mut gone: impl FnMut(&mut Self, Slot)) {
        for Change { slot, before, .. } in std::mem::take(&mut self.changes) {
            let row = &mut self.rows[slot.index()];
            row.change = 0;
            let is_gone = row.image.is_none();
            self.committed += usize::from(!is_gone);
            if is_gone {
                gone(self, slot);
                self.vacate(slot);
            }
            if !before.is_none() {
                self.committed -= 1;
                self.arena.remove(before);
            }
        }
    }

    /// The transaction is undone. Hands over everybody whom it changed, as they are again.
    pub(super) fn undo(&mut self, mut undone: impl FnMut(&mut Self, Slot)) {
        for Change { slot, before, .. } in std::mem::take(&mut self.changes) {
            let row = &mut self.rows[slot.index()];
            row.change = 0;
            let image = std::mem::replace(&mut row.image, before);
            undone(self, slot);
            if before.is_none() {
                self.vacate(slot);
            }
            if !image.is_none() {
                self.arena.remove(image);
            }
        }
    }

    /// Takes out the row of nobody. The index finds it by its number, since no image says any more whose it was.
    fn vacate(&mut self, slot: Slot) {
        let hash = self.rows[slot.index()].hash;
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == slot) {
            entry.remove();
            self.free.push(slot);
        }
    }

    /// Takes out a row that never held anybody, or whose customer has gone without a transaction.
    pub(super) fn remove_vacant(&mut self, slot: Slot) {
        if self.is_vacant(slot) {
            self.vacate(slot);
        }
    }

    /// Whether nobody is there, not even somebody whom the open transaction erases.
    pub(super) fn is_vacant(&self, slot: Slot) -> bool {
        let row = &self.rows[slot.index()];
        row.image.is_none() && row.change == 0
    }

    /// Whether the open transaction erases somebody who was there before it.
    pub(super) fn is_leaving(&self, slot: Slot) -> bool {
        self.latest(slot).is_none() && self.before(slot).is_some()
    }

    /// Whose row it is.
    pub(super) fn identity(&self, slot: Slot) -> Option<Identity> {
        identity_of(self.latest(slot).or_else(|| self.before(slot))?).ok()
    }

    /// The instants at which the wheel will ask for the customer.
    pub(super) fn wakeups(&self, slot: Slot) -> [Timestamp; 2] {
        let row = &self.rows[slot.index()];
        [row.next_wakeup, row.far_wakeup]
    }

    /// No wheel asks for anybody.
    pub(super) fn disarm(&mut self) {
        for row in &mut self.rows {
            (row.next_wakeup, row.far_wakeup) = (Timestamp::MAX, Timestamp::MAX);
        }
    }

    pub(super) fn next_wakeup(&self, slot: Slot) -> Timestamp {
        self.rows[slot.index()].next_wakeup
    }

    /// Sees to it that the wheel asks at `deadline` or before; says whether it must be told, and at which instant it need not ask
    /// any more ([`Timestamp::MAX`]: at none), since there is no room to remember a third.
    pub(super) fn arm(&mut self, slot: Slot, deadline: Timestamp) -> (bool, Timestamp) {
        let row = &mut self.rows[slot.index()];
        if deadline == Timestamp::MAX {
            return (false, Timestamp::MAX);
        }
        let before = std::mem::replace(&mut row.next_wakeup, deadline);
        if row.far_wakeup <= deadline {
            row.next_wakeup = std::mem::replace(&mut row.far_wakeup, before);
            return (false, Timestamp::MAX);
        }
        if before == Timestamp::MAX {
            return (true, Timestamp::MAX);
        }
        if row.far_wakeup == Timestamp::MAX {
            row.far_wakeup = before;
            return (true, Timestamp::MAX);
        }
        // The farther of the two is worth remembering: it would stay in the wheel for longest.
        (true, before)
    }

    /// The wheel asks at this instant; says whether that is what the customer waits for.
    pub(super) fn wake(&mut self, slot: Slot, instant: Timestamp) -> bool {
        let row = &mut self.rows[slot.index()];
        let awaited = row.next_wakeup == instant;
        if awaited {
            row.next_wakeup = Timestamp::MAX;
        } else if row.far_wakeup == instant {
            row.far_wakeup = Timestamp::MAX;
        }
        awaited
    }

    /// The dictionary.
    pub fn words(&self) -> &Words {
        &self.words
    }

    /// The dictionary, to be filled from a log.
    pub fn words_mut(&mut self) -> &mut Words {
        &mut self.words
    }

    /// How many customers there are, as last committed.
    pub fn len(&self) -> usize {
        let is_committed = |slot: Slot| self.committed_image(slot).is_some();
        self.committed - self.own_rows().into_iter().flatten().filter(|slot| is_committed(*slot)).count()
    }

    /// The bytes of memory that they take, what the open transaction adds included. The dictionary, which is small, is not
    /// counted.
    pub fn bytes(&self) -> usize {
        self.arena.bytes() + self.rows.capacity() * size_of::<Row>() + self.index.allocation_size()
    }

    /// Whether there is nobody, and nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.committed == 0
    }

    /// The committed state of a customer; of an anonymous id whose journey was joined to a customer's, that customer's, where it
    /// is here.
    pub fn image(&mut self, who: &Identity) -> Option<Customer> {
        let image = self.own_image(who)?;
        match image.redirected_to() {
            None => Some(image),
            Some(into) => self.own_image(&into),
        }
    }

    /// The customer whom an anonymous id was joined to, as committed.
    pub fn joined_to(&mut self, anonymous: &Identity) -> Option<Identity> {
        self.own_image(anonymous)?.redirected_to()
    }

    fn own_image(&mut self, who: &Identity) -> Option<Customer> {
        let slot = self.find(who)?;
        // What is in a shard was packed here, or checked when it was restored.
        Customer::image(self.committed_image(slot)?, &self.words).ok()
    }

    /// The latest state of a customer, committed or not.
    pub fn latest_image(&mut self, who: &Identity) -> Option<Customer> {
        let slot = self.find(who)?;
        Customer::image(self.latest(slot)?, &self.words).ok()
    }

    /// Hands over everybody's latest image as packed, and the shard's own rows, in no particular order.
    pub fn each_packed(&self, mut work: impl FnMut(&[u8])) {
        for row in &self.rows {
            if !row.image.is_none() {
                work(self.arena.get(row.image));
            }
        }
    }

    /// Shows everybody's latest state but for the touchpoints in the history, in no particular order.
    pub fn each_open(&self, mut work: impl FnMut(&Customer)) {
        let mut hand = Customer::default();
        let own = self.own_rows();
        for slot in self.slots().filter(|slot| !own.contains(&Some(*slot))) {
            if self.open(slot, &mut hand) {
                work(&hand);
            }
        }
    }

    /// Hands over everybody's latest state, in no particular order.
    pub fn each(&self, mut work: impl FnMut(Customer)) {
        let own = self.own_rows();
        for image in self.slots().filter(|slot| !own.contains(&Some(*slot))).filter_map(|slot| self.latest(slot)) {
            work(Customer::image(image, &self.words).unwrap_or_default());
        }
    }

    /// Everybody's latest state, by their identities.
    pub fn all(&self) -> Vec<Customer> {
        let mut all = Vec::with_capacity(self.rows.len());
        self.each(|customer| all.push(customer));
        all.sort_by(|one, other| one.identity.cmp(&other.identity));
        all
    }

    /// The rows of everybody who is there, and the shard's own ones.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        let there = |(place, row): (usize, &Row)| (!row.image.is_none()).then(|| Slot::new(place));
        self.rows.iter().enumerate().filter_map(there)
    }

    /// Puts in a committed state.
    pub fn restore(&mut self, customer: &Customer) {
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        customer.pack(&mut self.words, &mut packed);
        let _ = self.restore_packed(&packed);
        self.packed = packed;
    }

    /// Puts in a committed state that the log holds in an older layout.
    pub fn restore_unwritten(&mut self, customer: &Customer) {
        self.restore(customer);
        let Some(slot) = self.find(&customer.identity) else { return };
        let place = slot.index() / 64;
        self.unwritten.resize(self.unwritten.len().max(place + 1), 0);
        self.unwritten[place] |= 1 << (slot.index() % 64);
    }

    /// The log has been written anew from end to end.
    pub(super) fn all_written(&mut self) {
        self.unwritten = Vec::new();
    }

    /// Whether the log holds what a change of this customer could follow from.
    pub(super) fn is_written(&self, slot: Slot) -> bool {
        self.unwritten.get(slot.index() / 64).is_none_or(|bits| bits & (1 << (slot.index() % 64)) == 0)
    }

    /// Puts in a committed image.
    ///
    /// # Errors
    /// Bytes that do not say whose they are.
    pub fn restore_packed(&mut self, packed: &[u8]) -> Result<(), Damaged> {
        let slot = match self.find_packed(packed)? {
            Some(slot) => slot,
            None => self.add(hash(identity_bytes(packed)?)),
        };
        let image = self.arena.insert(packed);
        self.replace(slot, image, super::Undo::Never);
        Ok(())
    }

    fn find_packed(&self, packed: &[u8]) -> Result<Option<Slot>, Damaged> {
        let key = identity_bytes(packed)?;
        let hash = hash(key);
        Ok(self.index.find(hash, |slot| is(&self.rows, &self.arena, &self.changes, *slot, hash, key)).copied())
    }

    /// Makes a committed image the one that follows by `change`; says whether there was one.
    ///
    /// # Errors
    /// The change follows from another image.
    pub fn follow(&mut self, change: &[u8]) -> Result<bool, Damaged> {
        let Some(slot) = self.find_packed(change)? else { return Ok(false) };
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        let followed = match self.latest(slot) {
            Some(before) => crate::journey::packed::follow(before, change, &mut packed).map(|()| true),
            None => Ok(false),
        };
        if followed == Ok(true) {
            let image = self.arena.insert(&packed);
            self.replace(slot, image, super::Undo::Never);
        }
        self.packed = packed;
        followed
    }

    /// Takes out a committed customer; says whether there was one.
    pub fn remove(&mut self, who: &Identity) -> bool {
        let Some(slot) = self.find(who) else { return false };
        self.vacate(slot);
        self.replace(slot, Block::NONE, super::Undo::Never);
        true
    }

    /// Works on everybody's state.
    ///
    /// # Errors
    /// An image that cannot be read.
    pub fn revise(&mut self, mut work: impl FnMut(&mut Customer)) -> Result<(), Damaged> {
        let mut customer = Customer::default();
        let slots: Vec<Slot> = self.slots().collect();
        for slot in slots {
            let Some(image) = self.latest(slot) else { continue };
            customer.open(image, &self.words)?;
            work(&mut customer);
            self.put(slot, &customer, super::Undo::Never);
        }
        Ok(())
    }

    /// Whether everything can be read.
    ///
    /// # Errors
    /// An image that cannot.
    pub fn check(&self) -> Result<(), Damaged> {
        let mut customer = Customer::default();
        for row in self.rows.iter().filter(|row| !row.image.is_none()) {
            customer.open(self.arena.get(row.image), &self.words)?;
            customer.check(&self.words)?;
        }
        Ok(())
    }
}

impl FromIterator<Customer> for Customers {
    fn from_iter<T: IntoIterator<Item = Customer>>(all: T) -> Self {
        let mut customers = Customers::default();
        all.into_iter().for_each(|customer| customers.restore(&customer));
        customers
    }
}

fn hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

/// Whether the row is that of the customer whom the key names.
fn is(rows: &[Row], arena: &Arena, changes: &[Change], slot: Slot, hash: u64, key: &[u8]) -> bool {
    let row = &rows[slot.index()];
    if row.hash != hash {
        return false;
    }
    let before = || (row.change as usize).checked_sub(1).and_then(|place| changes.get(place)).map(|change| change.before);
    let image = if row.image.is_none() { before().unwrap_or(Block::NONE) } else { row.image };
    // A key says itself where it ends.
    !image.is_none() && arena.get(image).starts_with(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::Undo;

    fn customer(id: &str, touchpoints: u64) -> Customer {
        let mut customer = Customer::new(Identity::customer(id));
        customer.touchpoints = touchpoints;
        customer
    }

    fn count(image: Option<Customer>) -> Option<u64> {
        image.map(|customer| customer.touchpoints)
    }

    /// There is one for each customer.
    #[test]
    fn a_row_is_small() {
        assert_eq!((size_of::<Row>(), size_of::<Slot>(), size_of::<Option<Slot>>()), (32, 4, 8));
    }

    #[test]
    fn readers_see_the_committed_image_until_the_end_is_known() {
        let mut customers = Customers::from_iter([customer("a", 1), customer("b", 1)]);
        let [a, b, c] = ["a", "b", "c"].map(Identity::customer);
        let (at_a, at_b) = (customers.find(&a).expect("there"), customers.find(&b).expect("there"));
        let (at_c, joined) = customers.find_or_add(&c);
        assert!(joined);
        let change = |customers: &mut Customers| {
            customers.put(at_a, &customer("a", 2), Undo::Kept);
            customers.put(at_a, &customer("a", 3), Undo::Kept);
            customers.erase(at_b, Undo::Kept);
            let (at_c, _) = customers.find_or_add(&Identity::customer("c"));
            customers.put(at_c, &customer("c", 1), Undo::Kept);
        };
        let seen = |customers: &mut Customers| [&a, &b, &c].map(|who| count(customers.image(who)));
        let latest = |customers: &mut Customers| [&a, &b, &c].map(|who| count(customers.latest_image(who)));
        change(&mut customers);
        assert_eq!((seen(&mut customers), customers.len()), ([Some(1), Some(1), None], 2));
        assert_eq!(latest(&mut customers), [Some(3), None, Some(1)]);
        assert!(customers.is_leaving(at_b) && !customers.is_leaving(at_c));
        customers.undo(|_, _| {});
        assert_eq!((latest(&mut customers), customers.len()), ([Some(1), Some(1), None], 2));
        assert_eq!(customers.find(&c), None, "nobody is left of an undone transaction");
        change(&mut customers);
        let mut gone = Vec::new();
        customers.commit(|_, slot| gone.push(slot));
        assert_eq!((gone, customers.len()), (vec![at_b], 2));
        assert_eq!(seen(&mut customers), [Some(3), None, Some(1)]);
    }

    #[test]
    fn a_customer_who_comes_and_goes_in_one_transaction_was_never_there() {
        let mut customers = Customers::default();
        let (slot, _) = customers.find_or_add(&Identity::customer("a"));
        customers.put(slot, &customer("a", 1), Undo::Kept);
        customers.erase(slot, Undo::Kept);
        assert!(!customers.is_leaving(slot) && !customers.is_vacant(slot));
        customers.commit(|_, _| {});
        assert_eq!((customers.len(), customers.find(&Identity::customer("a"))), (0, None));
    }
}
