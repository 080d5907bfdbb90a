//! The rest of a packet behind the headers that were read already: its bytes,
//! and what is known of their length on the wire. Every read is checked here.

use super::Other;

/// The rest of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rest<'a> {
    /// What was captured of it: never more than `wire_bytes`.
    pub(super) data: &'a [u8],
    /// Its length on the wire: as the innermost header around it says, else
    /// as the frame says.
    pub(super) wire_bytes: u32,
    /// Where it begins, from the start of the packet.
    pub(super) offset_bytes: u32,
    /// How many encapsulations it was taken out of; see
    /// [`Segment::tunnels`](super::Segment::tunnels).
    pub(super) tunnels: u8,
}

impl<'a> Rest<'a> {
    /// A whole packet, of which `data` was captured out of `wire_bytes`.
    pub(super) fn new(data: &'a [u8], wire_bytes: u32) -> Self {
        let whole = Self {
            data,
            wire_bytes: u32::MAX,
            offset_bytes: 0,
            tunnels: 0,
        };
        // Some writers give an original length below the captured one.
        let captured_bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
        whole.limit(wire_bytes.max(captured_bytes))
    }

    /// What follows after `bytes` more.
    pub(super) fn skip(self, bytes: usize) -> Result<Self, Other> {
        let data = self.data.get(bytes..).ok_or_else(|| self.lacks(bytes))?;
        // That is not more than was captured, nor this more than `wire_bytes`.
        let bytes = bytes as u32;
        Ok(Self {
            data,
            wire_bytes: self.wire_bytes - bytes,
            offset_bytes: self.offset_bytes + bytes,
            tunnels: self.tunnels,
        })
    }

    /// The same, ending where a header says that it ends. That may be beyond
    /// the frame's end: the header is believed.
    pub(super) fn limit(self, wire_bytes: u32) -> Self {
        let end = self.data.len().min(wire_bytes as usize);
        Self {
            data: self.data.get(..end).unwrap_or(self.data),
            wire_bytes,
            ..self
        }
    }

    /// The same, one encapsulation deeper.
    pub(super) const fn tunneled(self) -> Self {
        Self {
            tunnels: self.tunnels.saturating_add(1),
            ..self
        }
    }

    /// The `N` bytes that begin `at` bytes further on.
    pub(super) fn bytes<const N: usize>(self, at: usize) -> Result<[u8; N], Other> {
        self.data
            .get(at..)
            .and_then(<[u8]>::first_chunk)
            .copied()
            .ok_or_else(|| self.lacks(at.saturating_add(N)))
    }

    /// The byte that stands `at` bytes further on.
    pub(super) fn u8(self, at: usize) -> Result<u8, Other> {
        self.bytes(at).map(|[byte]| byte)
    }

    /// The big-endian number that begins `at` bytes further on.
    pub(super) fn u16(self, at: usize) -> Result<u16, Other> {
        self.bytes(at).map(u16::from_be_bytes)
    }

    /// Why `bytes` can't be read.
    pub(super) fn lacks(self, bytes: usize) -> Other {
        if bytes as u64 <= u64::from(self.wire_bytes) {
            Other::Cut
        } else {
            Other::Malformed
        }
    }
}
