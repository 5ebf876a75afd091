//! Clerk's webhooks, which Svix sends: who there is, which organizations, and who belongs to them.
//!
//! Signed is `id.timestamp.body` by HMAC-SHA256 (<https://docs.svix.com/receiving/verifying-payloads/how-manual>).
//! What the events hold: <https://clerk.com/docs/webhooks/overview>.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use domain::ports::auth::{AuthError, Identity};
use domain::ports::news::{Change, Delivery, News, NewsError, Organization};
use domain::secret::Secret;
use domain::team::MemberRole;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::Sha256;

use super::oidc::refused;
use super::person;

/// A delivery that was signed longer ago, or so far ahead, is none: somebody may have kept it.
const PATIENCE: TimeDelta = TimeDelta::minutes(5);
/// Signatures that are looked at: a sender has one for each of its secrets.
const MOST_SIGNATURES: usize = 8;

/// What deliveries are signed with: one secret, or two while it is changed.
#[derive(Debug)]
pub(super) struct Webhooks {
    secrets: Vec<Secret>,
}

impl Webhooks {
    /// Reads secrets as Clerk shows them, `whsec_…`, between commas.
    pub(super) fn read(text: &str) -> Result<Self, AuthError> {
        let secret = |text: &str| {
            let bytes = text.trim().strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
            bytes.filter(|bytes| (24..=64).contains(&bytes.len())).map(Secret::new)
        };
        let secrets: Option<Vec<_>> = text.split(',').map(secret).collect();
        let secrets = secrets.ok_or_else(|| refused("a webhook secret begins with whsec_ and is base64"))?;
        Ok(Self { secrets })
    }

    /// What a delivery says, when it was signed with one of the secrets.
    pub(super) fn open(
        &self,
        issuer: &str,
        delivery: &Delivery<'_>,
        now: DateTime<Utc>,
    ) -> Result<News, NewsError> {
        let signed = delivery.timestamp.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        let signed = signed.ok_or(NewsError::Unproved("it does not say when it was signed"))?;
        if (now - signed).abs() > PATIENCE {
            return Err(NewsError::Unproved("it was signed too long ago, or the clocks differ"));
        }
        if delivery.id.is_empty() || !self.has_signed(delivery) {
            return Err(NewsError::Unproved("its signature is not of a secret of ours"));
        }
        let event: Event = fields(
            serde_json::from_slice(delivery.body)
                .map_err(|_| NewsError::Malformed { field: "", why: "is no JSON object".to_owned() })?,
        )?;
        event.news(issuer, signed)
    }

    fn has_signed(&self, delivery: &Delivery<'_>) -> bool {
        let given = delivery.signatures.split(' ').filter_map(|text| text.strip_prefix("v1,"));
        let given: Vec<Vec<u8>> =
            given.take(MOST_SIGNATURES).filter_map(|text| STANDARD.decode(text).ok()).collect();
        self.secrets.iter().any(|secret| {
            let mac = Hmac::<Sha256>::new_from_slice(secret.expose()).expect("HMAC takes keys of any length");
            let mac = mac.chain_update(format!("{}.{}.", delivery.id, delivery.timestamp));
            let mac = mac.chain_update(delivery.body);
            given.iter().any(|given| mac.clone().verify_slice(given).is_ok())
        })
    }
}

/// What every event has.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    data: Value,
    /// When it happened, in milliseconds of the Unix epoch.
    timestamp: Option<i64>,
}

#[derive(Deserialize)]
struct Gone {
    id: String,
}

#[derive(Deserialize)]
struct User {
    id: String,
    first_name: Option<String>,
    last_name: Option<String>,
    primary_email_address_id: Option<String>,
    #[serde(default)]
    email_addresses: Vec<Address>,
}

#[derive(Deserialize)]
struct Address {
    id: String,
    email_address: String,
    verification: Option<Verification>,
}

#[derive(Deserialize)]
struct Verification {
    status: String,
}

#[derive(Deserialize)]
struct Team {
    id: String,
    name: String,
    slug: Option<String>,
    created_by: Option<String>,
}

#[derive(Deserialize)]
struct Membership {
    organization: Team,
    public_user_data: Person,
    role: String,
}

#[derive(Deserialize)]
struct Person {
    user_id: String,
}

impl Event {
    fn news(self, issuer: &str, signed: DateTime<Utc>) -> Result<News, NewsError> {
        let at = match self.timestamp {
            None => signed,
            Some(millis) => DateTime::from_timestamp_millis(millis).ok_or_else(|| NewsError::Malformed {
                field: "timestamp",
                why: "is out of range".to_owned(),
            })?,
        };
        let (object, change) = match self.kind.as_str() {
            "user.created" | "user.updated" => {
                let user: User = fields(self.data)?;
                (format!("user/{}", user.id), Change::Person(user.identity(issuer)))
            }
            "user.deleted" => {
                let Gone { id } = fields(self.data)?;
                (format!("user/{id}"), Change::PersonGone(id))
            }
            "organization.created" | "organization.updated" => {
                let team = fields::<Team>(self.data)?.organization();
                (format!("organization/{}", team.id), Change::Organization(team))
            }
            "organization.deleted" => {
                let Gone { id } = fields(self.data)?;
                (format!("organization/{id}"), Change::OrganizationGone(id))
            }
            kind @ ("organizationMembership.created"
            | "organizationMembership.updated"
            | "organizationMembership.deleted") => {
                let it: Membership = fields(self.data)?;
                let object = format!("membership/{}/{}", it.organization.id, it.public_user_data.user_id);
                (object, it.change(kind.ends_with(".deleted")))
            }
            _ => (String::new(), Change::Nothing(self.kind)),
        };
        Ok(News { object, at, change })
    }
}

impl User {
    fn identity(self, issuer: &str) -> Identity {
        let primary = self.email_addresses.into_iter().find(|address| {
            Some(&address.id) == self.primary_email_address_id.as_ref()
                && address.verification.as_ref().is_some_and(|it| it.status == "verified")
        });
        Identity {
            issuer: issuer.to_owned(),
            subject: self.id,
            email: primary.and_then(|address| address.email_address.parse().ok()),
            first_name: person::name(self.first_name.as_deref().unwrap_or_default()),
            last_name: person::name(self.last_name.as_deref().unwrap_or_default()),
            teams: vec![],
        }
    }
}

impl Team {
    fn organization(self) -> Organization {
        let Self { id, name, slug, created_by } = self;
        Organization { id, name, slug, created_by }
    }
}

impl Membership {
    fn change(self, is_gone: bool) -> Change {
        let (subject, organization) = (self.public_user_data.user_id, self.organization.organization());
        if is_gone {
            return Change::MemberGone { subject, organization: organization.id };
        }
        // Roles of an instance's own making have names of its own: they see, and an owner here gives them more.
        let role = match self.role.trim_start_matches("org:") {
            "admin" => MemberRole::Admin,
            "member" | "basic_member" => MemberRole::Developer,
            _ => MemberRole::Viewer,
        };
        Change::Member { subject, organization, role }
    }
}

/// Reads fields; says which one is wrong.
fn fields<T: DeserializeOwned>(value: Value) -> Result<T, NewsError> {
    serde_json::from_value(value)
        .map_err(|error| NewsError::Malformed { field: "data", why: format!("is not understood: {error}") })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://clerk.example.org";
    /// The example of Svix's documentation, with its signature: another program has made it.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNED: i64 = 1_614_265_330;

    fn delivery<'a>(timestamp: &'a str, signatures: &'a str, body: &'a [u8]) -> Delivery<'a> {
        Delivery { id: "msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp, signatures, body }
    }

    fn open(secret: &str, delivery: &Delivery<'_>, late: i64) -> Result<News, NewsError> {
        let now = DateTime::from_timestamp(SIGNED + late, 0).unwrap();
        Webhooks::read(secret).unwrap().open(ISSUER, delivery, now)
    }

    fn sign(body: &[u8], timestamp: &str) -> String {
        let key = STANDARD.decode(&SECRET[6..]).unwrap();
        let mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        let mac = mac.chain_update(format!("msg_p5jXN8AQM9LWM0D4loKWxJek.{timestamp}.")).chain_update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }

    fn told(event: Value) -> Result<News, NewsError> {
        let (body, timestamp) = (event.to_string(), SIGNED.to_string());
        let signature = sign(body.as_bytes(), &timestamp);
        open(SECRET, &delivery(&timestamp, &signature, body.as_bytes()), 0)
    }

    #[test]
    fn only_what_is_signed_with_a_secret_of_ours_lately_is_read() {
        let good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let is_proved = |secret: &str, it: &Delivery<'_>, late| {
            !matches!(open(secret, it, late), Err(NewsError::Unproved(_)))
        };
        let timestamp = SIGNED.to_string();
        let whole = delivery(&timestamp, good, BODY);
        assert!(
            is_proved(SECRET, &whole, 0) && is_proved(SECRET, &whole, 300) && is_proved(SECRET, &whole, -300)
        );
        let two = format!("whsec_{},{SECRET}", STANDARD.encode([7; 32]));
        assert!(is_proved(&two, &whole, 0), "while the secret is changed");
        let several = format!("v1,AAAA v2,{} {good}", &good[3..]);
        assert!(is_proved(SECRET, &delivery(&timestamp, &several, BODY), 0));

        assert!(!is_proved(SECRET, &whole, 301) && !is_proved(SECRET, &whole, -301));
        assert!(!is_proved(&format!("whsec_{}", STANDARD.encode([7; 32])), &whole, 0));
        assert!(!is_proved(SECRET, &Delivery { id: "msg_other", ..whole }, 0));
        let later = (SIGNED + 1).to_string();
        for bad in [
            delivery(&later, good, BODY),
            delivery("", good, BODY),
            delivery(&timestamp, "", BODY),
            delivery(&timestamp, &good[3..], BODY),
            delivery(&timestamp, "v1,", BODY),
            delivery(&timestamp, good, b"{\"test\": 2432232315}"),
        ] {
            assert!(!is_proved(SECRET, &bad, 0), "{bad:?}");
        }
    }

    #[test]
    fn a_secret_that_is_none_is_refused_at_the_start() {
        for bad in ["", "whsec_", "whsec_AAAA", &SECRET[6..], "whsec_!", &format!("{SECRET},")] {
            assert!(Webhooks::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_primary_address_counts_and_only_when_it_is_verified() {
        let of = |primary: &str, status: Value| {
            let news = told(json!({ "type": "user.updated", "timestamp": 1, "data": {
                "id": "user_1", "first_name": "Ada", "last_name": null, "primary_email_address_id": primary,
                "email_addresses": [
                    { "id": "idn_1", "email_address": "ada@example.org", "verification": status },
                    { "id": "idn_2", "email_address": "ada@other.example", "verification": { "status": "verified" } },
                ],
            } }))
            .unwrap();
            assert_eq!((news.object.as_str(), news.at.timestamp_millis()), ("user/user_1", 1));
            let Change::Person(identity) = news.change else { panic!("{news:?}") };
            assert_eq!((identity.issuer.as_str(), identity.first_name.as_str()), (ISSUER, "Ada"));
            identity.email.map(|email| email.as_str().to_owned())
        };
        assert_eq!(of("idn_1", json!({ "status": "verified" })).as_deref(), Some("ada@example.org"));
        assert_eq!(of("idn_1", json!({ "status": "unverified" })), None);
        assert_eq!(of("idn_1", Value::Null), None);
        assert_eq!(of("idn_3", Value::Null), None);
    }

    #[test]
    fn a_membership_is_told_with_its_organization_and_a_role_that_is_no_owner() {
        let of = |kind: &str, role: &str| {
            let data = json!({ "id": "orgmem_1", "role": role, "public_user_data": { "user_id": "user_1" },
                "organization": { "id": "org_1", "name": "Acme", "slug": "acme", "created_by": "user_1" } });
            let news = told(json!({ "type": kind, "data": data })).unwrap();
            assert_eq!((news.object.as_str(), news.at.timestamp()), ("membership/org_1/user_1", SIGNED));
            news.change
        };
        for (role, ours) in [
            ("org:admin", MemberRole::Admin),
            ("basic_member", MemberRole::Developer),
            ("org:owner", MemberRole::Viewer),
        ] {
            let Change::Member { role: given, .. } = of("organizationMembership.updated", role) else {
                panic!()
            };
            assert_eq!(given, ours, "{role}");
        }
        let gone = Change::MemberGone { subject: "user_1".into(), organization: "org_1".into() };
        assert_eq!(of("organizationMembership.deleted", "org:admin"), gone);
    }

    #[test]
    fn what_is_signed_and_makes_no_sense_says_what_is_wrong() {
        for (event, field) in [
            (json!({ "type": "user.deleted", "data": {} }), "data"),
            (json!({ "data": {} }), "data"),
            (json!({ "type": "user.deleted", "data": { "id": "u" }, "timestamp": i64::MAX }), "timestamp"),
            (json!([]), "data"),
        ] {
            match told(event.clone()) {
                Err(NewsError::Malformed { field: named, .. }) => assert_eq!(named, field, "{event}"),
                other => panic!("{event}: {other:?}"),
            }
        }
        let other = told(json!({ "type": "session.created", "data": {} })).unwrap().change;
        assert_eq!(other, Change::Nothing("session.created".into()));
    }
}
