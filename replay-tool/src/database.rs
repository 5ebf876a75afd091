//! Finds the database: the one that was named, or the embedded one of a data dir.

use std::fs;
use std::path::Path;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::{Connection, PgConnection, PgPool};

use crate::Place;
use crate::failure::Failure;

/// One connection for us, one to spare.
const CONNECTIONS: u32 = 2;

pub(crate) async fn connect(place: &Place) -> Result<PgPool, Failure> {
    let url = match place.database_url.as_ref().filter(|url| !url.is_empty()) {
        Some(url) => url.clone(),
        None => embedded(&place.data_dir).ok_or_else(|| {
            let data_dir = place.data_dir.display();
            Failure::Error(format!(
                "no embedded PostgreSQL runs for {data_dir}: start the server, or name a database with --database-url"
            ))
        })?,
    };
    let unreachable = |error| Failure::Error(format!("the database cannot be reached: {error}"));
    // At once or not at all: a pool would try again for a while.
    PgConnection::connect(&url).await.map_err(unreachable)?.close().await.map_err(unreachable)?;
    let pool = projections::pool::connect(&url, CONNECTIONS).await.map_err(unreachable)?;
    let has_log =
        "SELECT to_regclass('public.events') IS NOT NULL AND to_regclass('public.consumers') IS NOT NULL";
    if sqlx::query_scalar(has_log).fetch_one(&pool).await? {
        return Ok(pool);
    }
    Err(Failure::Error("there is no log in this database: the server makes it when it starts".to_owned()))
}

/// The URL of the embedded server that runs for this data dir, from what PostgreSQL itself notes there: port,
/// directory of the socket, state. The names of role and database are those that the platform gives.
fn embedded(data_dir: &Path) -> Option<String> {
    let cluster = fs::canonicalize(data_dir).ok()?.join("postgres");
    let noted = fs::read_to_string(cluster.join("postmaster.pid")).ok()?;
    let lines: Vec<&str> = noted.lines().map(str::trim).collect();
    let [_, _, _, port, socket_dir, _, _, "ready", ..] = lines[..] else { return None };
    let socket_dir = fs::canonicalize(cluster.join(socket_dir)).ok()?;
    let host = utf8_percent_encode(socket_dir.to_str()?, NON_ALPHANUMERIC);
    Some(format!("postgres://mastra_admin@localhost:{port}/mastra_admin?host={host}&sslmode=disable"))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn data_dir(pid_file: &str) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("postgres")).unwrap();
        fs::write(dir.path().join("postgres/postmaster.pid"), pid_file).unwrap();
        dir
    }

    #[test]
    fn the_url_is_that_of_the_socket_that_postgres_notes() {
        let dir = data_dir("12\n/x\n1700000000\n5432\n.\n\n  1 2\nready   \n");
        let url = embedded(dir.path()).unwrap();
        assert!(url.starts_with("postgres://mastra_admin@localhost:5432/mastra_admin?host=%2F"), "{url}");
        assert!(url.ends_with("%2Fpostgres&sslmode=disable"), "{url}");
    }

    #[test]
    fn a_server_that_is_not_ready_or_not_there_has_none() {
        let dir = data_dir("12\n/x\n1700000000\n5432\n.\n\n  1 2\nstarting\n");
        assert_eq!(embedded(dir.path()), None);
        fs::remove_file(dir.path().join("postgres/postmaster.pid")).unwrap();
        assert_eq!(embedded(dir.path()), None);
    }
}
