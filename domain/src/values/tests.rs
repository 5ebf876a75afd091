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
    for good in ["https://github.com/acme/agent.git", "https://git.example.org:8443/a/b", "file:///srv/git/a"]
    {
        assert!(good.parse::<RepoUrl>().is_ok(), "{good}");
    }
    refuses::<RepoUrl>(&[
        "",
        "ext::sh -c id",
        "--upload-pack=id",
        "http://example.org/a",
        "ssh://git@example.org/a",
        "git@example.org:a/b.git",
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
