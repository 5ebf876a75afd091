//! Commands a second, against what PostgreSQL itself can do: single-row inserts of the same row shape by `pgbench`,
//! on the same durable cluster (fsync on), in the same run, alternating.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use commands::{Appender, Commands, Context, Vault};
use domain::envelope::Actor;
use domain::ids::{ProjectId, TeamId, UserId};
use domain::project::{Availability, ProjectCommand, ProjectSettings};
use domain::sealed::KeyOwner;
use futures_util::future::join_all;
use providers::database::embedded::{Embedded, EmbeddedConfig};
use sqlx::PgPool;
use tests::bus::OpenWrap;
use tokio::process::Command;
use uuid::Uuid;

use crate::measure::{Figure, median};

/// How long each side runs before the other has its turn.
const ROUND: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;

/// The argument by which this program is one of two processes that write.
pub(crate) const WRITER: &str = "append-writer";

/// A durable cluster of its own, with a table beside the log for `pgbench`.
pub(crate) struct Durable {
    pub(crate) server: Embedded,
    pub(crate) pool: PgPool,
    folder: tempfile::TempDir,
}

impl Durable {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("the temp dir can be written to");
        let config = EmbeddedConfig { data_dir: folder.path().to_owned(), bin_dir: None, durable: true };
        let server = Embedded::start(config).await.unwrap_or_else(|error| panic!("{error}"));
        // As the owner, who may make tables for others.
        let pool = PgPool::connect(&server.url()).await.expect("it runs");
        commands::migrate(&pool).await.expect("migrations apply");
        sqlx::raw_sql(
            "CREATE TABLE peer (LIKE events INCLUDING ALL);
             CREATE SEQUENCE peer_position OWNED BY peer.position;
             ALTER TABLE peer ALTER position SET DEFAULT nextval('peer_position')",
        )
        .execute(&pool)
        .await
        .expect("the table is made");
        Self { server, pool, folder }
    }

    pub(crate) async fn stop(self) {
        self.pool.close().await;
        self.server.stop().await;
        drop(self.folder);
    }
}

/// The figures of this file.
pub(crate) async fn figures() -> Vec<Figure> {
    let durable = Durable::start().await;
    let url = durable.server.url();
    let mut figures = Vec::new();
    run_ours(&url, 4, Duration::from_secs(1)).await; // plans, caches, files
    for (writers, goal) in [(1, 0.7), (8, 0.8), (32, 1.1), (128, 1.4)] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            theirs.push(run_pgbench(&durable, writers).await);
            ours.push(run_ours(&url, writers, ROUND).await);
        }
        let (ours, theirs) = (median(ours), median(theirs));
        figures.push(Figure::at_least(
            format!("commands a second, {writers} writers, against pgbench inserts"),
            ours,
            "1/s",
            format!("{theirs:.0} inserts/s"),
            ours / theirs,
            goal,
        ));
    }
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        one.push(run_processes(&url, 1).await);
        two.push(run_processes(&url, 2).await);
    }
    let (one, two) = (median(one), median(two));
    figures.push(Figure::at_least(
        "commands a second of two processes, 32 writers, against one".to_owned(),
        two,
        "1/s",
        format!("{one:.0}/s of one"),
        two / one,
        0.8,
    ));
    figures.extend(against_peers(&durable).await);
    durable.stop().await;
    figures
}

/// The same against other event stores: `tests/bench/peers`, a program of its own.
async fn against_peers(durable: &Durable) -> Vec<Figure> {
    let mut figures = Vec::new();
    for writers in [8, 32] {
        for store in ["postgres-es", "disintegrate", "esrs"] {
            let database = format!("peer_{}_{writers}", store.replace('-', "_"));
            sqlx::raw_sql(&format!("CREATE DATABASE {database}")).execute(&durable.pool).await.expect("made");
            let url = durable.server.url();
            let peer = url.replacen("/mastra_admin?", &format!("/{database}?"), 1);
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                theirs.push(run_peer(&peer, store, writers).await);
                ours.push(run_ours(&url, writers, ROUND).await);
            }
            let (ours, theirs) = (median(ours), median(theirs));
            figures.push(Figure::at_least(
                format!("commands a second, {writers} writers, against {store}"),
                ours,
                "1/s",
                format!("{theirs:.0}/s"),
                ours / theirs,
                1.0,
            ));
        }
    }
    figures
}

async fn run_peer(url: &str, store: &str, writers: usize) -> f64 {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/peers/Cargo.toml");
    let output = Command::new("cargo")
        .args(["run", "--quiet", "--release", "--manifest-path", manifest, "--", url, store])
        .args([writers.to_string(), ROUND.as_secs().to_string()])
        .stderr(Stdio::inherit())
        .output()
        .await
        .expect("cargo is there");
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    text.parse().unwrap_or_else(|_| panic!("{store} says {text:?}"))
}

/// As one of several processes: writes for a while, says how often a second.
#[expect(clippy::print_stdout, reason = "this is how it tells the other process")]
pub(crate) async fn write(url: &str, writers: usize) {
    println!("{}", run_ours(url, writers, ROUND).await);
}

async fn run_processes(url: &str, processes: usize) -> f64 {
    let program = std::env::current_exe().expect("it has a path");
    let runs = (0..processes).map(|_| {
        let mut command = Command::new(&program);
        command.args([WRITER, url, &(32 / processes).to_string()]).stderr(Stdio::inherit());
        async move {
            let output = command.output().await.expect("it runs");
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            text.parse::<f64>().unwrap_or_else(|_| panic!("{text:?} is no rate"))
        }
    });
    join_all(runs).await.into_iter().sum()
}

/// A bus as a server has it, on a pool of its own.
pub(crate) async fn bus(url: &str) -> Commands {
    let pool = projections::pool::connect(url, 8).await.expect("it runs");
    let vault = Vault::open(pool.clone(), vec![Arc::new(OpenWrap)], chrono::Utc::now()).await;
    let appender = Appender::start(pool.clone(), Arc::new(|_| ()));
    Commands::new(pool, appender, Arc::new(vault.expect("the vault opens")))
}

/// The circumstances of a command as the API makes them, with an address to be sealed.
fn context(user: UserId, team: TeamId) -> Context {
    Context {
        team_id: Some(team),
        source_ip: Some("192.0.2.7".to_owned()),
        user_agent: Some("Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0".to_owned()),
        ..Context::bare(Actor::User(user), Uuid::now_v7().to_string(), chrono::Utc::now())
    }
}

/// Commands a second: each writer sets variables of a project of its own, one after the other; values are sealed,
/// the aggregate decides, the log judges.
async fn run_ours(url: &str, writers: usize, time: Duration) -> f64 {
    let commands = bus(url).await;
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut projects = Vec::new();
    for _ in 0..writers {
        let (user, team, id) = (UserId(Uuid::now_v7()), TeamId(Uuid::now_v7()), ProjectId(Uuid::now_v7()));
        let create = ProjectCommand::CreateProject {
            team_id: team,
            settings: Box::new(settings(id)),
            production: Uuid::now_v7().into(),
        };
        commands.project(id, create, &context(user, team)).await.expect("a project");
        projects.push((user, team, id));
    }
    let started = Instant::now();
    let tasks = projects.into_iter().map(|(user, team, id)| {
        let (commands, stop, count) = (commands.clone(), stop.clone(), count.clone());
        tokio::spawn(async move {
            let mut n = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                set_env_var(&commands, user, team, id, n).await;
                count.fetch_add(1, Ordering::Relaxed);
                n += 1;
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let (done, seconds) = (count.load(Ordering::Relaxed), started.elapsed().as_secs_f64());
    for task in tasks {
        task.await.expect("no writer fails");
    }
    done as f64 / seconds
}

pub(crate) async fn set_env_var(commands: &Commands, user: UserId, team: TeamId, id: ProjectId, n: u64) {
    let (context, secret) = (context(user, team), Uuid::now_v7().into());
    let plain = format!("value {n}");
    let sealed = commands
        .vault()
        .seal(KeyOwner::Project(id), "bench", secret, plain.as_bytes(), context.at)
        .await
        .expect("it seals");
    let set = ProjectCommand::SetEnvVar {
        key: format!("KEY_{}", n % 20).parse().expect("a name"),
        environment_id: None,
        value: sealed,
        sensitive: true,
        availability: Availability::Runtime,
    };
    commands.project(id, set, &context).await.expect("it is set");
}

pub(crate) fn settings(id: ProjectId) -> ProjectSettings {
    let slug = format!("p{}", id.0.simple());
    serde_json::from_value(serde_json::json!({
        "name": "Agent",
        "slug": slug,
        "repo_url": "https://example.org/acme/agent",
        "branch": "main",
        "project_root": ".",
        "mastra_directory": "src/mastra",
    }))
    .expect("settings with what they must have")
}

/// Inserts a second of the rows that the commands make, by `pgbench` with as many clients.
async fn run_pgbench(durable: &Durable, clients: usize) -> f64 {
    let row: (String, String) = sqlx::query_as(
        "SELECT payload::text, metadata::text FROM events WHERE event_type = 'project.env_var_set' LIMIT 1",
    )
    .fetch_one(&durable.pool)
    .await
    .expect("our own run came first");
    // A colon before a word would be one of pgbench's variables.
    let quoted = |text: &str| text.replace('\'', "''").replace(':', ": ");
    let script = format!(
        "INSERT INTO public.peer (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, \
         metadata, event_id, recorded_at, team_id) VALUES ('project', gen_random_uuid()::text, 1, \
         'project.env_var_set', '1', '{}', '{}', gen_random_uuid(), now(), gen_random_uuid());\n",
        quoted(&row.0),
        quoted(&row.1)
    );
    let file = durable.folder.path().join("insert.sql");
    std::fs::write(&file, script).expect("the temp dir can be written to");
    let threads = clients.min(2).to_string();
    let output = Command::new("/usr/lib/postgresql/15/bin/pgbench")
        .args(["-n", "-M", "prepared", "-c", &clients.to_string(), "-j", &threads, "-T"])
        .args([&ROUND.as_secs().to_string(), "-f"])
        .arg(&file)
        .arg(durable.server.url())
        .output()
        .await
        .expect("pgbench comes with PostgreSQL");
    let text = String::from_utf8_lossy(&output.stdout);
    let tps = text.lines().find_map(|line| line.strip_prefix("tps = "));
    let tps = tps.and_then(|rest| rest.split(' ').next()).and_then(|number| number.parse().ok());
    tps.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}
