//! Everything that can go wrong ends in one sentence for the operator and an exit code.

use std::io;
use std::process::ExitCode;

use projections::verify::VerifyError;

/// How a verb ends.
pub(crate) type Outcome = Result<(), Failure>;

/// Why a verb was not carried out.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It could not be.
    Error(String),
    /// A read model is not what the log says, or the log not what was signed.
    Different(String),
    /// Events wait that could not be taken in.
    Parked(String),
    /// Nobody reads on: `replay-tool history … | head`.
    Unread,
}

impl Failure {
    /// One that ends with code 1 and these words.
    pub(crate) fn because(text: impl Into<String>) -> Self {
        Self::Error(text.into())
    }

    /// Tells the operator; answers the exit code.
    pub(crate) fn tell(self) -> ExitCode {
        let (code, text) = match self {
            Self::Unread => return ExitCode::SUCCESS,
            Self::Error(text) => (1, text),
            Self::Different(text) => (3, text),
            Self::Parked(text) => (4, text),
        };
        #[expect(clippy::print_stderr, reason = "this is where a command line program says what is wrong")]
        {
            eprintln!("{text}");
        }
        ExitCode::from(code)
    }
}

/// An error with all its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Error(format!("the database failed: {error}"))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::Error(format!("the answer could not be written: {error}")),
        }
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Different { .. } => Self::Different(error.to_string()),
            other => Self::Error(chain(&other)),
        }
    }
}
