//! Everything that needs a database: one binary, one file an area.

mod architecture;
mod bad_input;
mod deployments;
mod env_vars;
mod feed;
mod log;
mod logs;
mod mastra;
mod projections;
mod replay_tool;
mod stock_postgres_es;
mod vault;
mod work;
