/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The kernel's header parse: from a packet's bytes to its TCP ports, flags and
 * lengths, so that the recorder can filter and cut. Plain C, compiled for BPF
 * (kernels since 5.8) and for the host, where tests hold it against the
 * userspace parser (crates/shared/src/headers), which must come to the same.
 *
 * Followed are: an Ethernet header with VLAN tags or none at all, IPv4, IPv6
 * with extension headers, TCP. Tunnels, MPLS, PPPoE and SNAP are not.
 *
 * Bytes are read through one macro only, which copies `bytes` bytes that begin
 * at `offset`, all of them or none, and gives a negative number if it can't:
 *
 *	int load_bytes(void *packet, __u32 offset, void *to, __u32 bytes);
 *
 * Who includes this file to parse defines it before; without it there is only
 * the result's type.
 */
#ifndef TCPREC_HEADERS_H
#define TCPREC_HEADERS_H

#include <linux/types.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

/* More VLAN tags or extension headers than this are not followed. */
#define MAX_VLAN_TAGS 4
#define MAX_EXTENSION_HEADERS 8

enum headers_fragment {
	HEADERS_WHOLE = 0,
	HEADERS_FIRST_FRAGMENT = 1,
	HEADERS_LATER_FRAGMENT = 2,
};

/* What a TCP packet's headers say. Ports are in host byte order. */
struct headers {
	__u8 src[16]; /* of IPv4 the first 4 bytes, then zeros */
	__u8 dst[16];
	/*
	 * Where the TCP payload begins, from the start of the packet. A VLAN tag
	 * in the skb's metadata is not among the bytes: who puts it back into
	 * the packet adds its 4 bytes here.
	 */
	__u32 header_bytes;
	/* Length of the TCP payload on the wire, as the IP header says. */
	__u32 payload_bytes;
	/*
	 * Ports and flags are 0 in a later fragment, and in a first one that is
	 * too short for the fixed part of the TCP header. There header_bytes and
	 * payload_bytes are those of the fragment's part of the segment.
	 */
	__u16 sport;
	__u16 dport;
	__u8 ip_version; /* 4 or 6 */
	__u8 flags;	 /* the eighth flag is CWR; the reserved bits are not here */
	__u8 fragment;	 /* enum headers_fragment */
	__u8 reserved;	 /* 0 */
};

_Static_assert(sizeof(struct headers) == 48, "struct headers has no holes");

#ifdef load_bytes

static __always_inline __u16 headers_be16(const __u8 *bytes)
{
	return (__u16)(bytes[0] << 8 | bytes[1]);
}

/*
 * Parses the headers of `packet`, which is `packet_bytes` long (skb->len; no
 * more than that is read) and begins with an Ethernet header, or with IP if
 * `network_only`. Returns 1 and fills `out` if it is TCP, else 0.
 */
static __always_inline int parse_headers(void *packet, __u32 network_only, __u32 packet_bytes,
					 struct headers *out)
{
	enum { ETHERNET_BYTES = 14, VLAN_TAG_BYTES = 4, IPV4_BYTES = 20, IPV6_BYTES = 40,
	       EXTENSION_BYTES = 8, TCP_BYTES = 20 };
	enum { ETHER_TYPE_IPV4 = 0x0800, ETHER_TYPE_VLAN = 0x8100, ETHER_TYPE_IPV6 = 0x86dd,
	       ETHER_TYPE_PROVIDER_VLAN = 0x88a8, ETHER_TYPE_OLD_QINQ = 0x9100 };
	enum { PROTOCOL_HOP_BY_HOP = 0, PROTOCOL_TCP = 6, PROTOCOL_ROUTING = 43,
	       PROTOCOL_FRAGMENT = 44, PROTOCOL_AUTHENTICATION = 51,
	       PROTOCOL_DESTINATION_OPTIONS = 60 };
	/* The Ethernet header, and behind it what begins with the IP header. */
	__u8 frame[ETHERNET_BYTES + IPV4_BYTES + TCP_BYTES] __attribute__((aligned(8)));
	__u8 *bytes = frame + ETHERNET_BYTES;
	__u8 *tcp = bytes + IPV4_BYTES;
	__u8 protocol, fragment = HEADERS_WHOLE;
	__u32 network = 0, offset, ip_bytes, end, readable, tcp_bytes;
	int tcp_loaded = 0;

	__builtin_memset(out, 0, sizeof(*out));

	if (!network_only) {
		__u16 ether_type;

		/* The usual packet in one go. */
		tcp_loaded = load_bytes(packet, 0, frame, sizeof(frame)) >= 0;
		if (!tcp_loaded && load_bytes(packet, 0, frame, ETHERNET_BYTES) < 0)
			return 0;
		ether_type = headers_be16(frame + 12);
		network = ETHERNET_BYTES;
		/* The verifier loses a number of less than 64 bits that is put on the stack,
		 * before Linux 5.16 (kernel commit 354e8f1970f8), and with it a loop's end. */
		for (__u64 i = 0; i < MAX_VLAN_TAGS; i++) {
			if (ether_type != ETHER_TYPE_VLAN && ether_type != ETHER_TYPE_PROVIDER_VLAN &&
			    ether_type != ETHER_TYPE_OLD_QINQ)
				break;
			if (load_bytes(packet, network, frame, VLAN_TAG_BYTES) < 0)
				return 0;
			ether_type = headers_be16(frame + 2);
			network += VLAN_TAG_BYTES;
			tcp_loaded = 0;
		}
		if (ether_type != ETHER_TYPE_IPV4 && ether_type != ETHER_TYPE_IPV6)
			return 0;
	}

	/* IPv6, or in one go IPv4 without options and TCP; only fragments are shorter. */
	if (!tcp_loaded) {
		tcp_loaded = load_bytes(packet, network, bytes, IPV4_BYTES + TCP_BYTES) >= 0;
		if (!tcp_loaded && load_bytes(packet, network, bytes, IPV4_BYTES) < 0)
			return 0;
	}

	if (bytes[0] >> 4 == 4) {
		__u32 header_bytes = (bytes[0] & 0x0f) * 4;
		__u16 place = headers_be16(bytes + 6);

		if (header_bytes < IPV4_BYTES)
			return 0;
		ip_bytes = headers_be16(bytes + 2);
		protocol = bytes[9];
		if (place & 0x1fff)
			fragment = HEADERS_LATER_FRAGMENT;
		else if (place & 0x2000)
			fragment = HEADERS_FIRST_FRAGMENT;
		offset = network + header_bytes;
		__builtin_memcpy(out->src, bytes + 12, 4);
		__builtin_memcpy(out->dst, bytes + 16, 4);
		out->ip_version = 4;
	} else if (bytes[0] >> 4 == 6) {
		if (!tcp_loaded)
			return 0;
		ip_bytes = headers_be16(bytes + 4);
		if (ip_bytes)
			ip_bytes += IPV6_BYTES;
		protocol = bytes[6];
		offset = network + IPV6_BYTES;
		__builtin_memcpy(out->src, bytes + 8, 16);
		__builtin_memcpy(out->dst, bytes + 24, 16);
		out->ip_version = 6;
	} else {
		return 0;
	}

	/* The length is 0 where it is beyond 64 KiB (BIG TCP), and with TSO. */
	end = ip_bytes ? network + ip_bytes : packet_bytes;
	readable = end < packet_bytes ? end : packet_bytes;
	if (offset > readable)
		return 0;
	if (offset != network + IPV4_BYTES)
		tcp_loaded = 0;

	for (__u64 i = 0; i < MAX_EXTENSION_HEADERS; i++) {
		__u8 extension[EXTENSION_BYTES];
		__u32 extension_bytes;

		/* A later fragment holds none of the headers that follow. */
		if (fragment == HEADERS_LATER_FRAGMENT)
			break;
		if (protocol != PROTOCOL_HOP_BY_HOP && protocol != PROTOCOL_ROUTING &&
		    protocol != PROTOCOL_FRAGMENT && protocol != PROTOCOL_AUTHENTICATION &&
		    protocol != PROTOCOL_DESTINATION_OPTIONS)
			break;
		if (load_bytes(packet, offset, extension, EXTENSION_BYTES) < 0)
			return 0;
		if (protocol == PROTOCOL_FRAGMENT) {
			__u16 place = headers_be16(extension + 2);

			/* One that is whole all the same (RFC 6946) is no fragment. */
			if (place & 0xfff8)
				fragment = HEADERS_LATER_FRAGMENT;
			else if (place & 1)
				fragment = HEADERS_FIRST_FRAGMENT;
			extension_bytes = EXTENSION_BYTES;
		} else if (protocol == PROTOCOL_AUTHENTICATION) {
			if (!extension[1])
				return 0;
			extension_bytes = (extension[1] + 2) * 4;
		} else {
			extension_bytes = (extension[1] + 1) * 8;
		}
		protocol = extension[0];
		offset += extension_bytes;
		tcp_loaded = 0;
		if (offset > readable)
			return 0;
	}
	if (protocol != PROTOCOL_TCP)
		return 0;

	out->fragment = fragment;
	out->header_bytes = offset;
	out->payload_bytes = end - offset;
	if (fragment == HEADERS_LATER_FRAGMENT ||
	    (fragment == HEADERS_FIRST_FRAGMENT && end - offset < TCP_BYTES))
		return 1;

	if (!tcp_loaded && load_bytes(packet, offset, tcp, TCP_BYTES) < 0)
		return 0;
	tcp_bytes = (tcp[12] >> 4) * 4;
	if (tcp_bytes < TCP_BYTES)
		return 0;
	if (tcp_bytes > end - offset) {
		/* The options may go on in the next fragment. */
		if (fragment != HEADERS_FIRST_FRAGMENT)
			return 0;
		tcp_bytes = end - offset;
	}
	out->sport = headers_be16(tcp);
	out->dport = headers_be16(tcp + 2);
	out->flags = tcp[13];
	out->header_bytes += tcp_bytes;
	out->payload_bytes -= tcp_bytes;
	return 1;
}

#endif

#endif
