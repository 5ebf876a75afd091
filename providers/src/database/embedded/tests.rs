//! On real PostgreSQL, each test on a cluster of its own.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use sqlx::Executor;
use tempfile::TempDir;

use super::*;

fn config(data_dir: &Path) -> EmbeddedConfig {
    EmbeddedConfig { data_dir: data_dir.to_owned(), bin_dir: None, durable: false }
}

async fn start(data_dir: &Path) -> Embedded {
    Embedded::start(config(data_dir)).await.unwrap()
}

async fn refused(config: EmbeddedConfig) -> EmbeddedError {
    match Embedded::start(config).await {
        Ok(_) => panic!("it started"),
        Err(error) => error,
    }
}

async fn connect(embedded: &Embedded) -> PgConnection {
    PgConnection::connect(&embedded.url()).await.unwrap()
}

async fn remember(embedded: &Embedded) {
    connect(embedded).await.execute("CREATE TABLE kept AS SELECT 42 AS n").await.unwrap();
}

async fn recall(embedded: &Embedded) -> i32 {
    sqlx::query_scalar("SELECT n FROM kept").fetch_one(&mut connect(embedded).await).await.unwrap()
}

async fn setting(embedded: &Embedded, name: &str) -> String {
    let show = format!("SHOW {name}");
    sqlx::query_scalar(&show).fetch_one(&mut connect(embedded).await).await.unwrap()
}

fn cluster_of(data_dir: &TempDir) -> PathBuf {
    data_dir.path().canonicalize().unwrap().join("postgres")
}

/// As if this process had been killed: its lock is gone, PostgreSQL runs on.
fn killed(mut embedded: Embedded) {
    embedded._lock = tempfile::tempfile().unwrap();
    std::mem::forget(embedded);
}

/// A directory of programs anybody may run, as installed ones are. Each says the version and, run for anything
/// else, `says` on stderr.
fn fake_programs(version: &str, says: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["initdb", "postgres"] {
        let program = dir.path().join(name);
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = --version ] && echo 'postgres (PostgreSQL) {version}' && exit\n\
             echo '{says}' >&2\nexit 1\n"
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    dir
}

#[tokio::test]
async fn data_survives_a_stop() {
    let data_dir = tempfile::tempdir().unwrap();
    let first = start(data_dir.path()).await;
    remember(&first).await;
    assert_eq!(running_url(data_dir.path()), Some(first.url()));
    first.stop().await;
    assert!(processes::residents(&cluster_of(&data_dir)).is_empty());
    assert_eq!(running_url(data_dir.path()), None);

    let second = start(data_dir.path()).await;
    assert_eq!(recall(&second).await, 42);
    second.stop().await;
}

#[tokio::test]
async fn a_durable_cluster_is_safe_private_and_unprivileged() {
    let data_dir = tempfile::tempdir().unwrap();
    let embedded =
        Embedded::start(EmbeddedConfig { durable: true, ..config(data_dir.path()) }).await.unwrap();
    for (name, value) in [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("data_checksums", "on"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
        ("lc_collate", "C"),
        ("timezone", "UTC"),
        ("shared_buffers", "64MB"),
        ("max_connections", "200"),
    ] {
        assert_eq!(setting(&embedded, name).await, value, "{name}");
    }
    let cluster = fs::metadata(cluster_of(&data_dir)).unwrap();
    assert_eq!(cluster.mode() & 0o777, 0o700);
    assert_ne!(cluster.uid(), 0);
    let status = fs::read_to_string(format!("/proc/{}/status", postmaster_pid(&data_dir))).unwrap();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:\t")).unwrap();
    assert!(uids.split('\t').all(|uid| uid == cluster.uid().to_string()), "{uids}");
    embedded.stop().await;
}

fn postmaster_pid(data_dir: &TempDir) -> i32 {
    processes::residents(&cluster_of(data_dir))[0].pid.as_raw_pid()
}

#[tokio::test]
async fn the_data_dir_may_be_closed_to_postgresql_s_account() {
    let home = tempfile::tempdir().unwrap();
    let data_dir = home.path().join("checkout/data");
    fs::create_dir_all(&data_dir).unwrap();
    for closed in [home.path(), &data_dir] {
        fs::set_permissions(closed, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let embedded = start(&data_dir).await;
    remember(&embedded).await;
    embedded.stop().await;
}

#[tokio::test]
async fn it_starts_again_after_everything_was_killed() {
    let data_dir = tempfile::tempdir().unwrap();
    let first = start(data_dir.path()).await;
    remember(&first).await;
    let crashed = first.crashed();
    for process in processes::residents(&cluster_of(&data_dir)) {
        rustix::process::kill_process(process.pid, Signal::KILL).unwrap();
    }
    assert!(matches!(crashed.await, EmbeddedError::Ended { .. }));
    drop(first);
    assert!(cluster_of(&data_dir).join("postmaster.pid").exists());

    let second = start(data_dir.path()).await;
    assert_eq!(recall(&second).await, 42);
    second.stop().await;
}

#[tokio::test]
async fn children_that_outlive_a_killed_postmaster_are_ended() {
    let data_dir = tempfile::tempdir().unwrap();
    let first = start(data_dir.path()).await;
    remember(&first).await;
    let crashed = first.crashed();
    // A stopped child does not see its postmaster die, as one that is busy does not.
    let residents = processes::residents(&cluster_of(&data_dir));
    rustix::process::kill_process(residents.last().unwrap().pid, Signal::STOP).unwrap();
    rustix::process::kill_process(residents[0].pid, Signal::KILL).unwrap();
    crashed.await;
    drop(first);

    let second = start(data_dir.path()).await;
    assert_eq!(recall(&second).await, 42);
    second.stop().await;
}

#[tokio::test]
async fn a_postmaster_left_by_a_killed_server_is_replaced() {
    let data_dir = tempfile::tempdir().unwrap();
    let first = start(data_dir.path()).await;
    remember(&first).await;
    let old = postmaster_pid(&data_dir);
    killed(first);

    let second = start(data_dir.path()).await;
    assert_ne!(postmaster_pid(&data_dir), old);
    assert_eq!(recall(&second).await, 42);
    second.stop().await;
}

#[tokio::test]
async fn a_pid_file_that_names_a_stranger_does_not_confuse() {
    let data_dir = tempfile::tempdir().unwrap();
    start(data_dir.path()).await.stop().await;
    // A process of PostgreSQL's own account: PostgreSQL itself would take it for its postmaster.
    let cluster = Cluster::open(&data_dir.path().canonicalize().unwrap()).unwrap();
    let owner = fs::metadata(&cluster.dir).unwrap();
    let mut sleep = Command::new("/bin/sleep");
    sleep.arg("600").uid(owner.uid()).gid(owner.gid()).current_dir("/").kill_on_drop(true);
    let mut stranger = sleep.spawn().unwrap();
    let pid = stranger.id().unwrap();
    fs::write(cluster.dir.join("postmaster.pid"), format!("{pid}\n/elsewhere\n0\n5432\n.\n\n1 1\nready\n"))
        .unwrap();
    fs::write(cluster.dir.join(".s.PGSQL.5432.lock"), format!("{pid}\n/elsewhere\n0\n5432\n.\n")).unwrap();
    assert_eq!(running_url(data_dir.path()), None);

    start(data_dir.path()).await.stop().await;
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger was killed");
    stranger.kill().await.unwrap();
}

#[tokio::test]
async fn a_server_started_by_hand_is_left_alone() {
    let data_dir = tempfile::tempdir().unwrap();
    start(data_dir.path()).await.stop().await;
    let cluster = Cluster::open(&data_dir.path().canonicalize().unwrap()).unwrap();
    let binaries = binaries::find(None, &cluster.dir).await.unwrap();
    let mut by_hand = cluster.command(&binaries.postgres(), &cluster.dir).unwrap();
    by_hand.args(["-c", "listen_addresses=", "-c", "unix_socket_directories=."]).stderr(Stdio::null());
    let mut by_hand = by_hand.kill_on_drop(true).spawn().unwrap();
    until(|| status(&cluster.dir).is_some_and(|file| file.ready)).await;

    let error = refused(config(data_dir.path())).await;
    let pid = by_hand.id().unwrap().cast_signed();
    assert!(matches!(error, EmbeddedError::ClusterBusy { pid: named, .. } if named == pid), "{error}");
    assert!(by_hand.try_wait().unwrap().is_none());
    by_hand.kill().await.unwrap();
}

async fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut look = interval(Duration::from_millis(10));
    while !condition() {
        assert!(Instant::now() < deadline, "it did not come true");
        look.tick().await;
    }
}

#[tokio::test]
async fn a_second_server_on_the_data_dir_is_refused() {
    let data_dir = tempfile::tempdir().unwrap();
    let first = start(data_dir.path()).await;
    let error = refused(config(data_dir.path())).await;
    let me = std::process::id().cast_signed();
    assert!(matches!(error, EmbeddedError::DataDirBusy { pid: Some(pid), .. } if pid == me), "{error}");
    assert!(matches!(stop_leftover(data_dir.path()).await, Err(EmbeddedError::DataDirBusy { .. })));
    remember(&first).await; // and the first one does not mind
    first.stop().await;
}

#[tokio::test]
async fn a_socket_that_someone_else_answers_on_is_refused() {
    let data_dir = tempfile::tempdir().unwrap();
    start(data_dir.path()).await.stop().await;
    let _listener = UnixListener::bind(cluster_of(&data_dir).join(".s.PGSQL.5432")).unwrap();
    let error = refused(config(data_dir.path())).await;
    assert!(matches!(error, EmbeddedError::SocketTaken { .. }), "{error}");
}

#[tokio::test]
async fn a_long_path_gets_its_socket_elsewhere_in_private() {
    let base = tempfile::tempdir().unwrap();
    let data_dir = base.path().join("a b%20c+d&e".repeat(12));
    let embedded = start(&data_dir).await;
    remember(&embedded).await;
    assert_eq!(running_url(&data_dir), Some(embedded.url()));
    let socket_dir = status(&data_dir.join("postgres")).unwrap().socket_dir;
    assert_eq!(fs::metadata(&socket_dir).unwrap().mode() & 0o777, 0o700);
    embedded.stop().await;

    fs::set_permissions(&socket_dir, fs::Permissions::from_mode(0o755)).unwrap();
    let error = refused(config(&data_dir)).await;
    assert!(matches!(error, EmbeddedError::SocketDirNotPrivate { .. }), "{error}");
    fs::remove_dir_all(socket_dir).unwrap();
}

#[tokio::test]
async fn odd_characters_in_the_path_are_fine() {
    let base = tempfile::tempdir().unwrap();
    let embedded = start(&base.path().join("ä b%20c+d&e?f#g=h")).await;
    remember(&embedded).await;
    embedded.stop().await;
}

#[tokio::test]
async fn another_major_version_is_named() {
    let data_dir = tempfile::tempdir().unwrap();
    start(data_dir.path()).await.stop().await;
    fs::write(cluster_of(&data_dir).join("PG_VERSION"), "13\n").unwrap();
    let programs = fake_programs("16.2", "");
    let config = EmbeddedConfig { bin_dir: Some(programs.path().to_owned()), ..config(data_dir.path()) };
    let said = refused(config).await.to_string();
    assert!(
        said.contains("PostgreSQL 13") && said.contains("only 16 (") && said.contains("pg_upgrade"),
        "{said}"
    );
}

#[tokio::test]
async fn missing_programs_are_told_with_the_places() {
    let data_dir = tempfile::tempdir().unwrap();
    let empty = tempfile::tempdir().unwrap();
    let bin_dir = Some(empty.path().to_owned());
    let said = refused(EmbeddedConfig { bin_dir, ..config(data_dir.path()) }).await.to_string();
    assert!(said.contains(empty.path().to_str().unwrap()), "{said}");
    assert!(said.contains("apt-get install postgresql"), "{said}");
}

#[tokio::test]
async fn programs_that_are_too_old_are_not_used() {
    let data_dir = tempfile::tempdir().unwrap();
    let programs = fake_programs("14.9", "");
    let config = EmbeddedConfig { bin_dir: Some(programs.path().to_owned()), ..config(data_dir.path()) };
    let error = refused(config).await;
    assert!(matches!(error, EmbeddedError::NoBinaries { .. }), "{error}");
}

#[tokio::test]
async fn a_full_disk_is_told_and_leaves_nothing_half_made() {
    let data_dir = tempfile::tempdir().unwrap();
    let programs = fake_programs("15.1", "initdb: error: could not write file: No space left on device");
    let full = EmbeddedConfig { bin_dir: Some(programs.path().to_owned()), ..config(data_dir.path()) };
    let error = refused(full.clone()).await;
    assert!(matches!(error, EmbeddedError::DiskFull { .. }), "{error}");

    start(data_dir.path()).await.stop().await; // there is room again
    fs::write(cluster_of(&data_dir).join("PG_VERSION"), "15\n").unwrap();
    let error = refused(full).await;
    assert!(matches!(error, EmbeddedError::DiskFull { .. }), "{error}");
}

#[tokio::test]
async fn an_initdb_that_was_cut_off_is_begun_anew() {
    let data_dir = tempfile::tempdir().unwrap();
    let unfinished = data_dir.path().join("postgres.unfinished-x1y2z3");
    fs::create_dir_all(unfinished.join("base/1")).unwrap();
    fs::write(unfinished.join("PG_VERSION"), "15\n").unwrap();
    start(data_dir.path()).await.stop().await;
    assert!(!unfinished.exists());
}

#[tokio::test]
async fn initdb_s_own_words_reach_the_operator() {
    let data_dir = tempfile::tempdir().unwrap();
    let programs = fake_programs("15.1", "initdb: error: the moon is in the wrong phase");
    let config = EmbeddedConfig { bin_dir: Some(programs.path().to_owned()), ..config(data_dir.path()) };
    let said = refused(config).await.to_string();
    assert!(said.contains("wrong phase"), "{said}");
}

#[tokio::test]
async fn a_data_dir_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = refused(config(&file.path().join("data"))).await;
    assert!(matches!(&error, EmbeddedError::Files { path, .. } if path.ends_with("data")), "{error}");
}

#[tokio::test]
async fn a_long_log_is_put_aside() {
    let data_dir = tempfile::tempdir().unwrap();
    let path = data_dir.path().join("postgres.log");
    File::create(&path).unwrap().set_len(9 << 20).unwrap();
    start(data_dir.path()).await.stop().await;
    assert!(fs::metadata(&path).unwrap().len() < 1 << 20);
    assert_eq!(fs::metadata(data_dir.path().join("postgres.log.1")).unwrap().len(), 9 << 20);
}
