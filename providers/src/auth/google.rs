//! Google: OpenID Connect of one issuer for everybody.

use super::oidc::Shape;

/// The issuer.
pub(super) const ISSUER: &str = "https://accounts.google.com";

pub(super) const SHAPE: Shape =
    Shape { kind: "google", name: "Google", keys_at: None, tokens_have_party: false };
