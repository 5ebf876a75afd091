//! Real repositories on this machine, read by the real git.

mod http;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use domain::ports::git::{Access, Git, GitError, Repository};
use domain::secret::Secret;
use domain::values::{BranchName, CommitSha};
use tempfile::TempDir;

use super::command::{GitCommand, GitConfig};
use super::reach::Reached;
use http::GitServer;

/// A repository in a directory of its own, and room for a checkout beside it.
struct Origin {
    dir: TempDir,
}

impl Origin {
    fn new() -> Self {
        let origin = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(origin.path()).unwrap();
        std::fs::create_dir(origin.target()).unwrap();
        origin.git(&["init", "--quiet", "--initial-branch=main"]);
        origin.write("README.md", "hello\n");
        origin
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("roots/origin")
    }

    fn target(&self) -> PathBuf {
        self.dir.path().join("into")
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=A", "-c", "user.email=a@example.org"])
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .envs([("PATH", "/usr/bin:/bin"), ("GIT_CONFIG_GLOBAL", "/dev/null"), ("HOME", "/nonexistent")])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn commit(&self) -> CommitSha {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message=a change"]);
        self.head()
    }

    fn head(&self) -> CommitSha {
        self.git(&["rev-parse", "HEAD"]).parse().unwrap()
    }

    fn repository(&self) -> Repository {
        local(&self.path())
    }

    async fn checkout(&self, commit: &CommitSha) -> Result<(), GitError> {
        let roots = vec![self.dir.path().join("roots")];
        git(roots).checkout(&self.repository(), commit, &self.target()).await
    }

    /// Names of everything below the checkout.
    fn files(&self) -> Vec<String> {
        let into = self.target();
        let names = walkdir::WalkDir::new(&into).min_depth(1).sort_by_file_name().into_iter();
        names.map(|e| e.unwrap().path().strip_prefix(&into).unwrap().to_str().unwrap().to_owned()).collect()
    }

    /// What is in the directory around repository and checkout.
    fn around(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn config(local_roots: Vec<PathBuf>) -> GitConfig {
    let timeout = Duration::from_secs(60);
    GitConfig {
        git: "git".into(),
        local_roots,
        plain_host: None,
        private_hosts: vec!["git.test".to_owned(), "127.0.0.1:1".to_owned()],
        ssh: None,
        timeout,
        max_checkout_bytes: 50 << 20,
    }
}

fn git(local_roots: Vec<PathBuf>) -> GitCommand {
    GitCommand::new(config(local_roots))
}

fn local(path: &Path) -> Repository {
    Repository {
        url: url::Url::from_file_path(path).unwrap().as_str().parse().unwrap(),
        access: Access::Open,
    }
}

fn token(token: &str) -> Access {
    Access::Token { username: "x-access-token".to_owned(), token: Secret::new(token) }
}

fn branch(name: &str) -> BranchName {
    name.parse().unwrap()
}

fn unknown_commit() -> CommitSha {
    "1".repeat(40).parse().unwrap()
}

#[tokio::test]
async fn a_branch_with_any_name_resolves_to_its_own_commit() {
    let origin = Origin::new();
    origin.commit();
    let git = git(vec![origin.dir.path().join("roots")]);
    let names =
        ["feature/#1", "a&b", "日本", "x/refs/heads/main", "$(id)", ";id", "'q'", "a\"b", "%41", "a--b"];
    for (number, name) in names.iter().enumerate() {
        origin.write("number", &number.to_string());
        let commit = origin.commit();
        origin.git(&["branch", name]);
        assert_eq!(git.resolve(&origin.repository(), &branch(name)).await, Ok(commit), "{name}");
    }
    let main = origin.head();
    assert_eq!(git.resolve(&origin.repository(), &branch("main")).await, Ok(main));
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let origin = Origin::new();
    origin.commit();
    let roots = vec![origin.dir.path().join("roots")];
    let git = git(roots);

    let missing = git.resolve(&origin.repository(), &branch("nope")).await;
    assert_eq!(missing, Err(GitError::NoBranch("nope".to_owned())));
    assert_eq!(
        origin.checkout(&unknown_commit()).await,
        Err(GitError::NoCommit(unknown_commit().to_string()))
    );

    let empty = origin.dir.path().join("roots/empty");
    std::fs::create_dir(&empty).unwrap();
    let answer = git.resolve(&local(&empty), &branch("main")).await;
    assert!(matches!(answer, Err(GitError::NoAccess(_))), "{answer:?}");
}

#[tokio::test]
async fn a_checkout_is_the_files_of_one_commit_and_nothing_else() {
    let origin = Origin::new();
    origin.write("src/mastra/index.ts", "export const mastra = 1\n");
    symlink("README.md", origin.path().join("link")).unwrap();
    let commit = origin.commit();
    origin.write("later", "");
    origin.commit();

    origin.checkout(&commit).await.unwrap();

    assert_eq!(origin.files(), ["README.md", "link", "src", "src/mastra", "src/mastra/index.ts"]);
    assert_eq!(origin.around(), ["into", "roots"]);
}

#[tokio::test]
async fn a_commit_that_no_branch_reaches_any_more_is_found() {
    let origin = Origin::new();
    origin.commit();
    origin.write("lost", "");
    let lost = origin.commit();
    origin.git(&["reset", "--quiet", "--hard", "HEAD^"]);

    origin.checkout(&lost).await.unwrap();

    assert_eq!(origin.files(), ["README.md", "lost"]);
}

#[tokio::test]
async fn only_local_repositories_below_an_allowed_root_are_read() {
    let origin = Origin::new();
    origin.commit();
    let roots = origin.dir.path().join("roots");
    let outside = origin.dir.path().join("outside");
    std::fs::rename(origin.path(), &outside).unwrap();
    symlink(&outside, roots.join("link")).unwrap();
    std::fs::create_dir(roots.join("inner")).unwrap();
    symlink(outside.join(".git"), roots.join("inner/.git")).unwrap();

    let not_allowed = [
        (outside.clone(), vec![roots.clone()]),
        (roots.join("link"), vec![roots.clone()]),
        (roots.join("../outside"), vec![roots.clone()]),
        (roots.join("absent"), vec![roots.clone()]),
        (roots.join("inner"), vec![roots.clone()]),
        (outside.clone(), vec![]),
    ];
    for (path, allowed) in not_allowed {
        let answer = git(allowed).resolve(&local(&path), &branch("main")).await;
        assert!(matches!(answer, Err(GitError::NotAllowed(_))), "{path:?}: {answer:?}");
    }
    assert!(git(vec![outside.clone()]).resolve(&local(&outside), &branch("main")).await.is_ok());
}

#[tokio::test]
async fn a_local_repository_of_another_owner_is_read() {
    let origin = Origin::new();
    let commit = origin.commit();
    if !rustix::process::geteuid().is_root() {
        return; // only root can make another owner
    }
    for entry in walkdir::WalkDir::new(origin.path()) {
        std::os::unix::fs::chown(entry.unwrap().path(), Some(65534), Some(65534)).unwrap();
    }
    origin.checkout(&commit).await.unwrap();
}

#[tokio::test]
async fn nothing_that_the_repository_brings_is_run_or_fetched() {
    let origin = Origin::new();
    let marker = origin.dir.path().join("ran");
    let touch = format!("touch {}", marker.display());
    origin.write(".gitattributes", "*.bin filter=evil\n*.lfs filter=lfs diff=lfs merge=lfs -text\n");
    origin.write("a.bin", "as committed");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    origin.write("a.lfs", pointer);
    let inner = origin.path().join("inner");
    origin.git(&["init", "--quiet", inner.to_str().unwrap()]);
    origin.git(&["-C", "inner", "commit", "--quiet", "--allow-empty", "--message=inner"]);
    origin.write(
        ".gitmodules",
        &format!("[submodule \"inner\"]\n\tpath = inner\n\turl = {}\n", inner.display()),
    );
    let commit = origin.commit();
    for hook in ["post-checkout", "post-index-change", "reference-transaction", "pre-receive"] {
        use std::os::unix::fs::PermissionsExt;
        origin.write(&format!(".git/hooks/{hook}"), &format!("#!/bin/sh\n{touch}\n"));
        let path = origin.path().join(".git/hooks").join(hook);
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    for key in ["filter.evil.smudge", "filter.lfs.smudge", "core.fsmonitor", "uploadpack.packObjectsHook"] {
        origin.git(&["config", key, &touch]);
    }

    origin.checkout(&commit).await.unwrap();

    assert!(!marker.exists());
    assert_eq!(std::fs::read_to_string(origin.target().join("a.bin")).unwrap(), "as committed");
    assert_eq!(std::fs::read_to_string(origin.target().join("a.lfs")).unwrap(), pointer);
    assert_eq!(std::fs::read_dir(origin.target().join("inner")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_link_out_of_the_checkout_is_refused_by_name() {
    for (name, target) in [("docs/passwords", "/etc/passwd"), ("up", ".."), ("late", "none/../../../x")] {
        let origin = Origin::new();
        std::fs::create_dir_all(origin.path().join("docs")).unwrap();
        symlink(target, origin.path().join(name)).unwrap();
        let commit = origin.commit();
        let refused = GitError::NotAllowed(format!("the link `{name}` leads out of the repository"));
        assert_eq!(origin.checkout(&commit).await, Err(refused));
    }
}

#[tokio::test]
async fn size_and_time_have_bounds() {
    let origin = Origin::new();
    origin.write("zeros", &"0".repeat(3 << 20)); // a few KiB when packed
    let commit = origin.commit();
    let roots = vec![origin.dir.path().join("roots")];

    let small = GitCommand::new(GitConfig { max_checkout_bytes: 2 << 20, ..config(roots.clone()) });
    let answer = small.checkout(&origin.repository(), &commit, &origin.target()).await;
    let message = "the repository is larger than 2 MiB or has too many files";
    assert_eq!(answer, Err(GitError::OverLimit(message.to_owned())));
    assert!(origin.files().is_empty());

    let hasty = GitCommand::new(GitConfig { timeout: Duration::ZERO, ..config(roots) });
    let answer = hasty.checkout(&origin.repository(), &commit, &origin.target()).await;
    assert!(matches!(answer, Err(GitError::OverLimit(_))), "{answer:?}");
    let answer = hasty.resolve(&origin.repository(), &branch("main")).await;
    assert!(matches!(answer, Err(GitError::Unreachable(_))), "{answer:?}");
    assert_eq!(origin.around(), ["into", "roots"]);
}

#[tokio::test]
async fn a_machine_without_git_is_named() {
    let origin = Origin::new();
    let absent =
        GitConfig { git: "/nonexistent/git".into(), ..config(vec![origin.dir.path().join("roots")]) };
    let answer = GitCommand::new(absent).resolve(&origin.repository(), &branch("main")).await;
    assert_eq!(answer, Err(GitError::Unreachable("git is not installed on the build host".to_owned())));
}

#[tokio::test]
async fn a_token_travels_in_a_header_and_nowhere_else() {
    let origin = Origin::new();
    origin.commit();
    let commit = origin.head();
    let server = GitServer::start(origin.path().join(".."), "s3cret-t0ken", origin.dir.path()).await;
    let git = server.git(config(vec![]));
    let mut repository = Repository { url: server.url("origin"), access: token("s3cret-t0ken") };

    assert_eq!(git.resolve(&repository, &branch("main")).await, Ok(commit.clone()));
    git.checkout(&repository, &commit, &origin.target()).await.unwrap();

    assert_eq!(origin.files(), ["README.md"]);
    assert!(server.requests() >= 3);
    assert_eq!(server.leaks(), Vec::<String>::new());
    let of_another = Access::Token { username: "git".to_owned(), token: Secret::new("s3cret-t0ken") };
    for access in [Access::Open, token("wrong"), of_another] {
        repository.access = access;
        let answer = git.resolve(&repository, &branch("main")).await;
        assert_eq!(answer, Err(GitError::NoAccess(repository.url.to_string())));
    }
}

#[tokio::test]
async fn a_host_that_sends_no_single_commits_is_asked_for_its_branches() {
    let origin = Origin::new();
    let first = origin.commit();
    origin.write("second", "");
    origin.commit();
    // This server speaks the first version of the protocol, where only tips of branches may be asked for.
    let server = GitServer::start(origin.path().join(".."), "t", origin.dir.path()).await;
    let repository = Repository { url: server.url("origin"), access: token("t") };
    let git = server.git(config(vec![]));

    git.checkout(&repository, &first, &origin.target()).await.unwrap();

    assert_eq!(origin.files(), ["README.md"]);
    let absent = git.checkout(&repository, &unknown_commit(), &origin.target()).await;
    assert_eq!(absent, Err(GitError::NoCommit(unknown_commit().to_string())));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let origin = Origin::new();
    let server = GitServer::start(origin.path().join(".."), "t", origin.dir.path()).await;
    let repository = Repository { url: server.url("moved"), access: token("t") };
    let answer = server.git(config(vec![])).resolve(&repository, &branch("main")).await;
    let Err(GitError::NotAllowed(text)) = answer else { panic!("{answer:?}") };
    assert!(text.contains("redirects to another address"), "{text}");
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn an_unreachable_host_is_told_without_paths() {
    let git = git(vec![]);
    let repository = Repository { url: "https://127.0.0.1:1/x".parse().unwrap(), access: Access::Open };
    let answer = git.resolve(&repository, &branch("main")).await;
    let Err(GitError::Unreachable(text)) = answer else { panic!("{answer:?}") };
    assert!(text.contains("Failed to connect") && !text.contains("/tmp"), "{text}");
}

#[tokio::test]
async fn git_connects_to_the_addresses_that_were_judged_and_looks_no_name_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (host, addresses) = ("git.invalid".to_owned(), vec!["127.0.0.1".parse().unwrap()]);
    let mut git = GitCommand::new(GitConfig { private_hosts: vec![host.clone()], ..config(vec![]) });
    git.extra.extend(Reached { host, port, addresses }.curl_resolve());
    let url = format!("https://git.invalid:{port}/x").parse().unwrap();
    let repository = Repository { url, access: Access::Open };
    let call = tokio::spawn(async move { git.resolve(&repository, &branch("main")).await });
    let connected = tokio::time::timeout(Duration::from_secs(20), listener.accept()).await;
    connected.expect("the name stands nowhere, the address does").unwrap();
    // It was hung up on before TLS.
    assert!(matches!(call.await.unwrap(), Err(GitError::Unreachable(_))));
}

/// Whether any process has the text in its argument vector.
fn is_running(text: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path().join("cmdline"));
    let mut vectors = processes.filter_map(|path| std::fs::read(path).ok());
    vectors.any(|vector| String::from_utf8_lossy(&vector).contains(text))
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_no_process() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", silent.local_addr().unwrap());
    let mut git = git(vec![]);
    git.extra = vec![
        (format!("url.{address}.insteadOf"), "https://git.test/".to_owned()),
        ("protocol.http.allow".to_owned(), "always".to_owned()),
    ];
    let repository = Repository { url: "https://git.test/x".parse().unwrap(), access: Access::Open };
    let call = tokio::spawn(async move { git.resolve(&repository, &branch("main")).await });
    let _connection = silent.accept().await.unwrap();
    assert!(is_running(&address));

    call.abort();

    let gone = async {
        while is_running(&address) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("git is killed with its group");
}
