//! Which database: the one that `DATABASE_URL` names, or the embedded one of a running server.

use std::path::Path;

use sqlx::PgPool;

use crate::Failure;

/// Connects.
pub(crate) async fn connect(data_dir: &Path) -> Result<PgPool, Failure> {
    let url = match std::env::var("DATABASE_URL") {
        Ok(url) if !url.is_empty() => url,
        _ => embedded(data_dir).ok_or_else(|| {
            Failure::Broken(format!(
                "no embedded PostgreSQL runs below {}: start the server, name another --data-dir, or set DATABASE_URL",
                data_dir.display()
            ))
        })?,
    };
    Ok(projections::pool::connect(&url, 4).await?)
}

/// The address of the embedded server, from the file in which PostgreSQL says where its socket is.
fn embedded(data_dir: &Path) -> Option<String> {
    let cluster = std::fs::canonicalize(data_dir).ok()?.join("postgres");
    let pid_file = std::fs::read_to_string(cluster.join("postmaster.pid")).ok()?;
    let mut lines = pid_file.lines().skip(3);
    let port = lines.next()?.trim().to_owned();
    let socket_dir = std::fs::canonicalize(cluster.join(lines.next()?.trim())).ok()?;
    // Percent-encoded byte by byte: nothing in a path can then end the parameter.
    let host: String = socket_dir.to_str()?.bytes().map(|byte| format!("%{byte:02X}")).collect();
    Some(format!("postgres://mastra_admin@localhost:{port}/mastra_admin?host={host}&sslmode=disable"))
}
