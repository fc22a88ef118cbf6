#!/bin/sh
# SPDX-License-Identifier: MIT
# NVMe over TCP with TLS 1.3 and pre-shared keys: a file system on a disk that comes over the network, and who gets none.
# shellcheck disable=SC2086,SC2154,SC2317 # commands with their options; set elsewhere; called by name
# shellcheck source=tests/machines_lib.sh
. "$(dirname "$0")/machines_lib.sh"

megabytes=${KTLSD_MEGABYTES:-16}
port=4420 subsystem=nqn.2014-08.org.nvmexpress:ktlsd-test hostid=11111111-2222-3333-4444-555555555555
host=nqn.2014-08.org.nvmexpress:uuid:$hostid
nvmet=/sys/kernel/config/nvmet mountpoint=$dir/mnt
strange=ktlsd-strange # a keyring that only the client looks into
many='ktlsd-one ktlsd-two ktlsd-three' # and those that nobody is configured for
trap 'nvme_end; kill_all; rm -rf "$dir"' EXIT

ktlsd_server() {
	printf 'keyrings = .nvme\n[service nvme]\nrole = server\nkernel = psk\n'
}

ktlsd_client() {
	printf 'keyrings = .nvme, %s\n[service nvme]\nrole = client\nkernel = psk\n' $strange
}

tlshd_server() {
	printf '[authenticate]\nkeyrings=.nvme\n'
}

tlshd_client() {
	printf '[authenticate]\nkeyrings=.nvme;%s\n' $strange
}

# ---- target ----

# make_target: a file as the only disk of the server; TLS or nothing.
make_target() {
	mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config || skip_all "no configfs"
	truncate -s $((megabytes * 2 + 32))M "$dir/disk"
	{
		mkdir "$nvmet/hosts/$host" "$nvmet/subsystems/$subsystem" "$nvmet/subsystems/$subsystem/namespaces/1" "$nvmet/ports/1" &&
			ln -s "$nvmet/hosts/$host" "$nvmet/subsystems/$subsystem/allowed_hosts/" &&
			set_up "subsystems/$subsystem/namespaces/1" device_path="$dir/disk" buffered_io=1 enable=1 &&
			set_up ports/1 addr_adrfam=ipv4 addr_trtype=tcp addr_traddr=$server addr_trsvcid=$port addr_tsas=tls1.3 addr_treq=required &&
			on server && $in ln -s "$nvmet/subsystems/$subsystem" "$nvmet/ports/1/subsystems/"
	} >"$dir/check" 2>&1 || bail_out "nvmet: $(cat "$dir/check")"
}

# set_up WHAT NAME=VALUE...
set_up() {
	set_up_what=$nvmet/$1
	shift
	for assignment; do
		echo "${assignment#*=}" >"$set_up_what/${assignment%%=*}" || return
	done
}

nvme_end() {
	{
		umount "$mountpoint"
		disconnect
		rm "$nvmet/ports/1/subsystems/$subsystem" "$nvmet/subsystems/$subsystem/allowed_hosts/$host"
		rmdir "$nvmet/ports/1" "$nvmet/subsystems/$subsystem/namespaces/1" "$nvmet/subsystems/$subsystem" "$nvmet/hosts/$host"
		for key in $keys; do
			keyctl unlink "$key" %:.nvme
		done
		for ring in $strange $many; do
			keyctl unlink "%:$ring" @u
		done
	} >/dev/null 2>&1
}

# ---- keys ----

# make_key KEYRING SECRET HASH IDENTITY: HASH is 1 (SHA-256) or 2 (SHA-384); with IDENTITY 0 the key's name does not depend on
# the secret. $key is its number.
keys=''
make_key() {
	nvme gen-tls-key --keyring="$1" --secret="$2" --hmac="$3" --identity="$4" --subsysnqn=$subsystem --hostnqn=$host --insert \
		>"$dir/check" 2>&1 || bail_out "no key: $(cat "$dir/check")"
	key=$((0x$(sed -n 's/^Inserted TLS key //p' "$dir/check")))
	keys="$keys $key"
}

make_keys() {
	for secret in ours theirs; do
		eval "$secret=$(openssl rand -hex 32)"
	done
	make_key .nvme $ours 1 1 && sha256=$key
	make_key .nvme "$(openssl rand -hex 48)" 2 1 && sha384=$key
	make_key .nvme $ours 1 0
	make_key $strange $ours 1 1 && same=$key
	make_key $strange $theirs 1 1 && unknown=$key
	make_key $strange $theirs 1 0 && wrong=$key
}

# ---- host ----

connect() { # OPTION...
	on client
	timeout 60 $in nvme connect -t tcp -a $server -s $port -n $subsystem --hostnqn=$host --hostid=$hostid -i 1 --ctrl-loss-tmo=0 "$@"
}

disconnect() {
	on client
	$in nvme disconnect -n $subsystem
}

connects() {
	connect "$@" && disconnect
}

# disk: $disk is its device.
disk() {
	candidate=$(grep -lx $subsystem /sys/class/nvme-subsystem/*/subsysnqn) &&
		disk=/dev/$(basename "${candidate%/*}"/nvme*n*) && [ -b "$disk" ]
}

# carries OPTION...: a file system is made and a file written; by another connection the file is the same. Written piece by piece: a
# slow machine would not come to the last of all pieces at once in the 30 seconds that the kernel gives each.
carries() {
	connect "$@" && wait_for 5 disk && mkfs.ext4 -q -F "$disk" && mount "$disk" "$mountpoint" &&
		dd if=/dev/urandom of="$mountpoint/file" bs=1M count=$megabytes oflag=direct && written=$(digest "$mountpoint/file") &&
		umount "$mountpoint" && disconnect && connect "$@" && wait_for 5 disk && mount "$disk" "$mountpoint" &&
		[ "$(digest "$mountpoint/file")" = "$written" ] && umount "$mountpoint" && disconnect
}

# no_connection NAME OPTION...: it is refused.
no_connection() {
	no_name=$1
	shift
	refuses "$no_name" connect "$@"
	disconnect >/dev/null 2>&1
}

# with SERVER:CLIENT: the whole test with these agents.
with() {
	start_agents "$1"
	check "$1: a connection" usually connects --tls --tls-key=$sha256
	before_server=$(encrypted server) before_client=$(encrypted client)
	check "$1: a file system and $megabytes MB in it go there and back" carries --tls --tls-key=$sha256
	check "$1: ... encrypted by the server's kernel" [ "$(encrypted server)" -ge $((before_server + 4)) ]
	check "$1: ... and the client's" [ "$(encrypted client)" -ge $((before_client + 4)) ]
	case $1 in
	ktlsd:tlshd | tlshd:ktlsd) # tlshd 1.0.0 takes SHA-256 for every key; the kernel prefers those for SHA-384
		skip "$1: a key for SHA-384" "Debian's tlshd has no other hash than SHA-256"
		skip "$1: the kernel chooses a key" "it chooses that one"
		;;
	*)
		check "$1: a key for SHA-384" connects --tls --tls-key=$sha384
		check "$1: the kernel chooses a key" connects --tls
		;;
	esac
	check "$1: a key from another keyring" connects --tls --keyring=$strange --tls-key=$same
	no_connection "$1: without TLS" --nr-io-queues=1
	no_connection "$1: a key that the server does not have" --tls --keyring=$strange --tls-key=$unknown
	no_connection "$1: a key that is another one under its name" --tls --keyring=$strange --tls-key=$wrong
	check "$1: after all that, a connection" connects --tls --tls-key=$sha256
	stop_agents
}

# ---- what only ktlsd does ----

# from_keyrings KEYRING...: the kernel hands each of them to the client's agent. Of --keyring, Debian's nvme tells it nothing.
from_keyrings() {
	on client
	for ring; do
		make_key "$ring" $ours 1 1
		connection="nqn=$subsystem,transport=tcp,traddr=$server,trsvcid=$port,hostnqn=$host,hostid=$hostid,nr_io_queues=1"
		echo "$connection,tls,tls_key=$key,keyring=$(keyctl id "%:$ring")" | $in tee /dev/nvme-fabrics && disconnect || return
	done
}

# mute: a target that says nothing, and a connect that waits for it.
mute() {
	on client
	in_background "$dir/mute.log" $in rpc_tls.py mute $port
	mute=$!
	wait_for 9 grep -q listening "$dir/mute.log"
	in_background "$dir/connect.log" $in nvme connect -t tcp -a 127.0.0.1 -s $port -n $subsystem --hostnqn=$host --hostid=$hostid \
		-i 1 --ctrl-loss-tmo=0 --tls --tls-key=$sha256
	connecting=$!
	wait_for 9 requests_in_flight client 1
}

connect_fails() {
	! wait "$connecting"
}

only_ktlsd() {
	start_agents ktlsd:ktlsd
	check "a connection" usually connects --tls --tls-key=$sha256
	links=$(keyring_links)
	check "keys from keyrings that only the consumer names" from_keyrings $many
	check "... and again, from one" four_times connects --tls --keyring=$strange --tls-key=$same
	check "... after which the agents' keyrings are as before" same_links
	check "a target that says nothing" mute
	kill -KILL "$agent_client"
	check "the client's agent is killed: its kernel hears of it" soon connect_fails
	end "$mute"
	start_agent_of client ktlsd
	check "... and a new agent takes requests" connects --tls --tls-key=$sha256
	stop_agents

	chmod 711 "$dir"
	for machine in server client; do
		{ echo "user = nobody" && ktlsd_$machine; } >"$dir/config"
		start_device $machine <"$dir/config"
	done
	check "agents that start as root and go on as nobody: a connection" connects --tls --tls-key=$sha256
	for machine in server client; do
		check "... the $machine's agent has no privilege, and its supervisor one" few_rights $machine
	done
	stop_agents
}

make_machines nvmet-tcp nvme-tcp
keyctl show %:.nvme >/dev/null 2>&1 || skip_all "the NVMe of this kernel knows no TLS"
for ring in $strange $many; do
	ring=$(keyctl newring "$ring" @u) || bail_out "no keyring"
	keyctl setperm "$ring" 0x3f3f0000 # whoever is root may use it
done
make_keys
make_target
mkdir "$mountpoint"
on client
refused "without an agent there is no connection" connect --tls
disconnect >/dev/null 2>&1
for agents in $KTLSD_AGENTS; do
	with "$agents"
done
only_ktlsd
agent=''
finish
