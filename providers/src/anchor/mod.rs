//! The anchor port: witnesses of the ledger outside the database.
//!
//! An anchor is named by one word of configuration: `file:PATH`, `webhook:URL` or `put:URL`.

pub mod file;
mod http;
pub mod object_store;
pub mod webhook;

use std::path::Path;
use std::sync::Arc;

use domain::ports::anchor::{Anchor, AnchorError};
use domain::secret::Secret;

use self::file::FileAnchor;
use self::object_store::ObjectStoreAnchor;
use self::webhook::WebhookAnchor;

/// The anchor that a word of configuration names. Relative paths begin at `base`; `token` is sent as bearer to those
/// that are reached by HTTP.
pub fn open(word: &str, base: &Path, token: Option<&Secret>) -> Result<Arc<dyn Anchor>, AnchorError> {
    let unknown = || AnchorError(format!("{word:?} is no anchor: file:PATH, webhook:URL and put:URL are"));
    let (kind, place) = word.split_once(':').ok_or_else(unknown)?;
    Ok(match kind {
        "file" if !place.is_empty() => Arc::new(FileAnchor::new(base.join(place))),
        "webhook" => Arc::new(WebhookAnchor::new(place, token.cloned())?),
        "put" => Arc::new(ObjectStoreAnchor::new(place, token.cloned())?),
        _ => return Err(unknown()),
    })
}

#[cfg(test)]
mod tests;
