//! A cable without a link layer: a TUN device on each host, and this process
//! carrying the packets from one to the other, or not.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::netns::Namespace;

/// More than the devices' MTU.
const PACKET_BYTES: usize = 2048;
/// How soon the carriers see that they are no longer wanted.
const PAUSE_MS: u8 = 100;

/// Says whether a packet is carried on.
pub(crate) type Passes = dyn Fn(&[u8]) -> bool + Send + Sync;

/// The cable; it carries until it is dropped.
#[derive(Debug)]
pub(crate) struct TunCable {
    is_over: Arc<AtomicBool>,
    carriers: Vec<JoinHandle<()>>,
}

impl TunCable {
    /// A cable between devices named `eth0`.
    pub(crate) fn between(one: &Namespace, other: &Namespace) -> Self {
        Self::losing(one, other, |_| true)
    }

    /// The same, of which packets are lost.
    pub(crate) fn losing(
        one: &Namespace,
        other: &Namespace,
        passes: impl Fn(&[u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        let passes: Arc<Passes> = Arc::new(passes);
        let is_over = Arc::new(AtomicBool::new(false));
        let ends =
            [one, other].map(|host| Arc::new(host.enter(open_device).expect("a TUN device")));
        let [a, b] = &ends;
        let carriers = [(a, b), (b, a)].map(|(from, to)| {
            let (from, to, is_over) = (Arc::clone(from), Arc::clone(to), Arc::clone(&is_over));
            let passes = Arc::clone(&passes);
            thread::spawn(move || {
                go_first();
                carry(&from, &to, &*passes, &is_over);
            })
        });
        Self {
            is_over,
            carriers: carriers.into(),
        }
    }
}

impl Drop for TunCable {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for carrier in self.carriers.drain(..) {
            let _ = carrier.join();
        }
    }
}

/// A cable takes no time, however busy the machine is: else the kernel takes for lost what
/// waits here.
#[allow(unsafe_code)]
fn go_first() {
    const FIRST: libc::c_int = -20;
    const THIS_THREAD: libc::id_t = 0;
    // Without the right to it, it is as fast as the others.
    // SAFETY: it takes numbers alone.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, THIS_THREAD, FIRST) };
}

fn carry(mut from: &File, mut to: &File, passes: &Passes, is_over: &AtomicBool) {
    let mut packet = [0; PACKET_BYTES];
    while !is_over.load(Ordering::Relaxed) {
        let mut wanted = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut wanted, PollTimeout::from(PAUSE_MS)), Ok(1..)) {
            continue;
        }
        // An error is a device that is not up, or no longer: as with any cable, the packet is lost.
        if let Ok(length) = from.read(&mut packet) {
            let packet = packet.get(..length).unwrap_or_default();
            if passes(packet) {
                let _ = to.write(packet);
            }
        }
    }
}

/// Makes a TUN device `eth0` in the namespace of this thread; it lives as long as the file.
#[allow(unsafe_code)]
fn open_device() -> io::Result<File> {
    // linux/if_tun.h
    nix::ioctl_write_ptr_bad!(
        tun_set_iff,
        nix::request_code_write!(b'T', 202, size_of::<libc::c_int>()),
        libc::ifreq
    );
    let file = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    // SAFETY: ifreq is plain data, for which zeros are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"eth0".to_bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the file is open, and the request a valid ifreq, as TUNSETIFF wants it.
    unsafe { tun_set_iff(file.as_raw_fd(), &raw const request) }?;
    Ok(file)
}
