//! Asking the API of a Proxmox VE host, from here, whether it is there and takes the host's token.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::header::{ACCEPT, AUTHORIZATION};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use homestak_node::https_client::{HttpsClient, Server};
use homestak_node::lifecycle::Lifecycle;
use homestak_node::tls::{ServerTrust, https_client_of};
use homestak_protocol::secret::Secret;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::preflight::Api;
use crate::site::hosts::HostConfig;

/// How long the port may take to take a connection.
const PORT_LIMIT: Duration = Duration::from_secs(3);
/// How long the API may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The largest answer: a version has some hundred bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// What it is asked: cheap, and only for who is known.
const VERSION: &str = "/api2/json/version";

/// How it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Whether somebody listens.
    WhetherThere,
    /// As the host's token's owner, if there is one. PVE's certificates are signed by nobody known here, so that the token
    /// goes to whoever answers at the address that the site names: only where a person asked for it.
    WithToken,
}

/// Asks the API of a host.
pub(super) async fn ask(config: Option<&HostConfig>, ask: Ask) -> Api {
    let Some((config, place)) = config.and_then(|config| Some((config, Place::of(&config.api_endpoint)?))) else {
        return Api::NotAsked("the site names no API of it");
    };
    if place.is_here() {
        return Api::NotAsked("its address is for the host itself");
    }
    match config.api_token.secret() {
        Some(token) if ask == Ask::WithToken && place.tls => version(&place, token).await,
        _ => port(&place).await,
    }
}

/// Where an API is.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    tls: bool,
    /// An IPv6 address without brackets.
    host: String,
    port: u16,
}

impl Place {
    fn of(endpoint: &str) -> Option<Self> {
        let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", endpoint));
        let at = rest.split('/').next().filter(|at| !at.is_empty())?;
        let (host, port) = match at.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?))) {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
            _ => (at, if scheme == "http" { 80 } else { 443 }),
        };
        Some(Self { tls: scheme != "http", host: host.trim_matches(['[', ']']).to_owned(), port })
    }

    /// Whether it means another machine here than there.
    fn is_here(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    fn shown(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

async fn port(place: &Place) -> Api {
    let at = place.shown();
    match timeout(PORT_LIMIT, TcpStream::connect((place.host.as_str(), place.port))).await {
        Ok(Ok(_)) => Api::Answers(at),
        Ok(Err(error)) => Api::Silent(format!("{at}: {error}")),
        Err(_) => Api::Silent(format!("{at} does not answer within {} s", PORT_LIMIT.as_secs())),
    }
}

/// What PVE answers.
#[derive(Deserialize)]
struct Answered {
    data: Version,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

async fn version(place: &Place, token: &Secret) -> Api {
    let at = place.shown();
    let answer = match timeout(ANSWER_LIMIT, get(place, token)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => return Api::Silent(format!("{at}: {why}")),
        Err(_) => return Api::Silent(format!("{at} does not answer within {} s", ANSWER_LIMIT.as_secs())),
    };
    match StatusCode::from_u16(answer.status) {
        Ok(StatusCode::OK) => match serde_json::from_slice::<Answered>(&answer.body) {
            Ok(Answered { data }) => Api::Greets { at, version: data.version },
            Err(_) => Api::Silent(format!("{at} answers, but not as Proxmox VE does")),
        },
        Ok(StatusCode::UNAUTHORIZED) => Api::Refuses(at),
        _ => Api::Silent(format!("{at} answers {} {}", answer.status, answer.reason)),
    }
}

async fn get(place: &Place, token: &Secret) -> Result<homestak_node::https_client::Answer, String> {
    let mut authorization = HeaderValue::try_from(format!("PVEAPIToken={}", token.expose()))
        .map_err(|_| "the token has characters that no token has")?;
    authorization.set_sensitive(true);
    let headers =
        HeaderMap::from_iter([(AUTHORIZATION, authorization), (ACCEPT, HeaderValue::from_static("application/json"))]);
    let tls = https_client_of(&ServerTrust::Insecure).map_err(|error| error.to_string())?;
    // Its connection ends with this one request.
    let life = Lifecycle::new();
    let _end = life.ending.clone().drop_guard();
    let server =
        Server { host: place.host.clone(), port: place.port, tls, idle: Duration::ZERO, max_answer: MAX_ANSWER };
    let client = HttpsClient::new(server, &life)?;
    client.ask(Method::GET, VERSION, headers, Vec::new(), ANSWER_LIMIT).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::Router;
    use axum::routing::get;
    use homestak_node::https::{self, Options};
    use homestak_node::tls;
    use homestak_node::trust::ca::Ca;
    use homestak_node::trust::clock::Clock;
    use tokio::sync::watch;

    use super::*;

    const TOKEN: &str = "root@pam!homestak=00-11";

    /// A server that knows one token; where it is, while its life lasts.
    fn served(folder: &std::path::Path, life: &Lifecycle) -> Place {
        let version = |headers: HeaderMap| async move {
            let known =
                headers.get(AUTHORIZATION).is_some_and(|given| given == format!("PVEAPIToken={TOKEN}").as_str());
            match known {
                true => (StatusCode::OK, r#"{"data":{"version":"9.0.3","release":"9.0","repoid":"ab"}}"#),
                false => (StatusCode::UNAUTHORIZED, r#"{"data":null}"#),
            }
        };
        let ca = Arc::new(Ca::load_or_create(folder, Clock::system()).unwrap());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let tls = watch::Sender::new(tls::https(&ca, &["pve.example".into()], None).unwrap()).subscribe();
        let router = Router::new().route(VERSION, get(version));
        let options = Options {
            listener,
            tls,
            router,
            rates: https::Rates::default(),
            metrics_token: None,
            more: Arc::new(|text| Box::pin(std::future::ready(text))),
        };
        https::serve(options, &life.tracker, life.ending.clone()).unwrap();
        Place { tls: true, host: "127.0.0.1".into(), port }
    }

    #[tokio::test]
    async fn a_token_is_shown_to_the_api_which_takes_it_or_not() {
        let (dir, life) = (tempfile::tempdir().unwrap(), Lifecycle::new());
        let place = served(dir.path(), &life);
        let at = place.shown();
        let greets = Api::Greets { at: at.clone(), version: "9.0.3".into() };
        assert_eq!(version(&place, &Secret::new(TOKEN.to_owned())).await, greets);
        assert_eq!(version(&place, &Secret::new("root@pam!homestak=22".to_owned())).await, Api::Refuses(at.clone()));
        assert_eq!(port(&place).await, Api::Answers(at));
        life.ending.cancel();
        life.drained().await;
        assert!(matches!(version(&place, &Secret::new(TOKEN.to_owned())).await, Api::Silent(_)));
    }

    #[test]
    fn a_place_is_what_the_site_says_in_any_of_its_ways() {
        let place = |tls, host: &str, port| Some(Place { tls, host: host.into(), port });
        for (endpoint, wanted) in [
            ("https://192.0.2.7:8006", place(true, "192.0.2.7", 8006)),
            ("https://pve.example:8006/api2/json", place(true, "pve.example", 8006)),
            ("https://pve.example", place(true, "pve.example", 443)),
            ("http://pve.example", place(false, "pve.example", 80)),
            ("https://[2001:db8::7]:8006", place(true, "2001:db8::7", 8006)),
            ("https://[2001:db8::7]", place(true, "2001:db8::7", 443)),
            ("", None),
        ] {
            assert_eq!(Place::of(endpoint), wanted, "{endpoint}");
        }
        assert!(
            ["https://localhost:8006", "https://127.0.0.1:8006", "https://[::1]:8006"]
                .iter()
                .all(|endpoint| Place::of(endpoint).unwrap().is_here())
        );
    }
}
