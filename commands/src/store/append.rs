//! One append, and a batch of them as the columns that the append function takes.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, RandomState};

use chrono::{DateTime, Utc};
use domain::claim::{Claim, ClaimAct, ClaimScope};
use domain::ids::EventId;
use serde::Deserialize;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::{Query, QueryScalar};
use sqlx::types::Json;
use sqlx::{Postgres, Row};
use uuid::Uuid;

use crate::context::IdempotencyKey;
use crate::outcome::{CommandError, Receipt, StoreError};

/// What one command, or several that belong together, add to the log: all or nothing.
#[derive(Debug, Default)]
pub(super) struct Append {
    pub(super) key: Option<IdempotencyKey>,
    pub(super) streams: Vec<Stream>,
    pub(super) claims: Vec<OwnedClaim>,
    pub(super) events: Vec<NewEvent>,
}

/// A stream that an append goes on with.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) aggregate_type: &'static str,
    pub(super) aggregate_id: String,
    /// Number of its last event before.
    pub(super) version: i64,
}

/// A name with who takes or frees it.
#[derive(Debug)]
pub(super) struct OwnedClaim {
    pub(super) claim: Claim,
    pub(super) owner: String,
}

/// A row of the log to be, but for its position.
#[derive(Debug)]
pub(super) struct NewEvent {
    pub(super) aggregate_type: &'static str,
    pub(super) aggregate_id: String,
    pub(super) sequence: i64,
    pub(super) event_type: String,
    pub(super) event_version: String,
    pub(super) payload: String,
    pub(super) metadata: String,
    pub(super) event_id: EventId,
    pub(super) recorded_at: DateTime<Utc>,
    pub(super) team_id: Option<Uuid>,
}

/// What the log says of one append.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is in: the position of its last event.
    Appended {
        position: i64,
    },
    Repeated {
        aggregate_id: String,
        version: i64,
        position: i64,
    },
    KeyReused,
    Conflict {
        expected: i64,
        actual: i64,
    },
    NameTaken {
        scope: ClaimScope,
        key: String,
    },
}

impl Verdict {
    /// As metrics name it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Appended { .. } => "appended",
            Self::Repeated { .. } => "repeated",
            Self::KeyReused => "key_reused",
            Self::Conflict { .. } => "conflict",
            Self::NameTaken { .. } => "name_taken",
        }
    }

    pub(super) fn into_receipt<E: std::error::Error>(
        self,
        aggregate_id: String,
        version: i64,
    ) -> Result<Receipt, CommandError<E>> {
        match self {
            Self::Appended { position } => Ok(Receipt { aggregate_id, version, position, repeated: false }),
            Self::Repeated { aggregate_id, version, position } => {
                Ok(Receipt { aggregate_id, version, position, repeated: true })
            }
            Self::KeyReused => Err(CommandError::KeyReused),
            Self::Conflict { expected, actual } => {
                Err(CommandError::Conflict { expected, actual, since: vec![] })
            }
            Self::NameTaken { scope, key } => Err(CommandError::NameTaken { scope, key }),
        }
    }
}

impl Append {
    /// Adds the names that an event takes or frees. What was taken before in the same append and is freed again was
    /// never taken, and the other way round. The name, when it is taken twice.
    pub(super) fn claim(&mut self, claim: Claim, owner: String) -> Result<(), Claim> {
        let opposite = self.claims.iter().position(|other| {
            other.owner == owner
                && other.claim.act != claim.act
                && (other.claim.scope, &other.claim.key) == (claim.scope, &claim.key)
        });
        if let Some(place) = opposite {
            self.claims.swap_remove(place);
            return Ok(());
        }
        let is_taken_twice = claim.act == ClaimAct::Take
            && self.claims.iter().any(|other| {
                other.claim.act == ClaimAct::Take
                    && (other.claim.scope, &other.claim.key) == (claim.scope, &claim.key)
            });
        if is_taken_twice {
            return Err(claim);
        }
        self.claims.push(OwnedClaim { claim, owner });
        Ok(())
    }

    /// Hashes of all that no other append of the same batch, nor of one under way, may touch.
    pub(super) fn touches(&self, hasher: &RandomState) -> HashSet<u64> {
        fn hash(hasher: &RandomState, value: impl Hash) -> u64 {
            hasher.hash_one(value)
        }
        let streams =
            self.streams.iter().map(|s| hash(hasher, ("stream", s.aggregate_type, &s.aggregate_id)));
        let claims =
            self.claims.iter().map(|c| hash(hasher, ("claim", c.claim.scope.as_str(), &c.claim.key)));
        let keys = self.key.iter().map(|k| hash(hasher, ("key", &k.scope, &k.key)));
        streams.chain(claims).chain(keys).collect()
    }
}

/// The statement that appends a batch.
const APPEND: &str = "SELECT append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, \
    $19, $20, $21, $22, $23, $24, $25, $26, $27, $28) AS verdicts";

/// The statement that appends one event.
const APPEND_ONE: &str = "SELECT append_one($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

/// The statement that appends a batch of such events.
const APPEND_PLAIN: &str = "SELECT append_plain($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

/// The events of a batch in which each append is one event that goes on with its stream, with neither a name nor a
/// key.
pub(super) fn plain<'a>(batch: &[&'a Append]) -> Option<Vec<&'a NewEvent>> {
    batch.iter().map(|append| plain_event(append)).collect()
}

fn plain_event(append: &Append) -> Option<&NewEvent> {
    match (&append.key, &append.streams[..], &append.claims[..], &append.events[..]) {
        (None, [stream], [], [event]) if stream.version == event.sequence - 1 => Some(event),
        _ => None,
    }
}

/// Binds it. The answer is its position, or null: then [`bind`] has the whole answer.
pub(super) fn bind_one(event: &NewEvent) -> QueryScalar<'_, Postgres, Option<i64>, PgArguments> {
    sqlx::query_scalar(APPEND_ONE)
        .bind(event.aggregate_type)
        .bind(event.aggregate_id.as_str())
        .bind(event.sequence)
        .bind(event.event_type.as_str())
        .bind(event.event_version.as_str())
        .bind(event.payload.as_str())
        .bind(event.metadata.as_str())
        .bind(event.event_id.0)
        .bind(event.recorded_at)
        .bind(event.team_id)
}

/// Binds a batch of them. The answer is for [`read_plain`].
pub(super) fn bind_plain<'q>(events: &'q [&'q NewEvent]) -> QueryScalar<'q, Postgres, Vec<i64>, PgArguments> {
    fn column<'r, T>(events: &'r [&'r NewEvent], of: impl Fn(&'r NewEvent) -> T) -> Vec<T> {
        events.iter().map(|event| of(event)).collect()
    }
    sqlx::query_scalar(APPEND_PLAIN)
        .bind(column(events, |e| e.aggregate_type))
        .bind(column(events, |e| e.aggregate_id.as_str()))
        .bind(column(events, |e| e.sequence))
        .bind(column(events, |e| e.event_type.as_str()))
        .bind(column(events, |e| e.event_version.as_str()))
        .bind(column(events, |e| e.payload.as_str()))
        .bind(column(events, |e| e.metadata.as_str()))
        .bind(column(events, |e| e.event_id.0))
        .bind(column(events, |e| e.recorded_at))
        .bind(column(events, |e| e.team_id))
}

/// Reads the answer: the position before the batch; then, for each that was refused, its number and the version that
/// its stream has.
pub(super) fn read_plain(events: &[&NewEvent], answer: &[i64]) -> Result<Vec<Verdict>, StoreError> {
    let strange = |what: &str| StoreError::Answer(what.to_owned());
    let (head, refused) = answer.split_first().ok_or_else(|| strange("no position"))?;
    let (refused, []) = refused.as_chunks::<2>() else { return Err(strange("half a refusal")) };
    let mut verdicts: Vec<Option<Verdict>> = events.iter().map(|_| None).collect();
    for &[number, actual] in refused {
        let place = usize::try_from(number).ok().and_then(|n| n.checked_sub(1));
        let (place, event) =
            place.and_then(|place| Some((place, events.get(place)?))).ok_or_else(|| strange("a number"))?;
        verdicts[place] = Some(Verdict::Conflict { expected: event.sequence - 1, actual });
    }
    let mut position = *head;
    let mut appended = || {
        position += 1;
        Verdict::Appended { position }
    };
    Ok(verdicts.into_iter().map(|refusal| refusal.unwrap_or_else(&mut appended)).collect())
}

/// An element of the answer of `append`; the first has the position before the batch.
#[derive(Debug, Deserialize)]
struct Answer {
    append: i32,
    outcome: String,
    position: Option<i64>,
    version: Option<i64>,
    actual: Option<i64>,
    subject: Option<String>,
    name: Option<String>,
}

/// Binds a batch. Appends are numbered from 1.
pub(super) fn bind<'q>(batch: &'q [&'q Append]) -> Query<'q, Postgres, PgArguments> {
    let numbered = || (1_i32..).zip(batch);
    let streams: Vec<_> = numbered().flat_map(|(n, a)| a.streams.iter().map(move |s| (n, s))).collect();
    // The receipt of a key is that of the append's last event.
    let keys: Vec<_> = numbered().filter_map(|(n, a)| Some((n, a.key.as_ref()?, a.events.last()?))).collect();
    let claims: Vec<_> = numbered().flat_map(|(n, a)| a.claims.iter().map(move |c| (n, c))).collect();
    let events: Vec<_> = numbered().flat_map(|(n, a)| a.events.iter().map(move |e| (n, e))).collect();
    fn column<'r, R, T>(rows: &'r [R], of: impl Fn(&'r R) -> T) -> Vec<T> {
        rows.iter().map(of).collect()
    }
    sqlx::query(APPEND)
        .bind(column(&streams, |(n, _)| *n))
        .bind(column(&streams, |(_, s)| s.aggregate_type))
        .bind(column(&streams, |(_, s)| s.aggregate_id.as_str()))
        .bind(column(&streams, |(_, s)| s.version))
        .bind(column(&keys, |(n, ..)| *n))
        .bind(column(&keys, |(_, k, _)| k.scope.as_str()))
        .bind(column(&keys, |(_, k, _)| k.key.as_str()))
        .bind(column(&keys, |(_, k, _)| k.request_hash.as_str()))
        .bind(column(&keys, |(.., last)| last.aggregate_type))
        .bind(column(&keys, |(.., last)| last.aggregate_id.as_str()))
        .bind(column(&keys, |(.., last)| last.sequence))
        .bind(column(&keys, |(.., last)| last.recorded_at))
        .bind(column(&claims, |(n, _)| *n))
        .bind(column(&claims, |(_, c)| c.claim.act == ClaimAct::Take))
        .bind(column(&claims, |(_, c)| c.claim.scope.as_str()))
        .bind(column(&claims, |(_, c)| c.claim.key.as_str()))
        .bind(column(&claims, |(_, c)| c.owner.as_str()))
        .bind(column(&events, |(n, _)| *n))
        .bind(column(&events, |(_, e)| e.aggregate_type))
        .bind(column(&events, |(_, e)| e.aggregate_id.as_str()))
        .bind(column(&events, |(_, e)| e.sequence))
        .bind(column(&events, |(_, e)| e.event_type.as_str()))
        .bind(column(&events, |(_, e)| e.event_version.as_str()))
        .bind(column(&events, |(_, e)| e.payload.as_str()))
        .bind(column(&events, |(_, e)| e.metadata.as_str()))
        .bind(column(&events, |(_, e)| e.event_id.0))
        .bind(column(&events, |(_, e)| e.recorded_at))
        .bind(column(&events, |(_, e)| e.team_id))
}

/// Reads the answer: a verdict for each append of the batch, in its order.
pub(super) fn read(batch: &[&Append], row: &PgRow) -> Result<Vec<Verdict>, StoreError> {
    let strange = |what: &str| StoreError::Answer(what.to_owned());
    let Json(answers): Json<Vec<Answer>> = row.try_get("verdicts")?;
    let mut answers = answers.into_iter();
    let head = answers.next().and_then(|head| head.position);
    let mut position = head.ok_or_else(|| strange("no position"))?;
    let mut verdicts: Vec<Option<Verdict>> = batch.iter().map(|_| None).collect();
    for answer in answers {
        let place = usize::try_from(answer.append).ok().and_then(|n| n.checked_sub(1));
        let slot = place.and_then(|place| verdicts.get_mut(place)).ok_or_else(|| strange("a number"))?;
        *slot = Some(refusal(answer).ok_or_else(|| strange("a verdict"))?);
    }
    Ok(verdicts
        .into_iter()
        .zip(batch)
        .map(|(refusal, append)| {
            refusal.unwrap_or_else(|| {
                position += i64::try_from(append.events.len()).expect("a command has few events");
                Verdict::Appended { position }
            })
        })
        .collect())
}

fn refusal(answer: Answer) -> Option<Verdict> {
    Some(match answer.outcome.as_str() {
        "repeated" => Verdict::Repeated {
            aggregate_id: answer.subject?,
            version: answer.version?,
            position: answer.position?,
        },
        "key_reused" => Verdict::KeyReused,
        "conflict" => Verdict::Conflict { expected: answer.version?, actual: answer.actual? },
        "name_taken" => {
            Verdict::NameTaken { scope: ClaimScope::from_stored(&answer.subject?)?, key: answer.name? }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(act: ClaimAct, key: &str) -> Claim {
        Claim { act, scope: ClaimScope::TeamSlug, key: key.to_owned() }
    }

    fn names(append: &Append) -> Vec<(ClaimAct, &str)> {
        append.claims.iter().map(|c| (c.claim.act, c.claim.key.as_str())).collect()
    }

    fn event(sequence: i64) -> NewEvent {
        NewEvent {
            aggregate_type: "team",
            aggregate_id: sequence.to_string(),
            sequence,
            event_type: "team.renamed".to_owned(),
            event_version: "1".to_owned(),
            payload: "{}".to_owned(),
            metadata: "{}".to_owned(),
            event_id: EventId(Uuid::nil()),
            recorded_at: DateTime::UNIX_EPOCH,
            team_id: None,
        }
    }

    #[test]
    fn who_is_refused_takes_no_position() {
        let (a, b, c) = (event(1), event(7), event(3));
        let verdicts = read_plain(&[&a, &b, &c], &[40, 2, 8]).unwrap();
        let conflict = Verdict::Conflict { expected: 6, actual: 8 };
        assert_eq!(
            verdicts,
            [Verdict::Appended { position: 41 }, conflict, Verdict::Appended { position: 42 }]
        );
        for strange in [&[][..], &[40, 2], &[40, 0, 8], &[40, 4, 8], &[40, -1, 8]] {
            assert!(read_plain(&[&a, &b, &c], strange).is_err(), "{strange:?}");
        }
    }

    #[test]
    fn there_and_back_again_leaves_names_as_they_were() {
        let mut append = Append::default();
        for (act, key) in
            [(ClaimAct::Free, "a"), (ClaimAct::Take, "b"), (ClaimAct::Free, "b"), (ClaimAct::Take, "a")]
        {
            append.claim(claim(act, key), "1".to_owned()).unwrap();
        }
        assert_eq!(names(&append), []);
    }

    #[test]
    fn a_name_is_handed_over_in_one_append_but_not_taken_twice() {
        let mut append = Append::default();
        append.claim(claim(ClaimAct::Free, "a"), "1".to_owned()).unwrap();
        append.claim(claim(ClaimAct::Take, "a"), "2".to_owned()).unwrap();
        assert_eq!(names(&append), [(ClaimAct::Free, "a"), (ClaimAct::Take, "a")]);
        assert!(append.claim(claim(ClaimAct::Take, "a"), "3".to_owned()).is_err());
    }
}
