/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The sockets of the processes that are wanted, where not all are: written by
 * the events, which know who acts, and looked up by the packets. Both objects
 * have the same maps; the recorder gives those of the packets to the events,
 * and sets the sizes.
 */
#ifndef WANTED_BPF_H
#define WANTED_BPF_H

#include <stdbool.h>
#include <bpf/bpf_helpers.h>

/* Whether only some processes are wanted. */
const volatile __u32 by_process = 0;

/* An IPv4 address takes the first four bytes; ports are in host byte order. */
struct socket_ends {
	__u8 local[16];
	__u8 remote[16];
	__u16 local_port;
	__u16 remote_port;
};

/* With whether the socket is closed: its last packets are still to come, but a
 * SYN between the same ends begins another connection, maybe of another process. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct socket_ends);
	__type(value, bool);
} wanted_ends SEC(".maps");

/* Of a socket that connects nothing else is known yet. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u8);
} wanted_cookies SEC(".maps");

/* How many wanted sockets listen on a port: a connection comes before it is
 * accepted. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __u16);
	__type(value, __u32);
} wanted_ports SEC(".maps");

static __always_inline void want_ends(const struct socket_ends *ends, bool is_closed)
{
	bpf_map_update_elem(&wanted_ends, ends, &is_closed, BPF_ANY);
}

#endif
