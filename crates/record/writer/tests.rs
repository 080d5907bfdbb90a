use std::fs;

use tcprec_shared::record::Loss;

use super::*;
use crate::capture_file::CaptureFile;
use crate::kernel::{Clock, Recorded};

fn decoder() -> Decoder {
    Decoder::new(Recorded::new(Vec::new()), Clock { offset_ns: 0 }, None)
}

fn loss(cause: LossCause, lost: Lost, count: u64) -> Record<'static> {
    Record::Loss(Loss {
        cause,
        lost,
        cpu: Some(0),
        count,
        bytes: 0,
        first_ns: 1,
        last_ns: 2,
    })
}

#[test]
fn each_loss_is_entered_where_it_belongs() {
    let progress = Arc::<Progress>::default();
    let mut writer = Writer::new(
        Vec::new(),
        decoder(),
        Capture::default(),
        None,
        false,
        Arc::clone(&progress),
    );
    let losses = [
        (LossCause::RingFull, Lost::Packets, 1),
        (LossCause::Snap, Lost::Packets, 1000),
        (LossCause::RingFull, Lost::Events, 10),
        (LossCause::RingFull, Lost::Processes, 100),
    ];
    writer.write(&losses.map(|(cause, lost, count)| loss(cause, lost, count)));
    assert_eq!(progress.lost.load(Ordering::Relaxed), 1111);
    let end = writer.totals.end("", 0);
    assert_eq!((end.lost_packets, end.lost_events), (1001, 10));
    assert_eq!((end.seen_packets, end.seen_events), (1001, 10));
    assert_eq!(writer.totals.no_room_packets, 1);
    // A process is nothing that was seen.
    assert_eq!(writer.totals.unaccounted(1001, 10), 0);
    assert_eq!(writer.totals.unaccounted(1002, 10), 1);
    assert_eq!(writer.totals.unaccounted(1001, 12), 2);
}

/// A batch with what is a packet of no interface: the record of a loss.
fn batch() -> Batch {
    let mut batch = Batch::default();
    batch.push(Ring::Packets { netns: 1 }, &[0; 8]);
    batch
}

#[test]
fn batches_are_readable_at_once_if_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for (flushes, name) in [
        (false, "cap.jsonl"),
        (true, "cap.1.jsonl"),
        (true, "cap.jsonl.zst"),
    ] {
        let path = folder.path().join(name);
        let capture = CaptureFile::create(&path, None, 0).unwrap();
        let mut writer = Writer::new(
            vec![Output::Capture(Box::new(capture))],
            decoder(),
            Capture::default(),
            None,
            flushes,
            Arc::default(),
        );
        writer.begin();
        let before = fs::metadata(&path).unwrap().len();
        writer.batch(&batch());
        let after = fs::metadata(&path).unwrap().len();
        assert_eq!(after > before, flushes, "{name}");
    }
}
