//! The network of a sandbox: the machine's, or one of its own in which nothing is but a listener of the platform's.

use std::net::SocketAddr;

/// What network a command sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runner::local) enum Network {
    /// The machine's.
    Machine,
    /// One of its own. The platform listens in it at this address: see [`super::Running::door`].
    Own(SocketAddr),
}
