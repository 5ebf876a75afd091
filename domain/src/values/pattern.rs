//! Patterns of branches and of paths: `*` stands for a part of a name without slashes, `**` for one with them.

use globset::{GlobBuilder, GlobMatcher};

use super::{BranchName, InvalidValue, text};

text! {
    /// Branches by a pattern, as `release/*`.
    BranchPattern, |text| {
        // But for its wild cards it is a branch's name.
        text.replace('*', "x").parse::<BranchName>().map_err(|_| {
            InvalidValue::new("must be a branch name that git accepts, with `*` for any part of it")
        })?;
        matcher(text).map(|_| text.to_owned())
    }
}

text! {
    /// Paths of a repository by a pattern, as `apps/agent/**`; with `!` before it, those that do not count.
    PathFilter, |text| {
        let path = text.strip_prefix('!').unwrap_or(text);
        let good = (1..=512).contains(&path.len())
            && !path.starts_with('/')
            && !path.chars().any(|c| c.is_control() || c == '\\')
            && path.split('/').all(|part| part != ".." && part != ".");
        if !good {
            return Err(InvalidValue::new("must be paths inside the repository, with `*` for any part of a name"));
        }
        matcher(path).map(|_| text.to_owned())
    }
}

impl BranchPattern {
    /// Whether a branch is one of them.
    pub fn matches(&self, branch: &BranchName) -> bool {
        matcher(self.as_str()).is_ok_and(|matcher| matcher.is_match(branch.as_str()))
    }
}

impl PathFilter {
    /// Whether any of them names the path; the last that speaks of it decides.
    pub fn any_names(filters: &[Self], path: &str) -> bool {
        let said = filters.iter().rev().find_map(|filter| {
            let excluded = filter.as_str().strip_prefix('!');
            let matcher = matcher(excluded.unwrap_or(filter.as_str())).ok()?;
            matcher.is_match(path).then_some(excluded.is_none())
        });
        // Whoever only takes away begins with everything.
        said.unwrap_or_else(|| filters.iter().all(|filter| filter.as_str().starts_with('!')))
    }
}

fn matcher(pattern: &str) -> Result<GlobMatcher, InvalidValue> {
    // Only `*` is special: brackets and braces are parts of names.
    let escaped: String = pattern
        .chars()
        .flat_map(|c| {
            let special = matches!(c, '[' | ']' | '{' | '}' | '?' | '!' | '\\');
            special.then_some('\\').into_iter().chain([c])
        })
        .collect();
    let glob = GlobBuilder::new(&escaped).literal_separator(true).backslash_escape(true).build();
    glob.map(|glob| glob.compile_matcher())
        .map_err(|_| InvalidValue::new("must be a pattern that is understood"))
}
