# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# For scripts, to be sourced: the two machines of machines_lib.sh, of which the server exports a tmpfs over NFS.
# shellcheck disable=SC2034,SC2086,SC2154,SC2317 # for the script; commands with their options; set elsewhere; called by name
# shellcheck source=tests/machines_lib.sh
. "$(dirname "$0")/machines_lib.sh"

mountpoint=$dir/mnt exported=$dir/exported
trap 'nfs_end; kill_all; rm -rf "$dir"' EXIT

nfs_end() {
	umount -f "$mountpoint"
	stop_nfsd "$exported"
} >/dev/null 2>&1

# make_nfs: two machines, certificates, and the server's NFS; its first ten seconds are for clients of the server before.
make_nfs() {
	make_machines nfsd nfs nfsv4
	mkdir "$mountpoint"
	on server
	start_nfsd "$exported" || bail_out "no nfsd"
	jobs="$jobs $mountd"
	demand tls:mtls
	make_nfs_pki
}

# demand HOW: of the server.
demand() {
	on server
	export_nfs "$exported" "$1" || bail_out "exportfs"
}

make_nfs_pki() {
	{
		pki init "$dir/pki" &&
			pki issue "$dir/pki" server server --name "IP:$server,IP:$server6,DNS:files.example" &&
			pki issue "$dir/pki" misnamed server --name IP:192.0.2.99 &&
			pki issue "$dir/pki" expired server --name "IP:$server" --from "3 days ago" --until "1 day ago" &&
			pki issue "$dir/pki" client client --name DNS:client.example &&
			pki init "$dir/strange" && pki issue "$dir/strange" client client --name DNS:client.example
	} >"$dir/check" 2>&1 || bail_out "pki: $(tail -n 5 "$dir/check")"
}

# ---- agents ----

# A certificate is one of the authority's, or a path without .pem; a client may have none.
certificate_path() {
	case $1 in
	/*) echo "$1" ;;
	*) echo "$dir/pki/$1" ;;
	esac
}

# Their services, for KTLSD_AGENTS: CERTIFICATE [CA]
ktlsd_server() {
	nfs_service server "$@"
	printf 'client_certificate = request\n'
}

ktlsd_client() {
	nfs_service client "$@"
}

# nfs_service ROLE CERTIFICATE [CA]: further keys go behind it.
nfs_service() {
	printf '[service nfs]\nrole = %s\nkernel = x509%s\nca = %s\n' "$1" "$([ "$1" = server ] || echo ', anonymous')" \
		"${3:-$dir/pki/ca.pem}"
	[ "$2" = none ] || printf 'certificate = %s.pem\nkey = %s.key\n' "$(certificate_path "$2")" "$(certificate_path "$2")"
}

tlshd_server() {
	tlshd_end server "$@"
}

tlshd_client() {
	tlshd_end client "$@"
}

tlshd_end() { # ROLE CERTIFICATE [CA]
	printf '[authenticate.%s]\nx509.truststore=%s\n' "$1" "${3:-$dir/pki/ca.pem}"
	printf 'x509.certificate=%s.pem\nx509.private_key=%s.key\n' "$(certificate_path "$2")" "$(certificate_path "$2")"
}

# ---- mounts ----

# mount_nfs HOW [OPTION [FROM]]: HOW is tls, mtls or none.
mount_nfs() {
	on client
	timeout 30 $in mount.nfs "${3:-$server}:/" "$mountpoint" -o "vers=4.2,xprtsec=$1,retry=0${2:+,$2}"
}

unmount_nfs() {
	umount "$mountpoint"
}

mounts() { # HOW [OPTION [FROM]]
	mount_nfs "$@" && unmount_nfs
}
