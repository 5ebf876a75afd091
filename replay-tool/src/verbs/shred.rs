//! `shred`: destroys the keys of a person, so that all that is personal is gone, here and in every copy of the log.

use std::path::PathBuf;

use chrono::Utc;
use clap::Args;
use domain::ids::UserId;
use domain::operation::OperationEvent;
use projections::shred::{self, ShredList};
use projections::{log, operations};
use serde_json::json;

use crate::failure::{Failure, Outcome};
use crate::tool::Tool;

#[derive(Args)]
pub(crate) struct Shred {
    /// Id of the user.
    #[arg(required_unless_present = "list")]
    user: Option<UserId>,
    /// Everybody on this list: after the restore of a backup, the `shredded.ndjson` that is newer than it.
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    list: Option<PathBuf>,
}

impl Shred {
    pub(crate) async fn run(self, tool: &Tool) -> Outcome {
        let mut people = Vec::new();
        if let Some(user) = self.user {
            let known = !log::read_stream(tool.pool().await?, "user", &user.to_string()).await?.is_empty();
            if !known {
                return Err(Failure::because(format!("the log knows no user {user}")));
            }
            people.push(user);
        }
        if let Some(list) = self.list {
            let read = ShredList::at(list.clone()).read();
            let read = read.map_err(|error| Failure::because(format!("the list cannot be read: {error}")))?;
            if read.is_empty() {
                return Err(Failure::because(format!("there is nobody on the list {}", list.display())));
            }
            people.extend(read.iter().map(|shredded| shredded.user));
        }
        for user in people {
            let done = one(tool, user).await?;
            let words = if done { "is erased" } else { "was erased before" };
            tool.say(&format!("{user} {words}"), &json!({ "user": user, "erased": true, "before": !done }))?;
        }
        Ok(())
    }
}

/// False when there was nothing left to destroy. The server, when it runs, ends memberships because of the event.
async fn one(tool: &Tool, user: UserId) -> Result<bool, Failure> {
    let mut tx = tool.pool().await?.begin().await?;
    // On the list first: once it is done, no backup brings anybody back.
    let list = ShredList::new(tool.data_dir());
    list.add(user, Utc::now()).map_err(|error| {
        Failure::because(format!("{user} cannot be put on the list of the data dir: {error}"))
    })?;
    if shred::is_erased(&mut *tx, user).await? {
        return Ok(false);
    }
    shred::erase(&mut *tx, user).await?;
    operations::record(&mut tx, &tool.actor, &OperationEvent::PersonShredded { user_id: user }).await?;
    tx.commit().await?;
    Ok(true)
}
