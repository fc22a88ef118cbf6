/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What differs between kernels in <linux/io_uring/cmd.h>, from 6.12 on. Nowhere else is the version asked for.
 */
#ifndef _KTLSD_URING_H
#define _KTLSD_URING_H

#include <linux/io_uring/cmd.h>
#include <linux/version.h>

/*
 * Before 6.14 ("io_uring/uring_cmd: unconditionally copy SQEs at prep time") a command that waits in a chain is read
 * from its slot in the submission queue when its turn comes, whatever is there by then, unless it has IOSQE_ASYNC.
 */
#define KTLSD_SQE_IS_COPIED (LINUX_VERSION_CODE >= KERNEL_VERSION(6, 14, 0))

/* The SQE is the one that the command was made from, as far as that can be told. */
static inline bool ktlsd_sqe_is_genuine(struct io_uring_cmd *cmd)
{
	const struct io_uring_sqe *sqe = cmd->sqe;
	const struct io_kiocb *req = cmd_to_io_kiocb(cmd);

	return KTLSD_SQE_IS_COPIED ||
	       (READ_ONCE(sqe->opcode) == req->opcode && READ_ONCE(sqe->cmd_op) == cmd->cmd_op &&
		READ_ONCE(sqe->fd) == req->cqe.fd && READ_ONCE(sqe->user_data) == req->cqe.user_data);
}

static inline void ktlsd_uring_done(struct io_uring_cmd *cmd, int ret, unsigned int issue_flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
	io_uring_cmd_done(cmd, ret, issue_flags);
#else
	io_uring_cmd_done(cmd, ret, 0, issue_flags);
#endif
}

/* KTLSD_TASK_WORK(name, cmd, issue_flags): the head of a function for io_uring_cmd_complete_in_task(). */
#ifdef IO_URING_CMD_TASK_WORK_ISSUE_FLAGS
#define KTLSD_TASK_WORK(name, cmd, issue_flags)                                                                        \
	static void name##_in_task(struct io_uring_cmd *cmd, unsigned int issue_flags);                                \
	static void name(struct io_tw_req request, io_tw_token_t token)                                                \
	{                                                                                                              \
		name##_in_task(io_uring_cmd_from_tw(request), IO_URING_CMD_TASK_WORK_ISSUE_FLAGS);                     \
	}                                                                                                              \
	static void name##_in_task(struct io_uring_cmd *cmd, unsigned int issue_flags)
#else
#define KTLSD_TASK_WORK(name, cmd, issue_flags) static void name(struct io_uring_cmd *cmd, unsigned int issue_flags)
#endif

#endif
