//! HTTP to sign-in providers: TLS, no redirects, no private addresses unless the operator allows them, bounded.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use domain::ports::auth::AuthError;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use url::Url;

use crate::guard::Guard;

/// As much of an answer is read; more is refused.
const MAX_ANSWER: usize = 512 * 1024;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What an answer from outside is.
pub(super) type Answer = Response<Vec<u8>>;

/// One that is on its way.
type Sent = Pin<Box<dyn Future<Output = Result<Answer, AuthError>> + Send>>;

/// The way outside.
#[derive(Clone, Debug)]
pub(super) struct Outside {
    client: Client<HttpsConnector<HttpConnector<Guard>>, Full<Bytes>>,
    guard: Guard,
    allow_plain: bool,
}

impl Outside {
    /// Certificates are checked with those that the system trusts. `allow_private` permits private addresses and
    /// plain HTTP: an issuer of one's own network.
    pub(super) fn open(allow_private: bool) -> Result<Self, AuthError> {
        let guard = if allow_private { Guard::anywhere() } else { Guard::public_and(&[]) };
        let mut http = HttpConnector::new_with_resolver(guard.clone());
        http.enforce_http(false);
        http.set_connect_timeout(Some(PATIENCE));
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(|error| AuthError::Unavailable(format!("the system trusts no certificates: {error}")))?
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            guard,
            allow_plain: allow_private,
        })
    }

    /// Whether this address may be talked to at all, as far as it can be told without asking for its name.
    pub(super) fn allows(&self, url: &str) -> bool {
        let Ok(url) = Url::parse(url) else { return false };
        let known = match url.scheme() {
            "https" => true,
            "http" => self.allow_plain,
            _ => false,
        };
        known && self.guard.allows_host(&url) && url.username().is_empty() && url.password().is_none()
    }

    /// Sends; redirects are answers like others.
    pub(super) async fn send(&self, request: Request<Vec<u8>>) -> Result<Answer, AuthError> {
        let place = request.uri().host().unwrap_or_default().to_owned();
        let away = |why: &str| AuthError::Unavailable(format!("{place}: {why}"));
        if !self.allows(&request.uri().to_string()) {
            return Err(away("this address is not allowed"));
        }
        let answer = tokio::time::timeout(PATIENCE, async {
            let answer = self.client.request(request.map(Full::from)).await;
            let (parts, body) = answer.map_err(|error| away(&chain(&error)))?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|error| away(&error.to_string()))?.to_bytes();
            Ok(Response::from_parts(parts, body.to_vec()))
        });
        answer.await.map_err(|_| away("it does not answer"))?
    }

    /// The same, as the flow wants to have it.
    pub(super) fn sender(&self) -> impl Fn(Request<Vec<u8>>) -> Sent + use<> {
        let outside = self.clone();
        move |request| {
            let outside = outside.clone();
            Box::pin(async move { outside.send(request).await })
        }
    }

    /// Reads JSON from there.
    pub(super) async fn get_json(
        &self,
        url: &str,
        bearer: Option<&str>,
    ) -> Result<serde_json::Value, AuthError> {
        let away = |why: String| AuthError::Unavailable(format!("{url}: {why}"));
        let mut request =
            Request::get(url).header("accept", "application/json").header("user-agent", "mastra-admin");
        if let Some(bearer) = bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        let request = request.body(vec![]).map_err(|error| away(error.to_string()))?;
        let answer = self.send(request).await?;
        if !answer.status().is_success() {
            return Err(away(format!("it answered {}", answer.status())));
        }
        serde_json::from_slice(answer.body()).map_err(|error| away(format!("it answered no JSON: {error}")))
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addresses::is_public;

    #[test]
    fn addresses_of_ones_own_network_are_not_public() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::1",
            "2001::1",
            "ff02::1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for public in ["8.8.8.8", "172.32.0.1", "2606:4700::1111"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn literal_addresses_plain_http_and_other_schemes_are_refused_before_anybody_is_asked() {
        let strict = Outside::open(false).unwrap();
        for url in [
            "http://id.example.org/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://2130706433/",
            "file:///etc/passwd",
            "https://user:secret@id.example.org/",
            "https://0x7f.1/",
            "nonsense",
        ] {
            assert!(!strict.allows(url), "{url}");
        }
        assert!(strict.allows("https://id.example.org/keys"));
        let loose = Outside::open(true).unwrap();
        assert!(loose.allows("http://127.0.0.1:8080/") && !loose.allows("ftp://127.0.0.1/"));
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_refused() {
        let strict = Outside::open(false).unwrap();
        let refused = strict.get_json("https://localhost:1/", None).await.unwrap_err();
        assert!(refused.to_string().contains("not allowed"), "{refused}");
    }
}
