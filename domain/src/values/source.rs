//! Where source code is: repository, branch, commit, directory.

use url::Url;

use super::{InvalidValue, SshAddress, text};

text! {
    /// Address of a git repository: `https://host/path`, `ssh://user@host/path`, `user@host:path`, or `file:///path`
    /// where the operator allows it. Carries no credentials, query or fragment.
    RepoUrl, |text| {
        let refuse = |why: &str| Err(InvalidValue(format!("must be an https or ssh address of a git repository: {why}")));
        if text.len() > 2048 || text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return refuse("too long, or it contains spaces or control characters");
        }
        if SshAddress::of(text).is_some() {
            return Ok(text.to_owned());
        }
        let Ok(url) = Url::parse(text) else { return refuse("it is not a URL") };
        match url.scheme() {
            "https" if url.host_str().is_some_and(|host| !host.is_empty()) => {}
            "file" if url.host_str().is_none_or(str::is_empty) => {}
            _ => return refuse("only https://, ssh://user@host/path and user@host:path (and file:// where the operator allows it) are understood"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("credentials do not belong into the URL");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return refuse("it has a query or a fragment");
        }
        if url.path().len() < 2 {
            return refuse("it has no path");
        }
        Ok(url.to_string())
    }
}

text! {
    /// A branch name that git accepts (`git check-ref-format --branch`).
    BranchName, |text| {
        let good = (1..=250).contains(&text.len())
            && !text.starts_with(['-', '/'])
            && !text.ends_with(['/', '.'])
            && text != "@"
            && !["..", "//", "@{"].iter().any(|bad| text.contains(bad))
            && !text.chars().any(|c| c.is_control() || " ~^:?*[\\".contains(c))
            && text.split('/').all(|part| !part.starts_with('.') && !part.ends_with(".lock"));
        if !good {
            return Err(InvalidValue::new("must be a branch name that git accepts"));
        }
        Ok(text.to_owned())
    }
}

text! {
    /// A full SHA-1 commit id: 40 lower-case hex digits.
    CommitSha, |text| {
        if text.len() != 40 || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(InvalidValue::new("must be a full commit id: 40 hex digits in lower case"));
        }
        Ok(text.to_owned())
    }
}

text! {
    /// A directory inside a repository, in its normal form: `.` or `a/b`, never leading out of it.
    RelativePath, |text| {
        let refuse = || Err(InvalidValue::new("must be a path inside the repository, without `..`"));
        if text.len() > 512 || text.starts_with('/') || text.chars().any(|c| c.is_control() || c == '\\') {
            return refuse();
        }
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.iter().any(|part| *part == ".." || part.eq_ignore_ascii_case(".git")) {
            return refuse();
        }
        Ok(if parts.is_empty() { ".".to_owned() } else { parts.join("/") })
    }
}

impl RepoUrl {
    /// Whether this is a path on this machine, which only an operator may allow.
    pub fn is_local(&self) -> bool {
        self.as_str().starts_with("file:")
    }
}
