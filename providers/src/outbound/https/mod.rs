//! HTTP to wherever teams want to be told: TLS, no redirects, nothing inside but what the operator allows, bounded in
//! time and bytes.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use domain::ports::outbound::{Answered, Barred, Outbound, Post, PostError, Signing};
use domain::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{HeaderMap, RETRY_AFTER};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ipnet::IpNet;
use sha2::Sha256;
use url::Url;

use crate::guard::Guard;

/// As much of an answer is read.
const MAX_ANSWER: usize = 1024;
/// How long it may take to be connected.
const CONNECTING: Duration = Duration::from_secs(5);
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// A way outside.
type Way = Client<HttpsConnector<HttpConnector<Guard>>, Full<Bytes>>;

/// Posts over HTTPS; to addresses that the operator allows, over plain HTTP too.
pub struct HttpsOutbound {
    secure: (Way, Guard),
    /// None when the operator allows nothing.
    plain: Option<(Way, Guard)>,
}

impl HttpsOutbound {
    /// Certificates are checked with those that the system trusts. `allowed` are ranges of one's own networks that may
    /// be posted to.
    pub fn open(allowed: &[IpNet]) -> Result<Self, PostError> {
        let way = |guard: Guard| Ok((connect(guard.clone())?, guard));
        let plain = (!allowed.is_empty()).then(|| way(Guard::only(allowed))).transpose()?;
        Ok(Self { secure: way(Guard::public_and(allowed))?, plain })
    }

    fn way(&self, url: &str) -> Result<(Url, &Way), Barred> {
        let url = Url::parse(url).map_err(|_| Barred::NoAddress)?;
        if !url.username().is_empty() || url.password().is_some() || url.host().is_none() {
            return Err(Barred::NoAddress);
        }
        let (way, guard) = match url.scheme() {
            "https" => &self.secure,
            "http" => self.plain.as_ref().ok_or(Barred::NotPrivate)?,
            _ => return Err(Barred::NoAddress),
        };
        if guard.allows_host(&url) {
            return Ok((url, way));
        }
        Err(if url.scheme() == "http" { Barred::NotPrivate } else { Barred::Inside })
    }
}

#[async_trait]
impl Outbound for HttpsOutbound {
    fn check(&self, url: &str) -> Result<(), Barred> {
        self.way(url).map(drop)
    }

    async fn post(&self, post: &Post) -> Result<Answered, PostError> {
        let url = post.url.expose_str().unwrap_or_default();
        let (url, way) = self.way(url).map_err(|barred| PostError(format!("the address {barred}")))?;
        let request = request(&url, post)?;
        let answer = tokio::time::timeout(PATIENCE, async {
            let answer = way.request(request).await.map_err(|error| PostError(why(&error)))?;
            let status = answer.status().as_u16();
            let retry_after = retry_after(answer.headers());
            Ok(Answered { status, retry_after, body: beginning(answer).await })
        });
        answer.await.map_err(|_| PostError(format!("no answer within {} seconds", PATIENCE.as_secs())))?
    }
}

fn connect(guard: Guard) -> Result<Way, PostError> {
    let mut http = HttpConnector::new_with_resolver(guard);
    http.enforce_http(false);
    http.set_connect_timeout(Some(CONNECTING));
    let connector = HttpsConnectorBuilder::new()
        .with_native_roots()
        .map_err(|error| PostError(format!("the system trusts no certificates: {error}")))?
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(Duration::from_secs(30)).pool_max_idle_per_host(4);
    Ok(builder.pool_timer(hyper_util::rt::TokioTimer::new()).build(connector))
}

fn request(url: &Url, post: &Post) -> Result<Request<Full<Bytes>>, PostError> {
    let mut request = Request::post(url.as_str())
        .header("content-type", "application/json")
        .header("user-agent", "mastra-admin");
    if let Some(signing) = &post.signing {
        request = request
            .header("webhook-id", &signing.id)
            .header("webhook-timestamp", signing.timestamp)
            .header("webhook-signature", signatures(signing, &post.body)?);
    }
    let body = Full::from(post.body.clone());
    // What is wrong with an address may quote it: it may be a secret.
    request.body(body).map_err(|_| PostError("the address cannot be posted to".to_owned()))
}

/// A signature by each secret, the newest first, with spaces between them.
fn signatures(Signing { id, timestamp, secrets }: &Signing, body: &[u8]) -> Result<String, PostError> {
    let signature = |secret: &Secret| {
        let key = secret.expose_str().and_then(|text| BASE64.decode(text.strip_prefix("whsec_")?).ok());
        let key = Secret::new(key.ok_or_else(|| PostError("the secret cannot be signed with".to_owned()))?);
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        Ok(format!("v1,{}", BASE64.encode(mac.finalize().into_bytes())))
    };
    Ok(secrets.iter().map(signature).collect::<Result<Vec<_>, _>>()?.join(" "))
}

/// The pause that an answer asks for: seconds, or until a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let said = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match said.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(said).ok()?.duration_since(SystemTime::now()).ok(),
    }
}

/// The first bytes of an answer. That it is cut or ends early changes nothing: its status was there.
async fn beginning(answer: Response<Incoming>) -> String {
    let (mut body, mut read) = (answer.into_body(), Vec::new());
    while read.len() < MAX_ANSWER
        && let Some(Ok(frame)) = body.frame().await
    {
        read.extend_from_slice(frame.data_ref().map(Bytes::as_ref).unwrap_or_default());
    }
    read.truncate(MAX_ANSWER);
    // U+0000 has no place in a text of the database.
    String::from_utf8_lossy(&read).replace('\0', "\u{fffd}")
}

/// Why it failed: the innermost cause, without the address.
fn why(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    format!("it could not be reached: {cause}")
}

#[cfg(test)]
mod tests;
