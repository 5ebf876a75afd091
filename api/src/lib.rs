//! HTTP in and out: one endpoint, one file.
//!
//! [`routes`] says who may call what; the gate asks it before a handler runs, and hands the handler what it may
//! work on as a [`Scoped`] value. [`app`] is the whole as an axum router, [`Platform`] what it needs.

mod app;
mod auth;
mod body;
mod caller;
mod cookie;
mod error;
mod finish;
mod gate;
mod invites;
mod me;
mod members;
mod openapi;
mod passwords;
mod people;
mod platform;
mod query;
mod reply;
pub mod routes;
mod secret_token;
mod setup;
mod system;
mod teams;
mod throttle;

pub use app::app;
pub use caller::{Caller, Principal, Scoped, Tenant};
pub use error::{ApiError, FieldError, Problem};
pub use platform::{Platform, Settings};
pub use reply::{Reply, Settled};
pub use setup::{SetupError, SetupLink};
