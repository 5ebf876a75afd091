//! The language of the product: what can be asked, what happened, and why not. Pure: no I/O, no clock.
//!
//! Begin with an aggregate, say [`build`]: its commands, its events, its table of decisions. [`fact`] has
//! every event in one type, [`policy`] says who may do what, [`ports`] what is needed from outside.

pub mod access;
pub mod build;
pub mod claim;
pub mod deployment;
pub mod dotenv;
pub mod endpoint;
pub mod envelope;
pub mod fact;
pub mod ids;
pub mod operation;
pub mod policy;
pub mod ports;
pub mod pricing;
pub mod project;
pub mod push;
pub mod role;
pub mod role_assignment;
pub mod sealed;
pub mod secret;
pub mod team;
pub mod upcast;
pub mod user;
pub mod values;

#[cfg(test)]
mod testing;
