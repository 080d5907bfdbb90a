/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What is the same for the events with the kernel's types and without.
 */
#ifndef EVENTS_COMMON_BPF_H
#define EVENTS_COMMON_BPF_H

#include <bpf/bpf_helpers.h>

#include "core.bpf.h"
#include "tcprec.h"

/* An exec_event is larger than the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct exec_event);
} scratch SEC(".maps");

/* Whether a socket goes to another state, as one that is closed after it was shut down does
 * not. (The child of a listener is told of when it is made: in the middle of that it still
 * has its parent's ports, and a cookie asked for now would be replaced.) */
static __always_inline bool is_change(int old_state, int new_state)
{
	return old_state != new_state &&
	       !(old_state == TCP_LISTEN && new_state == TCP_SYN_RECV);
}

/* What the change of a socket to this state is. */
static __always_inline enum event_kind kind_of_change(int new_state)
{
	switch (new_state) {
	case TCP_SYN_SENT:
		return EVENT_CONNECT;
	case TCP_LISTEN:
		return EVENT_LISTEN;
	case TCP_CLOSE:
		return EVENT_CLOSE;
	default:
		return EVENT_STATE;
	}
}

#endif
