//! `peers URL STORE WRITERS SECONDS`: commands a second of another event store, printed as one number.
//!
//! Each writer sends commands to an aggregate of its own, one after the other; a command loads the aggregate, decides,
//! and appends one event with a payload and metadata of the size that ours have. Streams are kept short (a fresh
//! aggregate every 20 commands), which is to the peers' advantage: none of them caches aggregates.

mod disintegrate_store;
mod esrs_store;
mod postgres_es_store;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use uuid::Uuid;

/// Commands to one aggregate before the next.
const STREAM: u64 = 20;

/// An event store to be measured.
#[async_trait]
pub trait Peer: Send + Sync {
    /// One command to an aggregate.
    async fn command(&self, aggregate: Uuid, n: u64);
}

/// What a command sets: as large as a sealed variable.
pub fn value() -> String {
    "x".repeat(200)
}

/// What comes with it: as large as our envelope.
pub fn metadata() -> String {
    "m".repeat(500)
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, store, writers, seconds] = arguments.as_slice() else {
        eprintln!("peers URL STORE WRITERS SECONDS");
        std::process::exit(2);
    };
    let (writers, seconds): (u32, u64) = (writers.parse().unwrap(), seconds.parse().unwrap());
    let pool = PgPoolOptions::new()
        .max_connections(writers.clamp(2, 40))
        .test_before_acquire(false)
        .connect_with(url.parse::<PgConnectOptions>().unwrap().options([("check_function_bodies", "off")]))
        .await
        .unwrap();
    let peer = open(store, pool).await;
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let started = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let (peer, stop, count) = (peer.clone(), stop.clone(), count.clone());
            tokio::spawn(async move {
                let mut aggregate = Uuid::now_v7();
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    if n % STREAM == 0 {
                        aggregate = Uuid::now_v7();
                    }
                    peer.command(aggregate, n).await;
                    count.fetch_add(1, Ordering::Relaxed);
                    n += 1;
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let rate = count.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
    for task in tasks {
        task.await.unwrap();
    }
    println!("{rate}");
}

async fn open(store: &str, pool: PgPool) -> Arc<dyn Peer> {
    match store {
        "postgres-es" => Arc::new(postgres_es_store::open(pool).await),
        "disintegrate" => Arc::new(disintegrate_store::open(pool).await),
        "esrs" => Arc::new(esrs_store::open(pool).await),
        other => panic!("no store {other}"),
    }
}
