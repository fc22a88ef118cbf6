#!/bin/sh
# SPDX-License-Identifier: MIT
# Not one byte lost: bytes.c with an agent, which installs keys in either way.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

make_pki
for way in $(install_ways); do
	start_agent <<END
install = $way
workers = 2
[service server]
role = server
certificate = $dir/pki/server-ecdsa.pem
key = $dir/pki/server-ecdsa.key
[service client]
role = client
ca = $dir/pki/ca.pem
END
	run_program "keys by $way" bytes "$dir/pki"
	check "the agent says so" [ "$(agent_status ".installs | keys[0]")" = "$way" ]
	check "nothing is in flight" [ "$(agent_status .in_flight)" = 0 ]
	stop_agent
done
finish
