//! Where people were seen: keyed hashes of network and program, outside the log, gone with the person.

use chrono::{DateTime, Utc};
use domain::ids::{EventId, UserId};
use sqlx::{PgPool, Row as _};

/// How a place is to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is the first of all.
    First,
    /// He was never there before.
    New,
    /// He was.
    Known,
}

impl Seen {
    /// Whether its owner wants to hear of it.
    pub fn is_news(self) -> bool {
        self == Self::New
    }
}

/// Notes that a person was at a place, by an event. Asked again for the same event, it answers the same.
pub async fn see(
    pool: &PgPool,
    user: UserId,
    mark: &str,
    event: EventId,
    now: DateTime<Utc>,
) -> sqlx::Result<Seen> {
    sqlx::query(
        "INSERT INTO known_places (user_id, mark, first_event, is_first, created_at)
         SELECT $1, $2, $3, NOT EXISTS (SELECT FROM known_places WHERE user_id = $1), $4
         ON CONFLICT DO NOTHING",
    )
    .bind(user.0)
    .bind(mark)
    .bind(event.0)
    .bind(now)
    .execute(pool)
    .await?;
    let row = sqlx::query(
        "SELECT first_event = $3 AS is_new, is_first FROM known_places WHERE user_id = $1 AND mark = $2",
    )
    .bind(user.0)
    .bind(mark)
    .bind(event.0)
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(Seen::Known) };
    Ok(match (row.try_get("is_new")?, row.try_get("is_first")?) {
        (false, _) => Seen::Known,
        (true, true) => Seen::First,
        (true, false) => Seen::New,
    })
}
