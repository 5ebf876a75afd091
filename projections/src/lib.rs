//! The read side: the feed that reads the log, and the query tables made of it.
//!
//! Begin with [`feed`]; then a read model, say [`teams`]: its tables, its `apply` and its queries stand together.

use std::sync::Arc;

use feed::Consumer;

pub mod audit_trail;
pub mod builds;
pub mod deployments;
pub mod env_vars;
pub mod feed;
pub mod log;
pub mod page;
pub mod pool;
pub mod projects;
pub mod rebuild;
pub mod roles;
pub mod routes;
mod row;
mod shadow;
pub mod teams;
pub mod tokens;
pub mod users;
pub mod verify;
pub mod work;

pub use page::{Cursor, InvalidCursor, Listed, Page};
pub use pool::connect;

/// Every read model of the product.
pub fn read_models() -> Vec<Arc<dyn Consumer>> {
    vec![
        Arc::new(users::Users),
        Arc::new(tokens::Tokens),
        Arc::new(teams::Teams),
        Arc::new(projects::Projects),
        Arc::new(env_vars::EnvVars),
        Arc::new(builds::Builds),
        Arc::new(deployments::Deployments),
        Arc::new(routes::Routes),
        Arc::new(roles::Roles),
        Arc::new(audit_trail::AuditTrail),
    ]
}
