//! Mail for installations that send none: it is shown on the console, for the operator to pass on.
//!
//! Mails hold secret links (an invite is one). Showing them is the purpose of this provider; its log target
//! is `mail`, so that it can be routed away.

use std::io::Write;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use domain::ports::email::{Email, EmailError, Mail};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::check;

/// What may stand in a file name as it is.
const UNSAFE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'@');

/// Prints mails.
#[derive(Debug)]
pub struct ConsoleEmail {
    outbox: Option<PathBuf>,
}

impl ConsoleEmail {
    /// With an outbox, each mail is a file of that directory instead, named after its id; the directory is made
    /// when it is missing.
    pub fn new(outbox: Option<PathBuf>) -> Self {
        Self { outbox }
    }
}

#[async_trait]
impl Email for ConsoleEmail {
    async fn send(&self, mail: &Mail) -> Result<(), EmailError> {
        check(mail)?;
        let (text, id) = (render(mail), &mail.message_id);
        if let Some(outbox) = self.outbox.clone() {
            let (name, text) = (file_name(mail)?, text.clone());
            tokio::task::spawn_blocking(move || keep(&outbox, &name, &text))
                .await
                .map_err(|error| EmailError::Later(error.to_string()))?
                .map_err(|error| EmailError::Later(format!("the outbox cannot be written: {error}")))?;
            // Addresses and secrets stand there; the log is kept elsewhere and longer.
            tracing::info!(target: "mail", "mail {id} is in the outbox");
            return Ok(());
        }
        tracing::info!(target: "mail", "mail {id} to {}\n{text}", mail.to);
        Ok(())
    }
}

/// The mail as people read it.
fn render(Mail { message_id, to, subject, text, .. }: &Mail) -> String {
    format!("Message-ID: {message_id}\nTo: {to}\nSubject: {subject}\n\n{}\n", text.trim_end())
}

/// Different ids have different names.
fn file_name(mail: &Mail) -> Result<String, EmailError> {
    let name = utf8_percent_encode(&mail.message_id, UNSAFE).to_string() + ".txt";
    if name.len() > 255 {
        return Err(EmailError::Never("its message id is too long for a file name".to_owned()));
    }
    Ok(name)
}

/// A reader sees the whole mail or none.
fn keep(outbox: &Path, name: &str, text: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(outbox)?;
    let mut file = tempfile::NamedTempFile::new_in(outbox)?;
    file.write_all(text.as_bytes())?;
    file.persist(outbox.join(name)).map(|_| ()).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail() -> Mail {
        Mail {
            message_id: "invite/1@admin".to_owned(),
            to: "ann@example.org".to_owned(),
            subject: "Join Acme".to_owned(),
            text: "Hello\n\n\thttps://admin.example/invites/abc\n".to_owned(),
            html: "<p>Hello</p>".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_mail_sent_twice_is_one_readable_file() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = dir.path().join("outbox");
        let email = ConsoleEmail::new(Some(outbox.clone()));
        email.send(&mail()).await.unwrap();
        email.send(&mail()).await.unwrap();
        let files: Vec<_> =
            std::fs::read_dir(&outbox).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, ["invite%2F1@admin.txt"]);
        let text = std::fs::read_to_string(outbox.join(&files[0])).unwrap();
        assert_eq!(
            text,
            "Message-ID: invite/1@admin\nTo: ann@example.org\nSubject: Join Acme\n\n\
             Hello\n\n\thttps://admin.example/invites/abc\n"
        );
    }

    #[tokio::test]
    async fn nobody_adds_headers_leaves_the_outbox_or_plays_with_the_terminal() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = dir.path().join("outbox");
        let email = ConsoleEmail::new(Some(outbox.clone()));
        let with = |change: fn(&mut Mail)| {
            let mut mail = mail();
            change(&mut mail);
            mail
        };
        for bad in [
            with(|mail| mail.subject.push_str("\r\nBcc: x@example.org")),
            with(|mail| mail.subject.push('\u{2028}')),
            with(|mail| mail.to.push_str("\nSubject: other")),
            with(|mail| mail.message_id.push('\0')),
            with(|mail| mail.message_id = "x".repeat(252)),
            with(|mail| mail.message_id.clear()),
            with(|mail| mail.text.push_str("\u{1b}[2J")),
        ] {
            assert!(email.send(&bad).await.is_err(), "{bad:?}");
        }
        assert!(!outbox.exists());
        email.send(&with(|mail| mail.message_id = "../../evil".to_owned())).await.unwrap();
        assert!(outbox.join("..%2F..%2Fevil.txt").exists());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
