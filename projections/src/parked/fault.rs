//! Whether it is the event that cannot be taken in, or the database that cannot be used.

/// Classes of SQLSTATE that say something about the values in hand: cardinality, data, integrity, check option,
/// program limits, an error raised by a function. All others say something about the database, its load or its
/// schema: another try may succeed, and parking would park everything.
const OF_THE_EVENT: [&str; 6] = ["21", "22", "23", "44", "54", "P0"];

/// Whether this error is the fault of the event that was applied. Otherwise its consumer waits and tries again.
pub(crate) fn is_of_the_event(error: &sqlx::Error) -> bool {
    use sqlx::Error::*;
    match error {
        Database(error) => {
            error.code().is_some_and(|code| OF_THE_EVENT.iter().any(|class| code.starts_with(class)))
        }
        RowNotFound | TypeNotFound { .. } | ColumnIndexOutOfBounds { .. } | ColumnNotFound(_) => true,
        ColumnDecode { .. } | Decode(_) | Encode(_) | InvalidArgument(_) => true,
        // Connections, pools, protocols; and what later versions of sqlx may add.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::error::Error;
    use std::fmt;

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    #[derive(Debug)]
    struct State(&'static str);

    impl fmt::Display for State {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for State {}

    impl DatabaseError for State {
        fn message(&self) -> &str {
            self.0
        }
        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.into())
        }
        fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
            self
        }
        fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
            self
        }
        fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
            self
        }
        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    fn database(state: &'static str) -> sqlx::Error {
        sqlx::Error::Database(Box::new(State(state)))
    }

    #[test]
    fn what_the_values_are_to_blame_for_is_of_the_event() {
        // Division by zero, a unique key, a null, a cardinality, an index entry too large, a raised exception.
        for state in ["22012", "23505", "23502", "21000", "54000", "P0001"] {
            assert!(is_of_the_event(&database(state)), "{state}");
        }
        assert!(is_of_the_event(&sqlx::Error::RowNotFound));
        assert!(is_of_the_event(&sqlx::Error::Decode("no slug".into())));
    }

    #[test]
    fn what_passes_and_what_concerns_every_event_is_not() {
        let passes = [
            "08006", // connection failure
            "40001", "40P01", // serialization, deadlock
            "53100", "53200", "53300", // disk full, out of memory, too many connections
            "55P03", "57014", // lock timeout, statement timeout
            "57P01", "57P02", "57P03", "57P05", "25P03", // shutdown, crash, start, idle timeouts
            "58030", "XX000", "XX001", // I/O, internal, corruption
            "0A000", // a cached plan that fits no more
            "25006", // a server that only reads
            "3F000", "42501", "42P01", "42703", // no schema, no right, no table, no column
        ];
        for state in passes {
            assert!(!is_of_the_event(&database(state)), "{state}");
        }
        for error in [
            sqlx::Error::PoolTimedOut,
            sqlx::Error::PoolClosed,
            sqlx::Error::WorkerCrashed,
            sqlx::Error::Protocol("cut".into()),
            sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()),
        ] {
            assert!(!is_of_the_event(&error), "{error}");
        }
    }
}
