//! Group commit: one task takes all waiting appends and sends them in one round trip.
//!
//! Invariant: an append is answered only after its transaction has committed or is known to have failed.

use std::sync::Arc;

use domain::claim::ClaimScope;
use serde_json::Value;
use sqlx::{PgPool, Row};
use tokio::sync::{mpsc, oneshot};

use crate::outcome::{CommandError, Receipt, StoreError};

/// Appends in one round trip. More wait for the next one.
const MAX_BATCH: usize = 256;
/// Appends that may wait; more callers wait themselves.
const QUEUE: usize = 1024;

/// Hands appends to the one task that writes.
#[derive(Clone)]
pub struct Appender {
    queue: mpsc::Sender<Waiting>,
}

struct Waiting {
    append: Value,
    answer: oneshot::Sender<Result<Verdict, StoreError>>,
}

/// What the append function says of one append.
#[derive(Debug)]
pub(super) enum Verdict {
    Appended { position: i64 },
    Repeated { aggregate_id: String, version: i64, position: i64 },
    KeyReused,
    Conflict { expected: i64, actual: i64 },
    NameTaken { scope: ClaimScope, key: String },
}

impl Appender {
    /// Starts the task. `appended` is called after every batch with the head of the log, to wake who reads it.
    /// The task ends when every `Appender` is dropped.
    pub fn start(pool: PgPool, appended: Arc<dyn Fn(i64) + Send + Sync>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(run(pool, waiting, appended));
        Self { queue }
    }

    pub(super) async fn append(&self, append: Value) -> Result<Verdict, StoreError> {
        let (answer, verdict) = oneshot::channel();
        self.queue.send(Waiting { append, answer }).await.map_err(|_| StoreError::ShuttingDown)?;
        verdict.await.map_err(|_| StoreError::ShuttingDown)?
    }
}

impl Verdict {
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
            Self::Conflict { expected, actual } => Err(CommandError::Conflict { expected, actual }),
            Self::NameTaken { scope, key } => Err(CommandError::NameTaken { scope, key }),
        }
    }

    fn read(outcome: &str, detail: &Value) -> Result<Self, StoreError> {
        let number = |field: &str| detail[field].as_i64();
        let text = |field: &str| detail[field].as_str().map(str::to_owned);
        let verdict = match outcome {
            "appended" => number("position").map(|position| Self::Appended { position }),
            "repeated" => match (text("aggregate_id"), number("version"), number("position")) {
                (Some(aggregate_id), Some(version), Some(position)) => {
                    Some(Self::Repeated { aggregate_id, version, position })
                }
                _ => None,
            },
            "key_reused" => Some(Self::KeyReused),
            "conflict" => match (number("expected"), number("actual")) {
                (Some(expected), Some(actual)) => Some(Self::Conflict { expected, actual }),
                _ => None,
            },
            "name_taken" => match (text("scope").and_then(|s| ClaimScope::from_stored(&s)), text("key")) {
                (Some(scope), Some(key)) => Some(Self::NameTaken { scope, key }),
                _ => None,
            },
            _ => None,
        };
        verdict.ok_or_else(|| StoreError::Answer(outcome.to_owned()))
    }
}

async fn run(pool: PgPool, mut waiting: mpsc::Receiver<Waiting>, appended: Arc<dyn Fn(i64) + Send + Sync>) {
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, MAX_BATCH).await > 0 {
        let started = std::time::Instant::now();
        metrics::histogram!("mastra_admin_append_batch_size").record(batch.len() as f64);
        let head = settle(&pool, std::mem::take(&mut batch)).await;
        metrics::histogram!("mastra_admin_append_seconds").record(started.elapsed());
        if let Some(head) = head {
            appended(head);
            // Wakes readers in other processes; in the append itself it would cost two thirds of the throughput.
            let notified = sqlx::query("SELECT pg_notify('log_appended', $1)").bind(head.to_string());
            if let Err(error) = notified.execute(&pool).await {
                tracing::warn!(%error, "other processes were not woken; they look by themselves every second");
            }
        }
    }
}

/// Sends a batch and answers everybody in it. Answers the head of the log when something was appended.
async fn settle(pool: &PgPool, batch: Vec<Waiting>) -> Option<i64> {
    let appends: Vec<&Value> = batch.iter().map(|waiting| &waiting.append).collect();
    let verdicts = send(pool, &appends).await;
    let alone = batch.len() == 1;
    match verdicts {
        Ok(verdicts) => {
            let positions = verdicts.iter().filter_map(|verdict| match verdict {
                Ok(Verdict::Appended { position }) => Some(*position),
                _ => None,
            });
            let head = positions.max();
            for (waiting, verdict) in batch.into_iter().zip(verdicts) {
                // A caller that has gone away does not need its answer.
                let _ = waiting.answer.send(verdict);
            }
            head
        }
        // Nothing was appended: an append that PostgreSQL itself refuses must not fail its neighbours.
        Err(sqlx::Error::Database(_)) if !alone => {
            let mut head = None;
            for waiting in batch {
                head = Box::pin(settle(pool, vec![waiting])).await.or(head);
            }
            head
        }
        Err(error) => {
            let text = error.to_string();
            let mut error = Some(error);
            for waiting in batch {
                let error = error.take().unwrap_or_else(|| sqlx::Error::Protocol(text.clone()));
                let _ = waiting.answer.send(Err(error.into()));
            }
            None
        }
    }
}

async fn send(pool: &PgPool, appends: &[&Value]) -> Result<Vec<Result<Verdict, StoreError>>, sqlx::Error> {
    let batch = serde_json::to_string(appends).expect("JSON values serialise");
    let rows = sqlx::query("SELECT outcome, detail FROM append_events($1::json) ORDER BY number")
        .bind(batch)
        .fetch_all(pool)
        .await?;
    if rows.len() != appends.len() {
        return Err(sqlx::Error::Protocol(format!("{} answers to {} appends", rows.len(), appends.len())));
    }
    Ok(rows
        .iter()
        .map(|row| Verdict::read(row.get::<String, _>("outcome").as_str(), &row.get::<Value, _>("detail")))
        .collect())
}
