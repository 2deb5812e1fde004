//! A shard's dictionary: texts that come again and again (types, channels, currencies) are kept once, by number.

use std::collections::HashMap;

use compact_str::CompactString;

/// At most so many words are kept; further texts stand where they are used.
pub(in crate::journey) const MAX_WORDS: usize = 1 << 16;
/// A longer text is no word.
const MAX_BYTES: usize = 64;

/// The words of a shard. A number once given stays: the state log refers to it.
#[derive(Clone, Debug, Default)]
pub struct Words {
    texts: Vec<CompactString>,
    numbers: HashMap<CompactString, u32, foldhash::fast::FixedState>,
}

impl Words {
    /// The number of a text, 1, 2, …; 0 where it is none of the words and cannot become one.
    pub(in crate::journey) fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        if self.texts.len() == MAX_WORDS || text.len() > MAX_BYTES || text.is_empty() {
            return 0;
        }
        self.texts.push(text.into());
        let number = self.texts.len() as u32;
        self.numbers.insert(text.into(), number);
        number
    }

    /// The text of a number.
    pub(in crate::journey) fn text(&self, number: u32) -> Option<&CompactString> {
        self.texts.get((number as usize).checked_sub(1)?)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// All of them after the first `known`, with their numbers.
    pub fn after(&self, known: usize) -> impl Iterator<Item = (u32, &str)> {
        let there = self.texts.iter().enumerate().skip(known).filter(|(_, text)| !text.is_empty());
        there.map(|(place, text)| (place as u32 + 1, text.as_str()))
    }

    /// Takes over a word that was written under this number.
    ///
    /// # Errors
    /// The number is another word's, or no number of a word.
    pub fn learn(&mut self, number: u32, text: &str) -> Result<(), String> {
        let wrong = || format!("word {number} of the state log does not fit");
        let place = (number as usize).checked_sub(1).filter(|place| *place < MAX_WORDS).ok_or_else(wrong)?;
        if self.texts.len() <= place {
            // A number that was given in a transaction that was undone may never be said.
            self.texts.resize(place + 1, CompactString::default());
        }
        if self.texts[place] == text {
            return Ok(());
        }
        if !self.texts[place].is_empty() || self.numbers.contains_key(text) || text.is_empty() {
            return Err(wrong());
        }
        self.texts[place] = text.into();
        self.numbers.insert(text.into(), number);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_its_number_wherever_it_is_read() {
        let mut words = Words::default();
        assert_eq!((words.number("a"), words.number("b"), words.number("a"), words.number("")), (1, 2, 1, 0));
        assert_eq!(words.number(&"x".repeat(65)), 0);
        let mut read = Words::default();
        for (number, text) in words.after(1) {
            read.learn(number, text).expect("fits");
        }
        assert_eq!((read.number("b"), read.number("c")), (2, 3));
        assert!(read.learn(3, "d").is_err() && read.learn(0, "d").is_err() && read.learn(9, "b").is_err());
        assert_eq!(read.learn(1, "a"), Ok(()));
        assert_eq!(read.text(1).map(CompactString::as_str), Some("a"));
        assert_eq!(read.after(0).map(|(_, text)| text).collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
