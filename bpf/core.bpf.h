/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The few kernel structs that the programs read, with only the fields they
 * read: the loader finds the real offsets in the running kernel's BTF (CO-RE).
 * A dump of all kernel types would grow the build a hundredfold.
 */
#ifndef CORE_BPF_H
#define CORE_BPF_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr_words {
	__be32 words[4];
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr_words skc_v6_daddr;
	struct in6_addr_words skc_v6_rcv_saddr;
	struct {
		__s64 counter;
	} skc_cookie;
};

typedef struct {
	int owned;
} socket_lock_t;

struct socket;

struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	int sk_err;		  /* why it ended, an errno */
	struct socket *sk_socket; /* none before it is accepted */
	__u16 sk_protocol;
};

struct inet_sock {
	__be16 inet_sport;
};

struct request_sock {
	struct sock_common __req_common;
};

struct tcp_sock {
	__u32 srtt_us;
	__u32 total_retrans;
	__u64 bytes_sent;
	__u64 bytes_acked;
	__u64 bytes_received;
};

struct net_device {
	possible_net_t nd_net;
};

struct sk_buff {
	struct net_device *dev;
	unsigned char *head;
	__u16 network_header;
	__u16 transport_header;
};

struct socket {
	struct sock *sk;
};

struct inode {
	unsigned short i_mode;
};

struct file {
	struct inode *f_inode;
	void *private_data;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct cred {
	struct {
		unsigned int val;
	} euid;
};

struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct nsproxy {
	struct net *net_ns;
};

struct signal_struct {
	struct {
		int counter;
	} live; /* how many threads have not ended */
};

struct task_struct {
	unsigned int flags;
	int pid; /* of the thread */
	int tgid;
	__u64 start_boottime;
	struct task_struct *group_leader;
	struct task_struct *real_parent;
	const struct cred *cred;
	char comm[16];
	struct files_struct *files;
	struct mm_struct *mm;
	struct css_set *cgroups;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
};

struct linux_binprm {
	const char *filename;
};

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

/* Since Linux 6.17 tcp_retransmit_skb tells of attempts that failed, too. */
struct trace_event_raw_tcp_retransmit_skb {
	int err;
};

#pragma clang attribute pop

/* Whether nothing was sent again (a BPF_PROG's ctx). Without that field the
 * tracepoint has no third argument, and the verifier sees no use of it. */
#define RETRANSMIT_FAILED(ctx)                                                                     \
	(bpf_core_field_exists(struct trace_event_raw_tcp_retransmit_skb, err) && (int)(ctx)[2])

struct trace_event_raw_sys_enter {
	__u64 common;
	long id;
	unsigned long args[6];
};

struct trace_event_raw_sys_exit {
	__u64 common;
	long id;
	long ret;
};

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define EPOLL_CTL_ADD 1 /* linux/eventpoll.h */
#define S_IFMT 00170000  /* linux/stat.h */
#define S_IFSOCK 0140000
#define PF_WQ_WORKER 0x00000020 /* linux/sched.h */
#define PF_KTHREAD 0x00200000

/* Kernel's include/net/tcp_states.h. */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_CLOSING,
	TCP_NEW_SYN_RECV,
};

#endif
