//! The settings of the server: flags, environment, file, in this order of strength.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use api::limits::Rates;
use clap::Args;
use domain::secret::Secret;
use ipnet::IpNet;
use serde::Deserialize;

/// Names the sign-in providers; what else begins like this is a setting of one of them.
const PROVIDERS: &str = "MASTRA_ADMIN_AUTH_PROVIDERS";

/// What can be said by flag, environment variable or in `mastra-admin.toml`, under the same names.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Address and port to listen on [default: 127.0.0.1:8080]
    #[arg(long, env = "MASTRA_ADMIN_LISTEN")]
    listen: Option<SocketAddr>,

    /// Where everything is kept that is not in the database: keys, artifacts, toolchains, the embedded
    /// PostgreSQL [default: ./data]
    #[arg(long, env = "MASTRA_ADMIN_DATA_DIR")]
    data_dir: Option<PathBuf>,

    /// Where people reach this server, for links in mails and for cookies [default: http:// and the address]
    #[arg(long, env = "MASTRA_ADMIN_PUBLIC_URL")]
    public_url: Option<String>,

    /// Name of this installation, as `/api/health` tells it [default: production]
    #[arg(long, env = "MASTRA_ADMIN_ENVIRONMENT")]
    environment: Option<String>,

    /// Directory with PostgreSQL's own programs, for the embedded server [default: looked for]
    #[arg(long, env = "MASTRA_ADMIN_POSTGRES_BIN")]
    postgres_bin: Option<PathBuf>,

    /// Roots below which `file://` repositories may be read, separated by colons [default: none]
    #[arg(long, env = "MASTRA_ADMIN_ALLOW_LOCAL_REPOS", value_delimiter = ':')]
    allow_local_repos: Option<Vec<PathBuf>>,

    /// Where Node and package managers are kept [default: toolchains in the data directory]
    #[arg(long, env = "MASTRA_ADMIN_TOOLCHAINS_DIR")]
    toolchains_dir: Option<PathBuf>,

    /// The npm registry that installs use [default: npm's own]
    #[arg(long, env = "MASTRA_ADMIN_NPM_REGISTRY")]
    npm_registry: Option<String>,

    /// How mail is sent: `smtp`, or `console` for who passes it on himself [default: console]
    #[arg(long, env = "MASTRA_ADMIN_EMAIL")]
    email: Option<EmailKind>,

    /// The SMTP server, by the name in its certificate
    #[arg(long, env = "MASTRA_ADMIN_SMTP_HOST")]
    smtp_host: Option<String>,

    /// Its port [default: 587, or 465 with `tls`]
    #[arg(long, env = "MASTRA_ADMIN_SMTP_PORT")]
    smtp_port: Option<u16>,

    /// `starttls`, or `tls` from the first byte; certificates are always checked [default: starttls]
    #[arg(long, env = "MASTRA_ADMIN_SMTP_SECURITY")]
    smtp_security: Option<SmtpSecurity>,

    /// Who writes: an address, or a name with the address in angle brackets
    #[arg(long, env = "MASTRA_ADMIN_SMTP_FROM")]
    smtp_from: Option<String>,

    /// Name at the SMTP server; its password is MASTRA_ADMIN_SMTP_PASSWORD in the environment [default: none]
    #[arg(long, env = "MASTRA_ADMIN_SMTP_USER")]
    smtp_user: Option<String>,

    /// Certificates in PEM that the SMTP server's may come from, beside those of the system [default: none]
    #[arg(long, env = "MASTRA_ADMIN_SMTP_CA_FILE")]
    smtp_ca_file: Option<PathBuf>,

    /// Write each mail as a file into this directory [default: mails are logged]
    #[arg(long, env = "MASTRA_ADMIN_MAIL_OUTBOX")]
    mail_outbox: Option<PathBuf>,

    /// Seconds from the start of a deployed server until it must be ready [default: 60]
    #[arg(long, env = "MASTRA_ADMIN_START_DEADLINE")]
    start_deadline: Option<u64>,

    /// Witnesses of the ledger, separated by commas: `file:PATH` (relative to the data directory),
    /// `webhook:URL`, `put:URL` [default: file:ledger.anchor.ndjson]
    #[arg(long, env = "MASTRA_ADMIN_LEDGER_ANCHORS", value_delimiter = ',')]
    ledger_anchors: Option<Vec<String>>,

    /// Seconds that an event waits for its signed checkpoint at most [default: 5]
    #[arg(long, env = "MASTRA_ADMIN_LEDGER_SECONDS")]
    ledger_seconds: Option<u64>,

    /// An anchor is told of the newest checkpoint every so many seconds at most [default: 60]
    #[arg(long, env = "MASTRA_ADMIN_LEDGER_ANCHOR_SECONDS")]
    ledger_anchor_seconds: Option<u64>,

    /// Sign-in providers beside e-mail and password, separated by commas: `keycloak`, `github`, `okta=oidc`;
    /// their settings are MASTRA_ADMIN_AUTH_NAME_… in the environment [default: none]
    #[arg(long, env = PROVIDERS, value_delimiter = ',')]
    auth_providers: Option<Vec<String>>,

    /// Proxies that are believed about the address of a client (`X-Forwarded-For`): ranges like 10.0.0.0/8 or
    /// 192.0.2.7/32, separated by commas [default: none]
    #[arg(long, env = "MASTRA_ADMIN_TRUSTED_PROXIES", value_delimiter = ',')]
    trusted_proxies: Option<Vec<IpNet>>,

    /// Requests to the API a minute from one address, or one /64 of IPv6; 0 for no limit [default: 60000]
    #[arg(long, env = "MASTRA_ADMIN_RATE_ADDRESS")]
    rate_address: Option<u32>,

    /// The same of one person, with whatever sessions and tokens [default: 30000]
    #[arg(long, env = "MASTRA_ADMIN_RATE_USER")]
    rate_user: Option<u32>,

    /// The same with one API token [default: 30000]
    #[arg(long, env = "MASTRA_ADMIN_RATE_TOKEN")]
    rate_token: Option<u32>,

    /// The same about one team and what it has [default: 60000]
    #[arg(long, env = "MASTRA_ADMIN_RATE_TEAM")]
    rate_team: Option<u32>,

    /// `text` or `json` [default: text]
    #[arg(long, env = "MASTRA_ADMIN_LOG_FORMAT")]
    log_format: Option<LogFormat>,

    /// What is logged: `info`, `debug`, `api=debug,info` … [default: info]
    #[arg(long, env = "MASTRA_ADMIN_LOG")]
    log: Option<String>,
}

/// How log lines look.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How mail is sent.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EmailKind {
    /// It is shown to the operator.
    #[default]
    Console,
    /// Through an SMTP server.
    Smtp,
}

/// How the connection to the SMTP server is made private.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub(crate) enum SmtpSecurity {
    /// By the command STARTTLS.
    #[default]
    StartTls,
    /// From the first byte.
    Tls,
}

/// The SMTP server, as the settings say.
#[derive(Clone, Debug)]
pub(crate) struct Smtp {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) security: SmtpSecurity,
    pub(crate) from: String,
    pub(crate) login: Option<(String, Secret)>,
    pub(crate) ca_file: Option<PathBuf>,
}

/// The settings in force.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) data_dir: PathBuf,
    pub(crate) public_url: Option<String>,
    pub(crate) environment: String,
    pub(crate) postgres_bin: Option<PathBuf>,
    pub(crate) allow_local_repos: Vec<PathBuf>,
    pub(crate) toolchains_dir: PathBuf,
    pub(crate) npm_registry: Option<String>,
    /// Absent, mail goes to the console.
    pub(crate) smtp: Option<Smtp>,
    pub(crate) mail_outbox: Option<PathBuf>,
    pub(crate) start_deadline: std::time::Duration,
    pub(crate) ledger_anchors: Vec<String>,
    pub(crate) ledger_batch: std::time::Duration,
    pub(crate) ledger_anchor: std::time::Duration,
    pub(crate) auth_providers: Vec<String>,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) rates: Rates,
    pub(crate) log_format: LogFormat,
    pub(crate) log: String,
    /// Secrets come from the environment alone.
    pub(crate) secrets: Secrets,
}

/// What must stand in no file and no argument vector.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets {
    /// `DATABASE_URL`: another PostgreSQL than the embedded one.
    pub(crate) database_url: Option<Secret>,
    /// `MASTRA_ADMIN_MASTER_KEY`: 32 bytes in base64 or hex; otherwise `master.key` in the data directory.
    pub(crate) master_key: Option<Secret>,
    /// `MASTRA_ADMIN_OWNER_EMAIL` and `MASTRA_ADMIN_OWNER_PASSWORD`: the first user of an empty system.
    pub(crate) owner: Option<(String, Secret)>,
    /// `MASTRA_ADMIN_LEDGER_ANCHOR_TOKEN`: sent as bearer to anchors that are reached by HTTP.
    pub(crate) anchor_token: Option<Secret>,
    /// `MASTRA_ADMIN_SMTP_PASSWORD`: the password at the SMTP server.
    pub(crate) smtp_password: Option<Secret>,
    /// `MASTRA_ADMIN_AUTH_…`: settings of sign-in providers, secrets among them.
    pub(crate) auth: AuthSettings,
}

/// Settings of sign-in providers by their names. Never printed.
#[derive(Clone, Default)]
pub(crate) struct AuthSettings(pub(crate) BTreeMap<String, String>);

impl std::fmt::Debug for AuthSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Config {
    /// Flags and environment come in `given`; the file fills the gaps, the defaults what is left.
    pub(crate) fn read(given: Settings, file: Option<&Path>) -> anyhow::Result<Self> {
        let file = match file {
            Some(path) => read_file(path)?,
            None if Path::new("mastra-admin.toml").exists() => read_file(Path::new("mastra-admin.toml"))?,
            None => Settings::default(),
        };
        let secrets = Secrets::from_environment()?;
        let smtp = smtp(&given, &file, secrets.smtp_password.clone())?;
        let data_dir = given.data_dir.or(file.data_dir).unwrap_or_else(|| "data".into());
        let data_dir = std::path::absolute(data_dir).context("the data directory has no absolute path")?;
        let toolchains_dir = given.toolchains_dir.or(file.toolchains_dir);
        let toolchains_dir =
            std::path::absolute(toolchains_dir.unwrap_or_else(|| data_dir.join("toolchains")))
                .context("the toolchains directory has no absolute path")?;
        let rates = Rates::default();
        Ok(Self {
            listen: given.listen.or(file.listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080))),
            data_dir,
            toolchains_dir,
            public_url: given.public_url.or(file.public_url),
            environment: given.environment.or(file.environment).unwrap_or_else(|| "production".to_owned()),
            postgres_bin: given.postgres_bin.or(file.postgres_bin),
            allow_local_repos: given.allow_local_repos.or(file.allow_local_repos).unwrap_or_default(),
            npm_registry: given.npm_registry.or(file.npm_registry),
            mail_outbox: given.mail_outbox.or(file.mail_outbox),
            start_deadline: seconds(given.start_deadline, file.start_deadline, 60),
            ledger_anchors: given
                .ledger_anchors
                .or(file.ledger_anchors)
                .unwrap_or_else(|| vec!["file:ledger.anchor.ndjson".to_owned()]),
            ledger_batch: seconds(given.ledger_seconds, file.ledger_seconds, 5),
            ledger_anchor: seconds(given.ledger_anchor_seconds, file.ledger_anchor_seconds, 60),
            auth_providers: given.auth_providers.or(file.auth_providers).unwrap_or_default(),
            trusted_proxies: given.trusted_proxies.or(file.trusted_proxies).unwrap_or_default(),
            rates: Rates {
                address: given.rate_address.or(file.rate_address).unwrap_or(rates.address),
                user: given.rate_user.or(file.rate_user).unwrap_or(rates.user),
                token: given.rate_token.or(file.rate_token).unwrap_or(rates.token),
                team: given.rate_team.or(file.rate_team).unwrap_or(rates.team),
            },
            log_format: given.log_format.or(file.log_format).unwrap_or_default(),
            log: given.log.or(file.log).unwrap_or_else(|| "info".to_owned()),
            smtp,
            secrets,
        })
    }
}

impl Secrets {
    fn from_environment() -> anyhow::Result<Self> {
        let secret = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty()).map(Secret::new);
        let email = std::env::var("MASTRA_ADMIN_OWNER_EMAIL").ok().filter(|text| !text.is_empty());
        let owner = match (email, secret("MASTRA_ADMIN_OWNER_PASSWORD")) {
            (Some(email), Some(password)) => Some((email, password)),
            (None, None) => None,
            _ => anyhow::bail!("MASTRA_ADMIN_OWNER_EMAIL and MASTRA_ADMIN_OWNER_PASSWORD go together"),
        };
        Ok(Self {
            database_url: secret("DATABASE_URL"),
            master_key: secret("MASTRA_ADMIN_MASTER_KEY"),
            owner,
            anchor_token: secret("MASTRA_ADMIN_LEDGER_ANCHOR_TOKEN"),
            smtp_password: secret("MASTRA_ADMIN_SMTP_PASSWORD"),
            auth: AuthSettings(
                std::env::vars_os()
                    .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                    .filter(|(name, _)| name.starts_with("MASTRA_ADMIN_AUTH_") && name != PROVIDERS)
                    .collect(),
            ),
        })
    }
}

/// The SMTP server, when mail goes there.
fn smtp(given: &Settings, file: &Settings, password: Option<Secret>) -> anyhow::Result<Option<Smtp>> {
    if given.email.or(file.email).unwrap_or_default() == EmailKind::Console {
        return Ok(None);
    }
    let text = |given: &Option<String>, file: &Option<String>| given.clone().or_else(|| file.clone());
    let login = match (text(&given.smtp_user, &file.smtp_user), password) {
        (Some(name), Some(password)) => Some((name, password)),
        (None, None) => None,
        _ => anyhow::bail!("MASTRA_ADMIN_SMTP_USER and MASTRA_ADMIN_SMTP_PASSWORD go together"),
    };
    let host = text(&given.smtp_host, &file.smtp_host).context("MASTRA_ADMIN_SMTP_HOST is missing")?;
    let from = text(&given.smtp_from, &file.smtp_from).context("MASTRA_ADMIN_SMTP_FROM is missing")?;
    Ok(Some(Smtp {
        host,
        port: given.smtp_port.or(file.smtp_port),
        security: given.smtp_security.or(file.smtp_security).unwrap_or_default(),
        from,
        login,
        ca_file: given.smtp_ca_file.clone().or_else(|| file.smtp_ca_file.clone()),
    }))
}

fn seconds(given: Option<u64>, file: Option<u64>, default: u64) -> std::time::Duration {
    std::time::Duration::from_secs(given.or(file).unwrap_or(default))
}

fn read_file(path: &Path) -> anyhow::Result<Settings> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is not understood", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mastra-admin.toml");
        std::fs::write(&file, "listen = \"127.0.0.1:1\"\nenvironment = \"staging\"\n").unwrap();
        let config = Config::read(settings("listen = \"127.0.0.1:2\""), Some(&file)).unwrap();
        assert_eq!(config.listen.port(), 2);
        assert_eq!(config.environment, "staging");
        assert_eq!(config.log, "info");
    }

    #[test]
    fn an_unknown_word_in_the_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mastra-admin.toml");
        std::fs::write(&file, "listne = \"127.0.0.1:1\"\n").unwrap();
        let error = format!("{:#}", Config::read(Settings::default(), Some(&file)).unwrap_err());
        assert!(error.contains("listne"), "{error}");
    }
}
