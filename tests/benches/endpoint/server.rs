//! A server under load: where it is, what it is asked, and what it costs.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use homestak_protocol::token::{Claims, SigningKey, mint};
use homestak_tests::curl::curl;
use homestak_tests::site;
use homestak_tests::stage::Stage;

/// Made up.
pub(crate) const KEY: &str = "c2d298ff0286a62cca51d964ab7008e0de2cf00d4d457c9226d4ac5ea513c8e7";
/// What is asked for.
const PATH: &str = "/spec/edge";
/// Linux tells processor time in these, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;
/// A server that answers nobody else for so long is not measured further.
const PATIENCE: &str = "15";

/// A server.
pub(crate) struct Server {
    pub(crate) stage: Stage,
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    pid: i32,
    /// What it asks to end with it.
    child: Option<Child>,
}

impl Server {
    /// The daemon, on the built-in site with a signing key of ours.
    pub(crate) fn homestak() -> Self {
        let mut stage = Stage::set("endpoint");
        let site = site::demo(&stage, &format!("auth:\n  signing_key: {KEY}\n"));
        stage.env("HOMESTAK_SITE_CONFIG", site);
        let told = stage.json(0, &["server", "start"]);
        let address = told["url"].as_str().unwrap().trim_start_matches("https://").parse().unwrap();
        let pid = told["pid"].as_i64().unwrap().try_into().unwrap();
        let token = mint(&SigningKey::parse_hex(KEY).unwrap(), &Claims::new("edge", "base", 1_738_800_000)).unwrap();
        Self::checked(Self { stage, address, token, pid, child: None })
    }

    /// Another program that answers the same at this address.
    pub(crate) fn of(child: Child, stage: Stage, address: SocketAddr, token: String) -> Self {
        let pid = child.id().cast_signed();
        Self::checked(Self { stage, address, token, pid, child: Some(child) })
    }

    fn checked(self) -> Self {
        let answer =
            curl(&self.url(), Some(&self.token), &["--retry", "20", "--retry-connrefused", "--retry-delay", "1"]);
        assert_eq!(answer.status, 200, "{answer:?}");
        self
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}{PATH}", self.address)
    }

    /// The bytes of one request on a connection that is kept.
    pub(crate) fn request(&self) -> Vec<u8> {
        format!("GET {PATH} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n", self.address, self.token).into()
    }

    /// What it has used of the processors so far.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).expect("it runs");
        let mut fields = stat[stat.rfind(')').unwrap() + 1..].split_ascii_whitespace().skip(11);
        let mut ticks = || fields.next().unwrap().parse::<f64>().unwrap();
        Duration::from_secs_f64((ticks() + ticks()) / TICKS_PER_SECOND)
    }

    /// How long a request takes while somebody has connected and says nothing.
    pub(crate) fn behind_a_silent_client(&self) -> Duration {
        let silent = TcpStream::connect(self.address).unwrap();
        let begun = Instant::now();
        let _status = Command::new("curl")
            .args(["--insecure", "--silent", "--output", "/dev/null", "--max-time", PATIENCE])
            .args(["--header", &format!("Authorization: Bearer {}", self.token), &self.url()])
            .status()
            .unwrap();
        let took = begun.elapsed();
        drop(silent);
        took
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match &mut self.child {
            Some(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            None => drop(self.stage.coord(&["server", "stop"])),
        }
    }
}
