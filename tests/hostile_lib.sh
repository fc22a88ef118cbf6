# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# For hostile_*.sh, to be sourced: the services that hostile_client uses, and its cases as checks.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"

# services: the rest of a configuration; keys of [ktlsd] go before it.
services() {
	cat <<END
$(server_service web)
allow_everyone = yes
$(server_service web12 server-rsa)
max_version = 1.2
allow_everyone = yes
$(server_service mutual)
client_certificate = require
ca = $dir/pki/ca.pem
$(server_service mutual12)
client_certificate = require
ca = $dir/pki/ca.pem
max_version = 1.2
$(server_service root)
$(server_service users)
allow_users = 65534
$(server_service groups)
allow_groups = 61
$(server_service prover server-rsa)
allow_challenge = root
$(server_service small)
max_handshakes = 3
$(client_service client)
$(client_service client-mutual)
certificate = $dir/pki/client.pem
key = $dir/pki/client.key
END
}

# start [KEY...]: an agent with the services, which every user can reach. The keys go into [ktlsd].
start() {
	make_pki
	chmod 755 "$dir"
	{
		[ $# = 0 ] || printf '%s\n' "$@"
		services
	} >"$dir/services"
	# shellcheck disable=SC2086 # a command and its arguments
	start_agent ${AGENT_WRAPPER:-} <"$dir/services"
	export AGENT_PID="$agent" AGENT_LOG="$agent_log"
}

# stop: and if it was built with sanitizers, they found nothing.
stop() {
	stop_agent
	refused "no sanitizer complained" grep -E 'runtime error:|Sanitizer' "$agent_log"
}

# cases SET [ARGUMENT...]: every line of hostile_client is a check of this script.
cases() {
	hostile_client "$@" >"$dir/cases" 2>&1 </dev/null
	take_cases $? "$1"
}

# take_cases STATUS SET: of what a hostile_client wrote into $dir/cases.
take_cases() {
	: >"$dir/notes"
	cases_bad=0
	while IFS= read -r line; do
		case $line in
		"ok "*"# SKIP "*) line=${line#ok }; skip "${line%%# SKIP *}" "${line#*# SKIP }" ;;
		"ok "*) ok "${line#ok }" ;;
		"not ok "*) cases_bad=1; not_ok "${line#not ok }" "$dir/notes" ;;
		*) echo "$line" >>"$dir/notes"; continue ;;
		esac
		: >"$dir/notes"
	done <"$dir/cases"
	[ "$1" = 0 ] || [ $cases_bad = 1 ] || not_ok "hostile_client $2 ended with status $1" "$dir/notes"
}

# A file whose closing hangs, for as long as this script runs.
mount_fuse() {
	mkdir -p "$dir/fuse"
	in_background "$dir/fuse.log" hostile_fuse "$dir/fuse" 1000
	fuse=$!
	if wait_for 5 test -e "$dir/fuse/file"; then
		export FUSE_FILE="$dir/fuse/file"
	fi
}

unmount_fuse() {
	[ -n "$fuse" ] || return 0
	kill -KILL "$fuse"
	umount -l "$dir/fuse" 2>/dev/null
	fuse=''
	unset FUSE_FILE
}

fuse=''
trap 'unmount_fuse; kill_all; rm -rf "$dir"' EXIT # whoever hangs on it has to be let go first
