//! Whose deployment is started next: teams take turns, so that one with a hundred that wake up at once does not keep
//! another's waiting for more than one of them: who comes alone has every place, and gives none back before a start ends.

use std::time::Duration;

use sqlx::PgPool;

use crate::work::{self, Claimed, FIRST};

/// How many of the team of row `w` are being started; whoever is not known yet is alone.
const OF_ITS_TEAM: &str = "
    (SELECT count(*) FROM work o
       JOIN deployments theirs ON theirs.id = (o.payload ->> 'deployment_id')::uuid
       JOIN deployments own ON own.team_id = theirs.team_id
      WHERE o.process = w.process AND o.state = 'running' AND o.id <> w.id
        AND own.id = (w.payload ->> 'deployment_id')::uuid)";

/// Takes a start of the team that has the fewest under way, of these the one that waits longest.
pub async fn claim(
    pool: &PgPool,
    process: &str,
    worker: &str,
    lease: Duration,
) -> sqlx::Result<Option<Claimed>> {
    work::claim_first(pool, process, worker, lease, &format!("{OF_ITS_TEAM}, {FIRST}")).await
}
