//! An object store that takes `PUT`: one object a checkpoint, named by its number, never written twice with other
//! content. Best with a retention lock.
//!
//! Plain HTTP `PUT` with a bearer token or a signed query (SAS), which Azure Blob Storage, Google Cloud Storage,
//! WebDAV and gateways take; for S3 there is [`super::s3`].

use async_trait::async_trait;
use domain::ports::anchor::{Anchor, AnchorError, AnchoredCheckpoint};
use domain::secret::Secret;
use hyper::Method;

use super::http::Place;

/// Puts checkpoints below an address.
#[derive(Debug)]
pub struct ObjectStoreAnchor {
    place: Place,
    name: String,
}

impl ObjectStoreAnchor {
    /// Puts `URL/00000000000000000042.txt` for checkpoint 42.
    pub fn new(url: &str, token: Option<Secret>) -> Result<Self, AnchorError> {
        let place = Place::open(url, token)?;
        let name = format!("put:{}", place.shown());
        Ok(Self { place, name })
    }
}

#[async_trait]
impl Anchor for ObjectStoreAnchor {
    fn name(&self) -> &str {
        &self.name
    }

    async fn keep(&self, checkpoint: &AnchoredCheckpoint) -> Result<(), AnchorError> {
        let url = self.place.below(&super::object(checkpoint.number));
        self.place.send(Method::PUT, url, "text/plain; charset=utf-8", checkpoint.note.clone()).await
    }
}
