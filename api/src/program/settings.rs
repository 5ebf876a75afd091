//! What can be said by flag, environment variable or file.

use std::net::SocketAddr;
use std::path::PathBuf;

use api::router::PathForm;
use clap::Args;
use ipnet::IpNet;
use serde::Deserialize;

use super::artifacts::ArtifactsKind;
use super::config::{EmailKind, SmtpSecurity};
use super::keys::EncryptionKind;
use super::runner::{NetworkKind, PullKind, RunnerKind};

/// Names the sign-in providers; what else begins like this is a setting of one of them.
pub(super) const PROVIDERS: &str = "MASTRA_ADMIN_AUTH_PROVIDERS";

/// What can be said by flag, environment variable or in `mastra-admin.toml`, under the same names.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Address and port to listen on [default: 127.0.0.1:8080]
    #[arg(long, env = "MASTRA_ADMIN_LISTEN")]
    pub(super) listen: Option<SocketAddr>,

    /// Where everything is kept that is not in the database: keys, artifacts, toolchains, the embedded
    /// PostgreSQL [default: ./data]
    #[arg(long, env = "MASTRA_ADMIN_DATA_DIR")]
    pub(super) data_dir: Option<PathBuf>,

    /// Where people reach this server, for links in mails and for cookies [default: http:// and the address]
    #[arg(long, env = "MASTRA_ADMIN_PUBLIC_URL")]
    pub(super) public_url: Option<String>,

    /// Where deployed servers reach this server, to send it their telemetry, as `https://admin.example.org`; `none`: they
    /// are told nothing [default: the public address, where they reach it]
    #[arg(long, env = "MASTRA_ADMIN_TELEMETRY_URL")]
    pub(super) telemetry_url: Option<String>,

    /// Deployed servers answer on hosts of their own below this domain, as `agent--staging--acme.apps.example.org`,
    /// instead of below `/p/`; it must not hold the public address [default: none]
    #[arg(long, env = "MASTRA_ADMIN_BASE_DOMAIN")]
    pub(super) base_domain: Option<String>,

    /// With a base domain, what `/p/…` does: `redirect` to the app's host, or `refuse` [default: redirect]
    #[arg(long, env = "MASTRA_ADMIN_PATH_FORM")]
    pub(super) path_form: Option<PathForm>,

    /// Name of this installation, as `/api/health` tells it [default: production]
    #[arg(long, env = "MASTRA_ADMIN_ENVIRONMENT")]
    pub(super) environment: Option<String>,

    /// What data keys are wrapped with: `aes-256-gcm` with a master key, or `none` together with --dev
    /// [default: aes-256-gcm]
    #[arg(long, env = "MASTRA_ADMIN_ENCRYPTION")]
    pub(super) encryption: Option<EncryptionKind>,

    /// For trying things out: allows what must never serve anybody
    #[arg(long, env = "MASTRA_ADMIN_DEV", num_args = 0..=1, default_missing_value = "true")]
    pub(super) dev: Option<bool>,

    /// Directory with PostgreSQL's own programs, for the embedded server [default: looked for]
    #[arg(long, env = "MASTRA_ADMIN_POSTGRES_BIN")]
    pub(super) postgres_bin: Option<PathBuf>,

    /// Roots below which `file://` repositories may be read, separated by colons [default: none]
    #[arg(long, env = "MASTRA_ADMIN_ALLOW_LOCAL_REPOS", value_delimiter = ':')]
    pub(super) allow_local_repos: Option<Vec<PathBuf>>,

    /// Git hosts of own networks that repositories may be read from, each as `host` or `host:port`, separated by commas;
    /// all others must be at public addresses [default: none]
    #[arg(long, env = "MASTRA_ADMIN_GIT_PRIVATE_HOSTS", value_delimiter = ',')]
    pub(super) git_private_hosts: Option<Vec<String>>,

    /// Where Node and package managers are kept [default: toolchains in the data directory]
    #[arg(long, env = "MASTRA_ADMIN_TOOLCHAINS_DIR")]
    pub(super) toolchains_dir: Option<PathBuf>,

    /// The npm registry that installs use [default: npm's own]
    #[arg(long, env = "MASTRA_ADMIN_NPM_REGISTRY")]
    pub(super) npm_registry: Option<String>,

    /// What builds on this machine may reach, separated by commas: `default` (registries and hosts of repositories),
    /// `*` (every public address), a host, `*.domain`, `host:port` (also of the own network); or `host` alone: the
    /// network of this machine [default: default]
    #[arg(long, env = "MASTRA_ADMIN_BUILD_EGRESS")]
    pub(super) build_egress: Option<String>,

    /// Which network servers on this machine get: `own`, each one of its own where that can be made; `required`, the same,
    /// and no start without; `host`, that of this machine [default: own]
    #[arg(long, env = "MASTRA_ADMIN_SERVER_NETWORK")]
    pub(super) server_network: Option<NetworkKind>,

    /// What servers in networks of their own may reach, separated by commas: `*` (the world, private networks included),
    /// `public` (the internet alone), a range as 10.0.0.0/8, an address with its port (also of this machine)
    /// [default: *]
    #[arg(long, env = "MASTRA_ADMIN_SERVER_EGRESS")]
    pub(super) server_egress: Option<String>,

    /// Who tells them addresses of names, as 10.0.0.53 or 10.0.0.53:5353, separated by commas
    /// [default: those in /etc/resolv.conf]
    #[arg(long, env = "MASTRA_ADMIN_SERVER_NAMESERVERS")]
    pub(super) server_nameservers: Option<String>,

    /// What the package downloads of one team may take, in MiB: a cache that has grown beyond that is begun anew
    /// [default: 4096]
    #[arg(long, env = "MASTRA_ADMIN_CACHE_MIB")]
    pub(super) cache_mib: Option<u32>,

    /// Where builds and servers run: `local`, in sandboxes on this machine, or `docker`, in containers
    /// [default: local]
    #[arg(long, env = "MASTRA_ADMIN_RUNNER")]
    pub(super) runner: Option<RunnerKind>,

    /// The Docker engine: `unix:///path`, or `tcp://address:port` in a network that is trusted
    /// [default: DOCKER_HOST, else unix:///var/run/docker.sock]
    #[arg(long, env = "MASTRA_ADMIN_DOCKER_HOST")]
    pub(super) docker_host: Option<String>,

    /// The image that builds and servers run in; what it lacks of Node and package managers is added
    /// [default: node:22-bookworm-slim]
    #[arg(long, env = "MASTRA_ADMIN_DOCKER_IMAGE")]
    pub(super) docker_image: Option<String>,

    /// When the image is pulled: `missing`, `always` (before each build), `never` [default: missing]
    #[arg(long, env = "MASTRA_ADMIN_DOCKER_PULL")]
    pub(super) docker_pull: Option<PullKind>,

    /// Name of the container that this server itself runs in: it joins the teams' networks, to reach their
    /// servers [default: none, it runs on the engine's machine]
    #[arg(long, env = "MASTRA_ADMIN_DOCKER_PLATFORM_CONTAINER")]
    pub(super) docker_platform_container: Option<String>,

    /// How mail is sent: `smtp`, or `console` for who passes it on himself [default: console]
    #[arg(long, env = "MASTRA_ADMIN_EMAIL")]
    pub(super) email: Option<EmailKind>,

    /// The SMTP server, by the name in its certificate
    #[arg(long, env = "MASTRA_ADMIN_SMTP_HOST")]
    pub(super) smtp_host: Option<String>,

    /// Its port [default: 587, or 465 with `tls`]
    #[arg(long, env = "MASTRA_ADMIN_SMTP_PORT")]
    pub(super) smtp_port: Option<u16>,

    /// `starttls`, or `tls` from the first byte; certificates are always checked [default: starttls]
    #[arg(long, env = "MASTRA_ADMIN_SMTP_SECURITY")]
    pub(super) smtp_security: Option<SmtpSecurity>,

    /// Who writes: an address, or a name with the address in angle brackets
    #[arg(long, env = "MASTRA_ADMIN_SMTP_FROM")]
    pub(super) smtp_from: Option<String>,

    /// Name at the SMTP server; its password is MASTRA_ADMIN_SMTP_PASSWORD in the environment [default: none]
    #[arg(long, env = "MASTRA_ADMIN_SMTP_USER")]
    pub(super) smtp_user: Option<String>,

    /// Certificates in PEM that the SMTP server's may come from, beside those of the system [default: none]
    #[arg(long, env = "MASTRA_ADMIN_SMTP_CA_FILE")]
    pub(super) smtp_ca_file: Option<PathBuf>,

    /// Write each mail as a file into this directory [default: mails are logged]
    #[arg(long, env = "MASTRA_ADMIN_MAIL_OUTBOX")]
    pub(super) mail_outbox: Option<PathBuf>,

    /// Seconds from the start of a deployed server until it must be ready [default: 60]
    #[arg(long, env = "MASTRA_ADMIN_START_DEADLINE")]
    pub(super) start_deadline: Option<u64>,

    /// Seconds without a request until a deployment of a project with `minScale` 0 sleeps [default: 300]
    #[arg(long, env = "MASTRA_ADMIN_SLEEP_AFTER")]
    pub(super) sleep_after: Option<u64>,

    /// Seconds that a deployed server may take to begin an answer [default: 300]
    #[arg(long, env = "MASTRA_ADMIN_ROUTER_FIRST_BYTE")]
    pub(super) router_first_byte: Option<u64>,

    /// Seconds that it may be silent within one [default: 600]
    #[arg(long, env = "MASTRA_ADMIN_ROUTER_IDLE")]
    pub(super) router_idle: Option<u64>,

    /// Builds that run at a time, on all servers of the database together [default: the cores of this machine]
    #[arg(long, env = "MASTRA_ADMIN_BUILDS")]
    pub(super) builds: Option<u32>,

    /// The same of one team [default: as many as of all]
    #[arg(long, env = "MASTRA_ADMIN_BUILDS_TEAM")]
    pub(super) builds_team: Option<u32>,

    /// The same of one project; of one environment it is always one [default: as many as of its team]
    #[arg(long, env = "MASTRA_ADMIN_BUILDS_PROJECT")]
    pub(super) builds_project: Option<u32>,

    /// Seconds that a build waits in the queue at most [default: 3600]
    #[arg(long, env = "MASTRA_ADMIN_BUILD_QUEUE_TIMEOUT")]
    pub(super) build_queue_timeout: Option<u64>,

    /// Where packed builds are kept: `folder`, in the data directory, or `s3`, in a bucket [default: folder]
    #[arg(long, env = "MASTRA_ADMIN_ARTIFACTS")]
    pub(super) artifacts: Option<ArtifactsKind>,

    /// Address of what speaks S3 [default: AWS]
    #[arg(long, env = "MASTRA_ADMIN_S3_ENDPOINT")]
    pub(super) s3_endpoint: Option<String>,

    /// The bucket; MASTRA_ADMIN_S3_ACCESS_KEY_ID and MASTRA_ADMIN_S3_SECRET_ACCESS_KEY in the environment open it
    #[arg(long, env = "MASTRA_ADMIN_S3_BUCKET")]
    pub(super) s3_bucket: Option<String>,

    /// What the names of all objects begin with [default: artifacts]
    #[arg(long, env = "MASTRA_ADMIN_S3_PREFIX")]
    pub(super) s3_prefix: Option<String>,

    /// Region of the bucket [default: us-east-1]
    #[arg(long, env = "MASTRA_ADMIN_S3_REGION")]
    pub(super) s3_region: Option<String>,

    /// Of each environment, the builds that served last and are kept to go back to, 2 at least [default: 10]
    #[arg(long, env = "MASTRA_ADMIN_ARTIFACTS_DEPLOYMENTS")]
    pub(super) artifacts_deployments: Option<u32>,

    /// Days that a build is kept in any case, 1 at least [default: 30]
    #[arg(long, env = "MASTRA_ADMIN_ARTIFACTS_DAYS")]
    pub(super) artifacts_days: Option<u16>,

    /// Mebibytes of one upload of the `mastra` command line, 1 at least [default: 256]
    #[arg(long, env = "MASTRA_ADMIN_UPLOAD_MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) upload_mib: Option<u32>,

    /// Days that spans of servers are kept, 1 to 3650 [default: 30]
    #[arg(long, env = "MASTRA_ADMIN_TELEMETRY_DAYS", value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub(super) telemetry_days: Option<u16>,

    /// Mebibytes of telemetry that wait in the data directory while its store is away, for a server; 0: none
    /// [default: 1024]
    #[arg(long, env = "MASTRA_ADMIN_TELEMETRY_SPOOL_MIB")]
    pub(super) telemetry_spool_mib: Option<u32>,

    /// Mebibytes of ClickHouse's memory that a question of a reader may take; 0: any number [default: 1024]
    #[arg(long, env = "MASTRA_ADMIN_CLICKHOUSE_QUESTION_MIB")]
    pub(super) clickhouse_question_mib: Option<u32>,

    /// Witnesses of the ledger, separated by commas: `file:PATH` (relative to the data directory),
    /// `s3:BUCKET/PREFIX`, `webhook:URL`, `put:URL` [default: file:ledger.anchor.ndjson]
    #[arg(long, env = "MASTRA_ADMIN_LEDGER_ANCHORS", value_delimiter = ',')]
    pub(super) ledger_anchors: Option<Vec<String>>,

    /// Seconds that an event waits for its signed checkpoint at most [default: 5]
    #[arg(long, env = "MASTRA_ADMIN_LEDGER_SECONDS")]
    pub(super) ledger_seconds: Option<u64>,

    /// An anchor is told of the newest checkpoint every so many seconds at most [default: 60]
    #[arg(long, env = "MASTRA_ADMIN_LEDGER_ANCHOR_SECONDS")]
    pub(super) ledger_anchor_seconds: Option<u64>,

    /// Sign-in providers beside e-mail and password, separated by commas: `keycloak`, `github`, `okta=oidc`;
    /// their settings are MASTRA_ADMIN_AUTH_NAME_… in the environment [default: none]
    #[arg(long, env = PROVIDERS, value_delimiter = ',')]
    pub(super) auth_providers: Option<Vec<String>>,

    /// Id of the GitHub App; its private key is MASTRA_ADMIN_GITHUB_PRIVATE_KEY in the environment or in a file, its
    /// webhook secret MASTRA_ADMIN_GITHUB_WEBHOOK_SECRET in the environment [default: none]
    #[arg(long, env = "MASTRA_ADMIN_GITHUB_APP_ID")]
    pub(super) github_app_id: Option<u64>,

    /// File with the App's private key in PEM
    #[arg(long, env = "MASTRA_ADMIN_GITHUB_PRIVATE_KEY_FILE")]
    pub(super) github_private_key_file: Option<PathBuf>,

    /// Client id of the App; with MASTRA_ADMIN_GITHUB_CLIENT_SECRET in the environment GitHub is asked whether who
    /// connects an installation sees all it opens [default: none]
    #[arg(long, env = "MASTRA_ADMIN_GITHUB_CLIENT_ID")]
    pub(super) github_client_id: Option<String>,

    /// Where people reach GitHub, for GitHub Enterprise [default: https://github.com]
    #[arg(long, env = "MASTRA_ADMIN_GITHUB_URL")]
    pub(super) github_url: Option<String>,

    /// Where programs reach it [default: https://api.github.com, or `/api/v3` below the address for people]
    #[arg(long, env = "MASTRA_ADMIN_GITHUB_API_URL")]
    pub(super) github_api_url: Option<String>,

    /// Proxies that are believed about the address of a client (`X-Forwarded-For`): ranges like 10.0.0.0/8 or
    /// 192.0.2.7/32, separated by commas [default: none]
    #[arg(long, env = "MASTRA_ADMIN_TRUSTED_PROXIES", value_delimiter = ',')]
    pub(super) trusted_proxies: Option<Vec<IpNet>>,

    /// Ranges of one's own networks that endpoints of teams may lead to, also over plain HTTP: like 10.1.0.0/16, separated
    /// by commas [default: none]
    #[arg(long, env = "MASTRA_ADMIN_OUTBOUND_ALLOW", value_delimiter = ',')]
    pub(super) outbound_allow: Option<Vec<IpNet>>,

    /// Requests to the API a minute from one address, or one /64 of IPv6; 0 for no limit [default: 60000]
    #[arg(long, env = "MASTRA_ADMIN_RATE_ADDRESS")]
    pub(super) rate_address: Option<u32>,

    /// The same of one person, with whatever sessions and tokens [default: 30000]
    #[arg(long, env = "MASTRA_ADMIN_RATE_USER")]
    pub(super) rate_user: Option<u32>,

    /// The same with one API token [default: 30000]
    #[arg(long, env = "MASTRA_ADMIN_RATE_TOKEN")]
    pub(super) rate_token: Option<u32>,

    /// The same about one team and what it has [default: 60000]
    #[arg(long, env = "MASTRA_ADMIN_RATE_TEAM")]
    pub(super) rate_team: Option<u32>,

    /// `text` or `json` [default: text]
    #[arg(long, env = "MASTRA_ADMIN_LOG_FORMAT")]
    pub(super) log_format: Option<LogFormat>,

    /// What is logged: `info`, `debug`, `api=debug,info` … [default: info]
    #[arg(long, env = "MASTRA_ADMIN_LOG")]
    pub(super) log: Option<String>,
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
