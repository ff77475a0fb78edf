//! What the delegation replaces: `ssh` to an `sshd` of our own on loopback, with keys of its own.

use std::fs;
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Whether a connection is made anew or kept (`ControlMaster`).
pub(crate) enum Connection {
    New,
    Kept,
}

/// An `sshd` that ends with this value.
pub(crate) struct Server {
    folder: PathBuf,
    port: u16,
    sshd: Child,
}

impl Server {
    pub(crate) fn start(scratch: &Path) -> Result<Self, String> {
        let sshd = Path::new("/usr/sbin/sshd");
        if !sshd.is_file() {
            return Err("there is no /usr/sbin/sshd (Debian: openssh-server)".into());
        }
        let told = |error: io::Error| error.to_string();
        let folder = scratch.with_extension("ssh");
        fs::create_dir_all(&folder).map_err(told)?;
        fs::create_dir_all("/run/sshd").map_err(told)?;
        for name in ["host", "user"] {
            let file = folder.join(name);
            if !file.exists() {
                let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file).status();
                if !made.map_err(told)?.success() {
                    return Err("ssh-keygen failed".into());
                }
            }
        }
        fs::copy(folder.join("user.pub"), folder.join("keys")).map_err(told)?;
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map_err(told)?.port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host\nAuthorizedKeysFile {0}/keys\nPidFile none\n\
             StrictModes no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nUsePAM no\n",
            folder.display()
        );
        fs::write(folder.join("sshd_config"), config).map_err(told)?;
        let sshd = Command::new(sshd)
            .args(["-D", "-q", "-f"])
            .arg(folder.join("sshd_config"))
            .stderr(Stdio::null())
            .spawn()
            .map_err(told)?;
        let server = Self { folder, port, sshd };
        let limit = Instant::now() + Duration::from_secs(5);
        let mut banner = [0; 4];
        while Instant::now() < limit {
            if TcpStream::connect(("127.0.0.1", port)).and_then(|mut s| s.read_exact(&mut banner)).is_ok() {
                return Ok(server);
            }
        }
        Err("sshd did not come up".into())
    }

    /// Runs `true` over ssh.
    pub(crate) fn run(&self, connection: Connection) {
        let socket = self.folder.join("mux");
        let mut ssh = Command::new("ssh");
        ssh.args(["-q", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]);
        ssh.arg("-i").arg(self.folder.join("user")).arg("-p").arg(self.port.to_string());
        if matches!(connection, Connection::Kept) {
            ssh.args(["-o", "ControlMaster=auto", "-o", "ControlPersist=10"]).arg("-S").arg(socket);
        }
        let done = ssh.args(["root@127.0.0.1", "true"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(done.expect("ssh starts").success(), "ssh says no");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("ssh").arg("-S").arg(self.folder.join("mux")).args(["-O", "exit", "x"]).output();
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
