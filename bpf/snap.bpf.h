/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How much of a packet to keep. Either a fixed length, or adaptive: the first
 * bytes of every message, where the heads of HTTP and TLS are, and of the bulk
 * that follows the headers only.
 *
 * Where a message begins is not parsed but seen: when the other end was the
 * last to send, or after a pause. Several messages in one go count as one.
 */
#ifndef SNAP_BPF_H
#define SNAP_BPF_H

#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "tcprec.h"

/* How many bytes of a packet to keep at most, up to MAX_SNAP_BYTES. */
const volatile __u32 snap_bytes = MAX_SNAP_BYTES;
/* How many bytes of a message to keep; 0: not adaptive. */
const volatile __u32 message_bytes = 0;

/* So that nobody outside can choose connections that share a hash. */
const volatile __u64 hash_seed = 0;

/* Longer silence than this begins a new message. */
#define PAUSE_NS (100 * 1000 * 1000ULL)

/* The connections that sent something lately, in sets where the least recent
 * makes room. */
#define CONVERSATION_SETS 16384
#define CONVERSATIONS_IN_SET 4

/* Both ends, the smaller first, so that both ways have one conversation. */
struct conversation_key {
	__u64 addresses[2][2];
	__u16 ports[2];
};

struct conversation {
	__u64 hash; /* of the key; that two share one does not happen */
	__u64 last_boot_ns;
	__u32 kept_bytes; /* of the message that is being sent */
	__u32 sender;	  /* 0: the smaller end, 1: the larger */
};

struct conversation_set {
	struct conversation conversations[CONVERSATIONS_IN_SET];
};

/* By hash. The kernel's hash maps cost 0.1 us more for each packet. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CONVERSATION_SETS);
	__type(key, __u32);
	__type(value, struct conversation_set);
} conversations SEC(".maps");

/* Whether an address comes after another, in an order that only has to be one. */
static __always_inline bool is_larger(const __u8 *address, const __u8 *other)
{
	for (int i = 0; i < 16; i++)
		if (address[i] != other[i])
			return address[i] > other[i];
	return false;
}

/* Which end of the key the sender is. */
static __always_inline __u32 fill_conversation_key(struct conversation_key *key,
						   const struct headers *headers)
{
	__u32 sender = headers->sport > headers->dport;

	if (headers->sport == headers->dport)
		sender = is_larger(headers->src, headers->dst);
	__builtin_memcpy(key->addresses[0], sender ? headers->dst : headers->src, 16);
	__builtin_memcpy(key->addresses[1], sender ? headers->src : headers->dst, 16);
	key->ports[0] = sender ? headers->dport : headers->sport;
	key->ports[1] = sender ? headers->sport : headers->dport;
	return sender;
}

/* Mixes a word into a hash: a multiplication by the golden ratio (Knuth, The Art
 * of Computer Programming 6.4), whose upper half goes into the lower. */
static __always_inline __u64 mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 32;
}

static __always_inline __u64 hash_of(const struct conversation_key *key)
{
	__u64 hash = (__u64)key->ports[0] << 16 | key->ports[1];

	hash = mix(hash_seed, hash);
	hash = mix(hash, key->addresses[0][0]);
	hash = mix(hash, key->addresses[0][1]);
	hash = mix(hash, key->addresses[1][0]);
	return mix(hash, key->addresses[1][1]);
}

/* That of a hash, or the place for it, which is another's or nobody's yet. */
static __always_inline struct conversation *find_conversation(__u64 hash)
{
	__u32 key = hash % CONVERSATION_SETS;
	struct conversation_set *set = bpf_map_lookup_elem(&conversations, &key);
	struct conversation *oldest = NULL;

	for (int i = 0; set && i < CONVERSATIONS_IN_SET; i++) {
		struct conversation *conversation = &set->conversations[i];

		if (conversation->hash == hash)
			return conversation;
		if (!oldest || conversation->last_boot_ns < oldest->last_boot_ns)
			oldest = conversation;
	}
	return oldest;
}

/* How many payload bytes of a packet to keep. */
static __always_inline __u32 payload_to_keep(const struct headers *headers, __u64 now)
{
	struct conversation *conversation;
	struct conversation_key key;
	__u32 sender, keep;
	__u64 hash;

	if (!headers->payload_bytes)
		return 0;
	sender = fill_conversation_key(&key, headers);
	hash = hash_of(&key);
	conversation = find_conversation(hash);
	if (!conversation)
		return message_bytes;
	if (conversation->hash != hash) {
		conversation->hash = hash;
		conversation->last_boot_ns = 0;
	}
	if (conversation->sender != sender || now - conversation->last_boot_ns > PAUSE_NS) {
		conversation->sender = sender;
		conversation->kept_bytes = 0;
	}
	conversation->last_boot_ns = now;
	keep = conversation->kept_bytes < message_bytes ?
		       message_bytes - conversation->kept_bytes :
		       0;
	if (keep > headers->payload_bytes)
		keep = headers->payload_bytes;
	conversation->kept_bytes += keep;
	return keep;
}

/* How many bytes of a packet of `wire_bytes` to keep. */
static __always_inline __u32 bytes_to_keep(const struct headers *headers, __u32 wire_bytes,
					   __u64 now)
{
	__u32 length = wire_bytes, payload;

	if (message_bytes) {
		payload = payload_to_keep(headers, now);
		/* A whole packet keeps its Ethernet padding too. */
		if (payload < headers->payload_bytes)
			length = headers->header_bytes + payload;
	}
	return length < snap_bytes ? length : snap_bytes;
}

#endif
