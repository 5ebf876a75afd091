//! The network of a sandbox: the machine's, or one of its own in which nothing is but what the platform puts there.

use std::net::SocketAddr;

/// What network a command sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runner::local) enum Network {
    /// The machine's.
    Machine,
    /// One of its own. The platform listens in it at this address: see [`super::Running::door`].
    Own(SocketAddr),
    /// One of its own with ways in and out, through the platform, which is at this address of its loopback: see
    /// [`super::Running::space`].
    Ways(Option<SocketAddr>),
}
