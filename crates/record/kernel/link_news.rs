//! News of the interfaces of a network namespace: that something changed with one, not
//! what (rtnetlink(7), the group of links).

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

use super::namespace::Namespace;

/// A socket that can be read when there is news.
#[derive(Debug)]
pub(crate) struct LinkNews(OwnedFd);

impl LinkNews {
    /// Hears of all that happens in a network namespace from now on.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn open(namespace: &Namespace) -> io::Result<Self> {
        let open = || -> nix::Result<OwnedFd> {
            let socket = socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
                SockProtocol::NetlinkRoute,
            )?;
            let any_port = 0;
            let groups = libc::RTMGRP_LINK.cast_unsigned();
            bind(socket.as_raw_fd(), &NetlinkAddr::new(any_port, groups))?;
            Ok(socket)
        };
        Ok(Self(namespace.run(open)??))
    }

    /// Whether there was any since it was asked last.
    pub(crate) fn take(&self) -> bool {
        let mut is_any = false;
        loop {
            // What does not fit is cut off: nothing of it is read.
            match recv(self.0.as_raw_fd(), &mut [0; 16], MsgFlags::empty()) {
                // Told once when there was no room for more.
                Ok(_) | Err(Errno::ENOBUFS) => is_any = true,
                Err(_) => return is_any,
            }
        }
    }
}

impl AsFd for LinkNews {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
