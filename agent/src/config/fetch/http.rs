//! One HTTPS request for a spec, within a limit and a size.

use std::time::Duration;

use homestak_node::https_client::{Answer, HttpsClient, Server};
use homestak_node::lifecycle::Lifecycle;
use homestak_protocol::secret::Secret;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use hyper::{HeaderMap, Method};

use super::Known;

/// How long a server may take to answer: as long as in the earlier system.
const LIMIT: Duration = Duration::from_secs(30);
/// The largest answer. A spec with a thousand packages and keys has 100 KiB.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// Gets a path of a server, given as `host:port`.
pub(super) async fn get(server: &str, path: &str, token: Option<&Secret>, known: &Known) -> Result<Answer, String> {
    let (host, port) = server.rsplit_once(':').ok_or("this names no port")?;
    let port = port.parse().map_err(|_| "this names no port")?;
    let host = host.trim_matches(['[', ']']).to_owned();
    let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
    if let Some(token) = token {
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose()))
            .map_err(|_| "the token has characters that no token has")?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
    }
    // Its connection ends with this one request.
    let life = Lifecycle::new();
    let _end = life.ending.clone().drop_guard();
    let tls = known.config.clone();
    let server = Server { host, port, tls, idle: Duration::ZERO, max_answer: MAX_BODY };
    let client = if known.by_pin { HttpsClient::of_hub(server, &life) } else { HttpsClient::new(server, &life) }?;
    client.ask(Method::GET, path, headers, Vec::new(), LIMIT).await.map_err(|error| error.to_string())
}
