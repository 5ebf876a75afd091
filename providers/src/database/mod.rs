//! The PostgreSQL server that the platform brings up for itself.
