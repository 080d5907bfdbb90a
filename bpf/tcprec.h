/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The contract between the kernel side and the recorder: what travels through
 * the rings, and the numbers that both know. Both are built together, so it has
 * no version; the Rust types are generated from this file, and
 * crates/record/kernel/raw.rs asserts their sizes.
 *
 * Times are the boot clock's (now_boot_ns), in nanoseconds; the
 * recorder adds its offset from Unix time. Ports are in host byte order,
 * addresses as on the wire; an IPv4 address takes the first four bytes.
 */
#ifndef TCPREC_H
#define TCPREC_H

#include "headers.h"

#define MAX_NETNS 16	   /* network namespaces that are recorded at once */
#define FILENAME_BYTES 256 /* longer paths are cut */
#define ARGV_BYTES 1024	   /* longer argument lists are cut */

/* Numbers that the recorder needs too: macros are not among the generated types. */
enum limits {
	PACKET_ALIGN_BYTES = 8,	 /* records in a ring of packets begin at multiples of this */
	COMM_BYTES = 16,	 /* the kernel's TASK_COMM_LEN */
	MAX_SNAP_BYTES = 262144, /* tcpdump's largest snap length (netdissect.h MAXIMUM_SNAPLEN) */
	TICK_NS = 10000000,	 /* in which /proc tells when a process started: 1/100 s (USER_HZ) */
};

/* Way of a packet or a reset. */
enum direction {
	DIRECTION_NONE = 0,
	DIRECTION_IN = 1,
	DIRECTION_OUT = 2,
};

/* A packet; its captured bytes follow. */
struct packet_record {
	__u64 boot_ns;
	__u64 cookie; /* of the sending socket, 0 where the kernel has none */
	__u32 ifindex;
	__u32 wire_bytes;     /* length before the cut, with a VLAN tag from the metadata */
	__u32 captured_bytes; /* how many bytes follow */
	enum direction direction;
	struct headers headers;
};

/*
 * How far a CPU's ring of packets was written and read, in bytes since the
 * beginning: see packet_rings.bpf.h. Each has a cache line of its own, for each
 * has another writer.
 */
struct ring_positions {
	__u64 written_bytes; /* by the programs of the CPU */
	__u64 reserved[7];
	__u64 read_bytes; /* by the recorder */
	__u64 reserved_too[7];
};

enum event_kind {
	EVENT_CONNECT = 1,
	EVENT_ACCEPT,
	EVENT_LISTEN,
	EVENT_STATE,
	EVENT_RETRANSMIT,
	EVENT_RESET,
	EVENT_CLOSE,
	EVENT_SCAN,
	EVENT_HANDOVER, /* another process than before uses the socket */
	EVENT_EXEC,
};

/* The process in whose context something happened. */
struct task {
	__u64 start_boot_ns; /* of the process: its first thread */
	__u64 cgroup_id;
	__u32 pid; /* the process (tgid); 0: no process, the kernel acted on its own */
	__u32 ppid;
	__u32 uid;
	__u32 tid; /* the thread */
	__u8 comm[COMM_BYTES];
};

/* What a TCP socket did. */
struct socket_event {
	__u64 boot_ns;
	enum event_kind kind; /* at the same place in exec_event */
	enum direction direction; /* of a reset */
	struct task task;
	__u64 cookie; /* 0: none yet */
	__u32 netns;  /* inode number */
	__u16 local_port, remote_port;
	__u8 local[16], remote[16];
	__u8 ip_version; /* 4 or 6 */
	__u8 old_state; /* the kernel's TCP_*; 0: no change of state */
	__u8 new_state;
	__u8 has_facts; /* whether the numbers below are known */
	__u32 retransmitted_packets;
	__u32 srtt_us; /* 8 times the smoothed RTT, as tcp_sock keeps it */
	__u32 reserved;
	__u64 sent_bytes;
	__u64 acked_bytes;
	__u64 received_bytes;
};

/* A process started a program. Travels only as far as its arguments go. */
struct exec_event {
	__u64 boot_ns;
	enum event_kind kind; /* EVENT_EXEC */
	__u32 argv_bytes;
	struct task task;
	__u8 filename[FILENAME_BYTES]; /* ended by a zero byte */
	__u8 argv[ARGV_BYTES];	       /* each argument ended by a zero byte */
};

/* What one CPU saw since the programs were loaded. */
struct seen {
	__u64 count;
	__u64 bytes;
};

/*
 * What one CPU lost. Two slots a cause: programs write to the one that the
 * global `loss_slot` names; the recorder flips it, gives late writers time to
 * leave, and reads and clears the other. So a loss record's count, first and
 * last time belong together.
 */
struct loss {
	__u64 count;
	__u64 bytes;
	__u64 first_boot_ns;
	__u64 last_boot_ns;
};

enum loss_cause {
	LOSS_RING_FULL = 0,
	LOSS_SNAP = 1, /* the packet's bytes could not be copied */
	LOSS_EXEC = 2, /* the ring had no room for an exec_event */
	LOSS_CAUSES,
};

#endif
