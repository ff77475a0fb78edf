//! Programs of different builds at one socket.

use crate::stage::Stage;

const OTHER: &str = r#"{"program":"homestak-coord","build":"another","version":"9.9","state_dir":"/x","site":"demo"}"#;

#[test]
fn a_program_of_another_build_is_told_so_and_nothing_else() {
    let stage = Stage::set();
    let _daemon = stage.foreground(&[]);
    let mut talk = stage.connect().unwrap();
    talk.say(OTHER);
    let greeting = talk.hear();
    assert_eq!((&greeting["program"], &greeting["site"]), (&"homestak-coord".into(), &"demo".into()));
    assert_ne!(greeting["build"], "another");
    assert_eq!(greeting["making_way"], false);
    // What it asks in words of its own is not answered, and does no harm.
    talk.say(r#"{"server_stop":"now"}"#);
    talk.say(r#""server_stop""#);
    assert_eq!(stage.json(0, &["server", "status"])["running"], true);
}

#[test]
fn an_idle_daemon_makes_way_for_another_build() {
    let stage = Stage::set();
    let mut daemon = stage.foreground(&[]);
    let mut talk = stage.connect().unwrap();
    talk.say(&OTHER.replace("\"build\"", "\"make_way\":true,\"build\""));
    assert_eq!(talk.hear()["making_way"], true);
    // The connection ends with the process.
    assert_eq!(talk.hear_out(), "");
    assert_eq!(daemon.code(), Some(0));
}

#[test]
fn a_client_that_sends_nonsense_or_too_much_is_dropped_and_harms_nobody() {
    let stage = Stage::set();
    let _daemon = stage.foreground(&[]);
    for nonsense in ["", "{", "[]", "GET / HTTP/1.1", &"x".repeat(20_000)] {
        let mut talk = stage.connect().unwrap();
        talk.offer(nonsense);
        assert_eq!(talk.hear_out(), "", "{nonsense:.20}");
    }
    // The right greeting, and then no request.
    let build = {
        let mut talk = stage.connect().unwrap();
        talk.say(OTHER);
        talk.hear()["build"].as_str().unwrap().to_owned()
    };
    let mut talk = stage.connect().unwrap();
    talk.say(&OTHER.replace("another", &build));
    talk.hear();
    talk.say(r#"{"no_such_request":{}}"#);
    assert_eq!(talk.hear_out(), "");
    assert_eq!(stage.json(0, &["server", "status"])["healthy"], true);
}
