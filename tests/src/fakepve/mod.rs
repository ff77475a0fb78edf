//! A fake Proxmox VE host: a process of its own (`fakepve/stage.py`), with an API under TLS and a second, plain port by which
//! a test looks into it and makes things go wrong.
//!
//! The program comes from PyPI, pinned; `make fakepve` installs it below the target folder. Tests that find none are skipped.

mod certificate;
mod rows;
mod seen;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

pub use self::seen::Seen;
use crate::binaries::workspace;
use crate::needs;
use crate::stage::Stage;

/// How long the second port may take to answer.
const LIMIT: Duration = Duration::from_secs(60);

/// Whether the fake is installed; if not, the test is skipped.
pub fn is_installed(test: &str) -> bool {
    needs::have(test, "fakepve (make fakepve)", python().exists())
}

fn python() -> PathBuf {
    // <target>/<profile>/deps/<this test>
    let test = std::env::current_exe().expect("a test knows where it is");
    let target = test.ancestors().nth(3).expect("a test lies in <target>/<profile>/deps");
    target.join("fakepve/bin/python")
}

/// A fake host. It ends when it is dropped.
#[derive(Debug)]
pub struct FakePve {
    process: Child,
    /// The name of its node.
    pub node: String,
    /// Its folder of snippets.
    pub snippets: PathBuf,
    /// The folder of its storage `local`.
    pub storage: PathBuf,
    /// How many machines its agent makes at once.
    pub parallel: u16,
    port: u16,
    control: u16,
    fingerprint: String,
    /// The CA that its certificate is under.
    pub ca: PathBuf,
    token: String,
    host: String,
}

impl FakePve {
    /// Starts one. `scale` is how many real seconds one of PVE's takes; 0 makes tasks end at once.
    pub fn start(stage: &Stage, node: &str, scale: f64) -> Self {
        let token = "homestak@pve!agent=00000000-0000-4000-8000-000000000001";
        Self::start_by(stage, node, scale, &[], "127.0.0.1", token)
    }

    /// Starts one with a token of its own, at an address in a network that `by` puts it into; nobody outside can look into
    /// it there.
    pub fn start_by(stage: &Stage, node: &str, scale: f64, by: &[String], host: &str, token: &str) -> Self {
        let folder = stage.folder().join(format!("fakepve-{node}"));
        let (snippets, storage) = (folder.join("snippets"), folder.join("storage"));
        fs::create_dir_all(&snippets).expect("a stage's folder can be written");
        let certificate = certificate::make(&folder);
        let log = fs::File::create(folder.join("fakepve.log")).expect("a stage's folder can be written");
        let python = [python().display().to_string()];
        let mut words = by.iter().chain(&python);
        let mut process = Command::new(words.next().expect("there is the program itself"))
            .args(words)
            .arg(workspace().join("tests/fakepve/stage.py"))
            .args(["--host", host, "--node", node, "--token", token, "--time-scale", &scale.to_string()])
            .arg("--cert")
            .arg(&certificate.file)
            .arg("--key")
            .arg(&certificate.key)
            .arg("--storage")
            .arg(&storage)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the fake can be started");
        let mut line = String::new();
        let mut said = BufReader::new(process.stdout.take().expect("its output is a pipe"));
        said.read_line(&mut line).expect("the fake says where it is");
        let told: Value = serde_json::from_str(&line).expect("the fake says where it is, see its log");
        let port = |name: &str| told[name].as_u64().and_then(|port| u16::try_from(port).ok()).expect("it has a port");
        Self {
            port: port("port"),
            control: port("control"),
            process,
            parallel: 20,
            node: node.to_owned(),
            snippets,
            storage,
            fingerprint: certificate.fingerprint,
            ca: certificate.ca,
            token: token.to_owned(),
            host: host.to_owned(),
        }
    }

    /// The section `pve` of the settings of this host's agent.
    pub fn settings(&self) -> Value {
        json!({
            "api_endpoint": format!("https://{}:{}", self.host, self.port),
            "api_token": self.token,
            "fingerprint": self.fingerprint,
            "node": self.node,
            "snippets_dir": self.snippets,
            "parallel": self.parallel,
        })
    }

    /// Looks at something of it.
    pub fn look(&self, path: &str) -> Value {
        self.ask(&format!("GET {path} HTTP/1.0\r\nHost: fake\r\n\r\n"))
    }

    /// Everything that is there.
    pub fn state(&self) -> Value {
        self.look("/state")
    }

    /// Every guest, by id.
    pub fn guests(&self) -> Vec<Value> {
        let mut guests = self.state()["guests"].as_array().expect("it lists guests").clone();
        guests.sort_by_key(|guest| guest["vmid"].as_u64());
        guests
    }

    /// The guest with this name.
    #[track_caller]
    pub fn guest(&self, name: &str) -> Value {
        let guests = self.guests();
        let found = guests.iter().find(|guest| guest["name"] == name).cloned();
        found.unwrap_or_else(|| panic!("{} has no guest {name}, only {guests:#?}", self.node))
    }

    /// Every request that came, `METHOD /path?query body`, the path without `/api2/json`.
    pub fn requests(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }

    /// The same, with what is known of each.
    pub fn seen(&self) -> Vec<Seen> {
        let seen = self.look("/requests");
        seen.as_array().expect("it lists requests").iter().map(Seen::read).collect()
    }

    /// The requests that change something.
    pub fn changes(&self) -> Vec<String> {
        self.requests().into_iter().filter(|line| !line.starts_with("GET")).collect()
    }

    /// Calls a method of the fake.
    pub fn call(&self, name: &str, args: Value, kwargs: Value) -> Value {
        self.tell(&json!({ "call": name, "args": args, "kwargs": kwargs }))
    }

    /// Sets an attribute of the fake.
    pub fn set(&self, name: &str, to: Value) {
        self.tell(&json!({ "set": name, "to": to }));
    }

    /// Sets an attribute of one of its guests.
    pub fn set_of(&self, vmid: u64, name: &str, to: Value) {
        self.tell(&json!({ "set": name, "to": to, "vmid": vmid }));
    }

    fn tell(&self, command: &Value) -> Value {
        let body = command.to_string();
        self.ask(&format!(
            "POST / HTTP/1.0\r\nHost: fake\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    #[track_caller]
    fn ask(&self, request: &str) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.control)).expect("the fake listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a socket has limits");
        stream.write_all(request.as_bytes()).expect("the fake listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the fake answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        assert!(head.contains(" 200 "), "{head}\n{body}\nto {request}");
        serde_json::from_str(body).expect("the fake answers in JSON")
    }

    /// A stand-in for its `qm`, in `qm` below a folder: it sets a disk that is imported from a file, and nothing else.
    pub fn qm(&self, below: &Path) {
        let folder = below.join("qm");
        fs::create_dir_all(&folder).expect("a stage's folder can be written");
        let script = format!(
            r#"#!/bin/sh
echo "$@" >> '{folder}/log'
[ "$1 $3 $5" = "set --virtio0 --boot" ] || exit 255
exec curl --silent --fail --noproxy '*' --json "{{\"call\":\"qm_set\",\"args\":[$2,\"virtio0\",\"$4\",\"$6\"]}}" http://127.0.0.1:{control}/
"#,
            folder = folder.display(),
            control = self.control,
        );
        let file = folder.join("qm");
        fs::write(&file, script).expect("a stage's folder can be written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a file can be made a program");
    }

    /// Puts an image into its storage as a file, in place of the one that is there from the beginning.
    pub fn put_image(&self, file: &str, bytes: &[u8]) {
        let folder = self.storage.join("import");
        fs::create_dir_all(&folder).expect("a stage's folder can be written");
        fs::write(folder.join(file), bytes).expect("a stage's folder can be written");
    }

    /// The images in its storage that are files, what is only a part of one too.
    pub fn image_files(&self) -> Vec<String> {
        names_in(&self.storage.join("import"))
    }

    /// The folder that its snippets lie in, what is there now.
    pub fn snippet_files(&self) -> Vec<String> {
        names_in(&self.snippets)
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

impl Drop for FakePve {
    fn drop(&mut self) {
        // Whatever is asked of a host can go wrong, and what must come of that is to be written down.
        let asked = if std::thread::panicking() || self.host != "127.0.0.1" { Vec::new() } else { self.requests() };
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(request) = rows::unknown(&asked) {
            panic!("tests/fakepve/faults.txt says nothing of {request}");
        }
    }
}
