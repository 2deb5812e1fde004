//! Faults in what people write (models, configuration), each with its place, its cause and the next action.
//!
//! Knows nothing of YAML or of what the codes mean to a model; it holds places, collects diagnostics and renders them as
//! text. Whoever reads a file reports every fault at once into [`Faults`].

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{Annotation, AnnotationKind, Level, Renderer, Snippet};

use crate::terminal::{HIDDEN, steers};

/// More diagnostics than this are counted, not kept: nobody reads them, and a file of a megabyte can hold many faults.
const MAX_KEPT: usize = 200;
/// Words taken from a file are shown up to this many characters.
const MAX_SHOWN_CHARS: usize = 48;
/// At most so many names are listed where a name is unknown.
const MAX_LISTED: usize = 12;
/// Lines are laid out for this width.
const WIDTH: usize = 120;
/// So much of a line, in bytes, is kept on each side of a fault; more is never shown.
const LINE_CONTEXT: usize = 400;

/// Every code with what it stands for; `Y` for how a file is written, `M` for models, `D` for what a new version of a model
/// does to running journeys, `S` for scenarios, `C` for configuration.
pub const CODES: &[(&str, &str)] = &[
    ("Y001", "the file is not YAML"),
    ("Y002", "the file is too large"),
    ("Y003", "nested too deeply"),
    ("Y004", "a feature of YAML that Sillage does not read"),
    ("Y005", "more than one document in a file"),
    ("Y006", "a key is there twice"),
    ("Y007", "a key that is not a plain name"),
    ("Y010", "unknown key"),
    ("Y011", "a key is missing"),
    ("Y012", "another shape was expected"),
    ("Y013", "a value that cannot be read"),
    ("Y014", "a value outside its bounds"),
    ("M001", "unknown version of the model language"),
    ("M002", "a name that is not allowed"),
    ("M003", "no stages"),
    ("M004", "too many of something"),
    ("M005", "a group that contains itself"),
    ("M006", "a group that nothing uses"),
    ("M007", "an empty list"),
    ("M008", "listed twice"),
    ("M009", "`any` beside other types"),
    ("M010", "a type that looks like a misspelt group"),
    ("M020", "unknown stage"),
    ("M021", "a stage in no phase"),
    ("M022", "a stage in two places of the phases"),
    ("M023", "phases in another order than the stages"),
    ("M030", "a stage that nothing enters"),
    ("M031", "back to the same or a later stage"),
    ("M032", "one type leads two ways from a stage"),
    ("M033", "a type that leads away from a stage also enters it or a later one"),
    ("M034", "the next journey would begin in no stage"),
    ("M035", "a setting without effect, because there is no absence to notice"),
    ("M036", "a very short recovery window"),
    ("M037", "a stage that ends the journey before others"),
    ("M038", "a setting that says nothing where the journey ends"),
    ("M039", "the journey would end or begin in the wrong kind of stage"),
    ("M040", "an episode that nothing completes"),
    ("M041", "`known by` in another order than ids, session, customer"),
    ("M042", "an envelope field taken for a property"),
    ("M043", "a type that does two things to the same episode"),
    ("M044", "`worth` does not name an amount"),
    ("M045", "`strict` without effect"),
    ("M046", "a name that means something else in conditions"),
    ("M047", "a span longer than the one that contains it"),
    ("M048", "a way into a stage that is never taken"),
    ("M049", "`joins` without the two ids"),
    ("M050", "a shared file that cannot be read"),
    ("M051", "shared files that import each other in a circle"),
    ("M052", "a name in two shared files"),
    ("M053", "a tally that does not say how it sums up"),
    ("M054", "a property that cannot be summed up so"),
    ("M055", "a property that nothing uses"),
    ("M056", "not a time zone"),
    ("M057", "money without a currency"),
    ("M058", "not a currency"),
    ("M059", "a property that is not declared"),
    ("M060", "unknown segment"),
    ("M061", "a segment that nobody can be in"),
    ("M062", "a segment for which something is missing"),
    ("M063", "customers in no segment"),
    ("M070", "a friction rule that looks for nothing, or for two things"),
    ("M071", "a setting of another kind of friction rule"),
    ("M072", "unknown friction rule"),
    ("M073", "a score made of scores"),
    ("M074", "a score that is never reached"),
    ("M075", "friction in an unknown episode"),
    ("M076", "a friction rule where types stand"),
    ("M077", "a dwelling that nothing ends"),
    ("M078", "friction that waits longer than its episode"),
    ("M079", "evidence that nothing counts"),
    ("M080", "a type in too many groups with conditions"),
    ("M081", "a type that looks misspelt"),
    ("M082", "more series of outcomes than dashboards can bear"),
    ("M083", "friction in an episode that is over"),
    ("M084", "a condition that leaves out what lacks a property"),
    ("M085", "an id that all episodes of a customer share"),
    ("M090", "a new name that nothing has"),
    ("M091", "renamed or removed, and still there"),
    ("M092", "both renamed and removed"),
    ("M100", "a condition that cannot be read"),
    ("M101", "unknown fact in a condition"),
    ("M102", "an operator or a function on values of the wrong type"),
    ("M103", "a condition that yields another type than is needed"),
    ("M104", "unknown function in a condition"),
    ("M105", "a condition that is too long or too deep"),
    ("M106", "not part of the language of conditions"),
    ("M107", "a number, duration or instant in a condition that cannot be read"),
    ("M108", "a condition that is always true or always false"),
    ("M110", "an intervention names something that is not there"),
    ("M111", "a hold-out that is no share of the customers"),
    ("M112", "an intervention that nothing asks for"),
    ("M113", "what is forwarded, and cannot be"),
    ("M114", "a longest wait of what does not wait"),
    ("D001", "a stage is gone, and journeys stand there"),
    ("D002", "an episode is gone, and some are open"),
    ("D003", "an id is gone by which episodes are known"),
    ("D004", "two things become one"),
    ("D005", "a version that does not go up"),
    ("D006", "another model"),
    ("S001", "a story's table with other columns"),
    ("S002", "a row with more or fewer cells than columns"),
    ("S003", "a time that cannot be read"),
    ("S004", "time goes back"),
    ("S005", "a story without a model"),
    ("S006", "a model that cannot be used"),
    ("S007", "a story without a title"),
    ("S008", "a word that is no `name=value`"),
    ("S009", "a value that cannot be read"),
    ("S010", "a type that looks like a misspelt one"),
    ("S011", "no story, or one without rows"),
    ("S012", "a block that is not closed"),
    ("S013", "given twice"),
    ("S014", "a touchpoint that happens after it comes in"),
    ("C001", "no model"),
    ("C002", "both Kafka and the embedded log"),
    ("C003", "no `start`"),
    ("C004", "unknown environment variable"),
    ("C005", "a property that Sillage sets itself"),
    ("C006", "TLS on a build without it"),
    ("C007", "not a broker address"),
    ("C008", "not a topic name"),
    ("C009", "listed twice"),
    ("C010", "an input that is also an output"),
    ("C011", "not an address to listen on"),
    ("C012", "a setting without effect"),
    ("C013", "limits that contradict each other"),
    ("C014", "a format that the log does not take"),
    ("C015", "a history of nothing cannot tell who has been away"),
    ("C016", "a value that cannot be taken from its file"),
    ("C017", "not a token"),
    ("C018", "open to others without a token"),
];

/// A text that people wrote: a file, or an environment variable.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// How to name it: the path as given, or `environment variable SILLAGE_…`.
    pub name: String,
    /// The text, without a byte order mark.
    pub text: String,
    /// Whether lines are numbered; an environment variable has none.
    has_lines: bool,
    /// The bytes that may be shown, in their order; `None`: all.
    open: Option<Vec<Range<usize>>>,
}

impl Source {
    /// A file by the name to show and its text.
    pub fn file(name: &str, text: &str) -> Arc<Self> {
        Source::lines(name, text, None)
    }

    /// A file of which only these bytes may be shown: the others may be secrets.
    pub fn guarded(name: &str, text: &str, open: Vec<Range<usize>>) -> Arc<Self> {
        Source::lines(name, text, Some(open))
    }

    fn lines(name: &str, text: &str, open: Option<Vec<Range<usize>>>) -> Arc<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Arc::new(Source { name: name.to_owned(), text: text.to_owned(), has_lines: true, open })
    }

    /// An environment variable; its text reads `NAME=value`.
    pub fn variable(name: &str, value: &str) -> Arc<Self> {
        Source::assignment(name, value, None)
    }

    /// An environment variable of which only the name may be shown.
    pub fn secret_variable(name: &str, value: &str) -> Arc<Self> {
        Source::assignment(name, value, Some(vec![0..name.len(), name.len()..name.len() + 1]))
    }

    fn assignment(name: &str, value: &str, open: Option<Vec<Range<usize>>>) -> Arc<Self> {
        let (shown, text) = (format!("environment variable {name}"), format!("{name}={value}"));
        Arc::new(Source { name: shown, text, has_lines: false, open })
    }

    /// A part of a line as it may be shown, and where the marked bytes are in it.
    fn shown(&self, part: Range<usize>, mark: Range<usize>) -> (Cow<'_, str>, Range<usize>) {
        let Some(open) = &self.open else {
            return (Cow::Borrowed(&self.text[part.clone()]), mark.start - part.start..mark.end - part.start);
        };
        // They are in their order: whatever the size of the file, one is found quickly.
        let is_shown =
            |at: usize| open.get(open.partition_point(|open| open.end <= at)).is_some_and(|open| open.contains(&at));
        let mut shown = String::new();
        let mut marked: Option<Range<usize>> = None;
        let mut hidden = None;
        for (at, c) in self.text[part.clone()].char_indices() {
            let at = part.start + at;
            let begin = match (is_shown(at), hidden) {
                (true, _) => {
                    hidden = None;
                    shown.push(c);
                    shown.len() - c.len_utf8()
                }
                (false, Some(begin)) => begin,
                (false, None) => {
                    let begin = shown.len();
                    shown.push_str(HIDDEN);
                    hidden = Some(begin);
                    begin
                }
            };
            if mark.is_empty() && mark.start == at {
                marked = Some(begin..begin);
            }
            if mark.contains(&at) {
                let end = shown.len();
                marked = Some(marked.map_or(begin..end, |marked| marked.start..end));
            }
        }
        let end = shown.len();
        (Cow::Owned(shown), marked.unwrap_or(end..end))
    }

    /// The place of some bytes of it.
    pub fn place(self: &Arc<Self>, span: Range<usize>) -> Place {
        Place { source: Arc::clone(self), span }
    }

    /// Line and column (in characters) of a byte offset, both from 1.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// Some bytes of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The text it lies in.
    pub source: Arc<Source>,
    /// Its bytes there.
    pub span: Range<usize>,
}

impl Place {
    /// `models/five-stages.yaml:12:3`, or the name of the environment variable.
    pub fn position(&self) -> String {
        let (line, column) = self.source.position(self.span.start);
        if self.source.has_lines { format!("{}:{line}:{column}", self.source.name) } else { self.source.name.clone() }
    }

    /// A word that was written here, between backticks; `…` where it may be a secret.
    pub fn quoted(&self, word: &str) -> String {
        if self.is_open() { quoted(word) } else { quoted(HIDDEN) }
    }

    /// Whether what stands here may be shown.
    pub fn is_open(&self) -> bool {
        let around = |open: &Range<usize>| open.start <= self.span.start && self.span.end <= open.end;
        self.source.open.as_ref().is_none_or(|open| open.iter().any(around))
    }

    /// The span within its first line and on character boundaries, so that it can be underlined.
    fn underlined(&self) -> Range<usize> {
        let text = &self.source.text;
        let start = text.floor_char_boundary(self.span.start);
        let line_end = text[start..].find(['\n', '\r']).map_or(text.len(), |at| start + at);
        start..text.ceil_char_boundary(self.span.end).clamp(start, line_end)
    }
}

/// A value with the place where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub place: Place,
}

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but hardly means what it says.
    Warning,
}

/// A fault in a model or a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// One of [`CODES`].
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub place: Place,
    /// What is wrong, in one sentence without a full stop.
    pub cause: String,
    /// What to do next, likewise.
    pub help: String,
    /// A second place that belongs to it, and what is there.
    pub see: Option<(Place, &'static str)>,
}

impl Diagnostic {
    /// A fault that makes the file unusable.
    pub fn error(code: &'static str, place: &Place, cause: impl Into<String>, help: impl Into<String>) -> Self {
        Diagnostic {
            code,
            severity: Severity::Error,
            place: place.clone(),
            cause: cause.into(),
            help: help.into(),
            see: None,
        }
    }

    /// A fault that the file can be used with.
    pub fn warning(code: &'static str, place: &Place, cause: impl Into<String>, help: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, place, cause, help) }
    }

    /// Points to a second place as well: `label` says what is there.
    pub fn see(mut self, place: &Place, label: &'static str) -> Self {
        self.see = Some((place.clone(), label));
        self
    }
}

/// All faults found so far, up to a limit.
#[derive(Debug, Default)]
pub struct Faults {
    kept: Vec<Diagnostic>,
    errors: usize,
}

impl Faults {
    /// Adds one. Beyond the limit it is dropped, but an error still counts as one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Error {
            self.errors += 1;
        }
        if self.kept.len() < MAX_KEPT {
            self.kept.push(diagnostic);
        }
    }

    /// Adds an error.
    pub fn error(&mut self, code: &'static str, place: &Place, cause: impl Into<String>, help: impl Into<String>) {
        self.push(Diagnostic::error(code, place, cause, help));
    }

    /// Adds a warning.
    pub fn warning(&mut self, code: &'static str, place: &Place, cause: impl Into<String>, help: impl Into<String>) {
        self.push(Diagnostic::warning(code, place, cause, help));
    }

    /// Whether there was no error; warnings are fine.
    pub fn usable(&self) -> bool {
        self.errors == 0
    }

    /// Hands the value out if there was no error, and the diagnostics in the order of their places in any case.
    pub fn settle<T>(mut self, value: Option<T>) -> (Option<T>, Vec<Diagnostic>) {
        let value = value.filter(|_| self.usable());
        // Variables come after the file, as they override it.
        self.kept.sort_by_key(|fault| (!fault.place.source.has_lines, fault.place.span.start));
        (value, self.kept)
    }
}

/// Whether the text is for people at a terminal or for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// No escape sequences.
    Plain,
    /// Colours by ANSI escape sequences.
    Coloured,
}

/// Writes diagnostics as text: position, source line, caret and help of each, with an empty line between them.
pub fn render(diagnostics: &[Diagnostic], style: Style) -> String {
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Coloured => Renderer::styled(),
    };
    let renderer = renderer.term_width(WIDTH).decor_style(DecorStyle::Ascii);
    let texts: Vec<String> = diagnostics.iter().map(|diagnostic| render_one(diagnostic, &renderer)).collect();
    texts.join("\n\n") + if texts.is_empty() { "" } else { "\n" }
}

/// `2 errors, 1 warning`.
pub fn summary(diagnostics: &[Diagnostic]) -> String {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
    let count = |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
    match (errors, diagnostics.len() - errors) {
        (errors, 0) => count(errors, "error"),
        (0, warnings) => count(warnings, "warning"),
        (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    }
}

fn render_one(diagnostic: &Diagnostic, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group =
        level.primary_title(diagnostic.cause.as_str()).id(diagnostic.code).element(annotated(&diagnostic.place, None));
    if let Some((place, label)) = &diagnostic.see {
        group = group.element(annotated(place, Some(label)));
    }
    renderer.render(&[group.element(Level::HELP.message(diagnostic.help.as_str()))])
}

/// One place with its line. Only that line is handed over, cut to what can be shown: rendering stays quick however large
/// the file is.
fn annotated<'a>(place: &'a Place, label: Option<&'a str>) -> Snippet<'a, Annotation<'a>> {
    let text = &place.source.text;
    let span = place.underlined();
    let line_start = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = text[span.start..].find(['\n', '\r']).map_or(text.len(), |at| span.start + at);
    let start = text.ceil_char_boundary(span.start.saturating_sub(LINE_CONTEXT)).clamp(line_start, span.start);
    let end = text.floor_char_boundary(span.start + LINE_CONTEXT).clamp(span.start, line_end);
    let (shown, inside) = place.source.shown(start..end, span.start..span.end.min(end));
    let kind = if label.is_some() { AnnotationKind::Context } else { AnnotationKind::Primary };
    Snippet::source(shown)
        .line_start(place.source.position(span.start).0)
        .line_numbering(place.source.has_lines)
        .path(place.source.name.as_str())
        .annotation(kind.span(inside).label(label))
}

/// A word from a file between backticks: without control characters, and not too long.
pub fn quoted(word: &str) -> String {
    let shown: String = word.chars().take(MAX_SHOWN_CHARS).map(|c| if steers(c) { ' ' } else { c }).collect();
    let more = if word.chars().nth(MAX_SHOWN_CHARS).is_some() { "…" } else { "" };
    format!("`{shown}{more}`")
}

/// Several names as a list: `` `a`, `b` and 3 more ``.
pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let all: Vec<&str> = names.into_iter().collect();
    let shown: Vec<String> = all.iter().take(MAX_LISTED).map(|name| quoted(name)).collect();
    let more = all.len() - shown.len();
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

/// The known name that is nearest to an unknown one, if any is near enough to have been meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Long names are not compared: the time taken grows with the product of the lengths.
    if name.len() > 80 {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace(['_', '-', ' ', '.'], "");
    let wanted = plain(name);
    let allowed = 1 + wanted.chars().count() / 4;
    known
        .into_iter()
        .filter(|candidate| candidate.len() <= 80)
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| {
            *distance <= allowed && *distance < candidate.chars().count().min(name.chars().count())
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The next action where a name is unknown: the nearest known one, else all of them.
pub fn did_you_mean(name: &str, known: &[&str], all: &str) -> String {
    match nearest(name, known.iter().copied()) {
        Some(candidate) => format!("did you mean {}?", quoted(candidate)),
        None => format!("{all}: {}", listed(known.iter().copied())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_by_what_was_meant() {
        let known = ["known by", "abandoned after", "recovered within", "opens"];
        for (written, meant) in [
            ("known_by", Some("known by")),
            ("abandoned", None),
            ("abandond after", Some("abandoned after")),
            ("RecoveredWithin", Some("recovered within")),
            ("open", Some("opens")),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }

    #[test]
    fn places_are_told_in_lines_and_characters() {
        let source = Source::file("a.yaml", "\u{feff}a: é b\nccc: d\n");
        assert_eq!(source.position(source.text.find('b').expect("there")), (1, 6));
        assert_eq!(source.place(13..14).position(), "a.yaml:2:6");
        assert_eq!(source.position(9_999), (3, 1));
        assert_eq!(Source::variable("SILLAGE_X", "1").place(0..1).position(), "environment variable SILLAGE_X");
    }

    #[test]
    fn rendering_shows_the_line_the_caret_and_the_help() {
        let source = Source::file("m.yaml", "stages:\n  quiet: 7\n");
        let fault = Diagnostic::error("Y013", &source.place(17..18), "`quiet` is not a duration", "write 7d");
        let text = render(&[fault], Style::Plain);
        assert_eq!(
            text,
            "error[Y013]: `quiet` is not a duration\n --> m.yaml:2:10\n  |\n2 |   quiet: 7\n  |          ^\n  |\n  = help: write 7d\n"
        );
    }

    #[test]
    fn long_lines_odd_places_and_control_characters_are_shown_without_harm() {
        let source = Source::file("m.yaml", &format!("{}\u{1b}[31m€{}", "x".repeat(70_000), "y".repeat(70_000)));
        for span in [0..140_000, 70_006..70_007, 70_007..70_008, 139_999..200_000, 300_000..300_001] {
            let fault = Diagnostic::error("Y001", &source.place(span.clone()), quoted("a\u{1b}b"), "none")
                .see(&source.place(span), "here");
            let text = render(&[fault], Style::Plain);
            assert!(text.len() < 2_000 && !text.contains('\u{1b}'), "{text}");
        }
    }

    #[test]
    fn faults_beyond_the_limit_still_make_a_file_unusable() {
        let source = Source::file("m.yaml", "a");
        let mut faults = Faults::default();
        for _ in 0..MAX_KEPT {
            faults.warning("M006", &source.place(0..1), "w", "h");
        }
        assert!(faults.usable());
        faults.error("M003", &source.place(0..1), "e", "h");
        let (value, kept) = faults.settle(Some(1));
        assert_eq!((value, kept.len()), (None, MAX_KEPT));
    }
}
