//! `GET /projects/{project}/diff?from=&to=` — what changed between two moments, and what made it so.
//!
//! The parts of the project are shown as they are shown everywhere, at the first moment, then after each event that
//! may have changed them: what is different then, this event has made so.

mod part;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::fact::Recorded;
use domain::ids::ProjectId;
use projections::log;
use projections::past::{Origin, Past, Then};
use serde::Deserialize;
use serde_json::{Value, json};

use self::part::Part;
use crate::body::Query;
use crate::error::ApiError;
use crate::gate::{Scoped, moment};
use crate::platform::Platform;

/// So many events between two moments are looked at one by one.
const MAX_EVENTS: usize = 5000;

/// Two moments, each a time or a position.
#[derive(Deserialize, utoipa::IntoParams)]
pub(crate) struct Span {
    from: String,
    /// The end of the log when absent.
    to: Option<String>,
}

/// A field of something of the project.
type Key = (&'static str, String, String);
/// The fields of a part, by what they belong to.
type Fields = BTreeMap<Key, Value>;

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    project: Scoped<Origin>,
    Query(span): Query<Span>,
) -> Result<Json<Value>, ApiError> {
    let from = moment(&platform, "from", &span.from).await?;
    let to = match span.to {
        Some(to) => moment(&platform, "to", &to).await?,
        None => end(&platform).await?,
    };
    if from.position > to.position {
        return Err(ApiError::field("from", "out_of_range", "must not lie after `to`"));
    }
    let id = project.it.project_id.ok_or_else(ApiError::not_found)?;
    let mut parts = Vec::new();
    for part in Part::ALL {
        let (resource, action) = part.needs();
        if project.may(&platform, Some(id), resource, action).await? {
            parts.push(part);
        }
    }
    let extent = project.it.clone().extent(&["deployment", "role", "role_assignment"]);
    let past = platform.archive.begin(extent).await?;
    let compared = Comparison { past, id, parts, is: BTreeMap::new(), made_by: BTreeMap::new() };
    let changes = tokio::time::timeout(platform.archive.patience(), compared.run(from, to)).await;
    let changes = changes.map_err(|_| ApiError::unavailable())??;
    let shown = |then: Then| json!({ "position": then.position, "at": then.at });
    Ok(Json(json!({ "from": shown(from), "to": shown(to), "changes": changes })))
}

async fn end(platform: &Platform) -> Result<Then, ApiError> {
    let position = log::head(&platform.pool).await?;
    let at = log::recorded_at(&platform.pool, position).await?;
    Ok(Then { position, at: at.unwrap_or_else(platform.now) })
}

struct Comparison {
    past: Past,
    id: ProjectId,
    /// What the caller may see.
    parts: Vec<Part>,
    is: BTreeMap<Part, Fields>,
    made_by: BTreeMap<Key, Vec<Value>>,
}

impl Comparison {
    async fn run(mut self, from: Then, to: Then) -> Result<Vec<Value>, ApiError> {
        self.past.go_to(from.position).await?;
        for part in self.parts.clone() {
            let fields = part.load(&mut self.past.db, self.id).await?;
            self.is.insert(part, fields);
        }
        let was = self.is.clone();
        let positions = self.past.positions(to.position).await?;
        if positions.len() > MAX_EVENTS {
            let text = format!("must not lie more than {MAX_EVENTS} events of the project before `to`");
            return Err(ApiError::field("from", "too_much", text));
        }
        for some in positions.chunks(100) {
            for event in self.past.read(some).await? {
                self.take_in(&event).await?;
            }
        }
        Ok(self.changes(&was))
    }

    async fn take_in(&mut self, event: &Recorded) -> Result<(), ApiError> {
        self.past.take_in(std::slice::from_ref(event)).await?;
        let touched = event.facts.iter().flat_map(Part::touched_by);
        for part in touched.filter(|part| self.parts.contains(part)) {
            let now = part.load(&mut self.past.db, self.id).await?;
            let before = self.is.insert(*part, now).unwrap_or_default();
            for key in differing(&before, &self.is[part]) {
                self.made_by.entry(key).or_default().push(json!({
                    "position": event.position,
                    "eventId": event.event_id,
                    "eventType": event.event_type,
                    "actor": event.envelope().actor,
                    "at": event.at,
                }));
            }
        }
        Ok(())
    }

    fn changes(&self, was: &BTreeMap<Part, Fields>) -> Vec<Value> {
        let mut changes = Vec::new();
        for (part, is) in &self.is {
            for key in differing(&was[part], is) {
                let events = self.made_by.get(&key);
                let (resource, id, field) = &key;
                changes.push(json!({
                    "resource": resource,
                    "resourceId": id,
                    "field": field,
                    "before": was[part].get(&key),
                    "after": is.get(&key),
                    "events": events,
                }));
            }
        }
        changes
    }
}

fn differing(before: &Fields, after: &Fields) -> Vec<Key> {
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    let other = after.iter().filter(|(key, value)| before.get(*key) != Some(*value)).map(|(key, _)| key);
    let mut keys: Vec<Key> = gone.chain(other).cloned().collect();
    keys.sort();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_what_went_and_what_is_different_differs() {
        let key = |id: &str| ("token", id.to_owned(), "name".to_owned());
        let fields = |pairs: &[(&str, i64)]| -> Fields {
            pairs.iter().map(|(id, value)| (key(id), Value::from(*value))).collect()
        };
        let before = fields(&[("same", 1), ("gone", 2), ("other", 3)]);
        let after = fields(&[("same", 1), ("other", 4), ("new", 5)]);
        assert_eq!(differing(&before, &after), [key("gone"), key("new"), key("other")]);
    }
}
