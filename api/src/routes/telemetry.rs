//! Routes of telemetry: in by the token of a project, out by rights.

use domain::policy::Action::Read;
use domain::policy::Resource::{Logs, Metrics, Traces};

use super::{Route, get, post};
use crate::gate::Needs::{Credential, Project, Sender};
use crate::{error_groups, export, log_records, measurements, scores, telemetry, traces};

pub(super) fn telemetry_routes() -> Vec<Route> {
    [in_routes(), log_and_metric_routes(), trace_routes(), export_routes()].into_iter().flatten().collect()
}

fn in_routes() -> Vec<Route> {
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
        .also(&[400, 402, 408, 415]),
        post("/v1/logs", Sender, "Takes lines in: OTLP/HTTP, protobuf or JSON", telemetry::otlp_logs)
            .answers(&["application/json", "application/x-protobuf"])
            .also(&[400, 408, 415]),
        post(
            "/projects/{project}/ai/logs/publish",
            Sender,
            "Takes lines in: Mastra's own exporter",
            telemetry::mastra_logs,
        )
        .gives::<telemetry::Accepted>()
        .also(&[400, 402, 408, 415]),
        post(
            "/v1/metrics",
            Sender,
            "Takes measurements in: OTLP/HTTP, protobuf or JSON",
            telemetry::otlp_metrics,
        )
        .answers(&["application/json", "application/x-protobuf"])
        .also(&[400, 408, 415]),
        post(
            "/projects/{project}/ai/metrics/publish",
            Sender,
            "Takes measurements in: Mastra's own exporter",
            telemetry::mastra_metrics,
        )
        .gives::<telemetry::Accepted>()
        .also(&[400, 402, 408, 415]),
        post(
            "/projects/{project}/ai/scores/publish",
            Sender,
            "Takes scores in: Mastra's own exporter",
            telemetry::mastra_scores,
        )
        .gives::<telemetry::Accepted>()
        .also(&[400, 402, 408, 415]),
        post(
            "/projects/{project}/ai/feedback/publish",
            Sender,
            "Takes feedback in: Mastra's own exporter",
            telemetry::mastra_feedback,
        )
        .gives::<telemetry::Accepted>()
        .also(&[400, 402, 408, 415]),
        post("/api/v1/projects/{project}/scores", Sender, "Takes one score in", telemetry::one_score)
            .gives::<telemetry::Accepted>()
            .also(&[408]),
    ]
}

fn log_and_metric_routes() -> Vec<Route> {
    vec![
        get(
            "/api/v1/projects/{project}/logs",
            Project(Logs, Read),
            "Lines that the servers of a project logged, newest first",
            log_records::list,
        )
        .lists::<log_records::LineView>(),
        get(
            "/api/v1/projects/{project}/logs/stream",
            Project(Logs, Read),
            "Lines that the servers of a project log, as they come",
            log_records::tail,
        )
        .answers(&["text/event-stream"]),
        get(
            "/api/v1/projects/{project}/metrics",
            Project(Metrics, Read),
            "Numbers made of measurements, by step and group",
            measurements::reckon,
        )
        .gives::<measurements::MetricsView>(),
        get(
            "/api/v1/projects/{project}/metrics/names",
            Project(Metrics, Read),
            "What is measured",
            measurements::names,
        )
        .gives::<measurements::MetricNames>(),
    ]
}

fn export_routes() -> Vec<Route> {
    let of = |path, resource, what| (path, Project(resource, Read), what);
    let (spans, needs_spans, what_spans) =
        of("/api/v1/projects/{project}/spans/export", Traces, "Spans of a project as a file, newest first");
    let (logs, needs_logs, what_logs) =
        of("/api/v1/projects/{project}/logs/export", Logs, "Lines of a project as a file, newest first");
    let (scores, needs_scores, what_scores) =
        of("/api/v1/projects/{project}/scores/export", Traces, "Scores of a project as a file, newest first");
    vec![
        get(spans, needs_spans, what_spans, export::spans).answers(NDJSON).also(&[503]),
        get(logs, needs_logs, what_logs, export::logs).answers(NDJSON).also(&[503]),
        get(scores, needs_scores, what_scores, export::scores).answers(NDJSON).also(&[503]),
    ]
}

const NDJSON: &[&str] = &["application/x-ndjson"];

fn trace_routes() -> Vec<Route> {
    vec![
        get(
            "/api/v1/projects/{project}/scores",
            Project(Traces, Read),
            "Scores and feedback of a project, newest first",
            scores::list,
        )
        .lists::<scores::ScoreView>(),
        get(
            "/api/v1/projects/{project}/errors",
            Project(Traces, Read),
            "Errors of a project, those that are alike together",
            error_groups::list,
        )
        .lists::<error_groups::ErrorView>(),
        get(
            "/api/v1/projects/{project}/cost-breakdown",
            Project(Traces, Read),
            "What calls of models cost, by model, deployment, day and user",
            traces::costs,
        )
        .gives::<traces::Breakdown>(),
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
            "/api/v1/traces/{trace}",
            Credential,
            "One trace, of whichever project that the caller may see has it",
            traces::find,
        )
        .gives::<traces::Tree>()
        .also(&[404]),
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
