//! What is wrong with one expression, by the bytes of its text; and where these bytes lie in the file.

use std::ops::Range;

use crate::diagnostic::{Diagnostic, Faults, Place, Severity, Spanned};

/// More errors of one expression are not told, nor more warnings: nobody reads them, and looking for what was meant takes
/// time. Each has a limit of its own: an error that gave way to warnings would leave a faulty line without one.
const MAX_TOLD: usize = 8;

/// A fault at some bytes of an expression.
struct Fault {
    code: &'static str,
    severity: Severity,
    span: Range<usize>,
    cause: String,
    help: String,
    see: Option<(Range<usize>, &'static str)>,
}

/// The faults of one expression.
#[derive(Default)]
pub(super) struct Told {
    faults: Vec<Fault>,
}

impl Told {
    pub(super) fn error(
        &mut self,
        code: &'static str,
        at: &Range<usize>,
        cause: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(code, Severity::Error, at, cause.into(), help.into(), None);
    }

    pub(super) fn error_beside(
        &mut self,
        code: &'static str,
        at: &Range<usize>,
        cause: impl Into<String>,
        help: impl Into<String>,
        see: (Range<usize>, &'static str),
    ) {
        self.push(code, Severity::Error, at, cause.into(), help.into(), Some(see));
    }

    pub(super) fn warning(
        &mut self,
        code: &'static str,
        at: &Range<usize>,
        cause: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(code, Severity::Warning, at, cause.into(), help.into(), None);
    }

    fn push(
        &mut self,
        code: &'static str,
        severity: Severity,
        at: &Range<usize>,
        cause: String,
        help: String,
        see: Option<(Range<usize>, &'static str)>,
    ) {
        if self.number(severity) < MAX_TOLD {
            self.faults.push(Fault { code, severity, span: at.clone(), cause, help, see });
        }
    }

    fn number(&self, severity: Severity) -> usize {
        self.faults.iter().filter(|fault| fault.severity == severity).count()
    }

    /// Whether no more errors will be told.
    pub(super) fn full(&self) -> bool {
        self.number(Severity::Error) >= MAX_TOLD
    }

    pub(super) fn is_usable(&self) -> bool {
        self.faults.iter().all(|fault| fault.severity == Severity::Warning)
    }

    /// Whether a fault of this code lies within some bytes.
    pub(super) fn tells(&self, code: &str, within: &Range<usize>) -> bool {
        self.faults
            .iter()
            .any(|fault| fault.code == code && within.start <= fault.span.start && fault.span.end <= within.end)
    }

    /// Hands the faults over, each at its place in the file.
    pub(super) fn hand_over(self, text: &Spanned<String>, faults: &mut Faults) {
        if self.faults.is_empty() {
            return;
        }
        let offsets = offsets(text);
        let place = |span: &Range<usize>| match &offsets {
            Some(offsets) => text.place.source.place(offsets[span.start]..offsets[span.end]),
            None => text.place.clone(),
        };
        for fault in self.faults {
            let at: Place = place(&fault.span);
            let mut told = Diagnostic::error(fault.code, &at, fault.cause, fault.help);
            told.severity = fault.severity;
            if let Some((span, label)) = fault.see {
                told = told.see(&place(&span), label);
            }
            faults.push(told);
        }
    }
}

/// Where each byte of the text lies in its source, and the end; `None` where the file writes it in another way than plainly
/// or in quotes with the usual escapes (a folded block, say).
fn offsets(text: &Spanned<String>) -> Option<Vec<usize>> {
    let Range { start, end } = text.place.span;
    let written = text.place.source.text.get(start..end)?;
    let value = text.value.as_str();
    if written == value {
        return Some((start..=end).collect());
    }
    let quote = written.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inner = written.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut offsets = Vec::with_capacity(value.len() + 1);
    let (mut at, mut rest) = (start + 1, inner);
    for c in value.chars() {
        let escaped = match quote {
            '\'' => rest.starts_with("''"),
            _ => rest.starts_with('\\'),
        };
        offsets.extend((0..c.len_utf8()).map(|byte| at + byte));
        if escaped {
            rest = &rest[1..];
            at += 1;
            if !matches!(c, '\'' | '"' | '\\' | '/') {
                return None;
            }
        }
        rest = rest.strip_prefix(c)?;
        at += c.len_utf8();
    }
    offsets.push(at);
    rest.is_empty().then_some(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;

    #[test]
    fn bytes_are_found_in_plain_and_quoted_scalars() {
        let found = |written: &str, value: &str| {
            let source = Source::file("m.yaml", &format!("k: {written}\n"));
            let place = source.place(3..3 + written.len());
            let offsets = offsets(&Spanned { value: value.to_owned(), place })?;
            Some(offsets.iter().map(|at| at - 3).collect::<Vec<_>>())
        };
        assert_eq!(found("a>b", "a>b"), Some(vec![0, 1, 2, 3]));
        assert_eq!(found("'a>b'", "a>b"), Some(vec![1, 2, 3, 4]));
        assert_eq!(found("'a''b'", "a'b"), Some(vec![1, 2, 4, 5]));
        assert_eq!(found(r#""a\"b""#, "a\"b"), Some(vec![1, 2, 4, 5]));
        assert_eq!(found(r#""é\\b""#, "é\\b"), Some(vec![1, 2, 3, 5, 6]));
        assert_eq!(found(r#""a\x41""#, "aA"), None);
        assert_eq!(found("a\n   b", "a b"), None);
        assert_eq!(found("'", "'"), Some(vec![0, 1]));
    }
}
