//! Which version of Node a repository gets.

use nodejs_semver::{Range, Version};

/// The major version when nothing is said, and the preferred one of several: the oldest that Mastra supports.
const DEFAULT_MAJOR: u64 = 22;
/// Two major versions a year: enough for decades.
const MAX_MAJOR: u64 = 100;
/// What Mastra needs.
pub(super) const MINIMUM: &str = ">=22.13.0";
/// Names of the long-term lines, as `.nvmrc` may hold them.
const LONG_TERM: [(&str, u64); 4] = [("iron", 20), ("jod", 22), ("krypton", 24), ("*", DEFAULT_MAJOR)];

/// Reads a range as `engines.node`, `.nvmrc` and `.node-version` write it: `>=22`, `v22.14.0`, `lts/jod`.
pub(super) fn parse(text: &str) -> Option<Range> {
    let text = text.trim();
    let text = match text.strip_prefix("lts/") {
        Some(name) => {
            let major = LONG_TERM.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?.1;
            return Range::parse(format!("{major}.x")).ok();
        }
        None => text,
    };
    match text {
        "" => None,
        "node" | "stable" | "latest" | "current" => Some(Range::any()),
        _ => Range::parse(text).ok(),
    }
}

/// Whether every version of the range is older than what Mastra needs.
pub(super) fn too_old(range: &Range) -> bool {
    !range.allows_any(&minimum())
}

/// The range of an app: its own, or the default line.
pub(super) fn wanted(range: Option<&str>) -> Range {
    range
        .and_then(parse)
        .unwrap_or_else(|| Range::parse(format!("{DEFAULT_MAJOR}.x")).expect("a number and `.x` is a range"))
}

/// Whether a version may build an app that wants `range`.
pub(super) fn fits(version: &Version, range: &Range) -> bool {
    range.satisfies(version) && (minimum().satisfies(version) || too_old(range))
}

/// The part of the range to install from: one major version, so that the choice does not change with every
/// new one. The default line if the range allows it, else the oldest newer long-term (even) line, else the
/// newest.
pub(super) fn line(range: &Range) -> Option<Range> {
    let range = if too_old(range) { range.clone() } else { range.intersect(&minimum())? };
    let newer = (DEFAULT_MAJOR..MAX_MAJOR).step_by(2);
    newer.chain((0..MAX_MAJOR).rev()).find_map(|major| {
        let line = Range::parse(format!("{major}.x")).expect("a number and `.x` is a range");
        range.intersect(&line)
    })
}

fn minimum() -> Range {
    Range::parse(MINIMUM).expect("a constant that is a range")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_version_fits_the_range_and_mastra() {
        let available = ["18.20.0", "20.19.0", "22.5.0", "22.13.0", "22.23.3", "23.1.0", "24.4.0", "26.1.0"]
            .map(|text| Version::parse(text).unwrap());
        let cases = [
            (">=22.13.0", Some("22.23.3")),
            ("22", Some("22.23.3")),
            (">=18", Some("22.23.3")),
            ("v22.13.0", Some("22.13.0")),
            ("22.5.0", Some("22.5.0")), // as asked for, with a warning
            ("^20 || ^18", Some("20.19.0")),
            ("lts/krypton", Some("24.4.0")),
            ("lts/*", Some("22.23.3")),
            ("node", Some("22.23.3")),
            (">=23", Some("24.4.0")),
            ("23.x", Some("23.1.0")),
            ("99", None),
        ];
        for (range, version) in cases {
            let line = line(&wanted(Some(range))).unwrap();
            let chosen = available.iter().rev().find(|version| line.satisfies(version));
            assert_eq!(chosen.map(ToString::to_string).as_deref(), version, "{range} -> {line}");
        }
        assert!(line(&wanted(None)).unwrap().satisfies(&available[4]));
        assert!(line(&Range::parse(">200").unwrap()).is_none());
    }

    #[test]
    fn another_version_of_the_machine_fits_only_if_mastra_runs_on_it() {
        let version = |text: &str| Version::parse(text).unwrap();
        assert!(fits(&version("24.1.0"), &wanted(Some(">=20"))));
        assert!(!fits(&version("20.19.0"), &wanted(Some(">=20"))));
        assert!(fits(&version("20.19.0"), &wanted(Some("20.x"))));
        assert!(!fits(&version("24.1.0"), &wanted(None)));
    }

    #[test]
    fn nonsense_is_no_range() {
        for text in ["", "lts/nothing", "banana"] {
            assert!(parse(text).is_none(), "{text}");
        }
        assert!(too_old(&parse("20.x").unwrap()));
        assert!(!too_old(&parse(">=20").unwrap()));
    }
}
