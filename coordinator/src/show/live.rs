//! Lines at the end of a terminal that are redrawn in place.
//!
//! Each frame is one write: back to the first line, each line over the old one, the rest cleared. So nothing flickers and
//! nothing above is touched.

use std::io;

use super::style::width;
use super::terminal::{self, Size};

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
const CLEAR_LINE_END: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// Which stream the lines are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// The lines that are redrawn. Dropped, it shows the cursor again and leaves what it drew.
#[derive(Debug)]
pub(crate) struct Live {
    stream: Stream,
    drawn: Vec<usize>,
    hidden: bool,
}

impl Live {
    /// Nothing is drawn yet.
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, drawn: Vec::new(), hidden: false }
    }

    /// Draws these lines in place of those before. `lines` is asked with the size that the terminal has now.
    pub(crate) fn draw(&mut self, lines: impl FnOnce(Size) -> Vec<String>) {
        let size = self.stream.size();
        let lines = lines(size);
        let mut out = String::new();
        if !self.hidden {
            out.push_str(HIDE_CURSOR);
            self.hidden = true;
        }
        out.push_str(&frame(&self.drawn, &lines, size.columns));
        self.drawn = lines.iter().map(|line| visible(line)).collect();
        self.stream.write(&out);
    }

    /// Takes the lines away and puts others there for good, if any. Drawing goes on below them.
    pub(crate) fn leave(&mut self, lines: &[String]) {
        let columns = self.stream.size().columns;
        let mut out = frame(&self.drawn, lines, columns);
        self.drawn.clear();
        if std::mem::take(&mut self.hidden) {
            out.push_str(SHOW_CURSOR);
        }
        self.stream.write(&out);
    }

    /// Lets the lines stand and shows the cursor, as before the process is stopped; drawing starts anew below.
    pub(crate) fn let_go(&mut self) {
        self.drawn.clear();
        if std::mem::take(&mut self.hidden) {
            // The terminal has shown the key that was pressed, where the cursor is.
            self.stream.write(&format!("\r{CLEAR_LINE_END}{SHOW_CURSOR}"));
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// What takes the terminal from lines of these widths to other lines. A terminal that has become narrower has broken its
/// lines anew, so their widths say how many rows they take now.
fn frame(drawn: &[usize], lines: &[String], columns: usize) -> String {
    let rows: usize = drawn.iter().map(|width| width.saturating_sub(1) / columns.max(1) + 1).sum();
    let mut out = String::from("\r");
    if rows > 0 {
        out.push_str(&format!("\x1b[{rows}A"));
    }
    for line in lines {
        out.push_str(line);
        out.push_str(CLEAR_LINE_END);
        out.push('\n');
    }
    out.push_str(CLEAR_BELOW);
    out
}

/// How many columns a line takes, colours left out.
fn visible(line: &str) -> usize {
    let mut plain = String::new();
    let mut rest = line;
    while let Some((text, sequence)) = rest.split_once('\x1b') {
        plain.push_str(text);
        rest = sequence.split_once('m').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    width(&plain)
}

impl Stream {
    fn size(self) -> Size {
        match self {
            Stream::Out => terminal::size(io::stdout()),
            Stream::Err => terminal::size(io::stderr()),
        }
    }

    /// A terminal that has gone away is no reason to fail: the work goes on, and its result is told elsewhere.
    fn write(self, out: &str) {
        let write = |stream: &mut dyn io::Write| stream.write_all(out.as_bytes()).and_then(|()| stream.flush());
        let _ = match self {
            Stream::Out => write(&mut io::stdout().lock()),
            Stream::Err => write(&mut io::stderr().lock()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::style::{Style, Tone};

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_frame_goes_back_over_as_many_rows_as_the_last_one_takes_now() {
        assert_eq!(frame(&[], &lines(&["a", "b"]), 80), "\ra\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(frame(&[1, 1], &lines(&["c"]), 80), "\r\x1b[2Ac\x1b[K\n\x1b[J");
        assert_eq!(frame(&[0, 79, 80], &[], 40), "\r\x1b[5A\x1b[J");
    }

    #[test]
    fn colours_take_no_columns() {
        let style = Style { colour: true, unicode: true };
        assert_eq!(visible(&format!("a{}b", style.paint(Tone::Bad, "failed"))), 8);
    }
}
