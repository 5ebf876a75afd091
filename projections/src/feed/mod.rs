//! feed
use async_trait::async_trait;
use domain::fact::Recorded;
use sqlx::PgConnection;

/// Reads the log in order: a read model with tables of its own, or a process, which has none.
#[async_trait]
pub trait Consumer: Send + Sync {
    /// The key of its checkpoint: stored, never changed.
    fn name(&self) -> &'static str;

    /// Raised with every change of its tables or of what it writes to them: they are then built anew.
    fn version(&self) -> i32;

    /// The statements that make its tables. Their names are unqualified: run where they are to belong.
    fn tables(&self) -> &'static str;

    /// The names of its tables.
    fn table_names(&self) -> &'static [&'static str];

    /// Takes one event in. Runs in the transaction that moves the checkpoint. Depends on the event and on its own
    /// tables alone: no clock, no random, so that a rebuild gives the same bytes.
    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()>;
}
