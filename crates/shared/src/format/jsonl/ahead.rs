//! Reading compressed JSON lines frame by frame, on several cores.
//!
//! The frames of a capture are independent, and each holds whole lines. So the threads
//! of rayon's global pool decompress and parse the next few of them while the records
//! of the first are given out, in the order of the file. They are those that work on the
//! records too: with threads of its own there would be more than cores, each in the way of
//! the others. On one core a frame is read when it is asked for, which still is faster
//! than line by line. From the first frame on that
//! is not so, the usual [`Reader`] goes on: it is the one that says what is wrong.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::Yield;
use zstd::bulk::Decompressor;
use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};

use super::{Line, Reader, check_schema, parse};
use crate::batch::Batch;
use crate::format::open::Counted;
use crate::format::window::Window;
use crate::record::Record;
use crate::stream::{ReadError, Source};

/// So many frames for each thread are read ahead: enough to do for all others while one
/// does what can only be done in order.
const FRAMES_OF_A_THREAD: usize = 3;

/// Frames are read ahead for so many threads at most: one analysis needs no more.
const MAX_THREADS: usize = 8;

/// A larger frame, compressed or not, is left to the usual reader: it takes as
/// much memory for each thread. The recorder writes frames of 1 MiB.
const MAX_FRAME_BYTES: usize = 4 << 20;

/// As much is read at a time.
const READ_BYTES: usize = 256 << 10;

/// A frame, and room for what is in it. Both come back with the batch.
struct Job {
    frame: Vec<u8>,
    batch: Batch,
    done: SyncSender<Done>,
}

/// The frame, what is in it, and how many bytes that was; none of these if it is
/// for the usual reader.
type Done = (Vec<u8>, Option<(Batch, u64)>);

/// A frame that is being read.
struct Pending {
    offset: u64,
    done: Receiver<Done>,
}

/// A file of compressed JSON lines as a source.
pub(in crate::format) struct Ahead {
    file: File,
    read_bytes: Arc<AtomicU64>,
    /// What was read: from `start` on what is not a frame yet, and its place in the file.
    buffer: Vec<u8>,
    start: usize,
    offset: u64,
    workers: Workers,
    pending: VecDeque<Pending>,
    /// The frame whose records are being given out.
    current: Batch,
    /// Plain bytes of all frames before.
    plain_bytes: u64,
    spare: Vec<(Vec<u8>, Batch)>,
    rest: Option<Reader>,
}

impl Ahead {
    /// Reads `file` from its start, with so many threads if that is more than one; what
    /// is read is counted.
    pub(in crate::format) fn new(file: File, threads: usize, read_bytes: Arc<AtomicU64>) -> Self {
        Self {
            file,
            read_bytes,
            buffer: Vec::new(),
            start: 0,
            offset: 0,
            workers: Workers::new(threads.min(MAX_THREADS)),
            pending: VecDeque::new(),
            current: Batch::default(),
            plain_bytes: 0,
            spare: Vec::new(),
            rest: None,
        }
    }

    /// Has the next frames read until there are enough of them.
    fn send(&mut self) -> io::Result<()> {
        while self.pending.len() < self.workers.most_pending() {
            let Some(frame_bytes) = self.find_frame()? else {
                return Ok(());
            };
            let (mut frame, batch) = self.spare.pop().unwrap_or_default();
            frame.clear();
            frame.extend_from_slice(&self.buffer[self.start..self.start + frame_bytes]);
            self.start += frame_bytes;
            let (done, done_with) = mpsc::sync_channel(1);
            self.workers.send(Job { frame, batch, done });
            self.pending.push_back(Pending {
                offset: self.offset,
                done: done_with,
            });
            self.offset += frame_bytes as u64;
        }
        Ok(())
    }

    /// The length of the frame that comes next in the buffer, if it is whole and
    /// not too large.
    fn find_frame(&mut self) -> io::Result<Option<usize>> {
        const FRAME_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
        loop {
            let next = &self.buffer[self.start..];
            if next.starts_with(&FRAME_MAGIC)
                && let Ok(bytes) = find_frame_compressed_size(next)
            {
                return Ok(Some(bytes).filter(|bytes| *bytes <= MAX_FRAME_BYTES));
            }
            if next.len() >= MAX_FRAME_BYTES {
                return Ok(None);
            }
            // Not for each frame: there may be thousands in a buffer.
            self.buffer.drain(..mem::take(&mut self.start));
            let known = self.buffer.len();
            self.buffer.resize(known + READ_BYTES, 0);
            let read = self.file.read(&mut self.buffer[known..]);
            let read_bytes = *read.as_ref().unwrap_or(&0);
            self.buffer.truncate(known + read_bytes);
            self.read_bytes
                .fetch_add(read_bytes as u64, Ordering::Relaxed);
            match read {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Goes on to the next frame, or to the usual reader for all that is left.
    fn advance(&mut self) -> Result<(), ReadError> {
        self.send()?;
        let Some(next) = self.pending.pop_front() else {
            return self.leave(self.offset);
        };
        let Some((frame, Some((batch, plain_bytes)))) = wait(&next.done) else {
            return self.leave(next.offset);
        };
        self.plain_bytes += plain_bytes;
        let before = mem::replace(&mut self.current, batch);
        self.spare.push((frame, before));
        Ok(())
    }

    /// Leaves all from a place in the file on to the usual reader.
    fn leave(&mut self, offset: u64) -> Result<(), ReadError> {
        self.pending.clear();
        let buffered = self.buffer.len() - self.start;
        let read_ahead = self.offset + buffered as u64 - offset;
        let input: Box<dyn Read + Send> = if read_ahead > 0 {
            self.read_bytes.fetch_sub(read_ahead, Ordering::Relaxed);
            let mut input = self.file.try_clone()?;
            input.seek(SeekFrom::Start(offset))?;
            let read_bytes = Arc::clone(&self.read_bytes);
            Box::new(zstd::Decoder::new(Counted { input, read_bytes })?)
        } else {
            // A decoder takes an input without a frame for one that is cut.
            Box::new(io::empty())
        };
        let window = Window::at(self.plain_bytes, input);
        self.rest = Some(Reader {
            begun: self.plain_bytes > 0,
            ..Reader::new(window)
        });
        Ok(())
    }
}

/// Waits for a frame; a thread of the pool does what else there is to do meanwhile.
fn wait(frame: &Receiver<Done>) -> Option<Done> {
    loop {
        match frame.try_recv() {
            Ok(done) => return Some(done),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) if rayon::yield_now() == Some(Yield::Executed) => {}
            Err(TryRecvError::Empty) => return frame.recv().ok(),
        }
    }
}

impl Source for Ahead {
    fn next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        while self.current.is_empty() && self.rest.is_none() {
            self.advance()?;
        }
        match &mut self.rest {
            Some(rest) if self.current.is_empty() => rest.next(),
            _ => Ok(self.current.take_next()),
        }
    }

    fn has_next(&self) -> bool {
        let rest = self.rest.as_ref();
        !self.current.is_empty() || rest.is_some_and(Reader::has_next)
    }

    fn fill(&mut self, batch: &mut Batch) -> Result<bool, ReadError> {
        while self.current.is_empty() && self.rest.is_none() {
            self.advance()?;
        }
        match &mut self.rest {
            Some(rest) if self.current.is_empty() => rest.fill(batch),
            _ if self.current.is_whole() => {
                mem::swap(batch, &mut self.current);
                Ok(true)
            }
            _ => {
                while let Some(record) = self.current.take_next() {
                    batch.push(record);
                }
                Ok(true)
            }
        }
    }
}

/// Who reads frames: rayon's threads, or, if there is to be one only, whoever asks.
struct Workers {
    /// Those that have nothing to do; as many as are at work at the same time will be.
    idle: Arc<Mutex<Vec<Worker>>>,
    threads: usize,
}

impl Workers {
    fn new(threads: usize) -> Self {
        Self {
            idle: Arc::default(),
            threads,
        }
    }

    const fn most_pending(&self) -> usize {
        match self.threads {
            ..2 => 1,
            threads => FRAMES_OF_A_THREAD * threads,
        }
    }

    fn send(&self, job: Job) {
        let idle = Arc::clone(&self.idle);
        let answer = move || {
            let idle = || idle.lock().unwrap_or_else(PoisonError::into_inner);
            let worker = idle().pop();
            // Where nobody answers the usual reader takes over.
            if let Some(mut worker) = worker.or_else(Worker::new) {
                worker.answer(job);
                idle().push(worker);
            }
        };
        match self.threads {
            ..2 => answer(),
            _ => rayon::spawn_fifo(answer),
        }
    }
}

/// Reads one frame after the other.
struct Worker {
    decompressor: Decompressor<'static>,
    plain: Vec<u8>,
    data: Vec<u8>,
}

impl Worker {
    fn new() -> Option<Self> {
        Some(Self {
            decompressor: Decompressor::new().ok()?,
            plain: Vec::new(),
            data: Vec::new(),
        })
    }

    fn answer(&mut self, Job { frame, batch, done }: Job) {
        let (plain, data) = (&mut self.plain, &mut self.data);
        let batch = read(&frame, batch, &mut self.decompressor, plain, data);
        // Nobody waits for it where the reader was left.
        let _ = done.send((frame, batch));
    }
}

/// The records of a frame; none if there is anything in it that is not a whole
/// line with a record, or of a later minor schema.
fn read(
    frame: &[u8],
    mut batch: Batch,
    decompressor: &mut Decompressor<'_>,
    plain: &mut Vec<u8>,
    data: &mut Vec<u8>,
) -> Option<(Batch, u64)> {
    batch.clear();
    plain.clear();
    let plain_bytes = usize::try_from(get_frame_content_size(frame).ok()??).ok()?;
    if plain_bytes > MAX_FRAME_BYTES {
        return None;
    }
    plain.reserve(plain_bytes);
    decompressor.decompress_to_buffer(frame, plain).ok()?;
    data.clear();
    let mut rest = plain.as_slice();
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest)?;
        let (line, after) = rest.split_at_checked(end)?;
        rest = after.get(1..)?;
        let start = data.len();
        match parse(line, data).ok()? {
            Line::Packet(packet) => batch.push_packet_at(&packet, start..data.len()),
            Line::Other(record) => {
                if let Record::Capture(capture) = &record {
                    check_schema(capture).ok()?;
                }
                batch.push_other(record);
                // Short lines may hold much, as many empty words.
                if batch.memory_bytes() > MAX_FRAME_BYTES {
                    return None;
                }
            }
            // What a file may not begin with.
            Line::Unknown(_) if batch.is_empty() => return None,
            Line::Unknown(_) => {}
        }
    }
    batch.exchange(data);
    Some((batch, plain_bytes as u64))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use crate::format::frames::{Frames, LEVEL};
    use crate::format::open_reader;

    use super::*;

    /// What a source gives, up to its end or an error that is none to pass over.
    fn all(mut source: impl Source) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            match source.next() {
                Ok(Some(record)) => told.push(format!("{record:?}")),
                Ok(None) => return told,
                Err(error) => {
                    told.push(format!("{error:?}"));
                    if !error.is_passing() {
                        return told;
                    }
                }
            }
        }
    }

    /// All readers tell the same of a file of these frames and what follows them.
    fn check(frames: &[Vec<u8>], rest: &[u8]) -> Vec<String> {
        check_with(1, frames, rest);
        check_with(3, frames, rest);
        rayon::scope(|_| check_with(3, frames, rest)) // by one of those who read
    }

    fn check_with(threads: usize, frames: &[Vec<u8>], rest: &[u8]) -> Vec<String> {
        let mut file = tempfile::tempfile().unwrap();
        for frame in frames {
            let frame = zstd::bulk::compress(frame, LEVEL).unwrap();
            file.write_all(&frame).unwrap();
        }
        file.write_all(rest).unwrap();
        let again = |file: &File| {
            let mut file = file.try_clone().unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            file
        };
        let read_bytes = Arc::default();
        let ahead = all(Ahead::new(again(&file), threads, Arc::clone(&read_bytes)));
        let expected = match open_reader(again(&file)) {
            Ok(input) => all(input),
            Err(error) => vec![format!("{error:?}")],
        };
        for (ahead, expected) in ahead.iter().zip(&expected) {
            assert_eq!(ahead, expected);
        }
        assert_eq!(ahead.len(), expected.len());
        let read_bytes = read_bytes.load(Ordering::Relaxed);
        let file_bytes = file.metadata().unwrap().len();
        assert!(read_bytes <= file_bytes, "{read_bytes} of {file_bytes}");
        ahead
    }

    fn packet(number: usize) -> String {
        format!(
            "{{\"type\":\"packet\",\"ts_ns\":{number},\"interface\":0,\"wire_bytes\":2,\"data\":\"AAA=\"}}\n"
        )
    }

    /// Frames of 100 packets, with a loss before the last.
    fn frames(count: usize) -> Vec<Vec<u8>> {
        let frame = |frame| {
            let mut text: String = (0..99).map(|number| packet(frame * 100 + number)).collect();
            text += "{\"type\":\"loss\",\"cause\":\"writer\",\"lost\":\"packets\",\"count\":1,\"bytes\":1,\"first_ns\":1,\"last_ns\":2}\n";
            text += &packet(frame * 100 + 99);
            text.into_bytes()
        };
        (0..count).map(frame).collect()
    }

    #[test]
    fn records_come_in_the_order_of_the_file() {
        assert_eq!(check(&frames(50), b"").len(), 50 * 101);
        // A seek table, or any skippable frame.
        let table = [&[0x5e, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        assert_eq!(check(&frames(7), &table).len(), 7 * 101);
        assert_eq!(check(&frames(3), &table[..9]).len(), 3 * 101 + 1);
    }

    #[test]
    fn what_is_unusual_is_told_as_by_the_usual_reader() {
        let with = |place: usize, frame: &[u8]| {
            let mut frames = frames(9);
            frames[place] = frame.to_vec();
            frames
        };
        for place in [0, 5, 8] {
            for frame in [
                &b"{\"type\":\"packet\"}\n"[..],
                b"{\"type\":\"later\"}\n",
                b"\n \n",
                b"",
                b"{\"type\":\"capture\",\"schema\":{\"major\":99,\"minor\":0},\"program\":\"x\"}\n",
            ] {
                check(&with(place, frame), b"");
            }
            let mut across = frames(9);
            let half = across[place].split_off(1234);
            across.insert(place + 1, half);
            check(&across, b"");
        }
        let frame = zstd::bulk::compress(&frames(1)[0], LEVEL).unwrap();
        for cut in [1, 3, 7, frame.len() - 1] {
            check(&frames(4), &frame[..cut]);
        }
        let mut damaged = frame.clone();
        damaged[frame.len() / 2] ^= 0xff;
        check(&frames(4), &damaged);
        // Of a frame that is found damaged at its end, what was there before.
        let mut long = Vec::new();
        let lines = frames(100).concat();
        Frames::new(&mut long).unwrap().write(&lines).unwrap();
        *long.last_mut().unwrap() ^= 0xff;
        assert!(check(&frames(2), &long).len() > 50 * 101);
        check(&frames(2), b"something else");
    }

    #[test]
    fn large_frames_are_left_to_the_usual_reader() {
        let mut frames = frames(3);
        frames[1] = frames[1].repeat(MAX_FRAME_BYTES / frames[1].len() + 1);
        check(&frames, b"");
    }
}
