//! The master key, and what it wraps keys with.

pub mod aes_256_gcm;
pub mod master_key;
pub mod none;
