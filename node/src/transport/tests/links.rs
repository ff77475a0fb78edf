//! Links that are lost, replaced, full, or led astray.

use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use homestak_protocol::fault::Code;
use homestak_protocol::ids::Position;
use homestak_protocol::message::{Reply, Report, Request};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::fake::{DEADLINE, Folder, Kid, Parent, Wish, life, options, path, quick};
use super::golden::entry;
use super::log::Log;
use super::relay::Relay;
use crate::link::LinkCommand;
use crate::transport::addresses::Addresses;
use crate::transport::limits::{MAX_REQUESTS, Timing};
use crate::transport::uplink::UplinkOptions;
use crate::trust::clock::Clock;
use crate::trust::identity::{Identity, Introduction};

fn hasty() -> Timing {
    Timing { keep_alive: Duration::from_millis(100), idle: Duration::from_millis(500), ..quick() }
}

#[tokio::test]
async fn a_link_dead_for_longer_than_the_idle_timeout_is_noticed_on_both_sides_and_made_again() {
    // The parent tells no addresses, so that the only way is through the relay.
    let addresses = Addresses { override_for: Some(Arc::new(|_| Some(Vec::new()))), ..Addresses::default() };
    let parent = Parent::as_wished(Wish { timing: hasty(), addresses, ..Wish::default() });
    parent.expect("token", "father", life(1));
    let relay = Relay::to(parent.address).await;
    let mut kid = Kid::start(UplinkOptions { timing: hasty(), ..options(relay.address, parent.ca.pin(), "token") });
    kid.connected().await;
    let asked = {
        let link = parent.memory.lock().unwrap().links[&path("father")].clone();
        let (answer, answered) = oneshot::channel();
        link.commands.send(LinkCommand::Request(Request::Drain, answer)).await.unwrap();
        answered
    };
    relay.set_deaf(true);
    let (_, _, reason) = parent.until("the end of the link", |memory| memory.left.pop()).await;
    assert_eq!(reason, "no answer in time");
    assert!(timeout(DEADLINE, asked).await.unwrap().is_err(), "whoever waits for an answer learns that there is none");
    kid.until("the end of the link", |status| !status.is_connected()).await;
    relay.set_deaf(false);
    kid.connected().await;
    kid.report(Report::Entries(vec![entry(1)])).await;
    kid.acked.wait_for(|upto| *upto == Position(1)).await.unwrap();
    assert_eq!(parent.memory.lock().unwrap().enrolments, 1);
}

#[tokio::test]
async fn a_restarted_parent_is_found_again_and_known_again() {
    let log = Log::capture();
    let parent = Parent::start();
    parent.expect("token", "father", life(1));
    let mut kid = Kid::start(parent.options("token"));
    kid.connected().await;
    let address = parent.address;
    let (folder, memory) = parent.stop().await;
    kid.until("the end of the link", |status| status.last_error.is_some()).await;
    assert!(log.warns(&["no link to the parent", "the link was lost: the parent is shutting down"]), "{}", log.text());
    let parent = Parent::on(folder, Wish { bind: address, ..Wish::default() }, memory);
    kid.connected().await;
    assert_eq!(parent.request("father", Request::Survey).await, Some(Reply::Surveyed(Vec::new())));
}

#[tokio::test]
async fn a_killed_parent_that_runs_again_tells_its_children_at_once() {
    let long = Timing { keep_alive: Duration::from_millis(100), idle: 4 * DEADLINE, ..quick() };
    let untold = || Addresses { override_for: Some(Arc::new(|_| Some(Vec::new()))), ..Addresses::default() };
    let parent = Parent::as_wished(Wish { timing: long.clone(), addresses: untold(), ..Wish::default() });
    parent.expect("token", "father", life(1));
    let relay = Relay::to(parent.address).await;
    let options = options(relay.address, parent.ca.pin(), "token");
    let mut kid = Kid::start(UplinkOptions { timing: long.clone(), ..options });
    kid.connected().await;
    // The same hub in another process: the same CA and the same memory, but no connections.
    let copy = Folder::new();
    std::fs::create_dir(copy.0.join("ca")).unwrap();
    for file in ["key.der", "ca.der"] {
        std::fs::copy(parent.folder.0.join("ca").join(file), copy.0.join("ca").join(file)).unwrap();
    }
    let again = Parent::on(copy, Wish { timing: long, addresses: untold(), ..Wish::default() }, parent.memory.clone());
    relay.turn_to(again.address);
    again.until("a second link", |memory| (memory.joins.len() == 2).then_some(())).await;
    kid.connected().await;
    assert_eq!(again.request("father", Request::Survey).await, Some(Reply::Surveyed(Vec::new())));
}

#[tokio::test]
async fn a_newer_link_of_the_same_child_takes_the_place_of_the_older() {
    let parent = Parent::start();
    parent.expect("token", "father", life(1));
    let mut kid = Kid::start(parent.options("token"));
    kid.connected().await;
    let twin = Folder::new();
    std::fs::create_dir(twin.0.join("identity")).unwrap();
    for file in ["key.der", "identity.json"] {
        std::fs::copy(kid.folder.0.join("identity").join(file), twin.0.join("identity").join(file)).unwrap();
    }
    let slow = Timing { backoff_min: DEADLINE, backoff_max: DEADLINE, ..quick() };
    let mut newer = Kid::on(twin, UplinkOptions { timing: slow, ..parent.options("token") }, Clock::system());
    newer.connected().await;
    let (_, gone, reason) = parent.until("the older's end", |memory| memory.left.pop()).await;
    assert!(reason.contains("a newer link has taken its place"), "{reason}");
    let status = kid.until("the end of its link", |status| status.last_error.is_some()).await;
    assert!(status.last_error.unwrap().contains("a newer link has taken its place"));
    kid.stop().await;
    assert!(parent.memory.lock().unwrap().joins.iter().any(|(_, link, _)| *link > gone));
}

#[tokio::test]
async fn acknowledgements_pass_while_requests_wait_and_too_many_requests_are_refused() {
    let parent = Parent::start();
    parent.expect("token", "father", life(1));
    let mut kid = Kid::start(parent.options("token"));
    kid.connected().await;
    let link = parent.until("the link", |memory| memory.links.get(&path("father")).cloned()).await;
    let mut waiting = Vec::new();
    for _ in 0..MAX_REQUESTS {
        let (answer, answered) = oneshot::channel();
        link.commands.send(LinkCommand::Request(Request::Drain, answer)).await.unwrap();
        waiting.push(answered);
    }
    let refused = parent.request("father", Request::Survey).await;
    assert!(matches!(refused, Some(Reply::Refused(fault)) if fault.code == Code::Full && fault.retryable));
    kid.report(Report::Entries(vec![entry(1)])).await;
    kid.acked.wait_for(|upto| *upto == Position(1)).await.unwrap();
    // Those that nobody waits for make room.
    drop(waiting);
    let mut answered = false;
    while !answered {
        answered = matches!(parent.request("father", Request::Survey).await, Some(Reply::Surveyed(_)));
    }
}

#[tokio::test]
async fn what_the_parent_says_of_its_addresses_is_kept_and_tried() {
    let parent = Parent::start();
    parent.expect("token", "father", life(1));
    let mut kid = Kid::start(parent.options("token"));
    kid.connected().await;
    let folder = kid.stop().await;
    // A configured address where nobody answers.
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let options = options(nobody.local_addr().unwrap(), parent.ca.pin(), "token");
    let mut kid = Kid::on(folder, options, Clock::system());
    kid.connected().await;
    let folder = kid.stop().await;
    let told = Introduction { token: None, ca: parent.ca.pin() };
    let identity = Identity::load_or_create(&folder.0.join("identity"), &told).unwrap();
    assert_eq!(identity.enrolled().unwrap().addresses, [parent.address.to_string()]);
}

#[tokio::test]
async fn tcp_that_answers_where_udp_does_not_is_an_error_of_its_own() {
    let parent = Parent::start();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let _silent = UdpSocket::bind(address).unwrap();
    let timing = Timing { connect: Duration::from_millis(100), ..quick() };
    let mut kid = Kid::start(UplinkOptions { timing, ..options(address, parent.ca.pin(), "token") });
    let named = format!("{address} answers on TCP but not on UDP");
    kid.until("the suspicion", |status| status.last_error.as_ref().is_some_and(|error| error.contains(&named))).await;
    drop(tcp);
    kid.until("its end", |status| status.last_error.as_ref().is_some_and(|error| error.contains("no answer"))).await;
}

#[tokio::test]
async fn a_hundred_children_come_at_once_and_each_is_reached() {
    let parent = Parent::start();
    let mut kids = Vec::new();
    for i in 0..100 {
        let (token, at) = (format!("token-{i}"), format!("father/m/n{i}"));
        parent.expect(&token, &at, life(i));
        kids.push((Kid::start(parent.options(&token)), at));
    }
    let mut connected = JoinSet::new();
    for (mut kid, at) in kids {
        connected.spawn(async move {
            kid.connected().await;
            (kid, at)
        });
    }
    while let Some(kid) = connected.join_next().await {
        let (kid, at) = kid.unwrap();
        assert_eq!(parent.request(&at, Request::Survey).await, Some(Reply::Surveyed(Vec::new())));
        drop(kid);
    }
    assert_eq!(parent.memory.lock().unwrap().joins.len(), 100);
}
