//! How the platform writes to people.

pub mod console;
pub mod smtp;

use domain::ports::email::{EmailError, Mail};

/// Refuses a mail of which a value could pass for more than it is: a line break in a header, or a control sequence
/// for the reader's terminal.
fn check(Mail { message_id, to, subject, text, html }: &Mail) -> Result<(), EmailError> {
    for (name, value) in [("message id", message_id), ("address", to), ("subject", subject)] {
        if value.is_empty() || value.chars().any(is_line_break_or_control) {
            return Err(EmailError::Never(format!("its {name} must be one line without control characters")));
        }
    }
    if text.chars().chain(html.chars()).any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(EmailError::Never("its text must not contain control characters".to_owned()));
    }
    Ok(())
}

fn is_line_break_or_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}
