//! Sign-in through providers, against a certified OpenID provider over HTTP.

mod flow;
mod second_factor;
mod sessions;
mod tokens;
mod webhooks;
