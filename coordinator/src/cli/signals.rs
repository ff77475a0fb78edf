//! The signals that reach a command while it follows something.

use homestak_coord::api::{Exit, Refusal};
use homestak_protocol::fault::{Code, Fault};
use rustix::process::{Signal as Number, getpid, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// Ctrl-C: stop what is going on.
    Interrupt,
    /// Whoever started this command wants it to end now.
    Leave,
    /// Ctrl-Z: the shell wants its terminal back for a while.
    Pause,
}

/// Listens for signals.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    pause: Signal,
}

impl Signals {
    /// From now on these signals are told and do nothing else.
    pub(super) fn listen() -> Result<Self, Refusal> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                let fault = Fault::new(Code::Internal, format!("signals cannot be listened for: {error}"))
                    .hint("use --detach, which needs none");
                Refusal::new(Exit::Failed, &fault)
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
            pause: listen(SignalKind::from_raw(Number::TSTP.as_raw()))?,
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Sign {
        tokio::select! {
            _ = self.interrupt.recv() => Sign::Interrupt,
            _ = self.terminate.recv() => Sign::Leave,
            _ = self.hangup.recv() => Sign::Leave,
            _ = self.pause.recv() => Sign::Pause,
        }
    }
}

/// Stops this process until the shell wakes it.
pub(super) fn pause() {
    // If the kernel refuses, the command simply goes on.
    let _ = kill_process(getpid(), Number::STOP);
}
