//! A network namespace with a bridge, and a package archive on it. It goes with the test.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The parent's address on the bridge, of the range for documentation.
pub(crate) const ADDRESS: &str = "192.0.2.1";
/// Where the archive is served.
const ARCHIVE_PORT: &str = "8080";

/// A network of a test's own.
pub(crate) struct Network {
    name: String,
    servers: Vec<Child>,
}

impl Network {
    /// Makes one, in which `pool` is served.
    pub(crate) fn make(pool: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("homestak-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name]);
        for arguments in [
            &["link", "set", "lo", "up"][..],
            &["link", "add", "br0", "type", "bridge"],
            &["addr", "add", "192.0.2.1/24", "dev", "br0"],
            &["link", "set", "br0", "up"],
        ] {
            ip(&[&["-n", &name][..], arguments].concat());
        }
        let mut network = Self { name, servers: Vec::new() };
        network.serve(pool, ARCHIVE_PORT);
        network
    }

    /// Serves one more folder in it.
    pub(crate) fn serve(&mut self, folder: &Path, port: &str) {
        self.begin(&["python3", "-m", "http.server", "--bind", ADDRESS, port, "--directory"], folder);
    }

    /// Runs a server in it, the last word of which is this file.
    pub(crate) fn begin(&mut self, words: &[&str], file: &Path) {
        let by = self.by();
        let mut server = Command::new(&by[0]);
        server.args(&by[1..]).args(words).arg(file);
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.servers.push(server.spawn().unwrap());
    }

    /// Serves nothing any more.
    pub(crate) fn serve_nothing(&mut self) {
        for mut server in self.servers.drain(..) {
            let _gone = server.kill();
            let _collected = server.wait();
        }
    }

    /// What a program is run by to be in it.
    pub(crate) fn by(&self) -> Vec<String> {
        by(&self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.serve_nothing();
        ip(&["netns", "del", &self.name]);
    }
}

/// Not `ip netns exec`, which hides the control groups that systemd-nspawn needs.
fn by(name: &str) -> Vec<String> {
    vec!["nsenter".to_owned(), format!("--net=/run/netns/{name}")]
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().unwrap();
    assert!(status.success() || std::thread::panicking(), "ip {arguments:?}: {status}");
}
