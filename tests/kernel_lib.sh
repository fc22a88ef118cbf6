# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# To be sourced, by tests and the bench: who takes the kernel's requests, and an NFS server that makes some. $in is what commands
# begin with, or empty.
# shellcheck disable=SC2016,SC2086 # awk's text; $in is a command with its options

# registered: somebody on the machine that is on listens to a group of generic netlink's.
registered() {
	${in:-} awk '$2 == 16 && $4 !~ /^0*$/ && NR > 1 { found = 1 } END { exit !found }' /proc/self/net/netlink
}

# start_nfsd FOLDER: $mountd is a process of it, the others are the kernel's: as many as ask for handshakes at a time. The kernel
# of a machine with 2 GiB lets five requests wait for the agent; of more it refuses the connection, and nobody hears of it.
start_nfsd() {
	mkdir -p "$1" /var/lib/nfs && mount -t tmpfs none "$1" && mount -t tmpfs none /var/lib/nfs &&
		mkdir /var/lib/nfs/v4recovery && touch /var/lib/nfs/etab /var/lib/nfs/rmtab &&
		${in:-} mount -t nfsd nfsd /proc/fs/nfsd || return
	${in:-} rpc.mountd -F -N 2 -N 3 >/dev/null 2>&1 </dev/null &
	mountd=$!
	${in:-} rpc.nfsd -G 10 -L 10 -N 3 -V 4.2 4 # grace and lease in seconds, so that it starts soon
}

# export_nfs FOLDER HOW: HOW is as xprtsec= has it: tls:mtls
export_nfs() {
	${in:-} exportfs -ua
	${in:-} exportfs -o "rw,no_root_squash,insecure,fsid=0,xprtsec=$2" "*:$1"
}

stop_nfsd() { # FOLDER
	[ ! -e /proc/fs/nfsd/threads ] || echo 0 >/proc/fs/nfsd/threads
	[ -z "${mountd:-}" ] || kill "$mountd"
	umount /proc/fs/nfsd "$1" /var/lib/nfs
} 2>/dev/null
