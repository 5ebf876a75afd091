//! The Merkle tree of RFC 6962 over the whole log: the leaf with index `n` is the event at position `n + 1`.
//!
//! Pure. Sizes and indexes are those of the log's positions, so they are `i64` and never negative.

use sha2::{Digest, Sha256};

/// SHA-256 of a leaf or of a node.
pub type Hash = [u8; 32];

/// The hash of a leaf's bytes.
pub(super) fn leaf_hash(data: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(data).finalize().into()
}

/// The hash of two subtrees.
pub(super) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// A complete subtree: `2^height` leaves, the `index`-th of its height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// 0 is a leaf.
    pub(super) height: u32,
    /// From 0.
    pub(super) index: i64,
    /// Its hash.
    pub(super) hash: Hash,
}

/// A tree that grows at its right edge, as the complete subtrees that it is made of: a few hashes, however large.
#[derive(Clone, Debug, Default)]
pub(super) struct Range {
    size: i64,
    peaks: Vec<(u32, Hash)>,
}

impl Range {
    /// How many leaves it has.
    pub(super) fn size(&self) -> i64 {
        self.size
    }

    /// Appends a complete subtree, not higher than the last one; tells `formed` of every subtree that becomes
    /// complete by it, the appended one included.
    pub(super) fn push(&mut self, height: u32, hash: Hash, mut formed: impl FnMut(Node)) {
        self.size += 1 << height;
        let (mut height, mut hash) = (height, hash);
        loop {
            formed(Node { height, index: (self.size >> height) - 1, hash });
            match self.peaks.last() {
                Some((last, left)) if *last == height => hash = node_hash(left, &hash),
                _ => break,
            }
            self.peaks.pop();
            height += 1;
        }
        self.peaks.push((height, hash));
    }

    /// The hash of the whole tree.
    pub(super) fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev().map(|(_, hash)| *hash);
        let Some(last) = peaks.next() else { return Sha256::digest([]).into() };
        peaks.fold(last, |right, left| node_hash(&left, &right))
    }
}

/// Leaves from the first number up to before the second.
pub(super) type Leaves = (i64, i64);

/// The subtrees whose hashes prove that the leaf `index` stands in the tree of `size` leaves, from the leaf
/// upwards.
pub(super) fn inclusion(index: i64, size: i64) -> Vec<Leaves> {
    let (mut low, mut high, mut path) = (0, size, Vec::new());
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            path.push((middle, high));
            high = middle;
        } else {
            path.push((low, middle));
            low = middle;
        }
    }
    path.reverse();
    path
}

/// The subtrees whose hashes prove that the tree of `old` leaves is the beginning of the tree of `size` leaves.
pub(super) fn consistency(old: i64, size: i64) -> Vec<Leaves> {
    let (mut low, mut high, mut path) = (0, size, Vec::new());
    while old < high {
        let middle = low + split(high - low);
        if old <= middle {
            path.push((middle, high));
            high = middle;
        } else {
            path.push((low, middle));
            low = middle;
        }
    }
    // The old tree itself is known to who asks.
    if low > 0 {
        path.push((low, high));
    }
    path.reverse();
    path
}

/// The largest power of two below `size`, which is 2 at least.
fn split(size: i64) -> i64 {
    1 << (63 - (size - 1).leading_zeros())
}

/// Whether `path` leads from a leaf to the root (RFC 9162, 2.1.3.2).
pub(super) fn proves_inclusion(index: i64, size: i64, leaf: Hash, path: &[Hash], root: Hash) -> bool {
    if index < 0 || index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            let zeros = node.trailing_zeros();
            (node, last) = (node >> zeros, last >> zeros);
        } else {
            hash = node_hash(&hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && hash == root
}

/// Whether `path` proves that one tree is the beginning of another (RFC 9162, 2.1.4.2).
pub fn proves_consistency(old: (i64, Hash), new: (i64, Hash), path: &[Hash]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size == new_size {
        return old_root == new_root && path.is_empty();
    }
    if old_size < 1 || old_size > new_size {
        return false;
    }
    let mut path = path.iter();
    let (mut node, mut last) = (old_size - 1, new_size - 1);
    let ones = node.trailing_ones();
    (node, last) = (node >> ones, last >> ones);
    let first = if node == 0 { Some(&old_root) } else { path.next() };
    let Some(first) = first else { return false };
    let (mut from_old, mut from_new) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            from_old = node_hash(sibling, &from_old);
            from_new = node_hash(sibling, &from_new);
            let zeros = node.trailing_zeros();
            (node, last) = (node >> zeros, last >> zeros);
        } else {
            from_new = node_hash(&from_new, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && from_old == old_root && from_new == new_root
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// MTH of RFC 6962, as it is written there.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => *one,
            many => {
                let (left, right) = many.split_at(usize::try_from(split(many.len() as i64)).unwrap());
                node_hash(&mth(left), &mth(right))
            }
        }
    }

    fn leaves(count: i64) -> Vec<Hash> {
        (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    fn hashes(all: &[Hash], ranges: &[Leaves]) -> Vec<Hash> {
        ranges.iter().map(|(low, high)| mth(&all[*low as usize..*high as usize])).collect()
    }

    #[test]
    fn it_is_the_tree_of_certificate_transparency() {
        // The test vectors of the CT reference implementation.
        let data: [&[u8]; 8] = [
            b"",
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut range = Range::default();
        assert_eq!(hex::encode(range.root()), roots[0]);
        for (data, root) in data.iter().zip(&roots[1..]) {
            range.push(0, leaf_hash(data), |_| {});
            assert_eq!(hex::encode(range.root()), *root);
        }
    }

    #[test]
    fn every_proof_of_every_small_tree_holds_and_no_other_does() {
        for size in 1..40 {
            let all = leaves(size);
            let root = mth(&all);
            for index in 0..size {
                let path = hashes(&all, &inclusion(index, size));
                let leaf = all[index as usize];
                assert!(proves_inclusion(index, size, leaf, &path, root), "{index} of {size}");
                assert!(!proves_inclusion((index + 1) % size, size, leaf, &path, root) || size == 1);
                assert!(!proves_inclusion(index, size, node_hash(&leaf, &leaf), &path, root));
                for at in 0..path.len() {
                    let mut other = path.clone();
                    other[at][0] ^= 1;
                    assert!(!proves_inclusion(index, size, leaf, &other, root));
                    assert!(!proves_inclusion(index, size, leaf, &path[..at], root));
                }
            }
            for old in 1..=size {
                let path = hashes(&all, &consistency(old, size));
                let old_root = mth(&all[..old as usize]);
                assert!(proves_consistency((old, old_root), (size, root), &path), "{old} in {size}");
                let wrong = node_hash(&old_root, &root);
                assert!(!proves_consistency((old, wrong), (size, root), &path));
                assert!(!proves_consistency((old, old_root), (size, wrong), &path));
            }
        }
    }

    proptest! {
        #[test]
        fn a_tree_that_grew_is_the_tree_of_its_leaves(size in 0_i64..700) {
            let all = leaves(size);
            let (mut range, mut formed) = (Range::default(), Vec::new());
            for leaf in &all {
                range.push(0, *leaf, |node| formed.push(node));
            }
            prop_assert_eq!(range.root(), mth(&all));
            for Node { height, index, hash } in formed {
                let (low, high) = (index << height, (index + 1) << height);
                prop_assert_eq!(hash, mth(&all[low as usize..high as usize]));
            }
        }
    }
}
