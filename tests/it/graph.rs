//! Pictures of models: the ones in the documentation are current, and no model can break one.
//! `SILLAGE_BLESS=1` writes them anew: look at the pictures.

use std::path::Path;

use sillage::model::{Model, graph, load};

fn text(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_default()
}

fn model(text: &str) -> Model {
    let (model, faults) = load("m.yaml", text);
    model.unwrap_or_else(|| panic!("{faults:?}"))
}

/// Whether the file holds this text; writes it where that is asked for.
fn is_current(path: &str, current: &str) {
    if std::env::var_os("SILLAGE_BLESS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        return std::fs::write(path, current).expect("written");
    }
    assert!(text(path) == current, "{path} is not what is drawn now; SILLAGE_BLESS=1 writes it anew");
}

#[test]
fn the_pictures_in_the_documentation_are_current() {
    let five_stages = model(&text("models/five-stages.yaml"));
    let svg = graph::svg(&five_stages);
    assert_well_formed(&svg);
    is_current("docs/pictures/five-stages.svg", &svg);
    let page = text("docs/pictures.md");
    let (before, rest) = page.split_once("```mermaid\n").expect("a Mermaid block");
    let (_, after) = rest.split_once("```\n").expect("its end");
    is_current("docs/pictures.md", &format!("{before}```mermaid\n{}```\n{after}", graph::mermaid(&five_stages)));
}

#[test]
fn everything_that_runs_is_drawn() {
    let five_stages = model(&text("tests/models/plain-five-stages.yaml"));
    let (svg, mermaid) = (graph::svg(&five_stages), graph::mermaid(&five_stages));
    for said in ["five-stages", "consideration", "during", "quiet for 7d", "basket", "abandoned after 15m", "coupon.denied"]
    {
        assert!(svg.contains(said) || said == "coupon.denied", "the SVG does not say {said}");
        assert!(mermaid.contains(said) || said == "five-stages", "Mermaid does not say {said}");
    }
    assert!(svg.contains("back to consideration: cart.emptied, coupon.denied"));
    assert!(mermaid.contains("stage2 -.->|\"cart.emptied, coupon.denied\"| stage1\n"), "{mermaid}");
    assert!(mermaid.contains("stage0 --> stage1\n") && !mermaid.contains("stage4 --> "), "{mermaid}");
    // By the time it runs, one touchpoint of either type begins the next journey in the first stage that it enters.
    assert!(mermaid.contains("stage3 ==>|\"again: product.viewed, search.performed\"| stage1\n"), "{mermaid}");
}

const HOSTILE: &str = "<script>&amp;\\\"']]> --> ``` #quot; %%{init}%% | é見\\u0001";

#[test]
fn no_type_of_touchpoint_breaks_a_picture() {
    let text = format!(
        "sillage: 1\nmodel: m\nstages:\n  one: {{ enter: \"{HOSTILE}\", quiet: 1d }}\n  \
         two: {{ enter: [{}], back: {{ one: \"{HOSTILE}x\" }} }}\n",
        "x".repeat(250)
    );
    let model = model(&text);
    let svg = graph::svg(&model);
    assert_well_formed(&svg);
    assert!(!svg.contains("<script") && svg.contains("&lt;script&gt;"), "{svg}");
    let mermaid = graph::mermaid(&model);
    for line in mermaid.lines() {
        assert_eq!(line.matches('"').count() % 2, 0, "a quote is left open: {line}");
        let inside: String = line.split('"').skip(1).step_by(2).collect();
        assert!(!inside.replace("<br>", "").contains(['<', '>', '`', '\u{1}']), "{line}");
    }
    assert!(!mermaid.contains("```"), "the block would end");
    assert!(!mermaid.contains("%%"), "a comment would begin");
}

#[test]
fn a_large_model_is_drawn_with_every_stage_and_stays_within_its_frame() {
    let mut text = "sillage: 1\nmodel: large\nstages:\n".to_owned();
    for number in 0..64 {
        text += &format!("  stage-{number}:\n    enter: enters-{number}\n");
        if number > 1 {
            text += &format!("    back: {{ stage-0: away-{number}, stage-{}: back-{number} }}\n", number - 1);
        }
    }
    let svg = graph::svg(&model(&text));
    assert_well_formed(&svg);
    let (width, height) = frame(&svg);
    assert!((1..64).all(|number| svg.contains(&format!(">stage-{number}<"))));
    for (name, most) in [("x", width), ("cx", width), ("y", height), ("cy", height)] {
        for value in attribute(&svg, name) {
            assert!(value >= 0 && value <= most, "{name}={value} lies outside {width} × {height}");
        }
    }
}

fn frame(svg: &str) -> (i64, i64) {
    (attribute(svg, "width")[0], attribute(svg, "height")[0])
}

fn attribute(svg: &str, name: &str) -> Vec<i64> {
    let start = format!(" {name}=\"");
    let values = svg.split(&start).skip(1).filter_map(|rest| rest.split('"').next());
    values.map(|value| value.parse().expect("a whole number")).collect()
}

/// A small reader of XML: elements nest, attributes are quoted, and nothing in a text is taken for markup.
fn assert_well_formed(xml: &str) {
    let mut open: Vec<String> = Vec::new();
    let mut rest = xml;
    while let Some(at) = rest.find('<') {
        let text = &rest[..at];
        assert!(!text.contains('>'), "a bare > in {text}");
        assert_references(text);
        let end = rest[at..].find('>').unwrap_or_else(|| panic!("a tag without an end: {}", &rest[at..])) + at;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "elements cross");
            continue;
        }
        let (tag, empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let name: String = tag.chars().take_while(char::is_ascii_alphanumeric).collect();
        assert!(!name.is_empty(), "a tag without a name: {tag}");
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes in {tag}");
        let attributes: Vec<&str> = tag[name.len()..].split('"').collect();
        for attribute in attributes.iter().step_by(2).filter(|attribute| !attribute.trim().is_empty()) {
            assert!(attribute.starts_with(' ') && attribute.ends_with('='), "{attribute} in {tag}");
        }
        if !empty {
            open.push(name);
        }
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} left open, then {rest}");
    assert!(!xml.chars().any(|c| c.is_control() && c != '\n'), "a character that XML does not know");
}

fn assert_references(text: &str) {
    for (at, _) in text.match_indices('&') {
        let known = ["&amp;", "&lt;", "&gt;", "&quot;"];
        assert!(known.iter().any(|entity| text[at..].starts_with(entity)), "a bare & in {text}");
    }
}
