//! `GET /teams/{team}/audit/export` — the trail as a file, of any length, oldest first.
//!
//! It is read page by page, each a query of its own: memory holds one page, and who stops reading holds neither a
//! transaction nor a connection of the database.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::access::AccessEvent;
use domain::ids::{SecretId, TeamId};
use domain::sealed::{KeyOwner, Sealed, purpose};
use futures_util::{TryStreamExt, stream};
use http::{HeaderValue, header};
use projections::audit_trail::{Filter, Place};
use serde::Deserialize;
use serde_json::json;

use super::format::Format;
use super::{Which, show};
use crate::body::Query;
use crate::error::ApiError;
use crate::gate::{Scoped, TeamPart, while_standing};
use crate::platform::Platform;
use crate::reply::X_PROJECTION_LAG;

/// Rows in memory.
const PAGE: i64 = 1000;

/// As what.
#[derive(Deserialize, utoipa::IntoParams)]
pub(crate) struct As {
    #[serde(default)]
    #[param(inline)]
    format: Format,
}

/// Everything that was recorded before the export itself, which is recorded before the first byte.
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    part: Scoped<TeamPart>,
    Query(which): Query<Which>,
    Query(As { format }): Query<As>,
) -> Result<Response, ApiError> {
    let filter = which.filter(part.it.project)?;
    let event = AccessEvent::AccessAuditExported {
        team_id: part.team_id,
        project_id: filter.project,
        format: format.as_str().to_owned(),
        from: filter.from,
        to: filter.to,
        filter: seal(&platform, &part, &filter).await?,
    };
    let recorded = platform.commands.access(event, &part.context()).await;
    let recorded = recorded.map_err(|error| ApiError::unrecorded(&error))?;
    let receipt = recorded.ok_or_else(ApiError::unavailable)?;
    let lags = !platform.caught_up(&receipt).await;
    let (watched, standing) = (platform.clone(), part.standing());
    let rows =
        Rows { platform, format, team: part.team_id, filter, before: receipt.position, next: Next::Head };
    let file = format!(
        "attachment; filename=\"audit-{}-{}.{}\"",
        part.team_id,
        part.caller().at().format("%Y%m%dT%H%M%SZ"),
        format.extension()
    );
    let body = Body::from_stream(while_standing(
        standing.lost(watched),
        stream::try_unfold(rows, Rows::page).map_err(cut_short),
        || Some(Err(std::io::Error::other("the right to export was lost"))),
    ));
    let headers =
        [(header::CONTENT_TYPE, format.media_type().to_owned()), (header::CONTENT_DISPOSITION, file)];
    let mut response = (headers, body).into_response();
    if lags {
        response.headers_mut().insert(X_PROJECTION_LAG, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// What it is narrowed to besides project and time, under the key of who exports: people search for names.
async fn seal(
    platform: &Platform,
    part: &Scoped<TeamPart>,
    filter: &Filter,
) -> Result<Option<Sealed>, ApiError> {
    let Filter { actor, resource, resource_id, action, outcome, text, .. } = filter;
    if [actor, resource, resource_id, action, outcome, text].iter().all(|it| it.is_none()) {
        return Ok(None);
    }
    let plain = json!({
        "actor": actor, "resource": resource, "resourceId": resource_id, "action": action, "outcome": outcome,
        "q": text,
    });
    let (owner, id): (_, SecretId) = (KeyOwner::User(part.caller().user()?), platform.new_id());
    let (plain, now) = (plain.to_string(), part.caller().at());
    let sealed =
        platform.commands.vault().seal(owner, purpose::AUDIT_FILTER, id, plain.as_bytes(), now).await?;
    Ok(Some(sealed))
}

/// The rows that are left.
struct Rows {
    platform: Arc<Platform>,
    format: Format,
    team: TeamId,
    filter: Filter,
    /// A position of the log.
    before: i64,
    next: Next,
}

enum Next {
    /// What comes before the first row.
    Head,
    /// The rows after this one.
    After(Place),
    Nothing,
}

impl Rows {
    /// A page of them. An error cuts the answer instead of pretending an end.
    async fn page(mut self) -> Result<Option<(Bytes, Self)>, ApiError> {
        let (mut out, after) = match self.next {
            Next::Head => (self.format.head(), None),
            Next::After(place) => (String::new(), Some(place)),
            Next::Nothing => return Ok(None),
        };
        let (pool, before) = (&self.platform.pool, self.before);
        let rows =
            projections::audit_trail::oldest(pool, self.team, &self.filter, after, before, PAGE).await?;
        let is_full = i64::try_from(rows.len()).is_ok_and(|count| count == PAGE);
        self.next = match rows.last() {
            Some(last) if is_full => Next::After(last.into()),
            _ => Next::Nothing,
        };
        for row in rows {
            self.format.write(&show(&self.platform, row).await?, &mut out);
        }
        Ok(Some((out.into(), self)))
    }
}

/// The rest could not be read. Why was logged; the client sees a broken transfer.
fn cut_short(_: ApiError) -> std::io::Error {
    std::io::Error::other("the export was cut short")
}
