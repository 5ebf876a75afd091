//! What is read, what is refused, and that everything comes back.

use proptest::prelude::*;

use super::*;

fn pairs(text: &str) -> Vec<(String, String)> {
    let entries = read(text).unwrap_or_else(|faults| panic!("{text:?}: {faults:?}"));
    entries.into_iter().map(|entry| (entry.key.to_string(), entry.value)).collect()
}

#[test]
fn lines_are_read_as_dotenv_reads_them() {
    for (text, value) in [
        ("A=1", "1"),
        ("A=", ""),
        ("A=\n", ""),
        ("A=\"\"", ""),
        ("  export\tA = 1  ", "1"),
        ("A=two words # and a comment", "two words"),
        ("A= # only a comment", ""),
        ("A=it's \"so\"", "it's \"so\""),
        ("A='#no comment' # one", "#no comment"),
        ("A=`it's \"so\"`", "it's \"so\""),
        ("A=' spaces '", " spaces "),
        ("A='$HOME ${B} \\n'", "$HOME ${B} \\n"),
        ("A=$HOME", "$HOME"),
        ("A=\"a\\nb\\tc\\\\\\\"\\$d\"", "a\nb\\tc\\\"$d"),
        ("A=\"a\nb\"\n", "a\nb"),
        ("A='a\r\nb'\r\n", "a\nb"),
        ("\u{feff}A=1", "1"),
        ("A={\"a\":[1,2]}", "{\"a\":[1,2]}"),
        ("A=a=b==", "a=b=="),
    ] {
        assert_eq!(pairs(text), [("A".to_owned(), value.to_owned())], "{text:?}");
    }
    let several = "# first\n\nA=1\n\n B='x\ny'\nexport C=3\nA=4";
    let lines: Vec<_> = read(several).unwrap().into_iter().map(|it| (it.line, it.key.to_string())).collect();
    assert_eq!(lines, [(3, "A".to_owned()), (5, "B".to_owned()), (7, "C".to_owned()), (8, "A".to_owned())]);
    assert_eq!(pairs(" \n#A=1\n"), []);
}

#[test]
fn what_can_be_read_in_two_ways_is_refused_with_its_line() {
    let text = "GOOD=1\nnonsense\nA-B=1\n=x\nC=a#b\nD=#b\nE='x'y\nF=\"x\ny\" z\nG='never\nH=1\n";
    let faults = read(text).unwrap_err();
    let seen: Vec<_> = faults.iter().map(|it| (it.line, it.key.as_ref().map(EnvKey::to_string))).collect();
    let named = |line, key: &str| (line, Some(key.to_owned()));
    let expected = [
        (2, None),
        (3, None),
        (4, None),
        named(5, "C"),
        named(6, "D"),
        named(7, "E"),
        named(8, "F"),
        named(10, "G"),
    ];
    assert_eq!(seen, expected);
    assert!(!format!("{:?}", read("A='x'QQ").unwrap_err()).contains("QQ"));
}

#[test]
fn the_way_of_quoting_is_the_plainest() {
    let key: EnvKey = "A".parse().unwrap();
    for (value, line) in [
        ("", "A=''\n"),
        ("https://example.org:80/a?", "A='https://example.org:80/a?'\n"),
        ("C:\\x\\", "A=C:\\x\\\n"),
        ("a b", "A='a b'\n"),
        ("it's", "A=`it's`\n"),
        ("a\nb", "A='a\nb'\n"),
        ("a\r\nb", "A=\"a\\r\\nb\"\n"),
        ("'`\"\\", "A=\"'`\\\"\\\\\"\n"),
    ] {
        assert_eq!(write([(&key, value)]), line);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_written_is_read_back_to_the_same_bytes(
        values in prop::collection::vec(
            prop_oneof!["[a\"'`\\\\$# \n\r\t=nré\u{feff}\u{2028}]{0,12}", any::<String>()], 0..5),
    ) {
        let keys: Vec<EnvKey> = (0..values.len()).map(|n| format!("K{n}").parse().unwrap()).collect();
        let text = write(keys.iter().zip(values.iter().map(String::as_str)));
        let read = read(&text).unwrap();
        let pairs: Vec<_> = read.iter().map(|it| (&it.key, &it.value)).collect();
        prop_assert_eq!(pairs, keys.iter().zip(&values).collect::<Vec<_>>());
        // An editor that changes the ends of lines changes no value but one that has line ends itself.
        if !text.contains('\r') && !values.iter().any(|value| value.contains('\n')) {
            prop_assert_eq!(super::read(&text.replace('\n', "\r\n")).unwrap(), read);
        }
    }

    #[test]
    fn no_text_is_too_odd(text in any::<String>()) {
        let _ = read(&text);
    }
}
