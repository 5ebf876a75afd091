//! A listener of the platform's inside a network that is not its own.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Listens inside the network of a process. A socket stays in the network that it was made in; the thread that enters
/// that network ends there, so that nothing else of the platform is ever in it.
pub(in crate::runner) fn listen_in(pid: i32, address: SocketAddr) -> io::Result<TcpListener> {
    let network = File::open(format!("/proc/{pid}/ns/net"))?;
    let entered = thread::Builder::new().name("build-network".to_owned()).spawn(move || {
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    })?;
    entered.join().unwrap_or_else(|_| Err(io::Error::other("the network of a build was not entered")))
}
