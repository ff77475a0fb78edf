//! The provider `local` keeps its promises with real processes.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what unwraps wrongly here fails the test")]

mod yard;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use homestak_agent::provider::Provider;
use homestak_agent::provider::local::record::Record;
use homestak_node::process::ProcessMark;
use homestak_node::world::Found;
use homestak_protocol::fault::Code;
use homestak_protocol::ids::Incarnation;
use rustix::process::{Pid, Signal, kill_process};

use self::yard::{Yard, ask, identity, task, until, with_vmid};

/// Ends a process that a test has made, by its number.
fn signal(mark: &ProcessMark, signal: Signal) {
    assert!(mark.is_alive());
    kill_process(Pid::from_raw(mark.pid).unwrap(), signal).unwrap();
}

#[tokio::test]
async fn a_machine_is_made_once_found_as_it_is_and_gone_when_destroyed() {
    let top = tempfile::tempdir().unwrap();
    let yard = Yard::open(&top.path().join("state"));
    let made = yard.ensure(ask("local/m/edge")).await.unwrap();
    assert_eq!((made.found, made.vmid.unwrap().number()), (Found::Created, 100));
    let process = yard.settled("local/m/edge").await;
    assert_eq!(yard.process("local/m/edge"), process);

    let again = yard.ensure(ask("local/m/edge")).await.unwrap();
    assert_eq!((again.found, again.vmid, again.ip), (Found::Unchanged, made.vmid, made.ip));
    assert_eq!(yard.process("local/m/edge"), process, "it was not started again");
    let owned = yard.local.list_owned(task()).await.unwrap();
    assert!(owned.len() == 1 && owned[0].running && owned[0].ip == made.ip);

    let folder = yard.folder("local/m/edge");
    yard.destroy("local/m/edge").await;
    assert!(!process.is_alive() && !folder.exists());
    assert_eq!(fs::read_dir(yard.state.join("machines")).unwrap().count(), 0);
    yard.destroy("local/m/edge").await;
    yard.leave().await;
}

#[tokio::test]
async fn nothing_secret_is_where_others_can_see_it() {
    let top = tempfile::tempdir().unwrap();
    let yard = Yard::open(&top.path().join("state"));
    yard.ensure(ask("local/m/edge")).await.unwrap();
    let process = yard.settled("local/m/edge").await;
    for file in ["cmdline", "environ"] {
        let text = fs::read(format!("/proc/{}/{file}", process.pid)).unwrap();
        let text = String::from_utf8_lossy(&text);
        assert!(!text.contains("token-"), "{file}: {text}");
    }
    let mut folders = vec![yard.state.join("machines"), yard.state.join("images")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode & 0o077, 0, "{} has {mode:o}", entry.path().display());
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    let log = fs::read_to_string(yard.folder("local/m/edge").join("log")).unwrap();
    assert!(!log.contains("token-that-nobody"), "{log}");
    yard.destroy("local/m/edge").await;
    yard.leave().await;
}

#[tokio::test]
async fn after_a_power_cut_the_same_machine_runs_again() {
    let top = tempfile::tempdir().unwrap();
    let yard = Yard::open(&top.path().join("state"));
    yard.ensure(ask("local/m/edge")).await.unwrap();
    let mut before = yard.settled("local/m/edge").await;
    for _ in 0..2 {
        signal(&before, Signal::KILL);
        let now = until("it runs again", || {
            Some(yard.record("local/m/edge").process?).filter(|mark| *mark != before && mark.is_alive())
        })
        .await;
        yard.settled("local/m/edge").await;
        before = now;
    }
    yard.destroy("local/m/edge").await;
    assert!(!before.is_alive());
    yard.leave().await;
}

#[tokio::test]
async fn machines_outlive_their_maker_and_are_found_again() {
    let top = tempfile::tempdir().unwrap();
    let yard = Yard::open(&top.path().join("state"));
    for node in ["local/m/runs", "local/m/ends"] {
        yard.ensure(ask(node)).await.unwrap();
        yard.settled(node).await;
    }
    let (runs, ends) = (yard.process("local/m/runs"), yard.process("local/m/ends"));
    let state = yard.leave().await;
    assert!(runs.is_alive() && ends.is_alive());
    signal(&ends, Signal::KILL);
    until("it has ended", || (!ends.is_alive()).then_some(())).await;

    let yard = Yard::open(&state);
    until("the one that had ended runs", || yard.record("local/m/ends").process.filter(|mark| *mark != ends)).await;
    assert_eq!(yard.ensure(ask("local/m/runs")).await.unwrap().found, Found::Unchanged);
    assert_eq!(yard.process("local/m/runs"), runs);
    signal(&runs, Signal::KILL);
    until("it is watched again", || yard.record("local/m/runs").process.filter(|mark| *mark != runs)).await;
    // Ids that were given out are known to the next maker.
    assert_eq!(yard.ensure(ask("local/m/third")).await.unwrap().vmid.unwrap().number(), 102);
    for node in ["local/m/runs", "local/m/ends", "local/m/third"] {
        yard.destroy(node).await;
    }
    yard.leave().await;
}

#[tokio::test]
async fn a_process_that_was_started_and_not_put_on_record_is_found_by_its_lock() {
    let top = tempfile::tempdir().unwrap();
    let yard = Yard::open(&top.path().join("state"));
    yard.ensure(ask("local/m/edge")).await.unwrap();
    let process = yard.settled("local/m/edge").await;
    let folder = yard.folder("local/m/edge");
    let record = yard.record("local/m/edge");
    let state = yard.leave().await;
    Record { process: None, ..record }.write(&folder).unwrap();
    let yard = Yard::open(&state);
    assert_eq!(yard.ensure(ask("local/m/edge")).await.unwrap().found, Found::Unchanged);
    assert_eq!(yard.process("local/m/edge"), process);
    yard.destroy("local/m/edge").await;
    assert!(!process.is_alive());
    yard.leave().await;
}

#[tokio::test]
async fn a_number_that_another_process_has_by_now_is_left_alone() {
    let top = tempfile::tempdir().unwrap();
    let yard = Yard::open(&top.path().join("state"));
    yard.ensure(ask("local/m/edge")).await.unwrap();
    let process = yard.settled("local/m/edge").await;
    let record = yard.record("local/m/edge");
    let folder = yard.folder("local/m/edge");
    let state = yard.leave().await;
    signal(&process, Signal::KILL);
    until("it has ended", || (!process.is_alive()).then_some(())).await;
    let mut bystander = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
    let other = ProcessMark::of(bystander.id().cast_signed()).unwrap();
    let reused = ProcessMark { start_time: other.start_time - 1, ..other.clone() };
    Record { process: Some(reused), ..record }.write(&folder).unwrap();

    let yard = Yard::open(&state);
    yard.ensure(ask("local/m/edge")).await.unwrap();
    assert_ne!(yard.process("local/m/edge").pid, other.pid, "a machine of its own was started");
    yard.destroy("local/m/edge").await;
    assert!(other.is_alive());
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    yard.leave().await;
}

#[tokio::test]
async fn what_is_inside_a_machine_goes_with_it() {
    let top = tempfile::tempdir().unwrap();
    let yard = Yard::open(&top.path().join("state"));
    yard.ensure(ask("local/m/outer")).await.unwrap();
    yard.settled("local/m/outer").await;
    let inner = Yard::open(&yard.folder("local/m/outer").join("state"));
    inner.ensure(ask("local/m/outer/inner")).await.unwrap();
    let inner_process = inner.settled("local/m/outer/inner").await;
    let innermost = Yard::open(&inner.folder("local/m/outer/inner").join("state"));
    innermost.ensure(ask("local/m/outer/inner/most")).await.unwrap();
    let most = innermost.settled("local/m/outer/inner/most").await;
    innermost.leave().await;
    inner.leave().await;
    // One that hears nothing is ended all the same.
    signal(&most, Signal::STOP);
    yard.destroy("local/m/outer").await;
    assert!(!inner_process.is_alive() && !most.is_alive());
    assert_eq!(fs::read_dir(yard.state.join("machines")).unwrap().count(), 0);
    yard.leave().await;
}

#[tokio::test]
async fn a_destroy_that_was_cut_short_is_brought_to_its_end() {
    let top = tempfile::tempdir().unwrap();
    let yard = Yard::open(&top.path().join("state"));
    yard.ensure(ask("local/m/edge")).await.unwrap();
    let process = yard.settled("local/m/edge").await;
    let folder = yard.folder("local/m/edge");
    let state = yard.leave().await;
    signal(&process, Signal::STOP);
    let name = format!(".trash-{}-1", folder.file_name().unwrap().to_str().unwrap());
    fs::rename(&folder, folder.with_file_name(name)).unwrap();
    fs::create_dir(state.join("machines/.new-homestak-000000000000")).unwrap();
    let yard = Yard::open(&state);
    until("both are gone", || (fs::read_dir(state.join("machines")).unwrap().count() == 0).then_some(())).await;
    assert!(!process.is_alive());
    yard.leave().await;
}

#[tokio::test]
async fn a_machine_whose_folder_is_gone_ends() {
    for by_rename in [false, true] {
        let top = tempfile::tempdir().unwrap();
        let yard = Yard::open(&top.path().join("state"));
        yard.ensure(ask("local/m/outer")).await.unwrap();
        let outer = yard.settled("local/m/outer").await;
        let inner = Yard::open(&yard.folder("local/m/outer").join("state"));
        inner.ensure(ask("local/m/outer/inner")).await.unwrap();
        let inside = inner.settled("local/m/outer/inner").await;
        inner.leave().await;
        let state = yard.leave().await;
        if by_rename {
            fs::rename(&state, top.path().join("elsewhere")).unwrap();
        } else {
            fs::remove_dir_all(&state).unwrap();
        }
        until("the outer one has ended", || (!outer.is_alive()).then_some(())).await;
        until("the inner one has ended", || (!inside.is_alive()).then_some(())).await;
    }
}

#[tokio::test]
async fn what_is_not_ours_is_a_conflict_and_left_alone() {
    let top = tempfile::tempdir().unwrap();
    let yard = Yard::open(&top.path().join("state"));
    yard.ensure(with_vmid("local/one/edge", 990)).await.unwrap();
    let process = yard.settled("local/one/edge").await;
    let fault = yard.ensure(with_vmid("local/two/edge", 990)).await.unwrap_err();
    assert_eq!(fault.code, Code::Conflict);
    assert!(fault.message.contains("local/one"), "{}", fault.message);
    yard.ensure(ask("local/two/edge")).await.expect("the same name in another tree is another machine");
    yard.destroy("local/two/edge").await;
    assert!(process.is_alive());

    // In the place of a machine there is one of another tree, or nothing that can be read.
    let (folder, record) = (yard.folder("local/one/edge"), yard.record("local/one/edge"));
    let foreign = Record { manifest: "three".parse().unwrap(), ..record.clone() };
    foreign.write(&folder).unwrap();
    let fault = yard.ensure(with_vmid("local/one/edge", 990)).await.unwrap_err();
    assert!(fault.code == Code::Conflict && fault.message.contains("three"), "{}", fault.message);
    yard.destroy("local/one/edge").await;
    assert!(folder.exists() && process.is_alive());
    fs::write(folder.join("machine.json"), "{").unwrap();
    assert_eq!(yard.ensure(ask("local/one/edge")).await.unwrap_err().code, Code::Conflict);
    record.write(&folder).unwrap();
    yard.destroy("local/one/edge").await;
    assert!(!folder.exists());
    yard.leave().await;
}

#[tokio::test]
async fn many_at_once_share_neither_id_nor_address() {
    let top = tempfile::tempdir().unwrap();
    let yard = Yard::open(&top.path().join("state"));
    let nodes: Vec<String> = (0..12).map(|n| format!("local/m/n{n}")).collect();
    let mut asked = tokio::task::JoinSet::new();
    for node in &nodes {
        let (local, ask) = (yard.local.clone(), ask(node));
        asked.spawn(async move {
            local.ensure_image(ask.machine.image.clone().unwrap(), task()).await.unwrap();
            local.ensure_machine(ask, task()).await.unwrap()
        });
    }
    let made = asked.join_all().await;
    let mut vmids: Vec<u32> = made.iter().map(|made| made.vmid.unwrap().number()).collect();
    vmids.sort_unstable();
    assert_eq!(vmids, (100..112).collect::<Vec<_>>());
    let mut ips: Vec<_> = made.iter().map(|made| made.ip.unwrap()).collect();
    ips.sort_unstable();
    ips.dedup();
    assert_eq!(ips.len(), 12);
    for node in &nodes {
        yard.destroy(node).await;
    }
    yard.leave().await;
}

#[tokio::test]
async fn a_machine_of_another_life_is_taken_over_and_one_of_another_size_is_changed() {
    let top = tempfile::tempdir().unwrap();
    let yard = Yard::open(&top.path().join("state"));
    let first = yard.ensure(ask("local/m/edge")).await.unwrap();
    let process = yard.settled("local/m/edge").await;
    let mut larger = ask("local/m/edge");
    larger.machine.cores = 4;
    assert_eq!(yard.ensure(larger.clone()).await.unwrap().found, Found::Updated);
    assert_eq!(yard.process("local/m/edge"), process, "more processors need no new start");

    let mut reborn = larger;
    reborn.incarnation = Incarnation::from_bits(8);
    reborn.boot.token = homestak_protocol::secret::Secret::new("token-of-its-second-life".into());
    let adopted = yard.ensure(reborn.clone()).await.unwrap();
    assert_eq!((adopted.found, adopted.vmid, adopted.ip), (Found::Adopted, first.vmid, first.ip));
    assert!(!process.is_alive());
    assert_eq!(yard.record("local/m/edge").incarnation, Incarnation::from_bits(8));
    let told = fs::read_to_string(yard.folder("local/m/edge").join("state/agent.yaml")).unwrap();
    assert!(told.contains("token-of-its-second-life"));
    assert_eq!(yard.ensure(reborn.clone()).await.unwrap().found, Found::Unchanged);

    reborn.machine.kind = homestak_protocol::order::NodeKind::Ct;
    let fault = yard.ensure(reborn).await.unwrap_err();
    assert!(!fault.retryable && fault.hint.is_some());
    yard.destroy("local/m/edge").await;
    yard.leave().await;
}

#[tokio::test]
async fn what_is_stopped_stays_so_until_it_is_started() {
    let top = tempfile::tempdir().unwrap();
    let yard = Yard::open(&top.path().join("state"));
    yard.ensure(ask("local/m/edge")).await.unwrap();
    let process = yard.settled("local/m/edge").await;
    yard.local.stop(identity("local/m/edge"), task()).await.unwrap();
    assert!(!process.is_alive());
    let state = yard.leave().await;
    let yard = Yard::open(&state);
    assert!(!yard.local.list_owned(task()).await.unwrap()[0].running);
    yard.local.start(identity("local/m/edge"), task()).await.unwrap();
    yard.settled("local/m/edge").await;
    yard.destroy("local/m/edge").await;
    yard.leave().await;
}
