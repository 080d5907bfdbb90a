// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Kernel events: what happens to TCP sockets, and in which process's context.
 * Each program only observes; who owns what is decided by the analyzer.
 *
 * sockets that exist already        iter/task_file
 * connect, listen, state, close     tp_btf/inet_sock_set_state
 * accept                            tracepoint/syscalls/sys_exit_accept{,4}
 * handover                          tp_btf/tcp_rcv_space_adjust, and exec
 * retransmit                        tp_btf/tcp_retransmit_{skb,synack}
 * reset                             tp_btf/tcp_{send,receive}_reset
 * exec                              tp_btf/sched_process_exec
 * fork, exit, where followed        tp_btf/sched_process_{fork,exit}
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "core.bpf.h"
#include "tcprec.h"
#define IS_INTERRUPTED /* a softirq's events come between a process's */
#include "rings.bpf.h"
#include "processes.bpf.h"
#include "sockets.bpf.h"
#include "users.bpf.h"

/* Only sockets of these network namespaces (inode numbers), as many as there
 * are before the first 0; none: of all. */
const volatile __u32 wanted_netns[MAX_NETNS] = {};

/* An exec_event is larger than the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct exec_event);
} scratch SEC(".maps");

/* Never used: keeps the type in the object's BTF, and so in the skeleton. */
struct socket_event *unused_socket_event __attribute__((unused));

/* Of a task that the verifier knows: read without a helper, which costs more
 * than the field. */
static __always_inline void fill_task(struct task *out, const struct task_struct *task)
{
	const struct task_struct *leader = task->group_leader;
	const __u64 *comm = (const __u64 *)leader->comm;

	_Static_assert(sizeof(out->comm) == 2 * sizeof(*comm), "a name is two words");
	out->pid = task->tgid;
	out->start_boot_ns = leader->start_boottime;
	out->ppid = leader->real_parent->tgid;
	out->tid = task->pid;
	out->uid = task->cred->euid.val;
	out->cgroup_id = task->cgroups->dfl_cgrp->kn->id;
	((__u64 *)out->comm)[0] = comm[0];
	((__u64 *)out->comm)[1] = comm[1];
}

static __always_inline void fill_current_task(struct task *out)
{
	fill_task(out, bpf_get_current_task_btf());
}

/*
 * The task that acts on a socket, if one does. A process locks the socket it
 * works on (lock_sock sets `owned`); softirqs and timers never do, they leave a
 * locked socket alone. So without the lock the current task is a bystander that
 * an interrupt happened to stop, and is not reported.
 */
static __always_inline void fill_acting_task(struct task *out, const struct sock *sk)
{
	if (sk->sk_lock.owned)
		fill_current_task(out);
}

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

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state, struct sock *sk, int old_state, int new_state)
{
	struct socket_event space, *event;
	enum event_kind kind;
	__u32 netns = netns_of_socket(sk);

	/* The tracepoint is DCCP's, SCTP's and MPTCP's too. */
	if (!is_wanted(netns) || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	/* The child of a listener in the middle of its making: it still has its
	 * parent's ports, and a cookie asked for now would be replaced. */
	if (old_state == TCP_LISTEN && new_state == TCP_SYN_RECV)
		return 0;
	switch (new_state) {
	case TCP_SYN_SENT:
		kind = EVENT_CONNECT;
		break;
	case TCP_LISTEN:
		kind = EVENT_LISTEN;
		break;
	case TCP_CLOSE:
		kind = EVENT_CLOSE;
		break;
	default:
		kind = EVENT_STATE;
	}
	if (kind == EVENT_CLOSE)
		forget_user(bpf_get_socket_cookie(sk));
	event = new_event(&space, kind, netns);
	if (!event)
		return 0;
	fill_acting_task(&event->task, sk);
	fill_socket(event, sk);
	event->old_state = old_state;
	event->new_state = new_state;
	if (new_state != TCP_LISTEN && old_state != TCP_LISTEN)
		fill_facts(event, sk);
	if (submit(ctx, event) && kind == EVENT_CONNECT)
		set_user(event->cookie, event->task.pid);
	return 0;
}

/* As fill_socket, of a socket that the verifier does not know, so that neither
 * loads nor the kernel's helpers take it from us: its cookie was given when the
 * connection was established, see set_state. */
static __always_inline void fill_socket_behind_fd(struct socket_event *event,
						  const struct sock *sock)
{
	const struct sock_common *sk = &sock->__sk_common;

	event->cookie = BPF_CORE_READ(sk, skc_cookie.counter);
	event->new_state = BPF_CORE_READ(sk, skc_state);
	event->local_port = BPF_CORE_READ(sk, skc_num);
	event->remote_port = bpf_ntohs(BPF_CORE_READ(sk, skc_dport));
	if (BPF_CORE_READ(sk, skc_family) == AF_INET) {
		event->ip_version = 4;
		BPF_CORE_READ_INTO((__be32 *)event->local, sk, skc_rcv_saddr);
		BPF_CORE_READ_INTO((__be32 *)event->remote, sk, skc_daddr);
	} else {
		event->ip_version = 6;
		BPF_CORE_READ_INTO((struct in6_addr_words *)event->local, sk, skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr_words *)event->remote, sk, skc_v6_daddr);
	}
}

/* The socket behind a file descriptor that accept just returned. */
static __always_inline int accepted(struct trace_event_raw_sys_exit *ctx)
{
	const struct task_struct *task = bpf_get_current_task_btf();
	struct socket_event space, *event;
	struct sock *sk;

	if (ctx->ret < 0)
		return 0;
	sk = tcp_socket(task, ctx->ret);
	if (!sk)
		return 0;
	event = new_event(&space, EVENT_ACCEPT, netns_of(&sk->__sk_common));
	if (!event)
		return 0;
	fill_task(&event->task, task);
	fill_socket_behind_fd(event, sk);
	if (submit(ctx, event))
		set_user(event->cookie, event->task.pid);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_accept")
int exit_accept(struct trace_event_raw_sys_exit *ctx)
{
	return accepted(ctx);
}

SEC("tracepoint/syscalls/sys_exit_accept4")
int exit_accept4(struct trace_event_raw_sys_exit *ctx)
{
	return accepted(ctx);
}

/* Told when it is another process than before. Runs at each message: reads the
 * socket as it is, without a helper's help. */
SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(received, struct sock *sk)
{
	__u64 cookie = sk->__sk_common.skc_cookie.counter;
	__u32 netns = netns_of_socket(sk), pid;
	struct socket_event space, *event;

	if (!is_wanted(netns) || !sk->sk_lock.owned)
		return 0;
	pid = bpf_get_current_pid_tgid() >> 32;
	if (is_user(cookie, pid))
		return 0;
	/* A thread of the kernel does it for somebody. */
	if (bpf_get_current_task_btf()->flags & PF_KTHREAD)
		return 0;
	if (!change_user(bpf_get_socket_cookie(sk), pid))
		return 0;
	event = new_event(&space, EVENT_HANDOVER, netns);
	if (!event)
		return 0;
	fill_current_task(&event->task);
	fill_socket(event, sk);
	submit(ctx, event);
	return 0;
}

/* A program was started with a socket as its input or output, as inetd does. */
static __always_inline void tell_standard_streams(void *ctx, struct task_struct *task)
{
	struct socket_event space, *event;
	struct sock *sk;
	__u32 fd, netns;

	for (fd = 0; fd <= 2; fd++) {
		sk = tcp_socket(task, fd);
		if (!sk)
			continue;
		netns = netns_of(&sk->__sk_common);
		if (!is_wanted(netns) ||
		    !pass_on(BPF_CORE_READ(sk, __sk_common.skc_cookie.counter),
			     BPF_CORE_READ(task, tgid)))
			continue;
		event = new_event(&space, EVENT_HANDOVER, netns);
		if (!event)
			continue;
		fill_task(&event->task, task);
		fill_socket_behind_fd(event, sk);
		submit(ctx, event);
	}
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(retransmit_skb, struct sock *sk)
{
	struct socket_event space, *event;

	event = new_event(&space, EVENT_RETRANSMIT, netns_of_socket(sk));
	if (!event)
		return 0;
	fill_socket(event, sk);
	fill_facts(event, sk);
	submit(ctx, event);
	return 0;
}

/* A SYN-ACK sent again: there is no socket yet, only the request for one. */
SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(retransmit_synack, struct sock *listener, struct request_sock *request)
{
	struct socket_event space, *event;

	event = new_event(&space, EVENT_RETRANSMIT, netns_of(&request->__req_common));
	if (!event)
		return 0;
	event->cookie = request->__req_common.skc_cookie.counter;
	fill_ends(event, &request->__req_common);
	event->new_state = TCP_NEW_SYN_RECV;
	submit(ctx, event);
	return 0;
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(receive_reset, struct sock *sk)
{
	struct socket_event space, *event;

	event = new_event(&space, EVENT_RESET, netns_of_socket(sk));
	if (!event)
		return 0;
	event->direction = DIRECTION_IN;
	fill_socket(event, sk);
	fill_facts(event, sk);
	submit(ctx, event);
	return 0;
}

/* The ends of a reset that answers a segment no socket wants: the segment's,
 * turned round. */
static __always_inline void fill_ends_from_segment(struct socket_event *event,
						   const struct sk_buff *skb)
{
	unsigned char *head = BPF_CORE_READ(skb, head);
	unsigned char *network = head + BPF_CORE_READ(skb, network_header);
	unsigned char *transport = head + BPF_CORE_READ(skb, transport_header);
	__be16 ports[2] = {};
	__u8 version = 0;

	bpf_probe_read_kernel(&version, sizeof(version), network);
	event->ip_version = version >> 4;
	if (event->ip_version == 4) {
		bpf_probe_read_kernel(event->remote, 4, network + 12);
		bpf_probe_read_kernel(event->local, 4, network + 16);
	} else {
		bpf_probe_read_kernel(event->remote, 16, network + 8);
		bpf_probe_read_kernel(event->local, 16, network + 24);
	}
	bpf_probe_read_kernel(ports, sizeof(ports), transport);
	event->remote_port = bpf_ntohs(ports[0]);
	event->local_port = bpf_ntohs(ports[1]);
}

/* `sk` is NULL when a closed port answers, `skb` when a process aborts. */
SEC("tp_btf/tcp_send_reset")
int BPF_PROG(send_reset, struct sock *sk, struct sk_buff *skb)
{
	struct socket_event space, *event;
	__u16 remote_port = 0;
	__u32 netns;

	if (sk)
		remote_port = BPF_CORE_READ(sk, __sk_common.skc_dport);
	if (remote_port)
		netns = netns_of(&sk->__sk_common);
	else if (skb)
		netns = BPF_CORE_READ(skb, dev, nd_net.net, ns.inum);
	else
		return 0;
	event = new_event(&space, EVENT_RESET, netns);
	if (!event)
		return 0;
	event->direction = DIRECTION_OUT;
	if (remote_port) {
		fill_acting_task(&event->task, sk);
		fill_socket(event, sk);
	} else if (skb) {
		fill_ends_from_segment(event, skb);
	}
	submit(ctx, event);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	__u64 now = now_boot_ns();
	struct exec_event *event;
	unsigned long start;
	__u32 key = 0, length;

	if (!is_wanted(BPF_CORE_READ(task, nsproxy, net_ns, ns.inum)))
		return 0;
	event = bpf_map_lookup_elem(&scratch, &key);
	if (!event)
		return 0;
	event->boot_ns = now;
	event->kind = EVENT_EXEC;
	fill_task(&event->task, task);
	if (by_process && !is_wanted_process(&event->task))
		return 0;
	bpf_probe_read_kernel_str(event->filename, FILENAME_BYTES, BPF_CORE_READ(bprm, filename));
	start = BPF_CORE_READ(task, mm, arg_start);
	length = BPF_CORE_READ(task, mm, arg_end) - start;
	if (length > ARGV_BYTES)
		length = ARGV_BYTES;
	if (bpf_probe_read_user(event->argv, length, (void *)start))
		length = 0;
	event->argv_bytes = length;

	length += __builtin_offsetof(struct exec_event, argv);
	if (hand_over(ctx, event, length))
		count_loss(LOSS_EXEC, 0, now);
	tell_standard_streams(ctx, task);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_fork, struct task_struct *parent, struct task_struct *child)
{
	__u32 pid = BPF_CORE_READ(child, tgid);
	struct task task = {};
	__u8 yes = 1;

	/* A thread is no process of its own. */
	if (pid == BPF_CORE_READ(parent, tgid))
		return 0;
	fill_task(&task, parent);
	if (is_wanted_process(&task))
		bpf_map_update_elem(&followed, &pid, &yes, BPF_ANY);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	__u32 pid = BPF_CORE_READ(task, tgid);

	if (pid == BPF_CORE_READ(task, pid))
		bpf_map_delete_elem(&followed, &pid);
	return 0;
}

/* One socket_event for each TCP socket that each process holds. */
SEC("iter/task_file")
int scan_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket_event event;
	struct socket *socket;
	struct sock *sk;
	__u32 netns;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || !is_tcp(sk))
		return 0;
	netns = netns_of(&sk->__sk_common);
	if (!is_wanted(netns))
		return 0;
	__builtin_memset(&event, 0, sizeof(event));
	event.boot_ns = now_boot_ns();
	event.kind = EVENT_SCAN;
	event.netns = netns;
	fill_task(&event.task, task);
	event.cookie = bpf_get_socket_cookie(sk);
	fill_ends(&event, &sk->__sk_common);
	event.new_state = sk->__sk_common.skc_state;
	if (event.new_state != TCP_LISTEN && event.new_state != TCP_CLOSE)
		fill_facts(&event, sk);
	if (by_process && !is_wanted_event(&event))
		return 0;
	bpf_seq_write(ctx->meta->seq, &event, sizeof(event));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
