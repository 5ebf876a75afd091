//! Where the platform's PostgreSQL comes from when the operator names none.

pub mod embedded;
