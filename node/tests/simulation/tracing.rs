//! What happened, in few words.

use homestak_node::core::step::{Answer, Effect, Input, Local, Sent, Work};
use homestak_protocol::event::{Change, Entry};
use homestak_protocol::message::{Reply, Report, Request};

fn of_change(change: &Change) -> String {
    match change {
        Change::Node(node) => {
            let fault = node.fault.as_ref().map(|fault| format!(" ({fault})")).unwrap_or_default();
            let action = node.action.map(|action| format!("/{action}")).unwrap_or_default();
            format!("{} {}{action}{fault}", node.path, node.status)
        }
        Change::Phase(phase) => format!("{} {} {}", phase.path, phase.phase, phase.status),
        Change::Settled(settled) => format!("{} settled {:?}", settled.path, settled.word),
        Change::Gap(gap) => format!("gap {} after {}", gap.origin, gap.after),
        Change::Drift(drift) => format!("{} drifted in {}", drift.path, drift.differences),
    }
}

fn of_entries(entries: &[Entry]) -> String {
    let told: Vec<_> = entries
        .iter()
        .map(|entry| {
            let event = &entry.event;
            format!("@{} {} g{} {}", entry.position, event.seq, event.scope.generation, of_change(&event.change))
        })
        .collect();
    told.join("; ")
}

fn of_request(request: &Request) -> String {
    match request {
        Request::Order { order, word } => {
            let generation = order.open().map(|order| order.generation.to_string()).unwrap_or_default();
            format!("order g{generation} word {word:?}")
        }
        Request::Directive(directive) => format!("{:?} g{}", directive.verb, directive.generation),
        other => format!("{other:?}"),
    }
}

fn of_reply(reply: &Reply) -> String {
    match reply {
        Reply::Refused(fault) => format!("refused: {fault}"),
        Reply::Done => "done".to_owned(),
        Reply::Surveyed(_) => "surveyed".to_owned(),
        Reply::Seen(_) => "seen".to_owned(),
        Reply::Inventory(_) => "inventory".to_owned(),
        Reply::Described(_) => "described".to_owned(),
        Reply::Sources(_) => "sources".to_owned(),
        Reply::Compared(_) => "compared".to_owned(),
    }
}

/// What reaches a process; none for what says nothing about how things stand.
pub(crate) fn of_input(input: &Input) -> Option<String> {
    Some(match input {
        Input::Report { path, report: Report::Entries(entries), .. } => format!("< {path}: {}", of_entries(entries)),
        Input::Report { .. } | Input::Acked(_) => return None,
        Input::Request { request, .. } => format!("< request {}", of_request(request)),
        Input::Join { link, hello, .. } => {
            let known = hello.generations.iter().map(|(tree, generation)| format!("{tree} g{generation}"));
            format!("< join {} link {} knows {:?}", hello.path, link.0, known.collect::<Vec<_>>())
        }
        Input::Sent { sent, path, reply, .. } => {
            let sent = match sent {
                Sent::Order(_, generation) => format!("order g{generation}"),
                Sent::Word(_, generation, verb) => format!("{verb:?} g{generation}"),
                other => format!("{other:?}"),
            };
            format!("< {path} on {sent}: {}", reply.as_ref().map_or("lost".to_owned(), of_reply))
        }
        Input::Worked { who, result: Ok(worked), .. } => format!("< {who:?} done: {worked:?}"),
        Input::Worked { who, result: Err(fault), .. } => format!("< {who:?} failed: {fault}"),
        Input::Timer(key) => format!("< timer {:?} {:?} e{}", key.who, key.kind, key.epoch),
        Input::Local { ask: Local::Order(order), .. } => format!("< local order g{}", order.generation),
        Input::Local { ask: Local::Directive(word), .. } => format!("< local {:?} g{}", word.verb, word.generation),
        other => {
            let text = format!("{other:?}");
            format!("< {}", text.chars().take(240).collect::<String>())
        }
    })
}

/// What a process does; none for what nobody outside it notices.
pub(crate) fn of_effect(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Work { who, generation, work, .. } => {
            let life = match work {
                Work::Ensure { incarnation, .. } => format!(" {:.6}", incarnation.to_string()),
                _ => String::new(),
            };
            format!("> {} {who:?} g{generation}{life}", work.name())
        }
        Effect::CancelWork { who, .. } => format!("> give up {who:?}"),
        Effect::Send { path, link, request, .. } => format!("> {path} link {}: {}", link.0, of_request(request)),
        Effect::Close { path, link, why } => format!("> close {path} link {}: {why}", link.0),
        Effect::Report(Report::Entries(entries)) => format!("> up: {}", of_entries(entries)),
        Effect::Answer { answer: Answer::Reply(reply), .. } => format!("> answer {}", of_reply(reply)),
        Effect::Answer { answer, .. } => format!("> answer {answer:?}"),
        Effect::Timer { key, after_ms } => format!("> timer {:?} {:?} e{} {after_ms}", key.who, key.kind, key.epoch),
        Effect::Inquire { .. } | Effect::Ack { .. } | Effect::Report(_) | Effect::Told(_) => return None,
        Effect::Watch { .. } | Effect::Unwatch { .. } => return None,
    })
}
