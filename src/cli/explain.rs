//! `sillage explain`: the page of a diagnostic's code, as it stands in `docs/diagnostics/`.

use super::{Failure, print};
use crate::diagnostic::{CODES, nearest, quoted};

/// Say what a diagnostic's code means and how to mend it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The code, such as M031; without one, all codes are listed.
    code: Option<String>,
}

/// The pages are part of the binary, so that they are there where the source is not.
macro_rules! pages {
    ($($code:literal)*) => { &[$(($code, include_str!(concat!("../../docs/diagnostics/", $code, ".md")))),*] };
}

/// Every page by its code; a test holds the list complete (`tests/it/explain.rs`).
const PAGES: &[(&str, &str)] = pages! {
    "Y001" "Y002" "Y003" "Y004" "Y005" "Y006" "Y007"
    "Y010" "Y011" "Y012" "Y013" "Y014"
    "M001" "M002" "M003" "M004" "M005" "M006" "M007" "M008" "M009"
    "M010"
    "M020" "M021" "M022" "M023"
    "M030" "M031" "M032" "M033" "M034" "M035" "M036" "M037" "M038" "M039"
    "M040" "M041" "M042" "M043" "M044" "M045" "M046" "M047" "M048" "M049"
    "M050" "M051" "M052" "M053" "M054" "M055" "M056" "M057" "M058" "M059"
    "M060" "M061" "M062" "M063"
    "M070" "M071" "M072" "M073" "M074" "M075" "M076" "M077" "M078" "M079"
    "M080" "M081" "M082" "M083" "M084" "M085"
    "M090" "M091" "M092"
    "M100" "M101" "M102" "M103" "M104" "M105" "M106" "M107" "M108" "M110"
    "M111" "M112" "M113" "M114"
    "D001" "D002" "D003" "D004" "D005" "D006"
    "S001" "S002" "S003" "S004" "S005" "S006" "S007" "S008" "S009"
    "S010" "S011" "S012" "S013" "S014"
    "C001" "C002" "C003" "C004" "C005" "C006" "C007" "C008" "C009"
    "C010" "C011" "C012" "C013" "C014" "C015" "C016" "C017" "C018"
};

/// What the first letter of a code says.
const KINDS: &[(char, &str)] = &[
    ('Y', "how a file is written"),
    ('M', "models"),
    ('D', "a new version of a model"),
    ('S', "scenarios"),
    ('C', "configuration"),
];

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let Some(code) = args.code else { return print(&list()) };
    let wanted = code.trim().to_uppercase();
    match PAGES.iter().find(|(code, _)| *code == wanted) {
        Some((_, page)) => print(page),
        None => Err(Failure::could_not_run(unknown(&wanted))),
    }
}

fn list() -> String {
    let mut list = String::new();
    for (letter, kind) in KINDS {
        let codes: Vec<_> = CODES.iter().filter(|(code, _)| code.starts_with(*letter)).collect();
        if !codes.is_empty() {
            list += &format!("{}{letter}: {kind}\n", if list.is_empty() { "" } else { "\n" });
        }
        for (code, meaning) in codes {
            list += &format!("  {code}  {meaning}\n");
        }
    }
    list + "\n`sillage explain CODE` says what a code means, shows it and says how to mend it.\n"
}

fn unknown(code: &str) -> String {
    let mean = match nearest(code, CODES.iter().map(|(code, _)| *code)) {
        Some(near) => format!("did you mean {}? ", quoted(near)),
        None => String::new(),
    };
    format!("there is no code {}; {mean}`sillage explain` lists them all", quoted(code))
}
