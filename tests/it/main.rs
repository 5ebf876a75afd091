//! Everything that needs a database: one binary, one file an area.

mod log;
mod log_lines;
mod stock_postgres_es;
mod vault;
