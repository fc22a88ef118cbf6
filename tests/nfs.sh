#!/bin/sh
# SPDX-License-Identifier: MIT
# NFS over TLS: mounts with and without client certificates, what is refused and why, and tlshd at the other end.
# shellcheck disable=SC2086,SC2154,SC2317 # commands with their options; set elsewhere; called by name
# shellcheck source=tests/nfs_lib.sh
. "$(dirname "$0")/nfs_lib.sh"

megabytes=${KTLSD_MEGABYTES:-100} # at first

# ---- data ----

# carries HOW [OPTION]: a file goes there and comes back by another mount, so that no cache answers.
carries() {
	mount_nfs "$@" && dd if=/dev/urandom of="$mountpoint/file" bs=1M count="$megabytes" && written=$(digest "$mountpoint/file") &&
		unmount_nfs && mount_nfs "$@" && read_back=$(digest "$mountpoint/file") && unmount_nfs &&
		[ "$written" = "$read_back" ] && [ "$written" = "$(digest "$exported/file")" ] &&
		[ "$(stat -c %s "$exported/file")" = $((megabytes * 1048576)) ]
}

# ---- with ktlsd on both ends ----

# policies: what is refused, and why; certificates in keyrings.
policies() {
	check "the client showed no certificate for tls" log_of client "client, anonymous, service nfs"
	check "the agent says whom it meant" log_of client "client, x509, service nfs, peer $server"
	demand none
	check "the server leaves it to the client" mounts none
	demand mtls
	refused "who has to show a certificate does not get in without" mount_nfs tls
	check "... and gets in with it" mounts mtls
	says "status says who takes the requests" "kernel's requests: taken by process $(supervisor_of server)" -- \
		env KTLSD_CONTROL="$dir/server/control" ktlsctl status
	on server
	says "doctor, too" "kernel's requests .*ktlsd takes them" -- $in ktlsctl doctor
	demand tls:mtls

	reconfigure client client "$dir/strange/ca.pem"
	refuses "an authority that the client does not trust" mount_nfs tls
	why client "unable to get|self-signed|issuer"
	reconfigure client client
	reconfigure server expired
	refuses "a server certificate that has expired" mount_nfs tls
	why client "expired"
	reconfigure server misnamed
	refuses "a server certificate for another name" mount_nfs tls
	why client "certificate is not for .*$server"
	reconfigure server server
	reconfigure client "$dir/strange/client"
	refuses_late "a client certificate of an unknown authority" mount_nfs mtls soft,timeo=50,retrans=1
	why server "unable to get|self-signed|issuer"
	reconfigure client none
	demand mtls
	refused "a client without a certificate" mount_nfs mtls
	demand tls:mtls
	reconfigure client client
	ktlsd_server server | sed 's/^kernel = .*/kernel = psk/' | reload_device server
	refuses "a request that no service is for" mount_nfs tls
	why server "no service is for"
	reconfigure server server
	check "after all that, a mount" mounts mtls
	keyrings
}

# ---- certificates in keyrings ----

# The certificate and its intermediates, in DER, one behind the other.
certificates_of() { # FILE
	awk -v prefix="$dir/certificate." '/BEGIN/ { n++ } { print >(prefix n) }' "$1"
	for one in "$dir"/certificate.*; do
		openssl x509 -in "$one" -outform DER
	done
}

keyrings() {
	if ! grep -q "keyring *\.nfs:" /proc/keys; then
		skip "certificates in keyrings" "the NFS of this kernel passes none"
		return
	fi
	ring=$(keyctl newring ktlsd-test @u) || bail_out "no keyring"
	keyctl setperm "$ring" 0x3f3f0000 # root may link it
	certificate=$(certificates_of "$dir/pki/client.pem" | keyctl padd user certificate %:ktlsd-test)
	key=$(openssl pkey -in "$dir/pki/client.key" -outform DER | keyctl padd user key %:ktlsd-test)
	stop_agent_of client
	{ echo 'keyrings = ktlsd-test' && ktlsd_client none; } >"$dir/config"
	start_device client <"$dir/config"
	demand mtls
	refused "the client has no certificate in files" mount_nfs mtls
	check "it has one in a keyring" mounts mtls "cert_serial=$certificate,privkey_serial=$key"
	links=$(keyring_links)
	refused "a certificate without its key" mount_nfs mtls "cert_serial=$certificate"
	check "again and again" four_times mounts mtls "cert_serial=$certificate,privkey_serial=$key"
	check "... and the agents' keyrings are as before" same_links
	demand tls:mtls
	keyctl unlink "$ring" @u
}

# ---- beside tlshd ----

beside_tlshd() {
	start_agent_of client tlshd client
	on client
	ktlsd_client none | configure_device client
	says "beside tlshd it does not start" "tlshd.* takes the kernel's requests already" -- \
		timeout 20 $in ktlsd --config "$dir/client/ktlsd.conf"
	says "doctor says who does" "tlshd takes them" -- $in ktlsctl doctor
	stop_agent_of client
}

# ---- beside a stranger ----

# Everybody may listen, and call himself what he likes: here the first process.
beside_stranger() {
	on client
	in_background "$dir/eavesdrop.log" $in setpriv --reuid nobody --regid nogroup --clear-groups \
		python3 "$(dirname "$0")/eavesdrop.py" 1
	stranger=$!
	check "an ordinary user listens to the kernel's requests" wait_for 5 grep -q listening "$dir/eavesdrop.log"
	start_agent_of client ktlsd client
	check "the agent starts all the same" [ "$(supervisor_of client)" -gt 0 ]
	check "... and says so" log_of client "process 1 .* listens to the kernel's requests"
	on client
	says "doctor says who takes them" "ktlsd takes them" -- $in ktlsctl doctor
	stop_agent_of client
	end $stranger
}

# with SERVER:CLIENT: what goes with any agents, and what only ktlsd does.
with() {
	start_agent_of server "${1%:*}" server
	start_agent_of client "${1#*:}" client
	check "$1: a mount" usually mounts mtls
	before_server=$(encrypted server) before_client=$(encrypted client)
	check "$1: tls: a file of $megabytes MB goes there and back" carries tls
	check "$1: mtls: a file of $megabytes MB goes there and back" carries mtls
	check "$1: ... encrypted by the server's kernel" [ "$(encrypted server)" -ge $((before_server + 4)) ]
	check "$1: ... and the client's" [ "$(encrypted client)" -ge $((before_client + 4)) ]
	[ "$1" != ktlsd:ktlsd ] || policies
	stop_agents
	megabytes=5
}

make_nfs
on client
refused "without an agent there is no mount" mount_nfs tls
for agents in $KTLSD_AGENTS; do
	with "$agents"
done
beside_stranger
if command -v tlshd >/dev/null; then
	beside_tlshd
else
	skip "beside tlshd" "it is not here (ktls-utils)"
fi
agent=''
finish
