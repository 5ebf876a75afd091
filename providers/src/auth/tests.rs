use super::*;

fn opened(names: &[&str], settings: &[(&str, &str)]) -> Result<Vec<Arc<dyn Auth>>, String> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let settings =
        settings.iter().map(|(k, v)| (format!("MASTRA_ADMIN_AUTH_{k}"), (*v).to_owned())).collect();
    open(&names, settings).map_err(|error| error.to_string())
}

fn why(names: &[&str], settings: &[(&str, &str)]) -> String {
    opened(names, settings).map(|_| ()).unwrap_err()
}

const OKTA: [(&str, &str); 2] = [("OKTA_ISSUER", "https://okta.example.org"), ("OKTA_CLIENT_ID", "web")];

#[test]
fn several_are_named_and_each_has_its_settings() {
    let more =
        [("GITHUB_CLIENT_ID", "x"), ("GITHUB_CLIENT_SECRET", "y"), ("GITHUB_ALLOWED_DOMAINS", "Example.org")];
    let both = opened(&["okta=oidc", "github"], &[&OKTA[..], &more].concat()).unwrap();
    let shown: Vec<_> = both.iter().map(|one| (one.id(), one.kind(), one.issuer())).collect();
    assert_eq!(
        shown,
        [("okta", "oidc", "https://okta.example.org"), ("github", "github", "https://github.com")]
    );
    assert_eq!(both[0].admission().domains, None);
    assert_eq!(both[1].admission().domains, Some(vec!["example.org".to_owned()]));
}

#[test]
fn what_cannot_be_meant_is_refused_by_its_name() {
    assert!(why(&["okta=saml"], &OKTA).contains("saml"));
    assert!(why(&["oidc"], &[]).contains("MASTRA_ADMIN_AUTH_OIDC_ISSUER"));
    assert!(why(&["okta=oidc", "okta=oidc"], &OKTA).contains("twice"));
    for id in ["local", "sessions", "a/b", "Okta", ""] {
        assert!(why(&[&format!("{id}=oidc")], &OKTA).contains("cannot name"), "{id}");
    }
    let typo = [&OKTA[..], &[("OKTA_CLIENTID", "x")]].concat();
    assert!(why(&["okta=oidc"], &typo).contains("OKTA_CLIENTID"));
    let twins = [&OKTA[..], &[("B_ISSUER", "https://okta.example.org"), ("B_CLIENT_ID", "x")]].concat();
    assert!(why(&["okta=oidc", "b=oidc"], &twins).contains("same issuer"));
}

#[test]
fn who_knows_everybody_must_say_whom_it_lets_in() {
    for kind in ["google", "github"] {
        let id = format!("{}_CLIENT_ID", kind.to_uppercase());
        assert!(why(&[kind], &[(&id, "x")]).contains("ALLOWED_DOMAINS"));
        let open = format!("{}_ALLOWED_DOMAINS", kind.to_uppercase());
        assert_eq!(opened(&[kind], &[(&id, "x"), (&open, "*")]).unwrap()[0].admission().domains, None);
    }
}

#[test]
fn an_issuer_of_ones_own_network_must_be_allowed() {
    let inside = [("OIDC_ISSUER", "http://127.0.0.1:1/oidc"), ("OIDC_CLIENT_ID", "web")];
    assert!(why(&["oidc"], &inside).contains("private"));
    assert!(opened(&["oidc"], &[&inside[..], &[("OIDC_ALLOW_PRIVATE", "true")]].concat()).is_ok());
}
