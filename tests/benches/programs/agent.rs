//! An agent that starts, joins and is ended, again and again, on one state folder.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use homestak_tests::binaries::binaries;
use homestak_tests::process::Process;
use homestak_tests::stage::Stage;
use homestak_tests::wait;
use rustix::process::Signal;

/// What an agent says once its parent has welcomed it.
const JOINED: &str = "the link to the parent is up";

/// A daemon, and an agent of the host `father` that it lets in.
pub(crate) struct Father {
    stage: Stage,
    told: [(&'static str, String); 3],
}

/// An agent's process; it ends with this value.
pub(crate) struct Run(Child);

impl Father {
    /// One that has a certificate already.
    pub(crate) fn enrolled() -> Self {
        let stage = Stage::set("join");
        stage.coord(&["server", "start"]).exits(0);
        let join = stage.json(0, &["agents", "join", "-H", "father"]);
        let told = [("HOMESTAK_SERVER", "server"), ("HOMESTAK_TOKEN", "token"), ("HOMESTAK_CA", "ca")];
        let told = told.map(|(name, key)| (name, join[key].as_str().expect("`agents join` says it").to_owned()));
        let father = Self { stage, told };
        drop(father.start());
        father
    }

    /// Starts the agent, and returns once it has joined.
    pub(crate) fn start(&self) -> Run {
        let mut command = self.stage.command(&binaries().agent);
        command.args(["run", "--state-dir"]).arg(self.stage.folder().join("father"));
        command.env_remove("HOMESTAK_STATE_DIR").envs(self.told.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the agent starts");
        let mut log = BufReader::new(child.stderr.take().expect("it was piped"));
        let mut line = String::new();
        while !line.contains(JOINED) {
            line.clear();
            assert!(log.read_line(&mut line).expect("a log is text") > 0, "the agent has ended");
        }
        // Nobody reads on; what it says from here on is lost, which is no reason for it to end.
        Run(child)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let pid = self.0.id().cast_signed();
        Process::of(pid).iter().for_each(|process| process.signal(Signal::TERM));
        wait::until("the agent ends", || self.0.try_wait().expect("a child can be waited for"));
    }
}
