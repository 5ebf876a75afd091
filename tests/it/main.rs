//! Everything that needs a database: one binary, one file an area.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed, in its helpers too")]

mod architecture;
mod auth;
mod bad_input;
mod deployments;
mod env_vars;
mod feed;
mod http_contract;
mod log;
mod log_lines;
mod logs;
mod mastra;
mod migrations;
mod permissions;
mod projections;
mod rebuilds;
mod replay_tool;
mod stock_postgres_es;
mod teams;
mod vault;
mod work;
