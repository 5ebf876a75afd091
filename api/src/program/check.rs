//! `mastra-admin check`: whether everything that `serve` needs is there.

use anyhow::bail;
use providers::database::embedded::{Embedded, EmbeddedConfig};
use providers::programs;
use providers::runner::local::ServerNetwork;

use super::config::Config;
use super::runner::{DockerEngine, PullKind};

/// Says what is there and what is missing; fails when something is.
#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
pub(crate) async fn check(config: Config) -> anyhow::Result<()> {
    let mut missing = 0;
    let mut programs = vec![("git", "reads repositories"), ("npm", "installs")];
    if config.docker.is_none() {
        programs.push(("bwrap", "runs builds and servers apart"));
        let networks = ["ip", "nft"].map(|program| (program, "gives servers networks of their own"));
        match config.server_network {
            ServerNetwork::Required(..) => programs.extend(networks),
            ServerNetwork::Own(..) => weaker(&networks),
            ServerNetwork::Machine => {}
        }
    }
    for (program, what) in programs {
        let found = programs::find(program).is_some();
        missing += i32::from(!found);
        println!("{} {program}: {what}", if found { "ok     " } else { "MISSING" });
    }
    let database = match &config.secrets.database_url {
        Some(url) => projections::pool::connect(url.expose_str().unwrap_or_default(), 1)
            .await
            .map(drop)
            .map_err(Into::into),
        None => embedded(&config).await,
    };
    match database {
        Ok(()) => println!("ok      database"),
        Err(error) => {
            missing += 1;
            println!("MISSING database: {error:#}");
        }
    }
    if let Some(engine) = &config.docker {
        missing += i32::from(!docker(engine).await);
    }
    match providers::auth::open(&config.auth_providers, config.secrets.auth.0.clone()) {
        Ok(providers) => println!("ok      sign-in providers: {}", providers.len()),
        Err(error) => {
            missing += 1;
            println!("MISSING sign-in providers: {error}");
        }
    }
    match artifacts(&config).await {
        Ok(()) => println!("ok      artifacts"),
        Err(error) => {
            missing += 1;
            println!("MISSING artifacts: {error:#}");
        }
    }
    match super::serve::email(&config) {
        Ok(_) => println!("ok      mail settings"),
        Err(error) => {
            missing += 1;
            println!("MISSING mail settings: {error:#}");
        }
    }
    match super::telemetry::look(&config).await {
        Ok(store) => println!("ok      telemetry: {store}"),
        Err(error) => {
            missing += 1;
            println!("MISSING telemetry: {error:#}");
        }
    }
    if missing > 0 {
        bail!("{missing} of the things that `serve` needs are missing");
    }
    Ok(())
}

/// Says which programs are not there, where that is no reason not to start.
#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
fn weaker(programs: &[(&str, &str)]) {
    for (program, what) in programs {
        println!(
            "{} {program}: {what}",
            if programs::find(program).is_some() { "ok     " } else { "absent " }
        );
    }
}

/// Says whether the Docker engine can be reached, and whether it has or may pull the base image.
#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
async fn docker(engine: &DockerEngine) -> bool {
    let report = match providers::runner::docker::inspect(&engine.host, &engine.image).await {
        Ok(report) => report,
        Err(error) => {
            println!("MISSING Docker engine at {}: {error}", engine.host);
            return false;
        }
    };
    println!("ok      Docker engine {} at {} (API {})", report.version, engine.host, report.api_version);
    match (report.has_image, engine.pull) {
        (true, _) => println!("ok      base image {}", engine.image),
        (false, PullKind::Never) => println!("MISSING base image {}: pull it", engine.image),
        (false, _) => {
            println!("ok      base image {}: not there yet, the first build pulls it", engine.image)
        }
    }
    report.has_image || engine.pull != PullKind::Never
}

/// Writes something where artifacts are kept, and removes it.
async fn artifacts(config: &Config) -> anyhow::Result<()> {
    Ok(super::artifacts::open(config).await?.check().await?)
}

/// Starts the embedded server and stops it again.
async fn embedded(config: &Config) -> anyhow::Result<()> {
    let (data_dir, bin_dir) = (config.data_dir.clone(), config.postgres_bin.clone());
    Embedded::start(EmbeddedConfig { data_dir, bin_dir, durable: true }).await?.stop().await;
    Ok(())
}
