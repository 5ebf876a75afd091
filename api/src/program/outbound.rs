//! What endpoints are told with, as the settings say.

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use commands::{Commands, VaultError};
use domain::ports::outbound::Outbound;
use processes::ShowEvent;
use projections::audit_trail::AuditRow;
use providers::outbound::https::HttpsOutbound;
use serde_json::Value;

use super::config::Config;

/// The way out.
pub(super) fn open(config: &Config) -> anyhow::Result<Arc<dyn Outbound>> {
    let outbound = HttpsOutbound::open(&config.outbound_allow).context("nothing can be sent to endpoints")?;
    Ok(Arc::new(outbound))
}

/// Events as the API shows them.
pub(super) struct Shown(pub(super) Commands);

#[async_trait]
impl ShowEvent for Shown {
    async fn event(&self, row: AuditRow) -> Result<Value, VaultError> {
        api::show_event(self.0.vault(), row).await
    }
}
