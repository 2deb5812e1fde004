//! The picture as SVG: self-contained, dark on light, stages from top to bottom, notes beside them.
//!
//! A small layout of its own. A stage is a card of lines; a way back or into the next journey leaves the card at its line on
//! the right, runs along a lane of its own and arrives at the other card. So no label floats, and none can collide.

use std::fmt::Write;

use super::{Card, CardKind, NoteKind, Picture, WayKind};
use crate::model::Model;

const MARGIN: i32 = 20;
/// The height of a line of small text.
const LINE: i32 = 17;
/// The width of a character of small text, on the wide side: which font is there is not known.
const CHARACTER: i32 = 7;
const CARD_WIDTH: i32 = 440;
const NOTE_WIDTH: i32 = 310;
/// Between a card and its lines.
const INSET: i32 = 14;
/// From a card's top to its first line.
const HEAD: i32 = 32;
/// Between two cards, where the arrow forward stands.
const GAP: i32 = 26;
/// The heading of a phase.
const BAND_HEAD: i32 = 24;
const BAND_INSET: i32 = 12;
/// Between two lanes of ways.
const LANE: i32 = 14;
/// Between two ways that arrive at the same card.
const ARRIVAL: i32 = 12;

const INK: &str = "#1f2933";
const FAINT: &str = "#52606d";
const FORWARD: &str = "#334e68";

/// Draws a model as an SVG document.
pub fn svg(model: &Model) -> String {
    let picture = Picture::of(model);
    let layout = Layout::of(&picture);
    let mut canvas = Canvas::default();
    for band in &layout.bands {
        band.draw(&mut canvas);
    }
    for (card, place) in picture.stages.iter().zip(&layout.cards) {
        place.draw(card, &mut canvas);
    }
    for pair in layout.cards.windows(2).zip(picture.stages.windows(2)).filter(|(_, cards)| cards[1].kind != CardKind::Ends) {
        let (from, to) = (&pair.0[0], &pair.0[1]);
        canvas.arrow_down(from.x + CARD_WIDTH / 2, from.y + from.height, to.y);
    }
    for route in &layout.routes {
        route.draw(&mut canvas);
    }
    for note in &layout.notes {
        note.draw(&mut canvas);
    }
    legend(&layout, &mut canvas);
    canvas.finish(&picture.title, layout.width, layout.height)
}

/// Where everything stands.
struct Layout {
    bands: Vec<Band>,
    cards: Vec<Place>,
    routes: Vec<Route>,
    notes: Vec<Sheet>,
    kinds: Vec<WayKind>,
    legend_y: i32,
    width: i32,
    height: i32,
}

struct Band {
    y: i32,
    height: i32,
    name: Option<String>,
}

/// A card's place and its lines, broken to its width.
struct Place {
    x: i32,
    y: i32,
    height: i32,
    lines: Vec<(String, &'static str)>,
}

/// A way along its lane.
struct Route {
    kind: WayKind,
    /// Where it leaves and where it arrives.
    from: (i32, i32),
    to: (i32, i32),
    lane: i32,
}

/// A note's place.
struct Sheet {
    kind: NoteKind,
    x: i32,
    y: i32,
    height: i32,
    name: String,
    lines: Vec<String>,
}

impl Layout {
    fn of(picture: &Picture) -> Layout {
        let mut y = MARGIN + 34;
        let mut bands = Vec::new();
        let mut cards: Vec<Place> = Vec::new();
        // By way: the height at which it leaves its card.
        let mut leaves = vec![0; picture.ways.len()];
        for (name, stages) in &picture.bands {
            let top = y;
            y += if name.is_some() { BAND_HEAD } else { BAND_INSET };
            for index in stages.clone() {
                let place = card(index, y, picture, &mut leaves);
                y += place.height + if index + 1 == stages.end { BAND_INSET } else { GAP };
                cards.push(place);
            }
            bands.push(Band { y: top, height: y - top, name: name.clone() });
            // The arrow to the next band needs room between its two cards.
            y += GAP - 2 * BAND_INSET + 8;
        }
        let stages_end = y;
        let routes = routes(picture, &cards, &leaves);
        let lanes = routes.iter().map(|route| route.lane).max().unwrap_or(right_of_cards());
        let notes_x = lanes + 34;
        let mut y = MARGIN + 34;
        let mut notes = Vec::new();
        for note in &picture.notes {
            let lines: Vec<String> = note.lines.iter().flat_map(|line| wrapped(line, NOTE_WIDTH - 2 * INSET)).collect();
            let height = HEAD + lines.len() as i32 * LINE;
            notes.push(Sheet { kind: note.kind, x: notes_x, y, height, name: note.name.clone(), lines });
            y += height + 10;
        }
        let mut kinds = WayKind::ALL.to_vec();
        kinds.retain(|kind| picture.ways.iter().any(|way| way.kind == *kind));
        let legend_y = stages_end.max(y) + 8;
        let width = if notes.is_empty() { notes_x } else { notes_x + NOTE_WIDTH + MARGIN };
        Layout { bands, cards, routes, notes, kinds, legend_y, width, height: legend_y + LINE + 6 }
    }
}

/// The right edge of the bands.
const fn right_of_cards() -> i32 {
    MARGIN + CARD_WIDTH + 2 * BAND_INSET
}

/// Lays a card's lines out, and notes where its ways leave.
fn card(index: usize, y: i32, picture: &Picture, leaves: &mut [i32]) -> Place {
    let width = CARD_WIDTH - 2 * INSET;
    let mut lines: Vec<(String, &'static str)> = Vec::new();
    for line in &picture.stages[index].lines {
        lines.extend(wrapped(line, width).into_iter().map(|line| (line, INK)));
    }
    for (at, way) in picture.ways.iter().enumerate().filter(|(_, way)| way.from == index) {
        let to = &picture.stages[way.to].name;
        let said = match way.kind {
            WayKind::Back => format!("back to {to}: {}", way.on),
            WayKind::Again => format!("again from {to}: {}", way.on),
            WayKind::Renews => format!("renewed into {to}: {}", way.on),
            WayKind::Then => format!("{}: the journey ends in {to}", way.on),
        };
        leaves[at] = y + HEAD + lines.len() as i32 * LINE + LINE / 2 - 4;
        lines.extend(wrapped(&said, width).into_iter().map(|line| (line, colour(way.kind))));
    }
    // Room for all that arrive.
    let arriving = picture.ways.iter().filter(|way| way.to == index).count() as i32;
    let height = (HEAD + lines.len() as i32 * LINE + 6).max(arriving * ARRIVAL + 16);
    Place { x: MARGIN + BAND_INSET, y, height, lines }
}

/// Gives every way the innermost lane that is free along it, short ways first.
fn routes(picture: &Picture, cards: &[Place], leaves: &[i32]) -> Vec<Route> {
    let mut order: Vec<usize> = (0..picture.ways.len()).collect();
    order.sort_by_key(|at| (picture.ways[*at].from.abs_diff(picture.ways[*at].to), *at));
    let mut lanes: Vec<Vec<(i32, i32)>> = Vec::new();
    let mut arrived = vec![0; cards.len()];
    let mut routes = Vec::new();
    for at in order {
        let way = &picture.ways[at];
        let arrives = cards[way.to].y + 12 + arrived[way.to] * ARRIVAL;
        arrived[way.to] += 1;
        let taken = (leaves[at].min(arrives) - 3, leaves[at].max(arrives) + 3);
        let free = |lane: &Vec<(i32, i32)>| lane.iter().all(|(top, bottom)| taken.1 < *top || *bottom < taken.0);
        let lane = lanes.iter().position(free).unwrap_or_else(|| {
            lanes.push(Vec::new());
            lanes.len() - 1
        });
        lanes[lane].push(taken);
        let right = |place: &Place| place.x + CARD_WIDTH;
        routes.push(Route {
            kind: way.kind,
            from: (right(&cards[way.from]), leaves[at]),
            to: (right(&cards[way.to]), arrives),
            lane: right_of_cards() + LANE * (lane as i32 + 1),
        });
    }
    routes
}

fn colour(kind: WayKind) -> &'static str {
    match kind {
        WayKind::Back => "#a8420b",
        WayKind::Again => "#0b6a7d",
        WayKind::Renews => "#23722f",
        WayKind::Then => "#7a3b8f",
    }
}

fn dashes(kind: WayKind) -> &'static str {
    match kind {
        WayKind::Back => " stroke-dasharray=\"6 4\"",
        WayKind::Again | WayKind::Renews => "",
        WayKind::Then => " stroke-dasharray=\"2 3\"",
    }
}

impl Band {
    fn draw(&self, canvas: &mut Canvas) {
        let width = CARD_WIDTH + 2 * BAND_INSET;
        canvas.rectangle((MARGIN, self.y, width, self.height), 10, "fill=\"#eef2f6\"");
        if let Some(name) = &self.name {
            canvas.text(MARGIN + BAND_INSET + 2, self.y + 17, 12, FAINT, "letter-spacing=\"1\"", name);
        }
    }
}

impl Place {
    fn draw(&self, card: &Card, canvas: &mut Canvas) {
        let border = match card.kind {
            CardKind::Ordinary => "fill=\"#ffffff\" stroke=\"#334e68\" stroke-width=\"1.5\"",
            CardKind::Optional => "fill=\"#ffffff\" stroke=\"#334e68\" stroke-width=\"1.5\" stroke-dasharray=\"5 3\"",
            CardKind::Ends => "fill=\"#f7f3f9\" stroke=\"#7a3b8f\" stroke-width=\"3\"",
        };
        canvas.rectangle((self.x, self.y, CARD_WIDTH, self.height), 8, border);
        canvas.text(self.x + INSET, self.y + 21, 15, INK, "font-weight=\"600\"", &card.name);
        let remark = match card.kind {
            CardKind::Ordinary => "",
            CardKind::Optional => "optional",
            CardKind::Ends => "the journey ends here",
        };
        if !remark.is_empty() {
            canvas.text(self.x + CARD_WIDTH - INSET - 12, self.y + 21, 12, FAINT, "text-anchor=\"end\"", remark);
        }
        for (number, (line, colour)) in (0..).zip(&self.lines) {
            canvas.text(self.x + INSET, self.y + HEAD + 8 + number * LINE, 12, colour, "", line);
        }
    }
}

impl Route {
    fn draw(&self, canvas: &mut Canvas) {
        let (colour, dashes) = (colour(self.kind), dashes(self.kind));
        let (from, to, lane) = (self.from, self.to, self.lane);
        // Half the way is enough to round a corner where the way is short.
        let bend = 6.min((to.1 - from.1).abs() / 2);
        let turn = if to.1 < from.1 { -bend } else { bend };
        let _ = writeln!(
            canvas.body,
            "<path d=\"M{} {} H{} Q{lane} {} {lane} {} V{} Q{lane} {} {} {} H{}\" fill=\"none\" stroke=\"{colour}\" \
             stroke-width=\"1.5\"{dashes}/>",
            from.0,
            from.1,
            lane - bend,
            from.1,
            from.1 + turn,
            to.1 - turn,
            to.1,
            lane - bend,
            to.1,
            to.0 + 7,
        );
        let _ = writeln!(canvas.body, "<circle cx=\"{}\" cy=\"{}\" r=\"3\" fill=\"{colour}\"/>", from.0, from.1);
        let (x, y) = to;
        let _ =
            writeln!(canvas.body, "<path d=\"M{x} {y} L{} {} L{} {} Z\" fill=\"{colour}\"/>", x + 9, y - 5, x + 9, y + 5);
    }
}

impl Sheet {
    fn draw(&self, canvas: &mut Canvas) {
        let (fill, edge) = match self.kind {
            NoteKind::Episode => ("#fff8e1", "#c9a227"),
            NoteKind::Friction => ("#fdeeea", "#c0593f"),
            NoteKind::Segments => ("#eaf4ec", "#4c8c5a"),
        };
        let style = format!("fill=\"{fill}\" stroke=\"{edge}\"");
        canvas.rectangle((self.x, self.y, NOTE_WIDTH, self.height), 4, &style);
        let heading = self.kind.heading();
        canvas.text(self.x + INSET, self.y + 20, 13, INK, "font-weight=\"600\"", &self.name);
        let (x, anchor) = match self.kind {
            NoteKind::Episode | NoteKind::Friction => (self.x + NOTE_WIDTH - INSET, "text-anchor=\"end\""),
            NoteKind::Segments => (self.x + INSET, "font-weight=\"600\""),
        };
        canvas.text(x, self.y + 20, 12, FAINT, anchor, heading);
        for (number, line) in (0..).zip(&self.lines) {
            canvas.text(self.x + INSET, self.y + HEAD + 7 + number * LINE, 12, INK, "", line);
        }
    }
}

/// Which line means what; only the kinds that are there.
fn legend(layout: &Layout, canvas: &mut Canvas) {
    let mut x = MARGIN + 4;
    let y = layout.legend_y;
    let _ = writeln!(canvas.body, "<path d=\"M{x} {} H{}\" stroke=\"{FORWARD}\" stroke-width=\"2\"/>", y - 4, x + 24);
    canvas.text(x + 30, y, 12, FAINT, "", "forward");
    x += legend_width("forward");
    for kind in &layout.kinds {
        let _ = writeln!(
            canvas.body,
            "<path d=\"M{x} {} H{}\" stroke=\"{}\" stroke-width=\"1.5\"{}/>",
            y - 4,
            x + 24,
            colour(*kind),
            dashes(*kind)
        );
        canvas.text(x + 30, y, 12, FAINT, "", kind.meaning());
        x += legend_width(kind.meaning());
    }
}

/// What a line and its meaning take; all five fit below the narrowest picture.
fn legend_width(meaning: &str) -> i32 {
    30 + meaning.len() as i32 * (CHARACTER - 1) + 16
}

/// What has been drawn.
#[derive(Default)]
struct Canvas {
    body: String,
}

impl Canvas {
    /// `area` is x, y, width and height.
    fn rectangle(&mut self, area: (i32, i32, i32, i32), radius: i32, style: &str) {
        let (x, y, width, height) = area;
        let _ =
            writeln!(self.body, "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"{radius}\" {style}/>");
    }

    fn text(&mut self, x: i32, y: i32, size: i32, colour: &str, style: &str, text: &str) {
        let space = if style.is_empty() { "" } else { " " };
        let _ = writeln!(
            self.body,
            "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" fill=\"{colour}\"{space}{style}>{}</text>",
            escaped(text)
        );
    }

    fn arrow_down(&mut self, x: i32, from: i32, to: i32) {
        let _ = writeln!(self.body, "<path d=\"M{x} {from} V{}\" stroke=\"{FORWARD}\" stroke-width=\"2\"/>", to - 8);
        let _ = writeln!(
            self.body,
            "<path d=\"M{x} {to} L{} {} L{} {} Z\" fill=\"{FORWARD}\"/>",
            x - 6,
            to - 10,
            x + 6,
            to - 10
        );
    }

    fn finish(mut self, title: &str, width: i32, height: i32) -> String {
        self.text(MARGIN + 2, MARGIN + 16, 18, INK, "font-weight=\"600\"", title);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             style=\"max-width:100%;height:auto\" role=\"img\" font-family=\"system-ui, 'Segoe UI', Helvetica, Arial, \
             sans-serif\">\n<title>{}</title>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n{}</svg>\n",
            escaped(title),
            self.body
        )
    }
}

/// Breaks a text into lines of a width, between words where that is possible.
fn wrapped(text: &str, width: i32) -> Vec<String> {
    let most = (width / CHARACTER) as usize;
    let mut lines = Vec::new();
    let (mut line, mut taken) = (String::new(), 0);
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if taken > 0 && taken + 1 + columns(word) > most {
            lines.push(std::mem::take(&mut line));
            taken = 0;
        }
        if taken > 0 {
            line.push(' ');
            taken += 1;
        }
        for c in word.chars() {
            if taken + wide(c) > most {
                lines.push(std::mem::take(&mut line));
                taken = 0;
            }
            line.push(c);
            taken += wide(c);
        }
    }
    if taken > 0 {
        lines.push(line);
    }
    lines
}

fn columns(text: &str) -> usize {
    text.chars().map(wide).sum()
}

/// Characters of East Asian scripts and pictures are about twice as wide.
fn wide(c: char) -> usize {
    if c >= '\u{1100}' && !('\u{2000}'..='\u{2bff}').contains(&c) { 2 } else { 1 }
}

/// Text of a model as character data; characters that XML does not know are left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c if c.is_control() => out.push(' '),
            '\u{fffe}' | '\u{ffff}' => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_within_what_is_too_long() {
        assert_eq!(wrapped("on page.viewed, product.viewed", 20 * CHARACTER), ["on page.viewed,", "product.viewed"]);
        assert_eq!(wrapped("abcdefgh", 3 * CHARACTER), ["abc", "def", "gh"]);
        assert_eq!(wrapped("見る a", 4 * CHARACTER), ["見る", "a"]);
        assert_eq!(wrapped(" \u{7}\n", 9), Vec::<String>::new());
    }
}
