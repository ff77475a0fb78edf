//! Following a run: what the daemon tells, and what Ctrl-C means.
//!
//! One task reads answers, signals and time. Cancelling takes a connection of its own, which a second task waits for; it
//! ends with the first. A daemon that goes away in mid-run is started again and asked to go on telling.

mod screen;

use homestak_coord::api::{Answer, Document, Exit, Refusal, Request};
use homestak_coord::client::{Answers, Client};
use homestak_coord::documents::{NodeDocument, RunSummary};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::RunId;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use self::screen::{FRAME, Screen};
use super::context::Context;
use super::signals::{self, Sign, Signals};

/// How often a daemon that goes away in mid-run is started again: more than a few times is no accident.
const ATTACH_AGAIN: u32 = 3;

/// How following ended.
#[derive(Debug)]
pub(super) enum End {
    /// The daemon has told everything.
    Done {
        /// The exit code that goes with it.
        exit: Exit,
        /// What it came to.
        document: Document,
        /// Whether Ctrl-C had cancelled the run.
        interrupted: bool,
    },
    /// The run was left to the daemon.
    Left(Left),
}

/// A run that was left to the daemon, as it was then.
#[derive(Debug)]
pub(super) struct Left {
    /// What it is.
    pub(super) summary: RunSummary,
    /// Its nodes in creation order.
    pub(super) nodes: Vec<NodeDocument>,
    /// How long it had been going on, in seconds.
    pub(super) seconds: f64,
}

/// Why there is no more to follow.
enum Broken {
    /// The daemon has said so.
    Refused(Refusal),
    /// The daemon went away.
    Lost(Refusal),
}

/// Asks for a run and follows it.
pub(super) async fn run(context: &Context, request: Request) -> Result<End, Refusal> {
    let mut signals = Signals::listen()?;
    let mut follower = Follower {
        context,
        screen: Screen::new(context),
        interrupts: 0,
        cancels: JoinSet::new(),
        goes_on: false,
        attached_again: 0,
    };
    let mut asked = request;
    loop {
        let answers = tokio::select! {
            answers = open(context, &asked) => answers?,
            () = leave(&mut signals) => return follower.leave(),
        };
        match follower.listen(answers, &mut signals).await {
            Ok(end) => return end,
            Err(Broken::Refused(refusal)) => return Err(refusal),
            Err(Broken::Lost(refusal)) => asked = follower.again(refusal)?,
        }
    }
}

async fn open(context: &Context, request: &Request) -> Result<Answers, Refusal> {
    Client::open(&context.settings).await?.ask(request).await
}

/// Until somebody wants to leave while there is nobody to talk to.
async fn leave(signals: &mut Signals) {
    while signals.next().await == Sign::Pause {
        signals::pause();
    }
}

struct Follower<'c> {
    context: &'c Context,
    screen: Screen<'c>,
    interrupts: u32,
    cancels: JoinSet<Result<(), Refusal>>,
    /// The run cannot be cancelled: there is nothing left to do but to leave it.
    goes_on: bool,
    attached_again: u32,
}

impl Follower<'_> {
    /// Takes answers until the last one, or until the run is left.
    async fn listen(&mut self, mut answers: Answers, signals: &mut Signals) -> Result<Result<End, Refusal>, Broken> {
        let mut frames = interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            // Reading an answer must not be given up in the middle of it, so one future lasts until there is one.
            let next = answers.next();
            tokio::pin!(next);
            let answer = loop {
                tokio::select! {
                    answer = &mut next => break answer.map_err(Broken::Lost)?,
                    sign = signals.next() => if self.sign(sign) { return Ok(self.leave()) },
                    Some(told) = self.cancels.join_next() => self.cancelled(told),
                    _ = frames.tick() => self.screen.beat(),
                }
            };
            match answer {
                Some(answer) => {
                    if let Some(end) = self.take(answer)? {
                        return Ok(Ok(end));
                    }
                }
                None => return Err(Broken::Lost(lost())),
            }
        }
    }

    /// What an answer changes; the last one ends it.
    fn take(&mut self, answer: Answer) -> Result<Option<End>, Broken> {
        match answer {
            Answer::Started(view) => {
                self.screen.started(view);
                if self.interrupts > 0 {
                    self.cancel();
                }
            }
            Answer::Node(node) => self.screen.node(*node),
            Answer::Progress { path, phase, text } => self.screen.progress(&path, phase, text),
            Answer::Log(line) if self.context.verbose > 0 => {
                self.screen.say(&[format!("{}  {}  {}", line.at, line.path, line.text)]);
            }
            Answer::Log(_) | Answer::Snapshot(_) => {}
            Answer::Note(text) => self.screen.say(&[format!("note: {text}")]),
            Answer::Done { exit, document } => {
                self.screen.close();
                return Ok(Some(End::Done { exit, document: *document, interrupted: self.interrupts > 0 }));
            }
            Answer::Refused(refusal) => {
                self.screen.close();
                return Err(Broken::Refused(refusal));
            }
        }
        Ok(None)
    }

    /// What a signal changes; says whether to leave.
    fn sign(&mut self, sign: Sign) -> bool {
        match sign {
            Sign::Pause => {
                self.screen.let_go();
                signals::pause();
                false
            }
            Sign::Leave => true,
            Sign::Interrupt if self.interrupts > 0 || self.goes_on => true,
            Sign::Interrupt => {
                self.interrupts += 1;
                self.cancel();
                false
            }
        }
    }

    /// Cancels the run, once it is known.
    fn cancel(&mut self) {
        let Some(run) = self.run() else { return };
        if self.screen.cancelling(true) {
            return;
        }
        let settings = self.context.settings.clone();
        self.cancels.spawn(async move {
            Client::open(&settings).await?.ask(&Request::Cancel { run }).await?.last().await.map(drop)
        });
    }

    /// Whether the daemon has taken the word.
    fn cancelled(&mut self, told: Result<Result<(), Refusal>, JoinError>) {
        let Ok(Err(refusal)) = told else { return };
        self.screen.cancelling(false);
        self.interrupts = 0;
        self.goes_on = true;
        self.screen.say(&[
            format!("the run could not be cancelled: {}", refusal.error.message),
            "it goes on; Ctrl-C again leaves it to the daemon".to_owned(),
        ]);
    }

    /// Leaves the run to the daemon.
    fn leave(&mut self) -> Result<End, Refusal> {
        self.screen.let_go();
        match self.screen.left() {
            Some(left) => Ok(End::Left(left)),
            None => Err(too_early()),
        }
    }

    /// After the connection was lost: what to ask the next daemon, or why not to.
    fn again(&mut self, refusal: Refusal) -> Result<Request, Refusal> {
        let Some(run) = self.run().filter(|_| self.attached_again < ATTACH_AGAIN) else {
            self.screen.close();
            return Err(refusal);
        };
        self.attached_again += 1;
        self.screen.say(&["the daemon went away; starting it again to go on following".to_owned()]);
        Ok(Request::Attach { run })
    }

    fn run(&self) -> Option<RunId> {
        self.screen.summary().map(|summary| summary.run)
    }
}

fn lost() -> Refusal {
    let fault = Fault::new(Code::Unreachable, "the daemon stopped answering before the run was over")
        .hint("the run goes on; `homestak-coord runs` lists it");
    Refusal::new(Exit::Unreachable, &fault)
}

fn too_early() -> Refusal {
    let fault = Fault::new(Code::Cancelled, "interrupted before the daemon had answered")
        .hint("`homestak-coord runs` shows whether a run has begun");
    Refusal::new(Exit::Interrupted, &fault)
}
