//! `logs`: what happened in a run, and with `--follow` what happens.

use homestak_coord::api::{Answer, Document, Exit, Request};
use homestak_coord::client::Client;
use homestak_coord::documents::{LogLine, LogsDocument};

use super::Outcome;
use super::args::Logs;
use super::context::{Context, beside_the_point};
use super::signals::{self, Sign, Signals};
use crate::show::lists;

/// Shows lines as they come; with `--json` all of them in the end.
pub(super) async fn run(context: &Context, given: &Logs) -> Outcome {
    let mut signals = Signals::listen()?;
    let request = Request::Logs { run: given.run, node: given.node.clone(), follow: given.follow };
    let mut answers = Client::open(&context.settings).await?.ask(&request).await?;
    let mut lines: Vec<LogLine> = Vec::new();
    loop {
        let next = answers.next();
        tokio::pin!(next);
        let answer = loop {
            tokio::select! {
                answer = &mut next => break answer?,
                sign = signals.next() => match sign {
                    Sign::Pause => signals::pause(),
                    Sign::Interrupt | Sign::Leave => return Ok(Exit::Interrupted),
                },
            }
        };
        match answer {
            Some(Answer::Log(line)) if context.printer.json() => lines.push(line),
            Some(Answer::Log(line)) => context.printer.data(&[lists::log(&line, context.printer.out_style())]),
            Some(Answer::Done { exit, document }) => {
                let Document::Logs(logs) = *document else { return Err(beside_the_point()) };
                return Ok(end(context, exit, logs, lines));
            }
            Some(Answer::Refused(refusal)) => return Err(refusal),
            Some(_) => {}
            None => return Err(beside_the_point()),
        }
        if context.printer.is_closed() {
            return Ok(Exit::Done);
        }
    }
}

fn end(context: &Context, exit: Exit, mut logs: LogsDocument, before: Vec<LogLine>) -> Exit {
    let printer = &context.printer;
    printer.data(&logs.lines.iter().map(|line| lists::log(line, printer.out_style())).collect::<Vec<_>>());
    printer.note(&[lists::log_end(&logs.run, printer.err_style())]);
    logs.lines.splice(0..0, before);
    printer.document(&logs);
    exit
}
