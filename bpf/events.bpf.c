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
 * who waits for connections,        tracepoint/syscalls/sys_enter_{accept{,4},epoll_ctl}
 *   where not all are wanted
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
#include "accept.bpf.h"
#include "events_common.bpf.h"
#include "socket_events.bpf.h"
#include "tasks.bpf.h"
#include "users.bpf.h"

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state, struct sock *sk, int old_state, int new_state)
{
	enum event_kind kind = kind_of_change(new_state);
	struct socket_event space, *event;

	/* The tracepoint is DCCP's, SCTP's and MPTCP's too. */
	if (sk->sk_protocol != IPPROTO_TCP || !is_change(old_state, new_state))
		return 0;
	event = new_event(&space, kind, netns_of_socket(sk));
	if (!event)
		return 0;
	fill_acting_task(&event->task, sk);
	fill_socket(event, sk);
	/* What it remembers is the port of a connection that it had before. */
	if (kind == EVENT_CONNECT)
		event->local_port = sk->__sk_common.skc_num;
	if (kind == EVENT_CLOSE)
		forget_user(event->cookie);
	event->old_state = old_state;
	event->new_state = new_state;
	if (new_state != TCP_LISTEN && old_state != TCP_LISTEN)
		fill_facts(event, sk);
	if (submit(ctx, event) && kind == EVENT_CONNECT)
		set_user(event->cookie, event->task.pid);
	return 0;
}

/* A socket that a process holds; the stack has no room for it beside an event. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct held_socket {
		struct sock_head sk;
		struct listening_end end;
	});
} held SEC(".maps");

/* A wanted process may have a listener from another that is not, as systemd gives
 * them to what it starts, and a server to its workers. */
static __always_inline void want_listener(const struct task_struct *task, __u32 fd)
{
	struct held_socket *it;
	__u64 cookie;
	__u32 key = 0;

	it = bpf_map_lookup_elem(&held, &key);
	if (!it || !read_tcp_socket(task, fd, &it->sk) ||
	    HEAD_FIELD(&it->sk, skc_state) != TCP_LISTEN)
		return;
	/* It was given when the socket began to listen, or by the scan. */
	cookie = HEAD_FIELD(&it->sk, skc_cookie.counter);
	if (!cookie || !is_wanted(netns_of_head(&it->sk)))
		return;
	fill_listening_end_from_head(&it->end, &it->sk);
	add_listener(cookie, &it->end);
}

/* Who waits for connections says so before the first one comes: it blocks in accept, or
 * waits for several sockets at once. */
static __always_inline int want_listener_of_current(__u32 fd)
{
	struct task task = {};

	fill_current_task(&task);
	if (is_wanted_process(&task))
		want_listener(bpf_get_current_task_btf(), fd);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_accept")
int enter_accept(struct trace_event_raw_sys_enter *ctx)
{
	return want_listener_of_current(ctx->args[0]);
}

SEC("tracepoint/syscalls/sys_enter_accept4")
int enter_accept4(struct trace_event_raw_sys_enter *ctx)
{
	return want_listener_of_current(ctx->args[0]);
}

SEC("tracepoint/syscalls/sys_enter_epoll_ctl")
int enter_epoll_ctl(struct trace_event_raw_sys_enter *ctx)
{
	return ctx->args[1] == EPOLL_CTL_ADD ? want_listener_of_current(ctx->args[2]) : 0;
}

static __always_inline void accepted(void *ctx, struct task_struct *task,
				     const struct sock_head *sk)
{
	struct socket_event space, *event = new_event(&space, EVENT_ACCEPT, netns_of_head(sk));

	if (!event)
		return;
	fill_task(&event->task, task);
	fill_socket_from_head(event, sk);
	/* What its client has reset is closed already, and will not be forgotten again. */
	if (submit(ctx, event) && event->new_state != TCP_CLOSE)
		set_user(event->cookie, event->task.pid);
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
	/* What came before may be read of a socket that closed: its user is forgotten,
	 * and nothing would forget the next one. */
	if (sk->__sk_common.skc_state == TCP_CLOSE)
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
	struct held_socket *it;
	__u32 key = 0, fd, netns;

	it = bpf_map_lookup_elem(&held, &key);
	for (fd = 0; it && fd <= 2; fd++) {
		if (!read_tcp_socket(task, fd, &it->sk))
			continue;
		netns = netns_of_head(&it->sk);
		if (!is_wanted(netns) ||
		    !pass_on(HEAD_FIELD(&it->sk, skc_cookie.counter), BPF_CORE_READ(task, tgid)))
			continue;
		event = new_event(&space, EVENT_HANDOVER, netns);
		if (!event)
			continue;
		fill_task(&event->task, task);
		fill_socket_from_head(event, &it->sk);
		submit(ctx, event);
	}
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(retransmit_skb, struct sock *sk)
{
	struct socket_event space, *event;

	if (RETRANSMIT_FAILED(ctx))
		return 0;
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
	if (sk)
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

/* Among so many descriptors a program's listeners are looked for when it starts: the
 * verifier goes through each. systemd's begin with 3 (sd_listen_fds(3)). */
#define MAX_PASSED_FDS 32

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
	for (__u32 fd = 0; by_process && fd < MAX_PASSED_FDS; fd++)
		want_listener(task, fd);
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
	__u64 start_ticks;

	/* A thread is no process of its own. */
	if (pid == BPF_CORE_READ(parent, tgid))
		return 0;
	fill_task(&task, parent);
	if (!is_wanted_process(&task))
		return 0;
	start_ticks = BPF_CORE_READ(child, start_boottime) / TICK_NS;
	bpf_map_update_elem(&followed, &pid, &start_ticks, BPF_ANY);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	__u32 pid = BPF_CORE_READ(task, tgid);

	/* A process goes on without its first thread. */
	if (!BPF_CORE_READ(task, signal, live.counter))
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
