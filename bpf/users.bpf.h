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

/*
 * Beyond, it is not noticed when a socket goes to another process. Cookies are
 * numbers in a row, so the set where a socket has its place is found without
 * hashing, and lies beside those of the sockets that are as young.
 */
#define USER_SETS (1 << 16)
#define USERS_IN_SET 4
/* A socket that several processes use at once changes with each message. */
#define MAX_CHANGES 16

struct user {
	__u64 cookie; /* 0: the place is free */
	__u32 pid;
	__u32 changes;
};

struct user_set {
	struct user users[USERS_IN_SET];
};

/* By cookie, until the socket closes. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, USER_SETS);
	__type(key, __u32);
	__type(value, struct user_set);
} users SEC(".maps");

static __always_inline struct user_set *set_of(__u64 cookie)
{
	__u32 key = cookie % USER_SETS;

	return bpf_map_lookup_elem(&users, &key);
}

static __always_inline struct user *find_user(__u64 cookie)
{
	struct user_set *set = set_of(cookie);

	for (int i = 0; set && cookie && i < USERS_IN_SET; i++)
		if (set->users[i].cookie == cookie)
			return &set->users[i];
	return NULL;
}

/* A place for a socket that has none; NULL where none is free. */
static __always_inline struct user *add_user(__u64 cookie)
{
	struct user_set *set = set_of(cookie);

	for (int i = 0; set && cookie && i < USERS_IN_SET; i++)
		if (!set->users[i].cookie &&
		    !__sync_val_compare_and_swap(&set->users[i].cookie, 0, cookie))
			return &set->users[i];
	return NULL;
}

static __always_inline void set_user(__u64 cookie, __u32 pid)
{
	struct user *user;

	if (!cookie || !pid)
		return;
	user = find_user(cookie) ?: add_user(cookie);
	if (user) {
		user->pid = pid;
		user->changes = 0;
	}
}

static __always_inline void forget_user(__u64 cookie)
{
	struct user *user = find_user(cookie);

	if (user) {
		user->pid = 0;
		user->changes = 0;
		user->cookie = 0;
	}
}

static __always_inline bool is_user(__u64 cookie, __u32 pid)
{
	struct user *user = find_user(cookie);

	return user && user->pid == pid;
}

/* Whether it is another process than before, and that is worth telling: it can
 * be remembered, and happens seldom. */
static __always_inline bool change_user(__u64 cookie, __u32 pid)
{
	struct user *user = find_user(cookie);

	if (!user) {
		user = add_user(cookie);
		if (user)
			user->pid = pid;
		return user;
	}
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
	struct user *user = find_user(cookie);

	return user && !user->changes && change_user(cookie, pid);
}

#endif
