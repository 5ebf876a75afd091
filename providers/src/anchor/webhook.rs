//! A server that is told: `POST` with the checkpoint in JSON.

use async_trait::async_trait;
use domain::ports::anchor::{Anchor, AnchorError, AnchoredCheckpoint};
use domain::secret::Secret;
use hyper::Method;
use serde_json::json;

use super::http::Place;

/// Posts checkpoints.
#[derive(Debug)]
pub struct WebhookAnchor {
    place: Place,
    name: String,
}

impl WebhookAnchor {
    /// Posts to this address.
    pub fn new(url: &str, token: Option<Secret>) -> Result<Self, AnchorError> {
        let place = Place::open(url, token)?;
        let name = format!("webhook:{}", place.shown());
        Ok(Self { place, name })
    }
}

#[async_trait]
impl Anchor for WebhookAnchor {
    fn name(&self) -> &str {
        &self.name
    }

    async fn keep(&self, checkpoint: &AnchoredCheckpoint) -> Result<(), AnchorError> {
        let AnchoredCheckpoint { number, size, note } = checkpoint;
        let body = json!({ "number": number, "size": size, "checkpoint": note }).to_string();
        self.place.send(Method::POST, self.place.url(), "application/json", body).await
    }
}
