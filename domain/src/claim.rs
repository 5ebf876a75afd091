//! Names that only one thing may have at a time. A pure function of each event says what it takes or frees;
//! the store settles it in the transaction that appends the event.

/// One name taken or freed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Taken or freed.
    pub act: ClaimAct,
    /// What kind of name.
    pub scope: ClaimScope,
    /// The name in its comparable form.
    pub key: String,
}

/// What happens to the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimAct {
    /// From now on this aggregate has it.
    Take,
    /// From now on it is free.
    Free,
}

/// Kinds of names. Their texts are stored: never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimScope {
    /// A person's e-mail address, as a keyed hash.
    UserEmail,
    /// A person's identity at a sign-in provider: `provider/subject`.
    UserIdentity,
    /// A team's slug.
    TeamSlug,
    /// A project's slug in its team: `team/slug`.
    ProjectSlug,
    /// An open invite of an address into a team: `team/hash`.
    TeamInvite,
    /// The how-manieth change to the roles of a team: `team/number`. Never freed: of two changes that were decided with
    /// the same roles in mind the log takes one.
    RoleRevision,
}

impl ClaimScope {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::UserEmail,
        Self::UserIdentity,
        Self::TeamSlug,
        Self::ProjectSlug,
        Self::TeamInvite,
        Self::RoleRevision,
    ];

    /// The stored text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UserEmail => "user.email",
            Self::UserIdentity => "user.identity",
            Self::TeamSlug => "team.slug",
            Self::ProjectSlug => "project.slug",
            Self::TeamInvite => "team.invite",
            Self::RoleRevision => "role.revision",
        }
    }

    /// The kind with this stored text.
    pub fn from_stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

impl Claim {
    /// Takes a name.
    pub fn take(scope: ClaimScope, key: impl Into<String>) -> Self {
        Self { act: ClaimAct::Take, scope, key: key.into() }
    }

    /// Frees a name.
    pub fn free(scope: ClaimScope, key: impl Into<String>) -> Self {
        Self { act: ClaimAct::Free, scope, key: key.into() }
    }
}
