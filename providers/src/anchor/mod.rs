//! The anchor port: witnesses of the ledger outside the database.
//!
//! An anchor is named by one word of configuration: `file:PATH`, `s3:BUCKET/PREFIX`, `webhook:URL` or `put:URL`.

pub mod file;
mod http;
pub mod object_store;
pub mod s3;
pub mod webhook;

use std::path::Path;
use std::sync::Arc;

use domain::ports::anchor::{Anchor, AnchorError};
use domain::secret::Secret;

use self::file::FileAnchor;
use self::object_store::ObjectStoreAnchor;
use self::s3::S3Anchor;
use self::webhook::WebhookAnchor;

/// What opens the places of anchors.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// Sent as bearer to those that are reached by HTTP.
    pub token: Option<Secret>,
    /// Id and key of who may write into a bucket.
    pub s3: Option<(Secret, Secret)>,
}

/// The anchor that a word of configuration names. Relative paths begin at `base`.
pub fn open(word: &str, base: &Path, keys: &Keys) -> Result<Arc<dyn Anchor>, AnchorError> {
    let unknown = || {
        let known = "file:PATH, s3:BUCKET/PREFIX, webhook:URL and put:URL are";
        AnchorError(format!("{word:?} is no anchor: {known}"))
    };
    let (kind, place) = word.split_once(':').ok_or_else(unknown)?;
    Ok(match kind {
        "file" if !place.is_empty() => Arc::new(FileAnchor::new(base.join(place))),
        "s3" => {
            let missing = || AnchorError("an anchor in a bucket needs an access key".to_owned());
            Arc::new(S3Anchor::new(place, keys.s3.clone().ok_or_else(missing)?)?)
        }
        "webhook" => Arc::new(WebhookAnchor::new(place, keys.token.clone())?),
        "put" => Arc::new(ObjectStoreAnchor::new(place, keys.token.clone())?),
        _ => return Err(unknown()),
    })
}

/// The name of a checkpoint's object: names are in the order of numbers.
fn object(number: i64) -> String {
    format!("{number:020}.txt")
}

#[cfg(test)]
mod tests;
