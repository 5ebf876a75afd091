//! A build turns one commit of a project into something that can be deployed.
mod failure;
pub use failure::{FailureCode, Phase};
