//! Says why an install or a build failed, from the end of its output, in words its owner can act on.

use domain::build::{FailureCode, Phase};
use domain::ports::runner::BuildFailure;

use super::plain::{from_sign, plain};

/// Length of a message in characters; the log holds the rest.
const MAX_MESSAGE: usize = 600;
const KILLED: i32 = 137; // 128 + SIGKILL, as a package manager reports a killed script

/// A kind of failure: it is this one if the output holds one of `signs`.
struct Kind {
    signs: &'static [&'static str],
    code: FailureCode,
    /// What the owner can do.
    advice: &'static str,
}

/// What can happen to any command.
const ANYWHERE: [Kind; 2] = [
    Kind {
        signs: &["ENOSPC", "no space left on device", "No space left on device"],
        code: FailureCode::OutOfDisk,
        advice: "The disk limit was reached. Raise the build's disk limit or install less.",
    },
    Kind {
        signs: &[
            "heap out of memory",
            "Allocation failed - process out of memory",
            "ENOMEM",
            "Cannot allocate memory",
        ],
        code: FailureCode::OutOfMemory,
        advice: "The memory ran out. Raise the build's memory limit.",
    },
];

const UNREACHABLE: &str =
    "The package registry could not be reached. Try again; if it stays so, the build host has no way to it.";

/// Failures of an install, the specific before the general.
const INSTALL: [Kind; 13] = [
    Kind {
        signs: &[
            "npm error code EUSAGE",
            "npm ERR! code EUSAGE",
            "ERR_PNPM_OUTDATED_LOCKFILE",
            "ERR_PNPM_LOCKFILE_CONFIG_MISMATCH",
            "Your lockfile needs to be updated",
            "The lockfile would have been modified",
            "lockfile had changes, but lockfile is frozen",
        ],
        code: FailureCode::LockfileOutOfSync,
        advice: "The lock file does not fit package.json. Run the package manager's install and commit \
                 the lock file.",
    },
    Kind {
        signs: &["code ERESOLVE"],
        code: FailureCode::InstallFailed,
        advice: "Two dependencies need different versions of the same package. Align their versions in \
                 package.json.",
    },
    Kind {
        signs: &[
            "code E401",
            "code E403",
            "code ENEEDAUTH",
            "ERR_PNPM_FETCH_401",
            "ERR_PNPM_FETCH_403",
            "Unable to authenticate",
        ],
        code: FailureCode::InstallFailed,
        advice: "The registry refused access. A private package needs its token as a build-time \
                 variable that .npmrc refers to.",
    },
    Kind {
        signs: &["code E404", "ERR_PNPM_FETCH_404", "Request failed \"404", "failed to resolve"],
        code: FailureCode::InstallFailed,
        advice: "A dependency is not in the registry, or is private.",
    },
    Kind {
        signs: &["code ETARGET", "ERR_PNPM_NO_MATCHING_VERSION", "No matching version found"],
        code: FailureCode::InstallFailed,
        advice: "A dependency has no version that package.json asks for.",
    },
    Kind {
        signs: &[
            "code EINTEGRITY",
            "ERR_PNPM_TARBALL_INTEGRITY",
            "Integrity check failed",
            "IntegrityCheckFailed",
        ],
        code: FailureCode::InstallFailed,
        advice: "A downloaded package is not the one of the lock file. If it was published again on \
                 purpose, renew the lock file.",
    },
    // The package manager's own words: a script of the repository that meets the same fails the build.
    Kind {
        signs: &[
            "code ENOTFOUND",
            "code EAI_AGAIN",
            "code ECONNREFUSED",
            "code ECONNRESET",
            "code ETIMEDOUT",
            "code ERR_SOCKET_TIMEOUT",
            "code ENETUNREACH",
            "code EHOSTUNREACH",
            "code E500",
            "code E502",
            "code E503",
            "code E504",
            "ERR_PNPM_META_FETCH_FAIL",
            "ERR_PNPM_FETCH_50",
        ],
        code: FailureCode::RegistryUnreachable,
        advice: UNREACHABLE,
    },
    Kind {
        signs: &[
            "ENOTFOUND",
            "EAI_AGAIN",
            "ECONNREFUSED",
            "ECONNRESET",
            "ETIMEDOUT",
            "ERR_SOCKET_TIMEOUT",
            "ENETUNREACH",
            "UNABLE_TO_GET_ISSUER_CERT",
            "SELF_SIGNED_CERT",
            "ConnectionRefused",
        ],
        code: FailureCode::InstallFailed,
        advice: UNREACHABLE,
    },
    Kind {
        signs: &["EUNSUPPORTEDPROTOCOL", "Unsupported URL Type"],
        code: FailureCode::InstallFailed,
        advice: "A dependency is written in another package manager's way. Name yours in `packageManager`.",
    },
    Kind {
        signs: &["code EBADENGINE", "ERR_PNPM_UNSUPPORTED_ENGINE", "The engine \"node\" is incompatible"],
        code: FailureCode::InstallFailed,
        advice: "A dependency needs another version of Node. Set `engines.node` in package.json.",
    },
    Kind {
        signs: &["gyp ERR!", "node-gyp"],
        code: FailureCode::InstallFailed,
        advice: "A dependency had to be compiled, and that failed. Use a version with prebuilt binaries \
                 for Linux.",
    },
    Kind {
        signs: &["EJSONPARSE", "ERR_PNPM_JSON_PARSE"],
        code: FailureCode::InstallFailed,
        advice: "A package.json is not valid JSON.",
    },
    Kind {
        signs: &["npm error command", "ELIFECYCLE", "Command failed"],
        code: FailureCode::InstallFailed,
        advice: "An install script of a package failed.",
    },
];

/// Lines that say most about each failure of an install, best first.
const INSTALL_LINES: [&str; 16] = [
    "Missing: ",
    "Invalid: lock file",
    "No matching version",
    "is not in this registry",
    "npm error 404 ",
    "npm error peer ",
    "specifiers in the lockfile",
    "request to ",
    "Unsupported URL Type",
    "gyp ERR! stack",
    "ERR_PNPM_",
    "YN0",
    "npm error ",
    "npm ERR! ",
    "error: ",
    "error ",
];

/// Failures of a build that have an advice of their own.
const BUILD: [Kind; 6] = [
    Kind {
        signs: &[
            "mastra: not found",
            "mastra: command not found",
            "could not determine executable",
            "npx canceled",
        ],
        code: FailureCode::BuildFailed,
        advice: "The command `mastra` is not installed. Add `mastra` to devDependencies.",
    },
    Kind {
        signs: &["Missing script: \"build\"", "ERR_PNPM_NO_SCRIPT", "Script not found \"build\""],
        code: FailureCode::BuildFailed,
        advice: "package.json has no `build` script.",
    },
    Kind {
        signs: &["No index.ts and no file-based primitives"],
        code: FailureCode::BuildFailed,
        advice: "Mastra found no agents. Set the Mastra directory, or add `src/mastra/index.ts`.",
    },
    Kind {
        signs: &["\"mastra\" is not exported by"],
        code: FailureCode::BuildFailed,
        advice: "The entry file has to `export const mastra`.",
    },
    Kind {
        signs: &["Could not resolve "],
        code: FailureCode::BuildFailed,
        advice: "A file or package that is imported does not exist.",
    },
    Kind {
        signs: &["code EAI_AGAIN", "code ENOTFOUND", "code ECONNREFUSED", "ERR_PNPM_META_FETCH_FAIL"],
        code: FailureCode::BuildFailed,
        advice: "The build could not reach the network. Try again.",
    },
];

/// Lines that say most about a failed build, best first.
const BUILD_LINES: [&str; 12] = [
    "Could not resolve ",
    ": ERROR: ",
    "Unexpected ",
    "is not exported by",
    "No index.ts and no file-based",
    "error TS",
    "SyntaxError",
    "Cannot find package",
    "Cannot find module",
    "ERROR [",
    "Error: ",
    "npm error ",
];

/// Explains a failed install.
pub fn explain_install(output_tail: &str, exit_code: Option<i32>) -> BuildFailure {
    let general =
        Kind { signs: &[], code: FailureCode::InstallFailed, advice: "Installing the dependencies failed." };
    explain(output_tail, exit_code, Phase::Installing, &INSTALL, &INSTALL_LINES, &general)
}

/// Explains a failed build.
pub fn explain_build(output_tail: &str, exit_code: Option<i32>) -> BuildFailure {
    let general = Kind { signs: &[], code: FailureCode::BuildFailed, advice: "The build command failed." };
    explain(output_tail, exit_code, Phase::Building, &BUILD, &BUILD_LINES, &general)
}

fn explain(
    output_tail: &str,
    exit_code: Option<i32>,
    phase: Phase,
    kinds: &[Kind],
    lines: &[&str],
    general: &Kind,
) -> BuildFailure {
    let text = plain(output_tail);
    let of_output = |kind: &&Kind| kind.signs.iter().any(|sign| text.contains(sign));
    let kind = ANYWHERE.iter().chain(kinds).find(of_output).unwrap_or(general);
    let killed = exit_code == Some(KILLED) && kind.code == general.code;
    let (code, advice) = match killed {
        true => (FailureCode::OutOfMemory, "The command was killed, most likely because its memory ran out."),
        false => (kind.code, kind.advice),
    };
    let message = match code {
        FailureCode::OutOfDisk | FailureCode::OutOfMemory => advice.to_owned(),
        _ => match lines.iter().find_map(|sign| from_sign(&text, sign)).or_else(|| last_line(&text)) {
            Some(line) => format!("{advice} {line}"),
            None => format!("{advice} It said nothing."),
        },
    };
    BuildFailure { code, phase, message: message.chars().take(MAX_MESSAGE).collect(), exit_code }
}

fn last_line(text: &str) -> Option<String> {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}
