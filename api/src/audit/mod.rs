//! Who did what: `GET /teams/{team}/audit`, its export, and the chain of what an event was caused by and led to.

pub(crate) mod causation;
pub(crate) mod export;
mod format;
mod view;

pub(crate) mod ledger;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::ids::ProjectId;
use projections::audit_trail::{Filter, Place};
use serde::Deserialize;
use serde_json::Value;

use crate::body::Query;
use crate::error::ApiError;
use crate::gate::{Scoped, TeamPart};
use crate::platform::Platform;
use crate::reply::{items, list as cut};

pub use view::show_event;
pub(crate) use view::{Shown, View, show};

/// Which events.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Which {
    #[param(max_length = 500)]
    actor: Option<String>,
    /// The gate has read it: who may see one project only must name it.
    #[serde(rename = "projectId")]
    #[param(value_type = Option<uuid::Uuid>)]
    _project_id: Option<ProjectId>,
    #[param(max_length = 500)]
    resource: Option<String>,
    #[param(max_length = 500)]
    resource_id: Option<String>,
    #[param(max_length = 500)]
    action: Option<String>,
    #[param(pattern = "^(success|denied|failed)$")]
    outcome: Option<String>,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    #[param(max_length = 500)]
    q: Option<String>,
}

/// Which of them on this page.
#[derive(Deserialize, utoipa::IntoParams)]
pub(crate) struct Page {
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    cursor: Option<String>,
}

impl Which {
    /// As the trail is asked.
    fn filter(self, project: Option<ProjectId>) -> Result<Filter, ApiError> {
        for (field, text) in [
            ("actor", &self.actor),
            ("resource", &self.resource),
            ("resourceId", &self.resource_id),
            ("action", &self.action),
            ("q", &self.q),
        ] {
            if text.as_ref().is_some_and(|text| text.contains('\0') || text.len() > 500) {
                let rule = "must have at most 500 characters and no U+0000";
                return Err(ApiError::field(field, "invalid", rule));
            }
        }
        if self.outcome.as_ref().is_some_and(|it| !["success", "denied", "failed"].contains(&it.as_str())) {
            return Err(ApiError::field("outcome", "invalid", "must be success, denied or failed"));
        }
        let filter = Filter {
            actor: self.actor,
            project,
            resource: self.resource,
            resource_id: self.resource_id,
            action: self.action,
            outcome: self.outcome,
            from: self.from,
            to: self.to,
            text: self.q.filter(|text| !text.is_empty()),
        };
        if !filter.has_words() {
            return Err(ApiError::field("q", "invalid", "must have a letter or a digit"));
        }
        Ok(filter)
    }
}

pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    part: Scoped<TeamPart>,
    Query(which): Query<Which>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let limit = page.limit.unwrap_or(50);
    if !(1..=200).contains(&limit) {
        return Err(ApiError::field("limit", "out_of_range", "must be 1 to 200"));
    }
    let after = page.cursor.as_deref().map(place).transpose()?;
    let filter = which.filter(part.it.project)?;
    let rows =
        projections::audit_trail::newest(&platform.pool, part.team_id, &filter, after, limit + 1).await?;
    let (rows, next) = cut(rows, limit, |row| cursor(row.into()));
    let mut views = Vec::with_capacity(rows.len());
    for row in rows {
        views.push(show(&platform, row).await?.to_json());
    }
    Ok(items(views, next))
}

/// A place in the trail as a text: microseconds and position.
pub(crate) fn cursor(Place { at, position }: Place) -> String {
    format!("{}.{position}", at.timestamp_micros())
}

/// The same read again.
pub(crate) fn place(cursor: &str) -> Result<Place, ApiError> {
    let parse = || {
        let (micros, position) = cursor.split_once('.')?;
        Some(Place {
            at: DateTime::from_timestamp_micros(micros.parse().ok()?)?,
            position: position.parse().ok()?,
        })
    };
    parse().ok_or_else(|| ApiError::field("cursor", "invalid", "must be the cursor of an earlier answer"))
}
