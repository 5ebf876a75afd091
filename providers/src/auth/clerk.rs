//! Clerk: OpenID Connect of one instance for sign-in; its session tokens as bearer. Those have no audience: the
//! origin for which they were made stands in `azp`. Its webhooks are in `clerk_webhooks`.

use super::oidc::Shape;

pub(super) const SHAPE: Shape =
    Shape { kind: "clerk", name: "Clerk", keys_at: Some("/.well-known/jwks.json"), tokens_have_party: true };
