//! On a terminal: lines are redrawn in place, the cursor comes back, and questions can be answered.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};

use homestak_coord::api::{Document, Exit, Request, RunVerb};
use homestak_protocol::event::Action;
use insta::assert_snapshot;
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::daemon::{Daemon, PATIENCE};
use crate::program::Place;
use crate::tree;

/// How often something was written to a terminal: lets others wait for it.
#[derive(Default)]
struct Frames {
    count: Mutex<usize>,
    more: Condvar,
}

impl Frames {
    fn add(&self) {
        *self.count.lock().unwrap() += 1;
        self.more.notify_all();
    }

    /// Waits for two more: the second was drawn after this was called.
    fn wait(&self) {
        let count = self.count.lock().unwrap();
        let due = *count + 2;
        let (count, _) = self.more.wait_timeout_while(count, PATIENCE, |count| *count < due).unwrap();
        assert!(*count >= due, "nothing is redrawn");
    }
}

/// A terminal and what it shows.
struct Terminal {
    master: File,
    columns: u16,
    rows: u16,
    frames: Arc<Frames>,
}

impl Terminal {
    fn new(columns: u16, rows: u16) -> Self {
        Self::seen(columns, rows, Arc::default())
    }

    /// One whose frames are counted together with those of others.
    fn seen(columns: u16, rows: u16, frames: Arc<Frames>) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        Self { master: master.into(), columns, rows, frames }
    }

    /// Runs a command in it, gives it what is typed, and waits for its end: its exit code and everything that it wrote.
    fn run(&mut self, mut command: Command, typed: &str) -> (i32, String) {
        let name = ptsname(&self.master, Vec::new()).unwrap();
        let open = || OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        command.env("TERM", "xterm-256color");
        let mut child = command.stdin(open()).stdout(open()).stderr(open()).spawn().unwrap();
        drop(command);
        self.master.write_all(typed.as_bytes()).unwrap();
        // Reading fails when the last process has closed the terminal (EIO).
        let mut written = Vec::new();
        let mut part = [0; 4096];
        while let Ok(length @ 1..) = self.master.read(&mut part) {
            written.extend_from_slice(&part[..length]);
            self.frames.add();
        }
        (child.wait().unwrap().code().unwrap(), String::from_utf8(written).unwrap())
    }

    /// What stands on it in the end, and whether the cursor can be seen.
    fn screen(&self, written: &str) -> (String, bool) {
        let mut screen = Screen { lines: vec![Vec::new()], row: 0, column: 0, cursor: true };
        let mut rest = written.chars();
        while let Some(c) = rest.next() {
            match c {
                '\r' => screen.column = 0,
                '\n' => screen.down(),
                '\x1b' => {
                    assert_eq!(rest.next(), Some('['));
                    let parameters: String = rest.as_str().chars().take_while(|c| !c.is_ascii_alphabetic()).collect();
                    let last = rest.nth(parameters.len()).unwrap();
                    screen.control(&parameters, last);
                }
                c => screen.put(c, usize::from(self.columns)),
            }
        }
        assert!(screen.row < usize::from(self.rows) * 4, "more was drawn than a terminal scrolls in this test");
        let lines: Vec<String> = screen.lines.iter().map(|line| line.iter().collect::<String>()).collect();
        let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
        (lines.join("\n").trim_end().to_owned(), screen.cursor)
    }
}

/// As much of a terminal (ECMA-48) as is used.
struct Screen {
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
    cursor: bool,
}

impl Screen {
    fn down(&mut self) {
        self.row += 1;
        if self.row == self.lines.len() {
            self.lines.push(Vec::new());
        }
    }

    fn put(&mut self, c: char, columns: usize) {
        assert!(self.column < columns, "a line is too wide: {:?}", self.lines[self.row]);
        let line = &mut self.lines[self.row];
        line.resize(line.len().max(self.column + 1), ' ');
        line[self.column] = c;
        self.column += 1;
    }

    fn control(&mut self, parameters: &str, last: char) {
        match (parameters, last) {
            (rows, 'A') => self.row -= rows.parse::<usize>().unwrap(),
            ("", 'K') => self.lines[self.row].truncate(self.column),
            ("", 'J') => {
                self.lines.truncate(self.row + 1);
                self.lines[self.row].truncate(self.column);
            }
            ("?25", shown) => self.cursor = shown == 'h',
            (_, 'm') => {}
            other => panic!("{other:?} is not understood by every terminal"),
        }
    }
}

/// A daemon that tells of a run step by step, `between` which it waits.
fn daemon(place: &Place, between: impl Fn() + Send + Sync + 'static) -> Daemon {
    Daemon::new(place, move |request, peer| match request {
        Request::Run(verb, _) => {
            peer.say(&tree::started(verb));
            for step in tree::steps() {
                peer.say(&step);
                between();
            }
            peer.done(Exit::Done, Document::Run(tree::finished(verb)));
        }
        Request::Plan(verb, _) => peer.done(Exit::Done, Document::Plan(tree::plan(verb, Action::Destroyed, true))),
        other => panic!("{other:?}"),
    })
}

#[test]
fn a_run_is_redrawn_in_place_and_leaves_only_its_result() {
    let place = Place::new();
    let frames = Arc::<Frames>::default();
    let mut terminal = Terminal::seen(80, 24, frames.clone());
    let _daemon = daemon(&place, move || frames.wait());
    let (code, written) = terminal.run(place.command(&["apply", "n2-tiered"]), "");
    let (screen, cursor) = terminal.screen(&written);
    assert_eq!(code, 0);
    assert!(cursor, "the cursor must come back");
    // What is at work looks like it: two frames differ.
    let turns = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏".chars().filter(|turn| written.contains(*turn)).count();
    assert!(turns >= 2 && written.contains("running") && written.contains("\x1b[4A"), "{written:?}");
    assert_snapshot!("terminal_apply", screen);
}

#[test]
fn no_colour_is_written_where_none_is_wanted() {
    let place = Place::new();
    let _daemon = daemon(&place, || {});
    let mut command = place.command(&["apply", "n2-tiered"]);
    command.env("NO_COLOR", "1");
    let (_, written) = Terminal::new(80, 24).run(command, "");
    assert!(!written.contains("\x1b[3") && !written.contains("\x1b[1m"), "{written:?}");
    let (_, written) = Terminal::new(80, 24).run(place.command(&["apply", "n2-tiered"]), "");
    assert!(written.contains("\x1b[32m"), "{written:?}");
}

#[test]
fn a_tiny_terminal_is_never_written_past_its_edge() {
    let place = Place::new();
    let frames = Arc::<Frames>::default();
    let seen = frames.clone();
    let _daemon = daemon(&place, move || seen.wait());
    for (columns, rows) in [(40, 6), (20, 3)] {
        let mut terminal = Terminal::seen(columns, rows, frames.clone());
        let (code, written) = terminal.run(place.command(&["apply", "n2-tiered", "--json"]), "");
        let drawn = written.split("{\r\n").next().unwrap();
        assert!(terminal.screen(drawn).1 && code == 0, "{written:?}");
    }
}

#[test]
fn a_yes_at_the_terminal_destroys_and_anything_else_does_not() {
    let place = Place::new();
    let daemon = daemon(&place, || {});
    for (typed, code) in [("y\n", 0), ("\n", 1), ("\u{4}", 1)] {
        let mut terminal = Terminal::new(80, 24);
        let (got, written) = terminal.run(place.command(&["destroy", "n2-tiered"]), typed);
        assert_eq!(got, code, "{typed:?}: {written}");
        assert!(written.contains("Continue? [y/N]"), "{written}");
        let destroyed = daemon.rest().iter().any(|request| matches!(request, Request::Run(RunVerb::Destroy, _)));
        assert_eq!(destroyed, code == 0);
    }
}
