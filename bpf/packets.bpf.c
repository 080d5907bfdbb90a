// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Packets: one capture function behind two kinds of hook. tcx (Linux 6.6)
 * knows the sending socket and costs nothing where no packet passes; the
 * socket filter works everywhere and, by returning 0, queues nothing.
 *
 * The recorder attaches to each interface the programs of its hook and of its
 * link layer: `ether`, or `ip` where packets begin with the IP header.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Whether the processor reads words anywhere: else the verifier refuses those that
 * are not aligned. */
#if defined(__TARGET_ARCH_x86) || defined(__TARGET_ARCH_arm64)
#define READS_WORDS_ANYWHERE 1
#else
#define READS_WORDS_ANYWHERE 0
#endif

/* A packet as headers.h reads it. */
struct packet {
	struct __sk_buff *skb;
	bool is_tcx; /* whose programs may read bytes that lie together without a helper */
};

/* `offset` and `length` are constants where the usual packet's headers are read. */
static __always_inline long load_packet_bytes(const struct packet *packet, __u32 offset, void *to,
					      __u32 length)
{
	if (READS_WORDS_ANYWHERE && packet->is_tcx && __builtin_constant_p(offset + length) &&
	    !offset) {
		const __u64 *data = (const __u64 *)(long)packet->skb->data;
		const void *data_end = (const void *)(long)packet->skb->data_end;

		if ((const void *)data + length <= data_end) {
			__builtin_memcpy(to, data, length);
			return 0;
		}
	}
	return bpf_skb_load_bytes(packet->skb, offset, to, length);
}

/* For headers.h. */
#define load_bytes(packet, offset, to, length) load_packet_bytes(packet, offset, to, length)

#include "tcprec.h"
#include "packet_rings.bpf.h"
#include "snap.bpf.h"
#include "wanted.bpf.h"

/*
 * Whether packets pass by unseen. The kernel waits for an RCU grace period at each
 * change of a tcx row (tcx_entry_sync of net/tcx.h): to attach to some hundred
 * interfaces takes seconds, and to detach as long, and nobody looks into the rings then.
 */
volatile __u32 is_idle = 0;

/* Never used: keeps the types in the object's BTF, and so in the skeleton. */
struct packet_record *unused_packet_record __attribute__((unused));
enum limits *unused_limits __attribute__((unused));

#define VLAN_TAG_BYTES 4
#define ETHER_ADDRESSES_BYTES 12
#define LOOPBACK_IFINDEX 1 /* in every namespace (kernel's linux/netdevice.h) */
#define PACKET_OUTGOING 4  /* linux/if_packet.h */
#define TCX_NEXT -1	   /* linux/bpf.h since 6.6 */
#define SOCK_STREAM 1	   /* linux/net.h */
#define AF_INET 2	   /* linux/socket.h */
#define FLAG_SYN 0x02	   /* RFC 9293, 3.1 */
#define FLAG_ACK 0x10

/*
 * The local TCP socket that sends this packet; its address and port are others than
 * the packet's where they were translated (NAT). Resets that no socket sends leave by
 * a raw socket of the kernel's own, packets of a virtual machine by that of its tap
 * device. What stands for a socket before it is established, or in TIME-WAIT, is
 * not a full one, and TCP's alone.
 */
static __always_inline struct bpf_sock *sender(struct __sk_buff *skb, __u16 sport)
{
	struct bpf_sock *sk = skb->sk, *full;

	/* Nearly always. */
	if (!sk || sk->src_port == sport)
		return sk;
	if (sk->state == BPF_TCP_NEW_SYN_RECV || sk->state == BPF_TCP_TIME_WAIT)
		return sk;
	full = bpf_sk_fullsock(sk);
	return full && full->type == SOCK_STREAM && full->protocol == IPPROTO_TCP ? sk : NULL;
}

/* The namespace of the interfaces (inode number), and whether packets of sockets
 * in other namespaces pass them, whose events are recorded too. */
const volatile __u32 netns = 0;
const volatile __u32 sees_elsewhere = 0;

/* Whether a wanted socket listens where a socket is: its own end, for that of its
 * packets may be a translated one. */
static __always_inline bool is_from_listener(const struct bpf_sock *sk)
{
	struct listening_end end = { .netns = netns, .port = sk->src_port };
	__u32 words[4];

	if (sk->family == AF_INET) {
		*(__u32 *)end.address = sk->src_ip4;
	} else {
		words[0] = sk->src_ip6[0];
		words[1] = sk->src_ip6[1];
		words[2] = sk->src_ip6[2];
		words[3] = sk->src_ip6[3];
		fill_address(end.address, words, 6);
	}
	return is_listened_at(&end);
}

/* The ends of a packet as the socket has them that sends it, or that receives it. */
static __always_inline struct socket_ends ends_of(const struct headers *headers, bool is_sender)
{
	struct socket_ends ends;

	__builtin_memcpy(ends.local, is_sender ? headers->src : headers->dst, 16);
	__builtin_memcpy(ends.remote, is_sender ? headers->dst : headers->src, 16);
	ends.local_port = is_sender ? headers->sport : headers->dport;
	ends.remote_port = is_sender ? headers->dport : headers->sport;
	return ends;
}

static __always_inline struct listening_end local_end(const struct socket_ends *ends, __u32 where)
{
	struct listening_end end = { .netns = where, .port = ends->local_port };

	__builtin_memcpy(end.address, ends->local, 16);
	return end;
}

/* What is known of a packet's ends: of earlier connections nothing once a SYN begins
 * another between them. */
static __always_inline enum ends_state known_state(const struct headers *headers,
						   const struct socket_ends *ends)
{
	bool is_first = (headers->flags & (FLAG_SYN | FLAG_ACK)) == FLAG_SYN;
	__u8 *state = bpf_map_lookup_elem(&wanted_ends, ends);

	if (!state)
		return ENDS_UNKNOWN;
	if (*state == ENDS_OPEN || !is_first)
		return *state;
	bpf_map_delete_elem(&wanted_ends, ends);
	return ENDS_UNKNOWN;
}

/* Whether one end of a packet is a wanted socket; that of the sender, if it is known. */
static __always_inline bool is_wanted_end(const struct headers *headers, bool is_sender,
					  bool is_loopback, __u64 cookie,
					  const struct bpf_sock *sk)
{
	struct socket_ends ends = ends_of(headers, is_sender);
	struct listening_end end = local_end(&ends, netns);
	enum ends_state state = known_state(headers, &ends);

	if (state != ENDS_UNKNOWN)
		return state != ENDS_UNWANTED;
	if (is_listened_at(&end))
		return true;
	end.netns = ELSEWHERE;
	if (sees_elsewhere && !is_loopback && is_listened_at(&end))
		return true;
	if (!sk || !(bpf_map_lookup_elem(&wanted_cookies, &cookie) || is_from_listener(sk)))
		return false;
	/* The SYN tells the port of a socket that connects, and any packet a translated end. */
	set_ends(&ends, ENDS_OPEN);
	return true;
}

/* The same of a container's end that stands where this namespace's would: what goes to a
 * container goes out, and what comes from one comes in. A wildcard listener's is known from
 * its accept on, since what goes out may leave for any host. */
static __always_inline bool is_wanted_container(const struct headers *headers, bool is_sender)
{
	struct socket_ends ends = ends_of(headers, is_sender);
	struct listening_end end = local_end(&ends, ELSEWHERE);
	enum ends_state state = known_state(headers, &ends);

	if (state != ENDS_UNKNOWN)
		return state != ENDS_UNWANTED;
	return bpf_map_lookup_elem(&listening_ends, &end);
}

/* On loopback both ends are here. */
static __always_inline bool is_wanted_packet(const struct packet_record *record,
					     const struct bpf_sock *sk)
{
	bool is_loopback = record->ifindex == LOOPBACK_IFINDEX;
	bool is_out = record->direction == DIRECTION_OUT;

	if (!by_process ||
	    is_wanted_end(&record->headers, is_out, is_loopback, record->cookie, sk))
		return true;
	if (is_loopback)
		return is_wanted_end(&record->headers, !is_out, is_loopback, 0, NULL);
	return sees_elsewhere && is_wanted_container(&record->headers, !is_out);
}

static __always_inline void capture(struct __sk_buff *skb, bool has_ether, enum direction direction,
				    bool is_tcx)
{
	struct packet packet = { .skb = skb, .is_tcx = is_tcx };
	__u32 cpu = bpf_get_smp_processor_id();
	__u32 tag_bytes = 0, length;
	struct packet_record *record;
	struct ring_positions *ring;
	struct bpf_sock *sk = NULL;
	__u64 now;
	__u8 *data;
	long error;

	if (is_idle)
		return;
	ring = bpf_map_lookup_elem(&positions, &cpu);
	record = ring ? next_packet(ring, cpu) : NULL;
	now = now_boot_ns();
	if (!record || !parse_headers(&packet, !has_ether, skb->len, &record->headers))
		return;
	/* The kernel takes the outer VLAN tag out of the bytes; it goes back in
	 * where it was on the wire, as libpcap does. */
	if (has_ether && skb->vlan_present)
		tag_bytes = VLAN_TAG_BYTES;

	record->boot_ns = now;
	if (is_tcx && direction == DIRECTION_OUT)
		sk = sender(skb, record->headers.sport);
	record->cookie = sk ? bpf_get_socket_cookie(skb) : 0;
	record->ifindex = skb->ifindex;
	record->wire_bytes = skb->len + tag_bytes;
	record->direction = direction;
	record->headers.header_bytes += tag_bytes;
	if (!is_wanted_packet(record, sk))
		return;
	count_seen(record->wire_bytes);

	length = bytes_to_keep(&record->headers, record->wire_bytes, now);
	record->captured_bytes = length;
	data = (__u8 *)(record + 1);
	if (length <= ETHER_ADDRESSES_BYTES + VLAN_TAG_BYTES) {
		error = -1;
	} else if (!tag_bytes) {
		error = bpf_skb_load_bytes(skb, 0, data, length);
	} else {
		*(__be16 *)(data + ETHER_ADDRESSES_BYTES) = skb->vlan_proto;
		*(__be16 *)(data + ETHER_ADDRESSES_BYTES + 2) = bpf_htons(skb->vlan_tci);
		error = bpf_skb_load_bytes(skb, 0, data, ETHER_ADDRESSES_BYTES);
		error |= bpf_skb_load_bytes(skb, ETHER_ADDRESSES_BYTES,
					    data + ETHER_ADDRESSES_BYTES + VLAN_TAG_BYTES,
					    length - ETHER_ADDRESSES_BYTES - VLAN_TAG_BYTES);
	}
	if (error) {
		count_loss(LOSS_SNAP, record->wire_bytes, now);
		return;
	}
	if (!hand_over_packet(skb, ring, record, sizeof(*record) + length))
		count_loss(LOSS_RING_FULL, record->wire_bytes, now);
}

SEC("tcx/ingress")
int tcx_in_ether(struct __sk_buff *skb)
{
	capture(skb, true, DIRECTION_IN, true);
	return TCX_NEXT;
}

SEC("tcx/egress")
int tcx_out_ether(struct __sk_buff *skb)
{
	capture(skb, true, DIRECTION_OUT, true);
	return TCX_NEXT;
}

SEC("tcx/ingress")
int tcx_in_ip(struct __sk_buff *skb)
{
	capture(skb, false, DIRECTION_IN, true);
	return TCX_NEXT;
}

SEC("tcx/egress")
int tcx_out_ip(struct __sk_buff *skb)
{
	capture(skb, false, DIRECTION_OUT, true);
	return TCX_NEXT;
}

/* The way of packets that is wanted; 0: both. */
const volatile __u32 wanted_direction = DIRECTION_NONE;

/* On loopback a packet passes twice: kept on its way out, whatever is wanted.
 * The tap sees clones that have no socket any more. */
static __always_inline int filter(struct __sk_buff *skb, bool has_ether)
{
	bool is_out = skb->pkt_type == PACKET_OUTGOING;
	enum direction direction = is_out ? DIRECTION_OUT : DIRECTION_IN;
	bool is_wanted = !wanted_direction || wanted_direction == direction;

	if (skb->ifindex == LOOPBACK_IFINDEX)
		is_wanted = is_out;
	if (is_wanted)
		capture(skb, has_ether, direction, false);
	return 0;
}

SEC("socket")
int filter_ether(struct __sk_buff *skb)
{
	return filter(skb, true);
}

SEC("socket")
int filter_ip(struct __sk_buff *skb)
{
	return filter(skb, false);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
