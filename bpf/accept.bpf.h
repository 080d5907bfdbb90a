/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * When a process accepts a connection: the end of either system call. Who
 * includes this says what comes of it.
 */
#ifndef ACCEPT_BPF_H
#define ACCEPT_BPF_H

#include <bpf/bpf_helpers.h>

#include "core.bpf.h"
#include "sockets.bpf.h"

static __always_inline void accepted(void *ctx, struct task_struct *task,
				     const struct sock_head *sk);

static __always_inline int exit_either(struct trace_event_raw_sys_exit *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct sock_head sk;

	if (ctx->ret >= 0 && read_tcp_socket(task, ctx->ret, &sk))
		accepted(ctx, task, &sk);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_accept")
int exit_accept(struct trace_event_raw_sys_exit *ctx)
{
	return exit_either(ctx);
}

SEC("tracepoint/syscalls/sys_exit_accept4")
int exit_accept4(struct trace_event_raw_sys_exit *ctx)
{
	return exit_either(ctx);
}

#endif
