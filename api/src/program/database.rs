//! The database: the one that the operator names, or an embedded one.

use std::future::Future;

use anyhow::Context as _;
use providers::database::embedded::{Embedded, EmbeddedConfig, running_url};
use sqlx::PgPool;

use super::config::Config;

/// Connections of the server: request handlers, consumers, workers, one that listens.
const CONNECTIONS: u32 = 40;

/// A database that is there and has the present schema.
pub(crate) struct Database {
    pub(crate) pool: PgPool,
    embedded: Option<Embedded>,
}

impl Database {
    /// Connects, starting the embedded server when none is named, and migrates.
    pub(crate) async fn open(config: &Config) -> anyhow::Result<Self> {
        let (url, embedded) = match &config.secrets.database_url {
            Some(url) => (url.expose_str().context("DATABASE_URL is no text")?.to_owned(), None),
            None => {
                let embedded = Embedded::start(EmbeddedConfig {
                    data_dir: config.data_dir.clone(),
                    bin_dir: config.postgres_bin.clone(),
                    durable: true,
                })
                .await?;
                (embedded.url(), Some(embedded))
            }
        };
        // The error of a connection names host and port, never the password.
        let connect = async |connections| {
            projections::pool::connect(&url, connections).await.context("the database cannot be reached")
        };
        // The role that connections take on may only be there afterwards.
        let owner = connect(1).await?;
        commands::migrate(&owner).await.context("the database cannot be brought to the present schema")?;
        owner.close().await;
        let pool = connect(CONNECTIONS).await?;
        if projections::pool::may_rewrite(&pool).await.context("the database cannot be asked")? {
            tracing::warn!(
                "the server works with the rights of the log's owner; `replay-tool doctor` says more"
            );
        }
        Ok(Self { pool, embedded })
    }

    /// Connects to a database that is there, as it is: also to the embedded one of a server that runs.
    pub(crate) async fn beside(config: &Config) -> anyhow::Result<Self> {
        let (data_dir, bin_dir) = (config.data_dir.clone(), config.postgres_bin.clone());
        let (url, embedded) = match (&config.secrets.database_url, running_url(&data_dir)) {
            (Some(url), _) => (url.expose_str().context("DATABASE_URL is no text")?.to_owned(), None),
            (None, Some(url)) => (url, None),
            (None, None) => {
                let embedded = Embedded::start(EmbeddedConfig { data_dir, bin_dir, durable: true }).await?;
                (embedded.url(), Some(embedded))
            }
        };
        let pool = projections::pool::connect(&url, 2).await.context("the database cannot be reached")?;
        Ok(Self { pool, embedded })
    }

    /// Resolves when the embedded server has ended by itself; never with another.
    pub(crate) fn crashed(&self) -> impl Future<Output = anyhow::Error> + Send + 'static {
        let crashed = self.embedded.as_ref().map(Embedded::crashed);
        async move {
            match crashed {
                Some(crashed) => crashed.await.into(),
                None => std::future::pending().await,
            }
        }
    }

    /// Closes the connections and stops the embedded server.
    pub(crate) async fn close(self) {
        self.pool.close().await;
        if let Some(embedded) = self.embedded {
            embedded.stop().await;
        }
    }
}
