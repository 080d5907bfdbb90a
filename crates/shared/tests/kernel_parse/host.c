/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The kernel's header parse as a program of the host. It reads packets from
 * its standard input: two __u32 in the host's byte order (whether the packet
 * begins with IP, and its length), then the packet. For each it writes one
 * line: `-` if it is not TCP, else what was found.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/types.h>

struct packet {
	const __u8 *bytes;
	__u32 length;
};

static int copy_bytes(const struct packet *packet, __u32 offset, void *to, __u32 bytes)
{
	if (offset > packet->length || bytes > packet->length - offset)
		return -1;
	memcpy(to, packet->bytes + offset, bytes);
	return 0;
}

#define load_bytes(packet, offset, to, bytes) copy_bytes(packet, offset, to, bytes)

#include "headers.h"

int main(void)
{
	struct {
		__u32 network_only;
		__u32 length;
	} request;

	while (fread(&request, sizeof(request), 1, stdin) == 1) {
		/* Exactly as long as the packet, so that tools see reads beyond it. */
		__u8 *bytes = malloc(request.length ? request.length : 1);
		struct packet packet = { bytes, request.length };
		struct headers headers;

		if (!bytes || fread(bytes, 1, request.length, stdin) != request.length)
			return 1;
		if (parse_headers(&packet, request.network_only, request.length, &headers)) {
			int family = headers.ip_version == 4 ? AF_INET : AF_INET6;
			char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];

			if (!inet_ntop(family, headers.src, src, sizeof(src)) ||
			    !inet_ntop(family, headers.dst, dst, sizeof(dst)))
				return 1;
			printf("%s %u %s %u %u %u %u %u\n", src, headers.sport, dst, headers.dport,
			       headers.flags, headers.header_bytes, headers.payload_bytes,
			       headers.fragment);
		} else {
			puts("-");
		}
		fflush(stdout);
		free(bytes);
	}
	return 0;
}
