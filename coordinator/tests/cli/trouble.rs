//! Daemons that are not as they should be: exit 4 with a remedy, or 3 where it serves another site.

use homestak_coord::api::{Document, Exit, Request, RunVerb};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::daemon::Daemon;
use crate::program::{Place, Told};
use crate::tree;

fn refused(told: &Told, code: i32) {
    assert_eq!(told.code, code, "{told}");
    assert!(told.stderr.contains("error[E") && told.stderr.contains("hint:"), "{told}");
    assert!(!told.stderr.contains("panicked") && told.stdout.is_empty(), "{told}");
}

#[test]
fn what_makes_no_sense_is_refused_with_a_remedy() {
    let long = vec![b'x'; 40 * 1024 * 1024];
    let nonsense: [&[u8]; 5] = [b"\n", b"{}\n", b"{\"done\":", &[0xff, 0x00, b'\n'], &long];
    for bytes in nonsense {
        let place = Place::new();
        let bytes = bytes.to_vec();
        let _daemon = Daemon::new(&place, move |_, peer| peer.babble(&bytes));
        refused(&place.run(&["status"]), 4);
    }
}

#[test]
fn a_daemon_that_goes_away_before_it_has_answered_is_told() {
    let place = Place::new();
    let _daemon = Daemon::new(&place, |_, _| {});
    for words in [&["status"][..], &["apply", "n2-tiered"], &["plan", "n2-tiered"], &["runs"], &["agents"]] {
        refused(&place.run(words), 4);
    }
    let json = place.run(&["apply", "n2-tiered", "--json"]);
    assert_eq!((json.code, &json.json()["verb"], json.json()["error"]["hint"].is_string()), (4, &"apply".into(), true));
}

#[test]
fn an_answer_to_another_question_is_refused() {
    let place = Place::new();
    let _daemon = Daemon::new(&place, |_, peer| peer.done(Exit::Done, Document::Empty));
    for words in [&["status"][..], &["apply", "n2-tiered"], &["plan", "n2-tiered"], &["runs"], &["agents"]] {
        refused(&place.run(words), 4);
    }
}

#[test]
fn a_run_whose_daemon_goes_away_is_followed_at_the_next_one() {
    let place = Place::new();
    let connections = AtomicU32::new(0);
    let daemon = Daemon::new(&place, move |_, peer| {
        peer.say(&tree::started(RunVerb::Apply));
        if connections.fetch_add(1, Ordering::SeqCst) > 0 {
            peer.done(Exit::Done, Document::Run(tree::finished(RunVerb::Apply)));
        }
    });
    let told = place.run(&["apply", "n2-tiered"]);
    assert!(told.code == 0 && told.stderr.contains("went away"), "{told}");
    assert!(matches!(daemon.asked(), Request::Run(..)));
    assert!(matches!(daemon.asked(), Request::Attach { run } if run.to_string() == tree::RUN));
}

#[test]
fn a_daemon_that_keeps_going_away_is_not_started_for_ever() {
    let place = Place::new();
    let daemon = Daemon::new(&place, |_, peer| peer.say(&tree::started(RunVerb::Apply)));
    refused(&place.run(&["apply", "n2-tiered"]), 4);
    assert_eq!(daemon.rest().len(), 4);
}

#[test]
fn another_site_another_build_and_another_program_are_told_apart() {
    let site = Place::new();
    let _other_site = Daemon::greeting(&site, |greeting| greeting.site = "/srv/site".into(), |_, _| {});
    let told = site.run(&["apply", "n2-tiered"]);
    refused(&told, 3);
    assert!(told.stderr.contains("/srv/site"), "{told}");

    let busy = Place::new();
    let change = |greeting: &mut homestak_coord::api::Greeting| {
        greeting.build = "0.0.1+older".into();
        greeting.busy = tree::RUN.into();
    };
    let _other_build = Daemon::greeting(&busy, change, |_, _| {});
    let told = busy.run(&["status"]);
    refused(&told, 4);
    assert!(told.stderr.contains(tree::RUN), "{told}");
    let status = busy.run(&["server", "status", "--json"]);
    assert_eq!((status.code, &status.json()["running"]), (2, &true.into()), "{status}");

    let stranger = Place::new();
    let _program = Daemon::greeting(&stranger, |greeting| greeting.program = "httpd".into(), |_, _| {});
    refused(&stranger.run(&["status"]), 4);
}

#[test]
fn a_daemon_that_is_not_there_is_not_running_and_nothing_to_stop() {
    let place = Place::new();
    let told = place.run(&["server", "status"]);
    assert!(told.code == 1 && told.stdout.starts_with("Server: not running\n"), "{told}");
    let json = place.run(&["server", "status", "--json"]);
    assert_eq!((&json.json()["running"], &json.json()["healthy"]), (&false.into(), &false.into()));
    assert_eq!(place.run(&["server", "stop"]).code, 0);
    assert!(!place.path("state").exists(), "looking must not make a state folder");
}
