//! What goes out and what does not.

use domain::claim::ClaimScope;
use domain::team::TeamError;
use http_body_util::BodyExt;

use super::*;

fn status(error: ApiError) -> (u16, &'static str) {
    match error {
        ApiError::Problem(problem) => (problem.status().as_u16(), problem.code()),
        ApiError::DryRun(_) => (200, "dry_run"),
    }
}

fn refused(error: TeamError) -> (u16, &'static str) {
    status(CommandError::Refused(error).into())
}

#[test]
fn every_end_of_a_command_has_its_status() {
    type Team = CommandError<TeamError>;
    assert_eq!(refused(TeamError::Unknown), (404, "not_found"));
    assert_eq!(refused(TeamError::LastOwner), (409, "last_owner"));
    assert_eq!(refused(TeamError::OwnersOnly), (403, "owners_only"));
    assert_eq!(refused(TeamError::InviteOver), (410, "invite_over"));
    assert_eq!(status(Team::KeyReused.into()), (422, "idempotency_key_reused"));
    assert_eq!(status(Team::Conflict { expected: 1, actual: 2 }.into()), (409, "version_conflict"));
    assert_eq!(status(Team::DryRun(vec![]).into()), (200, "dry_run"));
    assert_eq!(status(Team::Store(StoreError::TooLarge { bytes: 1 }).into()), (413, "too_large"));
    assert_eq!(status(Team::Store(StoreError::ShuttingDown).into()), (503, "unavailable"));
    assert_eq!(status(Team::Store(sqlx::Error::PoolTimedOut.into()).into()), (503, "unavailable"));
    assert_eq!(status(Team::Store(sqlx::Error::RowNotFound.into()).into()), (500, "internal_error"));
}

#[test]
fn a_taken_name_says_which_field_it_was() {
    for (scope, field) in [(ClaimScope::TeamSlug, "slug"), (ClaimScope::UserEmail, "email")] {
        let taken: ApiError = CommandError::<TeamError>::NameTaken { scope, key: "hash".to_owned() }.into();
        let ApiError::Problem(problem) = taken else { panic!("a problem") };
        assert_eq!((problem.status().as_u16(), problem.errors()[0].field.as_str()), (409, field));
        assert!(!problem.to_json("").to_string().contains("hash"));
    }
}

#[tokio::test]
async fn a_cause_is_for_the_log_alone() {
    let io = std::io::Error::other("secret path /var/x");
    let problem = Problem::unavailable(StoreError::Database(sqlx::Error::Io(io)).into());
    let cause = problem.cause().unwrap();
    assert!(cause.contains("the database failed") && cause.contains("/var/x"), "{cause}");
    let response = problem.into_response();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["retry-after"], "2");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["status"], 503);
    assert!(!body.to_string().contains("/var/x"), "{body}");
}

#[test]
fn a_dry_run_shows_marks_and_no_ciphertext() {
    let payload = json!({ "value": { "id": "1", "key": "system", "data": "c2VjcmV0", "mark": "ab" }, "list": [{ "n": 1 }] });
    assert_eq!(without_ciphertext(payload), json!({ "value": { "mark": "ab" }, "list": [{ "n": 1 }] }));
}
