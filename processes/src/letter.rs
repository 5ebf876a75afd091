//! What the platform writes to people: plain words, the same as text and as HTML.

use domain::ports::email::Mail;

use crate::Work;

/// Mail is tried for about a day: its servers are away for hours.
pub(crate) const MAIL_TRIES: i32 = 150;

/// A mail in the making, a paragraph a line.
pub(crate) struct Letter {
    subject: String,
    paragraphs: Vec<String>,
}

impl Letter {
    /// About this, in one line.
    pub(crate) fn new(subject: String) -> Self {
        Self { subject: subject.replace(breaks_out, " "), paragraphs: vec![] }
    }

    /// One more paragraph.
    pub(crate) fn say(mut self, paragraph: impl Into<String>) -> Self {
        self.paragraphs.push(paragraph.into().replace(|c| breaks_out(c) && c != '\n', " "));
        self
    }

    /// Addressed, and named after the event that led to it, so that sending it again is no second mail.
    pub(crate) fn to(self, address: String, work: &Work, about: &str) -> Mail {
        let html: String = self.paragraphs.iter().map(|text| format!("<p>{}</p>\n", escaped(text))).collect();
        let title = escaped(&self.subject);
        Mail {
            message_id: format!("{}.{about}", work.claimed.cause_event),
            to: address,
            text: self.paragraphs.join("\n\n") + "\n",
            html: format!(
                "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
                 <body>\n{html}</body>\n</html>\n"
            ),
            subject: self.subject,
        }
    }
}

/// Whether this could end a line of a header, or play with a terminal. Names of long ago may have it.
fn breaks_out(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Text that is nothing but text in HTML.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            '\n' => html.push_str("<br>\n"),
            c => html.push(c),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_breaks_no_line() {
        let letter = Letter::new("Join A\u{2028}B\r\nC".to_owned()).say("A\u{1b}[2J\nB");
        assert_eq!((letter.subject.as_str(), letter.paragraphs[0].as_str()), ("Join A B  C", "A [2J\nB"));
    }

    #[test]
    fn a_name_is_no_markup() {
        assert_eq!(
            escaped("<a href=\"x\" id='y'>&\nb"),
            "&lt;a href=&quot;x&quot; id=&#39;y&#39;&gt;&amp;<br>\nb"
        );
    }
}
