//! `sillage init`: a project to begin with.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser};

use super::{Failure, print};

/// Write a starter project.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to; made if it is not there.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The model to begin with.
    #[arg(long, default_value = STARTERS[0].name, value_parser = models())]
    model: String,
}

/// A model that ships with Sillage.
struct Starter {
    name: &'static str,
    about: &'static str,
    /// Names and texts.
    files: &'static [(&'static str, &'static str)],
}

/// A model, the page that explains it, its scenarios and its contacts, as they stand in `models/`.
macro_rules! starter {
    ($name:literal, $about:literal) => {
        Starter {
            name: $name,
            about: $about,
            files: &[
                starter!($name, file ".yaml"),
                starter!($name, file ".scenarios.md"),
                starter!($name, file ".md"),
                ("contacts.yaml", include_str!("../../models/contacts.yaml")),
            ],
        }
    };
    ($name:literal, file $end:literal) => {
        (concat!($name, $end), include_str!(concat!("../../models/", $name, $end)))
    };
}

/// What can be chosen; the first is what people get who do not choose.
const STARTERS: &[Starter] = &[
    starter!("five-stages", "from first sight to recommendation, for a shop of any kind"),
    starter!("service-loyalty", "who stays and who leaves, by how they are served"),
    starter!("aida-five-phases", "attention to memory, for goods that are tried, delivered and sometimes sent back"),
    starter!("before-during-after", "the purchase as the middle, from bread to flats"),
    starter!("lifecycle-bond", "from the seventh sight of a message to a bond that brings others along"),
];

fn models() -> PossibleValuesParser {
    STARTERS.iter().map(|starter| PossibleValue::new(starter.name).help(starter.about)).collect::<Vec<_>>().into()
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    // The parser lets only these names through.
    let Some(starter) = STARTERS.iter().find(|starter| starter.name == args.model) else { return Ok(()) };
    let (configuration, readme) = (configuration(starter.name), readme(starter));
    let mut files: Vec<(&str, &str)> = starter.files.to_vec();
    files.extend([("sillage.yaml", configuration.as_str()), ("README.md", readme.as_str())]);
    refuse_to_overwrite(&args.dir, &files)?;
    fs::create_dir_all(&args.dir).map_err(|error| could_not_write(&args.dir, &error))?;
    for (name, text) in &files {
        let path = args.dir.join(name);
        // Somebody may have written one since we looked.
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| could_not_write(&path, &error))?;
    }
    print(&said(&args.dir, starter, &files))
}

/// Either all files are new, or none is written.
fn refuse_to_overwrite(dir: &Path, files: &[(&str, &str)]) -> Result<(), Failure> {
    let there: Vec<String> = files
        .iter()
        .map(|(name, _)| dir.join(name))
        .filter(|path| path.symlink_metadata().is_ok())
        .map(|path| path.display().to_string())
        .collect();
    if there.is_empty() {
        return Ok(());
    }
    let (is, them) = if there.len() == 1 { ("is", "it") } else { ("are", "them") };
    let message = format!(
        "{} {is} there already, and nothing was written; name another folder, or move {them} away",
        there.join(", ")
    );
    Err(Failure::could_not_run(message))
}

fn could_not_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::could_not_run(format!("cannot write {}: {error}", path.display()))
}

fn configuration(name: &str) -> String {
    format!(
        "# Sillage on its embedded log: everything stays in this folder, and touchpoints come over HTTP.\n\
         # For Kafka, name `brokers`, `inputs` and `start` instead of `directory`.\n\
         models: [{name}.yaml]\n\
         contacts: contacts.yaml\n\
         directory: sillage-data\n\
         listen: 127.0.0.1:8080\n"
    )
}

/// The commands that come next, in the order in which they make sense.
fn next(starter: &Starter) -> [String; 3] {
    let name = starter.name;
    [
        format!("sillage model check {name}.yaml"),
        format!("sillage model test {name}.yaml"),
        "sillage run -c sillage.yaml".to_owned(),
    ]
}

fn readme(starter: &Starter) -> String {
    let [check, test, run] = next(starter);
    let name = starter.name;
    format!(
        "# {name}\n\n\
         Customers' journeys as Sillage follows them: {about}. [{name}.md]({name}.md) tells what the model is for,\n\
         [{name}.yaml]({name}.yaml) is the model, [{name}.scenarios.md]({name}.scenarios.md) what comes of what customers do.\n\
         [contacts.yaml](contacts.yaml) says how customers may be contacted.\n\n\
         ```sh\n\
         {check}      # is the model sound?\n\
         {test}       # does it say what it should?\n\
         {run}        # run it; journeys stay in sillage-data\n\
         ```\n\n\
         While it runs, send a touchpoint, and see what comes of it:\n\n\
         ```sh\n\
         curl -s localhost:8080/v1/touchpoints -H 'content-type: application/json' -d '{{\"event_id\": \"t-1\", \"customer_id\": \"anna\",\n  \
         \"occurred_at\": \"'$(date -u +%FT%TZ)'\", \"type\": \"cart.added\",\n  \
         \"properties\": {{\"cart_id\": \"A\", \"value\": 499, \"currency\": \"EUR\"}}}}'\n\
         sillage outcomes --follow\n\
         ```\n",
        about = starter.about,
    )
}

fn said(dir: &Path, starter: &Starter, files: &[(&str, &str)]) -> String {
    let mut said = String::new();
    for (name, _) in files {
        said += &format!("wrote {}\n", dir.join(name).display());
    }
    said += "\nNext:\n";
    if dir != Path::new(".") {
        said += &format!("  cd {}\n", dir.display());
    }
    for command in next(starter) {
        said += &format!("  {command}\n");
    }
    said
}
