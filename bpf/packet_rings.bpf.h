/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How packets reach the recorder: through a ring for each CPU, in memory that
 * both sides map, or as events do (rings.bpf.h).
 *
 * A CPU's ring has one writer, for nothing else runs a packet program on a CPU
 * while one runs (both hooks hold off softirqs; not so with PREEMPT_RT since Linux
 * 6.18, where softirqs are preempted by others), and one reader. So a packet is
 * put together in its place in the ring, and becomes the reader's when
 * `written_bytes` passes it. The kernel's ring buffer is made for any number of
 * writers: its lock, and the lines of memory that wander between CPUs, cost as
 * much as all else that is done for a packet.
 *
 * Only x86 without PREEMPT_RT has such rings. It lets nobody see a store before those that came
 * earlier; elsewhere that takes a store-release, which BPF got with Linux 6.15.
 *
 * A ring is cut into segments, for kernels limit a map's values (to 4 MiB when
 * ring buffers came). A record lies in the segment where it begins; behind each is room
 * for one that begins at its end. Where the next record goes is always free: what
 * waits to be read leaves room for the largest.
 */
#ifndef PACKET_RINGS_BPF_H
#define PACKET_RINGS_BPF_H

#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "rings.bpf.h"
#include "snap.bpf.h"
#include "tcprec.h"

/* Whether each CPU has a ring. If not, the packet is put together in what is
 * then one segment of one byte, with the room behind it. */
const volatile __u32 has_cpu_rings = 0;

/* Of a CPU's ring; both are powers of two. The recorder sets all of these. */
const volatile __u32 segment_shift = 0;
const volatile __u32 ring_segments = 1;
/* What may wait to be read. */
const volatile __u64 capacity_bytes = 0;

/* Those of one CPU, then those of the next. The recorder sets the sizes. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct packet_record) + MAX_SNAP_BYTES);
} segments SEC(".maps");

/* By CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ring_positions);
} positions SEC(".maps");

/* Where the next packet of a CPU is put together. */
static __always_inline struct packet_record *next_packet(const struct ring_positions *own,
							 __u32 cpu)
{
	__u64 written = own->written_bytes;
	__u32 segment = cpu * ring_segments + ((written >> segment_shift) & (ring_segments - 1));
	__u8 *start = bpf_map_lookup_elem(&segments, &segment);

	if (!start)
		return NULL;
	return (struct packet_record *)(start + (written & ((1ULL << segment_shift) - 1)));
}

/*
 * Gives the packet at that place, of `bytes` with its record, to the recorder:
 * whether there was room. Wakes the recorder at multiples of some bytes, not for
 * each packet: a wake-up costs more than the packet.
 */
static __always_inline bool hand_over_packet(void *ctx, struct ring_positions *own,
					     struct packet_record *record, __u64 bytes)
{
	__u64 written, after;

	if (!has_cpu_rings)
		return !hand_over(ctx, record, bytes);
	written = own->written_bytes;
	after = written + ((bytes + PACKET_ALIGN_BYTES - 1) & -PACKET_ALIGN_BYTES);
	if (after - *(volatile __u64 *)&own->read_bytes > capacity_bytes)
		return false;
	barrier();
	*(volatile __u64 *)&own->written_bytes = after;
	/* Where there is no room for it, others before it wake the recorder. */
	if (written >> wakeup_shift != after >> wakeup_shift)
		bpf_ringbuf_output(&ring, &after, sizeof(after), BPF_RB_FORCE_WAKEUP);
	return true;
}

#endif
