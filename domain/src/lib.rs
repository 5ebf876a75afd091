//! The language of the product: what can be asked, what happened, and why not. Pure: no I/O, no clock.

pub mod build;
pub mod ids;
pub mod ports;
pub mod secret;
pub mod values;
