//! Collecting the problems of one file.

use std::borrow::Cow;

use super::excerpt::Cutter;
use super::{Code, Diagnostic, Severity, Span};
use crate::suggest;

/// The most problems that one file is told about: more than anyone reads, and small enough that a hostile file of nothing
/// but mistakes costs little. The last one says how many are left out.
pub const MAX_DIAGNOSTICS: usize = 1_000;

/// The most comparisons of names that are spent on suggestions for one file: a few milliseconds. A file of thousands of
/// wrong names among thousands of right ones gets suggestions for the first of them.
const MAX_COMPARISONS: usize = 20_000;

/// The longest text of the user's own that is repeated in a message.
const MAX_QUOTE: usize = 80;

/// A file that is read, by name and text.
#[derive(Debug, Clone, Copy)]
pub struct Source<'t> {
    file: &'t str,
    text: &'t str,
    secret: bool,
}

impl<'t> Source<'t> {
    /// A file whose lines and values may be shown.
    pub fn new(file: &'t str, text: &'t str) -> Self {
        Self { file, text, secret: false }
    }

    /// A file that holds secrets: neither its lines nor its values appear in what is said about it.
    pub fn secret(file: &'t str, text: &'t str) -> Self {
        Self { file, text, secret: true }
    }

    /// The name under which it is reported.
    pub fn file(&self) -> &'t str {
        self.file
    }

    /// What it holds.
    pub fn text(&self) -> &'t str {
        self.text
    }
}

/// A problem that was just reported, to which a hint can be added.
#[derive(Debug)]
pub struct Problem {
    code: &'static str,
    severity: Severity,
    span: Span,
    message: String,
    hint: Option<String>,
}

impl Problem {
    /// Says what to do about it.
    pub fn hint(&mut self, hint: impl Into<String>) {
        self.hint = Some(hint.into());
    }
}

/// All that is wrong with one file, as far as it is known by now.
#[derive(Debug)]
pub struct Report<'t> {
    source: Source<'t>,
    problems: Vec<Problem>,
    errors: usize,
    comparisons_left: usize,
}

impl<'t> Report<'t> {
    /// Nothing is wrong yet.
    pub fn new(source: Source<'t>) -> Self {
        Self { source, problems: Vec::new(), errors: 0, comparisons_left: MAX_COMPARISONS }
    }

    /// The file.
    pub fn source(&self) -> Source<'t> {
        self.source
    }

    /// Refuses the file for something at `span`.
    pub fn error(&mut self, code: impl Into<&'static str>, span: Span, message: impl Into<String>) -> &mut Problem {
        self.errors += 1;
        self.push(code.into(), Severity::Error, span, message.into())
    }

    /// Warns about something at `span`.
    pub fn warning(&mut self, code: impl Into<&'static str>, span: Span, message: impl Into<String>) -> &mut Problem {
        self.push(code.into(), Severity::Warning, span, message.into())
    }

    /// Refuses the file for the name `found` at `span`, which is none of `candidates`; the hint proposes the nearest, or
    /// else says `otherwise`.
    pub fn unknown<'c>(
        &mut self,
        code: impl Into<&'static str>,
        span: Span,
        message: impl Into<String>,
        found: &str,
        candidates: impl IntoIterator<Item = &'c str>,
        otherwise: impl FnOnce() -> String,
    ) {
        let hint = match self.nearest(found, candidates) {
            Some(near) => format!("did you mean {near:?}?"),
            None => otherwise(),
        };
        self.error(code, span, message).hint(hint);
    }

    /// The candidate that `found` was probably meant to be.
    pub fn nearest<'c>(&mut self, found: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
        suggest::nearest(found, candidates, &mut self.comparisons_left)
    }

    /// A value of the file as messages repeat it: in quotes, escaped and cut; not at all where the file holds secrets.
    pub fn quote(&self, value: &str) -> Cow<'static, str> {
        if self.source.secret { Cow::Borrowed("the value given") } else { Cow::Owned(quote_key(value)) }
    }

    /// Whether the file is refused by now.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// How many errors there are by now: the same number before and after a check says that it passed.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Everything that is wrong, in the order of the file, at most [`MAX_DIAGNOSTICS`] and one that counts the rest.
    pub fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        self.problems.sort_by_key(|problem| (problem.span.line, problem.span.column));
        let left_out = self.problems.len().saturating_sub(MAX_DIAGNOSTICS);
        if left_out > 0 {
            self.limit(left_out);
        }
        let source = self.source;
        let mut cutter = (!source.secret).then(|| Cutter::new(source.text));
        let finish = |problem: Problem| Diagnostic {
            code: problem.code,
            severity: problem.severity,
            message: problem.message,
            file: source.file.to_owned(),
            line: problem.span.line,
            column: problem.span.column,
            hint: problem.hint,
            source: cutter.as_mut().map(|cutter| cutter.cut(problem.span)),
        };
        self.problems.into_iter().map(finish).collect()
    }

    fn push(&mut self, code: &'static str, severity: Severity, span: Span, message: String) -> &mut Problem {
        self.problems.push_mut(Problem { code, severity, span, message, hint: None })
    }

    /// Keeps the first problems and says how many are gone; as an error only if one of those is gone.
    fn limit(&mut self, left_out: usize) {
        let gone = self.problems.split_off(MAX_DIAGNOSTICS);
        let severity =
            if gone.iter().any(|p| p.severity == Severity::Error) { Severity::Error } else { Severity::Warning };
        let span = gone.first().map_or(Span::START, |problem| problem.span);
        self.push(Code::More.as_str(), severity, span, format!("{left_out} more problems are not shown"))
            .hint("mend those above first; many of these may have the same cause");
    }
}

/// A key or name of the file as messages repeat it: in quotes, escaped and cut.
pub(crate) fn quote_key(key: &str) -> String {
    match key.char_indices().nth(MAX_QUOTE) {
        Some((end, _)) => format!("\"{}…\"", key.get(..end).unwrap_or_default().escape_debug()),
        None => format!("{key:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32) -> Span {
        Span { line, column: 1, width: 1 }
    }

    #[test]
    fn problems_come_in_the_order_of_the_file() {
        let mut report = Report::new(Source::new("f", "a\nb\nc\n"));
        report.error(Code::Cycle, at(3), "third");
        report.warning(Code::PullOnPve, at(1), "first").hint("mend it");
        report.error(Code::Cycle, at(2), "second");
        let shown = report.into_diagnostics();
        let messages: Vec<&str> = shown.iter().map(|d| d.message.as_str()).collect();
        assert_eq!(messages, ["first", "second", "third"]);
        assert_eq!(shown[1].source.as_ref().unwrap().text, "b");
        assert_eq!(shown[0].hint.as_deref(), Some("mend it"));
    }

    #[test]
    fn a_file_of_nothing_but_mistakes_is_told_of_the_first_thousand_and_the_number() {
        let mut report = Report::new(Source::new("f", ""));
        for line in 1..=5_000 {
            report.error(Code::UnknownKey, at(line), "wrong");
        }
        let shown = report.into_diagnostics();
        assert_eq!(shown.len(), MAX_DIAGNOSTICS + 1);
        assert_eq!(shown[MAX_DIAGNOSTICS].message, "4000 more problems are not shown");
        assert!(shown[MAX_DIAGNOSTICS].is_error());
    }

    #[test]
    fn nothing_of_a_secret_file_is_shown() {
        let mut report = Report::new(Source::secret("secrets.yaml", "auth:\n  signing_key: hunter2\n"));
        let quoted = report.quote("hunter2");
        report.error(Code::WrongType, at(2), format!("{quoted} is no key"));
        let shown = report.into_diagnostics().remove(0);
        assert!(!format!("{shown}{shown:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_repeated_of_the_file_is_escaped_and_cut() {
        assert_eq!(quote_key("a\u{1b}\"b"), r#""a\u{1b}\"b""#);
        assert!(quote_key(&"é".repeat(1_000_000)).len() < 400);
    }
}
