//! The forms in which a secret turns up in output.

use std::collections::BTreeSet;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, Engine};
use domain::secret::Secret;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// Anything shorter is part of too many words: masking it would hide the output and betray the secret.
const SHORTEST: usize = 4;
/// As `SHORTEST`, for one line of a secret of several, whose other lines are masked too.
const SHORTEST_LINE: usize = 6;

/// Every form of every secret: distinct, and sorted so that prefixes can be looked up.
pub(super) fn of(secrets: &[Secret]) -> Vec<Vec<u8>> {
    let mut forms = BTreeSet::new();
    for secret in secrets {
        // White space around it is no secret, and masking its newline would join two lines of output.
        let value = secret.expose().trim_ascii();
        if value.len() < SHORTEST {
            continue;
        }
        forms.insert(value.to_vec());
        base64(value, &mut forms);
        hex(value, &mut forms);
        percent(value, &mut forms);
        json(value, &mut forms);
        for line in lines(value).filter(|line| line.len() >= SHORTEST_LINE) {
            forms.insert(line.to_vec());
            json(line, &mut forms);
        }
    }
    forms.into_iter().collect()
}

/// The lines of a secret. Keys are often kept with `\n` written out, and printed with newlines.
fn lines(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b'\n').flat_map(|line| {
        let mut rest = Some(line);
        std::iter::from_fn(move || {
            let line = rest?;
            let end = line.windows(2).position(|pair| pair == b"\\n");
            rest = end.map(|end| &line[end + 2..]);
            Some(line[..end.unwrap_or(line.len())].trim_ascii())
        })
    })
}

/// Base64, also in the middle of something longer, and wrapped as programs do it.
fn base64(value: &[u8], forms: &mut BTreeSet<Vec<u8>>) {
    for alphabet in [BASE64_STANDARD, BASE64_URL_SAFE] {
        for before in 0..3 {
            let encoded = alphabet.encode([&[0; 2][..before], value].concat());
            // The first characters also hold bits of what is before, the last one of what is behind.
            let first = [0, 2, 3][before];
            let sure = (before + value.len()) * 8 / 6;
            let unpadded = encoded.trim_end_matches('=').len();
            for end in [sure, unpadded, encoded.len()] {
                forms.insert(encoded.as_bytes()[first..end].to_vec());
            }
            for width in [64, 76] {
                if before == 0 && sure > width {
                    let pieces = encoded.as_bytes()[..sure].chunks(width);
                    forms.extend(pieces.filter(|piece| piece.len() >= SHORTEST_LINE).map(<[u8]>::to_vec));
                }
            }
        }
    }
}

/// Two digits a byte, without anything between them.
fn hex(value: &[u8], forms: &mut BTreeSet<Vec<u8>>) {
    let lower: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    forms.insert(lower.to_ascii_uppercase().into_bytes());
    forms.insert(lower.into_bytes());
}

/// Percent encoding as the usual programs do it; they differ in what they leave alone.
fn percent(value: &[u8], forms: &mut BTreeSet<Vec<u8>>) {
    const RFC_3986: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    const COMPONENT: &AsciiSet = &RFC_3986.remove(b'!').remove(b'*').remove(b'\'').remove(b'(').remove(b')');
    const WHOLE_URL: &AsciiSet = &COMPONENT
        .remove(b';')
        .remove(b',')
        .remove(b'/')
        .remove(b'?')
        .remove(b':')
        .remove(b'@')
        .remove(b'&')
        .remove(b'=')
        .remove(b'+')
        .remove(b'$')
        .remove(b'#');
    const FORM: &AsciiSet = &RFC_3986.remove(b'*').add(b'~');
    let mut insert = |encoded: String| {
        forms.insert(lower_hex(&encoded));
        forms.insert(encoded.into_bytes());
    };
    for set in [NON_ALPHANUMERIC, RFC_3986, COMPONENT, WHOLE_URL, FORM] {
        insert(percent_encode(value, set).to_string());
    }
    insert(percent_encode(value, FORM).to_string().replace("%20", "+"));
}

fn lower_hex(encoded: &str) -> Vec<u8> {
    let mut bytes = encoded.as_bytes().to_vec();
    for at in 0..bytes.len() {
        if bytes[at] == b'%' {
            bytes[at + 1..at + 3].make_ascii_lowercase();
        }
    }
    bytes
}

/// JSON strings as written by JavaScript, Python, PHP and Go, by `util.inspect`, and JSON inside of JSON.
fn json(value: &[u8], forms: &mut BTreeSet<Vec<u8>>) {
    let Ok(text) = std::str::from_utf8(value) else { return };
    let plain = escape(text);
    let ascii = only_ascii(&plain);
    let html = plain.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    for form in [
        escape(&plain),
        plain.replace("\\\"", "\""),
        plain.replace("\\\"", "\"").replace('\'', "\\'"),
        plain.replace('/', "\\/"),
        ascii.replace('/', "\\/"),
        html,
        ascii,
        plain,
    ] {
        forms.insert(form.into_bytes());
    }
}

fn escape(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn only_ascii(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            let units =
                c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
            ascii.push_str(&units);
        }
    }
    ascii
}
