//! How a machine looks from the outside while its agent is waited for: whether its process runs, and what that last
//! complained of in its log, which is its console.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::record::{Record, RecordError};
use crate::provider::Sight;

/// How much of the end of a log is read: some hundred lines.
const TAIL: u64 = 16 * 1024;

/// What marks a complaint in a log of either format.
const COMPLAINTS: [&str; 4] = [" WARN ", " ERROR ", "\"WARN\"", "\"ERROR\""];

/// Looks at the machine in this folder; none where there is none.
pub(super) fn look(folder: &Path) -> Result<Option<Sight>, RecordError> {
    let Some(record) = Record::read(folder)? else { return Ok(None) };
    let power = if record.running(folder).is_some() { "running" } else { "stopped" };
    Ok(Some(Sight {
        noun: format!("machine {}", record.vmid),
        power: power.to_owned(),
        answers: None,
        addresses: vec![record.ip.into()],
        // A log that cannot be read complains of nothing.
        complaint: tail(&folder.join("log")).ok().and_then(|text| complaint(&text)),
    }))
}

fn tail(log: &Path) -> io::Result<String> {
    let mut file = std::fs::File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last line that complains, from its level on.
fn complaint(text: &str) -> Option<String> {
    let line = text.lines().rev().find(|line| COMPLAINTS.iter().any(|mark| line.contains(mark)))?;
    let from = COMPLAINTS.iter().filter_map(|mark| line.find(mark)).min().filter(|_| !line.starts_with('{'));
    Some(line.get(from.unwrap_or_default()..).unwrap_or(line).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_complaint_of_a_log_is_told_from_its_level_on() {
        let text =
            "2026-01-01T00:00:00Z  WARN a: old\n2026-01-01T00:00:01Z  WARN b: new\n2026-01-01T00:00:02Z  INFO c: x\n";
        assert_eq!(complaint(text).as_deref(), Some("WARN b: new"));
        assert_eq!(complaint("2026-01-01T00:00:02Z  INFO c: x\n"), None);
        let json = "{\"level\":\"ERROR\",\"message\":\"no\"}\n";
        assert_eq!(complaint(json).as_deref(), Some(json.trim()));
    }
}
