//! Log lines, on standard error.

use tracing_subscriber::EnvFilter;

use super::config::Config;
use super::settings::LogFormat;

/// Starts logging. An unreadable filter is `info`.
pub(crate) fn start(config: &Config) {
    let filter = EnvFilter::try_new(&config.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => lines.with_target(false).with_ansi(false).init(),
        LogFormat::Json => lines.json().init(),
    }
}
