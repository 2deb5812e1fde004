//! Byte strings of any length, kept close together: one chunk of memory holds blocks of one size.
//!
//! A block is named by a number of four bytes. What is freed is used again by the next string of that size; a chunk of which
//! nothing is used goes to whichever size asks for one first.

/// Bytes of a chunk. It is not made at once: memory that is never written is never used.
const CHUNK: usize = 64 * 1024;
/// Sizes of blocks differ by so much up to [`FINE`], and by an eighth beyond.
const STEP: usize = 16;
const FINE: usize = 512;
/// A longer string has a chunk of its own.
const LARGEST: usize = 8 * 1024;
/// Bytes that a cache fetches together.
const LINE: usize = 64;
/// Of a longer string, the beginning is fetched; what follows is read in order, which processors foresee.
const MOST_TOUCHED: usize = 512;
/// The number of no block.
const NONE: u32 = u32::MAX;
/// Bits of a block's number that say which it is in its chunk.
const PLACE_BITS: u32 = 12;

/// A byte string in an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block(u32);

impl Block {
    /// No byte string.
    pub(super) const NONE: Block = Block(NONE);

    /// Whether it is none.
    pub(super) fn is_none(self) -> bool {
        self.0 == NONE
    }

    fn new(chunk: usize, place: usize) -> Self {
        Block((chunk as u32) << PLACE_BITS | place as u32)
    }

    fn chunk(self) -> usize {
        (self.0 >> PLACE_BITS) as usize
    }

    fn place(self) -> usize {
        (self.0 & ((1 << PLACE_BITS) - 1)) as usize
    }
}

/// Blocks of one size.
struct Chunk {
    bytes: Box<[u8]>,
    /// Bytes of each block; 0: the chunk is free.
    size: u32,
    /// Blocks that have been used so far stand before this one.
    begun: u16,
    used: u16,
    /// The block freed last, each of which names the one freed before in its first bytes.
    freed: u16,
    /// Whether it stands among those of its size that have room.
    listed: bool,
}

const NO_PLACE: u16 = u16::MAX;

/// Byte strings.
#[derive(Default)]
pub(super) struct Arena {
    chunks: Vec<Chunk>,
    /// By class: chunks that have room.
    roomy: Vec<Vec<u32>>,
    free: Vec<u32>,
    /// Of all chunks.
    bytes: usize,
}

impl std::fmt::Debug for Arena {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arena").field("chunks", &self.chunks.len()).finish()
    }
}

/// The class of a block that holds so many bytes, and its size.
fn class(length: usize) -> (usize, usize) {
    if length <= FINE {
        let class = length.div_ceil(STEP).max(1);
        return (class - 1, class * STEP);
    }
    let (mut size, mut class) = (FINE, FINE / STEP - 1);
    while size < length {
        size = (size + size / 8).next_multiple_of(STEP);
        class += 1;
    }
    (class, size)
}

impl Arena {
    /// Keeps a string.
    pub(super) fn insert(&mut self, string: &[u8]) -> Block {
        // Its length stands before it.
        let head = if string.len() < 0x80 { 1 } else { 4 };
        let length = head + string.len();
        if length > LARGEST {
            return self.insert_large(string);
        }
        let (class, size) = class(length);
        if self.roomy.len() <= class {
            self.roomy.resize_with(class + 1, Vec::new);
        }
        let number = match self.roomy[class].last() {
            Some(number) => *number as usize,
            None => self.chunk_for(class, size),
        };
        let chunk = &mut self.chunks[number];
        let place = if chunk.freed == NO_PLACE {
            chunk.begun += 1;
            chunk.begun - 1
        } else {
            let place = chunk.freed;
            let begin = usize::from(place) * size;
            chunk.freed = u16::from_le_bytes([chunk.bytes[begin], chunk.bytes[begin + 1]]);
            place
        };
        chunk.used += 1;
        if chunk.freed == NO_PLACE && (usize::from(chunk.begun) + 1) * size > CHUNK {
            chunk.listed = false;
            self.roomy[class].pop();
        }
        let block = &mut chunk.bytes[usize::from(place) * size..][..length];
        if head == 1 {
            block[0] = string.len() as u8;
        } else {
            block[..4].copy_from_slice(&(string.len() as u32 | 1 << 31).to_be_bytes());
        }
        block[head..].copy_from_slice(string);
        Block::new(number, place.into())
    }

    fn insert_large(&mut self, string: &[u8]) -> Block {
        let bytes: Box<[u8]> = string.into();
        let chunk = Chunk { bytes, size: u32::MAX, begun: 1, used: 1, freed: NO_PLACE, listed: false };
        Block::new(self.add(chunk), 0)
    }

    /// A chunk with room for a block of this size.
    fn chunk_for(&mut self, class: usize, size: usize) -> usize {
        let bytes = vec![0; CHUNK].into_boxed_slice();
        let chunk = Chunk { bytes, size: size as u32, begun: 0, used: 0, freed: NO_PLACE, listed: true };
        let number = self.add(chunk);
        self.roomy[class].push(number as u32);
        number
    }

    fn add(&mut self, chunk: Chunk) -> usize {
        self.bytes += chunk.bytes.len();
        match self.free.pop() {
            Some(number) => {
                self.chunks[number as usize] = chunk;
                number as usize
            }
            None => {
                self.chunks.push(chunk);
                self.chunks.len() - 1
            }
        }
    }

    /// The string.
    pub(super) fn get(&self, block: Block) -> &[u8] {
        let chunk = &self.chunks[block.chunk()];
        if chunk.size == u32::MAX {
            return &chunk.bytes;
        }
        let bytes = &chunk.bytes[block.place() * chunk.size as usize..];
        if bytes[0] < 0x80 {
            return &bytes[1..][..usize::from(bytes[0])];
        }
        let length = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) & !(1 << 31);
        &bytes[4..][..length as usize]
    }

    /// Reads a byte of each cache line that the string is likely to lie in.
    pub(super) fn touch(&self, block: Block) -> u8 {
        let chunk = &self.chunks[block.chunk()];
        let size = chunk.size as usize;
        let begin = if chunk.size == u32::MAX { 0 } else { block.place() * size };
        let lines = chunk.bytes[begin..].iter().take(size.min(MOST_TOUCHED)).step_by(LINE);
        lines.fold(0, |all, byte| all ^ byte)
    }

    /// Keeps the string no longer.
    pub(super) fn remove(&mut self, block: Block) {
        let number = block.chunk();
        let chunk = &mut self.chunks[number];
        let size = chunk.size as usize;
        chunk.used -= 1;
        if chunk.used == 0 {
            self.bytes -= std::mem::take(&mut chunk.bytes).len();
            if std::mem::take(&mut chunk.listed) {
                self.roomy[class(size).0].retain(|roomy| *roomy as usize != number);
            }
            chunk.size = 0;
            self.free.push(number as u32);
            return;
        }
        let begin = block.place() * size;
        chunk.bytes[begin..begin + 2].copy_from_slice(&chunk.freed.to_le_bytes());
        chunk.freed = block.place() as u16;
        if !std::mem::replace(&mut chunk.listed, true) {
            self.roomy[class(size).0].push(number as u32);
        }
    }

    /// Bytes of all chunks.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(usize, u8),
        Remove(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let length = prop_oneof![8 => 0..600_usize, 1 => 600..9_000_usize, 1 => 9_000..70_000_usize];
        prop_oneof![3 => (length, any::<u8>()).prop_map(|(length, fill)| Step::Insert(length, fill)), 2 => (0..1_000_usize).prop_map(Step::Remove)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_string_is_what_it_was_until_it_is_removed(steps in prop::collection::vec(step(), 1..300)) {
            let mut arena = Arena::default();
            let mut known: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Insert(length, fill) => {
                        let string = vec![fill; length];
                        let block = arena.insert(&string);
                        prop_assert!(known.insert(block.0, string).is_none(), "a block is used twice");
                    }
                    Step::Remove(at) => {
                        let Some(number) = known.keys().nth(at % known.len().max(1)).copied() else { continue };
                        known.remove(&number);
                        arena.remove(Block(number));
                    }
                }
                for (number, string) in &known {
                    prop_assert_eq!(arena.get(Block(*number)), &string[..]);
                }
            }
            for number in known.into_keys() {
                arena.remove(Block(number));
            }
            prop_assert_eq!(arena.bytes(), 0, "memory is given back");
        }
    }

    #[test]
    fn strings_of_a_customers_size_waste_little() {
        let mut arena = Arena::default();
        let strings = 10_000;
        let bytes: usize = (0..strings)
            .map(|number| 190 + number % 40)
            .inspect(|length| {
                arena.insert(&vec![1; *length]);
            })
            .sum();
        let waste = arena.bytes() as f64 / bytes as f64;
        assert!(waste < 1.1, "{waste} bytes a byte");
    }

    #[test]
    fn a_block_holds_what_its_class_says() {
        for length in 1..=LARGEST {
            let (number, size) = class(length);
            assert!(size >= length && class(size) == (number, size), "{length}");
            assert!(size <= FINE.max(length) + length / 8 + STEP, "{length} bytes take {size}");
        }
    }
}
