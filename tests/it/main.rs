//! Everything that needs a database: one binary, one file an area.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed, in its helpers too")]

mod architecture;
mod auth;
mod bad_input;
mod concurrency;
mod deployments;
mod diff;
mod dry_run;
mod env_vars;
mod export_import;
mod feed;
mod http_contract;
mod log;
mod log_lines;
mod logs;
mod mastra;
mod migrations;
mod operations;
mod permissions;
mod projections;
mod replay_tool;
mod stock_postgres_es;
mod teams;
mod time_travel;
mod vault;
mod work;
