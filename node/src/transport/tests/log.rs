//! Keeps what this thread logs. A test of one thread sees all of its own tasks and nobody else's.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use super::fake::DEADLINE;

/// The log of this thread, for as long as it lives.
pub(super) struct Log {
    lines: Lines,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(super) fn capture() -> Self {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .without_time()
            .with_writer(lines.clone());
        let guard = tracing::subscriber::set_default(subscriber.finish());
        Self { lines, _guard: guard }
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.lines.0.lock().unwrap().clone()).unwrap()
    }

    /// Waits for a warning that holds all of these.
    pub(super) async fn until(&self, parts: &[&str]) {
        self.until_line(&[&["WARN"], parts].concat()).await;
    }

    /// Waits for a line that holds all of these.
    pub(super) async fn until_line(&self, parts: &[&str]) {
        let found = async {
            while !self.has(parts) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(DEADLINE, found).await.unwrap_or_else(|_| panic!("waited in vain for {parts:?} in\n{}", self.text()));
    }

    /// Whether a warning holds all of these.
    pub(super) fn warns(&self, parts: &[&str]) -> bool {
        self.has(&[&["WARN"], parts].concat())
    }

    fn has(&self, parts: &[&str]) -> bool {
        self.text().lines().any(|line| parts.iter().all(|part| line.contains(part)))
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
