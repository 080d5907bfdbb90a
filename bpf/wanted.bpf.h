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
#include <bpf/bpf_endian.h>
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

/* What is known of a socket between two ends. */
enum ends_state {
	ENDS_UNKNOWN,
	ENDS_OPEN,
	/* Its last packets are still to come, but a SYN begins another connection
	 * between the same ends, maybe of another process. */
	ENDS_CLOSED,
	/* It came to a wanted listener's port, and a process took it that is not
	 * wanted: no more is, until a SYN begins another. */
	ENDS_UNWANTED,
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct socket_ends);
	__type(value, __u8); /* enum ends_state */
} wanted_ends SEC(".maps");

/* Of a socket that connects nothing else is known yet. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u8);
} wanted_cookies SEC(".maps");

/*
 * Where wanted sockets listen: a connection comes before it is accepted. A
 * wildcard address is all zeros, of IPv4 and IPv6 alike, for an IPv6 socket takes
 * both.
 */
struct listening_end {
	__u8 address[16];
	__u32 netns; /* inode number; ELSEWHERE: of one whose interfaces are not recorded */
	__u32 port;
};

/* A container's packets pass its host's interfaces, whose programs cannot tell
 * which container's they are. */
#define ELSEWHERE 0

/* How many wanted sockets listen there. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct listening_end);
	__type(value, __u32);
} listening_ends SEC(".maps");

/* The same of a port, at whatever address: most packets come to none, which is
 * found out without hashing. */
struct listeners_on_port {
	__u32 sockets;
	/* For which `listening_ends` had no room: then all that comes to the port is
	 * wanted, until a process takes it that is not. */
	__u32 without_entry;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct listeners_on_port);
} wanted_ports SEC(".maps");

/* An IPv4 connection of an IPv6 socket has IPv4 packets. */
static __always_inline void fill_address(__u8 *to, const void *address, __u8 ip_version)
{
	const __u32 *words = address;

	if (ip_version == 6 && !words[0] && !words[1] && words[2] == bpf_htonl(0xffff))
		__builtin_memcpy(to, address + 12, 4);
	else
		__builtin_memcpy(to, address, 16);
}

/* Whether one listens at an address, or at all. */
static __always_inline bool is_listened_at(const struct listening_end *end)
{
	struct listening_end at_all = { .netns = end->netns, .port = end->port };
	struct listeners_on_port *on_port = bpf_map_lookup_elem(&wanted_ports, &end->port);

	if (!on_port || !on_port->sockets)
		return false;
	return on_port->without_entry || bpf_map_lookup_elem(&listening_ends, &at_all) ||
	       bpf_map_lookup_elem(&listening_ends, end);
}

static __always_inline void set_ends(const struct socket_ends *ends, enum ends_state state)
{
	__u8 value = state;

	bpf_map_update_elem(&wanted_ends, ends, &value, BPF_ANY);
}

#endif
