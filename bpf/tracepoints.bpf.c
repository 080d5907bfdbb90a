// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Kernel events where the kernel tells no types (no BTF): classic tracepoints,
 * which copy a few fields out of the kernel's structs. Where each field is, the
 * recorder reads in tracefs: it changes between kernels.
 *
 * Less is known than in events.bpf.c. The namespace is not: the recorder sorts
 * that out with /proc. Who acts is known only where it cannot be a softirq:
 * connect and listen. A socket has no cookie here, but a number of our own.
 *
 * connect, listen, state, close     tracepoint/sock/inet_sock_set_state
 * retransmit                        tracepoint/tcp/tcp_retransmit_{skb,synack}
 * reset                             tracepoint/tcp/tcp_{send,receive}_reset
 * exec                              tracepoint/sched/sched_process_exec
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "core.bpf.h"
#include "tcprec.h"
#define IS_INTERRUPTED /* a softirq's events come between a process's */
#include "rings.bpf.h"
#include "events_common.bpf.h"

/* Where the fields of a tracepoint are; 0: it has no such field. */
struct fields {
	__u32 skaddr;
	__u32 oldstate;
	__u32 newstate;
	__u32 protocol;
	__u32 sport, dport;
	__u32 saddr_v6, daddr_v6;
	/* Whole socket addresses (tcp_send_reset since Linux 6.10). */
	__u32 saddr, daddr;
	/* Why nothing was sent again (tcp_retransmit_skb since Linux 6.17). */
	__u32 err;
	__u32 filename;
};

const volatile struct fields set_state_fields = {};
const volatile struct fields retransmit_skb_fields = {};
const volatile struct fields retransmit_synack_fields = {};
const volatile struct fields send_reset_fields = {};
const volatile struct fields receive_reset_fields = {};
const volatile struct fields process_exec_fields = {};

/* The namespace that all events are taken to be of (inode number). */
const volatile __u32 netns = 0;

/* The sockets' numbers, by the address of the kernel's struct, which must not
 * get into a file. The least recent make room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, __u64);
} sockets SEC(".maps");

/* The value of a field of the tracepoint; 0 where it has none. */
#define READ(ctx, fields, name, type)                                                              \
	({                                                                                         \
		type value_ = 0;                                                                   \
		if ((fields)->name)                                                                \
			bpf_probe_read_kernel(&value_, sizeof(value_),                             \
					      (void *)(ctx) + (fields)->name);                     \
		value_;                                                                            \
	})

/* A number for a socket that stays its own: when it was first seen, and where. */
static __always_inline __u64 new_number(__u64 skaddr)
{
	const __u32 cpu_bits = 8;
	__u64 number = now_boot_ns() << cpu_bits |
		       (bpf_get_smp_processor_id() & ((1 << cpu_bits) - 1));

	bpf_map_update_elem(&sockets, &skaddr, &number, BPF_ANY);
	return number;
}

/* The number that a socket has; 0 if it has none. */
static __always_inline __u64 known_number(__u64 skaddr)
{
	__u64 *number = bpf_map_lookup_elem(&sockets, &skaddr);

	return number ? *number : 0;
}

static __always_inline __u64 number_of(__u64 skaddr)
{
	__u64 number;

	if (!skaddr)
		return 0;
	number = known_number(skaddr);
	return number ? number : new_number(skaddr);
}

/* The rest is for the recorder to find out in /proc. */
static __always_inline void fill_current_task(struct task *task)
{
	__u64 ids = bpf_get_current_pid_tgid();

	task->pid = ids >> 32;
	task->tid = (__u32)ids;
	task->uid = (__u32)bpf_get_current_uid_gid();
	task->cgroup_id = bpf_get_current_cgroup_id();
	bpf_get_current_comm(task->comm, sizeof(task->comm));
}

static __always_inline void begin(struct socket_event *event, enum event_kind kind)
{
	__builtin_memset(event, 0, sizeof(*event));
	event->boot_ns = now_boot_ns();
	event->kind = kind;
	event->netns = netns;
}

/* IPv4 addresses stand there as IPv6 ones too, mapped. */
static __always_inline void fill_ends(struct socket_event *event, void *ctx,
				      const volatile struct fields *fields)
{
	event->ip_version = 6;
	event->local_port = READ(ctx, fields, sport, __u16);
	event->remote_port = READ(ctx, fields, dport, __u16);
	bpf_probe_read_kernel(event->local, sizeof(event->local), ctx + fields->saddr_v6);
	bpf_probe_read_kernel(event->remote, sizeof(event->remote), ctx + fields->daddr_v6);
}

static __always_inline void submit(void *ctx, struct socket_event *event)
{
	count_seen(0);
	if (hand_over(ctx, event, sizeof(*event)))
		count_loss(LOSS_RING_FULL, 0, event->boot_ns);
}

SEC("tracepoint/sock/inet_sock_set_state")
int set_state(void *ctx)
{
	const volatile struct fields *fields = &set_state_fields;
	__u64 skaddr = READ(ctx, fields, skaddr, __u64);
	int old_state = READ(ctx, fields, oldstate, int);
	int new_state = READ(ctx, fields, newstate, int);
	struct socket_event event;

	/* One byte in older kernels, two in newer ones. */
	if (READ(ctx, fields, protocol, __u8) != IPPROTO_TCP || !is_change(old_state, new_state))
		return 0;
	begin(&event, kind_of_change(new_state));
	fill_ends(&event, ctx, fields);
	event.old_state = old_state;
	event.new_state = new_state;
	if (new_state == TCP_SYN_SENT || new_state == TCP_LISTEN) {
		/* Only a process does that. */
		fill_current_task(&event.task);
		event.cookie = new_number(skaddr);
	} else {
		event.cookie = number_of(skaddr);
	}
	if (new_state == TCP_CLOSE)
		bpf_map_delete_elem(&sockets, &skaddr);
	submit(ctx, &event);
	return 0;
}

SEC("tracepoint/tcp/tcp_retransmit_skb")
int retransmit_skb(void *ctx)
{
	const volatile struct fields *fields = &retransmit_skb_fields;
	struct socket_event event;

	if (READ(ctx, fields, err, int))
		return 0;
	begin(&event, EVENT_RETRANSMIT);
	fill_ends(&event, ctx, fields);
	event.cookie = number_of(READ(ctx, fields, skaddr, __u64));
	submit(ctx, &event);
	return 0;
}

/* A SYN-ACK sent again: there is no socket yet, and `skaddr` is the listener's. */
SEC("tracepoint/tcp/tcp_retransmit_synack")
int retransmit_synack(void *ctx)
{
	struct socket_event event;

	begin(&event, EVENT_RETRANSMIT);
	fill_ends(&event, ctx, &retransmit_synack_fields);
	event.new_state = TCP_NEW_SYN_RECV;
	submit(ctx, &event);
	return 0;
}

SEC("tracepoint/tcp/tcp_receive_reset")
int receive_reset(void *ctx)
{
	const volatile struct fields *fields = &receive_reset_fields;
	struct socket_event event;

	begin(&event, EVENT_RESET);
	event.direction = DIRECTION_IN;
	fill_ends(&event, ctx, fields);
	event.cookie = number_of(READ(ctx, fields, skaddr, __u64));
	submit(ctx, &event);
	return 0;
}

/* One end from a struct sockaddr. */
static __always_inline void fill_end(void *sockaddr, __u8 *ip_version, __u8 *address, __u16 *port)
{
	__u16 family = 0;

	bpf_probe_read_kernel(&family, sizeof(family), sockaddr);
	bpf_probe_read_kernel(port, sizeof(*port), sockaddr + 2);
	*port = bpf_ntohs(*port);
	*ip_version = family == AF_INET ? 4 : 6;
	if (family == AF_INET)
		bpf_probe_read_kernel(address, 4, sockaddr + 4);
	else
		bpf_probe_read_kernel(address, 16, sockaddr + 8);
}

/* Only resets of sockets: of the others the namespace is not known. */
SEC("tracepoint/tcp/tcp_send_reset")
int send_reset(void *ctx)
{
	const volatile struct fields *fields = &send_reset_fields;
	__u64 skaddr = READ(ctx, fields, skaddr, __u64);
	struct socket_event event;

	if (!skaddr)
		return 0;
	begin(&event, EVENT_RESET);
	event.direction = DIRECTION_OUT;
	if (fields->saddr_v6) {
		fill_ends(&event, ctx, fields);
	} else {
		fill_end(ctx + fields->saddr, &event.ip_version, event.local, &event.local_port);
		fill_end(ctx + fields->daddr, &event.ip_version, event.remote, &event.remote_port);
	}
	/* A listener resets what it knows nothing of. And no new number: an abort is told
	 * after the socket's end (__tcp_close), and the next one at that address would have it. */
	if (event.remote_port)
		event.cookie = known_number(skaddr);
	submit(ctx, &event);
	return 0;
}

SEC("tracepoint/sched/sched_process_exec")
int process_exec(void *ctx)
{
	const volatile struct fields *fields = &process_exec_fields;
	struct exec_event *event;
	__u32 key = 0, length;

	event = bpf_map_lookup_elem(&scratch, &key);
	if (!event)
		return 0;
	event->boot_ns = now_boot_ns();
	event->kind = EVENT_EXEC;
	fill_current_task(&event->task);
	/* __data_loc: the place in the lower half, the length in the upper. */
	bpf_probe_read_kernel_str(event->filename, FILENAME_BYTES,
				  ctx + (READ(ctx, fields, filename, __u32) & 0xffff));
	event->argv_bytes = 0;
	length = __builtin_offsetof(struct exec_event, argv);
	if (hand_over(ctx, event, length))
		count_loss(LOSS_EXEC, 0, event->boot_ns);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
