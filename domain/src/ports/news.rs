//! What a sign-in provider tells by its webhooks of the people and organizations that it keeps.

use chrono::{DateTime, Utc};
use thiserror::Error;

use crate::ports::auth::Identity;
use crate::team::MemberRole;

/// A delivery of a webhook, as it came. Nothing of it is believed before its signature is checked.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// Its id, which it keeps when it is sent again.
    pub id: &'a str,
    /// When it was signed, in seconds of the Unix epoch.
    pub timestamp: &'a str,
    /// Its signatures: one for each secret that the sender has.
    pub signatures: &'a str,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

/// What a provider tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// About which object, by a name that no other object of this provider has.
    pub object: String,
    /// Since when it is so, by the provider's clock.
    pub at: DateTime<Utc>,
    /// What is so.
    pub change: Change,
}

/// What is so, by a provider's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is this person.
    Person(Identity),
    /// This person is gone for good: the subject.
    PersonGone(String),
    /// There is this organization.
    Organization(Organization),
    /// This organization is gone for good: its id.
    OrganizationGone(String),
    /// This person (a subject) belongs to this organization.
    Member {
        /// Who.
        subject: String,
        /// Where.
        organization: Organization,
        /// As what; never as an owner.
        role: MemberRole,
    },
    /// This person (a subject) does not belong to this organization (its id) any more.
    MemberGone {
        /// Who.
        subject: String,
        /// Where.
        organization: String,
    },
    /// Nothing that matters here: the kind of the delivery.
    Nothing(String),
}

/// An organization, as a provider knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    /// Its id there.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its short name, when it has one.
    pub slug: Option<String>,
    /// Who made it: a subject.
    pub created_by: Option<String>,
}

/// Why a delivery says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NewsError {
    /// No secret is set: the provider has no webhooks here.
    #[error("there are no webhooks of this provider")]
    Closed,
    /// It was not signed by the provider, or too long ago. The text is for operators and names no secret.
    #[error("{0}")]
    Unproved(&'static str),
    /// It was signed, and cannot be understood: the field, and why.
    #[error("{field} {why}")]
    Malformed {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
}
