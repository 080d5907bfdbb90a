/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which process uses a socket: the one that asked for the connection or took
 * it, then the last that received from it or was started with it as its input or
 * output. So that only a change is told.
 */
#ifndef USERS_BPF_H
#define USERS_BPF_H

#include <stdbool.h>
#include <bpf/bpf_helpers.h>

/* Beyond, it is not noticed when a socket goes to another process. */
#define MAX_USED_SOCKETS (1 << 18)
/* A socket that several processes use at once changes with each message. */
#define MAX_CHANGES 16

struct user {
	__u32 pid;
	__u32 changes;
};

/* By cookie, until the socket closes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_USED_SOCKETS);
	__type(key, __u64);
	__type(value, struct user);
} users SEC(".maps");

static __always_inline void set_user(__u64 cookie, __u32 pid)
{
	struct user user = { .pid = pid };

	if (cookie && pid)
		bpf_map_update_elem(&users, &cookie, &user, BPF_ANY);
}

static __always_inline void forget_user(__u64 cookie)
{
	bpf_map_delete_elem(&users, &cookie);
}

static __always_inline bool is_user(__u64 cookie, __u32 pid)
{
	struct user *user = bpf_map_lookup_elem(&users, &cookie);

	return user && user->pid == pid;
}

/* Whether it is another process than before, and that is worth telling: it can
 * be remembered, and happens seldom. */
static __always_inline bool change_user(__u64 cookie, __u32 pid)
{
	struct user *user = bpf_map_lookup_elem(&users, &cookie);
	struct user first = { .pid = pid };

	if (!user)
		return cookie && !bpf_map_update_elem(&users, &cookie, &first, BPF_ANY);
	if (user->pid == pid || user->changes >= MAX_CHANGES)
		return false;
	user->pid = pid;
	user->changes++;
	return true;
}

/* The same, of a process that has the socket but did not use it yet: only from
 * who opened it. What that process starts in turn only helps it. */
static __always_inline bool pass_on(__u64 cookie, __u32 pid)
{
	struct user *user = bpf_map_lookup_elem(&users, &cookie);

	return user && !user->changes && change_user(cookie, pid);
}

#endif
