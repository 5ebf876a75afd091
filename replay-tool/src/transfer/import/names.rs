//! Names that are taken: derived anew from the events that take and free them.

use std::collections::HashMap;

use domain::claim::{Claim, ClaimAct};
use sqlx::{PgConnection, Row};

use crate::failure::Failure;

/// A name: its scope and key.
type Name = (&'static str, String);

/// What some events say of names, in order.
#[derive(Default)]
pub(super) struct Names {
    acts: Vec<(Claim, String)>,
}

impl Names {
    /// What one event of `owner` takes and frees.
    pub(super) fn add(&mut self, claims: Vec<Claim>, owner: &str) {
        self.acts.extend(claims.into_iter().map(|claim| (claim, owner.to_owned())));
    }

    /// Stores what was added.
    pub(super) async fn store(&mut self, db: &mut PgConnection) -> Result<(), Failure> {
        let acts = std::mem::take(&mut self.acts);
        let names: Vec<Name> =
            acts.iter().map(|(claim, _)| (claim.scope.as_str(), claim.key.clone())).collect();
        let (scopes, keys): (Vec<&str>, Vec<String>) = names.into_iter().unzip();
        let known = sqlx::query(
            "DELETE FROM claims c USING unnest($1::text[], $2::text[]) AS n (scope, key)
              WHERE c.scope = n.scope AND c.key = n.key RETURNING c.scope, c.key, c.owner",
        )
        .bind(&scopes)
        .bind(&keys)
        .fetch_all(&mut *db)
        .await?;
        let known = known.iter().map(|row| ((row.get("scope"), row.get("key")), row.get("owner"))).collect();
        let taken = after(known, acts)?;
        let (mut scopes, mut keys, mut owners) = (vec![], vec![], vec![]);
        for ((scope, key), owner) in taken {
            scopes.push(scope);
            keys.push(key);
            owners.push(owner);
        }
        sqlx::query(
            "INSERT INTO claims (scope, key, owner)
             SELECT n.scope, n.key, n.owner FROM unnest($1::text[], $2::text[], $3::text[]) AS n (scope, key, owner)",
        )
        .bind(scopes)
        .bind(keys)
        .bind(owners)
        .execute(db)
        .await?;
        Ok(())
    }
}

/// Who has which name after all that.
fn after(
    mut taken: HashMap<(String, String), String>,
    acts: Vec<(Claim, String)>,
) -> Result<HashMap<(String, String), String>, Failure> {
    for (Claim { act, scope, key }, owner) in acts {
        let name = (scope.as_str().to_owned(), key);
        match act {
            ClaimAct::Free if taken.get(&name) == Some(&owner) => drop(taken.remove(&name)),
            ClaimAct::Free => {}
            ClaimAct::Take => {
                if let Some(other) = taken.insert(name.clone(), owner) {
                    let (scope, key) = name;
                    return Err(Failure::because(format!(
                        "the {scope} {key:?} is {other}'s and taken again"
                    )));
                }
            }
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use domain::claim::ClaimScope::TeamSlug;

    use super::*;

    fn acts(acts: &[(&str, bool, &str)]) -> Result<Vec<(String, String)>, Failure> {
        let claim = |(key, take, owner): &(&str, bool, &str)| {
            let claim = if *take { Claim::take(TeamSlug, *key) } else { Claim::free(TeamSlug, *key) };
            (claim, (*owner).to_owned())
        };
        let taken = after(HashMap::new(), acts.iter().map(claim).collect())?;
        Ok(taken.into_iter().map(|((_, key), owner)| (key, owner)).collect())
    }

    #[test]
    fn a_name_is_whose_event_took_it_last_and_never_two_peoples() {
        let one = |key: &str, owner: &str| vec![(key.to_owned(), owner.to_owned())];
        assert_eq!(acts(&[("a", true, "1"), ("a", false, "1"), ("a", true, "2")]).unwrap(), one("a", "2"));
        assert_eq!(acts(&[("a", true, "1"), ("a", false, "2")]).unwrap(), one("a", "1"));
        assert_eq!(acts(&[("a", true, "1"), ("a", false, "1")]).unwrap(), vec![]);
        assert!(acts(&[("a", true, "1"), ("a", true, "2")]).is_err());
    }
}
