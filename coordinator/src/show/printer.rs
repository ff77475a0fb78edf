//! The one type that decides what a terminal, a pipe or a file sees.
//!
//! Data goes to stdout; everything else goes to stderr: progress, notes, problems. With `--json`, stdout holds one document
//! and nothing else. A stdout that nobody reads any more is no error; one that cannot be written is.

use std::cell::{Cell, RefCell};
use std::io::{self, Write as _};

use homestak_coord::api::Refusal;
use serde::Serialize;

use super::diagnostic;
use super::live::{Live, Stream};
use super::style::Style;
use super::terminal::{self, Terminal};

/// Where output goes and how it looks.
#[derive(Debug)]
pub(crate) struct Printer {
    json: bool,
    quiet: bool,
    plain: bool,
    out: Terminal,
    err: Terminal,
    closed: Cell<bool>,
    broken: RefCell<Option<io::Error>>,
}

impl Printer {
    /// `plain` asks for lines that are never redrawn, as where log lines come between.
    pub(crate) fn new(json: bool, quiet: bool, plain: bool) -> Self {
        Self {
            json,
            quiet,
            plain,
            out: Terminal::stdout(),
            err: Terminal::stderr(),
            closed: Cell::new(false),
            broken: RefCell::new(None),
        }
    }

    /// Whether stdout holds one JSON document.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// What stdout can show.
    pub(crate) fn out_style(&self) -> Style {
        self.out.style
    }

    /// What stderr can show.
    pub(crate) fn err_style(&self) -> Style {
        self.err.style
    }

    /// The width of stdout, where it is a terminal.
    pub(crate) fn out_columns(&self) -> Option<usize> {
        self.out.is_terminal.then(|| terminal::size(io::stdout()).columns)
    }

    /// The width of stderr.
    pub(crate) fn err_columns(&self) -> usize {
        if self.err.is_terminal { terminal::size(io::stderr()).columns } else { usize::MAX }
    }

    /// Lines that are redrawn, where stderr is a terminal that can do so and is to show anything.
    pub(crate) fn live(&self) -> Option<Live> {
        (self.err.can_redraw && !self.quiet && !self.plain).then(|| Live::new(Stream::Err))
    }

    /// Data that is redrawn, where stdout is a terminal that can do so.
    pub(crate) fn out_live(&self) -> Option<Live> {
        (self.out.can_redraw && !self.plain && !self.json).then(|| Live::new(Stream::Out))
    }

    /// Whether people see stdout and stderr as one, so that what stands on one need not be repeated on the other.
    pub(crate) fn one_screen(&self) -> bool {
        self.out.is_terminal && self.err.is_terminal && !self.json
    }

    /// Data for people: to stdout. Nothing with `--json`.
    pub(crate) fn data(&self, lines: &[String]) {
        if !self.json {
            self.out(&joined(lines));
        }
    }

    /// Data as it is, without a line end of its own; with `--json` nothing.
    pub(crate) fn raw(&self, text: &str) {
        if !self.json {
            self.out(text);
        }
    }

    /// The document that `--json` asks for; without it nothing.
    pub(crate) fn document(&self, document: &impl Serialize) {
        if !self.json {
            return;
        }
        let text =
            if self.out.is_terminal { serde_json::to_string_pretty(document) } else { serde_json::to_string(document) };
        match text {
            Ok(text) => self.out(&(text + "\n")),
            Err(error) => *self.broken.borrow_mut() = Some(error.into()),
        }
    }

    /// What is good to know: to stderr, unless it is to be quiet.
    pub(crate) fn note(&self, lines: &[String]) {
        if !self.quiet {
            err(&joined(lines));
        }
    }

    /// What was wrong: to stderr, always.
    pub(crate) fn problem(&self, refusal: &Refusal) {
        self.complain(&diagnostic::refusal(refusal, self.err_columns(), self.err_style()));
    }

    /// The same, of lines that are made already.
    pub(crate) fn complain(&self, lines: &[String]) {
        err(&joined(lines));
    }

    /// A question: to stderr, the cursor left behind it.
    pub(crate) fn question(&self, lines: &[String]) {
        err(lines.join("\n").as_str());
    }

    /// Whether nobody reads stdout any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Why stdout could not be written, if it could not.
    pub(crate) fn broken(&self) -> Option<io::Error> {
        self.broken.borrow_mut().take()
    }

    fn out(&self, text: &str) {
        if self.closed.get() {
            return;
        }
        let mut stdout = io::stdout().lock();
        if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            self.closed.set(true);
            if error.kind() != io::ErrorKind::BrokenPipe {
                *self.broken.borrow_mut() = Some(error);
            }
        }
    }
}

fn joined(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

/// Nowhere is left to say that stderr cannot be written.
fn err(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
