//! The part of the table that is about what happened.

use domain::policy::Action::Read;
use domain::policy::Resource::Audit;

use super::{Route, get};
use crate::gate::Needs::{Cause, SignedIn, TeamPart};
use crate::{audit, events};

pub(super) fn audit_routes() -> Vec<Route> {
    vec![
        get("/api/v1/teams/{team}/audit", TeamPart(Audit, Read), "Who did what", audit::list)
            .lists::<audit::View>(),
        get(
            "/api/v1/teams/{team}/audit/export",
            TeamPart(Audit, Read),
            "Who did what, all of it: JSON lines, CSV, or OCSF events as JSON lines",
            audit::export::handler,
        )
        .answers(&["application/x-ndjson", "text/csv"]),
        get(
            "/api/v1/causation/{event}",
            Cause(Audit, Read),
            "What led to an event, and what it led to",
            audit::causation::handler,
        ),
        get("/api/v1/events", SignedIn, "Events in their order, of all that one may audit", events::list)
            .lists::<audit::View>(),
        get(
            "/api/v1/events/stream",
            SignedIn,
            "Events as they happen, of all that one may audit",
            events::stream,
        )
        .answers(&["text/event-stream"]),
    ]
}
