//! A bucket of S3, or of what speaks it: one object a checkpoint, `PREFIX/00000000000000000042.txt`, never overwritten.
//! Best with object lock, and with keys that may write there and nothing else.

use async_trait::async_trait;
use domain::ports::anchor::{Anchor, AnchorError, AnchoredCheckpoint};
use domain::secret::Secret;
use object_store::aws::AmazonS3;
use object_store::path::Path as Key;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode};
use url::Url;

use super::object;
use crate::artifacts::s3::{S3Config, bucket};

/// Puts checkpoints into a bucket.
#[derive(Debug)]
pub struct S3Anchor {
    store: AmazonS3,
    prefix: Key,
    name: String,
}

impl S3Anchor {
    /// `place` is `BUCKET[/PREFIX][?endpoint=URL&region=REGION]`, by default AWS itself in `us-east-1`.
    pub fn new(place: &str, (id, key): (Secret, Secret)) -> Result<Self, AnchorError> {
        let invalid = |why: &str| AnchorError(format!("an anchor in a bucket {why}"));
        // Whatever is before the bucket, its name and path are read as those of a host are.
        let place = Url::parse(&format!("s3://{place}")).map_err(|_| invalid("is BUCKET/PREFIX"))?;
        let bucket_name = place.host_str().filter(|name| !name.is_empty());
        let bucket_name = bucket_name.ok_or_else(|| invalid("needs a bucket's name"))?.to_owned();
        let mut config = S3Config {
            endpoint: None,
            bucket: bucket_name.clone(),
            prefix: place.path().trim_matches('/').to_owned(),
            region: "us-east-1".to_owned(),
            access_key_id: id,
            secret_access_key: key,
        };
        for (name, value) in place.query_pairs() {
            match &*name {
                "endpoint" => config.endpoint = Some(value.into_owned()),
                "region" => config.region = value.into_owned(),
                _ => return Err(invalid("takes endpoint and region, nothing else")),
            }
        }
        let prefix = Key::parse(&config.prefix).map_err(|_| invalid("has a prefix that no key can have"))?;
        let store = bucket(&config).map_err(|error| AnchorError(error.to_string()))?;
        let name = format!("s3:{bucket_name}/{prefix}");
        Ok(Self { store, prefix, name })
    }
}

#[async_trait]
impl Anchor for S3Anchor {
    fn name(&self) -> &str {
        &self.name
    }

    async fn keep(&self, checkpoint: &AnchoredCheckpoint) -> Result<(), AnchorError> {
        let failed = |error: Error| AnchorError(format!("{}: {error}", self.name));
        let key = self.prefix.clone().join(object(checkpoint.number));
        let put = self.store.put_opts(&key, checkpoint.note.clone().into(), PutMode::Create.into()).await;
        match put {
            Ok(_) => Ok(()),
            // Handed over before, and not heard of; or another log has written there.
            Err(Error::AlreadyExists { .. }) => {
                let there = self.store.get(&key).await.map_err(failed)?.bytes().await.map_err(failed)?;
                if there == checkpoint.note.as_bytes() {
                    return Ok(());
                }
                Err(AnchorError(format!("{}: {key} is there already and says something else", self.name)))
            }
            Err(error) => Err(failed(error)),
        }
    }
}
