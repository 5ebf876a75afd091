//! The proof of the log: whatever is done to it behind our back is found, and what is proven is proven elsewhere.

mod buckets;
mod proofs;
mod tampering;

use std::path::Path;
use std::process::Output;

use chrono::Utc;
use projections::ledger::{self, KeyRing, Report};
use sqlx::PgPool;
use tempfile::TempDir;
use tests::app::program;
use tests::bus::Bus;
use tokio::process::Command;

/// A log with its ledger.
struct Proved {
    bus: Bus,
    dir: TempDir,
    keys: KeyRing,
}

impl Proved {
    async fn start() -> Self {
        let (bus, dir) = (Bus::start().await, tempfile::tempdir().unwrap());
        let keys = KeyRing::new(dir.path());
        Self { bus, dir, keys }
    }

    fn pool(&self) -> &PgPool {
        self.bus.db.pool()
    }

    /// Appends events of which nobody needs to understand anything, as another writer does.
    async fn append(&self, count: i64) {
        sqlx::query(
            r#"INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
               SELECT 'note', gen_random_uuid(), 1, 'note.taken', '1', json_build_object('n', n, 'ä', '☃'), '{}'
                 FROM generate_series(1, $1) n"#,
        )
        .bind(count)
        .execute(self.pool())
        .await
        .unwrap();
    }

    async fn close(&self) {
        ledger::close(self.pool(), &self.keys, true, Utc::now()).await.unwrap();
    }

    /// Notes the newest checkpoint where the database's administrator does not reach.
    async fn anchor(&self) {
        let note = ledger::newest(self.pool()).await.unwrap().unwrap().note;
        let path = self.dir.path().join("anchor");
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        let line = serde_json::json!({ "checkpoint": note });
        std::fs::write(&path, format!("{old}{line}\n")).unwrap();
    }

    async fn verify(&self, with_anchor: bool) -> Report {
        let path = self.dir.path().join("anchor");
        let anchor = with_anchor.then(|| std::fs::File::open(path).unwrap());
        let anchor = anchor.map(|file| Box::new(std::io::BufReader::new(file)) as Box<_>);
        ledger::verify(self.pool(), &self.keys.public().unwrap(), anchor).await.unwrap()
    }

    /// As who owns the machine: no trigger stops him.
    async fn tamper(&self, sql: &str) {
        let sql = format!("BEGIN; SET LOCAL session_replication_role = replica; {sql}; COMMIT");
        sqlx::raw_sql(&sql).execute(self.pool()).await.unwrap();
    }

    async fn tool(&self, arguments: &[&str]) -> Output {
        tool(&self.bus.db.url(), self.dir.path(), arguments).await
    }
}

async fn tool(url: &str, data_dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program("replay-tool"));
    command.env("DATABASE_URL", url).env("MASTRA_ADMIN_DATA_DIR", data_dir).arg("ledger").args(arguments);
    command.output().await.expect("`cargo build --bins` makes it")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// 700 events in three checkpoints, and five that wait for theirs.
async fn log_of_700() -> Proved {
    let it = Proved::start().await;
    for count in [300, 150, 250] {
        it.append(count).await;
        it.close().await;
        it.anchor().await;
    }
    it.append(5).await;
    it
}
