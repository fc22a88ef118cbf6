#!/bin/sh
# SPDX-License-Identifier: MIT
# Who gets which service of several when the kernel asks, and what those services refuse, on real mounts.
# shellcheck disable=SC2086,SC2154,SC2317 # commands with their options; set elsewhere; called by name
# shellcheck source=tests/nfs_lib.sh
. "$(dirname "$0")/nfs_lib.sh"

# kernel_service NAME ROLE [KEY...]: one that is for the kernel.
kernel_service() {
	printf '[service %s]\nrole = %s\nca = %s\n' "$1" "$2" "$dir/pki/ca.pem"
	if [ $2 = client ]; then
		printf 'kernel = x509, anonymous\n'
	else
		printf 'kernel = x509\nclient_certificate = request\n'
	fi
	printf 'certificate = %s\nkey = %s\n' "$dir/pki/$2.pem" "$dir/pki/$2.key"
	shift 2
	[ $# = 0 ] || printf '%s\n' "$@"
}

# mounts_by NAME CLIENT'S-SERVICE SERVER'S-SERVICE FROM [OPTION]: a mount, and the services that its handshakes went by.
mounts_by() {
	remember_lines
	check "$1: a mount" mounts mtls "${5:-rw}" "$4"
	why client "the kernel's request .* client, x509, service $2,"
	why server "the kernel's request .* server, x509, service $3, peer "
}

# refuses_it NAME MACHINE PATTERN [FROM]
refuses_it() {
	refuses_late "$1" mount_nfs mtls soft,timeo=20,retrans=1 "${4:-$server}"
	why "$2" "$3"
}

hosts_end() {
	umount /etc/hosts
	nfs_end
} 2>/dev/null

# ---- names and networks ----

make_nfs
trap 'hosts_end; kill_all; rm -rf "$dir"' EXIT
{
	cat /etc/hosts
	echo "$server files.example"
	echo "$server6 files6.example"
} >"$dir/hosts"
mount --bind "$dir/hosts" /etc/hosts || bail_out "no hosts"
for other in expired revoked; do
	days="--days 2"
	[ $other != expired ] || days="--until 20200201000000Z --from 20200101000000Z"
	pki issue "$dir/pki" client-$other client --name DNS:client.example $days >"$dir/check" 2>&1 || bail_out "pki: $(cat "$dir/check")"
done
{ pki revoke "$dir/pki" client-revoked keyCompromise && pki crl "$dir/pki"; } >"$dir/check" 2>&1 || bail_out "pki: $(cat "$dir/check")"

start_device server <<END
$(kernel_service six server "kernel_networks = 2001:db8::/32")
$(kernel_service four server "kernel_networks = 192.0.2.0/24")
$(kernel_service rest server)
END
start_device client <<END
$(kernel_service named client "kernel_peers = *.example")
$(kernel_service six client "kernel_networks = 2001:db8::/32")
$(kernel_service near client "kernel_networks = $server")
END
mounts_by "by address" near four $server
mounts_by "by name" named four files.example
mounts_by "IPv6, by address" six six "[$server6]"

reload_device client <<END
$(kernel_service near client "kernel_networks = $server")
$(kernel_service named client "kernel_peers = *.example")
END
mounts_by "two are for it: the first in the file" near four files.example
refuses_it "none is for it" client "no service is for" "[$server6]"

# The first is taken even if a later one would do.
reload_device client <<END
$(kernel_service named client "kernel_peers = files.example" | sed "s,^ca = .*,ca = $dir/strange/ca.pem,")
$(kernel_service rest client)
END
refuses_it "by name, with the trust of that service" client "service named.*(unable to get|self-signed|issuer)" files.example
mounts_by "by address, with that of another" rest four $server
reload_device client <<END
$(kernel_service rest client)
END
refuses_it "a name that is not in the certificate" client 'is not for "files6.example"' files6.example
reload_device server <<END
$(kernel_service far server "kernel_networks = 198.51.100.0/24, 192.0.2.3")
END
refuses_it "none of the server's services is for it" server "no service is for"

# ---- who may come ----

# with_client CERTIFICATE
with_client() {
	kernel_service rest client | sed "s,pki/client\\.,pki/$1.," >"$dir/config"
	reload_device client <"$dir/config"
}

reload_device server <<END
$(kernel_service guests server "allow_peer = DNS:other.example as other" "allow_peer = DNS:client.example as client")
END
with_client client
mounts_by "who is in the allow list" rest guests $server
reload_device server <<END
$(kernel_service guests server "allow_peer = DNS:other.example as other")
END
refuses_it "who is not in it" server "not in the service's allow list"
reload_device server <<END
$(kernel_service checked server "crl = $dir/pki/crl.pem, $dir/pki/root-crl.pem")
END
mounts_by "who is not in the CRL" rest checked $server
with_client client-revoked
refuses_it "who is in it" server "revoked"
with_client client-expired
refuses_it "a client certificate that has expired" server "expired"
with_client client
mounts_by "after all that" rest checked $server
stop_device server
stop_device client
finish
