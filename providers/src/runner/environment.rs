//! The environment of builds and servers: the same whatever they run in.

use domain::build::Phase;
use domain::ports::runner::{BuildPlan, StartPlan, TelemetryAccess};
use domain::secret::Secret;
use domain::values::Resources;

use super::app::detect::PackageManager;

/// Directories as a build sees them.
pub(super) struct BuildPlaces {
    pub(super) home: &'static str,
    pub(super) cache: &'static str,
    /// For what is written and forgotten, where it is not `/tmp`.
    pub(super) tmp: Option<&'static str>,
    /// Where programs are found.
    pub(super) path: String,
}

/// What a server is told of its surroundings.
pub(super) struct ServerPlaces {
    pub(super) home: &'static str,
    pub(super) app: &'static str,
    pub(super) path: String,
    /// Where it is to listen.
    pub(super) host: String,
    pub(super) port: u16,
}

/// Later ones win: the project's over the platform's, but for what makes the tools work at all.
pub(super) fn of_build(
    plan: &BuildPlan,
    limits: Resources,
    phase: Phase,
    manager: PackageManager,
    tools: &[(String, String)],
    places: BuildPlaces,
) -> Vec<(String, Secret)> {
    let mut env = defaults(manager, limits, places.cache);
    env.extend(tools.iter().map(|(key, value)| (key.clone(), Secret::new(value.as_str()))));
    let own = plan.env.iter().filter(|(key, _)| {
        // `mastra` is a development dependency: with NODE_ENV=production it would not be installed.
        let unwanted = phase == Phase::Installing && key.as_str() == "NODE_ENV";
        !key.is_reserved() && !unwanted
    });
    env.extend(own.map(|(key, value)| (key.to_string(), value.clone())));
    env.extend(places.tmp.map(|tmp| text("TMPDIR", tmp)));
    env.push(text("PATH", places.path));
    env.push(text("HOME", places.home));
    env
}

/// Later ones win: the project's over the platform's defaults, the reserved names over all.
pub(super) fn of_server(plan: &StartPlan, limits: Resources, places: ServerPlaces) -> Vec<(String, Secret)> {
    let mut env = vec![
        text("NODE_ENV", "production"),
        text("NODE_OPTIONS", heap_option(limits, 5, 8)),
        text("MASTRA_TELEMETRY_DISABLED", "1"),
        text("LANG", "C.UTF-8"),
        text("USER", "app"),
        text("PATH", places.path),
        text("HOME", places.home),
    ];
    let names_its_own = plan.env.iter().any(|(key, _)| key.as_str().starts_with("OTEL_EXPORTER_OTLP_"));
    if let Some(access) = plan.telemetry.as_ref().filter(|_| !names_its_own) {
        env.extend(otel(plan, access));
    }
    let own = plan.env.iter().filter(|(key, _)| !key.is_reserved());
    env.extend(own.map(|(key, value)| (key.to_string(), value.clone())));
    if let Some(access) = &plan.telemetry {
        env.extend(mastra(plan, access));
    }
    env.push(text("PORT", places.port.to_string()));
    env.push(text("MASTRA_HOST", places.host));
    env.push(text("MASTRA_PROJECT_ROOT", places.app));
    env
}

/// What Mastra's own exporters read: the one of today, and with the older names the one before it.
fn mastra(plan: &StartPlan, access: &TelemetryAccess) -> [(String, Secret); 5] {
    [
        text("MASTRA_PROJECT_ID", plan.project_id.to_string()),
        text("MASTRA_PLATFORM_OBSERVABILITY_ENDPOINT", &access.url),
        ("MASTRA_PLATFORM_ACCESS_TOKEN".to_owned(), access.token.clone()),
        text("MASTRA_CLOUD_TRACES_ENDPOINT", &access.url),
        ("MASTRA_CLOUD_ACCESS_TOKEN".to_owned(), access.token.clone()),
    ]
}

/// What every SDK of OpenTelemetry reads
/// (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>). Who names a destination of his own gets none of it:
/// the token is not for others.
fn otel(plan: &StartPlan, access: &TelemetryAccess) -> [(String, Secret); 4] {
    let headers = [b"authorization=Bearer%20", access.token.expose()].concat();
    let resource = format!("deployment.id={},deployment.cause={}", plan.deployment_id, plan.cause.event);
    [
        text("OTEL_EXPORTER_OTLP_ENDPOINT", &access.url),
        text("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS".to_owned(), Secret::new(headers)),
        text("OTEL_RESOURCE_ATTRIBUTES", resource),
    ]
}

/// Directories of tools before those of the system.
pub(super) fn path(tools: impl Iterator<Item = String>, system: &str) -> String {
    tools.chain([system.to_owned()]).collect::<Vec<_>>().join(":")
}

fn defaults(package_manager: PackageManager, limits: Resources, cache: &str) -> Vec<(String, Secret)> {
    let mut env = vec![
        text("CI", "true"),
        text("LANG", "C.UTF-8"),
        text("USER", "app"),
        text("NODE_OPTIONS", heap_option(limits, 3, 4)),
        text("MASTRA_TELEMETRY_DISABLED", "1"),
        text("npm_config_cache", format!("{cache}/npm")),
        text("npm_config_update_notifier", "false"),
        text("npm_config_fund", "false"),
        text("npm_config_audit", "false"),
        text("npm_config_prefer_offline", "true"),
    ];
    match package_manager {
        PackageManager::Npm => {}
        PackageManager::Pnpm => env.push(text("npm_config_store_dir", format!("{cache}/pnpm"))),
        PackageManager::Yarn { berry: false } => env.push(text("YARN_CACHE_FOLDER", format!("{cache}/yarn"))),
        PackageManager::Yarn { berry: true } => {
            env.push(text("YARN_GLOBAL_FOLDER", format!("{cache}/berry")))
        }
        PackageManager::Bun => env.push(text("BUN_INSTALL_CACHE_DIR", format!("{cache}/bun"))),
    }
    env
}

/// Node's own bound, as a part of the memory limit: it does not see the limit from inside a sandbox, would let
/// garbage grow beyond it, and be killed where a collection would have done.
fn heap_option(limits: Resources, part: u64, of: u64) -> String {
    let mebibytes = u64::from(limits.memory_mib.unwrap_or_default());
    format!("--max-old-space-size={}", mebibytes * part / of)
}

fn text(key: &str, value: impl Into<String>) -> (String, Secret) {
    (key.to_owned(), Secret::new(value.into()))
}
