//! Webhooks of a project's own: whatever git host it has tells of pushes by them.

use chrono::{DateTime, Utc};

use crate::ports::git_host::{Headers, HostNews, ReceiveError, Received, Unreadable};
use crate::secret::Secret;

/// Reads deliveries of any git host that shares a secret with a project.
pub trait PushHooks: Send + Sync {
    /// Proves a delivery by one of these secrets, and says in which form it is told (`gitlab`, `gitea`, `webhook`) and
    /// what it is. Nothing of it is believed before.
    ///
    /// # Errors
    /// None of the secrets proves it, it is too old or from the future, or it is no delivery.
    fn receive(
        &self,
        secrets: &[Secret],
        header: &Headers<'_>,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<(&'static str, Received), ReceiveError>;

    /// What a delivery that was received in this form tells.
    ///
    /// # Errors
    /// The field that cannot be understood.
    fn read(&self, form: &str, kind: &str, body: &[u8]) -> Result<HostNews, Unreadable>;

    /// The form and the body of a delivery that would have told this.
    fn tell(&self, told: &Received) -> (&'static str, Vec<u8>);

    /// A new secret, made of the first 30 of these 32 random bytes: in the form of Standard Webhooks, and as it is for all
    /// others.
    fn secret(&self, random: &Secret) -> Secret;
}
