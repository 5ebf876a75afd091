//! Mail through an SMTP server, over TLS with a certificate that is checked: from the first byte, or by STARTTLS,
//! without which nothing is said. There is no way to switch this off; an own authority is named by `ca_file`.
//!
//! A connection a mail: invites and notices are few, and a connection that was kept may be dead.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::email::{Email, EmailError, Mail};
use domain::secret::Secret;
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use thiserror::Error;

use super::check;

/// A server that says nothing for so long is away.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where mail is handed over.
#[derive(Clone, Debug)]
pub struct SmtpConfig {
    /// Name of the server, as its certificate has it.
    pub host: String,
    /// Its port; by default 465 for TLS from the first byte and 587 for STARTTLS.
    pub port: Option<u16>,
    /// How the connection is made private.
    pub security: Security,
    /// Who writes: `mastra@example.org`, or `Mastra <mastra@example.org>`.
    pub from: String,
    /// Name and password, for a server that wants them.
    pub login: Option<(String, Secret)>,
    /// Certificates in PEM that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
}

/// How the connection is made private.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// By the command STARTTLS; a server without it gets nothing.
    #[default]
    StartTls,
    /// From the first byte.
    Tls,
}

/// These settings cannot be right.
#[derive(Debug, Error)]
pub enum SmtpConfigError {
    /// Who writes must be an address.
    #[error("{0:?} is not an address to write from")]
    From(String),
    /// The file with certificates.
    #[error("the certificates in {} cannot be read: {why}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// TLS cannot be had.
    #[error("TLS to this server is not possible: {0}")]
    Tls(String),
    /// The password.
    #[error("the password is not text")]
    Password,
}

/// Sends mail.
pub struct SmtpEmail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl SmtpEmail {
    /// With these settings; the server is not asked yet.
    pub fn try_new(config: SmtpConfig) -> Result<Self, SmtpConfigError> {
        let from: Mailbox = config.from.parse().map_err(|_| SmtpConfigError::From(config.from.clone()))?;
        let mut tls = TlsParameters::builder(config.host.clone());
        if let Some(path) = &config.ca_file {
            tls = tls.add_root_certificate(certificates(path)?);
        }
        let tls = tls.build_rustls().map_err(|error| SmtpConfigError::Tls(chain(&error)))?;
        let (tls, port) = match config.security {
            Security::StartTls => (Tls::Required(tls), 587),
            Security::Tls => (Tls::Wrapper(tls), 465),
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(config.host)
            .port(config.port.unwrap_or(port))
            .tls(tls)
            .timeout(Some(PATIENCE));
        if let Some((name, password)) = config.login {
            let password = password.expose_str().ok_or(SmtpConfigError::Password)?.to_owned();
            transport = transport.credentials(Credentials::new(name, password));
        }
        Ok(Self { transport: transport.build(), from })
    }

    fn message(&self, mail: &Mail) -> Result<Message, EmailError> {
        check(mail)?;
        let to: Address = mail
            .to
            .parse()
            .map_err(|_| EmailError::Never("its address is none that can be written to".to_owned()))?;
        let id = format!("<{}@{}>", mail.message_id, self.from.email.domain());
        Message::builder()
            .message_id(Some(id))
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(&mail.subject)
            .multipart(MultiPart::alternative_plain_html(mail.text.clone(), mail.html.clone()))
            .map_err(|error| EmailError::Never(chain(&error)))
    }
}

#[async_trait]
impl Email for SmtpEmail {
    async fn send(&self, mail: &Mail) -> Result<(), EmailError> {
        let message = self.message(mail)?;
        let sent = self.transport.send(message).await;
        sent.map(drop).map_err(|error| {
            let why = chain(&error);
            let code = error.status().map_or(0, u16::from);
            // 53x: it is not the mail, it is who hands it over; somebody has to mend the settings.
            let is_final = error.is_permanent() && !(530..540).contains(&code);
            if is_final { EmailError::Never(why) } else { EmailError::Later(why) }
        })
    }
}

fn certificates(path: &Path) -> Result<Certificate, SmtpConfigError> {
    let refused = |why: String| SmtpConfigError::Certificates { path: path.to_owned(), why };
    let pem = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    if !pem.windows(11).any(|bytes| bytes == b"-----BEGIN ") {
        return Err(refused("there are none".to_owned()));
    }
    Certificate::from_pem(&pem).map_err(|error| refused(chain(&error)))
}

/// An error with all its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn email() -> SmtpEmail {
        SmtpEmail::try_new(SmtpConfig {
            host: "localhost".to_owned(),
            port: None,
            security: Security::StartTls,
            from: "Mastra <mastra@example.org>".to_owned(),
            login: Some(("mailer".to_owned(), Secret::new("secret"))),
            ca_file: None,
        })
        .unwrap()
    }

    fn mail() -> Mail {
        Mail {
            message_id: "0190.invite-1".to_owned(),
            to: "ann+news@example.org".to_owned(),
            subject: "Join Ácme".to_owned(),
            text: "Hello".to_owned(),
            html: "<p>Hello</p>".to_owned(),
        }
    }

    #[test]
    fn a_mail_is_text_and_html_under_the_id_of_its_cause() {
        let text = String::from_utf8(email().message(&mail()).unwrap().formatted()).unwrap();
        for line in [
            "Message-ID: <0190.invite-1@example.org>\r\n",
            "From: Mastra <mastra@example.org>\r\n",
            "To: ann+news@example.org\r\n",
            "Content-Type: multipart/alternative;",
            "Content-Type: text/plain",
            "Content-Type: text/html",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(text.is_ascii(), "what is not ASCII is encoded: {text}");
    }

    #[test]
    fn nobody_adds_headers_or_receivers() {
        let with = |change: fn(&mut Mail)| {
            let mut mail = mail();
            change(&mut mail);
            mail
        };
        for bad in [
            with(|mail| mail.subject.push_str("\r\nBcc: x@example.org")),
            with(|mail| mail.subject.push('\u{2028}')),
            with(|mail| mail.to.push_str("\nSubject: other")),
            with(|mail| mail.to.push_str(", eve@example.org")),
            with(|mail| mail.to = "Ann <ann@example.org>".to_owned()),
            with(|mail| mail.message_id.push_str(">\r\nBcc: x@example.org")),
        ] {
            assert!(matches!(email().message(&bad), Err(EmailError::Never(_))), "{bad:?}");
        }
    }

    #[test]
    fn settings_that_cannot_be_right_are_refused_at_the_start() {
        let config = SmtpConfig {
            host: "localhost".to_owned(),
            port: None,
            security: Security::Tls,
            from: "nobody".to_owned(),
            login: None,
            ca_file: None,
        };
        assert!(matches!(SmtpEmail::try_new(config.clone()), Err(SmtpConfigError::From(_))));
        let (from, ca_file) = ("a@b.example".to_owned(), Some("Cargo.toml".into()));
        let error = SmtpEmail::try_new(SmtpConfig { from, ca_file, ..config }).map(drop).unwrap_err();
        assert!(matches!(error, SmtpConfigError::Certificates { .. }), "{error}");
    }
}
