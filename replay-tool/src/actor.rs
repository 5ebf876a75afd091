//! Who uses the tool.

use std::fs;

use domain::envelope::Actor;

/// A name as `--actor` gives it.
pub(crate) fn parse(name: &str) -> Result<Actor, String> {
    let name = name.strip_prefix("operator:").unwrap_or(name).trim();
    if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
        return Err("must be a name of 1 to 100 characters".to_owned());
    }
    Ok(Actor::Operator(name.to_owned()))
}

/// The user of the operating system; behind `sudo`, the one who called it.
pub(crate) fn of_the_system() -> Actor {
    let uid = rustix::process::getuid();
    let caller = std::env::var("SUDO_USER").ok().filter(|_| uid.is_root());
    let users = || fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = caller.or_else(|| name_of(uid.as_raw(), &users()));
    let unnamed = || format!("uid-{}", uid.as_raw());
    name.and_then(|name| parse(&name).ok()).unwrap_or_else(|| Actor::Operator(unnamed()))
}

fn name_of(uid: u32, users: &str) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_with_or_without_its_kind() {
        let ada = Actor::Operator("ada".to_owned());
        assert_eq!(parse("ada"), Ok(ada.clone()));
        assert_eq!(parse("operator:ada"), Ok(ada));
        assert!(parse("").is_err() && parse("a\nb").is_err());
    }

    #[test]
    fn users_are_found_by_their_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n";
        assert_eq!(name_of(1000, users).as_deref(), Some("ada"));
        assert_eq!(name_of(7, users), None);
    }
}
