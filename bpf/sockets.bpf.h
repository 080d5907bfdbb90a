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

/*
 * The beginning of a socket that the verifier does not know, so that fields
 * cannot be read by loads: copied in one go, for a helper costs more than all of
 * them. As long as the fields that are read, with some to spare.
 */
struct sock_head {
	__u8 bytes[112] __attribute__((aligned(8)));
};

#define HEAD_FIELD(head, field)                                                                    \
	(*(typeof(((struct sock_common *)0)->field) *)((head)->bytes +                             \
						       bpf_core_field_offset(struct sock_common, field)))

/* The TCP socket behind a file descriptor of a task, and whether there is one.
 * The verifier knows the task, and what is beyond the table's array no more. */
static __always_inline bool read_tcp_socket(const struct task_struct *task, unsigned int fd,
					    struct sock_head *head)
{
	const struct fdtable *table = task->files->fdt;
	struct file **files = table->fd;
	struct socket *socket;
	struct file *file;
	struct sock *sk;
	__u16 family;

	if (fd >= table->max_fds ||
	    bpf_probe_read_kernel(&file, sizeof(file), files + fd) ||
	    (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return false;
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	if (!sk || bpf_probe_read_kernel(head, sizeof(*head), sk))
		return false;
	family = HEAD_FIELD(head, skc_family);
	return (family == AF_INET || family == AF_INET6) &&
	       BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP;
}

static __always_inline __u32 netns_of_head(const struct sock_head *head)
{
	const struct net *net = HEAD_FIELD(head, skc_net.net);

	return BPF_CORE_READ(net, ns.inum);
}

#endif
