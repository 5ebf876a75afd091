//! How streams are cut into lines.

use proptest::prelude::*;

use super::*;

fn split(chunks: &[&[u8]]) -> Vec<String> {
    let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
    for chunk in chunks {
        splitter.push(chunk, &mut |line| lines.push(line));
    }
    splitter.finish(&mut |line| lines.push(line));
    lines
}

#[test]
fn lines_end_with_lf_or_cr_lf_and_the_last_need_not_end() {
    assert_eq!(split(&[b"one\ntwo\r\n\r\n\nlast"]), ["one", "two", "", "", "last"]);
    assert_eq!(split(&[b"one\r", b"\ntwo\r"]), ["one", "two"]);
    assert_eq!(split(&[b""]), [""; 0]);
}

#[test]
fn progress_bars_and_colours_are_data() {
    assert_eq!(split(&[b"10%\r20%\r\x1b[31mred\x1b[0m\n"]), ["10%\r20%\r\x1b[31mred\x1b[0m"]);
}

#[test]
fn what_the_store_cannot_take_is_replaced() {
    assert_eq!(split(&[b"a\0b\xff\xc3", b"\xa9\n"]), ["a\u{FFFD}b\u{FFFD}é"]);
}

#[test]
fn a_long_line_goes_on_in_the_next() {
    let text = "x".repeat(LONGEST);
    assert_eq!(split(&[text.as_bytes(), b"\r", b"\n"]), [text.as_str()]);
    assert_eq!(split(&[text.as_bytes(), b"y", b"\n"]), [format!("{text}{GOES_ON}"), "y".to_owned()]);
    let euros = "€".repeat(LONGEST); // three bytes each
    let lines = split(&[euros.as_bytes(), b"\n"]);
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().all(|line| line.len() <= LONGEST + GOES_ON.len()));
    assert_eq!(lines.concat().replace(GOES_ON, ""), euros);
}

#[test]
fn what_waits_is_bounded() {
    let (mut splitter, mut count) = (Splitter::default(), 0);
    splitter.push(&vec![b'x'; 100 * LONGEST], &mut |_| count += 1);
    assert_eq!(count, 99);
    assert!(splitter.pending.len() <= LONGEST + 1);
}

proptest! {
    #[test]
    fn chunks_make_no_difference(bytes in prop::collection::vec(prop::sample::select(b"ab\r\n\0\xc3\xa9".to_vec()), 0..60),
                                 size in 1_usize..7) {
        let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
        prop_assert_eq!(split(&chunks), split(&[&bytes]));
    }
}
