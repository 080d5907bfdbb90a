//! Who the processes are that were told of, in bounded memory. Those that did
//! something to a socket lately are remembered longest, and all by their names
//! longer than by their arguments.

use std::collections::VecDeque;
use std::mem;

use foldhash::HashMap;
use tcprec_shared::record::{Process, ProcessId};

/// All processes together take so many bytes, more or less: some hundred thousand.
const MAX_BYTES: usize = 64 << 20;

/// What a process takes of which the name alone is known: its places in the table
/// and in the order, of which a part is empty, and the name.
const NAMED_BYTES: usize = 2 * (size_of::<Known>() + 2 * size_of::<ProcessId>());

/// The kernel's TASK_COMM_LEN, without the zero at its end.
const COMM_BYTES: usize = 15;

/// The processes, by their ids.
#[derive(Debug)]
pub(super) struct Processes {
    known: HashMap<ProcessId, Known>,
    /// All of them, in the order in which they are to be forgotten.
    order: VecDeque<ProcessId>,
    bytes: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Known {
    process: Process,
    /// Whether it did something since it was last to be forgotten.
    has_acted: bool,
}

impl Processes {
    /// None yet.
    pub(super) fn new() -> Self {
        Self::within(MAX_BYTES)
    }

    fn within(max_bytes: usize) -> Self {
        Self {
            known: HashMap::default(),
            order: VecDeque::new(),
            bytes: 0,
            max_bytes,
        }
    }

    /// Who it is.
    pub(super) fn get(&self, id: ProcessId) -> Option<&Process> {
        self.known.get(&id).map(|known| &known.process)
    }

    /// It did something to a socket.
    pub(super) fn act(&mut self, id: ProcessId) {
        match self.known.get_mut(&id) {
            Some(known) => known.has_acted = true,
            // Its record was lost, or is late.
            None => self.insert(Process::nameless(id)),
        }
    }

    /// Takes what is told of a process, again or for the first time.
    pub(super) fn insert(&mut self, mut process: Process) {
        cut(&mut process.comm, COMM_BYTES);
        let id = process.id;
        self.bytes += NAMED_BYTES + words_bytes(&process);
        let known = Known {
            process,
            has_acted: false,
        };
        match self.known.insert(id, known) {
            Some(before) => self.bytes -= NAMED_BYTES + words_bytes(&before.process),
            None => self.order.push_back(id),
        }
        self.forget();
    }

    /// Makes room: of the oldest one its mark is taken away, else its words, else
    /// all of it.
    fn forget(&mut self) {
        while self.bytes > self.max_bytes
            && let Some(oldest) = self.order.pop_front()
            && let Some(known) = self.known.get_mut(&oldest)
        {
            let words_bytes = words_bytes(&known.process);
            if mem::take(&mut known.has_acted) {
                self.order.push_back(oldest);
            } else if words_bytes > 0 {
                let comm = mem::take(&mut known.process.comm);
                let Process { ppid, uid, .. } = known.process;
                known.process = Process {
                    ppid,
                    uid,
                    comm,
                    ..Process::nameless(oldest)
                };
                self.bytes -= words_bytes;
                self.order.push_back(oldest);
            } else {
                self.bytes -= NAMED_BYTES;
                self.known.remove(&oldest);
            }
        }
    }
}

/// Leaves so many bytes of a text, at most.
fn cut(text: &mut String, max_bytes: usize) {
    if text.len() > max_bytes {
        text.truncate(text.floor_char_boundary(max_bytes));
        text.shrink_to_fit();
    }
}

/// What is remembered beside the name and the numbers.
fn words_bytes(process: &Process) -> usize {
    let Process {
        exe,
        argv,
        cgroup,
        container,
        ..
    } = process;
    let of = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let arguments = argv.iter().map(|word| size_of::<String>() + word.len());
    of(exe) + of(cgroup) + of(container) + arguments.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(pid: u32) -> ProcessId {
        ProcessId { pid, start_ns: 1 }
    }

    fn process(pid: u32) -> Process {
        Process {
            comm: format!("c{pid}"),
            argv: vec!["a".repeat(76)],
            ..Process::nameless(id(pid))
        }
    }

    #[test]
    fn those_that_act_are_remembered_longest() {
        let mut processes = Processes::within(10 * NAMED_BYTES);
        for pid in 0..1000 {
            processes.insert(Process::nameless(id(pid)));
            processes.act(id(0));
        }
        assert!(processes.get(id(0)).is_some());
        assert!(processes.get(id(1)).is_none());
        assert!(processes.get(id(999)).is_some());
        assert_eq!([processes.known.len(), processes.order.len()], [10, 10]);
    }

    #[test]
    fn the_name_is_remembered_longer_than_the_arguments() {
        let mut processes = Processes::within(10 * NAMED_BYTES + 500);
        for pid in 0..10 {
            for _ in 0..2 {
                processes.insert(process(pid));
                processes.act(id(0));
            }
        }
        let arguments = |pid| processes.get(id(pid)).unwrap().argv.len();
        assert_eq!([arguments(0), arguments(1), arguments(9)], [1, 0, 1]);
        assert_eq!(processes.get(id(1)).unwrap().comm, "c1");
        assert_eq!(processes.order.len(), 10);
    }

    #[test]
    fn no_process_is_too_large() {
        let mut processes = Processes::within(NAMED_BYTES);
        let name = "é".repeat(1000);
        processes.insert(Process {
            comm: name,
            ..process(1)
        });
        let only = processes.get(id(1)).unwrap();
        assert_eq!((only.comm.as_str(), only.argv.len()), ("ééééééé", 0));
        processes.insert(process(2));
        assert_eq!(processes.bytes, NAMED_BYTES);
    }
}
