/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What is told of a task, and which one acts on a socket.
 */
#ifndef TASKS_BPF_H
#define TASKS_BPF_H

#include <bpf/bpf_helpers.h>

#include "core.bpf.h"
#include "tcprec.h"

/* The name of a task that the verifier knows; `out` is aligned as a word. */
static __always_inline void fill_comm(__u8 *out, const struct task_struct *task)
{
	const __u64 *comm = (const __u64 *)task->comm;

	_Static_assert(COMM_BYTES == 2 * sizeof(*comm), "a name is two words");
	((__u64 *)out)[0] = comm[0];
	((__u64 *)out)[1] = comm[1];
}

/* Of a task that the verifier knows: read without a helper, which costs more
 * than the field. */
static __always_inline void fill_task(struct task *out, const struct task_struct *task)
{
	const struct task_struct *leader = task->group_leader;

	out->pid = task->tgid;
	out->start_boot_ns = leader->start_boottime;
	out->ppid = leader->real_parent->tgid;
	out->tid = task->pid;
	out->uid = task->cred->euid.val;
	out->cgroup_id = task->cgroups->dfl_cgrp->kn->id;
	fill_comm(out->comm, leader);
}

static __always_inline void fill_current_task(struct task *out)
{
	fill_task(out, bpf_get_current_task_btf());
}

/*
 * The task that acts on a socket, if one does. A process locks the socket it
 * works on (lock_sock sets `owned`); softirqs and timers never do, they leave a
 * locked socket alone. So without the lock the current task is a bystander that
 * an interrupt happened to stop, and is not reported. What stands for a socket
 * before it is established, or in TIME-WAIT, is shorter and has no lock.
 *
 * A listener is not left alone: softirqs answer for it whoever holds its lock
 * (tcp_v4_rcv). It is to be asked for only where its state changes, which only
 * processes do.
 */
static __always_inline struct task_struct *acting_task(const struct sock *sk)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u8 state = sk->__sk_common.skc_state;

	if (state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV || !sk->sk_lock.owned)
		return NULL;
	/* A worker of the kernel does what others left to it, as Multipath TCP does. */
	return task->flags & PF_WQ_WORKER ? NULL : task;
}

static __always_inline void fill_acting_task(struct task *out, const struct sock *sk)
{
	struct task_struct *task = acting_task(sk);

	if (task)
		fill_task(out, task);
}

#endif
