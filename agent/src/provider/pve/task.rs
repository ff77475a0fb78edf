//! Waiting: for a task of PVE, for a lock that somebody else has, for both with a cancellation and a limit.
//!
//! PVE tells nobody when a task ends, so it is asked: where the last tasks of its kind say when it may end, more and more
//! often towards that moment; else soon at first and then less and less often. What is lost by asking too late stays a small
//! part of what the task itself takes.

use std::time::Duration;

use homestak_node::crash::Side;
use homestak_node::world::Task;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::Vmid;
use tokio::time::{Instant, sleep};

use super::Host;
use super::api::{Api, CallError, Class, LINES, Upid};
use super::deed::Call;
use super::record::{Deed, Record, Records, Step};

/// How soon a task is asked for, and how seldom at most.
const SOONEST: Duration = Duration::from_millis(15);
const SELDOM: Duration = Duration::from_secs(1);
/// A task that has taken this long is asked for again after a part of it.
const PART: u32 = 16;
/// Where it is known about when it ends, after a smaller one from then on.
const NEAR: u32 = 40;
/// How often a task's log is read for what it says last.
const LOG_AGAIN: Duration = Duration::from_secs(2);
/// How long a lock of somebody else is waited for: PVE itself waits 10 s, a backup may take minutes.
pub(super) const PATIENCE: Duration = Duration::from_secs(150);
/// How long it is waited between two attempts, at first and at most.
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_MOST: Duration = Duration::from_secs(5);

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Undone {
    /// Nobody wants it any more.
    Cancelled,
    /// PVE says no.
    Call(CallError),
    /// What was begun could not be put on record.
    Storage(String),
    /// It must not be done.
    Refused(Box<Fault>),
}

impl From<CallError> for Undone {
    fn from(error: CallError) -> Self {
        Undone::Call(error)
    }
}

impl Undone {
    /// As it travels.
    pub(super) fn fault(self, phase: Code) -> Fault {
        match self {
            Undone::Cancelled => Fault::new(Code::Cancelled, "cancelled"),
            Undone::Call(error) => error.fault(phase),
            Undone::Refused(fault) => *fault,
            Undone::Storage(what) => Fault::new(Code::Storage, what)
                .hint("look at the space and the permissions of the agent's state folder"),
        }
    }
}

/// The guard against too many attempts: how long it has been tried, and how long to wait.
struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    fn of(patience: Duration) -> Self {
        Self { until: Instant::now() + patience, pause: AGAIN }
    }

    /// Waits before another attempt; false where there is to be none.
    async fn another(&mut self, task: &Task, error: &CallError) -> Result<bool, Undone> {
        if error.class != Class::Retryable || Instant::now() >= self.until {
            return Ok(false);
        }
        (task.progress)(format!("waiting: {error}"));
        tracing::debug!(%error, pause = ?self.pause, "trying again");
        pause(task, self.pause).await?;
        self.pause = (self.pause * 2).min(AGAIN_MOST);
        Ok(true)
    }
}

/// A task's log, as far as it was read.
#[derive(Default)]
struct Log {
    read: u64,
    last: String,
}

impl Log {
    /// What it says last, as far as that can be read.
    async fn last(&mut self, api: &Api, upid: &Upid) -> &str {
        while let Ok(lines) = api.task_log(upid, self.read).await {
            self.read = self.read.saturating_add(u64::try_from(lines.len()).unwrap_or(u64::MAX));
            let whole = lines.len() < LINES;
            if let Some(line) = lines.into_iter().rev().find(|line| !line.trim().is_empty()) {
                self.last = line;
            }
            if whole {
                break;
            }
        }
        &self.last
    }
}

/// Sleeps, unless nobody wants the result any more.
pub(super) async fn pause(task: &Task, time: Duration) -> Result<(), Undone> {
    tokio::select! {
        biased;
        () = task.cancel.cancelled() => Err(Undone::Cancelled),
        () = sleep(time) => Ok(()),
    }
}

impl Host {
    /// Asks for something that is about no guest, as often as that may help.
    pub(super) async fn patiently<T, F>(&self, task: &Task, mut ask: impl FnMut() -> F) -> Result<T, Undone>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let mut patience = Patience::of(self.patience);
        loop {
            let error = match ask().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            if !patience.another(task, &error).await? {
                return Err(error.into());
            }
        }
    }

    /// Does one thing to a guest, on record: the intent before the call, the task after it.
    pub(super) async fn perform(&self, record: &mut Record, call: Call<'_>, task: &Task) -> Result<(), Undone> {
        let mut patience = Patience::of(self.patience);
        let mut done = self.once(record, call, task).await;
        loop {
            let error = match done {
                // Whoever creates has to look whose the guest is, if there is one now.
                Err(Undone::Call(error)) if !(matches!(call, Call::Create(..)) && error.in_doubt) => error,
                other => return other,
            };
            if !patience.another(task, &error).await? {
                return Err(error.into());
            }
            // It may have begun all the same, and then its task is there.
            done = match self.settle(record, task).await {
                Ok(()) => self.once(record, call, task).await,
                Err(undone) => Err(undone),
            };
        }
    }

    /// Does it once.
    pub(super) async fn once(&self, record: &mut Record, call: Call<'_>, task: &Task) -> Result<(), Undone> {
        let Some(deed) = call.deed() else {
            self.send(record, call).await?;
            return Ok(());
        };
        let (_, around_task) = deed.points();
        record.step = Some(Step { deed, task: None });
        self.put(record)?;
        let Some(upid) = self.send(record, call).await? else { return Ok(()) };
        self.reach(around_task, Side::Before);
        self.wait(&upid, deed.as_str(), task).await?;
        self.reach(around_task, Side::After);
        // Not written: whoever finds the task finds that it has ended.
        record.step = None;
        Ok(())
    }

    /// Waits for a task to end, and fails if it ends badly.
    pub(super) async fn wait(&self, upid: &Upid, doing: &str, task: &Task) -> Result<(), Undone> {
        let begun = Instant::now();
        let (mut logged, mut log) = (begun, Log::default());
        loop {
            let status = match self.api.task(upid).await {
                // PVE keeps only the latest of its tasks; who waits for one that is forgotten has to look at the guest.
                Err(error) if error.class == Class::Gone => return Ok(()),
                other => other?,
            };
            match status.ended() {
                None => {}
                Some("OK") => {
                    self.limits.took(&upid.kind, begun.elapsed());
                    return Ok(());
                }
                Some(words) if words.starts_with("WARNINGS") => {
                    let line = log.last(&self.api, upid).await;
                    tracing::warn!(task = %upid, line, "PVE did it with warnings");
                    (task.progress)(format!("PVE task {} {} ended with a warning: {line}", upid.kind, upid.id));
                    return Ok(());
                }
                Some(words) => {
                    let line = log.last(&self.api, upid).await;
                    let what = format!("{doing} {} ({})", upid.id, upid.kind);
                    return Err(CallError::of_task(what, words, line.trim_start_matches("TASK ERROR: ")).into());
                }
            }
            let age = begun.elapsed();
            if logged.elapsed() >= LOG_AGAIN {
                logged = Instant::now();
                let line = log.last(&self.api, upid).await;
                (task.progress)(format!("PVE task {} {}, {} s: {line}", upid.kind, upid.id, age.as_secs()));
            }
            let next = match self.limits.pace(&upid.kind) {
                Some(pace) => ((pace * 9 / 10).saturating_sub(age) / 2).max(age / NEAR),
                None => age / PART,
            };
            pause(task, next.clamp(SOONEST, SELDOM)).await?;
        }
    }

    /// Waits for what was being done to a guest when it was last seen, by us or by one before us.
    pub(super) async fn settle(&self, record: &mut Record, task: &Task) -> Result<(), Undone> {
        match &record.step {
            None => return Ok(()),
            Some(Step { deed: Deed::Furnish, .. }) => self.unfurnish(record).await?,
            Some(Step { task: Some(upid), .. }) => self.outlast(upid, task).await?,
            Some(Step { deed: Deed::Create, task: None }) => self.begun(record.vmid, task).await?,
            Some(Step { task: None, .. }) => self.idle(&self.settings.node(), record.vmid.number(), task).await?,
        }
        record.step = None;
        Ok(())
    }

    /// Waits until whatever was begun with this id is over: PVE writes down an empty guest, which has no tag yet, before it
    /// begins the task that makes it.
    pub(super) async fn begun(&self, vmid: Vmid, task: &Task) -> Result<(), Undone> {
        let until = Instant::now() + self.patience;
        loop {
            self.idle(&self.settings.node(), vmid.number(), task).await?;
            let seen = self.seen().await?;
            let unfinished = seen.by_id(vmid).is_some_and(|guest| guest.lock.as_deref() == Some("create"));
            if !unfinished || Instant::now() >= until {
                return Ok(());
            }
            (task.progress)(format!("waiting for what PVE makes with the id {vmid}"));
            pause(task, AGAIN).await?;
        }
    }

    /// Waits until no task has this guest any more.
    pub(super) async fn idle(&self, node: &str, vmid: u32, task: &Task) -> Result<(), Undone> {
        for upid in self.api.running_tasks(node, vmid).await? {
            self.outlast(&upid, task).await?;
        }
        Ok(())
    }

    /// Waits for a task to end, well or not.
    async fn outlast(&self, upid: &Upid, task: &Task) -> Result<(), Undone> {
        match self.wait(upid, "running", task).await {
            Err(Undone::Call(error)) if error.class != Class::Permission && !error.in_doubt => {
                tracing::info!(%error, "a task that was found running has failed");
                Ok(())
            }
            other => other,
        }
    }

    /// Puts a record on disk.
    pub(super) fn put(&self, record: &Record) -> Result<(), Undone> {
        on_record(&self.records, record)
    }
}

/// Puts a record on disk.
pub(super) fn on_record(records: &Records, record: &Record) -> Result<(), Undone> {
    records.write(record).map_err(|error| {
        let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        Undone::Storage(format!("what is done to {} cannot be put on record: {error}: {why}", record.path))
    })
}
