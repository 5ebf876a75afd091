//! A server that speaks S3 (PyPI `moto`), in a process of its own.

use tokio::process::Child;

use crate::python;

/// Its bucket.
pub const BUCKET: &str = "packed";

/// The server. Dropping it kills it.
pub struct Bucket {
    /// `http://127.0.0.1:PORT`
    pub endpoint: String,
    _child: Child,
}

impl Bucket {
    /// Starts it with an empty bucket; the first time, pip brings what it needs.
    pub async fn start() -> Self {
        let (child, port) = python::start("s3", "server.py", &[]).await;
        Self { endpoint: format!("http://127.0.0.1:{port}"), _child: child }
    }

    /// Where an object is read and written without a signature.
    pub fn url(&self, key: &str) -> String {
        format!("{}/{BUCKET}/{key}", self.endpoint)
    }

    /// Settings of a platform that keeps its artifacts here.
    pub fn settings(&self) -> [(&str, &str); 5] {
        [
            ("MASTRA_ADMIN_ARTIFACTS", "s3"),
            ("MASTRA_ADMIN_S3_ENDPOINT", &self.endpoint),
            ("MASTRA_ADMIN_S3_BUCKET", BUCKET),
            ("MASTRA_ADMIN_S3_ACCESS_KEY_ID", "test"),
            ("MASTRA_ADMIN_S3_SECRET_ACCESS_KEY", "test"),
        ]
    }
}
