//! The secret by which the server of a deployment says who it is when it sends telemetry.
//!
//! It is made of the deployment's id and the installation's own key, and stored nowhere: whoever has it can do nothing but
//! send, and it ends with the deployment.

use domain::ids::DeploymentId;
use domain::secret::Secret;
use uuid::Uuid;

use crate::{Vault, VaultError};

const PREFIX: &str = "mad_";
const PURPOSE: &str = "deployment token";
const ID_DIGITS: usize = 32;

/// The token of a deployment: the same whenever it is asked for.
///
/// # Errors
/// The vault cannot be read.
pub async fn of(vault: &Vault, id: DeploymentId) -> Result<Secret, VaultError> {
    let proof = vault.fingerprint(PURPOSE, &id.to_string()).await?;
    Ok(Secret::new(format!("{PREFIX}{}_{proof}", id.0.simple())))
}

/// Which deployment a token names. Whether it is that deployment's, only [`of`] tells.
pub fn named_in(token: &str) -> Option<DeploymentId> {
    let (id, _) = token.strip_prefix(PREFIX)?.split_once('_')?;
    let id = Uuid::try_parse(id).ok().filter(|_| id.len() == ID_DIGITS)?;
    Some(DeploymentId(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_the_form_names_a_deployment() {
        let id = DeploymentId(Uuid::from_u128(7));
        assert_eq!(named_in(&format!("mad_{}_00", id.0.simple())), Some(id));
        for odd in
            ["", "mad_", "mad__", "mad_7_00", &format!("mad_{id}_00"), &format!("ma_{}_00", id.0.simple())]
        {
            assert_eq!(named_in(odd), None, "{odd}");
        }
    }
}
