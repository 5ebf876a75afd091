//! Artifacts in a bucket of S3, or of what speaks it: MinIO, Ceph, R2, Garage.
//!
//! Uploads are streamed in parts and tried again part by part. One that fails or is not wanted any more is
//! ended with its parts; one that was cut off by the end of the platform leaves parts that nobody sees: a lifecycle rule
//! of the bucket removes them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use domain::ports::artifacts::{Artifact, ArtifactError, Artifacts, Removal};
use domain::secret::Secret;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::path::Path as Key;
use object_store::{Error, MultipartUpload, ObjectStore, ObjectStoreExt, RetryConfig};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;

use super::{blocking, digest, explain, missing};

/// Bytes of one part of an upload, and of what is sent without parts. 10 000 parts are 80 GiB.
const PART: usize = 8 << 20;
/// Parts that are under way at a time: they are in memory.
const PARTS: usize = 4;

/// How often a request is sent again that failed by the network's or the server's fault, with growing pauses, and for
/// how long. Then it is the build's or deployment's turn to wait for its next try.
const RETRIES: usize = 5;
const PATIENCE: Duration = Duration::from_secs(60);

/// What has to be known of a bucket.
#[derive(Clone, Debug)]
pub struct S3Config {
    /// `https://s3.example.org`; absent for AWS itself. `http` only where the network is trusted.
    pub endpoint: Option<String>,
    /// The bucket, which is there.
    pub bucket: String,
    /// What all keys begin with; may be empty.
    pub prefix: String,
    /// Its region.
    pub region: String,
    /// Id of the access key.
    pub access_key_id: Secret,
    /// The access key.
    pub secret_access_key: Secret,
}

/// The bucket, signed for and patient. Asks nobody yet.
pub(crate) fn bucket(config: &S3Config) -> object_store::Result<AmazonS3> {
    let text = |secret: &Secret| secret.expose_str().unwrap_or_default().to_owned();
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&config.bucket)
        .with_region(&config.region)
        .with_access_key_id(text(&config.access_key_id))
        .with_secret_access_key(text(&config.secret_access_key))
        .with_checksum_algorithm(Checksum::SHA256)
        .with_retry(RetryConfig { max_retries: RETRIES, retry_timeout: PATIENCE, ..RetryConfig::default() });
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
    }
    builder.build()
}

/// A bucket: `PREFIX/ab/cd/abcd….tar.zst`.
#[derive(Clone, Debug)]
pub struct S3Artifacts {
    store: Arc<dyn ObjectStore>,
    prefix: Key,
}

impl S3Artifacts {
    /// Asks nobody yet: `check` does.
    pub fn new(config: &S3Config) -> Result<Self, ArtifactError> {
        let store = bucket(config).map_err(|error| failed(&error))?;
        let prefix = Key::parse(&config.prefix).map_err(|error| failed(&error.into()))?;
        Ok(Self { store: Arc::new(store), prefix })
    }

    fn key(&self, artifact: &Artifact) -> Result<Key, ArtifactError> {
        if !artifact.has_hash() {
            return Err(missing(artifact));
        }
        let sha256 = artifact.sha256.as_str();
        let place = self.prefix.clone().join(&sha256[..2]).join(&sha256[2..4]);
        Ok(place.join(format!("{sha256}.tar.zst")))
    }

    /// Sends a file; nothing is seen of it before it is whole and as it was hashed.
    async fn upload(&self, path: &Path, artifact: &Artifact) -> Result<(), ArtifactError> {
        let key = self.key(artifact)?;
        let mut file = tokio::fs::File::open(path).await.map_err(|error| explain(&error))?;
        let mut part = piece(&mut file).await?;
        if part.len() < PART {
            as_it_was(Sha256::digest(&part), artifact)?;
            return self.store.put(&key, part.into()).await.map(drop).map_err(|error| failed(&error));
        }
        let mut upload = Upload(Some(self.store.put_multipart(&key).await.map_err(|error| failed(&error))?));
        let sent = upload.send(&mut file, &mut part, artifact).await;
        // Whoever is cut off here ends it too, and after a success there is nothing to end.
        match sent {
            Ok(()) => upload.0 = None,
            Err(_) => upload.end().await,
        }
        sent
    }

    /// Receives into a file beside `to`, which gets its name when all is as it should be.
    async fn download(&self, artifact: &Artifact, to: &Path) -> Result<(), ArtifactError> {
        let parent = to.parent().ok_or_else(|| missing(artifact))?.to_owned();
        let found = self.store.get(&self.key(artifact)?).await.map_err(|error| match error {
            // Where the bucket is not there, nothing is known of what was in it.
            Error::NotFound { source, .. } if !source.to_string().contains("NoSuchBucket") => {
                missing(artifact)
            }
            error => failed(&error),
        })?;
        if found.meta.size != artifact.bytes {
            return Err(missing(artifact));
        }
        let new = blocking(move || NamedTempFile::new_in(parent)).await?.map_err(|error| explain(&error))?;
        let (file, name) = new.into_parts();
        let (mut file, mut hash) = (tokio::fs::File::from_std(file), Sha256::new());
        let mut stream = found.into_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| failed(&error))?;
            hash.update(&chunk);
            file.write_all(&chunk).await.map_err(|error| explain(&error))?;
        }
        file.flush().await.map_err(|error| explain(&error))?;
        if hex::encode(hash.finalize()) != artifact.sha256 {
            return Err(missing(artifact));
        }
        name.persist_noclobber(to).map_err(|error| explain(&error.error))
    }
}

#[async_trait]
impl Artifacts for S3Artifacts {
    async fn put(&self, path: &Path) -> Result<Artifact, ArtifactError> {
        let file = path.to_owned();
        let artifact = blocking(move || digest(&file)).await?.map_err(|error| explain(&error))?;
        // Also what is there already: it may be damaged, and counts as put now.
        self.upload(path, &artifact).await?;
        Ok(artifact)
    }

    async fn get(&self, artifact: &Artifact, to: &Path) -> Result<(), ArtifactError> {
        self.download(artifact, to).await
    }

    async fn remove(&self, artifact: &Artifact, since: SystemTime) -> Result<Removal, ArtifactError> {
        let key = self.key(artifact)?;
        match self.store.head(&key).await {
            Err(Error::NotFound { .. }) => return Ok(Removal::Gone),
            Err(error) => return Err(failed(&error)),
            Ok(found) if SystemTime::from(found.last_modified) >= since => return Ok(Removal::Spared),
            Ok(_) => {}
        }
        match self.store.delete(&key).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(Removal::Gone),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn check(&self) -> Result<(), ArtifactError> {
        let key = self.prefix.clone().join(format!("check-{}", uuid::Uuid::now_v7()));
        let written = "mastra-admin";
        self.store.put(&key, written.into()).await.map_err(|error| failed(&error))?;
        let read = self.store.get(&key).await.map_err(|error| failed(&error))?;
        let read = read.bytes().await.map_err(|error| failed(&error))?;
        self.store.delete(&key).await.map_err(|error| failed(&error))?;
        if read == written.as_bytes() {
            return Ok(());
        }
        Err(ArtifactError::Unavailable("it answers with other bytes than it was given".to_owned()))
    }
}

/// The next bytes of a file, as many as a part has; fewer at its end.
async fn piece(file: &mut tokio::fs::File) -> Result<Vec<u8>, ArtifactError> {
    let mut bytes = Vec::new();
    file.take(PART as u64).read_to_end(&mut bytes).await.map_err(|error| explain(&error))?;
    Ok(bytes)
}

/// The bytes that were sent are those that were hashed before.
fn as_it_was(hash: impl AsRef<[u8]>, artifact: &Artifact) -> Result<(), ArtifactError> {
    let changed = || ArtifactError::Unavailable("the file was changed while it was sent".to_owned());
    (hex::encode(hash) == artifact.sha256).then_some(()).ok_or_else(changed)
}

/// What is being sent in parts. Dropped before it is whole, it is ended: nobody pays for parts that nobody sees.
struct Upload(Option<Box<dyn MultipartUpload>>);

impl Upload {
    /// Sends `part` and what the file has after it, several parts at a time.
    async fn send(
        &mut self,
        file: &mut tokio::fs::File,
        part: &mut Vec<u8>,
        artifact: &Artifact,
    ) -> Result<(), ArtifactError> {
        let upload = self.0.as_mut().expect("it is taken at its end alone");
        let (mut hash, mut parts) = (Sha256::new(), FuturesUnordered::new());
        while !part.is_empty() {
            hash.update(&part);
            parts.push(upload.put_part(std::mem::take(part).into()));
            if parts.len() == PARTS {
                parts.try_next().await.map_err(|error| failed(&error))?;
            }
            *part = piece(file).await?;
        }
        while parts.try_next().await.map_err(|error| failed(&error))?.is_some() {}
        as_it_was(hash.finalize(), artifact)?;
        upload.complete().await.map(drop).map_err(|error| failed(&error))
    }

    async fn end(mut self) {
        if let Some(mut upload) = self.0.take() {
            let _parts_stay = upload.abort().await;
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(mut upload) = self.0.take() else { return };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { upload.abort().await });
        }
    }
}

/// In the store's own words.
fn failed(error: &Error) -> ArtifactError {
    ArtifactError::Unavailable(error.to_string())
}
