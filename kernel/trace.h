/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* clang-format off */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM ktlsd

#if !defined(_KTLSD_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _KTLSD_TRACE_H

#include <linux/tracepoint.h>
#include <net/sock.h>

#include "request.h"

DECLARE_EVENT_CLASS(ktlsd_request_class,
	TP_PROTO(const struct ktlsd_request *request, int status),
	TP_ARGS(request, status),
	TP_STRUCT__entry(
		__field(const void *, request)
		__field(unsigned int, netns)
		__field(u64, cookie)
		__field(int, status)
	),
	TP_fast_assign(
		__entry->request = request;
		__entry->netns = sock_net(request->sock->sk)->ns.inum;
		__entry->cookie = request->cookie;
		__entry->status = status;
	),
	TP_printk("request=%p netns=%u cookie=0x%llx status=%d", __entry->request, __entry->netns, __entry->cookie,
		  __entry->status)
);

/* net/handshake was asked; -EAGAIN: it has no room, and the request waits */
DEFINE_EVENT(ktlsd_request_class, ktlsd_submit,
	TP_PROTO(const struct ktlsd_request *request, int status),
	TP_ARGS(request, status)
);

/* it ends before an agent has reported, and why */
DEFINE_EVENT(ktlsd_request_class, ktlsd_cancel,
	TP_PROTO(const struct ktlsd_request *request, int status),
	TP_ARGS(request, status)
);

/* what the caller is told, and how long it took from the command to the end */
TRACE_EVENT(ktlsd_done,
	TP_PROTO(const struct ktlsd_request *request, int status),
	TP_ARGS(request, status),
	TP_STRUCT__entry(
		__field(const void *, request)
		__field(unsigned int, netns)
		__field(u64, cookie)
		__field(int, status)
		__field(s64, latency_us)
	),
	TP_fast_assign(
		__entry->request = request;
		__entry->netns = sock_net(request->sock->sk)->ns.inum;
		__entry->cookie = request->cookie;
		__entry->status = status;
		__entry->latency_us = request->latency_us;
	),
	TP_printk("request=%p netns=%u cookie=0x%llx status=%d latency_us=%lld", __entry->request, __entry->netns,
		  __entry->cookie, __entry->status, __entry->latency_us)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
