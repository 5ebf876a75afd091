//! What a sandbox hides, what it bounds, and that nothing of it outlives it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;
use tokio::io::AsyncReadExt;

use super::*;
use crate::runner::directories;
use crate::runner::ended::{Ended, Excess};

/// No condition that these tests wait for takes longer on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(30);

struct Bench {
    sandbox: Sandbox,
    dir: TempDir,
    claim: Arc<Claim>,
    team: TeamId,
}

impl Bench {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Nobody but its owner may enter, as with a data directory in somebody's home.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let sandbox = Self::sandbox(dir.path());
        let claim = sandbox.claim("build-test").await.unwrap();
        let team = TeamId(uuid::Uuid::now_v7());
        fs::create_dir(dir.path().join("work")).unwrap();
        directories::give(&dir.path().join("work"), sandbox.user(team)).unwrap();
        fs::write(dir.path().join("master.key"), "secret").unwrap();
        Self { sandbox, dir, claim, team }
    }

    fn sandbox(dir: &Path) -> Sandbox {
        let instance = format!("test-{}", uuid::Uuid::now_v7());
        Sandbox::open("/usr/bin/bwrap".into(), dir.join("run"), instance, 210_000).unwrap()
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    fn jail(&self, argv: &[&str]) -> Jail {
        let path = ("PATH".to_owned(), Secret::new("/usr/local/bin:/usr/bin:/bin"));
        Jail {
            team: self.team,
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: vec![path, ("TOKEN".to_owned(), Secret::new("tea"))],
            mounts: vec![Mount { host: self.work(), inside: "/workspace".into(), writable: true }],
            cwd: "/workspace".into(),
            home: "/workspace".into(),
            limits: Resources { memory_mib: Some(128), pids: Some(64), ..Resources::default() },
            disk: Disk { dirs: vec![self.work()], before: 0, bytes: 64 << 20, gives_way: false },
            network: Network::Machine,
            channel: None,
        }
    }

    /// Runs a script and answers its output and end.
    async fn run(&self, script: &str) -> (String, Ended) {
        let mut running = self.claim.run(self.jail(&["/bin/sh", "-c", script])).await.unwrap();
        let (mut stdout, mut stderr) = running.pipes.take().unwrap();
        let (mut text, mut complaints) = (String::new(), String::new());
        let _read = tokio::join!(stdout.read_to_string(&mut text), stderr.read_to_string(&mut complaints));
        (text + &complaints, running.ended().await)
    }
}

/// Reads until the output contains the word.
async fn read_until(stdout: &mut tokio::process::ChildStdout, word: &str) {
    let read = async {
        let mut text = Vec::new();
        while !String::from_utf8_lossy(&text).contains(word) {
            assert_ne!(stdout.read_buf(&mut text).await.unwrap(), 0, "{}", String::from_utf8_lossy(&text));
        }
    };
    tokio::time::timeout(DEADLINE, read).await.unwrap();
}

/// Whether any process of the machine has this word in its arguments.
fn runs(word: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .any(|line| String::from_utf8_lossy(&line).contains(word))
}

#[tokio::test]
async fn an_exit_code_comes_back() {
    let (output, ended) = Bench::start().await.run("echo out; echo err >&2; exit 7").await;
    assert_eq!(output, "out\nerr\n");
    assert_eq!(ended, Ended { exit_code: Some(7), ..Ended::default() });
}

#[tokio::test]
async fn only_the_jails_environment_is_inside() {
    let (output, _) = Bench::start().await.run("env | sort; tr '\\0' '\\n' </proc/1/environ").await;
    let names: Vec<&str> =
        output.lines().filter_map(|line| line.split_once('=')).map(|pair| pair.0).collect();
    assert_eq!(names, ["PATH", "PWD", "TOKEN"], "{output}");
    let (cmdline, _) = Bench::start().await.run("tr '\\0' ' ' </proc/1/cmdline").await;
    assert!(!cmdline.contains("tea"), "{cmdline}");
}

#[tokio::test]
async fn variables_of_the_loader_take_no_effect_outside() {
    let bench = Bench::start().await;
    let mut jail = bench.jail(&["/bin/true"]);
    jail.env.push(("LD_PRELOAD".to_owned(), Secret::new("/nowhere/evil.so")));
    let mut running = bench.claim.run(jail).await.unwrap();
    let mut complaints = String::new();
    running.pipes.take().unwrap().1.read_to_string(&mut complaints).await.unwrap();
    let loaders = complaints.matches("/nowhere/evil.so").count();
    let expected = if geteuid().is_root() { 2 } else { 1 }; // setpriv and the command, never bwrap
    assert_eq!(loaders, expected, "{complaints}");
}

#[tokio::test]
async fn an_argument_cannot_smuggle_another_one_in() {
    let bench = Bench::start().await;
    let mut jail = bench.jail(&["/bin/ls", "/host"]);
    jail.env.push(("X".to_owned(), Secret::new("1\0--ro-bind\0/\0/host")));
    assert!(bench.claim.run(jail).await.is_err());
}

#[tokio::test]
async fn the_machines_files_are_not_inside() {
    let bench = Bench::start().await;
    let key = bench.dir.path().join("master.key");
    let (output, _) =
        bench.run(&format!("cat {}; ls /root /home /var /run /etc/shadow /sys", key.display())).await;
    assert_eq!(output.matches("No such file").count(), 7, "{output}");
    let (output, _) = bench.run("cat /etc/passwd /etc/ssl/certs/ca-certificates.crt").await;
    assert!(output.contains("/workspace:/bin/sh") && output.contains("BEGIN CERTIFICATE"), "{output}");
    let (output, _) = bench.run("ls /; touch /x /usr/x /dev/x /etc/x && echo written").await;
    assert!(!output.contains("written"), "{output}");
}

#[tokio::test]
async fn a_directory_deep_down_can_be_entered() {
    let bench = Bench::start().await;
    let tools = bench.dir.path().join("tools");
    fs::create_dir(&tools).unwrap();
    fs::write(tools.join("tool"), "found").unwrap();
    let inside = PathBuf::from("/somewhere/deep/down");
    let mut jail = bench.jail(&["/bin/cat", "/somewhere/deep/down/tool"]);
    jail.mounts.push(Mount { host: tools, inside, writable: false });
    let mut running = bench.claim.run(jail).await.unwrap();
    let mut text = String::new();
    running.pipes.take().unwrap().0.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "found");
}

#[tokio::test]
async fn it_runs_as_a_user_of_its_own() {
    let bench = Bench::start().await;
    let (output, _) =
        bench.run("id -u; id -g; id -G; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status").await;
    let user = bench.sandbox.user(bench.team).unwrap_or_else(|| geteuid().as_raw());
    let fields: Vec<&str> = output.split_whitespace().collect();
    assert_eq!(fields[0], user.to_string());
    assert_eq!(fields[fields.len() - 4..], ["CapEff:", "0000000000000000", "NoNewPrivs:", "1"], "{output}");
}

#[tokio::test]
async fn no_descriptor_of_the_platform_is_inside() {
    let (output, _) = Bench::start().await.run("ls -l /proc/self/fd").await;
    let open: Vec<&str> =
        output.lines().filter_map(|line| line.split_once(" -> ")).map(|pair| pair.1).collect();
    assert!(
        open.iter().all(|it| *it == "/dev/null" || it.starts_with("pipe:") || it.starts_with("/proc/")),
        "{output}"
    );
    assert!(open.iter().filter(|it| it.starts_with("pipe:")).count() == 2, "{output}");
}

#[tokio::test]
async fn a_fork_bomb_ends_at_the_process_limit() {
    let script = "perl -e 'while (defined(my $p = fork)) { if (!$p) { sleep 600 } $n++ } print $n'";
    let (output, ended) = Bench::start().await.run(script).await;
    let forks: u32 = output.parse().unwrap();
    assert!((8..64).contains(&forks), "{forks}");
    assert_eq!(ended.exit_code, Some(0));
}

#[tokio::test]
async fn too_much_memory_ends_it() {
    let (output, ended) = Bench::start().await.run(r#"perl -e '$x = "a" x (512 << 20); sleep 600'"#).await;
    assert_eq!(ended.excess, Some(Excess::Memory), "{output}");
}

#[tokio::test]
async fn too_much_on_disk_ends_it() {
    let script = "perl -e 'while (1) { open(F, \">\", $n++); print F \"a\" x (4 << 20); close F }'";
    let (output, ended) = Bench::start().await.run(script).await;
    assert_eq!(ended.excess, Some(Excess::Disk), "{output}");
}

#[tokio::test]
async fn one_file_too_large_ends_it() {
    let (output, ended) = Bench::start().await.run("dd if=/dev/zero of=big bs=1M").await;
    assert_eq!(ended.excess, Some(Excess::Disk), "{output}");
}

#[tokio::test]
async fn a_daemon_does_not_outlive_its_command() {
    let bench = Bench::start().await;
    let word = format!("daemon-{}", uuid::Uuid::now_v7());
    let script =
        format!("setsid perl -e '$0 = \"{word}\"; $| = 1; print \"up\"; sleep 600' & read -r _ </dev/zero");
    let mut running = bench.claim.run(bench.jail(&["/bin/sh", "-c", &script])).await.unwrap();
    read_until(&mut running.pipes.as_mut().unwrap().0, "up").await;
    assert!(runs(&word));
    let before = Instant::now();
    bench.claim.end().await;
    assert!(before.elapsed() < Duration::from_secs(2));
    assert!(!runs(&word));
}

#[tokio::test]
async fn dropping_it_ends_even_what_ignores_signals() {
    let bench = Bench::start().await;
    let word = format!("stubborn-{}", uuid::Uuid::now_v7());
    let script = format!(
        "perl -e '$SIG{{TERM}} = \"IGNORE\"; $0 = \"{word}\"; $| = 1; print \"up\"; sleep 1 while 1'"
    );
    let mut running =
        bench.claim.run(bench.jail(&["/bin/sh", "-c", &format!("exec {script}")])).await.unwrap();
    read_until(&mut running.pipes.as_mut().unwrap().0, "up").await;
    running.terminate();
    assert!(runs(&word));
    drop(running);
    bench.claim.end().await;
    assert!(!runs(&word));
}

#[tokio::test]
async fn terminate_reaches_the_command_itself() {
    let bench = Bench::start().await;
    let script = "$SIG{TERM} = sub { print qq(bye); exit 3 }; $| = 1; print qq(up); sleep 1 while 1";
    let mut running = bench.claim.run(bench.jail(&["perl", "-e", script])).await.unwrap();
    read_until(&mut running.pipes.as_mut().unwrap().0, "up").await;
    running.terminate();
    read_until(&mut running.pipes.as_mut().unwrap().0, "bye").await;
    assert_eq!(running.ended().await.exit_code, Some(3));
}

#[tokio::test]
async fn its_traces_are_gone_with_it() {
    let bench = Bench::start().await;
    bench.run("true").await;
    let record = bench.sandbox.record("build-test");
    assert!(record.exists());
    let group = match &bench.sandbox.0.cgroups {
        Cgroups::V1 { memory, .. } => memory.join(bench.claim.cgroup_name()),
        Cgroups::V2(parent) => parent.join(bench.claim.cgroup_name()),
        Cgroups::Absent => PathBuf::from("/nowhere"),
    };
    assert!(!group.exists());
    drop(bench.claim);
    assert!(!record.exists());
}

#[tokio::test]
async fn a_name_is_taken_over_from_whoever_has_it() {
    let bench = Bench::start().await;
    let older = bench.claim.run(bench.jail(&["sleep", "600"])).await.unwrap();
    let Bench { sandbox, dir, claim, .. } = bench;
    let owner = tokio::spawn(async move {
        claim.wanted().await;
        claim.end().await;
    });
    sandbox.claim("build-test").await.unwrap();
    assert_eq!(older.ended().await.signal, Some(9));
    owner.await.unwrap();
    drop(dir);
}

#[tokio::test]
async fn what_an_earlier_life_left_running_is_ended() {
    let bench = Bench::start().await;
    let word = format!("600.{}", uuid::Uuid::now_v7().as_u128() % 1_000_000_007);
    let mut running =
        bench.claim.run(bench.jail(&["/bin/sh", "-c", &format!("echo up; sleep {word}")])).await.unwrap();
    read_until(&mut running.pipes.as_mut().unwrap().0, "up").await;
    let next_life = Sandbox(Arc::new(Inner {
        bwrap: PathBuf::new(),
        records: bench.sandbox.0.records.clone(),
        instance: bench.sandbox.0.instance.clone(),
        uid_base: 0,
        cgroups: Cgroups::Absent,
        spawner: Spawner::start().unwrap(),
        claims: Mutex::default(),
    }));
    assert_eq!(next_life.recorded().unwrap(), ["build-test"]);

    // The owner is dead: its pid now belongs to a process that started at another time.
    let record = bench.sandbox.record("build-test");
    let mut text: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    text["owner"]["start"] = 1.into();
    fs::write(&record, text.to_string()).unwrap();
    drop(next_life.claim("build-test").await.unwrap());
    running.ended().await;
    assert!(!runs(&word));
    assert!(!record.exists());
}
