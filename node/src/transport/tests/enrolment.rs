//! First contact, renewal, and what a parent and a child make of each other's memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use homestak_protocol::fault::Code;
use homestak_protocol::message::{Reply, Request};

use super::fake::{Folder, Kid, Parent, Wish, life, options, path, quick};
use super::log::Log;
use crate::transport::uplink::status::UplinkPhase;
use crate::trust::clock::Clock;
use crate::trust::identity::{Identity, Introduction};
use crate::trust::pin::CaPin;

fn refused_with(phase: &UplinkPhase, code: Code) -> bool {
    matches!(phase, UplinkPhase::Refused(fault) if fault.code == code)
}

#[tokio::test]
async fn a_token_is_bound_to_the_first_key_that_shows_it() {
    let log = Log::capture();
    let parent = Parent::start();
    parent.expect("token", "father", life(1));
    let mut kid = Kid::start(parent.options("token"));
    kid.connected().await;
    // Another machine with the same token: a used token with another key.
    let mut thief = Kid::start(parent.options("token"));
    thief.until("a refusal", |status| refused_with(&status.phase, Code::TokenSpent)).await;
    assert!(log.warns(&["127.0.0.1", "path=father", "another key has shown this token"]), "{}", log.text());
    thief.stop().await;
    // The same machine, which has lost its certificate but not its key.
    let folder = kid.stop().await;
    std::fs::remove_file(folder.0.join("identity/identity.json")).unwrap();
    Kid::on(folder, parent.options("token"), Clock::system()).connected().await;
    let memory = parent.memory.lock().unwrap();
    assert_eq!(memory.enrolments, 2 + memory.refused.len());
    assert!(!log.text().contains("token=") && !log.text().contains("\"token\""));
}

#[tokio::test]
async fn a_token_of_nobody_or_of_a_sibling_lets_nobody_in() {
    let log = Log::capture();
    let parent = Parent::start();
    parent.expect("hers", "father/m/a", life(1));
    let mut sister = Kid::start(parent.options("hers"));
    sister.connected().await;
    parent.expect("mine", "father/m/b", life(2));
    let mut kid = Kid::start(parent.options("hers"));
    kid.until("a refusal", |status| refused_with(&status.phase, Code::TokenSpent)).await;
    assert!(log.warns(&["127.0.0.1", "path=father/m/a"]));
    let mut stranger = Kid::start(parent.options("invented"));
    stranger.until("a refusal", |status| refused_with(&status.phase, Code::TokenRefused)).await;
    assert!(log.warns(&["127.0.0.1", "no machine of ours"]));
    let memory = parent.memory.lock().unwrap();
    assert_eq!(memory.joins.iter().map(|(path, ..)| path.as_str()).collect::<Vec<_>>(), ["father/m/a"]);
    assert_eq!(memory.machines["mine"].key, None);
}

#[tokio::test]
async fn a_token_is_not_shown_to_whoever_has_not_the_pinned_ca() {
    let log = Log::capture();
    let parent = Parent::start();
    parent.expect("token", "father", life(1));
    let wrong = CaPin::parse(&format!("sha256:{}", "ab".repeat(32))).unwrap();
    let mut kid = Kid::start(options(parent.address, wrong, "token"));
    let status = kid.until("a refusal", |status| refused_with(&status.phase, Code::Identity)).await;
    let error = status.last_error.unwrap();
    assert!(error.contains(&parent.ca.pin().to_string()) && error.contains(&wrong.to_string()), "{error}");
    // The hub hears why, and says who it was.
    log.until(&["127.0.0.1", "a connection is refused", "expected sha256:abab"]).await;
    assert_eq!(parent.memory.lock().unwrap().enrolments, 0);
}

#[tokio::test]
async fn a_node_told_of_another_token_enrols_again_by_the_same_key() {
    let parent = Parent::start();
    parent.expect("first", "father", life(1));
    let mut kid = Kid::start(parent.options("first"));
    kid.connected().await;
    let folder = kid.stop().await;
    let key = parent.memory.lock().unwrap().machines["first"].key;
    parent.memory.lock().unwrap().machines.clear();
    parent.expect("second", "father", life(2));
    let mut kid = Kid::on(folder, parent.options("second"), Clock::system());
    kid.connected().await;
    assert_eq!(parent.memory.lock().unwrap().machines["second"].key, key);
    let folder = kid.stop().await;
    let identity = Identity::load_or_create(
        &folder.0.join("identity"),
        &Introduction { token: None, ..parent.options("second").told },
    );
    assert_eq!(identity.unwrap().enrolled().unwrap().incarnation, life(2));
}

#[tokio::test]
async fn a_child_whose_clock_is_in_1970_enrols_joins_and_learns_the_time() {
    let parent = Parent::start();
    parent.expect("token", "father", life(1));
    let clock = Clock::from_fn(|| 1_000);
    let mut kid = Kid::on(Folder::new(), parent.options("token"), clock.clone());
    kid.connected().await;
    assert!(clock.now_ms().abs_diff(parent.ca.clock().now_ms()) < 60_000);
    // And knows it from the start the next time.
    let folder = kid.stop().await;
    let clock = Clock::from_fn(|| 2_000);
    let mut kid = Kid::on(folder, parent.options("token"), clock.clone());
    kid.connected().await;
    assert!(clock.now_ms().abs_diff(parent.ca.clock().now_ms()) < 60_000);
    assert_eq!(parent.memory.lock().unwrap().enrolments, 1);
}

#[tokio::test]
async fn a_certificate_is_renewed_at_two_thirds_of_its_life_without_losing_the_link() {
    let wish = Wish { lifetime: Duration::from_secs(3), ..Wish::default() };
    let parent = Parent::as_wished(wish);
    parent.expect("token", "father", life(1));
    let mut kid = Kid::start(parent.options("token"));
    kid.connected().await;
    parent.until("two renewals", |memory| (memory.renewals >= 2).then_some(())).await;
    assert_eq!(parent.request("father", Request::Survey).await, Some(Reply::Surveyed(Vec::new())));
    let memory = parent.memory.lock().unwrap();
    assert_eq!((memory.joins.len(), memory.left.len(), memory.enrolments), (1, 0, 1));
}

#[tokio::test]
async fn a_certificate_that_ended_while_the_child_was_down_is_renewed_by_its_key() {
    let log = Log::capture();
    let ahead = Arc::new(AtomicU64::new(0));
    let hub_clock = Clock::from_fn({
        let (ahead, system) = (ahead.clone(), Clock::system());
        move || system.own_ms() + ahead.load(Ordering::Relaxed)
    });
    let parent = Parent::as_wished(Wish { clock: hub_clock, ..Wish::default() });
    parent.expect("token", "father", life(1));
    let mut kid = Kid::start(parent.options("token"));
    kid.connected().await;
    let folder = kid.stop().await;
    // Two hours later for the parent; the child does not know it yet and shows the certificate of one hour.
    ahead.store(7_200_000, Ordering::Relaxed);
    let clock = Clock::system();
    let mut kid = Kid::on(folder, parent.options("token"), clock.clone());
    kid.connected().await;
    assert!(log.warns(&["presented for father", "expired"]), "{}", log.text());
    assert!(clock.offset_ms() > 7_000_000);
    let folder = kid.stop().await;
    // This time it knows, and does not even try.
    ahead.store(20_000_000, Ordering::Relaxed);
    let later = Clock::from_fn({
        let system = Clock::system();
        move || system.own_ms() + 20_000_000
    });
    Kid::on(folder, parent.options("token"), later).connected().await;
    let memory = parent.memory.lock().unwrap();
    assert_eq!((memory.renewals, memory.enrolments), (2, 1));
}

#[tokio::test]
async fn a_revoked_key_is_neither_renewed_nor_let_in() {
    let log = Log::capture();
    let timing = crate::transport::limits::Timing { expiry_leeway: Duration::ZERO, ..quick() };
    let parent = Parent::as_wished(Wish { lifetime: Duration::from_secs(2), timing, ..Wish::default() });
    parent.expect("token", "father", life(1));
    let mut kid = Kid::start(parent.options("token"));
    kid.connected().await;
    parent.memory.lock().unwrap().machines.get_mut("token").unwrap().revoked = true;
    // Its link ends with its certificate at the latest.
    let (_, _, reason) = parent.until("the end of the link", |memory| memory.left.pop()).await;
    assert_eq!(reason, "its certificate has ended");
    kid.until("a refusal", |status| refused_with(&status.phase, Code::TokenSpent)).await;
    assert!(log.warns(&["a renewal is refused", "path=father", "revoked"]), "{}", log.text());
    assert!(log.warns(&["a request to enrol is refused", "path=father", "revoked"]), "{}", log.text());
    assert_eq!(parent.memory.lock().unwrap().joins.len(), 1);
}

#[tokio::test]
async fn a_revoked_child_with_a_good_certificate_is_turned_away_at_its_hello() {
    let log = Log::capture();
    let parent = Parent::start();
    parent.expect("token", "father", life(1));
    let mut kid = Kid::start(parent.options("token"));
    kid.connected().await;
    let folder = kid.stop().await;
    parent.memory.lock().unwrap().machines.get_mut("token").unwrap().revoked = true;
    let mut kid = Kid::on(folder, parent.options("token"), Clock::system());
    kid.until("a refusal", |status| refused_with(&status.phase, Code::TokenSpent)).await;
    assert!(log.warns(&["a link is refused", "127.0.0.1", "path=father", "revoked"]), "{}", log.text());
}

#[tokio::test]
async fn a_parent_that_has_forgotten_the_key_takes_the_token_that_it_gave() {
    let parent = Parent::start();
    parent.expect("token", "father", life(1));
    let mut kid = Kid::start(parent.options("token"));
    kid.connected().await;
    let folder = kid.stop().await;
    // As after a restore from a backup that is older than the first contact.
    parent.expect("token", "father", life(1));
    let mut kid = Kid::on(folder, parent.options("token"), Clock::system());
    kid.connected().await;
    let memory = parent.memory.lock().unwrap();
    assert_eq!((memory.enrolments, memory.joins.len()), (2, 2));
    assert_eq!(memory.joins[1].0, path("father"));
}
