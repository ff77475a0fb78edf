//! `wrk`, and what it says.

use std::fmt;
use std::process::Command;
use std::time::Duration;

use super::LOAD;
use super::server::Server;

/// Whether a request finds a connection.
#[derive(Clone, Copy)]
pub(crate) enum Connections {
    /// One of 64.
    Kept,
    /// It makes one.
    New,
}

/// What came of a load.
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    /// Of the server, for each request.
    processor: Duration,
    p99: String,
    /// Lines in which `wrk` complains.
    trouble: Vec<String>,
}

/// Puts load on it.
pub(crate) fn load(server: &Server, connections: Connections) -> Measured {
    let mut command = Command::new("wrk");
    // A client pays three times what the server does for a handshake: one thread of it cannot ask for more than some 1,300.
    let threads = match connections {
        Connections::Kept => "-t1",
        Connections::New => "-t2",
    };
    command.args([threads, "-c64", "--latency", "--timeout", "10s", &format!("-d{}s", LOAD.as_secs())]);
    command.args(["-H", &format!("Authorization: Bearer {}", server.token)]);
    if matches!(connections, Connections::New) {
        command.args(["-H", "Connection: close"]);
    }
    let before = server.processor_time();
    let out = command.arg(server.url()).output().unwrap();
    let used = server.processor_time().saturating_sub(before);
    let text = String::from_utf8(out.stdout).unwrap();
    let after = |mark: &str| text.lines().find_map(|line| Some(line.trim().strip_prefix(mark)?.trim().to_owned()));
    let requests: f64 = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())
        .unwrap_or_else(|| panic!("wrk says nothing: {text}"));
    let trouble = text.lines().filter(|line| line.contains("Socket errors") || line.contains("Non-2xx"));
    Measured {
        per_second: after("Requests/sec:").and_then(|rate| rate.parse().ok()).unwrap_or_default(),
        processor: used.div_f64(requests.max(1.0)),
        p99: after("99%").unwrap_or_default(),
        trouble: trouble.map(|line| line.trim().to_owned()).collect(),
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { per_second, processor, p99, trouble } = self;
        let micros = processor.as_secs_f64() * 1e6;
        write!(f, "{per_second:>8.0}/s   {micros:>6.1} µs of processor each   p99 {p99}")?;
        trouble.iter().try_for_each(|line| write!(f, "   ({line})"))
    }
}
