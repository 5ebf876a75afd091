//! The kit: what every test outside the crates' own needs.

pub mod app;
pub mod bus;
pub mod chance;
pub mod clickhouse;
pub mod client;
pub mod docker;
pub mod documented;
pub mod git_host;
pub mod github;
pub mod hostile;
pub mod mastra_cli;
pub mod node;
pub mod oidc;
pub mod people;
pub mod postgres;
pub mod python;
pub mod receiver;
pub mod repository;
pub mod s3;
pub mod smtp;
pub mod svix;
pub mod switches;
pub mod tape;
pub mod trail;
pub mod wire;
pub mod world;
