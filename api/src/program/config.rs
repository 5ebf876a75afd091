//! The settings of the server: flags, environment, file, in this order of strength.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use api::limits::Rates;
use api::router::{PathForm, Patience};
use domain::secret::Secret;
use ipnet::IpNet;
use processes::BuildSettings;
use projections::artifacts::Retention;
use projections::queue::Limits;
use providers::artifacts::s3::S3Config;
use providers::git::github::GitHubConfig;
use providers::runner::egress::EgressRules;
use providers::runner::local::ServerNetwork;
use serde::Deserialize;

use super::artifacts;
use super::github;
use super::keys::EncryptionKind;
use super::runner::{DockerEngine, RunnerKind, server_network};
use super::secrets::Secrets;
use super::settings::{LogFormat, Settings};

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
    pub(crate) telemetry_url: Option<String>,
    pub(crate) base_domain: Option<String>,
    pub(crate) path_form: PathForm,
    pub(crate) environment: String,
    pub(crate) encryption: EncryptionKind,
    pub(crate) dev: bool,
    pub(crate) postgres_bin: Option<PathBuf>,
    pub(crate) allow_local_repos: Vec<PathBuf>,
    pub(crate) git_private_hosts: Vec<String>,
    pub(crate) toolchains_dir: PathBuf,
    pub(crate) npm_registry: Option<String>,
    pub(crate) build_egress: EgressRules,
    pub(crate) server_network: ServerNetwork,
    pub(crate) cache_bytes: u64,
    /// Absent, builds and servers run on this machine.
    pub(crate) docker: Option<DockerEngine>,
    /// Absent, mail goes to the console.
    pub(crate) smtp: Option<Smtp>,
    pub(crate) mail_outbox: Option<PathBuf>,
    pub(crate) start_deadline: std::time::Duration,
    pub(crate) sleep_after: std::time::Duration,
    pub(crate) router: Patience,
    pub(crate) builds: BuildSettings,
    /// Absent, artifacts are kept in the data directory.
    pub(crate) s3: Option<S3Config>,
    pub(crate) retention: Retention,
    pub(crate) upload_max_bytes: u64,
    /// Absent, no repository is connected.
    pub(crate) github: Option<GitHubConfig>,
    pub(crate) telemetry_days: u32,
    pub(crate) telemetry_spool: u64,
    /// Bytes of ClickHouse's memory for a question.
    pub(crate) question_memory: u64,
    pub(crate) ledger_anchors: Vec<String>,
    pub(crate) ledger_batch: std::time::Duration,
    pub(crate) ledger_anchor: std::time::Duration,
    pub(crate) auth_providers: Vec<String>,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) rates: Rates,
    pub(crate) outbound_allow: Vec<IpNet>,
    pub(crate) log_format: LogFormat,
    pub(crate) log: String,
    /// Secrets come from the environment alone.
    pub(crate) secrets: Secrets,
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
        let (builds, servers) = (builds(&given, &file)?, servers(&given, &file)?);
        let (docker, rates) = (docker(&given, &file), rates(&given, &file));
        let (s3, retention) = artifacts::read(&given, &file, &secrets)?;
        let github = github::read(&given, &file, &secrets)?;
        let build_egress = given.build_egress.or(file.build_egress);
        let build_egress = build_egress.map_or(Ok(EgressRules::default()), |rules| rules.parse());
        let build_egress = build_egress.context("MASTRA_ADMIN_BUILD_EGRESS")?;
        let data_dir = given.data_dir.or(file.data_dir).unwrap_or_else(|| "data".into());
        let data_dir = std::path::absolute(data_dir).context("the data directory has no absolute path")?;
        let toolchains_dir = given.toolchains_dir.or(file.toolchains_dir);
        let toolchains_dir =
            std::path::absolute(toolchains_dir.unwrap_or_else(|| data_dir.join("toolchains")))
                .context("the toolchains directory has no absolute path")?;
        Ok(Self {
            listen: given.listen.or(file.listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080))),
            data_dir,
            toolchains_dir,
            public_url: given.public_url.or(file.public_url),
            telemetry_url: given.telemetry_url.or(file.telemetry_url),
            base_domain: given.base_domain.or(file.base_domain).filter(|text| !text.is_empty()),
            path_form: given.path_form.or(file.path_form).unwrap_or_default(),
            environment: given.environment.or(file.environment).unwrap_or_else(|| "production".to_owned()),
            encryption: given.encryption.or(file.encryption).unwrap_or_default(),
            dev: given.dev.or(file.dev).unwrap_or_default(),
            postgres_bin: given.postgres_bin.or(file.postgres_bin),
            allow_local_repos: given.allow_local_repos.or(file.allow_local_repos).unwrap_or_default(),
            git_private_hosts: given.git_private_hosts.or(file.git_private_hosts).unwrap_or_default(),
            npm_registry: given.npm_registry.or(file.npm_registry),
            build_egress,
            server_network: servers,
            cache_bytes: mebibytes(given.cache_mib, file.cache_mib, 4096),
            mail_outbox: given.mail_outbox.or(file.mail_outbox),
            start_deadline: seconds(given.start_deadline, file.start_deadline, 60),
            sleep_after: seconds(given.sleep_after, file.sleep_after, 300),
            router: Patience {
                first_byte: seconds(given.router_first_byte, file.router_first_byte, 300),
                idle: seconds(given.router_idle, file.router_idle, 600),
            },
            builds,
            s3,
            github,
            retention,
            upload_max_bytes: mebibytes(given.upload_mib, file.upload_mib, 256),
            telemetry_days: given.telemetry_days.or(file.telemetry_days).unwrap_or(30).into(),
            telemetry_spool: mebibytes(given.telemetry_spool_mib, file.telemetry_spool_mib, 1024),
            question_memory: mebibytes(given.clickhouse_question_mib, file.clickhouse_question_mib, 1024),
            ledger_anchors: given
                .ledger_anchors
                .or(file.ledger_anchors)
                .unwrap_or_else(|| vec!["file:ledger.anchor.ndjson".to_owned()]),
            ledger_batch: seconds(given.ledger_seconds, file.ledger_seconds, 5),
            ledger_anchor: seconds(given.ledger_anchor_seconds, file.ledger_anchor_seconds, 60),
            auth_providers: given.auth_providers.or(file.auth_providers).unwrap_or_default(),
            trusted_proxies: given.trusted_proxies.or(file.trusted_proxies).unwrap_or_default(),
            outbound_allow: given.outbound_allow.or(file.outbound_allow).unwrap_or_default(),
            rates,
            log_format: given.log_format.or(file.log_format).unwrap_or_default(),
            log: given.log.or(file.log).unwrap_or_else(|| "info".to_owned()),
            docker,
            smtp,
            secrets,
        })
    }
}

/// How many requests are answered in a minute.
fn rates(given: &Settings, file: &Settings) -> Rates {
    let usual = Rates::default();
    Rates {
        address: given.rate_address.or(file.rate_address).unwrap_or(usual.address),
        user: given.rate_user.or(file.rate_user).unwrap_or(usual.user),
        token: given.rate_token.or(file.rate_token).unwrap_or(usual.token),
        team: given.rate_team.or(file.rate_team).unwrap_or(usual.team),
    }
}

/// The Docker engine, when builds and servers run there.
fn docker(given: &Settings, file: &Settings) -> Option<DockerEngine> {
    if given.runner.or(file.runner).unwrap_or_default() == RunnerKind::Local {
        return None;
    }
    let text = |given: &Option<String>, file: &Option<String>| given.clone().or_else(|| file.clone());
    let usual = || std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
    let host = text(&given.docker_host, &file.docker_host).or_else(usual);
    let image = text(&given.docker_image, &file.docker_image);
    Some(DockerEngine {
        host: host.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned()),
        image: image.unwrap_or_else(|| "node:22-bookworm-slim".to_owned()),
        pull: given.docker_pull.or(file.docker_pull).unwrap_or_default(),
        platform_container: text(&given.docker_platform_container, &file.docker_platform_container),
    })
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

/// The network of servers.
fn servers(given: &Settings, file: &Settings) -> anyhow::Result<ServerNetwork> {
    let kind = given.server_network.or(file.server_network).unwrap_or_default();
    let egress = given.server_egress.as_deref().or(file.server_egress.as_deref());
    let name_servers = given.server_nameservers.as_deref().or(file.server_nameservers.as_deref());
    server_network(kind, egress, name_servers)
}

/// How many builds run, and how long others wait for that.
fn builds(given: &Settings, file: &Settings) -> anyhow::Result<BuildSettings> {
    let cores =
        || std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    let total = given.builds.or(file.builds).unwrap_or_else(cores);
    let team = given.builds_team.or(file.builds_team).unwrap_or(total);
    let project = given.builds_project.or(file.builds_project).unwrap_or(team);
    let queue_timeout = seconds(given.build_queue_timeout, file.build_queue_timeout, 3600);
    if [total, team, project].contains(&0) || queue_timeout.is_zero() {
        anyhow::bail!(
            "MASTRA_ADMIN_BUILDS, …_TEAM, …_PROJECT and MASTRA_ADMIN_BUILD_QUEUE_TIMEOUT begin at 1"
        );
    }
    Ok(BuildSettings { limits: Limits { total, team, project }, queue_timeout })
}

fn seconds(given: Option<u64>, file: Option<u64>, default: u64) -> std::time::Duration {
    std::time::Duration::from_secs(given.or(file).unwrap_or(default))
}

/// In bytes.
fn mebibytes(given: Option<u32>, file: Option<u32>, default: u32) -> u64 {
    u64::from(given.or(file).unwrap_or(default)) << 20
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
