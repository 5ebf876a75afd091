//! Routes of telemetry: in by the token of a project, out by rights.

use domain::policy::Action::Read;
use domain::policy::Resource::Traces;

use super::{Route, get, post};
use crate::gate::Needs::{Project, Sender};
use crate::{telemetry, traces};

pub(super) fn telemetry_routes() -> Vec<Route> {
    vec![
        post("/v1/traces", Sender, "Takes spans in: OTLP/HTTP, protobuf or JSON", telemetry::traces)
            .answers(&["application/json", "application/x-protobuf"])
            .also(&[400, 408, 415]),
        post(
            "/projects/{project}/ai/spans/publish",
            Sender,
            "Takes spans in: Mastra's own exporter",
            telemetry::mastra_spans,
        )
        .gives::<telemetry::Accepted>()
        .also(&[400, 408, 415]),
        get(
            "/api/v1/projects/{project}/traces",
            Project(Traces, Read),
            "Traces of a project, newest first",
            traces::list,
        )
        .lists::<traces::TraceView>(),
        get(
            "/api/v1/projects/{project}/traces/{trace}",
            Project(Traces, Read),
            "One trace with the tree of its spans",
            traces::show,
        )
        .gives::<traces::Tree>(),
        get(
            "/api/v1/projects/{project}/usage-by-model",
            Project(Traces, Read),
            "Calls, tokens and cost by model",
            traces::usage,
        )
        .lists::<traces::ModelView>(),
        get(
            "/api/v1/projects/{project}/stats",
            Project(Traces, Read),
            "How many traces there were, and how long they took",
            traces::stats,
        )
        .gives::<traces::StatsView>(),
    ]
}
