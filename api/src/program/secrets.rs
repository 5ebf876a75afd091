//! What the server is told in the environment alone.

use std::collections::BTreeMap;

use domain::secret::Secret;

use super::settings::PROVIDERS;

/// What must stand in no file and no argument vector.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets {
    /// `DATABASE_URL`: another PostgreSQL than the embedded one.
    pub(crate) database_url: Option<Secret>,
    /// `CLICKHOUSE_URL`: where telemetry goes instead of PostgreSQL.
    pub(crate) clickhouse_url: Option<Secret>,
    /// `CLICKHOUSE_USER`: who asks there.
    pub(crate) clickhouse_user: Option<Secret>,
    /// `CLICKHOUSE_PASSWORD`: that user's password.
    pub(crate) clickhouse_password: Option<Secret>,
    /// `MASTRA_ADMIN_MASTER_KEY`: 32 bytes in base64 or hex; otherwise `master.key` in the data directory.
    pub(crate) master_key: Option<Secret>,
    /// `MASTRA_ADMIN_MASTER_KEY_NEXT`: the one that takes its place; otherwise `master.key.next` if it is there.
    pub(crate) next_master_key: Option<Secret>,
    /// `MASTRA_ADMIN_OWNER_EMAIL` and `MASTRA_ADMIN_OWNER_PASSWORD`: the first user of an empty system.
    pub(crate) owner: Option<(String, Secret)>,
    /// `MASTRA_ADMIN_LEDGER_ANCHOR_TOKEN`: sent as bearer to anchors that are reached by HTTP; and
    /// `MASTRA_ADMIN_LEDGER_S3_ACCESS_KEY_ID` with `MASTRA_ADMIN_LEDGER_S3_SECRET_ACCESS_KEY`, for those in buckets.
    pub(crate) anchors: providers::anchor::Keys,
    /// `MASTRA_ADMIN_SMTP_PASSWORD`: the password at the SMTP server.
    pub(crate) smtp_password: Option<Secret>,
    /// `MASTRA_ADMIN_S3_ACCESS_KEY_ID` and `MASTRA_ADMIN_S3_SECRET_ACCESS_KEY`: what opens the bucket.
    pub(crate) s3: Option<(Secret, Secret)>,
    /// `MASTRA_ADMIN_GITHUB_PRIVATE_KEY`: what the GitHub App proves itself with.
    pub(crate) github_private_key: Option<Secret>,
    /// `MASTRA_ADMIN_GITHUB_WEBHOOK_SECRET`: what its webhooks are signed with.
    pub(crate) github_webhook_secret: Option<Secret>,
    /// `MASTRA_ADMIN_GITHUB_CLIENT_SECRET`: what asks GitHub who somebody is there.
    pub(crate) github_client_secret: Option<Secret>,
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

impl Secrets {
    /// What stands there now.
    pub(super) fn from_environment() -> anyhow::Result<Self> {
        let secret = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty()).map(Secret::new);
        let email = std::env::var("MASTRA_ADMIN_OWNER_EMAIL").ok().filter(|text| !text.is_empty());
        let owner = match (email, secret("MASTRA_ADMIN_OWNER_PASSWORD")) {
            (Some(email), Some(password)) => Some((email, password)),
            (None, None) => None,
            _ => anyhow::bail!("MASTRA_ADMIN_OWNER_EMAIL and MASTRA_ADMIN_OWNER_PASSWORD go together"),
        };
        Ok(Self {
            database_url: secret("DATABASE_URL"),
            clickhouse_url: secret("CLICKHOUSE_URL"),
            clickhouse_user: secret("CLICKHOUSE_USER"),
            clickhouse_password: secret("CLICKHOUSE_PASSWORD"),
            master_key: secret("MASTRA_ADMIN_MASTER_KEY"),
            next_master_key: secret("MASTRA_ADMIN_MASTER_KEY_NEXT"),
            owner,
            anchors: providers::anchor::Keys {
                token: secret("MASTRA_ADMIN_LEDGER_ANCHOR_TOKEN"),
                s3: secret("MASTRA_ADMIN_LEDGER_S3_ACCESS_KEY_ID")
                    .zip(secret("MASTRA_ADMIN_LEDGER_S3_SECRET_ACCESS_KEY")),
            },
            smtp_password: secret("MASTRA_ADMIN_SMTP_PASSWORD"),
            s3: secret("MASTRA_ADMIN_S3_ACCESS_KEY_ID").zip(secret("MASTRA_ADMIN_S3_SECRET_ACCESS_KEY")),
            github_private_key: secret("MASTRA_ADMIN_GITHUB_PRIVATE_KEY"),
            github_webhook_secret: secret("MASTRA_ADMIN_GITHUB_WEBHOOK_SECRET"),
            github_client_secret: secret("MASTRA_ADMIN_GITHUB_CLIENT_SECRET"),
            auth: AuthSettings(
                std::env::vars_os()
                    .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                    .filter(|(name, _)| name.starts_with("MASTRA_ADMIN_AUTH_") && name != PROVIDERS)
                    .collect(),
            ),
        })
    }
}
