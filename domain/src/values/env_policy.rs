//! Names of environment variables that nobody may set, or not for builds: the table of `docs/env-vars.md`.
//!
//! It is asked twice: when a variable is set, and again where the environment of a process is put together, since
//! older events may have what is refused today.

use super::EnvKey;

/// What may be done with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Everything.
    Allowed,
    /// The running server may have it, install and build may not.
    NotAtBuild(&'static str),
    /// No process has it from anybody but the platform.
    Never(&'static str),
}

/// Names with one standing. `*` stands for any end; a pattern in small letters means capital letters, too.
pub(crate) struct Rule {
    pub(crate) patterns: &'static [&'static str],
    pub(crate) standing: Standing,
}

const PROXIES: &[&str] = &["http_proxy", "https_proxy", "all_proxy", "no_proxy"];

/// What code may read without anybody having to set it.
const WELL_KNOWN: [&str; 22] = [
    "NODE_ENV",
    "NODE_OPTIONS",
    "NODE_DEBUG",
    "CI",
    "USER",
    "LANG",
    "LC_ALL",
    "TZ",
    "PWD",
    "SHELL",
    "TERM",
    "HOSTNAME",
    "TMPDIR",
    "TEMP",
    "TMP",
    "DEBUG",
    "NO_COLOR",
    "FORCE_COLOR",
    "LOG_LEVEL",
    "npm_*",
    "MASTRA_*",
    "VITEST*",
];

/// The table. Names that no rule has are allowed.
pub(crate) const RULES: [Rule; 8] = [
    Rule {
        // A wrong one of these crashes a Mastra server while it loads, or makes it unreachable.
        patterns: &[
            "PORT",
            "MASTRA_HOST",
            "MASTRA_PROJECT_ID",
            "MASTRA_DEPLOYMENT_ID",
            "MASTRA_PROJECT_ROOT",
            "MASTRA_PLATFORM_*",
            "MASTRA_CLOUD_*",
            "NODE_CHANNEL_*",
        ],
        standing: Standing::Never("the platform sets it itself"),
    },
    Rule {
        patterns: &["LD_*", "GCONV_PATH", "GLIBC_TUNABLES"],
        standing: Standing::Never("it loads other code into every program"),
    },
    Rule { patterns: &["PATH"], standing: Standing::Never("it decides which programs are run") },
    Rule { patterns: &["HOME"], standing: Standing::Never("it decides which settings of tools are read") },
    Rule {
        patterns: &["BASH_ENV", "SHELLOPTS", "BASHOPTS", "IFS"],
        standing: Standing::Never("it changes what every shell does"),
    },
    Rule {
        patterns: &["NODE_OPTIONS", "NODE_PATH", "NODE_REPL_EXTERNAL_MODULE"],
        standing: Standing::NotAtBuild("it changes Node for the tools of the build, too"),
    },
    Rule {
        patterns: &[
            "GIT_*",
            "SSH_ASKPASS",
            "npm_config_*",
            "COREPACK_*",
            "YARN_RC_FILENAME",
            "YARN_CACHE_FOLDER",
            "YARN_GLOBAL_FOLDER",
            "BUN_INSTALL_CACHE_DIR",
        ],
        standing: Standing::NotAtBuild("it changes what the tools of the build fetch, run and keep"),
    },
    Rule { patterns: PROXIES, standing: Standing::NotAtBuild("the network of a build is the platform's") },
];

impl EnvKey {
    /// What may be done with this name.
    pub fn standing(&self) -> Standing {
        let rule =
            RULES.iter().find(|rule| rule.patterns.iter().any(|pattern| matches(pattern, self.as_str())));
        rule.map_or(Standing::Allowed, |rule| rule.standing)
    }

    /// Whether nobody needs to set it: code that reads it gets it from the platform, or does without.
    pub fn is_well_known(&self) -> bool {
        let name = self.as_str();
        self.is_reserved() || WELL_KNOWN.iter().chain(PROXIES).any(|pattern| matches(pattern, name))
    }

    /// Whether the platform alone sets this name, so that no runner takes it from a project.
    pub fn is_reserved(&self) -> bool {
        matches!(self.standing(), Standing::Never(_))
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    let in_small = !pattern.bytes().any(|byte| byte.is_ascii_uppercase());
    let (begin, is_prefix) = pattern.strip_suffix('*').map_or((pattern, false), |begin| (begin, true));
    let Some(head) = name.get(..begin.len()) else { return false };
    let same = if in_small { head.eq_ignore_ascii_case(begin) } else { head == begin };
    same && (is_prefix || name.len() == begin.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the documentation says: patterns and a word, and the reason.
    fn documented() -> Vec<(Vec<String>, String, String)> {
        let rows = include_str!("../../../docs/env-vars.md").lines().filter(|line| line.starts_with("| `"));
        let row = |line: &str| {
            let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
            let names = cells.next().unwrap();
            let names = names.split(", ").map(|name| name.trim_matches('`').to_owned()).collect();
            (names, cells.next().unwrap(), cells.next().unwrap())
        };
        rows.map(row).collect()
    }

    #[test]
    fn the_documentation_has_this_very_table() {
        let ours = RULES.iter().map(|rule| {
            let (word, why) = match rule.standing {
                Standing::Never(why) => ("never", why),
                Standing::NotAtBuild(why) => ("not at build time", why),
                Standing::Allowed => unreachable!("what is allowed has no rule"),
            };
            let patterns = rule.patterns.iter().map(|&pattern| pattern.to_owned()).collect();
            (patterns, word.to_owned(), why.to_owned())
        });
        assert_eq!(documented(), ours.collect::<Vec<_>>());
    }

    #[test]
    fn what_nobody_needs_to_set_is_well_known() {
        let known = |name: &str| name.parse::<EnvKey>().unwrap().is_well_known();
        assert!(
            ["NODE_ENV", "PORT", "HOME", "npm_package_name", "HTTP_PROXY", "MASTRA_DEV"].map(known)
                == [true; 6]
        );
        assert!(["OPENAI_API_KEY", "DATABASE_URL", "NODE"].map(known) == [false; 3]);
    }

    #[test]
    fn names_are_judged_by_the_first_rule_that_has_them() {
        let standing = |name: &str| name.parse::<EnvKey>().unwrap().standing();
        for never in ["PORT", "LD_PRELOAD", "LD_LIBRARY_PATH", "PATH", "HOME", "BASH_ENV", "MASTRA_CLOUD_X"] {
            assert!(matches!(standing(never), Standing::Never(_)), "{never}");
        }
        for build in
            ["NODE_OPTIONS", "GIT_SSH_COMMAND", "npm_config_registry", "NPM_CONFIG_REGISTRY", "HTTPS_PROXY"]
        {
            assert!(matches!(standing(build), Standing::NotAtBuild(_)), "{build}");
        }
        for good in
            ["OPENAI_API_KEY", "NPM_TOKEN", "MASTRA_LOG", "PATHS", "path", "HOMEPAGE", "LD", "NODE_ENV", "A"]
        {
            assert_eq!(standing(good), Standing::Allowed, "{good}");
        }
    }
}
