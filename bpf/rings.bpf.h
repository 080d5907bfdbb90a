/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What all programs do with what they saw: count it, hand it to the recorder,
 * and count what could not be handed over. Packets go another way
 * (packet_rings.bpf.h); of what is here they use the ring to wake the recorder.
 */
#ifndef RINGS_BPF_H
#define RINGS_BPF_H

#include <bpf/bpf_helpers.h>

/*
 * How events reach the recorder: through one ring for all CPUs (Linux 5.8), or
 * a ring of perf's for each. The recorder makes only the map that is used; the
 * verifier knows the constant, and never sees the other way.
 */
const volatile __u32 uses_perf = 0;

/* The size is set by the recorder before the programs are loaded. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} ring SEC(".maps");

/* One entry a CPU, which libbpf sees to. */
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} cpu_rings SEC(".maps");

/* The boot clock came to programs with Linux 5.8 too. Before, it is the
 * monotonic clock and the time spent in suspend, as of the recording's start. */
const volatile __u32 has_boot_clock = 1;
const volatile __u64 suspended_ns = 0;

static __always_inline __u64 now_boot_ns(void)
{
	return has_boot_clock ? bpf_ktime_get_boot_ns() : bpf_ktime_get_ns() + suspended_ns;
}

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct seen);
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2 * LOSS_CAUSES);
	__type(key, __u32);
	__type(value, struct loss);
} losses SEC(".maps");

/* Never used: keeps the type in the object's BTF, and so in the skeleton. */
enum loss_cause *unused_loss_cause __attribute__((unused));

/* 0 or 1: see struct loss. */
volatile __u32 loss_slot = 0;

/*
 * Counters are a CPU's own, but an interrupt may run another program on that
 * CPU in the midst of one that acts for a process. Packet programs are safe
 * from that, and spare themselves the atomic operation.
 */
#ifdef IS_INTERRUPTED
/* Of zero the compiler would make an atomic "or", which is younger (Linux 5.12). */
#define ADD(counter, amount)                                                                       \
	do {                                                                                       \
		if (amount)                                                                        \
			__sync_fetch_and_add(&(counter), amount);                                  \
	} while (0)
#else
#define ADD(counter, amount) ((counter) += (amount))
#endif

static __always_inline void count_seen(__u64 bytes)
{
	__u32 key = 0;
	struct seen *counter = bpf_map_lookup_elem(&seen, &key);

	if (counter) {
		ADD(counter->count, 1);
		ADD(counter->bytes, bytes);
	}
}

static __always_inline void count_loss(enum loss_cause cause, __u64 bytes, __u64 boot_ns)
{
	__u32 key = (loss_slot & 1) * LOSS_CAUSES + cause;
	struct loss *loss = bpf_map_lookup_elem(&losses, &key);

	if (!loss)
		return;
	if (!loss->count)
		loss->first_boot_ns = boot_ns;
	ADD(loss->count, 1);
	ADD(loss->bytes, bytes);
	loss->last_boot_ns = boot_ns;
}

/* With less than two to this power waiting in the ring, the recorder is not
 * woken: it looks by itself at each flush interval. */
const volatile __u32 wakeup_shift = 18;

/*
 * Wakes the recorder when the ring's content passes a multiple of that, not for
 * each record: a wake-up costs more than the record. At every multiple, so that
 * one passed by two CPUs at once does not leave the recorder asleep while the
 * ring fills.
 */
static __always_inline __u64 wakeup_flags(__u64 bytes)
{
	__u64 waiting = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);

	return waiting >> wakeup_shift == (waiting + bytes) >> wakeup_shift ?
		       BPF_RB_NO_WAKEUP :
		       BPF_RB_FORCE_WAKEUP;
}

/* Gives a record to the recorder; not 0 where there is no room. perf counts
 * what it lost too, but tells of it only with the next record that finds room. */
static __always_inline long hand_over(void *ctx, void *record, __u64 bytes)
{
	if (uses_perf)
		return bpf_perf_event_output(ctx, &cpu_rings, BPF_F_CURRENT_CPU, record, bytes);
	return bpf_ringbuf_output(&ring, record, bytes, wakeup_flags(bytes));
}

#endif
