//! Sign-in with e-mail and password or through providers, sessions, the first user.

pub(crate) mod authorize;
pub(crate) mod callback;
pub(crate) mod change_password;
pub(crate) mod failure;
pub(crate) mod identity;
pub(crate) mod login;
pub(crate) mod logout;
pub mod password;
pub(crate) mod providers;
pub(crate) mod register;
pub(crate) mod second_factor;
pub(crate) mod sessions;
pub mod setup;
pub mod throttle;
pub mod token;
