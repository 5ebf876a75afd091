//! Auth0: OpenID Connect of one tenant. Its issuer ends with a slash, and is compared with it.

use super::oidc::Shape;

pub(super) const SHAPE: Shape =
    Shape { kind: "auth0", name: "Auth0", keys_at: None, tokens_have_party: false };
