//! Sign-in with e-mail and password, sessions, the first user.

pub(crate) mod change_password;
pub(crate) mod failure;
pub(crate) mod login;
pub(crate) mod logout;
pub mod password;
pub(crate) mod providers;
pub(crate) mod register;
pub(crate) mod sessions;
pub mod setup;
pub mod throttle;
pub mod token;
