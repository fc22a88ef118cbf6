#!/bin/sh
# SPDX-License-Identifier: MIT
# NFS over TLS: mounts with and without client certificates, what is refused and why, and tlshd at the other end.
# shellcheck disable=SC2086,SC2154,SC2317 # commands with their options; set elsewhere; called by name
# shellcheck source=tests/nfs_lib.sh
. "$(dirname "$0")/nfs_lib.sh"

megabytes=${MEGABYTES:-100}

# ---- data ----

digest() {
	sha256sum "$1" | cut -d ' ' -f 1
}

# carries HOW [OPTION]: a file goes there and comes back by another mount, so that no cache answers.
carries() {
	mount_nfs "$@" && dd if=/dev/urandom of="$mountpoint/file" bs=1M count="$megabytes" && written=$(digest "$mountpoint/file") &&
		unmount_nfs && mount_nfs "$@" && read_back=$(digest "$mountpoint/file") && unmount_nfs &&
		[ "$written" = "$read_back" ] && [ "$written" = "$(digest "$exported/file")" ] &&
		[ "$(stat -c %s "$exported/file")" = $((megabytes * 1048576)) ]
}

tls_connections() {
	on server
	$in sed -n 's/^TlsRxSw[[:space:]]*//p' /proc/net/tls_stat
}

# ---- refusals ----

# refuses NAME MACHINE PATTERN HOW [OPTION]: the mount fails by itself and soon, and that machine's agent says why.
refuses() {
	refuses_name=$1 refuses_machine=$2 refuses_pattern=$3
	shift 3
	: >"$dir/$refuses_machine/agent.log"
	refuses_began=$(date +%s)
	refused "$refuses_name" mount_nfs "$@"
	umount "$mountpoint" 2>/dev/null
	check "... and soon" [ $(($(date +%s) - refuses_began)) -lt 8 ]
	check "... and the $refuses_machine's agent says: $refuses_pattern" log_of "$refuses_machine" "$refuses_pattern"
}

make_machines
on client
refused "without an agent there is no mount" mount_nfs tls
agent_of server server
agent_of client "$dir/pki/client"

before=$(tls_connections)
check "tls: a file goes there and back" carries tls
check "mtls: a file goes there and back" carries mtls
check "the kernels encrypted it" [ "$(tls_connections)" -ge $((before + 4)) ]
check "the client showed no certificate for tls" log_of client "client, anonymous, service nfs"
check "the agent says whom it meant" log_of client "client, x509, service nfs, peer $server"
export_nfs none
check "the server leaves it to the client" mounts none
export_nfs mtls
refused "who has to show a certificate does not get in without" mount_nfs tls
check "... and gets in with it" mounts mtls
says "status says who takes the requests" "kernel's requests: taken by process $(supervisor_of server)" -- \
	env KTLSD_CONTROL="$dir/server/control" ktlsctl status
on server
says "doctor, too" "kernel's requests .*ktlsd takes them" -- $in ktlsctl doctor
export_nfs tls:mtls

config_of client "$dir/pki/client" "$dir/strange/ca.pem"
refuses "an authority that the client does not trust" client "unable to get|self-signed|issuer" tls
config_of client "$dir/pki/client"
config_of server expired
refuses "a server certificate that has expired" client "expired" tls
config_of server misnamed
refuses "a server certificate for another name" client "192.0.2.1" tls
config_of server server
config_of client "$dir/strange/client"
# With TLS 1.3 the client learns of it when all seems well, and its kernel connects again until time is up.
: >"$dir/server/agent.log"
in_background "$dir/mount.log" $in mount.nfs "$server:/" "$mountpoint" -o vers=4.2,xprtsec=mtls,retry=0
mounting=$!
check "a client certificate of an unknown authority: the server's agent says so" log_of server "unable to get|self-signed|issuer"
check "... and there is no mount" [ "$(stat -c %m "$mountpoint")" != "$mountpoint" ]
kill -KILL $mounting
config_of client none
export_nfs mtls
refused "a client without a certificate" mount_nfs mtls
export_nfs tls:mtls
config_of client "$dir/pki/client"
server_config server | sed 's/^kernel = .*/kernel = psk/' | configure_device server
on server
$in ktlsctl reload >/dev/null 2>&1
refuses "a request that no service is for" server "no service is for" tls
config_of server server
check "after all that, a mount" mounts mtls

# ---- certificates in keyrings ----

# The certificate and its intermediates, in DER, one behind the other.
certificates_of() { # FILE
	awk -v prefix="$dir/certificate." '/BEGIN/ { n++ } { print >(prefix n) }' "$1"
	for one in "$dir"/certificate.*; do
		openssl x509 -in "$one" -outform DER
	done
}

if grep -q "keyring *\.nfs:" /proc/keys && ring=$(keyctl newring ktlsd-test @u); then
	keyctl setperm "$ring" 0x3f3f0000 # root may link it
	certificate=$(certificates_of "$dir/pki/client.pem" | keyctl padd user certificate %:ktlsd-test)
	key=$(openssl pkey -in "$dir/pki/client.key" -outform DER | keyctl padd user key %:ktlsd-test)
	stop_agent_of client
	{ echo 'keyrings = ktlsd-test' && client_config none; } >"$dir/config"
	start_device client <"$dir/config"
	export_nfs mtls
	refused "the client has no certificate in files" mount_nfs mtls
	check "it has one in a keyring" mounts mtls "cert_serial=$certificate,privkey_serial=$key"
	refused "a certificate without its key" mount_nfs mtls "cert_serial=$certificate"
	export_nfs tls:mtls
	keyctl unlink "$ring" @u
else
	skip "certificates in keyrings" "the NFS of this kernel passes none"
fi
stop_agent_of client
stop_agent_of server

# ---- with tlshd ----

# between SERVER CLIENT: which agents.
between() {
	AGENT=$1 agent_of server server
	AGENT=$2 agent_of client "$dir/pki/client.pem"
	for how in tls mtls; do
		check "$1 serves, $2 asks: $how" carries $how
	done
	stop_agent_of client
	stop_agent_of server
}

megabytes=5
if command -v tlshd >/dev/null; then
	between ktlsd tlshd
	between tlshd ktlsd
	AGENT=tlshd agent_of client "$dir/pki/client.pem"
	on client
	client_config none | configure_device client
	says "beside tlshd it does not start" "tlshd.* takes the kernel's requests already" -- \
		timeout 20 $in ktlsd --config "$dir/client/ktlsd.conf"
	says "doctor says who does" "tlshd takes them" -- $in ktlsctl doctor
	stop_agent_of client
else
	skip "with tlshd" "it is not here (ktls-utils)"
fi
agent=''
finish
