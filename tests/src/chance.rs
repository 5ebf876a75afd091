//! Numbers that nobody knows before.

use uuid::Uuid;

/// A number below `n`.
pub fn below(n: u64) -> u64 {
    Uuid::now_v7().as_u64_pair().1 % n
}
