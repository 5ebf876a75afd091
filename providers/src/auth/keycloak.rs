//! Keycloak: OpenID Connect of one realm. Its tokens say in their payload what they are (`typ`), which is checked.

use super::oidc::Shape;

pub(super) const SHAPE: Shape =
    Shape { kind: "keycloak", name: "Keycloak", keys_at: None, tokens_have_party: false };
