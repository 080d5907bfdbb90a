/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which sockets are TCP's, and the one behind a file descriptor.
 */
#ifndef SOCKETS_BPF_H
#define SOCKETS_BPF_H

#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "core.bpf.h"

static __always_inline bool is_tcp(const struct sock *sk)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	return (family == AF_INET || family == AF_INET6) &&
	       BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP;
}

/* The TCP socket behind a file descriptor of a task; NULL where there is none.
 * The verifier knows the task, and what is beyond the table's array no more. */
static __always_inline struct sock *tcp_socket(const struct task_struct *task, unsigned int fd)
{
	const struct fdtable *table = task->files->fdt;
	struct file **files = table->fd;
	struct socket *socket;
	struct file *file;
	struct sock *sk;

	if (fd >= table->max_fds ||
	    bpf_probe_read_kernel(&file, sizeof(file), files + fd) ||
	    (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	return sk && is_tcp(sk) ? sk : NULL;
}

#endif
