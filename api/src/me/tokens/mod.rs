//! Personal tokens: they act on behalf of their owner, with all that he may do.

pub(super) mod create;
pub(super) mod list;
pub(super) mod revoke;

use chrono::{DateTime, Utc};
use domain::ids::TokenId;
use projections::tokens::TokenRow;
use serde::Serialize;

/// A token without its secret.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenView {
    #[schema(value_type = Uuid)]
    pub(super) id: TokenId,
    pub(super) name: String,
    /// Its first characters.
    pub(super) prefix: String,
    pub(super) expires_at: Option<DateTime<Utc>>,
    pub(super) created_at: DateTime<Utc>,
}

impl From<TokenRow> for TokenView {
    fn from(row: TokenRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            prefix: row.prefix,
            expires_at: row.expires_at,
            created_at: row.created_at,
        }
    }
}
