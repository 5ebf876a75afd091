//! What `docs/telemetry.md` tells to do, done word by word.

use std::process::Output;

use tests::app::TestApp;
use tests::client::Client;
use tests::documented::snippets;
use tests::python;
use tests::world::Project;
use tokio::process::Command;

use super::open;

/// Runs shell as it is shown, with what it takes for granted, and with what comes after it.
async fn run(app: &TestApp, project: &Project, sender: &Client, shown: &str, then: &str) -> Output {
    let mut shell = Command::new("bash");
    shell.args(["-e", "-c", &format!("{shown}{then}")]);
    shell.env("URL", &app.url).env("PROJECT", &project.id).env("TOKEN", sender.token().unwrap());
    let output = shell.kill_on_drop(true).output().await.unwrap();
    assert!(output.status.success(), "{shown}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[tokio::test]
async fn what_is_shown_of_sending_works() {
    let app = TestApp::start().await;
    let (owner, project, sender) = open(&app).await;
    let shown = snippets("telemetry.md", "sh");
    let find = |part: &str| shown.iter().find(|it| it.contains(part)).unwrap_or_else(|| panic!("{part}"));

    run(&app, &project, &sender, find("/ai/spans/publish"), "").await;
    run(&app, &project, &sender, find("/scores"), "").await;
    let python = python::environment("opentelemetry").await.join("python");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/opentelemetry/send_as_told.py");
    let exported = format!("set -a\n{}", find("OTEL_EXPORTER_OTLP_ENDPOINT"));
    run(&app, &project, &sender, &exported, &format!("{} {script}\n", python.display())).await;

    let get = async |what: &str| {
        let all = owner.get(&format!("/projects/{}/{what}", project.id)).await.expect(200);
        let names = all["items"].as_array().unwrap().iter();
        let mut names: Vec<String> = names.map(|it| it["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(get("traces").await, ["hello", "told by the environment"]);
    assert_eq!(get("scores").await, ["relevance"]);

    // What Mastra's exporter is told by hand is what a deployed server is told (`deployed`).
    let of_mastra = find("MASTRA_PLATFORM_OBSERVABILITY_ENDPOINT");
    let told = run(&app, &project, &sender, &format!("set -a\n{of_mastra}"), "env\n").await;
    let told = String::from_utf8(told.stdout).unwrap();
    for (name, value) in [
        ("MASTRA_PLATFORM_OBSERVABILITY_ENDPOINT", app.url.as_str()),
        ("MASTRA_PLATFORM_ACCESS_TOKEN", sender.token().unwrap()),
        ("MASTRA_PROJECT_ID", &project.id),
    ] {
        assert!(told.lines().any(|line| line == format!("{name}={value}")), "{name}");
    }
}
