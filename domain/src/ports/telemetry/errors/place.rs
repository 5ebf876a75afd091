//! Where an exception was thrown, in a form that the next build has, too: function and file of the innermost frame that is
//! the application's own, without lines and folders.

use super::alike::normal;

/// Bytes that are looked at.
const MOST: usize = 16 << 10;
/// Where files are that are not the application's own.
const FOREIGN: [&str; 4] = ["/node_modules/", "\\node_modules\\", "site-packages/", "/lib/python"];
/// What their names begin with.
const INNER: [&str; 5] = ["node:", "internal/", "node_modules/", "<anonymous>", "<frozen"];
/// What functions of Java itself begin with.
const JAVA: [&str; 3] = ["java.", "jdk.", "sun."];

/// A frame: the function, and where it is.
struct Frame<'a> {
    function: &'a str,
    file: &'a str,
}

impl Frame<'_> {
    /// Whether it is the application's own.
    fn is_own(&self) -> bool {
        let Self { function, file } = self;
        // Java names no folders, and the packages of its functions.
        let is_java = !file.contains('/') && JAVA.iter().any(|package| function.starts_with(package));
        let is_inner = *file == "native" || INNER.iter().any(|start| file.starts_with(start));
        !is_java && !is_inner && !FOREIGN.iter().any(|folder| file.contains(folder))
    }
}

/// Of a stack as JavaScript, Java or Python write one; empty when it is another text.
pub(super) fn thrown(stack: &str) -> String {
    let lines = super::cut(stack, MOST).lines().map(str::trim);
    let mut frames: Vec<Frame<'_>> = lines.clone().filter_map(below_at).collect();
    if frames.is_empty() {
        frames = lines.filter_map(python).collect();
        // Python's innermost frame is its last.
        frames.reverse();
    }
    let own = frames.iter().find(|frame| frame.is_own());
    let Some(frame) = own.or(frames.first()) else { return String::new() };
    let file = frame.file.rsplit(['/', '\\']).next().unwrap_or_default();
    let name = file.split(['?', ':']).next().unwrap_or_default();
    format!("{} {}", frame.function, normal(name))
}

/// `at run (file:///app/index.mjs:1:2)`, `at /app/index.mjs:1:2`, `at com.acme.Shop.buy(Shop.java:7)`.
fn below_at(line: &str) -> Option<Frame<'_>> {
    let said = line.strip_prefix("at ")?;
    let said = ["async ", "new "].iter().fold(said, |said, word| said.strip_prefix(word).unwrap_or(said));
    match said.strip_suffix(')').and_then(|said| said.rsplit_once('(')) {
        Some((function, file)) => Some(Frame { function: function.trim(), file }),
        None => Some(Frame { function: "", file: said }),
    }
}

/// `File "/app/shop.py", line 7, in buy`.
fn python(line: &str) -> Option<Frame<'_>> {
    let (file, rest) = line.strip_prefix("File \"")?.split_once('"')?;
    let function = rest.rsplit_once(", in ").map_or("", |(_, function)| function);
    Some(Frame { function, file })
}
