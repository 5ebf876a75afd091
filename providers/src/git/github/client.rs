//! GitHub's API over HTTP: who asks, how often, and how long one waits when GitHub says so.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use domain::ports::git_host::HostError;
use domain::secret::Secret;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use octocrab::Octocrab;
use octocrab::models::AppId;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::GitHubConfig;

/// As much of an answer is read.
const MAX_ANSWER: usize = 16 << 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often a call is tried, and how long it waits for the next try at most; who can wait longer is told to.
const TRIES: u32 = 3;
const MAX_PAUSE: Duration = Duration::from_secs(3);
/// A token is used while it is good for so long: one of an hour is asked for once in 55 minutes.
const SPARE: TimeDelta = TimeDelta::minutes(5);

/// What stands for itself in a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// What a token opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Grant {
    /// What the installation does, for reading.
    All,
    /// One repository, for reading.
    Read(i64),
    /// The pull requests of one repository, for reading.
    PullRequests(i64),
    /// A part of one repository, for writing.
    Write(i64, Part),
}

/// A part of a repository that something is shown in; a name of GitHub's permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    Statuses,
    Deployments,
    PullRequests,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) enum Who {
    App,
    Installation(i64, Grant),
    Bearer(Secret),
    Nobody,
}

#[derive(Clone)]
struct Token {
    value: Secret,
    until: DateTime<Utc>,
}

/// A place for a token that one caller at a time fills.
type Place = Arc<tokio::sync::Mutex<Option<Token>>>;

/// The way to GitHub.
pub(super) struct Client {
    /// As the App; absent without one.
    app: Option<Octocrab>,
    /// As nobody.
    plain: Octocrab,
    api: String,
    tokens: Mutex<HashMap<(i64, Grant), Place>>,
    /// Until when an installation (0: the App) is not to ask anything.
    quiet: Mutex<HashMap<i64, Instant>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("api", &self.api).finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn try_new(config: &GitHubConfig) -> Result<Self, String> {
        let builder = || {
            let builder = Octocrab::builder()
                .set_connect_timeout(Some(PATIENCE))
                .set_read_timeout(Some(PATIENCE))
                .set_write_timeout(Some(PATIENCE));
            builder
                .base_uri(config.api.as_str())
                .map_err(|_| "the address of GitHub's API is none".to_owned())
        };
        let failed = |error: octocrab::Error| format!("GitHub cannot be asked: {error}");
        // octocrab starts a task of its own for each client.
        let app = match &config.app {
            Some((id, key)) => {
                let signed = builder()?.app_from_rsa_pem(AppId(*id), key.expose());
                let signed = signed.map_err(|_| "the private key is no RSA key in PEM".to_owned())?;
                Some(signed.build().map_err(failed)?)
            }
            None => None,
        };
        Ok(Self {
            app,
            plain: builder()?.build().map_err(failed)?,
            api: config.api.as_str().trim_end_matches('/').to_owned(),
            tokens: Mutex::default(),
            quiet: Mutex::default(),
        })
    }

    /// What opens what is granted, for five minutes at least. It is asked for once by everybody together.
    pub(super) async fn token(&self, installation: i64, grant: Grant) -> Result<Secret, HostError> {
        let place = {
            let mut places = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            places.entry((installation, grant)).or_default().clone()
        };
        let mut token = place.lock().await;
        if let Some(token) = token.as_ref().filter(|token| token.until - SPARE > Utc::now()) {
            return Ok(token.value.clone());
        }
        let new = self.mint(installation, grant).await?;
        Ok(token.insert(new).value.clone())
    }

    async fn mint(&self, installation: i64, grant: Grant) -> Result<Token, HostError> {
        #[derive(Deserialize)]
        struct Answer {
            token: String,
            expires_at: DateTime<Utc>,
        }
        let mut body = match grant {
            Grant::All | Grant::Read(_) => {
                json!({ "permissions": { "contents": "read", "metadata": "read" } })
            }
            Grant::PullRequests(_) => json!({ "permissions": { "pull_requests": "read" } }),
            Grant::Write(_, part) => {
                let part = json!(part).as_str().unwrap_or_default().to_owned();
                json!({ "permissions": { part: "write" } })
            }
        };
        if let Grant::Read(repository) | Grant::PullRequests(repository) | Grant::Write(repository, _) = grant
        {
            body["repository_ids"] = json!([repository]);
        }
        let path = format!("/app/installations/{installation}/access_tokens");
        let minted = self.call(Method::POST, &path, Some(&body), Who::App).await;
        let (answer, _): (Answer, bool) = minted.map_err(|error| match error {
            // The App may have been given less than is asked for.
            HostError::NotFound(said) if matches!(grant, Grant::PullRequests(_) | Grant::Write(..)) => {
                HostError::Refused(said)
            }
            HostError::NotFound(_) => {
                HostError::Refused("GitHub knows no such installation any more".to_owned())
            }
            error => error,
        })?;
        Ok(Token { value: Secret::new(answer.token), until: answer.expires_at })
    }

    /// Asks for something; whether a next page follows.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        who: Who,
    ) -> Result<(T, bool), HostError> {
        self.call(Method::GET, path, None, who).await
    }

    /// Sends a request, again when GitHub asks for that, and not at all while it has asked for quiet.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        who: Who,
    ) -> Result<(T, bool), HostError> {
        self.send(method, path, body, who, TRIES).await
    }

    /// Asks for something to be made. Once: an answer that was lost may have been a good one, so who asks again looks
    /// first whether it is there.
    pub(super) async fn create<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        who: Who,
    ) -> Result<T, HostError> {
        Ok(self.send(Method::POST, path, Some(body), who, 1).await?.0)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        who: Who,
        most: u32,
    ) -> Result<(T, bool), HostError> {
        let caller = if let Who::Installation(id, _) = &who { *id } else { 0 };
        self.may_ask(caller)?;
        let mut tries = 0;
        loop {
            tries += 1;
            let pause = match self.once(&method, path, body, &who).await? {
                Ok((parts, text)) => match settle(path, &parts, &text) {
                    Settled::Good => {
                        let read = serde_json::from_slice(&text);
                        let read =
                            read.map_err(|error| away(format!("GitHub's answer is odd: {error}"), None));
                        return Ok((read?, has_next(&parts.headers)));
                    }
                    // A token may have been revoked before its time.
                    Settled::Stale if tries < TRIES && self.forget(&who).await => continue,
                    Settled::Stale => {
                        return Err(HostError::Refused("GitHub refuses its credentials".to_owned()));
                    }
                    Settled::Refused(error) => return Err(error),
                    Settled::Later(why, pause) => (why, pause),
                },
                Err(why) => (why, None),
            };
            let (why, asked) = pause;
            let pause = asked.unwrap_or(Duration::from_millis(250 << tries.min(6)));
            if tries >= most || pause > MAX_PAUSE {
                if let Some(asked) = asked {
                    self.keep_quiet(caller, asked);
                }
                return Err(away(why, asked));
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// One request: the answer, or why there is none.
    async fn once(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        who: &Who,
    ) -> Result<Result<(http::response::Parts, Vec<u8>), String>, HostError> {
        let odd = |error: octocrab::Error| away(error.to_string(), None);
        let crab = match who {
            Who::App => self.app.clone().ok_or(HostError::NotConfigured)?,
            Who::Nobody => self.plain.clone(),
            Who::Bearer(token) => self.bearer(token)?,
            Who::Installation(id, grant) => {
                let token = Box::pin(self.token(*id, *grant)).await?;
                self.bearer(&token)?
            }
        };
        let builder = http::Request::builder().method(method).uri(path).header("accept", "application/json");
        let request = crab.build_request(builder, body).map_err(odd)?;
        let answer = tokio::time::timeout(PATIENCE, async {
            let response: Response<_> =
                crab.execute(request).await.map_err(|error| format!("GitHub cannot be reached: {error}"))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| error.to_string())?;
            Ok((parts, body.to_bytes().to_vec()))
        });
        Ok(answer.await.unwrap_or_else(|_| Err("GitHub does not answer in time".to_owned())))
    }

    fn bearer(&self, token: &Secret) -> Result<Octocrab, HostError> {
        let text = token.expose_str().unwrap_or_default().to_owned();
        self.plain.user_access_token(text).map_err(|error| away(error.to_string(), None))
    }

    /// Forgets the token of who asks; whether there was one.
    async fn forget(&self, who: &Who) -> bool {
        let Who::Installation(id, grant) = who else { return false };
        let place = {
            let mut places = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            places.entry((*id, *grant)).or_default().clone()
        };
        place.lock().await.take().is_some()
    }

    fn may_ask(&self, caller: i64) -> Result<(), HostError> {
        let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        quiet.retain(|_, until| *until > now);
        match quiet.get(&caller) {
            Some(until) => {
                Err(away("GitHub has asked to be left alone for a while".to_owned(), Some(*until - now)))
            }
            None => Ok(()),
        }
    }

    fn keep_quiet(&self, caller: i64, pause: Duration) {
        let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        quiet.insert(caller, Instant::now() + pause);
    }
}

/// What an answer means.
enum Settled {
    Good,
    Stale,
    Refused(HostError),
    Later(String, Option<Duration>),
}

fn settle(path: &str, parts: &http::response::Parts, text: &[u8]) -> Settled {
    let message = serde_json::from_slice::<Value>(text).ok();
    let message = message.as_ref().and_then(|it| it["message"].as_str()).unwrap_or_default();
    let message: String = message.chars().filter(|c| !c.is_control()).take(200).collect();
    let said = format!(
        "GitHub answers {} to {}: {message}",
        parts.status.as_u16(),
        path.split('?').next().unwrap_or(path)
    );
    match parts.status {
        status if status.is_success() => Settled::Good,
        StatusCode::UNAUTHORIZED => Settled::Stale,
        StatusCode::TOO_MANY_REQUESTS => Settled::Later(said, wait(&parts.headers)),
        StatusCode::FORBIDDEN if wait(&parts.headers).is_some() => Settled::Later(said, wait(&parts.headers)),
        status if status.is_server_error() => Settled::Later(said, wait(&parts.headers)),
        StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => {
            Settled::Refused(HostError::NotFound(said))
        }
        _ => Settled::Refused(HostError::Refused(said)),
    }
}

/// How long GitHub wants to be left alone: by its header, or until the limit begins anew. A day at most.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<i64>().ok();
    let seconds = number("retry-after").or_else(|| {
        let reset = number("x-ratelimit-reset").filter(|_| number("x-ratelimit-remaining") == Some(0))?;
        Some(reset - Utc::now().timestamp())
    })?;
    Some(Duration::from_secs(seconds.clamp(1, 86_400).unsigned_abs()))
}

fn has_next(headers: &HeaderMap) -> bool {
    let link = headers.get("link").and_then(|link| link.to_str().ok()).unwrap_or_default();
    link.contains("rel=\"next\"")
}

fn away(why: String, retry_after: Option<Duration>) -> HostError {
    HostError::Unavailable { why, retry_after: retry_after.map(|pause| pause.as_secs().max(1)) }
}

/// A name as a part of a path; its slashes stay.
pub(super) fn segments(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

/// The full name of a repository as a part of a path.
pub(super) fn known_name(name: &str) -> Result<String, HostError> {
    if super::webhook::is_full_name(name) {
        return Ok(segments(name));
    }
    Err(HostError::NotFound("there is no such repository".to_owned()))
}
