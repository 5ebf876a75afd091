//! Commands about where teams are told what happens.

use reqwest::Method;
use serde_json::json;
use tests::app::TestApp;
use tests::client::Client;
use tests::world::endpoints;

use super::{Case, case};

pub(super) async fn cases(app: &TestApp, owner: &Client) -> Vec<Case> {
    let made = endpoints(app, owner).await;
    let of_team = [("team", "acme".to_owned())];
    let of_mail = [("endpoint", made.mail), ("message", made.message)];
    let of_webhook = [("endpoint", made.webhook)];
    let (post, none) = (Method::POST, json!({}));
    let create = json!({ "name": "New", "kind": "webhook", "url": "https://hooks.example/new" });
    let again = "/endpoints/{endpoint}/deliveries/{message}/redeliver";
    let (it, rotate) = ("/endpoints/{endpoint}", "/endpoints/{endpoint}/rotate");
    let (ping, replay) = ("/endpoints/{endpoint}/ping", "/endpoints/{endpoint}/replay");
    let past = json!({ "after": 0, "upto": 1 });
    vec![
        case(owner, post.clone(), "/teams/{team}/endpoints", &of_team, create, &["endpoint.created"]),
        case(
            owner,
            Method::PATCH,
            it,
            &of_webhook,
            json!({ "name": "Other", "enabled": false }),
            &["endpoint.changed", "endpoint.disabled"],
        ),
        case(owner, Method::DELETE, it, &of_webhook, none.clone(), &["endpoint.deleted"]),
        case(owner, post.clone(), rotate, &of_webhook, none.clone(), &["endpoint.secret_rotated"]),
        case(owner, post.clone(), ping, &of_mail, none.clone(), &["endpoint.pinged"]),
        case(owner, post.clone(), again, &of_mail, none, &["endpoint.redelivery_requested"]),
        case(owner, post, replay, &of_mail, past, &["endpoint.replay_requested"]),
    ]
}
