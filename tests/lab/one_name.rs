//! Two recorders of one name: the second one is refused before it touches anything,
//! whatever kind of recording either is, and no longer than the first one lives.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::process::wait_until;
use crate::recorder::{Recorder, tcprec};
use crate::web::{Nginx, Traffic};
use crate::world::World;

const REFUSED: &str = "another recorder is writing to it; stop that one first, or give another \
    name";

/// A world whose captures are called `cap...`.
struct Folder(World);

impl Folder {
    fn new() -> Self {
        Self(World::without_cable())
    }

    fn arguments(&self, options: &[&str], name: &str) -> Vec<String> {
        let output = self.0.file(name).display().to_string();
        let options = options.iter().map(|&option| option.to_owned());
        let arguments = ["-i", "lo", "-o", &output].map(str::to_owned);
        options.chain(arguments).collect()
    }

    /// A recorder that has begun to write.
    fn start(&self, options: &[&str], name: &str) -> Recorder {
        let before = self.captures();
        let arguments = self.arguments(options, name);
        let recorder = Recorder::start(&self.0, &self.0.server, &arguments);
        wait_until("the recording has begun", || self.captures() != before);
        recorder
    }

    /// The captures that hold something.
    fn captures(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = fs::read_dir(self.0.folder()).expect("the folder");
        let paths = files.map(|file| file.expect("a file").path());
        let is_capture = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("cap")
        };
        let captures = paths.filter(is_capture);
        captures
            // In a ring one may just have made room.
            .filter_map(|path| Some((path.clone(), fs::read(&path).ok()?)))
            .filter(|(_, content)| !content.is_empty())
            .collect()
    }

    /// Another recorder of that name is refused.
    fn refuses_once(&self, options: &[&str], name: &str) {
        let arguments = self.arguments(options, name);
        // One that is not refused is not to go on.
        let record = ["record", "--duration", "1s"].map(str::to_owned);
        let arguments: Vec<_> = record.into_iter().chain(arguments).collect();
        let ended = tcprec(&self.0, &self.0.server, &arguments).expect_code(2);
        assert!(ended.errors.contains(REFUSED), "{}", ended.errors);
        assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
    }

    /// Another recorder of that name is refused, and leaves all files as they are. The
    /// running one stands still meanwhile, or it would write on.
    fn refuses(&self, running: &Recorder, options: &[&str], name: &str) {
        running.pause();
        let before = self.captures();
        self.refuses_once(options, name);
        let after = self.captures();
        running.go_on();
        assert!(after.keys().eq(before.keys()), "{:?}", after.keys());
        for (path, content) in &before {
            assert!(after[path] == *content, "{}", path.display());
        }
    }
}

/// One file, a series and a ring, each before each.
pub(crate) fn is_refused() {
    let kinds = [&[][..], &["-C", "1M"], &["-C", "1M", "-W", "3"]];
    for first in kinds {
        let folder = Folder::new();
        let recorder = folder.start(first, "cap.jsonl");
        for second in kinds {
            folder.refuses(&recorder, second, "cap.jsonl");
        }
        // Nor is the file touched that is free.
        let free = folder.0.file("cap-free.jsonl");
        fs::write(&free, "a record").expect("a file");
        let free = free.display().to_string();
        folder.refuses(&recorder, &["-o", &free], "cap.jsonl");
        // Another format is another name.
        folder.start(&[], "cap.pcapng").stop();
        recorder.stop();
    }
}

/// Of a series it is the file that is written now.
pub(crate) fn is_refused_later() {
    let folder = Folder::new();
    let world = &folder.0;
    let _nginx = Nginx::start(world, &world.server);
    let ring = ["-C", "8k", "-W", "3"];
    let recorder = folder.start(&ring, "cap.jsonl");
    let targets: Vec<_> = (0..100).map(|item| format!("/item/{item}")).collect();
    Traffic::default().fetch(world, &world.server, "127.0.0.1", &targets);
    wait_until("the ring is full", || folder.captures().len() == 3);
    folder.refuses(&recorder, &ring, "cap.jsonl");
    recorder.stop();

    let by_time = ["-G", "1"];
    let recorder = folder.start(&by_time, "cap-%s.jsonl");
    let before = folder.captures().len();
    wait_until("another file", || folder.captures().len() > before);
    folder.refuses_once(&["-G", "3600"], "cap-%s.jsonl");
    recorder.stop();
}

/// A recorder that was killed keeps nobody out, nor leaves anything but its capture.
pub(crate) fn is_free_after_a_kill() {
    for options in [&[][..], &["-C", "1M", "-W", "3"]] {
        let folder = Folder::new();
        let recorder = folder.start(options, "cap.jsonl");
        folder.refuses(&recorder, options, "cap.jsonl");
        recorder.kill();
        let left = folder.captures().len();
        assert_eq!(left, 1);
        let arguments = folder.arguments(options, "cap.jsonl");
        Recorder::start(&folder.0, &folder.0.server, &arguments).stop();
    }
}

/// Several may write to what is no file.
pub(crate) fn is_free_of_a_device() {
    let folder = Folder::new();
    symlink("/dev/null", folder.0.file("null.jsonl")).expect("a link");
    let arguments = folder.arguments(&[], "null.jsonl");
    let start = || Recorder::start(&folder.0, &folder.0.server, &arguments);
    for recorder in [start(), start()] {
        recorder.stop();
    }
}
