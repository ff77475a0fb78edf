//! Tasks: what PVE does after it has answered.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Api, CallError, Form, encoded};

/// The one line that PVE gives of a log in which there is none.
const NOTHING: &str = "no content";

/// How many lines of a log are read at once.
pub(crate) const LINES: usize = 500;

/// A task's id: `UPID:node:pid:pstart:starttime:type:id:user:` (pve-common, `PVE::Tools::upid_decode`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upid {
    text: String,
    /// The node that runs it: only that one can be asked.
    pub(crate) node: String,
    /// What it does, `qmcreate`.
    pub(crate) kind: String,
    /// What it does it to: a vmid, mostly.
    pub(crate) id: String,
}

impl FromStr for Upid {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            ["UPID", node, _, _, _, kind, id, _, ..] => Ok(Self {
                text: text.to_owned(),
                node: (*node).to_owned(),
                kind: (*kind).to_owned(),
                id: (*id).to_owned(),
            }),
            _ => Err(format!("`{text}` is no task of PVE")),
        }
    }
}

impl fmt::Display for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Upid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Upid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How a task stands.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TaskStatus {
    status: String,
    exitstatus: Option<String>,
}

impl TaskStatus {
    /// How it ended; none while it runs.
    pub(crate) fn ended(&self) -> Option<&str> {
        (self.status == "stopped").then(|| self.exitstatus.as_deref().unwrap_or("it ended without a word"))
    }
}

#[derive(Deserialize)]
struct Line {
    t: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    upid: Upid,
    endtime: Option<serde_json::Value>,
}

impl Api {
    /// `GET /nodes/{node}/tasks/{upid}/status`
    pub(crate) async fn task(&self, upid: &Upid) -> Result<TaskStatus, CallError> {
        let path = format!("/nodes/{}/tasks/{}/status", upid.node, encoded(&upid.text));
        self.get("looking at a task", &path, &Form::new()).await
    }

    /// At most [`LINES`] lines of its log, from one on. `GET /nodes/{node}/tasks/{upid}/log`
    pub(crate) async fn task_log(&self, upid: &Upid, from: u64) -> Result<Vec<String>, CallError> {
        let path = format!("/nodes/{}/tasks/{}/log", upid.node, encoded(&upid.text));
        let query = Form::new().with("start", from).with("limit", LINES);
        let lines: Vec<Line> = self.get("reading a task's log", &path, &query).await?;
        Ok(lines.into_iter().map(|line| line.t.unwrap_or_default()).filter(|text| text != NOTHING).collect())
    }

    /// The tasks that run now and are about this machine. `GET /nodes/{node}/tasks?source=active`
    pub(crate) async fn running_tasks(&self, node: &str, vmid: u32) -> Result<Vec<Upid>, CallError> {
        let path = format!("/nodes/{node}/tasks");
        let query = Form::new().with("source", "active").with("vmid", vmid);
        let listed: Vec<Listed> = self.get("looking for tasks", &path, &query).await?;
        Ok(listed.into_iter().filter(|task| task.endtime.is_none()).map(|task| task.upid).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_known_by_its_parts() {
        let text = "UPID:father:0003A1B2:01C2D3E4:6540AABB:qmcreate:99011:homestak@pve!agent:";
        let upid: Upid = text.parse().unwrap();
        assert_eq!((upid.node.as_str(), upid.kind.as_str(), upid.id.as_str()), ("father", "qmcreate", "99011"));
        assert_eq!(upid.to_string(), text);
        assert!("UPID:father".parse::<Upid>().is_err());
    }
}
