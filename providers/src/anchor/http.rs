//! Hands something to a server by HTTP and wants to hear that it is kept.

use std::time::Duration;

use bytes::Bytes;
use domain::ports::anchor::AnchorError;
use domain::secret::Secret;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use url::Url;

/// As much of an answer is read; it only has to come.
const MAX_ANSWER: usize = 64 * 1024;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// A place that is reached by HTTP.
#[derive(Debug)]
pub(super) struct Place {
    url: Url,
    token: Option<Secret>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Place {
    /// Certificates are checked with those that the system trusts.
    pub(super) fn open(url: &str, token: Option<Secret>) -> Result<Self, AnchorError> {
        let parsed = Url::parse(url).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
        // What stands in a URL is shown to operators.
        let parsed = parsed.filter(|url| url.has_host() && url.password().is_none());
        let url = parsed.ok_or_else(|| AnchorError("an anchor's URL must be http or https".to_owned()))?;
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(|error| AnchorError(format!("the system trusts no certificates: {error}")))?
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { url, token, client })
    }

    /// The address without what may be secret in it.
    pub(super) fn shown(&self) -> String {
        let mut shown = self.url.clone();
        shown.set_query(None);
        shown.into()
    }

    /// The address with more path; a query, which may be a signature, stays.
    pub(super) fn below(&self, name: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/{name}", url.path().trim_end_matches('/')));
        url
    }

    /// The address itself.
    pub(super) fn url(&self) -> Url {
        self.url.clone()
    }

    /// Sends; anything but a 2xx is an error.
    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        content_type: &str,
        body: String,
    ) -> Result<(), AnchorError> {
        let failed = |why: String| AnchorError(format!("{}: {why}", self.shown()));
        let mut request =
            Request::builder().method(method).uri(url.as_str()).header(CONTENT_TYPE, content_type);
        if let Some(token) = self.token.as_ref().and_then(Secret::expose_str) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::from(body)).map_err(|error| failed(error.to_string()))?;
        let answer = tokio::time::timeout(PATIENCE, async {
            let answer = self.client.request(request).await.map_err(|error| failed(chain(&error)))?;
            let status = answer.status();
            // Read, so that the connection serves again.
            let _ = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            Ok(status)
        });
        let status = answer.await.map_err(|_| failed("it does not answer".to_owned()))??;
        if status.is_success() { Ok(()) } else { Err(failed(format!("it answered {status}"))) }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}
