//! The picture as Mermaid, for Markdown that draws it (GitHub and others).

use std::fmt::Write;

use super::{CardKind, NoteKind, Picture, WayKind};
use crate::model::Model;

/// Draws a model as a Mermaid flowchart.
pub fn mermaid(model: &Model) -> String {
    let picture = Picture::of(model);
    let mut out = String::from("flowchart TB\n");
    for (number, (phase, stages)) in picture.bands.iter().enumerate() {
        let indent = if phase.is_some() { "    " } else { "  " };
        if let Some(phase) = phase {
            let _ = writeln!(out, "  subgraph phase{number}[\"{}\"]", escaped(phase));
        }
        for index in stages.clone() {
            let stage = &picture.stages[index];
            let (open, close) = match stage.kind {
                CardKind::Ordinary => ("[", "]"),
                CardKind::Optional => ("(", ")"),
                CardKind::Ends => ("([", "])"),
            };
            let name = match stage.kind {
                CardKind::Ordinary | CardKind::Ends => stage.name.clone(),
                CardKind::Optional => format!("{} (optional)", stage.name),
            };
            let _ = writeln!(out, "{indent}stage{index}{open}\"{}\"{close}", label(&name, &stage.lines));
        }
        if phase.is_some() {
            out += "  end\n";
        }
    }
    for pair in (0..picture.stages.len()).collect::<Vec<_>>().windows(2) {
        if picture.stages[pair[1]].kind != CardKind::Ends {
            let _ = writeln!(out, "  stage{} --> stage{}", pair[0], pair[1]);
        }
    }
    for way in &picture.ways {
        let (line, what) = match way.kind {
            WayKind::Back => ("-.->", ""),
            WayKind::Again => ("==>", "again: "),
            WayKind::Renews => ("==>", "renewed: "),
            WayKind::Then => ("-.->", ""),
        };
        let _ = writeln!(out, "  stage{} {line}|\"{what}{}\"| stage{}", way.from, escaped(&way.on), way.to);
    }
    for (number, note) in picture.notes.iter().enumerate() {
        let heading = match note.kind {
            NoteKind::Episode | NoteKind::Friction => format!("{} {}", note.kind.heading(), note.name),
            NoteKind::Segments => note.kind.heading().to_owned(),
        };
        let _ = writeln!(out, "  note{number}>\"{}\"]", label(&heading, &note.lines));
    }
    out
}

fn label(name: &str, lines: &[String]) -> String {
    std::iter::once(name).chain(lines.iter().map(String::as_str)).map(escaped).collect::<Vec<_>>().join("<br>")
}

/// Text of a model inside quotes: nothing in it can end the quotes, the line or the block, or be taken for markup.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out += "#quot;",
            '<' => out += "#lt;",
            '>' => out += "#gt;",
            '&' => out += "#amp;",
            '#' => out += "#35;",
            '`' => out += "#96;",
            // Two of them begin a comment, even within quotes.
            '%' => out += "#37;",
            '*' => out += "#42;",
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
