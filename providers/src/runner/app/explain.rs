//! Says why an install or a build failed, from the end of its output, in words its owner can act on.

use domain::ports::runner::BuildFailure;

/// Explains a failed install.
pub fn explain_install(output_tail: &str, exit_code: Option<i32>) -> BuildFailure {
    let _ = (output_tail, exit_code);
    todo!()
}

/// Explains a failed build.
pub fn explain_build(output_tail: &str, exit_code: Option<i32>) -> BuildFailure {
    let _ = (output_tail, exit_code);
    todo!()
}
