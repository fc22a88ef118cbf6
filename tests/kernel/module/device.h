/* SPDX-License-Identifier: GPL-2.0 */
/* /dev/ktlsd in each way that programs use it, TCP connections to try it on, and networks for them. */
#ifndef MODULE_DEVICE_H
#define MODULE_DEVICE_H

#include <liburing.h>
#include <linux/ktlsd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define DEVICE "/dev/ktlsd"
#define PATIENCE_MS 10000 /* for what is to come at once; emulated processors are slow */
#define NOT_YET INT32_MIN /* no result is that */

enum way {
	BY_IOCTL,
	BY_COMPAT_IOCTL, /* as a 32-bit program has it */
	BY_RING,
	BY_DEFERRED_RING, /* IORING_SETUP_DEFER_TASKRUN */
	BY_ASYNC,	  /* IOSQE_ASYNC */
	BY_FIXED_FILE,	  /* the device is one of the ring's files */
};

struct device {
	enum way way;
	int fd;
	struct io_uring ring;
};

/* A command under way, at a low address: device_request(). */
struct request {
	struct ktlsd_handshake handshake;
	struct ktlsd_cancel cancel;
	uint32_t command; /* KTLSD_HANDSHAKE, ... */
	void *argument;	  /* what it is given: one of the above, unless the test wants another */
	struct device *device;
	pthread_t thread; /* of an ioctl */
	int result;	  /* NOT_YET */
};

/* 0 or a negative errno; -EOPNOTSUPP: this machine has no such way. */
int device_open(struct device *device, enum way way);
void device_close(struct device *device);

bool device_has_ring(const struct device *device);

/* From a pool that lives as long as the process; handshake is a server's on fd, without limits of its own. */
struct request *device_request(int fd);

/* Starts a command. With flags: IOSQE_*, it is only prepared: device_submit(). */
void device_start(struct device *device, struct request *request);
void device_prepare(struct device *device, struct request *request, unsigned int flags);
void device_submit(struct device *device);

/* Its result; NOT_YET when time is up. */
int device_wait(struct device *device, struct request *request, int timeout_ms);

/* Both: */
int device_handshake(struct device *device, struct request *request);
int device_cancel(struct device *device, uint64_t cookie);

/* The features, or a negative errno. */
int device_features(int fd);

/* ---- around it ---- */

/* A network namespace for this process, with loopback up. 0 or a negative errno. */
int network_make(void);

struct connection {
	int ours, peers;
};

/* Over loopback. 0 or a negative errno. */
int connection_make(struct connection *connection);
void connection_close(struct connection *connection);
int listener_make(struct sockaddr_in *address);

/* "x" goes over it, either way, as it is. */
bool connection_carries(const struct connection *connection);

/* Nothing that is sent arrives: the peer sees the end. */
bool connection_is_dead(const struct connection *connection);

/* One of /sys/class/misc/ktlsd/; -1: no such. */
long counter(const char *name);

/* Waits until it is that. */
bool counter_becomes(const char *name, long value);

int64_t now_ms(void);
void sleep_ms(int ms);

#endif
