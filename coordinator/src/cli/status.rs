//! `status`: how recorded trees stand, once or as it changes.

use homestak_coord::api::{Answer, Document, Exit, Refusal, Request};
use homestak_coord::client::Client;
use homestak_coord::documents::StatusDocument;

use super::Outcome;
use super::args::{Source, Status};
use super::context::{Context, beside_the_point};
use super::signals::{self, Sign, Signals};
use crate::show::live::Live;
use crate::show::style::cut;
use crate::show::trees;

/// Shows it.
pub(super) async fn run(context: &Context, given: &Status) -> Outcome {
    let request = Request::Status {
        manifest: given.manifest.as_deref().map(|word| Source::guess(word).read()).transpose()?,
        host: given.host.clone(),
        watch: given.watch,
    };
    if given.watch {
        return watch(context, &request).await;
    }
    match context.ask(&request).await? {
        (exit, Document::Status(status)) => {
            let printer = &context.printer;
            printer.document(&status);
            printer.data(&trees::lines(&status, printer.out_columns(), printer.out_style()));
            printer.note(&trees::next(&status, &context.commands, printer.err_columns(), printer.err_style()));
            Ok(exit)
        }
        _ => Err(beside_the_point()),
    }
}

/// Shows it again whenever it changes: in place on a terminal, one below the other elsewhere.
async fn watch(context: &Context, request: &Request) -> Outcome {
    let mut signals = Signals::listen()?;
    let mut answers = Client::open(&context.settings).await?.ask(request).await?;
    let mut window = Window { context, live: context.printer.out_live(), latest: None };
    loop {
        let next = answers.next();
        tokio::pin!(next);
        let answer = loop {
            tokio::select! {
                answer = &mut next => break answer?,
                sign = signals.next() => match sign {
                    Sign::Pause => window.pause(),
                    Sign::Interrupt | Sign::Leave => return Ok(Exit::Interrupted),
                },
            }
        };
        match answer {
            Some(Answer::Snapshot(status)) => window.show(status),
            Some(Answer::Done { exit, document }) => {
                if let Document::Status(status) = *document {
                    window.show(status);
                }
                return Ok(exit);
            }
            Some(Answer::Refused(refusal)) => return Err(refusal),
            Some(_) => {}
            None => return Err(ended()),
        }
        if context.printer.is_closed() {
            return Ok(Exit::Done);
        }
    }
}

struct Window<'c> {
    context: &'c Context,
    live: Option<Live>,
    latest: Option<StatusDocument>,
}

impl Window<'_> {
    fn show(&mut self, status: StatusDocument) {
        let printer = &self.context.printer;
        let style = printer.out_style();
        match &mut self.live {
            Some(live) => live.draw(|size| {
                let mut lines = trees::lines(&status, Some(size.columns), style);
                let room = size.rows.saturating_sub(2);
                if lines.len() > room {
                    let hidden = lines.len() - room;
                    lines.truncate(room);
                    lines.push(cut(&format!("{} {hidden} more lines", style.pick("…", "...")), size.columns, style));
                }
                lines
            }),
            None => {
                if self.latest.as_ref() != Some(&status) {
                    printer.data(&trees::lines(&status, printer.out_columns(), style));
                    printer.data(&[String::new()]);
                }
            }
        }
        self.latest = Some(status);
    }

    fn pause(&mut self) {
        if let Some(live) = &mut self.live {
            live.let_go();
        }
        signals::pause();
        if let (Some(status), true) = (self.latest.take(), self.live.is_some()) {
            self.show(status);
        }
    }
}

fn ended() -> Refusal {
    beside_the_point()
}
