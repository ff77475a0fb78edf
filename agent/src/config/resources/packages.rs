//! Packages: one apt transaction for all that are missing, after what an interrupted one left has been mended.

use std::fs::OpenOptions;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::fs::{FlockOperation, fcntl_lock};
use tokio::time::{Instant, sleep};

use super::dpkg::Packages as Installed;
use crate::config::command::{Command, Listener};
use crate::config::resource::{Difference, Differences, Resource, Step};
use crate::config::system::Target;
use crate::config::trouble::Trouble;

/// How long a transaction may take: a PVE host's is a gigabyte over a slow line.
const LIMIT: Duration = Duration::from_secs(3600);
/// How long to wait for another program that has apt's locks: as long as an unattended upgrade takes.
const LOCK_WAIT: Duration = Duration::from_secs(300);
/// Shortens or lengthens that wait, in whole seconds.
const LOCK_WAIT_ENV: &str = "HOMESTAK_APT_LOCK_WAIT";
/// How often to look. Nobody tells when a lock is free.
const LOCK_AGAIN: Duration = Duration::from_millis(500);
/// The locks that a transaction takes.
const LOCKS: [&str; 3] = ["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock"];
/// What says that the lists of what there is are missing or too old.
const OLD_LISTS: [&str; 4] = ["Unable to locate package", "has no installation candidate", "404", "was not found"];

/// Hands debconf a line for each argument.
const TELL: &str = "printf '%s\\n' \"$@\" | debconf-set-selections";

/// Packages that are to be there.
pub(crate) struct Packages(pub(crate) Vec<String>);

impl Packages {
    fn missing(&self, installed: &Installed) -> Vec<String> {
        self.0.iter().filter(|name| !installed.has(name)).cloned().collect()
    }

    /// Installs what is missing, after what an interrupted transaction left has been mended. Before either, what packages
    /// would ask is answered, a line each as debconf-set-selections(1) takes it.
    pub(crate) async fn install(&self, answers: &[String], target: &Target) -> Result<(), Trouble> {
        wait_for_locks(target).await?;
        if !answers.is_empty() {
            let tell = Command::new("sh").args(["-c", TELL, "debconf"]).args(answers);
            target.run(tell).await?.well()?;
        }
        let installed = Installed::read(target)?;
        if !installed.broken.is_empty() {
            (target.task.progress)("mending what an interrupted installation left".to_owned());
            let mended = target.run(dpkg(["--configure", "-a"])).await?.well();
            // What dpkg cannot bring to an end by itself may need what it depends on, or to be unpacked again.
            target.run(apt(["install", "--fix-broken"])).await?.well().or(mended)?;
        }
        let missing = self.missing(&Installed::read(target)?);
        if missing.is_empty() {
            return Ok(());
        }
        if !has_lists(target) {
            update(target).await?;
        }
        let install = || {
            let command = apt(["install", "--"]).args(&missing);
            command.listener(listener(target, missing.len()))
        };
        let done = target.run(install()).await?;
        if done.code != Some(0) && OLD_LISTS.iter().any(|sign| done.words.contains(sign)) {
            update(target).await?;
            target.run(install()).await?.well()?;
        } else {
            done.well()?;
        }
        Ok(())
    }
}

impl Resource for Packages {
    fn name(&self) -> String {
        "packages".to_owned()
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>> {
        Box::pin(async move {
            let installed = Installed::read(target)?;
            let (mut found, missing) = (Differences::default(), self.missing(&installed));
            if !missing.is_empty() {
                found.add(format!("lack {}", missing.join(", ")));
            }
            installed.broken.iter().for_each(|broken| found.add(broken.as_str()));
            Ok(found.whole())
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move { self.install(&[], target).await })
    }
}

/// Fetches the lists of what there is. A mirror that does not answer is an error, and not a warning.
pub(crate) async fn update(target: &Target) -> Result<(), Trouble> {
    (target.task.progress)("fetching apt's lists".to_owned());
    let command = Command::new("apt-get").args(["update", "-q", "-o", "APT::Update::Error-Mode=any"]);
    let command = quiet(command).args(["-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=15"]);
    target.run(command.limit(LIMIT)).await?.well().map(drop)
}

fn has_lists(target: &Target) -> bool {
    let lists = std::fs::read_dir(target.path("/var/lib/apt/lists"));
    lists.is_ok_and(|mut files| {
        files.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().contains("_Packages")))
    })
}

/// One transaction: nothing is asked, configuration files that somebody has changed stay as they are.
fn apt<const N: usize>(arguments: [&str; N]) -> Command {
    let command = Command::new("apt-get").args(["-y", "-q", "-o", "DPkg::Lock::Timeout=30"]);
    let command = command.args(["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]);
    let command = command.args(["-o", "Dpkg::Use-Pty=0", "-o", "Acquire::http::Timeout=15"]);
    quiet(command).args(arguments).limit(LIMIT)
}

fn dpkg<const N: usize>(arguments: [&str; N]) -> Command {
    quiet(Command::new("dpkg").args(["--force-confdef", "--force-confold"])).args(arguments).limit(LIMIT)
}

fn quiet(command: Command) -> Command {
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("DEBIAN_PRIORITY", "critical")
        .env("APT_LISTCHANGES_FRONTEND", "none")
        .env("NEEDRESTART_MODE", "a")
        .env("NEEDRESTART_SUSPEND", "1")
}

/// Tells what apt is at.
fn listener(target: &Target, count: usize) -> Listener {
    let (progress, done) = (target.task.progress.clone(), AtomicUsize::new(0));
    Arc::new(move |line: &str| {
        let said = |beginning: &str| line.strip_prefix(beginning).and_then(|rest| rest.split_whitespace().next());
        if let Some(name) = said("Setting up ") {
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            progress(format!("setting up {name} ({done} done, {count} asked for)"));
        } else if let Some(name) = said("Unpacking ") {
            progress(format!("unpacking {name}"));
        } else if line.starts_with("Get:") {
            let name = line.split_whitespace().rev().nth(3).unwrap_or_default();
            progress(format!("fetching {name}"));
        }
    })
}

/// Waits until no other program has apt's locks, and says so meanwhile.
async fn wait_for_locks(target: &Target) -> Result<(), Trouble> {
    let told = std::env::var(LOCK_WAIT_ENV).ok().and_then(|text| text.parse().ok());
    let limit = told.map_or(LOCK_WAIT, Duration::from_secs);
    let begun = Instant::now();
    while let Some(lock) = LOCKS.into_iter().find(|lock| is_held(target, lock)) {
        let waited = begun.elapsed();
        if waited >= limit {
            let what = format!("another program has had apt's lock {lock} for {} s", waited.as_secs());
            let hint = "wait until it has ended (`fuser` names it), then apply again";
            return Err(Trouble::Refused { what, hint: Some(hint) });
        }
        (target.task.progress)(format!("waiting for apt's lock, which another program has ({} s)", waited.as_secs()));
        tokio::select! {
            () = target.task.cancel.cancelled() => return Err(Trouble::Cancelled),
            () = sleep(LOCK_AGAIN) => {}
        }
    }
    Ok(())
}

/// Whether somebody else has this lock: taken for a moment, as apt takes it.
fn is_held(target: &Target, lock: &str) -> bool {
    let file = OpenOptions::new().write(true).open(target.path(lock));
    file.is_ok_and(|file| fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_err())
}
