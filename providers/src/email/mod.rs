//! How the platform writes to people.
