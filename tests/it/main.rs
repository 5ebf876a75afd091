//! Everything that needs a database: one binary, one file an area.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed, in its helpers too")]

mod access;
mod architecture;
mod audit;
mod auth;
mod bad_input;
mod batches;
mod concurrency;
mod crashes;
mod deployments;
mod diff;
mod doctor;
mod dry_run;
mod env_vars;
mod erasure;
mod export_import;
mod feed;
mod generations;
mod http_contract;
mod ledger;
mod log;
mod log_lines;
mod logs;
mod lost_connections;
mod mastra;
mod migrations;
mod operations;
mod parked;
mod permissions;
mod projections;
mod races;
mod rebuilds;
mod replay_tool;
mod replay_tool_writes;
mod rights;
mod sign_in;
mod snapshots;
mod stock_postgres_es;
mod teams;
mod time_travel;
mod together;
mod two_servers;
mod vault;
mod whole_database;
mod work;
