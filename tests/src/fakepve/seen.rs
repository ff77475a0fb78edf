//! What came at a fake host.

use serde_json::Value;

/// A request that came.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// `METHOD /path?query body`.
    pub line: String,
    /// When, in seconds by a clock that all fakes share.
    pub at: f64,
    /// The other side's port: the same over one connection.
    pub port: u64,
    /// What was refused about it, in the fake's words.
    pub said: Option<String>,
}

impl Seen {
    pub(super) fn read(request: &Value) -> Self {
        let text = |key: &str| request[key].as_str().unwrap_or_default();
        let path = text("path").trim_start_matches("/api2/json");
        let query = Some(text("query")).filter(|query| !query.is_empty()).map(|query| format!("?{query}"));
        let line = format!("{} {path}{} {}", text("method"), query.unwrap_or_default(), text("body"));
        Self {
            line: line.trim().to_owned(),
            at: request["at"].as_f64().expect("it came at some time"),
            port: request["port"].as_u64().unwrap_or_default(),
            said: request["said"].as_str().map(str::to_owned),
        }
    }
}
