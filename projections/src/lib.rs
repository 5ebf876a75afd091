//! The read side: tables that can be thrown away and made again from the log.
//!
//! A read model is a module: its rows, its queries, its tables and its `apply`. [`read_models`] lists them all;
//! [`feed`] brings them the events, [`rebuild`] makes them anew, [`verify`] proves that they are right.

pub mod artifacts;
pub mod audit_trail;
pub mod builds;
pub mod deployments;
pub mod doctor;
pub mod endpoints;
pub mod env_vars;
pub mod feed;
pub mod generations;
pub mod going_back;
pub mod inbox;
pub mod known_places;
pub mod ledger;
pub mod log;
pub mod markers;
mod model;
pub mod operations;
pub mod outbox;
pub mod parked;
pub mod past;
pub mod pool;
pub mod projects;
pub mod queue;
pub mod rebuild;
pub mod repository_access;
pub mod roles;
pub mod routes;
mod row;
mod rows;
mod shadow;
pub mod shown;
pub mod shred;
pub mod teams;
pub mod tokens;
pub mod turns;
pub mod users;
pub mod verify;
pub mod work;

use std::sync::Arc;

use feed::Consumer;

pub use rows::{Encoded, RowExists};

/// Every read model.
pub fn read_models() -> Vec<Arc<dyn Consumer>> {
    vec![
        Arc::new(users::Users),
        Arc::new(tokens::Tokens),
        Arc::new(teams::Teams),
        Arc::new(roles::Roles),
        Arc::new(projects::Projects),
        Arc::new(env_vars::EnvVars),
        Arc::new(repository_access::RepositoryAccess),
        Arc::new(builds::Builds),
        Arc::new(deployments::Deployments),
        Arc::new(routes::Routes),
        Arc::new(endpoints::Endpoints),
        Arc::new(audit_trail::AuditTrail),
    ]
}
