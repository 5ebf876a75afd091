//! The kit: what every test outside the crates' own needs.

pub mod app;
pub mod bus;
pub mod client;
pub mod oidc;
pub mod people;
pub mod postgres;
pub mod repository;
pub mod smtp;
pub mod svix;
pub mod tape;
pub mod trail;
pub mod wire;
pub mod world;
