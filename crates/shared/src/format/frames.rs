//! Zstandard framing for JSON lines.
//!
//! A file is a series of whole independent frames, each written with one call:
//! whatever ends the recording, every reader finds whole lines. A seek table
//! (contrib/seekable_format of the zstd project) follows at a clean end only,
//! as a skippable frame; nothing ever stands before the data.

use std::io::{self, Write};

use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, compress_bound};

/// How hard zstd tries. On recordings of HTTP and of TLS, in frames of 128 KiB,
/// level 3 makes files 0 to 2 % smaller and needs 20 to 50 % more time.
pub(super) const LEVEL: i32 = 1;

/// How many positions zstd remembers, as a power of two: half as many as it does
/// by itself. Lines repeat what the latest lines said, and the nearer a match, the
/// fewer bits tell where it is: files of short packets are 1 to 2 % smaller and
/// need a tenth less time; bulk data that repeats itself is found less often, and
/// takes 8 % more.
const HASH_LOG: u32 = 13;

/// How far back zstd looks, as a power of two: a quarter of a frame. What the lines
/// say again, lines said lately, and a nearer match takes fewer bits and is in the
/// cache: it needs an eighth less time, and files are 0 to 4 % smaller, those of
/// bulk data that repeats itself 8 % larger. Less makes all larger.
const WINDOW_LOG: u32 = 18;

/// Both, for pcapng too: zstd needs an eighth less time for it, and files are as
/// large as without, within 1.5 %.
pub(super) const PARAMETERS: [CParameter; 2] = [
    CParameter::HashLog(HASH_LOG),
    CParameter::WindowLog(WINDOW_LOG),
];

const SKIPPABLE_MAGIC: u32 = 0x184d_2a5e;
const SEEKABLE_MAGIC: u32 = 0x8f92_eab1;

/// A series of frames.
pub(super) struct Frames<W> {
    output: W,
    compressor: Compressor<'static>,
    frame: Vec<u8>,
    /// Compressed and plain length of each frame.
    lengths: Vec<(u32, u32)>,
}

impl<W: Write> Frames<W> {
    pub(super) fn new(output: W) -> io::Result<Self> {
        let mut compressor = Compressor::new(LEVEL)?;
        for parameter in PARAMETERS {
            compressor.set_parameter(parameter)?;
        }
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(Self {
            output,
            compressor,
            frame: Vec::new(),
            lengths: Vec::new(),
        })
    }

    /// Writes `plain` as one frame.
    pub(super) fn write(&mut self, plain: &[u8]) -> io::Result<()> {
        self.frame.clear();
        self.frame.reserve(compress_bound(plain.len()));
        self.compressor.compress_to_buffer(plain, &mut self.frame)?;
        self.output.write_all(&self.frame)?;
        if let (Ok(compressed), Ok(plain)) = (self.frame.len().try_into(), plain.len().try_into()) {
            self.lengths.push((compressed, plain));
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }

    /// Appends the seek table.
    pub(super) fn finish(mut self) -> io::Result<()> {
        const ENTRY_BYTES: usize = 8;
        const FOOTER_BYTES: usize = 9;
        let table_bytes = self.lengths.len() * ENTRY_BYTES + FOOTER_BYTES;
        let (Ok(frames), Ok(table_bytes)) = (
            u32::try_from(self.lengths.len()),
            u32::try_from(table_bytes),
        ) else {
            // More frames than a seek table can tell of: the file is whole without it.
            return self.output.flush();
        };
        self.frame.clear();
        self.frame.extend(SKIPPABLE_MAGIC.to_le_bytes());
        self.frame.extend(table_bytes.to_le_bytes());
        for (compressed, plain) in self.lengths {
            self.frame.extend(compressed.to_le_bytes());
            self.frame.extend(plain.to_le_bytes());
        }
        self.frame.extend(frames.to_le_bytes());
        // No checksums in the table: each frame has its own.
        self.frame.push(0);
        self.frame.extend(SEEKABLE_MAGIC.to_le_bytes());
        self.output.write_all(&self.frame)?;
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each call wrote.
    #[derive(Default)]
    struct Calls(Vec<Vec<u8>>);

    impl Write for &mut Calls {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_frame_is_written_at_once_and_stands_alone() {
        let mut calls = Calls::default();
        let parts = [
            "one\n".repeat(1000),
            "two\n".into(),
            "three\n".repeat(50_000),
        ];
        let mut frames = Frames::new(&mut calls).unwrap();
        for part in &parts {
            frames.write(part.as_bytes()).unwrap();
        }
        frames.finish().unwrap();

        let [frames @ .., table] = &calls.0[..] else {
            panic!("nothing written");
        };
        assert_eq!(frames.len(), parts.len());
        for (frame, part) in frames.iter().zip(&parts) {
            assert_eq!(zstd::decode_all(&frame[..]).unwrap(), part.as_bytes());
        }
        // A skippable frame: magic number, length, two lengths for each frame,
        // the number of frames, a descriptor, and the other magic number.
        let word = |at: usize| u32::from_le_bytes(*table[at..].first_chunk().unwrap()) as usize;
        assert_eq!([word(0), word(4)], [0x184d_2a5e, table.len() - 8]);
        for (index, (frame, part)) in frames.iter().zip(&parts).enumerate() {
            let entry = [word(8 + 8 * index), word(12 + 8 * index)];
            assert_eq!(entry, [frame.len(), part.len()]);
        }
        assert_eq!(word(8 + 8 * frames.len()), frames.len());
        assert_eq!(table[table.len() - 5], 0);
        assert_eq!(word(table.len() - 4), 0x8f92_eab1);
        assert_eq!(
            zstd::decode_all(&calls.0.concat()[..]).unwrap(),
            parts.concat().as_bytes()
        );
    }
}
