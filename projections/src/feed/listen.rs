//! Hears when another server process has appended.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgListener;

use super::Shared;

pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            heard = listen(&shared) => {
                let Err(error) = heard;
                tracing::warn!(%error, "appends of other processes are not heard; the log is looked at every second");
            }
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

async fn listen(shared: &Shared) -> Result<std::convert::Infallible, sqlx::Error> {
    let mut listener = PgListener::connect_with(&shared.pool).await?;
    listener.listen("log_appended").await?;
    loop {
        listener.recv().await?;
        shared.bell.send_modify(|rung| *rung += 1);
    }
}
