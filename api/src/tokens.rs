//! What personal and project API tokens have in common: allow-lists, rotation, how they are shown.

use std::collections::HashMap;
use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use commands::Receipt;
use domain::ids::{TokenId, UserId};
use domain::project::TokenScope;
use http::StatusCode;
use ipnet::IpNet;
use projections::tokens::TokenRow;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::auth::token::NewToken;
use crate::body::in_future;
use crate::error::ApiError;
use crate::platform::Platform;
use crate::reply::Done;
use crate::shape;

/// Ranges of an allow-list at most.
const RANGES: usize = 50;
/// How long the old secret works unless the caller says otherwise, in seconds: a day.
const OVERLAP: u32 = 24 * 3600;
/// How long it may work at most, in seconds: a week.
const LONGEST_OVERLAP: u32 = 7 * 24 * 3600;

/// Another secret for a token.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RotateToken {
    /// For how many seconds the old secret still works: 0 to 604800, a day when absent.
    overlap_seconds: Option<u32>,
    /// When the token ends; as before when absent.
    expires_at: Option<DateTime<Utc>>,
}

/// A rotation that may be done.
pub(crate) struct Rotation {
    /// The new secret.
    pub(crate) token: NewToken,
    /// Until when the old one works.
    pub(crate) overlap_until: DateTime<Utc>,
    /// New end of the token, if it has one.
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

impl RotateToken {
    /// Checks what was asked for against the token as it is.
    pub(crate) fn of(
        self,
        row: &TokenRow,
        token: NewToken,
        now: DateTime<Utc>,
    ) -> Result<Rotation, ApiError> {
        in_future("expiresAt", self.expires_at, now)?;
        let overlap = overlap(self.overlap_seconds)?;
        if self.expires_at.or(row.expires_at).is_some_and(|at| at <= now) {
            let detail = "This token is over: say until when it is to work.";
            return Err(ApiError::new(StatusCode::CONFLICT, "token_over", detail));
        }
        let overlap_until = now + overlap;
        Ok(Rotation { token, overlap_until, expires_at: self.expires_at })
    }
}

/// For how long what was before a rotation works: as many seconds as were asked for, or a day.
pub(crate) fn overlap(seconds: Option<u32>) -> Result<TimeDelta, ApiError> {
    let overlap = seconds.unwrap_or(OVERLAP);
    if overlap > LONGEST_OVERLAP {
        let most = format!("must not be more than {LONGEST_OVERLAP}");
        return Err(ApiError::field("overlapSeconds", "too_long", most));
    }
    Ok(TimeDelta::seconds(overlap.into()))
}

impl Rotation {
    /// The token as it will be.
    pub(crate) fn applied_to(&self, row: TokenRow) -> TokenRow {
        TokenRow {
            hash: self.token.hex(),
            prefix: self.token.prefix(),
            last_four: Some(self.token.last_four()),
            old_hash: Some(row.hash),
            old_until: Some(self.overlap_until),
            expires_at: self.expires_at.or(row.expires_at),
            ..row
        }
    }
}

/// The ranges of an allow-list as they are written: `192.0.2.0/24`, or one address. None when there is no list.
pub(crate) fn allowlist(written: Option<Vec<String>>) -> Result<Vec<IpNet>, ApiError> {
    let Some(written) = written else { return Ok(vec![]) };
    if written.is_empty() {
        let message = "must name at least one range; leave it out to allow every address";
        return Err(ApiError::field("ipAllowlist", "required", message));
    }
    if written.len() > RANGES {
        return Err(ApiError::field("ipAllowlist", "too_many", format!("must not have more than {RANGES}")));
    }
    let parsed = written.iter().map(|text| range(text)).collect::<Option<Vec<_>>>();
    let message = "must be addresses or ranges like 192.0.2.0/24 or 2001:db8::/32";
    parsed.ok_or_else(|| ApiError::field("ipAllowlist", "invalid", message))
}

/// A range, or an address as a range of one.
fn range(text: &str) -> Option<IpNet> {
    let range = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
    Some(range.trunc())
}

/// Tokens as lists show them.
pub(crate) async fn views(platform: &Platform, rows: &[TokenRow]) -> Result<Vec<Value>, ApiError> {
    let ids: Vec<TokenId> = rows.iter().map(|row| row.id).collect();
    let uses: HashMap<_, _> = platform.token_uses.of(&ids).await?;
    Ok(rows
        .iter()
        .map(|row| {
            let mut shown = view(row);
            shown.last_used_at = uses.get(&row.id).copied();
            json!(shown)
        })
        .collect())
}

/// A token without its secret, as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Token)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    #[schema(value_type = uuid::Uuid)]
    id: TokenId,
    name: &'a str,
    /// What its secret begins with.
    prefix: &'a str,
    /// What its secret ends with.
    last_four: Option<&'a str>,
    #[schema(value_type = Vec<shape::TokenScope>)]
    scopes: &'a [TokenScope],
    #[schema(value_type = Vec<String>)]
    ip_allowlist: &'a [IpNet],
    expires_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    #[schema(value_type = Option<uuid::Uuid>)]
    created_by: Option<UserId>,
    /// Until when the secret before the last rotation works.
    old_secret_until: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
}

/// A token that was made or got another secret.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewSecret {
    #[schema(value_type = View)]
    token: Option<Value>,
    /// It is shown here and never again.
    plain_token: String,
}

/// A token without its secret, and without when it was used.
pub(crate) fn view(row: &TokenRow) -> View<'_> {
    View {
        id: row.id,
        name: &row.name,
        prefix: &row.prefix,
        last_four: row.last_four.as_deref(),
        scopes: &row.scopes,
        ip_allowlist: &row.ip_allowlist,
        expires_at: row.expires_at,
        created_at: row.created_at,
        created_by: row.created_by.or(row.user_id),
        old_secret_until: row.old_until,
        last_used_at: None,
    }
}

/// Answers with a token that was made or got another secret: `fresh`, or with a repeated key that of the first time.
pub(crate) async fn made(
    platform: &Platform,
    status: StatusCode,
    receipt: Receipt,
    token: NewToken,
    fresh: TokenRow,
) -> Result<Done, ApiError> {
    Done::new(platform, status, receipt, async || {
        let row = projections::tokens::find_by_hash(&platform.pool, &token.hex()).await?.unwrap_or(fresh);
        let shown = views(platform, std::slice::from_ref(&row)).await?.pop();
        Ok(json!(NewSecret { token: shown, plain_token: token.plain }))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allow_list_has_ranges_and_addresses() {
        let written = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
        let parsed = allowlist(written(&["192.0.2.7", "10.1.2.3/8", "2001:db8::1/32"])).unwrap();
        let shown: Vec<String> = parsed.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["192.0.2.7/32", "10.0.0.0/8", "2001:db8::/32"]);
        assert_eq!(allowlist(None).unwrap(), []);
        for bad in [&[][..], &["10.0.0.0/33"], &["everywhere"], &[""], &["10.0.0.0/8", "x"], &["1.1.1.1"; 51]]
        {
            assert!(allowlist(written(bad)).is_err(), "{bad:?}");
        }
    }
}
