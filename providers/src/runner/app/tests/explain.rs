//! What a failed install or build is said to be; the outputs are real ones, shortened.

use domain::build::FailureCode;

use super::super::explain::{explain_build, explain_install};

#[test]
fn a_failed_install_says_what_to_do() {
    use FailureCode::{InstallFailed, LockfileOutOfSync, OutOfDisk, OutOfMemory};
    let cases = [
        (
            "npm error code EUSAGE\nnpm error\nnpm error `npm ci` can only install packages when in sync.\n\
             npm error Missing: is-odd@3.0.1 from lock file\nnpm error Clean install a project\n",
            LockfileOutOfSync,
            "The lock file does not fit package.json. Run the package manager's install and commit the \
             lock file. Missing: is-odd@3.0.1 from lock file",
        ),
        (
            " ERR_PNPM_OUTDATED_LOCKFILE  Cannot install with \"frozen-lockfile\" because \
             pnpm-lock.yaml is not up to date\n",
            LockfileOutOfSync,
            "The lock file does not fit package.json. Run the package manager's install and commit the \
             lock file. ERR_PNPM_OUTDATED_LOCKFILE  Cannot install with \"frozen-lockfile\" because \
             pnpm-lock.yaml is not up to date",
        ),
        (
            "npm error code ERESOLVE\nnpm error Found: react@19.0.0\nnpm error Could not resolve \
             dependency:\nnpm error peer react@\"^18.0.0\" from react-dom@18.0.0\n",
            InstallFailed,
            "Two dependencies need different versions of the same package. Align their versions in \
             package.json. peer react@\"^18.0.0\" from react-dom@18.0.0",
        ),
        (
            "npm warn ERESOLVE overriding peer dependency\nnpm error code ETARGET\n\
             npm error notarget No matching version found for is-odd@99.0.1.\n",
            InstallFailed,
            "A dependency has no version that package.json asks for. \
             notarget No matching version found for is-odd@99.0.1.",
        ),
        (
            "npm error code ENOTFOUND\nnpm error network request to http://nothing.invalid/is-odd failed, \
             reason: getaddrinfo ENOTFOUND nothing.invalid\n",
            FailureCode::RegistryUnreachable,
            "The package registry could not be reached. Try again; if it stays so, the build host has \
             no way to it. network request to http://nothing.invalid/is-odd failed, reason: getaddrinfo \
             ENOTFOUND nothing.invalid",
        ),
        (
            "npm error code ENOSPC\n",
            OutOfDisk,
            "The disk limit was reached. Raise the build's disk limit or install less.",
        ),
        (
            "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n",
            OutOfMemory,
            "The memory ran out. Raise the build's memory limit.",
        ),
    ];
    for (output, code, message) in cases {
        let failure = explain_install(output, Some(1));
        assert_eq!((failure.code, failure.message.as_str()), (code, message));
        assert_eq!(failure.exit_code, Some(1));
    }
}

#[test]
fn a_failed_build_names_the_line_that_is_wrong_without_the_hosts_directories() {
    let error = |text: &str| {
        format!(
            "\u{1b}[32mINFO\u{1b}[39m [2026-01-01] (Mastra CLI): \u{1b}[36mAnalyzing \
             dependencies...\u{1b}[39m\n\
             \u{1b}[31mERROR\u{1b}[39m [2026-01-01] (Mastra CLI): \u{1b}[36mFailed to analyze Mastra \
             application: {text}\u{1b}[39m\n    \u{1b}[35mdomain\u{1b}[39m: \"DEPLOYER\"\n"
        )
    };
    let cases = [
        (
            error(
                "Transform failed with 1 error:\n/data/b/42/src/mastra/stub-model.ts:2:24: ERROR: \
                 Unexpected \"=\"",
            ),
            "The build command failed. src/mastra/stub-model.ts:2:24: ERROR: Unexpected \"=\"",
        ),
        (
            error("Could not resolve \"./does-not-exist\" from \"src/mastra/stub-model.ts\""),
            "A file or package that is imported does not exist. \
             Could not resolve \"./does-not-exist\" from \"src/mastra/stub-model.ts\"",
        ),
        (
            error(
                "/data/b/42/src/mastra/index.ts: Unexpected token (78:9)    at Parser.raise \
                 (/data/b/x.js:1:1)",
            ),
            "The build command failed. src/mastra/index.ts: Unexpected token (78:9)",
        ),
        (error("something else"), "The build command failed. something else"),
        (
            "sh: 1: mastra: not found\n".to_owned(),
            "The command `mastra` is not installed. Add `mastra` to devDependencies. sh: 1: mastra: not \
             found",
        ),
        ("Build exploded\n\n".to_owned(), "The build command failed. Build exploded"),
        (String::new(), "The build command failed. It said nothing."),
    ];
    for (output, message) in cases {
        let failure = explain_build(&output, Some(1));
        assert_eq!((failure.code, failure.message.as_str()), (FailureCode::BuildFailed, message));
    }
}

#[test]
fn a_killed_command_ran_out_of_memory() {
    assert_eq!(explain_build("Killed\n", Some(137)).code, FailureCode::OutOfMemory);
    assert_eq!(explain_build("x\n", None).code, FailureCode::BuildFailed);
}

#[test]
fn a_message_stays_short() {
    let failure = explain_build(&format!("Error: {}\n", "é".repeat(10_000)), Some(1));
    assert!(failure.message.chars().count() <= 600);
}
