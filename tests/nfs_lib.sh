# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# For scripts, to be sourced: two machines, "server" and "client", each with a network and an agent of its own, joined by a
# cable; the server exports a tmpfs over NFS.
# shellcheck disable=SC2015,SC2034,SC2086,SC2154,SC2317 # for the script; commands with their options; set by eval; called by name
# shellcheck source=tests/devices_lib.sh
. "$(dirname "$0")/devices_lib.sh"

server=192.0.2.1 client=192.0.2.2 mountpoint=$dir/mnt exported=$dir/exported
: "${AGENT:=ktlsd}" # of both; or tlshd
trap 'nfs_end; kill_all; rm -rf "$dir"' EXIT

nfs_end() {
	{
		umount -f "$mountpoint"
		on server
		[ ! -e /proc/fs/nfsd/threads ] || echo 0 >/proc/fs/nfsd/threads
		umount /proc/fs/nfsd "$exported" /var/lib/nfs
	} >/dev/null 2>&1
}

# make_machines: two networks and the server's NFS.
make_machines() {
	for module in nfsd nfs nfsv4 tls netlink_diag veth; do
		modprobe -q $module
	done
	grep -q nfsd /proc/filesystems || skip_all "this kernel has no NFS server"
	make_device server
	make_device client
	ip link add cable netns "$(readlink "$dir/server/net" | tr -dc 0-9)" type veth peer cable \
		netns "$(readlink "$dir/client/net" | tr -dc 0-9)" || skip_all "no veth here"
	for machine in server client; do
		on $machine
		eval "address=\$$machine"
		{ $in ip link set lo up && $in ip address add "$address/24" dev cable && $in ip link set cable up; } ||
			bail_out "no address for $machine"
	done
	mkdir -p "$mountpoint" "$exported" /var/lib/nfs
	export_nfs tls:mtls # its first ten seconds are for clients of the server before
	make_nfs_pki
}

# export_nfs HOW: starts the server, or changes what it demands.
export_nfs() {
	on server
	if [ ! -e /proc/fs/nfsd/threads ]; then
		mount -t tmpfs none "$exported" && mount -t tmpfs none /var/lib/nfs && mkdir -p /var/lib/nfs/v4recovery &&
			touch /var/lib/nfs/etab /var/lib/nfs/rmtab && $in mount -t nfsd nfsd /proc/fs/nfsd || bail_out "no nfsd"
		in_background "$dir/mountd.log" $in rpc.mountd -F -N 2 -N 3
		$in rpc.nfsd -G 10 -L 10 -N 3 -V 4.2 8 || bail_out "rpc.nfsd"
	fi
	$in exportfs -ua
	$in exportfs -o "rw,no_root_squash,insecure,fsid=0,xprtsec=$1" "*:$exported" || bail_out "exportfs"
}

make_nfs_pki() {
	{
		pki init "$dir/pki" && pki issue "$dir/pki" server server --name "IP:$server" &&
			pki issue "$dir/pki" misnamed server --name IP:192.0.2.99 &&
			pki issue "$dir/pki" expired server --name "IP:$server" --from "3 days ago" --until "1 day ago" &&
			pki issue "$dir/pki" client client --name DNS:client.example &&
			pki init "$dir/strange" && pki issue "$dir/strange" client client --name DNS:client.example
	} >"$dir/check" 2>&1 || bail_out "pki: $(tail -n 5 "$dir/check")"
}

# ---- agents ----

server_config() { # CERTIFICATE [CA]
	printf '[service nfs]\nrole = server\nkernel = x509\nclient_certificate = request\nca = %s\n' \
		"${2:-$dir/pki/ca.pem}"
	printf 'certificate = %s\nkey = %s\n' "$dir/pki/$1.pem" "$dir/pki/$1.key"
}

# A certificate is one of the authority's, or a path without .pem; a client may have none.
client_config() { # CERTIFICATE [CA]
	printf '[service nfs]\nrole = client\nkernel = x509, anonymous\nca = %s\n' "${2:-$dir/pki/ca.pem}"
	[ "$1" = none ] || printf 'certificate = %s\nkey = %s\n' "${1%.pem}.pem" "${1%.pem}.key"
}

# agent_of MACHINE CERTIFICATE [CA]: starts ktlsd or, with AGENT=tlshd, that.
agent_of() {
	if [ "$AGENT" = tlshd ]; then
		start_tlshd "$@"
		return
	fi
	agent_machine=$1
	shift
	"${agent_machine}_config" "$@" >"$dir/config"
	start_device "$agent_machine" <"$dir/config"
}

start_tlshd() { # MACHINE CERTIFICATE [CA]
	tlshd_certificate=$2
	case $tlshd_certificate in /*) ;; *) tlshd_certificate=$dir/pki/$2.pem ;; esac
	printf '[debug]\nloglevel=1\n[authenticate.%s]\nx509.truststore=%s\nx509.certificate=%s\nx509.private_key=%s\n' "$1" \
		"${3:-$dir/pki/ca.pem}" "$tlshd_certificate" "${tlshd_certificate%.pem}.key" >"$dir/$1/tlshd.conf"
	on "$1"
	in_background "$dir/$1/agent.log" $in tlshd -s -c "$dir/$1/tlshd.conf"
	eval "agent_$1=$!"
	wait_for 5 grep -q "Built" "$dir/$1/agent.log" || sleep 1
}

# stop_agent_of MACHINE
stop_agent_of() {
	eval "end \$agent_$1"
}

# config_of MACHINE CERTIFICATE [CA]: another configuration for a ktlsd that runs.
config_of() {
	config_machine=$1
	shift
	"${config_machine}_config" "$@" | configure_device "$config_machine"
	on "$config_machine"
	$in ktlsctl reload >"$dir/check" 2>&1 || bail_out "reload: $(cat "$dir/check")"
}

log_of() { # MACHINE PATTERN...
	log_file=$dir/$1/agent.log
	shift
	wait_for 2 grep -qE -- "$*" "$log_file"
}

# supervisor_of MACHINE: the process that takes the kernel's requests there.
supervisor_of() {
	on "$1"
	$in ktlsctl status --json | jq -r .kernel_requests.pid
}

# ---- mounts ----

# mount_nfs HOW [OPTION]: tls, mtls or none.
mount_nfs() {
	on client
	timeout 30 $in mount -t nfs -o "vers=4.2,xprtsec=$1,retry=0${2:+,$2}" "$server:/" "$mountpoint"
}

unmount_nfs() {
	umount "$mountpoint"
}

mounts() { # HOW [OPTION]
	mount_nfs "$@" && unmount_nfs
}
