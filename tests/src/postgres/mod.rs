//! A database of its own for every test, copied from a template that is filled once.
//!
//! Not a schema a test: notifications and advisory locks would be shared.

mod cluster;
#[cfg(test)]
mod tests;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool};
use tokio::sync::OnceCell;
use uuid::Uuid;

pub use cluster::{Cluster, cluster};

/// What a test's database is a copy of. One static a kind of content; its name is its database's.
pub struct Template {
    name: &'static str,
    filled: OnceCell<()>,
}

impl Template {
    /// A template that nobody has asked for yet. Names are unique in a test binary.
    pub const fn new(name: &'static str) -> Self {
        Self { name, filled: OnceCell::const_new() }
    }

    async fn fill(&self, fill: impl AsyncFnOnce(&PgPool)) {
        let cluster = cluster().await;
        let half_filled = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name); // by a test that failed
        let create = format!("CREATE DATABASE {}", self.name);
        cluster.run(&[half_filled, create]).await.expect("the name is new and fit");
        let pool = PgPoolOptions::new().max_connections(2).connect_lazy_with(cluster.options(self.name));
        fill(&pool).await;
        pool.close().await; // a database in use cannot be copied
    }
}

/// A test's own database. Dropped with it, as far as that is possible; connections still open are cut.
pub struct TestDb {
    name: String,
    cluster: &'static Cluster,
    pool: PgPool,
}

impl TestDb {
    /// A copy of the template. The first who asks fills it with `fill`; for all others it is not called.
    pub async fn create(template: &Template, fill: impl AsyncFnOnce(&PgPool)) -> Self {
        template.filled.get_or_init(|| template.fill(fill)).await;
        let cluster = cluster().await;
        let name = format!("test_{}", Uuid::now_v7().simple());
        let copy = format!("CREATE DATABASE {name} TEMPLATE {} STRATEGY file_copy", template.name);
        // What is granted on a database is not copied with it.
        let grant = format!(
            "DO $$ BEGIN GRANT CREATE ON DATABASE {name} TO mastra_admin_app; \
             EXCEPTION WHEN undefined_object THEN NULL; END $$"
        );
        cluster.run(&[copy, grant]).await.expect("the template is there and nobody uses it");
        let pool = PgPoolOptions::new().max_connections(10).connect_lazy_with(cluster.options(&name));
        Self { name, cluster, pool }
    }

    /// Connections to it.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// How to connect to it, for what opens connections of its own.
    pub fn options(&self) -> PgConnectOptions {
        self.cluster.options(&self.name)
    }

    /// A URL of it, for what is given one.
    pub fn url(&self) -> String {
        self.options().to_url_lossy().into()
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        self.cluster.run_later(&[format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)]);
    }
}
