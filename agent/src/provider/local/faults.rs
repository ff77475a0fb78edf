//! `HOMESTAK_LOCAL_FAULTS`: for tests, what is to go wrong, where and how often.
//!
//! `NODE:PHASE:ACTION[:TIMES]`, separated by commas. `NODE` is a node's name or its whole path. `PHASE` is one of
//! `provision`, `boot`, `host`, `configure`, `verify`, `destroy`. `ACTION` is `fail` (trying again helps), `fail-permanent`
//! (it does not), `delay=MILLISECONDS`, or `hang` (until it is cancelled). `TIMES` is how often, 1 if it is not said, or
//! `always`. Machines inherit the variable; how often an entry was met is kept in `faults.json` of the state folder of the
//! agent that meets it, so a restart does not begin anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use homestak_protocol::event::Phase;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::path::NodePath;
use tokio_util::sync::CancellationToken;

use crate::files::{read_if_there, write_whole};

/// The variable.
pub const FAULTS: &str = "HOMESTAK_LOCAL_FAULTS";

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Fail { retryable: bool },
    Delay(Duration),
    Hang,
}

#[derive(Debug, Clone)]
struct Entry {
    text: String,
    node: String,
    phase: Phase,
    deed: Deed,
    /// None for always.
    times: Option<u32>,
}

/// What is to go wrong.
#[derive(Debug, Default)]
pub struct FaultPlan {
    entries: Vec<Entry>,
    file: PathBuf,
    met: Mutex<BTreeMap<String, u32>>,
}

impl FaultPlan {
    /// Parses the variable's value, and reads in this state folder how much of it has been met already.
    pub fn parse(text: &str, state: &Path) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let entries = parts.map(entry).collect::<Result<Vec<_>, _>>()?;
        let file = state.join("faults.json");
        let met = if entries.is_empty() { None } else { read_if_there(&file).ok().flatten() };
        let met = met.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        Ok(Self { entries, file, met: Mutex::new(met) })
    }

    /// Goes wrong here, if that is the plan.
    pub async fn meet(&self, path: &NodePath, phase: Phase, cancel: &CancellationToken) -> Result<(), Fault> {
        for entry in self.entries.iter().filter(|entry| entry.phase == phase && entry.is_about(path)) {
            if !self.take(entry) {
                continue;
            }
            tracing::warn!(%path, %phase, fault = %entry.text, "a fault was asked for here");
            let cancelled = || Fault::new(Code::Cancelled, "cancelled").at(path);
            match entry.deed {
                Deed::Fail { retryable } => return Err(asked_for(entry, path, retryable)),
                Deed::Delay(time) => tokio::select! {
                    () = cancel.cancelled() => return Err(cancelled()),
                    () = tokio::time::sleep(time) => {}
                },
                Deed::Hang => {
                    cancel.cancelled().await;
                    return Err(cancelled());
                }
            }
        }
        Ok(())
    }

    /// Counts one of the entry's times, on disk before it is met. False where there are none left.
    fn take(&self, entry: &Entry) -> bool {
        let Some(times) = entry.times else { return true };
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        let count = met.entry(entry.text.clone()).or_default();
        if *count >= times {
            return false;
        }
        *count += 1;
        let text = serde_json::to_vec(&*met).unwrap_or_default();
        if let Err(error) = write_whole(&self.file, &text) {
            tracing::warn!(%error, "a fault cannot be counted; it may be met again after a restart");
        }
        true
    }
}

impl Entry {
    fn is_about(&self, path: &NodePath) -> bool {
        self.node == path.as_str() || self.node == path.name()
    }
}

fn asked_for(entry: &Entry, path: &NodePath, retryable: bool) -> Fault {
    let code = match (entry.phase, retryable) {
        (Phase::Provision, true) => Code::ProvisionTransient,
        (Phase::Provision, false) => Code::Provision,
        (Phase::Host, _) => Code::Host,
        (Phase::Configure, _) => Code::Configure,
        (Phase::Verify, _) => Code::Verify,
        (Phase::Destroy, _) => Code::Destroy,
        (Phase::Boot | Phase::Enrol | Phase::Forward, _) => Code::Boot,
    };
    let fault = Fault::new(code, format!("{} failed as {FAULTS} asks for", entry.phase));
    Fault { retryable, ..fault.hint(format!("take `{}` out of {FAULTS}", entry.text)).at(path) }
}

fn entry(text: &str) -> Result<Entry, String> {
    let bad = |why: &str| format!("`{text}`: {why}");
    let parts: Vec<&str> = text.split(':').collect();
    let (node, phase, deed, times) = match *parts.as_slice() {
        [node, phase, deed] => (node, phase, deed, "1"),
        [node, phase, deed, times] => (node, phase, deed, times),
        _ => return Err(bad("an entry is NODE:PHASE:ACTION[:TIMES]")),
    };
    let phases = [Phase::Provision, Phase::Boot, Phase::Host, Phase::Configure, Phase::Verify, Phase::Destroy];
    let phase = phases.into_iter().find(|known| known.as_str() == phase);
    let deed = match deed.split_once('=') {
        Some(("delay", time)) => time.parse().ok().map(|time| Deed::Delay(Duration::from_millis(time))),
        None if deed == "fail" => Some(Deed::Fail { retryable: true }),
        None if deed == "fail-permanent" => Some(Deed::Fail { retryable: false }),
        None if deed == "hang" => Some(Deed::Hang),
        _ => None,
    };
    let times = match times {
        "always" => None,
        number => Some(number.parse().map_err(|_| bad("TIMES is a number, or `always`"))?),
    };
    Ok(Entry {
        text: text.to_owned(),
        node: node.to_owned(),
        phase: phase.ok_or_else(|| bad("PHASE is provision, boot, host, configure, verify or destroy"))?,
        deed: deed.ok_or_else(|| bad("ACTION is fail, fail-permanent, delay=MILLISECONDS or hang"))?,
        times,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> NodePath {
        NodePath::parse(text).unwrap()
    }

    #[tokio::test]
    async fn a_fault_is_met_as_often_as_was_said_also_across_a_restart() {
        let state = tempfile::tempdir().unwrap();
        let text = "edge:provision:fail:2,local/m/a/edge:verify:fail-permanent:always";
        let (edge, other) = (path("local/m/a/edge"), path("local/m/b"));
        let cancel = CancellationToken::new();
        let plan = FaultPlan::parse(text, state.path()).unwrap();
        let fault = plan.meet(&edge, Phase::Provision, &cancel).await.unwrap_err();
        assert!(fault.retryable && fault.code == Code::ProvisionTransient);
        plan.meet(&other, Phase::Provision, &cancel).await.unwrap();
        plan.meet(&edge, Phase::Destroy, &cancel).await.unwrap();
        let plan = FaultPlan::parse(text, state.path()).unwrap();
        plan.meet(&edge, Phase::Provision, &cancel).await.unwrap_err();
        plan.meet(&edge, Phase::Provision, &cancel).await.unwrap();
        for _ in 0..3 {
            assert!(!plan.meet(&edge, Phase::Verify, &cancel).await.unwrap_err().retryable);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_takes_its_time_and_what_hangs_can_be_cancelled() {
        let state = tempfile::tempdir().unwrap();
        let plan = FaultPlan::parse("a:host:delay=5000, a:configure:hang", state.path()).unwrap();
        let cancel = CancellationToken::new();
        let began = tokio::time::Instant::now();
        plan.meet(&path("local/m/a"), Phase::Host, &cancel).await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(5));
        let later = cancel.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            later.cancel();
        });
        let fault = plan.meet(&path("local/m/a"), Phase::Configure, &cancel).await.unwrap_err();
        assert_eq!((fault.code, began.elapsed()), (Code::Cancelled, Duration::from_secs(65)));
    }

    #[test]
    fn a_plan_that_makes_no_sense_is_refused() {
        for bad in
            ["edge", "edge:provision", "edge:forward:fail", "edge:boot:explode", "edge:boot:fail:many", "a:boot:delay"]
        {
            assert!(FaultPlan::parse(bad, Path::new("/nowhere")).is_err(), "{bad}");
        }
    }
}
