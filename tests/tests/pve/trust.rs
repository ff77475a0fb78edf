//! The connections to a host: whose certificate is trusted, and how long one is kept.

use std::time::Duration;

use homestak_agent::provider::pve::Waits;
use homestak_protocol::order::NodeKind;
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::stage::Stage;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::provider::{Driver, identity, machine};

/// More than an error takes that is told at once, and less than what passes is waited for.
const AT_ONCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_host_is_known_by_its_ca_or_its_fingerprint_and_another_one_is_refused_at_once() {
    if !fakepve::is_installed("a_host_is_known_by_its_ca_or_its_fingerprint_and_another_one_is_refused_at_once") {
        return;
    }
    let stage = Stage::set("pve-trust");
    let [host, other] = ["father", "other"].map(|node| FakePve::start(&stage, node, 0.0));
    let by = |key: &str, value: String| {
        let mut settings = host.settings();
        settings.as_object_mut().unwrap().remove("fingerprint");
        settings[key] = json!(value);
        Driver::with(&settings, &stage.folder().join("state"), Waits::default())
    };
    let ask = || machine("edge", NodeKind::Vm, Some(600));
    by("ca", host.ca.display().to_string()).ensure(ask()).await.unwrap();
    by("fingerprint", host.settings()["fingerprint"].as_str().unwrap().to_owned()).ensure(ask()).await.unwrap();
    let theirs = other.settings()["fingerprint"].as_str().unwrap().to_owned();
    for (key, value) in [("ca", other.ca.display().to_string()), ("fingerprint", theirs)] {
        let driver = by(key, value);
        let refused = timeout(AT_ONCE, driver.ensure(ask())).await.expect("it is told at once").unwrap_err();
        assert_eq!((refused.code.as_str(), refused.retryable), ("E701", false), "{key}: {refused:?}");
        assert!(refused.message.contains("certificate"), "{key}: {refused:?}");
        let hint = refused.hint.unwrap_or_default();
        assert!(hint.contains("`pve: fingerprint` or `pve: ca`"), "{key}: {hint}");
    }
    assert_eq!(other.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn a_token_that_is_replaced_is_read_anew_before_anybody_notices() {
    if !fakepve::is_installed("a_token_that_is_replaced_is_read_anew_before_anybody_notices") {
        return;
    }
    let stage = Stage::set("pve-token");
    let host = FakePve::start(&stage, "father", 0.0);
    let (mut settings, file) = (host.settings(), stage.folder().join("token"));
    let (id, value) = settings["api_token"].as_str().unwrap().split_once('=').unwrap();
    std::fs::write(&file, format!("{id}={value}\n")).unwrap();
    let (id, other) = (id.to_owned(), "00000000-0000-4000-8000-000000000002");
    settings.as_object_mut().unwrap().remove("api_token");
    settings["api_token_file"] = json!(file);
    let driver = Driver::with(&settings, &stage.folder().join("state"), Waits::default());
    let ask = machine("edge", NodeKind::Vm, Some(600));
    driver.ensure(ask.clone()).await.unwrap();
    std::fs::write(&file, format!("{id}={other}\n")).unwrap();
    host.set("apitokens", json!({ &id: other }));
    driver.ensure(ask.clone()).await.unwrap();
    // One that is refused whichever is read is one error.
    host.set("apitokens", json!({ &id: "00000000-0000-4000-8000-000000000003" }));
    let refused = timeout(AT_ONCE, driver.ensure(ask.clone())).await.expect("it is told at once").unwrap_err();
    assert!(refused.hint.is_some_and(|hint| hint.contains("`pve: api_token`")));
    host.set("apitokens", json!({ &id: other }));
    driver.destroy(identity(&ask)).await.unwrap();
}

/// PVE closes a connection on which nothing is asked for 5 s.
#[tokio::test]
async fn a_connection_that_was_idle_for_longer_is_not_used_again() {
    if !fakepve::is_installed("a_connection_that_was_idle_for_longer_is_not_used_again") {
        return;
    }
    let stage = Stage::set("pve-idle");
    let host = FakePve::start(&stage, "father", 0.0);
    let driver = Driver::open(&host, &stage.folder().join("state"));
    let look = async || {
        driver.addresses(identity(&machine("edge", NodeKind::Vm, None))).await.unwrap();
        host.seen().last().unwrap().port
    };
    let (first, second) = (look().await, look().await);
    assert_eq!(first, second, "one connection is enough");
    // A little more than it is kept, and less than PVE waits: it is not PVE that has closed it.
    sleep(Duration::from_millis(3_500)).await;
    let third = look().await;
    assert_ne!(second, third, "a new one is made");
}
