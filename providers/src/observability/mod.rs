//! Where output and telemetry are kept.
