//! PostgreSQL is killed with all that it has in memory, in the middle of appends: what was answered is in the log.

use commands::Commands;
use domain::ids::{TeamId, UserId};
use domain::team::TeamCommand;
use futures_util::future::join_all;
use providers::database::embedded::{Embedded, EmbeddedConfig};
use sqlx::PgPool;
use tests::bus::{Bus, context};
use tests::tape::until;
use tokio::sync::watch;
use uuid::Uuid;

const WRITERS: usize = 8;

/// One row an event: its stream, number and position.
type Answered = (String, i64, i64);

/// Makes teams until nobody answers any more; all answers there were.
async fn write(commands: Commands, mut enough: watch::Receiver<bool>) -> Vec<Answered> {
    let mut answered = Vec::new();
    loop {
        let id = TeamId(Uuid::now_v7());
        let slug = format!("t-{}", Uuid::now_v7().simple());
        let owner = UserId(Uuid::from_u128(1));
        let create = TeamCommand::CreateTeam {
            name: "Acme".parse().expect("a name"),
            slug: slug.parse().expect("a slug"),
            owner,
        };
        let context = context();
        tokio::select! {
            answer = commands.team(id, create, &context) => match answer {
                Ok(receipt) => answered.push((receipt.aggregate_id, receipt.version, receipt.position)),
                Err(_) => return answered,
            },
            // Nobody hopes for a server that is gone.
            _ = enough.wait_for(|enough| *enough) => return answered,
        }
        if answered.len() >= 2000 {
            return answered;
        }
    }
}

/// Kills every process of a cluster at once: nobody gets to write down what he has in memory.
fn kill_all(data_dir: &std::path::Path) {
    let pid_file = std::fs::read_to_string(data_dir.join("postgres/postmaster.pid")).unwrap();
    let postmaster = pid_file.lines().next().unwrap().trim().to_owned();
    let children = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid = entry.file_name().into_string().ok()?;
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().to_owned();
        (parent == postmaster).then_some(pid)
    });
    let mut kill = std::process::Command::new("kill");
    kill.arg("-KILL").arg(&postmaster).args(children.collect::<Vec<_>>());
    // One that has just ended by itself is no failure.
    kill.stderr(std::process::Stdio::null()).status().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let config = || EmbeddedConfig { data_dir: folder.path().to_owned(), bin_dir: None, durable: true };
    let mut promised: Vec<Answered> = Vec::new();
    for round in 0..4 {
        let cluster = Embedded::start(config()).await.unwrap();
        let owner = projections::pool::connect(&cluster.url(), 2).await.unwrap();
        commands::migrate(&owner).await.unwrap();
        assert_kept(&owner, &promised).await;
        let pool = projections::pool::connect(&cluster.url(), 8).await.unwrap();
        let (commands, heads) = Bus::on(pool).await;
        let (stop, enough) = watch::channel(false);
        let before = promised.len();
        let writers = (0..WRITERS).map(|_| tokio::spawn(write(commands.clone(), enough.clone())));
        let writers: Vec<_> = writers.collect();
        until("there is something to lose", async || heads.lock().unwrap().len() > 60 + round).await;
        kill_all(folder.path());
        stop.send_replace(true);
        for answered in join_all(writers).await {
            promised.extend(answered.unwrap());
        }
        assert!(promised.len() > before + 50, "there were answers: {}", promised.len() - before);
        drop(cluster);
    }
    let cluster = Embedded::start(config()).await.unwrap();
    let pool = projections::pool::connect(&cluster.url(), 2).await.unwrap();
    assert_kept(&pool, &promised).await;
    pool.close().await;
    cluster.stop().await;
}

async fn assert_kept(pool: &PgPool, promised: &[Answered]) {
    let kept: std::collections::HashSet<Answered> =
        sqlx::query_as::<_, Answered>("SELECT aggregate_id, sequence, position FROM events")
            .fetch_all(pool)
            .await
            .unwrap()
            .into_iter()
            .collect();
    let lost: Vec<_> = promised.iter().filter(|event| !kept.contains(*event)).collect();
    assert!(lost.is_empty(), "{} of {} answered events are lost: {lost:?}", lost.len(), promised.len());
    // Of the same look: the appender of the round before may still send again what nobody was answered for.
    let last = kept.iter().map(|(.., position)| *position).max().unwrap_or(0);
    assert_eq!(last, i64::try_from(kept.len()).unwrap(), "there is no hole");
}
