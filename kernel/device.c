// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * /dev/ktlsd: commands of rings and of ioctl(2), as <linux/ktlsd.h> has them; counters in /sys/class/misc/ktlsd.
 *
 * There is no command that accepts a connection and does the handshake, though it would save one: neither
 * security_socket_accept() nor do_accept() is exported, and to accept without them would pass by the security modules.
 */
#include <linux/compat.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sysfs.h>
#include <linux/uaccess.h>

#include "request.h"
#include "uring.h"

/* The number says what a command is, not how large the structure is in the version that the caller knows. */
#define KIND(command) ((command) & ~IOCSIZE_MASK)

/* What a ring's command keeps in it. */
struct kept {
	struct ktlsd_request *request;
};

/* ---- rings ---- */

/* What a lower layer says is no answer to the ring: it would issue the command again, or wait for ever. */
static int plain(int error)
{
	return error == -EAGAIN || error == -EIOCBQUEUED ? -EIO : error;
}

KTLSD_TASK_WORK(ring_done, cmd, issue_flags)
{
	struct kept *kept = io_uring_cmd_to_pdu(cmd, struct kept);

	ktlsd_uring_done(cmd, ktlsd_request_settle(kept->request), issue_flags);
}

/**
 * ktlsd_ring_is_due - the request of a ring has ended: its task settles it
 * @request:	not to be touched behind this
 */
void ktlsd_ring_is_due(struct ktlsd_request *request)
{
	io_uring_cmd_complete_in_task(request->cmd, ring_done);
}

/*
 * The ring may end from the moment at which the command is marked, so the request is in it by then; and from then on
 * only ring_done() completes it.
 */
static int ring_handshake(struct io_uring_cmd *cmd, void __user *argument, unsigned int issue_flags)
{
	struct ktlsd_request *request = ktlsd_request_new(cmd->file, argument);

	if (IS_ERR(request))
		return plain(PTR_ERR(request));
	request->cmd = cmd;
	io_uring_cmd_to_pdu(cmd, struct kept)->request = request;
	io_uring_cmd_mark_cancelable(cmd, issue_flags);
	ktlsd_request_start(request);
	return -EIOCBQUEUED;
}

static int blocking_handshake(struct file *file, void __user *argument)
{
	struct ktlsd_request *request = ktlsd_request_new(file, argument);

	if (IS_ERR(request))
		return PTR_ERR(request);
	ktlsd_request_start(request);
	return ktlsd_request_wait(request);
}

/* ---- commands ---- */

static int cancel(struct file *file, void __user *argument)
{
	struct ktlsd_cancel asked;
	int error = ktlsd_read_argument(&asked, sizeof(asked), sizeof(asked), argument);

	if (error)
		return error;
	if (asked.flags)
		return -EINVAL;
	return ktlsd_requests_cancel(file, asked.cookie);
}

/* A caller that knows more than the module finds zeros there. */
static int info(void __user *argument)
{
	const struct ktlsd_info known = {
		.size = sizeof(known),
		.features = KTLSD_SQE_IS_COPIED ? KTLSD_FEATURE_LINKED : 0,
	};
	u32 size;

	if (get_user(size, (u32 __user *)argument))
		return -EFAULT;
	if (size < sizeof(known))
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	if (copy_to_user(argument, &known, sizeof(known)) || clear_user(argument + sizeof(known), size - sizeof(known)))
		return -EFAULT;
	return 0;
}

static int command(struct file *file, unsigned int kind, void __user *argument)
{
	switch (kind) {
	case KIND(KTLSD_CANCEL):
		return cancel(file, argument);
	case KIND(KTLSD_INFO):
		return info(argument);
	default:
		return -ENOTTY;
	}
}

static int ktlsd_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	const struct ktlsd_command *asked;
	u64 address, reserved;

	if (issue_flags & IO_URING_F_CANCEL) {
		ktlsd_request_end(io_uring_cmd_to_pdu(cmd, struct kept)->request, -ECANCELED);
		return 0;
	}
	asked = (const struct ktlsd_command *)cmd->sqe->cmd;
	address = READ_ONCE(asked->argument);
	reserved = READ_ONCE(asked->reserved);
	if (!ktlsd_sqe_is_genuine(cmd))
		return -ESTALE;
	if (reserved || (cmd->flags & IORING_URING_CMD_MASK))
		return -EINVAL;
	if (KIND(cmd->cmd_op) == KIND(KTLSD_HANDSHAKE))
		return ring_handshake(cmd, u64_to_user_ptr(address), issue_flags);
	return plain(command(cmd->file, KIND(cmd->cmd_op), u64_to_user_ptr(address)));
}

static long ktlsd_ioctl(struct file *file, unsigned int number, unsigned long argument)
{
	if (KIND(number) == KIND(KTLSD_HANDSHAKE))
		return blocking_handshake(file, (void __user *)argument);
	return command(file, KIND(number), (void __user *)argument);
}

/* ---- counters ---- */

#define COUNTER(name)                                                                                                  \
	static ssize_t name##_show(struct device *device, struct device_attribute *attribute, char *page)              \
	{                                                                                                              \
		return sysfs_emit(page, "%lld\n", (long long)atomic64_read(&ktlsd_counters.name));                     \
	}                                                                                                              \
	static DEVICE_ATTR_RO(name)

COUNTER(requests);
COUNTER(succeeded);
COUNTER(failed);
COUNTER(canceled);
COUNTER(timed_out);
COUNTER(latency_us);
COUNTER(in_flight);
COUNTER(waiting);

static struct attribute *ktlsd_attrs[] = {
	&dev_attr_requests.attr,  &dev_attr_succeeded.attr, &dev_attr_failed.attr,
	&dev_attr_canceled.attr,  &dev_attr_timed_out.attr, &dev_attr_latency_us.attr,
	&dev_attr_in_flight.attr, &dev_attr_waiting.attr,   NULL,
};
ATTRIBUTE_GROUPS(ktlsd);

/* ---- module ---- */

static const struct file_operations ktlsd_operations = {
	.owner = THIS_MODULE,
	.uring_cmd = ktlsd_uring_cmd,
	.unlocked_ioctl = ktlsd_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice ktlsd_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "ktlsd",
	.mode = 0600,
	.fops = &ktlsd_operations,
	.groups = ktlsd_groups,
};

static int __init ktlsd_init(void)
{
	int error = ktlsd_requests_init();

	if (error)
		return error;
	error = misc_register(&ktlsd_device);
	if (error)
		ktlsd_requests_exit();
	return error;
}

static void __exit ktlsd_exit(void)
{
	misc_deregister(&ktlsd_device);
	ktlsd_requests_exit();
}

module_init(ktlsd_init);
module_exit(ktlsd_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_AUTHOR("The ktlsd authors");
MODULE_DESCRIPTION("TLS handshakes by the kernel's handshake agent, as io_uring commands");
