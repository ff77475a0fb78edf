//! Everybody comes at once, as after a power cut: all of them get in, in the end, and nobody who gives up and tries again
//! makes it take longer for the rest.

use std::time::Duration;

use homestak_protocol::message::{Reply, Request};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::fake::{Kid, Parent, life};
use crate::transport::uplink::status::UplinkStatus;

/// How many come: more than one address may have at the door at once, so that some are turned away at first.
const CHILDREN: u128 = 600;

/// By when all must be in. A free processor, which does the children's part as well here, takes 10 s, unoptimized.
const LIMIT: Duration = Duration::from_secs(300);

#[tokio::test]
async fn hundreds_of_children_that_enrol_at_once_all_come_to_join() {
    let parent = Parent::start();
    let mut kids = JoinSet::new();
    for i in 0..CHILDREN {
        let (token, at) = (format!("token-{i}"), format!("father/m/n{i}"));
        parent.expect(&token, &at, life(i));
        let mut kid = Kid::start(parent.options(&token));
        kids.spawn(async move {
            kid.status.wait_for(UplinkStatus::is_connected).await.expect("the uplink has ended");
            (kid, at)
        });
    }
    let mut joined = Vec::new();
    let all = async {
        while let Some(kid) = kids.join_next().await {
            joined.push(kid.unwrap());
        }
    };
    let in_time = timeout(LIMIT, all).await.is_ok();
    assert!(in_time, "only {} of {CHILDREN} have joined", joined.len());
    for (_, at) in joined.iter().step_by(100) {
        assert_eq!(parent.request(at, Request::Survey).await, Some(Reply::Surveyed(Vec::new())));
    }
}
