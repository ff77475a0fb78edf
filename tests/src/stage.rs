//! A stage: a state folder of its own, an environment in which nothing else of this machine can be met, and everything
//! that runs there. Stages of tests that run side by side never meet.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::binaries::binaries;
use crate::command::{Outcome, Running, start};
use crate::machine::{self, Machine};
use crate::process::{self, Process};
use crate::wait;

/// The limit of one command.
const LIMIT: Duration = Duration::from_secs(90);

/// The limit for processes to end that were told to.
const ENDING: Duration = Duration::from_secs(20);

/// The user `nobody`, and their group.
const NOBODY: u32 = 65_534;

/// How much of each log is shown when a test fails.
const SHOWN: usize = 6000;

/// A stage. What still runs on it when it is dropped is killed, and its folder removed.
#[derive(Debug)]
pub struct Stage {
    folder: PathBuf,
    env: BTreeMap<OsString, OsString>,
    /// Where the programs are, if they are this stage's own.
    own: Option<PathBuf>,
    /// What the programs are run by, if not directly.
    by: Vec<OsString>,
}

impl Stage {
    /// An empty one.
    pub fn set(name: &str) -> Self {
        Self::set_in(&std::env::temp_dir(), name)
    }

    /// An empty one in a folder of the caller's.
    pub fn set_in(place: &Path, name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = place.join(format!("homestak-stage-{}-{count}-{name}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&folder).expect("a stage has a folder of its own");
        let mut env = BTreeMap::new();
        env.insert("PATH".into(), std::env::var_os("PATH").unwrap_or_default());
        // Not a site that may lie beside a stage.
        env.insert("HOMESTAK_SITE_CONFIG".into(), "demo".into());
        env.insert("LANG".into(), "C.UTF-8".into());
        env.insert("HOME".into(), folder.join("home").into());
        env.insert("HOMESTAK_STATE_DIR".into(), folder.join("state").into());
        let stage = Self { folder, env, own: None, by: Vec::new() };
        fs::create_dir(stage.folder.join("home")).expect("a stage has a home");
        stage
    }

    /// Sets a variable for every command from here on, and so for what these commands start.
    pub fn env(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Self {
        self.env.insert(name.into(), value.as_ref().into());
        self
    }

    /// Takes it back.
    pub fn unset(&mut self, name: &str) -> &mut Self {
        self.env.remove(OsStr::new(name));
        self
    }

    /// Where everything of this stage lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The state folder.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// The state folder of the host's agent.
    pub fn host_state(&self) -> PathBuf {
        self.state().join("agents/local")
    }

    /// Writes a file of the test's own beside the state folder.
    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text).expect("a stage's folder can be written");
        path
    }

    /// Gives everything of this stage to the user `nobody`, who runs the programs from here on. Needs root.
    pub fn give_to_nobody(&mut self) {
        let bin = self.folder.join("bin");
        fs::create_dir(&bin).expect("a stage's folder can be written");
        for program in [&binaries().coord, &binaries().agent] {
            let name = program.file_name().expect("a program has a name");
            fs::copy(program, bin.join(name)).expect("a program can be copied");
        }
        let owners = machine::files_below(&self.folder).into_iter().chain([self.folder.clone()]);
        owners.for_each(|path| chown(path, Some(NOBODY), Some(NOBODY)).expect("root can give away"));
        let by = ["setpriv".into(), format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".into()];
        self.by = by.into_iter().map(OsString::from).collect();
        self.own = Some(bin);
    }

    /// Has every program run by another one, such as one that puts it into a network of the test's own.
    pub fn run_by(&mut self, program: Vec<String>) {
        self.by = program.into_iter().map(OsString::from).collect();
    }

    /// Where a program under test is for this stage.
    pub fn program(&self, program: &Path) -> PathBuf {
        match (&self.own, program.file_name()) {
            (Some(bin), Some(name)) => bin.join(name),
            _ => program.to_owned(),
        }
    }

    /// A program with this stage's environment, not started yet.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut whole = self.by.iter().map(OsString::as_os_str).chain([program.as_ref()]);
        let mut command = Command::new(whole.next().unwrap_or_default());
        command.args(whole).env_clear().envs(&self.env).current_dir(&self.folder);
        command
    }

    /// Runs `homestak-coord`.
    #[track_caller]
    pub fn coord(&self, arguments: &[&str]) -> Outcome {
        self.start(arguments).finish(LIMIT)
    }

    /// Starts `homestak-coord`.
    pub fn start(&self, arguments: &[&str]) -> Running {
        start(self.command(self.program(&binaries().coord)).args(arguments))
    }

    /// Runs `homestak-agent`.
    #[track_caller]
    pub fn agent(&self, arguments: &[&str]) -> Outcome {
        start(self.command(self.program(&binaries().agent)).args(arguments)).finish(LIMIT)
    }

    /// Runs `homestak-coord` with `--json`, and gives its document. Fails unless it ended with this code.
    #[track_caller]
    pub fn json(&self, code: i32, arguments: &[&str]) -> Value {
        self.coord(&[arguments, &["--json"]].concat()).exits(code).json()
    }

    /// Every process of this stage.
    pub fn processes(&self) -> Vec<Process> {
        process::within(&self.folder)
    }

    /// The daemon, if it runs.
    pub fn daemon(&self) -> Option<Process> {
        let of_daemon = |process: &Process| process.has("server") && process.has("run");
        self.processes().into_iter().find(|process| runs(process, "homestak-coord") && of_daemon(process))
    }

    /// The agent of the host `local`, if it runs.
    pub fn host_agent(&self) -> Option<Process> {
        let machines: Vec<_> = self.machines().into_iter().filter_map(|machine| machine.pid).collect();
        let agents = self.processes().into_iter().filter(|process| runs(process, "homestak-agent"));
        let inner = |process: &Process| process.arguments.iter().any(|argument| argument.contains("/machines/"));
        agents.filter(|process| !machines.contains(&process.pid) && !inner(process)).find(|process| process.has("run"))
    }

    /// The process at a place: `@` is the daemon, `local` the host's agent, anything else a machine's.
    pub fn process(&self, place: &str) -> Option<Process> {
        match place {
            "@" => self.daemon(),
            "local" => self.host_agent(),
            path => self.machines().into_iter().find(|machine| machine.path == path)?.process(),
        }
    }

    /// Every machine on record, by place.
    pub fn machines(&self) -> Vec<Machine> {
        machine::below(&self.state())
    }

    /// The machine at a place.
    #[track_caller]
    pub fn machine(&self, path: &str) -> Machine {
        let machines = self.machines();
        let found = machines.iter().find(|machine| machine.path == path).cloned();
        found.unwrap_or_else(|| panic!("there is no machine at {path}, only {machines:#?}"))
    }

    /// Destroys what is recorded, ends the daemon, and fails if anything of this stage remains but its folder.
    pub fn strike(self) {
        let status = self.json(0, &["status"]);
        for tree in status["trees"].as_array().expect("`status` lists trees") {
            let (manifest, host) = (tree["manifest"].as_str().unwrap(), tree["host"].as_str().unwrap());
            self.coord(&["destroy", manifest, "-H", host, "--yes"]).exits(0);
        }
        assert_eq!(self.machines(), [], "machines remain");
        self.coord(&["server", "stop"]);
        self.is_empty_soon();
    }

    /// Fails unless no process, socket or machine of this stage remains, soon.
    #[track_caller]
    pub fn is_empty_soon(&self) {
        let left = wait::attempt(ENDING, || self.processes().is_empty().then_some(()));
        assert!(left.is_some(), "processes remain: {:#?}", self.processes());
        assert_eq!(self.machines(), [], "machines remain");
    }

    /// Kills what runs, until nothing does: something that is killed may be started again by something that is not yet.
    fn clear(&self) -> bool {
        let cleared = wait::attempt(ENDING, || {
            let left = self.processes();
            left.iter().for_each(Process::kill);
            left.is_empty().then_some(())
        });
        cleared.is_some()
    }

    /// Waits until one line of one log says all of this, and gives it.
    #[track_caller]
    pub fn logged(&self, parts: &[&str]) -> String {
        wait::until(&format!("a line of a log says {parts:?}"), || {
            let texts = self.log_files().into_iter().map(|file| fs::read(file).unwrap_or_default());
            texts.into_iter().find_map(|text| line_with(&String::from_utf8_lossy(&text), parts))
        })
    }

    fn log_files(&self) -> Vec<PathBuf> {
        let is_log = |file: &PathBuf| {
            file.extension().is_some_and(|kind| kind == "log") || file.file_name().is_some_and(|name| name == "log")
        };
        let mut logs: Vec<_> = machine::files_below(&self.folder).into_iter().filter(is_log).collect();
        logs.sort();
        logs
    }

    /// The ends of all logs, for a test that fails.
    fn logs(&self) -> String {
        let logs = self.log_files();
        let shown = logs.iter().map(|file| {
            let text = String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned();
            let from = text.ceil_char_boundary(text.len().saturating_sub(SHOWN));
            format!("=== {}\n{}\n", file.display(), &text[from..])
        });
        shown.collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.logs());
        }
        let cleared = self.clear();
        if std::env::var_os("HOMESTAK_TEST_KEEP").is_none() {
            let _ = fs::remove_dir_all(&self.folder);
        }
        assert!(cleared || thread::panicking(), "processes of {} cannot be ended", self.folder.display());
    }
}

/// The line that has all of these parts.
pub fn line_with(text: &str, parts: &[&str]) -> Option<String> {
    text.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
}

fn runs(process: &Process, program: &str) -> bool {
    process.arguments.first().is_some_and(|first| Path::new(first).file_name().is_some_and(|name| name == program))
}
