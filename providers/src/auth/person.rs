//! Who somebody is by his claims.

use domain::ports::auth::Identity;
use domain::team::MemberRole;
use domain::values::{Email, PersonName, Slug};
use serde_json::{Map, Value};

use super::options::{TeamClaim, team_role};

/// Teams of one claim that are looked at.
const MOST_TEAMS: usize = 100;

/// The person of these claims. What is no name of ours is none.
pub(super) fn of_claims(
    issuer: &str,
    claims: &Map<String, Value>,
    team_claim: Option<&TeamClaim>,
) -> Identity {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let verified = claims.get("email_verified") == Some(&Value::Bool(true));
    let (first, last) = match (text("given_name"), text("family_name")) {
        (None, None) => split(text("name").unwrap_or_default()),
        (first, last) => (first.unwrap_or_default(), last.unwrap_or_default()),
    };
    Identity {
        issuer: issuer.to_owned(),
        subject: text("sub").unwrap_or_default().to_owned(),
        email: text("email").filter(|_| verified).and_then(|email| email.parse::<Email>().ok()),
        first_name: name(first),
        last_name: name(last),
        teams: team_claim.map(|claim| teams(claims.get(&claim.name), claim.role)).unwrap_or_default(),
    }
}

/// Teams by their slugs, `acme`, or with a role, `acme:viewer`. What names none is passed by: a claim names groups that
/// mean something elsewhere.
fn teams(claim: Option<&Value>, role: MemberRole) -> Vec<(Slug, MemberRole)> {
    let named: &[Value] = match claim {
        Some(Value::Array(all)) => all,
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    let team = |text: &str| {
        // Keycloak's groups are paths.
        let (slug, given) = match text.trim_start_matches('/').split_once(':') {
            Some((slug, role)) => (slug, team_role(role)?),
            None => (text.trim_start_matches('/'), role),
        };
        Some((slug.parse().ok()?, given))
    };
    named.iter().take(MOST_TEAMS).filter_map(Value::as_str).filter_map(team).collect()
}

/// A name as we keep it, or none.
pub(super) fn name(text: &str) -> String {
    text.parse::<PersonName>().map(|name| name.as_str().to_owned()).unwrap_or_default()
}

/// First and last name of a whole one.
pub(super) fn split(whole: &str) -> (&str, &str) {
    whole.trim().split_once(' ').unwrap_or((whole.trim(), ""))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(claims: Value) -> Identity {
        of_claims("https://id.example.org", claims.as_object().unwrap(), None)
    }

    #[test]
    fn an_address_counts_only_when_it_is_verified() {
        let with = |verified: Value| {
            of(json!({ "sub": "1", "email": "ann@example.org", "email_verified": verified })).email
        };
        assert!(with(json!(true)).is_some());
        for not in [json!(false), json!("true"), json!(1), Value::Null] {
            assert_eq!(with(not.clone()), None, "{not}");
        }
        assert_eq!(of(json!({ "sub": "1", "email": "ann@example.org" })).email, None);
    }

    #[test]
    fn a_claim_names_teams_and_makes_no_owner() {
        let claim = TeamClaim { name: "groups".to_owned(), role: MemberRole::Developer };
        let of = |groups: Value| {
            let claims = json!({ "sub": "1", "groups": groups });
            let teams = of_claims("https://id.example.org", claims.as_object().unwrap(), Some(&claim)).teams;
            teams.iter().map(|(slug, role)| format!("{} {role:?}", slug.as_str())).collect::<Vec<_>>()
        };
        assert_eq!(of(json!("acme")), ["acme Developer"]);
        let several = json!(["/acme", "bolt:admin", "bolt:owner", "bolt:", "No Slug", 7, null, "a/b"]);
        assert_eq!(of(several), ["acme Developer", "bolt Admin"]);
        assert!(of(Value::Null).is_empty() && of(json!({ "acme": true })).is_empty());
        let many: Vec<_> = (0..1000).map(|n| format!("team-{n}")).collect();
        assert_eq!(of(json!(many)).len(), MOST_TEAMS);
    }

    #[test]
    fn a_name_is_taken_as_it_comes() {
        let both = of(json!({ "sub": "1", "given_name": "Ada", "family_name": "King", "name": "x" }));
        assert_eq!((both.first_name.as_str(), both.last_name.as_str()), ("Ada", "King"));
        let whole = of(json!({ "sub": "1", "name": "Ada King Noel" }));
        assert_eq!((whole.first_name.as_str(), whole.last_name.as_str()), ("Ada", "King Noel"));
        let odd = of(json!({ "sub": "1", "given_name": "a\u{0}b", "name": 7 }));
        assert_eq!((odd.first_name.as_str(), odd.last_name.as_str()), ("", ""));
    }
}
