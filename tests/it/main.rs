//! Everything that needs a database: one binary, one file an area.

mod log;
mod stock_postgres_es;
mod vault;
