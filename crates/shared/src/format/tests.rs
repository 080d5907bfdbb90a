//! What is written is read back, whatever the format; what is cut or damaged
//! never does harm.

mod files;
mod foreign;
pub(super) mod generate;
mod merged;

use std::io::{self, Cursor, Read, Write};

use proptest::prelude::*;
use proptest::sample::Index;

use crate::record::Record;
use crate::stream::{ReadError, Sink, Source};

use super::*;
use generate::Stream;

/// All records of a file, what was passed over, and what ended it.
#[derive(Debug, Default)]
struct Contents {
    records: Vec<Record<'static>>,
    damaged: Vec<String>,
    end: Option<ReadError>,
}

fn read(file: impl Read + Send + 'static) -> Contents {
    let mut read = Contents::default();
    let mut input = match open_reader(file) {
        Ok(input) => input,
        Err(error) => {
            read.end = Some(error);
            return read;
        }
    };
    loop {
        match input.next() {
            Ok(Some(record)) => read.records.push(record.into_owned()),
            Ok(None) => return read,
            Err(error) if error.is_passing() => read.damaged.push(error.to_string()),
            Err(error) => {
                assert!(matches!(input.next(), Ok(None)), "records after {error}");
                read.end = Some(error);
                return read;
            }
        }
    }
}

/// A sink into `file`.
fn sink<'a>(format: Format, file: &'a mut Vec<u8>) -> Box<dyn Sink + 'a> {
    match (format.container, format.compression) {
        (Container::Jsonl, Compression::None) => Box::new(jsonl::Writer::plain(file, None)),
        (Container::Jsonl, _) => Box::new(jsonl::Writer::zstd(file, None).unwrap()),
        (_, Compression::None) => Box::new(pcapng::Writer::plain(file)),
        _ => Box::new(pcapng::Writer::zstd(file).unwrap()),
    }
}

/// A file of `stream`, in which each packet has the annotation of the stream.
fn write(format: Format, stream: &Stream) -> Vec<u8> {
    let mut file = Vec::new();
    let mut sink = sink(format, &mut file);
    for record in &stream.records {
        let annotation = stream.annotation();
        sink.write(record, annotation.as_ref()).unwrap();
    }
    sink.finish().unwrap();
    file
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_format_gives_back_what_was_written(stream in generate::stream()) {
        for format in Format::WRITABLE {
            let read = read(Cursor::new(write(format, &stream)));
            prop_assert!(read.end.is_none(), "{format}: {:?}", read.end);
            prop_assert_eq!(&read.damaged, &[""; 0]);
            prop_assert_eq!(&read.records, &stream.records, "{}", format);
        }
    }

    #[test]
    fn damage_never_does_harm(
        stream in generate::stream(),
        damage in prop::collection::vec((any::<Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<Index>()),
    ) {
        for mut file in files_of_every_kind(&stream) {
            for (at, byte) in &damage {
                let at = at.index(file.len());
                file[at] = *byte;
            }
            if let Some(cut) = cut {
                file.truncate(cut.index(file.len()));
            }
            let len = file.len();
            let read = read(Trickle(Cursor::new(file)));
            prop_assert!(read.damaged.len() <= len);
        }
    }
}

/// A file of each format that is read, in both byte orders.
fn files_of_every_kind(stream: &Stream) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = Format::WRITABLE.map(|format| write(format, stream)).into();
    for magic in [MICROSECONDS, NANOSECONDS, KUZNETSOV] {
        files.push(pcap(magic, true, stream));
    }
    files
}

/// A pcap file of the packets of `stream`, in the first second after the epoch.
fn pcap(magic: u32, big_endian: bool, stream: &Stream) -> Vec<u8> {
    let (order, version): (fn(u32) -> [u8; 4], _) = match big_endian {
        true => (u32::to_be_bytes, 0x0002_0004),
        false => (u32::to_le_bytes, 0x0004_0002),
    };
    let mut file = Vec::new();
    file.extend([magic, version, 0, 0, 65535, 1].into_iter().flat_map(order));
    for record in &stream.records {
        if let Record::Packet(packet) = record {
            let fraction = (packet.ts_ns as u32) % 1000;
            let len = packet.data.len() as u32;
            let header = [0, fraction, len, packet.wire_bytes, 0, 0];
            let header_len = if magic == KUZNETSOV { 6 } else { 4 };
            file.extend(header.into_iter().take(header_len).flat_map(order));
            file.extend_from_slice(&packet.data);
        }
    }
    file
}

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
const KUZNETSOV: u32 = 0xa1b2_cd34;

/// Gives one byte, then two, then three, ..., as a slow pipe may.
struct Trickle(Cursor<Vec<u8>>);

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(1 + self.0.position() as usize % 7);
        self.0.read(&mut buffer[..len])
    }
}

/// Whatever byte a file ends at: all whole records and no other, and an error
/// unless it ends between two.
#[test]
fn a_cut_file_gives_all_whole_records() {
    let stream = generate::example();
    for format in Format::WRITABLE {
        let mut ends = Vec::new();
        let file = {
            let shared = Shared::default();
            let mut sink = create_writer(format, shared.clone(), None).unwrap();
            for record in &stream.records {
                sink.write(record, stream.annotation().as_ref()).unwrap();
                sink.flush().unwrap();
                ends.push(shared.len());
            }
            sink.finish().unwrap();
            shared.take()
        };
        for cut in 0..file.len() {
            let read = read(Cursor::new(file[..cut].to_vec()));
            let mut whole = ends.iter().filter(|end| **end <= cut).count();
            // A line without its end is whole, if the record is.
            whole += usize::from(format == Format::WRITABLE[0] && ends.contains(&(cut + 1)));
            let given = read.records.len();
            if format.compression == Compression::None {
                assert_eq!(given, whole, "{format} cut at {cut}");
            } else {
                assert!(
                    given >= whole,
                    "{format} cut at {cut}: {given} of {whole} records"
                );
            }
            assert_eq!(
                read.records,
                stream.records[..given],
                "{format} cut at {cut}"
            );
            let is_clean = ends.contains(&cut) || ends.contains(&(cut + 1));
            if cut < file.len() && !is_clean && cut < *ends.last().unwrap() {
                let end = read.end;
                assert!(end.is_some(), "{format} cut at {cut}: no error");
            }
        }
    }
}

/// Bytes that can be looked at while a sink writes them.
#[derive(Clone, Default)]
struct Shared(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Shared {
    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
