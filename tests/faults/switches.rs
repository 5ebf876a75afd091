//! A thousand deployments that take over from one another under load.

use tests::app::TestApp;
use tests::world::team_and_project;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_switches_and_no_failed_request() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let answered = tests::switches::switched(&app, &owner, &project, 1000).await;
    assert!(answered > 5000, "{answered} requests are no load");
}
