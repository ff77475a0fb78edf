//! How problems look: what was wrong, where, the source line with the place marked, and what to do about it.

use homestak_coord::api::Refusal;
use homestak_coord::documents::{DiagnosticDocument, ErrorDocument};

use super::count;
use super::style::{Style, Tone, cut, one_line, printable, width, wrap};

/// The narrowest in which text is broken into lines.
const NARROWEST: usize = 24;

/// Everything that is to be said about a refusal.
pub(crate) fn refusal(refusal: &Refusal, columns: usize, style: Style) -> Vec<String> {
    let mut lines = Vec::new();
    for problem in &refusal.diagnostics {
        lines.extend(diagnostic(problem, columns, style));
        lines.push(String::new());
    }
    match refusal.diagnostics.iter().find(|problem| problem.code == refusal.error.code) {
        // The error repeats the first of them.
        Some(problem) => {
            let count = refusal.diagnostics.iter().filter(|problem| problem.severity == "error").count();
            lines.push(format!("{} cannot be used: {}", one_line(&problem.file), count::of(count, "error")));
        }
        None => lines.extend(error(&refusal.error, columns, style)),
    }
    lines
}

/// An error: its message, its node, its hint.
pub(crate) fn error(error: &ErrorDocument, columns: usize, style: Style) -> Vec<String> {
    let title = format!("error[{}]: ", error.code);
    let mut lines = titled(&title, Tone::Bad, &error.message, columns, style);
    if let Some(node) = &error.node {
        lines.push(format!("  {} {}", style.paint(Tone::Dim, "-->"), one_line(node)));
    }
    lines.extend(hint("  ", error.hint.as_deref(), columns, style));
    lines
}

/// A problem of a file.
pub(crate) fn diagnostic(problem: &DiagnosticDocument, columns: usize, style: Style) -> Vec<String> {
    let tone = if problem.severity == "warning" { Tone::Warn } else { Tone::Bad };
    let title = format!("{}[{}]: ", problem.severity, problem.code);
    let mut lines = titled(&title, tone, &problem.message, columns, style);
    let number = problem.line.to_string();
    let gutter = " ".repeat(number.len());
    let arrow = style.paint(Tone::Dim, "-->");
    lines.push(format!("{gutter}{arrow} {}:{}:{}", one_line(&problem.file), problem.line, problem.column));
    if let Some(source) = &problem.source {
        let bar = style.paint(Tone::Dim, "|");
        let (text, before, marked) =
            window(&source.text, source.before, source.width, columns, number.len() + 3, style);
        let text = text.trim_end();
        let marks = style.paint(tone, "^".repeat(marked));
        lines.push(format!("{gutter} {bar}"));
        lines.push(format!("{} {bar} {text}", style.paint(Tone::Dim, &number)).trim_end().to_owned());
        lines.push(format!("{gutter} {bar} {}{marks}", " ".repeat(before)));
    }
    lines.extend(hint(&format!("{gutter} "), problem.hint.as_deref(), columns, style));
    lines
}

/// The part of a line that a terminal has room for, so that the place stays in sight: its text, the columns before the
/// place and those of the place.
fn window(
    text: &str,
    before: usize,
    marked: usize,
    columns: usize,
    taken: usize,
    style: Style,
) -> (String, usize, usize) {
    let room = columns.saturating_sub(taken + 1).max(NARROWEST);
    let lead: String = text.chars().take(before).collect();
    let place: String = text.chars().skip(before).take(marked.max(1)).collect();
    let rest: String = text.chars().skip(before + marked.max(1)).collect();
    let mark = style.pick("…", "~");
    let shown_place = cut(&place, room / 2, style);
    let lead_room = room.saturating_sub(width(&shown_place)) / 2;
    let fits = width(text) <= room;
    let shown_lead = if fits || width(&lead) <= lead_room {
        lead
    } else {
        let mut kept: Vec<char> = Vec::new();
        let mut used = width(mark);
        for c in lead.chars().rev() {
            used += width(c.encode_utf8(&mut [0; 4]));
            if used > lead_room {
                break;
            }
            kept.push(c);
        }
        kept.iter().rev().fold(mark.to_owned(), |mut text, c| {
            text.push(*c);
            text
        })
    };
    let rest_room = room.saturating_sub(width(&shown_lead) + width(&shown_place));
    let shown_rest = if fits { rest } else { cut(&rest, rest_room, style) };
    let (lead_width, place_width) = (width(&shown_lead), width(&shown_place).max(1));
    (format!("{shown_lead}{shown_place}{shown_rest}"), lead_width, place_width)
}

/// A title and a message that goes on below itself.
fn titled(title: &str, tone: Tone, message: &str, columns: usize, style: Style) -> Vec<String> {
    let room = columns.saturating_sub(3).max(NARROWEST);
    let whole = format!("{title}{}", printable(message));
    let mut lines = wrap(&whole, room);
    for line in lines.iter_mut().skip(1) {
        line.insert_str(0, "  ");
    }
    if let Some(first) = lines.first_mut() {
        let head = title.trim_end();
        if let Some(rest) = first.strip_prefix(head) {
            *first = format!("{}{rest}", style.paint(tone, head));
        }
    }
    lines
}

/// The remedy.
fn hint(indent: &str, hint: Option<&str>, columns: usize, style: Style) -> Vec<String> {
    let Some(hint) = hint else { return Vec::new() };
    let room = columns.saturating_sub(indent.len() + 7).max(NARROWEST);
    let lines = wrap(&printable(hint), room);
    let line = |(index, line): (usize, String)| match index {
        0 => format!("{indent}{} {line}", style.paint(Tone::Strong, "hint:")),
        _ => format!("{indent}      {line}").trim_end().to_owned(),
    };
    lines.into_iter().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use homestak_coord::documents::ExcerptDocument;
    use insta::assert_snapshot;

    fn problem(text: &str, before: usize, width: usize) -> DiagnosticDocument {
        DiagnosticDocument {
            code: "E624".into(),
            severity: "error".into(),
            message: "node \"edge\" has a parent that is not in the manifest: \"root\"".into(),
            file: "/home/anna/n2.yaml".into(),
            line: 12,
            column: u32::try_from(before).unwrap() + 1,
            hint: Some("did you mean \"root-pve\"?".into()),
            source: Some(ExcerptDocument { text: text.into(), before, width }),
        }
    }

    #[test]
    fn a_problem_shows_what_where_and_the_remedy() {
        let plain = Style { colour: false, unicode: true };
        assert_snapshot!(diagnostic(&problem("    parent: root", 12, 4), 80, plain).join("\n"));
        assert_snapshot!(diagnostic(&problem("    parent: root", 12, 4), 40, plain).join("\n"));
    }

    #[test]
    fn the_place_in_a_long_line_stays_in_sight() {
        let plain = Style { colour: false, unicode: true };
        let text = format!("{}parent: root, {}", "x".repeat(60), "y".repeat(80));
        assert_snapshot!(diagnostic(&problem(&text, 68, 4), 40, plain).join("\n"));
        for columns in 30..200 {
            let lines = diagnostic(&problem(&text, 68, 4), columns, plain);
            let source: Vec<&String> = lines.iter().filter(|line| line.contains('|')).collect();
            assert!(source[1].contains("root") && source[2].contains("^^^^"));
            for line in source {
                assert!(width(line) < columns, "{columns}: {line}");
            }
        }
    }

    #[test]
    fn what_a_stranger_put_into_a_message_cannot_move_the_cursor() {
        let error = ErrorDocument {
            code: "E707".into(),
            message: "dpkg: \u{1b}[2J\u{7}broken".into(),
            hint: Some("look\u{1b}c".into()),
            node: Some("h/m/a".into()),
        };
        let shown = super::error(&error, 80, Style::default()).join("\n");
        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{7}'), "{shown:?}");
    }
}
