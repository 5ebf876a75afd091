//! Symbolic links that must not lead out of a directory.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path};

/// As many links in a row as Linux follows.
const MAX_LINKS: usize = 40;

/// Whether everything that opening `link` (below `root`) would go through lies in `root`, also when the end
/// does not exist. Follows each link on the way as the kernel does: `a/../b` is not `b` when `a` is a link.
pub(crate) fn stay_inside(root: &Path, link: &Path) -> bool {
    let Ok(relative) = link.strip_prefix(root) else { return false };
    let mut todo: VecDeque<OsString> = relative.components().map(|part| part.as_os_str().into()).collect();
    let (mut here, mut depth, mut links) = (root.to_path_buf(), 0_usize, 0);
    while let Some(part) = todo.pop_front() {
        match Path::new(&part).components().next() {
            None | Some(Component::CurDir) => {}
            Some(Component::ParentDir) if depth == 0 => return false,
            Some(Component::ParentDir) => {
                here.pop();
                depth -= 1;
            }
            Some(Component::RootDir | Component::Prefix(_)) => return false,
            Some(Component::Normal(name)) => match fs::read_link(here.join(name)) {
                Ok(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return false;
                    }
                    for part in target.components().rev() {
                        todo.push_front(part.as_os_str().into());
                    }
                }
                Err(_) => {
                    here.push(name);
                    depth += 1;
                }
            },
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_is_judged_by_where_the_kernel_would_go() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        let cases = [
            ("plain", "a/b", true),
            ("dangling", "a/none", true),
            ("a/up", "../a", true),
            ("absolute", "/etc/passwd", false),
            ("above", "..", false),
            ("a/b/c/up", "../../..", true),
            ("through-up", "a/b/c/up/../..", false), // by its text it would be a/b
            ("dangling-out", "none/../../x", false),
            ("loop", "loop", false),
            ("to-absolute", "absolute", false),
        ];
        for (name, target, _) in cases {
            symlink(target, root.join(name)).unwrap();
        }
        for (name, target, inside) in cases {
            assert_eq!(stay_inside(&root, &root.join(name)), inside, "{name} -> {target}");
        }
    }
}
