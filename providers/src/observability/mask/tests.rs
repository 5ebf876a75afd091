//! No secret gets through, in whatever form and however the stream is cut.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq+hkiG9w0BAQEFAASC\nabc\nq0/Zr3==\n-----END PRIVATE KEY-----\n";

fn masker(secrets: &[&str]) -> Masker {
    let secrets: Vec<_> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
    Masker::new(Arc::new(Secrets::new(&secrets)))
}

fn mask_chunks<'a>(secrets: &[&str], chunks: impl IntoIterator<Item = &'a [u8]>) -> String {
    let (mut masker, mut out) = (masker(secrets), Vec::new());
    for chunk in chunks {
        masker.push(chunk, &mut out);
    }
    masker.release(&mut out);
    String::from_utf8(out).unwrap()
}

fn mask(secrets: &[&str], text: &str) -> String {
    let whole = mask_chunks(secrets, [text.as_bytes()]);
    assert_eq!(mask_chunks(secrets, text.as_bytes().chunks(1)), whole, "byte by byte it is the same");
    whole
}

#[test]
fn text_without_secrets_is_left_alone() {
    assert_eq!(mask(&[], "anything\n"), "anything\n");
    assert_eq!(mask(&["hunter2"], "hunter1 hunte hunter3 hunter"), "hunter1 hunte hunter3 hunter");
}

#[test]
fn a_secret_is_masked_wherever_it_stands() {
    assert_eq!(mask(&["hunter2"], "hunter2 xhunter2hunter2y hunterhunter2"), "*** x******y hunter***");
}

#[test]
fn secrets_that_overlap_leave_nothing_of_either() {
    assert_eq!(mask(&["abcdef", "defghi"], "abcdefghi"), "***");
    assert_eq!(mask(&["abcd", "abcdefgh"], "abcdefgh abcdefg"), "*** ***efg");
    assert_eq!(mask(&["aaaa"], &"a".repeat(50)), "***");
}

#[test]
fn short_values_are_no_secrets() {
    assert_eq!(mask(&["abc", "", "  x "], "abc x"), "abc x");
}

#[test]
fn white_space_around_a_value_is_no_secret() {
    assert_eq!(mask(&["hunter2\n"], "is hunter2\nnext"), "is ***\nnext");
}

#[test]
fn every_line_of_a_key_is_masked() {
    let printed = KEY.replace('\n', "\r\n> ");
    assert_eq!(mask(&[KEY], &printed), "***\r\n> ***\r\n> abc\r\n> ***\r\n> ***\r\n> ");
    assert_eq!(mask(&[&KEY.replace('\n', "\\n")], &printed), "***\r\n> ***\r\n> abc\r\n> ***\r\n> ***\r\n> ");
    assert_eq!(mask(&[KEY], KEY), "***\n");
}

#[test]
fn wrapped_base64_is_masked() {
    let secret = (0..40).map(|n| format!("{n}:word ")).collect::<String>();
    for width in [64, 76] {
        let encoded = BASE64_STANDARD.encode(format!("{}\n", secret.trim()));
        let wrapped: Vec<_> =
            encoded.as_bytes().chunks(width).map(|line| str::from_utf8(line).unwrap()).collect();
        let masked = mask(&[&secret], &wrapped.join("\n"));
        assert!(masked.lines().all(|line| line.starts_with("***") && line.len() < 8), "{masked}");
    }
}

#[test]
fn json_is_masked_as_every_language_writes_it() {
    let secret = "pä\"ss/<w>'\n\\😀";
    for written in [
        r#"pä\"ss/<w>'\n\\😀"#,
        r#"p\u00e4\"ss/<w>'\n\\\ud83d\ude00"#,
        r#"p\u00e4\"ss\/<w>'\n\\\ud83d\ude00"#,
        r#"pä\"ss/\u003cw\u003e'\n\\😀"#,
        r#"pä"ss/<w>'\n\\😀"#,
        r#"pä"ss/<w>\'\n\\😀"#,
        r#"pä\\\"ss/<w>'\\n\\\\😀"#,
    ] {
        assert_eq!(mask(&[secret], written), "***");
    }
}

#[test]
fn percent_encoding_is_masked_as_every_program_writes_it() {
    for written in ["a%20b%2Fc%7Ed", "a%20b%2fc~d", "a+b%2Fc%7Ed", "a%20b/c~d", "a%20b%2Fc~d"] {
        assert_eq!(mask(&["a b/c~d"], written), "***", "{written}");
    }
}

#[test]
fn hexadecimal_is_masked_in_both_cases() {
    assert_eq!(mask(&["hunter2"], "68756e74657232 68756E74657232 68756e746572"), "*** *** 68756e746572");
}

#[test]
fn only_what_may_begin_a_secret_is_held_back() {
    let (mut masker, mut out) = (masker(&["hunter2", "line one\nline two"]), Vec::new());
    masker.push(b"password hunt", &mut out);
    assert_eq!(out, b"password ");
    masker.push(b"ing\n", &mut out);
    assert_eq!(out, b"password hunting\n");
    assert!(!masker.holds_line());
}

#[test]
fn complete_lines_are_released_the_rest_stays() {
    let (mut masker, mut out) = (masker(&["line one\nhunter2x"]), Vec::new());
    masker.push(b"line one\nhunt", &mut out);
    assert!(out.is_empty() && masker.holds_line());
    masker.release_lines(&mut out);
    assert_eq!(out, b"***\n");
    masker.push(b"er2x\n", &mut out);
    assert_eq!(out, b"***\n***\n");
}

#[test]
fn what_is_held_is_bounded() {
    let (mut masker, mut out) = (masker(&["aaaaaaaa"]), Vec::new());
    for _ in 0..1000 {
        masker.push(&[b'a'; 100], &mut out);
        assert!(masker.held.len() < 64);
    }
    assert_eq!(out, MASK);
}

type Encoding = fn(&[u8]) -> String;
const ENCODINGS: [Encoding; 8] = [
    |bytes| String::from_utf8(bytes.to_vec()).unwrap(),
    |bytes| BASE64_STANDARD.encode(bytes),
    |bytes| BASE64_STANDARD_NO_PAD.encode(bytes),
    |bytes| BASE64_URL_SAFE.encode(bytes),
    |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes),
    |bytes| percent_encode(bytes, NON_ALPHANUMERIC).to_string(),
    |bytes| url::form_urlencoded::byte_serialize(bytes).collect(),
    |bytes| {
        let quoted = serde_json::Value::from(str::from_utf8(bytes).unwrap()).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    },
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever surrounds it, encoded with it or not, and wherever the chunks end.
    #[test]
    fn no_form_of_a_secret_gets_through(
        secrets in prop::collection::vec("[a-zA-Z0-9+/?äß€ \"\\\\<&\n]{0,12}[a-z0-9\"/]{4}[ -)a-z~]{0,40}", 1..4),
        pick in any::<Index>(), encoding in any::<Index>(),
        around in "[a-z=\n ]{0,12}", inside in "[a-z:]{0,4}",
        cuts in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        let secret = pick.get(&secrets).trim_ascii();
        let encode = encoding.get(&ENCODINGS);
        let text = format!("{around}{}{around}{}\n", encode(secret.as_bytes()),
                           encode(format!("{inside}{secret}{inside}").as_bytes()));
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        let bounds: Vec<_> = [vec![0], cuts, vec![text.len()]].concat();
        let chunks = bounds.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]);
        let given: Vec<&str> = secrets.iter().map(String::as_str).collect();

        let masked = mask_chunks(&given, chunks);

        let whole = mask_chunks(&given, [text.as_bytes()]);
        prop_assert_eq!(&masked, &whole);
        prop_assert!(!masked.contains(secret), "{}", masked);
        prop_assert!(!masked.contains(&encode(secret.as_bytes())), "{}", masked);
        // Base64 with something before shows the secret's middle only when that is not masked.
        for part in masked.split(|c: char| !(c.is_ascii_alphanumeric() || "+/-_".contains(c))) {
            for skip in 0..part.len().min(4) {
                let length = (part.len() - skip) / 4 * 4;
                let decoded = BASE64_STANDARD.decode(part[skip..skip + length].replace('-', "+").replace('_', "/"));
                let decoded = decoded.unwrap_or_default();
                prop_assert!(!decoded.windows(secret.len()).any(|window| window == secret.as_bytes()), "{}", masked);
            }
        }
    }
}
