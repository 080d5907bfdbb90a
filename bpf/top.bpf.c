// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * `tcprec top`: what each process does with TCP, counted where it happens.
 * Nothing but the counts leaves the kernel, however many packets there are.
 *
 * packets, bytes                cgroup_skb/{in,e}gress, at the root of the cgroups
 * connect, the end of a socket  tp_btf/inet_sock_set_state
 * accept                        tracepoint/syscalls/sys_exit_accept{,4}
 * retransmit                    tp_btf/tcp_retransmit_{skb,synack}
 * sockets that exist already    iter/task_file
 *
 * Counts only grow; who reads them takes the differences.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* For headers.h. */
#define load_bytes(skb, offset, to, length) bpf_skb_load_bytes(skb, offset, to, length)

#include "accept.bpf.h"
#include "core.bpf.h"
#include "sockets.bpf.h"
#include "tasks.bpf.h"
#include "tcprec.h"

/* A process as one user. */
struct process_key {
	__u32 pid; /* 0: nobody is known */
	__u32 uid; /* effective */
	__u64 start_boot_ns; /* of its first thread: the pid may be another's later */
};

struct owner {
	struct process_key key;
	__u8 comm[COMM_BYTES] __attribute__((aligned(8)));
};

struct traffic {
	__u64 packets; /* as on the wire: a segment that the network card cuts is many */
	__u64 bytes;   /* of TCP payload */
};

struct counts {
	__u64 connects;
	__u64 accepts;
	struct traffic sent;
	struct traffic received;
	__u64 retransmits;
};

struct process_counts {
	struct counts counts; /* first: the compiler adds no offset before the check for NULL */
	__u8 comm[COMM_BYTES];
};

struct socket_owner {
	struct owner owner;
	/* What was counted before a process accepted the connection. */
	struct counts waiting;
};

/* That of nobody is there from the start. The sizes of both maps are set before
 * they are loaded. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct process_key);
	__type(value, struct process_counts);
} processes SEC(".maps");

/* By cookie, until the socket closes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct socket_owner);
} sockets SEC(".maps");

/* Connections that failed before they were accepted, by cookie. Accept may give
 * them still, but not all: the least recent make room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096); /* the default of net.core.somaxconn */
	__type(key, __u64);
	__type(value, struct socket_owner);
} failed SEC(".maps");

/* How often a process or a socket found its map full: its counts are nobody's. */
__u64 no_room = 0;

static __always_inline void add(__u64 *count, __u64 more)
{
	__sync_fetch_and_add(count, more);
}

static __always_inline struct process_counts *find_process(const struct owner *owner)
{
	struct process_key key = owner->key;
	struct process_counts *process, fresh = {};

	process = bpf_map_lookup_elem(&processes, &key);
	if (process)
		return process;
	__builtin_memcpy(fresh.comm, owner->comm, COMM_BYTES);
	bpf_map_update_elem(&processes, &key, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&processes, &key);
}

/* The counts of an owner; nobody's if there is no room for it. */
static __always_inline struct counts *counts_of(const struct owner *owner)
{
	struct process_counts *process = find_process(owner);
	struct process_key nobody = {};

	if (!process) {
		add(&no_room, 1);
		process = bpf_map_lookup_elem(&processes, &nobody);
	}
	return process ? &process->counts : NULL;
}

/* The same of a process that acts: it may have another name than before. */
static __always_inline struct counts *counts_of_acting(const struct owner *owner)
{
	struct process_counts *process = find_process(owner);

	if (!process)
		return counts_of(owner);
	__builtin_memcpy(process->comm, owner->comm, COMM_BYTES);
	return &process->counts;
}

static __always_inline void move(__u64 *from, __u64 *to)
{
	if (*from)
		add(to, __sync_lock_test_and_set(from, 0));
}

/* Hands what waited for an owner to the one that there is now. */
static __always_inline void settle(struct socket_owner *socket)
{
	struct counts *to = counts_of(&socket->owner);

	if (!to)
		return;
	move(&socket->waiting.sent.packets, &to->sent.packets);
	move(&socket->waiting.sent.bytes, &to->sent.bytes);
	move(&socket->waiting.received.packets, &to->received.packets);
	move(&socket->waiting.received.bytes, &to->received.bytes);
	move(&socket->waiting.retransmits, &to->retransmits);
}

/* A socket with its owner, unless it is known already. */
static __always_inline struct socket_owner *add_socket(__u64 cookie, const struct owner *owner)
{
	struct socket_owner *socket, fresh = {};

	fresh.owner = *owner;
	bpf_map_update_elem(&sockets, &cookie, &fresh, BPF_NOEXIST);
	socket = bpf_map_lookup_elem(&sockets, &cookie);
	if (!socket)
		add(&no_room, 1);
	return socket;
}

static __always_inline void set_owner(__u64 cookie, const struct owner *owner)
{
	struct socket_owner *socket = add_socket(cookie, owner);

	if (!socket)
		return;
	socket->owner = *owner;
	settle(socket);
}

static __always_inline void fill_owner(struct owner *owner, const struct task_struct *task)
{
	const struct task_struct *leader = task->group_leader;

	owner->key.pid = task->tgid;
	owner->key.uid = task->cred->euid.val;
	owner->key.start_boot_ns = leader->start_boottime;
	fill_comm(owner->comm, leader);
}

static __always_inline bool is_same(const struct process_key *a, const struct process_key *b)
{
	return a->pid == b->pid && a->uid == b->uid && a->start_boot_ns == b->start_boot_ns;
}

/* The process that acts on a socket, if one does. A thread of the kernel does it for
 * somebody else. */
static __always_inline struct task_struct *acting_process(const struct sock *sk)
{
	struct task_struct *task = acting_task(sk);

	return task && !(task->flags & PF_KTHREAD) ? task : NULL;
}

static __always_inline void fill_acting(struct owner *owner, const struct sock *sk)
{
	struct task_struct *task = acting_process(sk);

	if (task)
		fill_owner(owner, task);
}

/* Where to count what happens to a socket. */
static __always_inline struct counts *counts_of_socket(struct sock *sk, __u64 cookie)
{
	struct socket_owner *socket = bpf_map_lookup_elem(&sockets, &cookie);
	struct owner nobody = {};

	/* A connection that came, and will be accepted. */
	if (!socket && sk->__sk_common.skc_state == TCP_SYN_RECV)
		socket = add_socket(cookie, &nobody);
	if (!socket)
		return counts_of(&nobody);
	return socket->owner.key.pid ? counts_of(&socket->owner) : &socket->waiting;
}

static __always_inline struct counts *counts_of_sender(struct sock *sk, __u64 cookie)
{
	bool is_listener = sk->__sk_common.skc_state == TCP_LISTEN;
	/* The kernel sends for a listener, whoever holds its lock. */
	struct task_struct *task = is_listener ? NULL : acting_process(sk);
	struct socket_owner *socket;
	struct owner owner = {};

	if (!task)
		return counts_of_socket(sk, cookie);
	fill_owner(&owner, task);
	socket = bpf_map_lookup_elem(&sockets, &cookie);
	/* It may have the socket from another process. */
	if (!(socket && is_same(&socket->owner.key, &owner.key)) &&
	    sk->__sk_common.skc_state != TCP_CLOSE)
		set_owner(cookie, &owner);
	return counts_of_acting(&owner);
}

static __always_inline void count_packet(struct __sk_buff *skb, bool is_sent)
{
	struct sock *sk = skb->sk ? (struct sock *)bpf_skc_to_tcp_sock(skb->sk) : NULL;
	struct owner nobody = {};
	struct headers headers;
	struct traffic *traffic;
	struct counts *counts;

	/* A raw socket gets copies of what comes for others. */
	if (!sk && !is_sent)
		return;
	if (!parse_headers(skb, true, skb->len, &headers))
		return;
	if (!sk)
		/* A reset that no socket sends, or a raw socket's packet. */
		counts = counts_of(&nobody);
	else if (is_sent)
		counts = counts_of_sender(sk, bpf_get_socket_cookie(skb));
	else
		counts = counts_of_socket(sk, bpf_get_socket_cookie(skb));
	if (!counts)
		return;
	traffic = is_sent ? &counts->sent : &counts->received;
	add(&traffic->packets, skb->gso_segs ? skb->gso_segs : 1);
	add(&traffic->bytes, headers.payload_bytes);
}

#define PASS 1

SEC("cgroup_skb/ingress")
int received(struct __sk_buff *skb)
{
	count_packet(skb, false);
	return PASS;
}

SEC("cgroup_skb/egress")
int sent(struct __sk_buff *skb)
{
	count_packet(skb, true);
	return PASS;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state, struct sock *sk, int old_state, int new_state)
{
	struct socket_owner *socket;
	struct owner owner = {};
	struct counts *counts;
	__u64 cookie;

	if (!is_tcp(sk))
		return 0;
	/* The child of a listener in the middle of its making has no cookie of
	 * its own yet. */
	if (old_state == TCP_LISTEN && new_state == TCP_SYN_RECV)
		return 0;
	cookie = bpf_get_socket_cookie(sk);
	switch (new_state) {
	case TCP_SYN_SENT:
		fill_acting(&owner, sk);
		counts = counts_of_acting(&owner);
		if (counts)
			add(&counts->connects, 1);
		set_owner(cookie, &owner);
		break;
	case TCP_LISTEN:
		fill_acting(&owner, sk);
		set_owner(cookie, &owner);
		break;
	case TCP_ESTABLISHED:
		/* Accept will tell whose it is, by the cookie that it has from now on. */
		if (old_state == TCP_SYN_RECV)
			add_socket(cookie, &owner);
		break;
	case TCP_CLOSE:
		socket = bpf_map_lookup_elem(&sockets, &cookie);
		if (socket && !socket->owner.key.pid && !sk->sk_socket && sk->sk_err)
			bpf_map_update_elem(&failed, &cookie, socket, BPF_ANY);
		else if (socket)
			settle(socket);
		bpf_map_delete_elem(&sockets, &cookie);
		break;
	}
	return 0;
}

static __always_inline void accepted(void *ctx, struct task_struct *task,
				     const struct sock_head *sk)
{
	__u64 cookie = HEAD_FIELD(sk, skc_cookie.counter);
	struct socket_owner *socket;
	struct owner owner = {};
	struct counts *counts;

	fill_owner(&owner, task);
	counts = counts_of_acting(&owner);
	if (counts)
		add(&counts->accepts, 1);
	/* It may have come before there was a cookie. */
	if (!cookie)
		return;
	if (HEAD_FIELD(sk, skc_state) != TCP_CLOSE) {
		set_owner(cookie, &owner);
		return;
	}
	socket = bpf_map_lookup_elem(&failed, &cookie);
	if (!socket)
		return;
	socket->owner = owner;
	settle(socket);
	bpf_map_delete_elem(&failed, &cookie);
}

static __always_inline int retransmitted(struct sock *sk)
{
	struct counts *counts = counts_of_socket(sk, bpf_get_socket_cookie(sk));

	if (counts)
		add(&counts->retransmits, 1);
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(retransmit_skb, struct sock *sk)
{
	return RETRANSMIT_FAILED(ctx) ? 0 : retransmitted(sk);
}

/* There is no socket yet, only the request for one: it is the listener's. */
SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(retransmit_synack, struct sock *listener)
{
	return retransmitted(listener);
}

SEC("iter/task_file")
int scan_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct owner owner = {};
	struct socket *socket;
	struct sock *sk;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || !is_tcp(sk) || sk->__sk_common.skc_state == TCP_CLOSE)
		return 0;
	fill_owner(&owner, task);
	add_socket(bpf_get_socket_cookie(sk), &owner);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
