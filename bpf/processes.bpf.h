/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The processes that are wanted, where not all are, and which events are theirs.
 */
#ifndef PROCESSES_BPF_H
#define PROCESSES_BPF_H

#include <linux/errno.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "core.bpf.h"
#include "sockets.bpf.h"
#include "tcprec.h"
#include "wanted.bpf.h"

/* What a wanted process must be: of each kind that is asked for, one. The
 * recorder fills the maps before the programs are attached. */
const volatile __u32 by_pid = 0;
const volatile __u32 by_comm = 0;
const volatile __u32 by_uid = 0;
const volatile __u32 by_cgroup = 0;
/* Whether the processes that a wanted process starts are wanted too. */
const volatile __u32 follow_forks = 0;

#define MAX_WANTED 1024

/* When each process started, in ticks since boot: its pid may be another's later. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_WANTED);
	__type(key, __u32);
	__type(value, __u64);
} wanted_pids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_WANTED);
	__uint(key_size, COMM_BYTES);
	__type(value, __u8);
} wanted_comms SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_WANTED);
	__type(key, __u32);
	__type(value, __u8);
} wanted_uids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_WANTED);
	__type(key, __u64);
	__type(value, __u8);
} wanted_cgroups SEC(".maps");

/* The same of the processes that wanted processes started. The recorder sets the size,
 * as of the listeners. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} followed SEC(".maps");

/* The wanted sockets that listen, by cookie, and where. The cookies of all
 * wanted sockets are an LRU, which many connections empty of those that live long. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct listening_end);
} wanted_listeners SEC(".maps");

static __always_inline bool is_among(void *processes, const struct task *task)
{
	__u64 *start_ticks = bpf_map_lookup_elem(processes, &task->pid);

	return start_ticks && *start_ticks == task->start_boot_ns / TICK_NS;
}

/* Before Linux 5.17 the rest of a longer name may stand behind the end of a task's (kernel
 * commit 503471ac36de): systemd's child is called "(nginx)" before it is nginx. */
static __always_inline bool has_wanted_name(const struct task *task)
{
	__u8 comm[COMM_BYTES] = {};

	bpf_probe_read_kernel_str(comm, sizeof(comm), task->comm);
	return bpf_map_lookup_elem(&wanted_comms, comm);
}

static __always_inline bool is_wanted_process(const struct task *task)
{
	if (!task->pid)
		return false;
	if (follow_forks && is_among(&followed, task))
		return true;
	return (!by_pid || is_among(&wanted_pids, task)) &&
	       (!by_comm || has_wanted_name(task)) &&
	       (!by_uid || bpf_map_lookup_elem(&wanted_uids, &task->uid)) &&
	       (!by_cgroup || bpf_map_lookup_elem(&wanted_cgroups, &task->cgroup_id));
}

/* With -i any: the namespace of the interfaces; 0: each namespace with events has
 * its own. */
const volatile __u32 interfaces_netns = 0;

static __always_inline __u32 packets_netns(__u32 netns)
{
	return !interfaces_netns || netns == interfaces_netns ? netns : ELSEWHERE;
}

static __always_inline void fill_listening_end(struct listening_end *end,
					       const struct socket_event *event)
{
	fill_address(end->address, event->local, event->ip_version);
	end->netns = packets_netns(event->netns);
	end->port = event->local_port;
}

static __always_inline void fill_listening_end_from_head(struct listening_end *end,
							 const struct sock_head *sk)
{
	__u32 netns = netns_of_head(sk);

	__builtin_memset(end, 0, sizeof(*end));
	if (HEAD_FIELD(sk, skc_family) == AF_INET)
		*(__be32 *)end->address = HEAD_FIELD(sk, skc_rcv_saddr);
	else
		fill_address(end->address, &HEAD_FIELD(sk, skc_v6_rcv_saddr), 6);
	end->netns = packets_netns(netns);
	end->port = HEAD_FIELD(sk, skc_num);
}

static __always_inline void add_listener(__u64 cookie, const struct listening_end *end)
{
	struct listeners_on_port *on_port = bpf_map_lookup_elem(&wanted_ports, &end->port);
	__u32 *count, one = 1;
	/* Before Linux 6.4 the upper half of the answer is no part of it (kernel commit
	 * d7ba4cc900bf). */
	int error;

	/* Several processes may hold it. */
	error = bpf_map_update_elem(&wanted_listeners, &cookie, end, BPF_NOEXIST);
	if (!on_port || error == -EEXIST)
		return;
	/* Another CPU may add the first at the same time. */
	if (error || bpf_map_update_elem(&listening_ends, end, &one, BPF_NOEXIST)) {
		count = error ? NULL : bpf_map_lookup_elem(&listening_ends, end);
		__sync_fetch_and_add(count ?: &on_port->without_entry, 1);
	}
	__sync_fetch_and_add(&on_port->sockets, 1);
}

static __always_inline void remove_listener(__u64 cookie)
{
	struct listening_end *end = bpf_map_lookup_elem(&wanted_listeners, &cookie);
	struct listeners_on_port *on_port;
	__u32 *count;

	if (!end)
		return;
	on_port = bpf_map_lookup_elem(&wanted_ports, &end->port);
	count = bpf_map_lookup_elem(&listening_ends, end);
	if (on_port) {
		__sync_fetch_and_add(count ?: &on_port->without_entry, -1);
		__sync_fetch_and_add(&on_port->sockets, -1);
	}
	if (count && !*(volatile __u32 *)count)
		bpf_map_delete_elem(&listening_ends, end);
	bpf_map_delete_elem(&wanted_listeners, &cookie);
}

static __always_inline void fill_socket_ends(struct socket_ends *ends,
					     const struct socket_event *event)
{
	fill_address(ends->local, event->local, event->ip_version);
	fill_address(ends->remote, event->remote, event->ip_version);
	ends->local_port = event->local_port;
	ends->remote_port = event->remote_port;
}

/* Whether a process took the connection that is not wanted. */
static __always_inline bool is_unwanted(const struct socket_event *event,
					const struct socket_ends *ends)
{
	__u8 *state = bpf_map_lookup_elem(&wanted_ends, ends);

	/* Before it is established no process can have taken it: it was another. */
	return state && *state == ENDS_UNWANTED && event->old_state != TCP_SYN_RECV;
}

/*
 * Whether an event is of a wanted socket: one that a wanted process acts on,
 * that it acted on before, or that came to where it listens and was not taken by
 * another. What is learned of the socket is remembered for its packets.
 */
static __always_inline bool is_wanted_event(const struct socket_event *event)
{
	bool listens = event->new_state == TCP_LISTEN;
	bool listened = event->old_state == TCP_LISTEN;
	bool has_ends = event->local_port && event->remote_port;
	bool is_known = bpf_map_lookup_elem(&wanted_cookies, &event->cookie) ||
			bpf_map_lookup_elem(&wanted_listeners, &event->cookie);
	struct listening_end end = {};
	struct socket_ends ends = {};
	__u8 yes = 1;

	fill_listening_end(&end, event);
	fill_socket_ends(&ends, event);
	if (!is_wanted_process(&event->task)) {
		/* Others may listen on the same port. */
		if (!is_known && (listens || listened || !is_listened_at(&end) ||
				  is_unwanted(event, &ends)))
			return false;
		if (event->kind == EVENT_ACCEPT) {
			bpf_map_delete_elem(&wanted_cookies, &event->cookie);
			set_ends(&ends, ENDS_UNWANTED);
			return false;
		}
	}
	if (event->cookie)
		bpf_map_update_elem(&wanted_cookies, &event->cookie, &yes, BPF_ANY);
	if (listens)
		add_listener(event->cookie, &end);
	else if (listened)
		remove_listener(event->cookie);
	if (has_ends)
		set_ends(&ends, event->new_state == TCP_CLOSE ? ENDS_CLOSED : ENDS_OPEN);
	return true;
}

#endif
