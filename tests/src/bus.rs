//! A command bus on a database of its own, without the rest of the platform.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use commands::{Appender, Commands, Context, Store, Vault};
use domain::envelope::Actor;
use domain::ports::encryption::{Encryption, EncryptionError};
use domain::sealed::{KeyOwner, Sealed};
use domain::secret::Secret;
use sqlx::PgPool;
use uuid::Uuid;

use crate::postgres::{Template, TestDb};

static MIGRATED: Template = Template::new("migrated");

/// A migrated database with a command bus.
pub struct Bus {
    /// The database.
    pub db: TestDb,
    /// The bus.
    pub commands: Commands,
    /// Heads of the log that the appender told, one a batch.
    pub appended: Arc<Mutex<Vec<i64>>>,
}

impl Bus {
    /// A bus on an empty log.
    pub async fn start() -> Self {
        let db = TestDb::create(&MIGRATED, crate::tape::migrate).await;
        let (commands, appended) = Self::connect(&db).await;
        Self { db, commands, appended }
    }

    /// One more bus on the same log, as another process has.
    pub async fn connect(db: &TestDb) -> (Commands, Arc<Mutex<Vec<i64>>>) {
        Self::on(db.pool().clone()).await
    }

    /// A bus on these connections, and the heads that its appender tells.
    pub async fn on(pool: PgPool) -> (Commands, Arc<Mutex<Vec<i64>>>) {
        let appended: Arc<Mutex<Vec<i64>>> = Arc::default();
        let tell = appended.clone();
        let appender = Appender::start(
            pool.clone(),
            Arc::new(move |head| tell.lock().expect("no holder panics").push(head)),
        );
        let vault =
            Vault::open(pool.clone(), vec![Arc::new(OpenWrap)], now()).await.expect("the vault opens");
        (Commands::new(pool, appender, Arc::new(vault)), appended)
    }

    /// cqrs-es's contract on the same log.
    pub fn store(&self) -> Store {
        self.commands.store().clone()
    }

    /// A value sealed under the installation's key.
    pub async fn sealed(&self, text: &str) -> Sealed {
        let id = Uuid::now_v7().into();
        self.commands
            .vault()
            .seal(KeyOwner::System, "test", id, text.as_bytes(), now())
            .await
            .expect("it seals")
    }
}

/// The circumstances of a command of nobody in particular.
pub fn context() -> Context {
    Context::bare(Actor::System, Uuid::now_v7().to_string(), now())
}

fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Wraps nothing: what a key is wrapped with is not what these tests are about.
pub struct OpenWrap;

#[async_trait]
impl Encryption for OpenWrap {
    fn name(&self) -> &str {
        "open"
    }

    async fn wrap(&self, key: &Secret, context: &str) -> Result<Vec<u8>, EncryptionError> {
        Ok([context.as_bytes(), b"\0", key.expose()].concat())
    }

    async fn unwrap(&self, wrapped: &[u8], context: &str) -> Result<Secret, EncryptionError> {
        let key = wrapped.strip_prefix([context.as_bytes(), b"\0"].concat().as_slice());
        key.map(Secret::new).ok_or(EncryptionError::WrongKey)
    }
}
