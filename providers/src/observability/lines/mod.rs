//! Cuts a stream of bytes into lines of text.

#[cfg(test)]
mod tests;

/// Longest line in bytes. What is longer goes on in the next line.
pub(super) const LONGEST: usize = 16 * 1024;

/// Ends a line that was cut because it is too long.
pub(super) const GOES_ON: &str = " … [the line goes on]";

/// Splits one stream. Lines end with LF or CR LF; a lone CR is data, as are ANSI sequences.
#[derive(Default)]
pub(super) struct Splitter {
    /// The beginning of a line, at most one byte longer than the longest.
    pending: Vec<u8>,
}

impl Splitter {
    /// Takes the next bytes; hands out each line that is complete.
    pub(super) fn push(&mut self, bytes: &[u8], take: &mut impl FnMut(String)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.pending.extend_from_slice(part);
            self.cut(part.ends_with(b"\n"), take);
        }
    }

    /// Hands out what there is of the last line, because nothing more comes for now.
    pub(super) fn finish(&mut self, take: &mut impl FnMut(String)) {
        if !self.pending.is_empty() {
            self.cut(true, take);
        }
    }

    fn cut(&mut self, ended: bool, take: &mut impl FnMut(String)) {
        let mut rest = self.pending.as_slice();
        if ended {
            rest = rest.strip_suffix(b"\n").unwrap_or(rest);
            rest = rest.strip_suffix(b"\r").unwrap_or(rest);
        }
        // One byte more may stay: it may be the CR of the line's end.
        let longest = if ended { LONGEST } else { LONGEST + 1 };
        while rest.len() > longest {
            let (piece, others) = rest.split_at(character_boundary(rest, LONGEST));
            take(text(piece) + GOES_ON);
            rest = others;
        }
        if ended {
            take(text(rest));
            self.pending.clear();
        } else {
            let done = self.pending.len() - rest.len();
            self.pending.drain(..done);
        }
    }
}

/// The last place up to `end` that is not inside of a character.
fn character_boundary(bytes: &[u8], end: usize) -> usize {
    (end - 3..=end).rev().find(|at| bytes[*at] & 0b1100_0000 != 0b1000_0000).unwrap_or(end)
}

/// PostgreSQL stores no U+0000 and no invalid UTF-8.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{FFFD}")
}
