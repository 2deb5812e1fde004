//! Reading query strings: every parameter known, each value understood, or a problem that says what is.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;

use super::problem::{Kind, Problem};

/// The pairs of a query string, decoded, as an extractor hands them over.
pub(super) type Raw = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// A query string whose parameters are all known.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Takes the pairs; `known` lists the parameters there are.
    pub(super) fn new(raw: Raw, known: &[&str]) -> Result<Self, Problem> {
        let Query(pairs) = raw.map_err(|_| bad("it is not a valid query string".to_owned()))?;
        match pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(Parameters(pairs)),
            Some((name, _)) => Err(bad(match known {
                [] => format!("{:?} is not a parameter; this path takes none", shortened(name)),
                known => format!("{:?} is not a parameter; there are: {}", shortened(name), known.join(", ")),
            })),
        }
    }

    /// The value of a parameter that may be given once.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(bad(format!("`{name}` is given more than once"))),
        }
    }

    /// All values of a parameter.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A whole number of at most `most`.
    pub(super) fn number(&self, name: &str, most: u64) -> Result<Option<u64>, Problem> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        match text.parse::<u64>() {
            Ok(number) if number <= most => Ok(Some(number)),
            Ok(_) | Err(_) => {
                Err(bad(format!("`{name}` is {:?}; it must be a whole number from 0 to {most}", shortened(text))))
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Problem> {
        self.one(name)?.map(|text| choose(name, text, words)).transpose()
    }
}

/// The meaning of a word, or a problem that lists the words there are.
pub(super) fn choose<T: Copy>(name: &str, text: &str, words: &[(&str, T)]) -> Result<T, Problem> {
    words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        bad(format!("`{name}` is {:?}; there are: {}", shortened(text), known.join(", ")))
    })
}

fn bad(detail: String) -> Problem {
    Problem::new(Kind::BadQuery, detail)
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}
