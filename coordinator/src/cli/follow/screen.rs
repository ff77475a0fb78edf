//! What is seen of a followed run: lines that are redrawn where that is possible, else a line for each change.

use std::time::Duration;

use homestak_coord::api::{LiveNode, RunView};
use homestak_coord::documents::RunSummary;
use homestak_protocol::event::Phase;
use homestak_protocol::path::NodePath;
use tokio::time::Instant;

use super::Left;
use crate::cli::context::Context;
use crate::show::live::Live;
use crate::show::progress::Progress;
use crate::show::{plain, tree};

/// How often lines are redrawn: often enough that what is at work looks like it, and no load.
pub(super) const FRAME: Duration = Duration::from_millis(100);

/// After how long without a line there is one that says that all is well.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// What is known, and how it is shown.
pub(super) struct Screen<'c> {
    context: &'c Context,
    began: Instant,
    progress: Option<Progress>,
    live: Option<Live>,
    last_line: Instant,
}

impl<'c> Screen<'c> {
    /// Nothing is known yet.
    pub(super) fn new(context: &'c Context) -> Self {
        let now = Instant::now();
        Self { context, began: now, progress: None, live: context.printer.live(), last_line: now }
    }

    /// The run is told from its beginning, for the first time or again.
    pub(super) fn started(&mut self, view: RunView) {
        let now = self.began.elapsed();
        match &mut self.progress {
            Some(progress) => progress.again(view, now),
            None => {
                let progress = Progress::new(view, now);
                let opening = plain::opening(&progress, self.context.printer.err_style());
                self.progress = Some(progress);
                if self.live.is_none() {
                    self.say(&[opening]);
                }
            }
        }
    }

    /// A node stands differently.
    pub(super) fn node(&mut self, node: LiveNode) {
        let now = self.began.elapsed();
        let Some(progress) = &mut self.progress else { return };
        let style = self.context.printer.err_style();
        let line = plain::change(progress, &node, now, style).filter(|_| self.live.is_none());
        progress.node(node, now);
        if let Some(line) = line {
            self.say(&[line]);
        }
    }

    /// Long work tells how far it has come.
    pub(super) fn progress(&mut self, path: &NodePath, phase: Phase, text: String) {
        let now = self.began.elapsed();
        if let Some(progress) = &mut self.progress {
            progress.tell(path, phase, text, now);
        }
    }

    /// The run was asked to stop, or could not be; says whether it had been asked before.
    pub(super) fn cancelling(&mut self, cancelling: bool) -> bool {
        let Some(progress) = &mut self.progress else { return false };
        let before = std::mem::replace(&mut progress.cancelling, cancelling);
        let run = progress.summary.run;
        if cancelling && !before && self.live.is_none() {
            self.say(&[format!("cancelling run {run}; Ctrl-C again leaves it to the daemon")]);
        }
        before
    }

    /// Time has passed.
    pub(super) fn beat(&mut self) {
        let Some(progress) = &self.progress else { return };
        let now = self.began.elapsed();
        if let Some(live) = &mut self.live {
            let style = self.context.printer.err_style();
            live.draw(|size| tree::lines(progress, now, size, style));
        } else if self.last_line.elapsed() >= HEARTBEAT {
            let line = plain::heartbeat(progress, now);
            self.say(&[line]);
        }
    }

    /// Lines that stay, above those that are redrawn.
    pub(super) fn say(&mut self, lines: &[String]) {
        self.last_line = Instant::now();
        match &mut self.live {
            Some(live) => {
                live.leave(lines);
                self.beat();
            }
            None => self.context.printer.note(lines),
        }
    }

    /// Takes the redrawn lines away where the result is shown in their place, else lets their last state stand.
    pub(super) fn close(&mut self) {
        if self.live.is_some() && !self.context.printer.one_screen() {
            self.beat();
        } else if let Some(live) = &mut self.live {
            live.leave(&[]);
        }
        self.live = None;
    }

    /// Lets the redrawn lines stand and gives the terminal back.
    pub(super) fn let_go(&mut self) {
        if let Some(live) = &mut self.live {
            live.let_go();
        }
    }

    /// What the run is, once that is known.
    pub(super) fn summary(&self) -> Option<&RunSummary> {
        self.progress.as_ref().map(|progress| &progress.summary)
    }

    /// The run as it stands when it is left.
    pub(super) fn left(&self) -> Option<Left> {
        let progress = self.progress.as_ref()?;
        let millis = progress.elapsed(self.began.elapsed()).as_millis();
        Some(Left {
            summary: progress.summary.clone(),
            nodes: progress.nodes().iter().map(|followed| followed.node.clone()).collect(),
            seconds: Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)).as_secs_f64(),
        })
    }
}
