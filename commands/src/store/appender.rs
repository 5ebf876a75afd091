//! Group commit: one task takes all waiting appends and sends them in one round trip.
//!
//! Invariants: an append is answered only after its transaction has committed or is known to have failed, also when
//! the connection is lost in between. No two appends that touch the same stream, name or key are under way at once.

use std::collections::{HashSet, VecDeque};
use std::hash::RandomState;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{PgConnection, PgPool};
use tokio::sync::{mpsc, oneshot, watch};

use super::append::{self, Append, Verdict};
use crate::outcome::StoreError;

/// Appends in one round trip. More wait for the next one.
const MAX_BATCH: usize = 256;
/// Appends that may wait; more callers wait themselves.
const QUEUE: usize = 1024;
/// How long a batch waits at most for as many appends as the one before had.
const GATHER: Duration = Duration::from_micros(200);
/// How long other processes are left alone after they were told of a batch.
const BETWEEN_NOTICES: Duration = Duration::from_millis(5);
/// How often a batch is sent again when its connection is lost: for some seconds, then the callers are told.
const TRIES: u32 = 7;

/// Hands appends to the one task that writes.
#[derive(Clone)]
pub struct Appender {
    queue: mpsc::Sender<Waiting>,
}

struct Waiting {
    append: Append,
    touches: HashSet<u64>,
    since: Instant,
    answer: oneshot::Sender<Result<Verdict, StoreError>>,
}

/// What every batch needs.
struct Shared {
    pool: PgPool,
    appended: Arc<dyn Fn(i64) + Send + Sync>,
    head: watch::Sender<i64>,
}

/// A connection of its own, once it was needed.
type Lane = Option<PgConnection>;

impl Appender {
    /// Starts the task. `appended` is called after every batch with the head of the log, to wake who reads it.
    /// The task ends when every `Appender` is dropped.
    pub fn start(pool: PgPool, appended: Arc<dyn Fn(i64) + Send + Sync>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let head = watch::Sender::new(0);
        tokio::spawn(notify(pool.clone(), head.subscribe()));
        tokio::spawn(run(Shared { pool, appended, head }, waiting));
        Self { queue }
    }

    pub(super) async fn append(&self, append: Append, hasher: &RandomState) -> Result<Verdict, StoreError> {
        let (answer, verdict) = oneshot::channel();
        let waiting = Waiting { touches: append.touches(hasher), append, since: Instant::now(), answer };
        self.queue.send(waiting).await.map_err(|_| StoreError::ShuttingDown)?;
        verdict.await.map_err(|_| StoreError::ShuttingDown)?
    }
}

/// Wakes readers in other processes. Not in the append itself, where it would cost two thirds of the throughput; and
/// batches that come within a moment are told together.
async fn notify(pool: PgPool, mut head: watch::Receiver<i64>) {
    let mut lane: Lane = None;
    while head.changed().await.is_ok() {
        let position = head.borrow_and_update().to_string();
        if let Err(error) = tell(&pool, &mut lane, &position).await {
            lane = None;
            tracing::warn!(%error, "other processes were not woken; they look by themselves every second");
        }
        tokio::time::sleep(BETWEEN_NOTICES).await;
    }
}

async fn tell(pool: &PgPool, lane: &mut Lane, position: &str) -> sqlx::Result<()> {
    let db = connection(pool, lane).await?;
    // A notice that a crash takes back is none: it must not hold the disk while an append waits for it.
    let tell = "SELECT set_config('synchronous_commit', 'off', true), pg_notify('log_appended', $1)";
    sqlx::query(tell).bind(position).execute(db).await.map(drop)
}

/// The lane's connection. Not one that goes back to the pool, which would ask it each time whether it lives.
async fn connection<'a>(pool: &PgPool, lane: &'a mut Lane) -> sqlx::Result<&'a mut PgConnection> {
    Ok(match lane {
        Some(db) => db,
        None => lane.insert(pool.acquire().await?.detach()),
    })
}

/// The same, with what `append_one` and `append_plain` do not set by themselves, because it would cost them a tenth of
/// their time: they plan once, by index, also while the log is short.
async fn writer<'a>(pool: &PgPool, lane: &'a mut Lane) -> sqlx::Result<&'a mut PgConnection> {
    if lane.is_none() {
        let mut db = pool.acquire().await?.detach();
        let once = "SELECT set_config('plan_cache_mode', 'force_generic_plan', false),
                           set_config('enable_seqscan', 'off', false)";
        sqlx::query(once).execute(&mut db).await?;
        *lane = Some(db);
    }
    connection(pool, lane).await
}

/// One batch after the other, and all who come meanwhile are the next: larger batches cost PostgreSQL less than
/// overlapping them wins (ADR 0017).
async fn run(shared: Shared, mut queue: mpsc::Receiver<Waiting>) {
    let (mut lane, mut received, mut pending) = (None, Vec::new(), VecDeque::new());
    let mut expected = 0;
    loop {
        if pending.is_empty() && queue.recv_many(&mut received, MAX_BATCH).await == 0 {
            return;
        }
        pending.extend(received.drain(..));
        gather(&mut queue, &mut pending, expected).await;
        expected = pending.len();
        let batch = take_batch(&mut pending);
        settle(&shared, &mut lane, batch).await;
    }
}

/// Waits a moment for as many as there were the last time: those who were answered then come again one after the
/// other, and the first of them would go alone while the rest wait. Who is alone does not wait.
async fn gather(queue: &mut mpsc::Receiver<Waiting>, pending: &mut VecDeque<Waiting>, expected: usize) {
    let started = Instant::now();
    loop {
        while pending.len() < MAX_BATCH
            && let Ok(waiting) = queue.try_recv()
        {
            pending.push_back(waiting);
        }
        if pending.len() >= expected || started.elapsed() > GATHER {
            return;
        }
        // Not a timer, which has a resolution of a millisecond: whoever can go on does so now.
        tokio::task::yield_now().await;
    }
}

/// The waiting appends that can go together: none touches what another of them, or one that came before it and has to
/// wait, touches.
fn take_batch(pending: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let (mut batch, mut later) = (Vec::new(), VecDeque::new());
    let mut touched: HashSet<u64> = HashSet::new();
    for waiting in pending.drain(..) {
        let is_free = batch.len() < MAX_BATCH && waiting.touches.is_disjoint(&touched);
        touched.extend(&waiting.touches);
        if is_free {
            batch.push(waiting);
        } else {
            later.push_back(waiting);
        }
    }
    *pending = later;
    batch
}

/// Sends a batch and answers everybody in it.
async fn settle(shared: &Shared, lane: &mut Lane, batch: Vec<Waiting>) {
    metrics::histogram!("mastra_admin_append_batch_size").record(batch.len() as f64);
    let appends: Vec<&Append> = batch.iter().map(|waiting| &waiting.append).collect();
    let verdicts = match send(&shared.pool, lane, &appends).await {
        // Nothing was appended: an append that PostgreSQL itself refuses must not fail its neighbours.
        Err(error) if appends.len() > 1 && is_about_content(&error) => {
            let mut verdicts = Vec::with_capacity(appends.len());
            for append in appends {
                verdicts.push(send(&shared.pool, lane, &[append]).await.map(|mut one| one.remove(0)));
            }
            verdicts
        }
        Ok(verdicts) => verdicts.into_iter().map(Ok).collect(),
        Err(error) => {
            let text = error.to_string();
            let mut error = Some(error);
            let again = || StoreError::Database(sqlx::Error::Protocol(text.clone()));
            appends.iter().map(|_| Err(error.take().unwrap_or_else(again))).collect()
        }
    };
    let head = verdicts.iter().filter_map(|verdict| match verdict {
        Ok(Verdict::Appended { position }) => Some(*position),
        _ => None,
    });
    if let Some(head) = head.max() {
        (shared.appended)(head);
        shared.head.send_if_modified(|told| std::mem::replace(told, head.max(*told)) < head);
    }
    for (waiting, verdict) in batch.into_iter().zip(verdicts) {
        let result = verdict.as_ref().map_or("failed", Verdict::name);
        metrics::histogram!("mastra_admin_append_seconds", "result" => result)
            .record(waiting.since.elapsed());
        // A caller that has gone away does not need its answer.
        let _ = waiting.answer.send(verdict);
    }
}

/// Sends a batch until it is known what became of it.
async fn send(pool: &PgPool, lane: &mut Lane, appends: &[&Append]) -> Result<Vec<Verdict>, StoreError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match send_once(pool, lane, appends, tries > 1).await {
            Err(error) if is_passing(&error) && tries < TRIES => {
                tracing::warn!(%error, tries, "the log could not be reached; the batch is sent again");
                *lane = None;
                tokio::time::sleep(Duration::from_millis(5 << tries.min(10))).await;
            }
            Err(error) => {
                *lane = None;
                return Err(error);
            }
            sent => return sent,
        }
    }
}

async fn send_once(
    pool: &PgPool,
    lane: &mut Lane,
    appends: &[&Append],
    is_repeat: bool,
) -> Result<Vec<Verdict>, StoreError> {
    let db = writer(pool, lane).await?;
    let mut verdicts = judge(db, appends).await?;
    if is_repeat {
        // The connection was lost before the answer came. The transaction it carried has ended since, or this one
        // would still wait for the log: what is refused now may be refused for what the first try has appended.
        for (append, verdict) in appends.iter().zip(&mut verdicts) {
            if let Some(position) = find_own(db, append).await? {
                *verdict = Verdict::Appended { position };
            }
        }
    }
    Ok(verdicts)
}

/// Has the log judge a batch, and append what is good: by the function that costs least of those that can.
async fn judge(db: &mut PgConnection, appends: &[&Append]) -> Result<Vec<Verdict>, StoreError> {
    if let Some(events) = append::plain(appends) {
        let [event] = events[..] else {
            let answer = append::bind_plain(&events).fetch_one(&mut *db).await?;
            return append::read_plain(&events, &answer);
        };
        if let Some(position) = append::bind_one(event).fetch_one(&mut *db).await? {
            return Ok(vec![Verdict::Appended { position }]);
        }
    }
    let row = append::bind(appends).fetch_one(&mut *db).await?;
    append::read(appends, &row)
}

/// Position of the append's last event when it is in the log.
async fn find_own(db: &mut PgConnection, append: &Append) -> sqlx::Result<Option<i64>> {
    let Some(last) = append.events.last() else { return Ok(None) };
    sqlx::query_scalar("SELECT position FROM events WHERE event_id = $1")
        .bind(last.event_id.0)
        .fetch_optional(db)
        .await
}

/// Whether PostgreSQL objects to what was sent: data that it cannot take (class 22) or a broken rule (23).
fn is_about_content(error: &StoreError) -> bool {
    sql_state(error).is_some_and(|state| state.starts_with("22") || state.starts_with("23"))
}

/// Whether the same may succeed a moment later: the connection was lost, the server stops or starts, a lock or a
/// resource was not to be had.
fn is_passing(error: &StoreError) -> bool {
    match error {
        StoreError::Database(sqlx::Error::Io(_) | sqlx::Error::Protocol(_)) => true,
        error => sql_state(error)
            .is_some_and(|state| ["08", "40", "53", "55", "57"].iter().any(|class| state.starts_with(class))),
    }
}

fn sql_state(error: &StoreError) -> Option<String> {
    let StoreError::Database(error) = error else { return None };
    error.as_database_error()?.code().map(|code| code.into_owned())
}
