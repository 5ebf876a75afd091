use super::*;

fn refuses<T: std::str::FromStr>(texts: &[&str]) {
    for text in texts {
        assert!(text.parse::<T>().is_err(), "must be refused: {text:?}");
    }
}

#[test]
fn slugs_are_host_name_labels_without_double_dashes() {
    for good in ["a", "acme", "a-b-c", "0x", &"a".repeat(63)] {
        assert_eq!(good.parse::<Slug>().unwrap().as_str(), good);
    }
    refuses::<Slug>(&["", "-a", "a-", "a--b", "A", "a_b", "a.b", "ä", "a\0", " a", &"a".repeat(64), "a/b"]);
}

#[test]
fn a_slug_is_made_of_a_name() {
    assert_eq!(Slug::from_name("  Weather & Co. (EU) ").unwrap().as_str(), "weather-co-eu");
    assert_eq!(Slug::from_name("日本"), None);
}

#[test]
fn repository_addresses_carry_no_credentials_and_no_odd_transport() {
    for good in [
        "https://github.com/acme/agent.git",
        "https://git.example.org:8443/a/b",
        "file:///srv/git/a",
        "ssh://git@git.example.org:2222/acme/agent.git",
        "ssh://git@192.0.2.1/~/日本.git",
        "git@github.com:acme/agent.git",
    ] {
        assert!(good.parse::<RepoUrl>().is_ok(), "{good}");
    }
    refuses::<RepoUrl>(&[
        "",
        "ext::sh -c id",
        "--upload-pack=id",
        "http://example.org/a",
        "ssh://example.org/a",
        "ssh://git:pw@example.org/a",
        "ssh://git@-oProxyCommand=id/a",
        "ssh://-oProxyCommand=id@example.org/a",
        "ssh://git@example.org:0/a",
        "ssh://git@example.org:70000/a",
        "ssh://git@example.org/a;id",
        "ssh://git@example.org/$(id)",
        "ssh://git@example.org/a/../b",
        "ssh://git@example.org/--upload-pack=id",
        "ssh://git@[::ffff:127.0.0.1]/a",
        "ssh://git@2130706433/a",
        "ssh://git@127.1/a",
        "ssh://git@0x7f.1/a",
        "ssh://git@0x7f000001/a",
        "git@example.org:-x",
        "git@example.org:`id`",
        "-x@example.org:a",
        "git@-x:a",
        "git@example.org:a\nb",
        "C:a",
        "https://user:pw@example.org/a",
        "https://token@example.org/a",
        "https://example.org",
        "https://example.org/a?x=1",
        "https://example.org/a#x",
        "https://example.org/a\0b",
        "https://example.org/a b",
        "file://host/share",
        "/srv/git/a",
    ]);
}

#[test]
fn branches_are_those_that_git_accepts() {
    for good in ["main", "feature/#1", "a&b", "日本", "release/v1.2", "x;y", "$(id)"] {
        assert!(good.parse::<BranchName>().is_ok(), "{good}");
    }
    refuses::<BranchName>(&[
        "",
        "-x",
        "--upload-pack=id",
        "a..b",
        "/a",
        "a/",
        "a b",
        "a\nb",
        "a\0b",
        "a.lock",
        ".a",
        "a/.b",
        "@",
        "a@{1}",
        "a~1",
        "a^",
        "a:b",
        "a?b",
        "a*b",
        "a[b",
        "a\\b",
        "a//b",
        "a.",
    ]);
}

#[test]
fn commits_are_40_lower_hex_digits() {
    assert!("0123456789abcdef0123456789abcdef01234567".parse::<CommitSha>().is_ok());
    refuses::<CommitSha>(&[
        "",
        "abc123",
        "0123456789ABCDEF0123456789abcdef01234567",
        "HEAD",
        &"g".repeat(40),
        &"a".repeat(41),
    ]);
}

#[test]
fn paths_stay_inside_the_repository() {
    assert_eq!("./".parse::<RelativePath>().unwrap().as_str(), ".");
    assert_eq!("./apps//agent/".parse::<RelativePath>().unwrap().as_str(), "apps/agent");
    refuses::<RelativePath>(&["/etc", "..", "a/../b", "a/..", ".git", "a/.GIT/b", "a\0b", "a\\b", "a\nb"]);
}

#[test]
fn commands_are_split_and_never_need_a_shell() {
    assert_eq!("npm run \"build all\"".parse::<CommandLine>().unwrap().argv(), ["npm", "run", "build all"]);
    refuses::<CommandLine>(&["", "  ", "a && b", "a | b", "a; b", "a > b", "FOO=1 a", "a 'b", "a\nb", "a\0"]);
}

#[test]
fn env_keys_are_posix_names_and_some_are_the_runners_own() {
    for good in ["A", "_a1", "OPENAI_API_KEY"] {
        assert!(!good.parse::<EnvKey>().unwrap().is_reserved());
    }
    for reserved in ["PORT", "MASTRA_PLATFORM_ACCESS_TOKEN", "MASTRA_CLOUD_X", "NODE_CHANNEL_FD"] {
        assert!(reserved.parse::<EnvKey>().unwrap().is_reserved(), "{reserved}");
    }
    refuses::<EnvKey>(&["", "1A", "A-B", "A=B", "A\0", "Ä", &"A".repeat(129)]);
}

#[test]
fn addresses_compare_without_case_and_keep_their_tag() {
    let email: Email = " Ann+news@Example.ORG ".parse().unwrap();
    assert_eq!(email.comparable(), "ann+news@example.org");
    assert_eq!("ﬁn@example.org".parse::<Email>().unwrap().comparable(), "fin@example.org");
    refuses::<Email>(&[
        "",
        "a",
        "@b.c",
        "a@",
        "a@b@c",
        "a b@c.d",
        "a@-b.c",
        "a\r\nBcc: x@y.z",
        "a@b..c",
        "<a@b.c>",
        "a\0@b.c",
    ]);
}

#[test]
fn names_are_one_line() {
    assert_eq!(" Ünï ".parse::<DisplayName>().unwrap().as_str(), "Ünï");
    assert_eq!("".parse::<PersonName>().unwrap().as_str(), "");
    refuses::<DisplayName>(&["", "  ", "a\nb", "a\0", &"x".repeat(101)]);
}

#[test]
fn limits_outside_their_bounds_name_the_field() {
    let limits = Resources { memory_mib: Some(1), ..Resources::default() };
    assert_eq!(limits.check().unwrap_err().0, "memoryMib");
    assert_eq!(Resources::BUILD.check(), Ok(()));
    assert_eq!(Resources::default().or(Resources::SERVER), Resources::SERVER);
}

#[test]
fn credentials_are_bound_to_a_host_however_it_is_written() {
    for (url, host) in [
        ("https://github.com/acme/agent.git", Some("github.com")),
        ("https://GitHub.com:443/acme/agent.git", Some("github.com")),
        ("https://git.example.org:8443/a", Some("git.example.org:8443")),
        ("ssh://git@Git.example.org:22/a", Some("git.example.org")),
        ("ssh://git@git.example.org:2222/a", Some("git.example.org:2222")),
        ("git@github.com:acme/agent.git", Some("github.com")),
        ("file:///srv/git/a", None),
    ] {
        assert_eq!(url.parse::<RepoUrl>().unwrap().host().as_deref(), host, "{url}");
    }
}

#[test]
fn a_host_key_says_itself_what_it_is() {
    let key = "AAAAC3NzaC1lZDI1NTE5AAAAIK0N+mryEhIC04k5CDU1+j+FR1aAIWLbyL3CNHr20O86";
    let with_comment = format!("ssh-ed25519  {key} root@git");
    assert_eq!(with_comment.parse::<HostKey>().unwrap().as_str(), format!("ssh-ed25519 {key}"));
    let refused = [
        String::new(),
        key.to_owned(),
        format!("ssh-rsa {key}"),
        format!("ssh-dss {key}"),
        format!("ssh-ed25519 {key}A"),
        format!("ssh-ed25519 {}", &key[..64]),
        format!("ssh-ed25519 {key}\n* ssh-ed25519 {key}"),
        format!("@cert-authority * ssh-ed25519 {key}"),
        format!("git.example.org ssh-ed25519 {key}"),
    ];
    refuses::<HostKey>(&refused.iter().map(String::as_str).collect::<Vec<_>>());
    refuses::<GitUsername>(&["", "a:b", "a\nb"]);
}
