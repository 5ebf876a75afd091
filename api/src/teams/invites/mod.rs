//! Invites into a team. Their secret is in the mail alone.

pub(crate) mod accept;
pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod resend;
pub(crate) mod revoke;
