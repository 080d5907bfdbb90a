/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * An event of a socket: of which namespaces it is wanted, how it is filled and
 * handed over.
 */
#ifndef SOCKET_EVENTS_BPF_H
#define SOCKET_EVENTS_BPF_H

#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "core.bpf.h"
#include "processes.bpf.h"
#include "rings.bpf.h"
#include "sockets.bpf.h"
#include "tcprec.h"

/* Only sockets of these network namespaces (inode numbers), as many as there
 * are before the first 0; none: of all. */
const volatile __u32 wanted_netns[MAX_NETNS] = {};

/* Never used: keeps the type in the object's BTF, and so in the skeleton. */
struct socket_event *unused_socket_event __attribute__((unused));

/* The two ends of a socket (or of a request for one) that a tracepoint gives. */
static __always_inline void fill_ends(struct socket_event *event, const struct sock_common *sk)
{
	event->local_port = sk->skc_num;
	event->remote_port = bpf_ntohs(sk->skc_dport);
	if (sk->skc_family == AF_INET) {
		event->ip_version = 4;
		*(__be32 *)event->local = sk->skc_rcv_saddr;
		*(__be32 *)event->remote = sk->skc_daddr;
	} else {
		event->ip_version = 6;
		*(struct in6_addr_words *)event->local = sk->skc_v6_rcv_saddr;
		*(struct in6_addr_words *)event->remote = sk->skc_v6_daddr;
	}
}

/* The cookie, the ends and the state of a full socket: no request for one. */
static __always_inline void fill_socket(struct socket_event *event, struct sock *sk)
{
	event->cookie = bpf_get_socket_cookie(sk);
	fill_ends(event, &sk->__sk_common);
	/* A socket that closes has given its port back already. */
	if (!event->local_port)
		event->local_port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	event->new_state = sk->__sk_common.skc_state;
}

/* As fill_socket, of a socket that the verifier does not know, so that the
 * kernel's helpers do not take it from us: its cookie was given when the
 * connection was established, see set_state. */
static __always_inline void fill_socket_from_head(struct socket_event *event,
						  const struct sock_head *sk)
{
	event->cookie = HEAD_FIELD(sk, skc_cookie.counter);
	event->new_state = HEAD_FIELD(sk, skc_state);
	event->local_port = HEAD_FIELD(sk, skc_num);
	event->remote_port = bpf_ntohs(HEAD_FIELD(sk, skc_dport));
	if (HEAD_FIELD(sk, skc_family) == AF_INET) {
		event->ip_version = 4;
		*(__be32 *)event->local = HEAD_FIELD(sk, skc_rcv_saddr);
		*(__be32 *)event->remote = HEAD_FIELD(sk, skc_daddr);
	} else {
		event->ip_version = 6;
		*(struct in6_addr_words *)event->local = HEAD_FIELD(sk, skc_v6_rcv_saddr);
		*(struct in6_addr_words *)event->remote = HEAD_FIELD(sk, skc_v6_daddr);
	}
}

static __always_inline void fill_facts(struct socket_event *event, struct sock *sk)
{
	const struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

	if (!tp)
		return;
	event->has_facts = 1;
	event->srtt_us = tp->srtt_us;
	event->retransmitted_packets = tp->total_retrans;
	event->sent_bytes = tp->bytes_sent;
	event->acked_bytes = tp->bytes_acked;
	event->received_bytes = tp->bytes_received;
}

static __always_inline bool is_wanted(__u32 netns)
{
	int place;

	for (place = 0; place < MAX_NETNS && wanted_netns[place]; place++)
		if (wanted_netns[place] == netns)
			return true;
	return !place;
}

static __always_inline __u32 netns_of(const struct sock_common *sk)
{
	return BPF_CORE_READ(sk, skc_net.net, ns.inum);
}

/* The same of a socket that a tracepoint gives, which is read without a helper.
 * To be asked first: many sockets are of other namespaces. */
static __always_inline __u32 netns_of_socket(const struct sock *sk)
{
	return sk->__sk_common.skc_net.net->ns.inum;
}

/* Begins an event of a wanted namespace in the space that is given: all zero
 * but for its head. NULL when it is not wanted. */
static __always_inline struct socket_event *new_event(struct socket_event *event,
						      enum event_kind kind, __u32 netns)
{
	if (!is_wanted(netns))
		return NULL;
	__builtin_memset(event, 0, sizeof(*event));
	event->boot_ns = now_boot_ns();
	event->kind = kind;
	event->netns = netns;
	return event;
}

/* Whether the recorder gets it. */
static __always_inline bool submit(void *ctx, struct socket_event *event)
{
	if (by_process && !is_wanted_event(event))
		return false;
	count_seen(0);
	if (hand_over(ctx, event, sizeof(*event))) {
		count_loss(LOSS_RING_FULL, 0, event->boot_ns);
		return false;
	}
	return true;
}

#endif
