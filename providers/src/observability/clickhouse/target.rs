//! Where the engine is, and who asks.

use std::fmt;
use std::time::Duration;

use clickhouse::{Client, Compression};
use domain::ports::telemetry::TelemetryError;
use domain::secret::Secret;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::percent_decode_str;
use thiserror::Error;
use url::Url;

use super::fault::Fault;

/// The engine closes connections that are idle for three seconds.
const IDLE: Duration = Duration::from_secs(2);
/// How long a connection may take to come about.
const CONNECTING: Duration = Duration::from_secs(3);

/// What was given as an address is none.
#[derive(Debug, Error)]
pub enum TargetError {
    /// It does not say where.
    #[error("must be http://HOST:PORT or https://HOST:PORT, with the name of a database behind it or none")]
    Url,
    /// A database has another name.
    #[error("a database's name is letters, digits and underscores, and begins with none of the digits")]
    Database,
    /// Nobody's certificate would be believed.
    #[error("the system trusts no certificates: {0}")]
    Certificates(#[source] std::io::Error),
}

/// Where the engine is, and who asks. Never printed with what opens it.
#[derive(Clone)]
pub struct Target {
    url: Url,
    database: String,
    user: Option<Secret>,
    password: Option<Secret>,
    connector: HttpsConnector<HttpConnector>,
}

impl Target {
    /// From an address like `http://host:8123/telemetry`. What it says before an `@` counts unless a user is given apart.
    ///
    /// # Errors
    /// When it is no such address.
    pub fn try_new(
        url: &Secret,
        user: Option<Secret>,
        password: Option<Secret>,
    ) -> Result<Self, TargetError> {
        let url = url.expose_str().and_then(|text| Url::parse(text).ok()).ok_or(TargetError::Url)?;
        let is_whole =
            ["http", "https"].contains(&url.scheme()) && url.has_host() && url.fragment().is_none();
        let mut url = Some(url).filter(|_| is_whole).ok_or(TargetError::Url)?;
        let said = |text: &str| {
            let text = percent_decode_str(text).decode_utf8().map_err(|_| TargetError::Url)?;
            Ok::<_, TargetError>(
                Some(text).filter(|text| !text.is_empty()).map(|text| Secret::new(text.as_ref())),
            )
        };
        let (in_url, opens) = (said(url.username())?, said(url.password().unwrap_or_default())?);
        let (user, password) = if user.is_some() { (user, password) } else { (in_url, password.or(opens)) };
        let database = database(&url)?;
        _ = url.set_username("");
        _ = url.set_password(None);
        url.set_path("/");
        url.set_query(None);
        Ok(Self { url, database, user, password, connector: connector()? })
    }

    /// Of the engine that is there.
    ///
    /// # Errors
    /// When it cannot be reached, or refuses.
    pub async fn version(&self) -> Result<String, TelemetryError> {
        let asked = self.outside();
        let asked = asked.query("SELECT version()").fetch_one::<String>();
        super::in_time(super::LOOKING, async { asked.await.map_err(Fault::from) }).await
    }

    /// A client that asks in its database.
    pub(super) fn client(&self) -> Client {
        self.outside().with_database(&self.database)
    }

    /// A client that asks in no database of its own.
    pub(super) fn outside(&self) -> Client {
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
        let mut client =
            Client::with_http_client(http.clone().pool_idle_timeout(IDLE).build(self.connector.clone()))
                .with_url(self.url.as_str())
                .with_compression(Compression::Lz4)
                // Who goes away wants no answer.
                .with_setting("cancel_http_readonly_queries_on_client_close", "1")
                // Who is told that rows are stored is told so when they are.
                .with_setting("async_insert", "0")
                // Rows that are one span are in one partition: that of their day.
                .with_setting("do_not_merge_across_partitions_select_final", "1")
                .with_setting("max_execution_time", super::READING.as_secs().to_string());
        if let Some(user) = self.user.as_ref().and_then(Secret::expose_str) {
            client = client.with_user(user);
        }
        if let Some(password) = self.password.as_ref().and_then(Secret::expose_str) {
            client = client.with_password(password);
        }
        client
    }

    /// The name of the database: letters, digits and underscores.
    pub(super) fn database(&self) -> &str {
        &self.database
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.url, self.database)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

/// The last part of the path, or what `?database=` says.
fn database(url: &Url) -> Result<String, TargetError> {
    let mut asked = url.query_pairs();
    let name = match (url.path().trim_matches('/'), asked.next(), asked.next()) {
        ("", None, _) => "default".to_owned(),
        ("", Some((key, name)), None) if key == "database" => name.into_owned(),
        (name, None, _) => name.to_owned(),
        _ => return Err(TargetError::Url),
    };
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name = name.chars().all(is_word) && name.starts_with(|c: char| !c.is_ascii_digit());
    Some(name).filter(|name| is_name && name.len() <= 64).ok_or(TargetError::Database)
}

fn connector() -> Result<HttpsConnector<HttpConnector>, TargetError> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECTING));
    let tls = HttpsConnectorBuilder::new().with_native_roots().map_err(TargetError::Certificates)?;
    Ok(tls.https_or_http().enable_http1().wrap_connector(http))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<Target, TargetError> {
        Target::try_new(&Secret::new(url), None, None)
    }

    #[test]
    fn an_address_says_where_and_which_database_and_keeps_who_to_itself() {
        let shown =
            |url: &str| target(url).map(|target| target.to_string()).map_err(|error| error.to_string());
        assert_eq!(shown("http://u:secret@h:8123/spans").unwrap(), "http://h:8123/spans");
        assert_eq!(shown("http://h:8123").unwrap(), "http://h:8123/default");
        assert_eq!(shown("https://h?database=x_1").unwrap(), "https://h/x_1");
        assert!(!format!("{:?}", target("http://u:secret@h:8123/spans").unwrap()).contains("secret"));
        for odd in [
            "",
            "h:8123",
            "tcp://h:9000",
            "http://h/a/b",
            "http://h/a`",
            "http://h/1",
            "http://h?x=1",
            "http://h/#x",
        ] {
            assert!(shown(odd).is_err(), "{odd}");
        }
        let given = Target::try_new(&Secret::new("http://u:p@h/"), Some(Secret::new("v")), None).unwrap();
        assert_eq!((given.user.unwrap().expose_str(), given.password.is_none()), (Some("v"), true));
        let part = Target::try_new(&Secret::new("http://u%40x@h/"), None, Some(Secret::new("p"))).unwrap();
        assert_eq!(
            (part.user.unwrap().expose_str(), part.password.unwrap().expose_str()),
            (Some("u@x"), Some("p"))
        );
    }
}
