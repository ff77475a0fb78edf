//! What the log says of those who are turned away: who and why, at once, and then how often, once in a while. Whoever
//! knocks a thousand times a second fills no disk.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use homestak_protocol::path::NodePath;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// How long the same is only counted after it was said.
const WINDOW: Duration = Duration::from_secs(10);

/// How many different things are said of one address within [`WINDOW`]: more than there are ways to be refused, but a
/// reason may hold words of the peer's own.
const REASONS: usize = 32;

/// How many addresses are told apart; those beyond are counted together. Each costs a few KiB at worst.
const SOURCES: usize = 1024;

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum What {
    Connection,
    Enrolment,
    Link,
    Renewal,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Reason {
    what: What,
    path: Option<NodePath>,
    why: String,
}

/// What one address was refused since it was first.
#[derive(Debug)]
struct Source {
    since: Instant,
    first: SocketAddr,
    /// What was said, and how often it happened again.
    again: HashMap<Reason, u32>,
    others: u32,
}

/// A line of the log.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    address: Option<SocketAddr>,
    reason: Reason,
    /// How often it has happened besides.
    more: u32,
}

/// An address, and whether a peer with a name has spoken: what strangers make up leaves room for what is said of others.
type Speaker = (IpAddr, bool);

#[derive(Debug, Default)]
struct Book {
    sources: HashMap<Speaker, Source>,
    strangers: u32,
}

/// The refusals of a hub.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    book: Mutex<Book>,
    some: Notify,
}

impl Refusals {
    /// Somebody is turned away.
    pub(super) fn note(&self, what: What, address: SocketAddr, path: Option<&NodePath>, why: &str) {
        let reason = Reason { what, path: path.cloned(), why: why.to_owned() };
        let line = self.book().note(Instant::now(), address, reason);
        self.some.notify_one();
        line.iter().for_each(Line::say);
    }

    /// Says in time what was only counted, for as long as it is polled.
    pub(super) async fn tell(&self) {
        loop {
            self.some.notified().await;
            sleep(WINDOW).await;
            let (lines, rest) = {
                let mut book = self.book();
                (book.over(Instant::now()), !book.is_empty())
            };
            lines.iter().for_each(Line::say);
            if rest {
                self.some.notify_one();
            }
        }
    }

    /// Says what is left to say.
    pub(super) fn close(&self) {
        let lines = self.book().over(Instant::now() + WINDOW);
        lines.iter().for_each(Line::say);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.strangers == 0
    }

    /// The line, if it is to be said now.
    fn note(&mut self, now: Instant, address: SocketAddr, reason: Reason) -> Option<Line> {
        let speaker: Speaker = (address.ip(), reason.path.is_some());
        if !self.sources.contains_key(&speaker) && self.sources.len() >= SOURCES {
            self.strangers = self.strangers.saturating_add(1);
            return None;
        }
        let fresh = || Source { since: now, first: address, again: HashMap::new(), others: 0 };
        let source = self.sources.entry(speaker).or_insert_with(fresh);
        if let Some(again) = source.again.get_mut(&reason) {
            *again = again.saturating_add(1);
        } else if source.again.len() >= REASONS {
            source.others = source.others.saturating_add(1);
        } else {
            source.again.insert(reason.clone(), 0);
            return Some(Line { address: Some(address), reason, more: 0 });
        }
        None
    }

    /// What was counted of those whose time is over; they are said anew when they come again.
    fn over(&mut self, now: Instant) -> Vec<Line> {
        let mut lines = Vec::new();
        self.sources.retain(|_, source| {
            if now.saturating_duration_since(source.since) < WINDOW {
                return true;
            }
            let address = Some(source.first);
            let again = source.again.drain().filter(|(_, more)| *more > 0);
            lines.extend(again.map(|(reason, more)| Line { address, reason, more }));
            lines.extend(summary(address, "it was refused for other reasons too", source.others));
            false
        });
        lines.extend(summary(None, "other addresses were refused too", mem::take(&mut self.strangers)));
        lines
    }
}

fn summary(address: Option<SocketAddr>, why: &str, more: u32) -> Option<Line> {
    let reason = Reason { what: What::Connection, path: None, why: why.to_owned() };
    (more > 0).then_some(Line { address, reason, more })
}

impl Line {
    fn say(&self) {
        let Reason { what, path, why } = &self.reason;
        let address = self.address.as_ref().map(tracing::field::display);
        let path = path.as_ref().map(tracing::field::display);
        let more = (self.more > 0).then_some(self.more);
        tracing::warn!(address, path, why, more, "{what}");
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            What::Connection => "a connection is refused",
            What::Enrolment => "a request to enrol is refused",
            What::Link => "a link is refused",
            What::Renewal => "a renewal is refused",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(why: &str) -> Reason {
        Reason { what: What::Connection, path: None, why: why.into() }
    }

    fn address(last: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], port))
    }

    #[test]
    fn who_and_why_is_said_at_once_and_what_repeats_is_counted() {
        let (mut book, now) = (Book::default(), Instant::now());
        assert!(book.note(now, address(1, 10), reason("no token")).is_some());
        assert!((0..500).all(|n| book.note(now, address(1, 11 + n), reason("no token")).is_none()));
        assert!(book.note(now, address(1, 10), reason("no certificate")).is_some(), "another reason");
        assert!(book.note(now, address(2, 10), reason("no token")).is_some(), "another address");
        assert!(book.over(now + WINDOW / 2).is_empty());
        let due = Line { address: Some(address(1, 10)), reason: reason("no token"), more: 500 };
        assert_eq!(book.over(now + WINDOW), [due]);
        assert!(book.is_empty());
        assert!(book.note(now + WINDOW, address(1, 10), reason("no token")).is_some(), "it comes again");
    }

    #[test]
    fn neither_reasons_nor_addresses_without_end_are_kept() {
        let (mut book, now) = (Book::default(), Instant::now());
        let said = (0..1000).filter_map(|n| book.note(now, address(1, 10), reason(&format!("word {n}")))).count();
        assert_eq!(said, REASONS);
        for n in 0..=u16::MAX {
            let [high, low] = n.to_be_bytes();
            book.note(now, SocketAddr::from(([198, 51, high, low], 1)), reason("no token"));
        }
        assert_eq!(book.sources.len(), SOURCES);
        let counts: Vec<_> = book.over(now + WINDOW).iter().map(|line| line.more).collect();
        let strangers = usize::from(u16::MAX) + 1 - (SOURCES - 1);
        assert_eq!(counts, [1000 - u32::try_from(REASONS).unwrap(), u32::try_from(strangers).unwrap()]);
    }
}
