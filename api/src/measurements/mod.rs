//! Measurements of deployed servers: `GET /projects/{project}/metrics`, `GET …/metrics/names`.

mod names;
mod reckon;

pub(crate) use names::{MetricNames, handler as names};
pub(crate) use reckon::{Answer as MetricsView, handler as reckon};
