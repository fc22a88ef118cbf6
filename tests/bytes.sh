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
$(server_service server)
$(client_service client)
END
	run_program "keys by $way" bytes "$dir/pki"
	check "the agent says so" [ "$(agent_status ".installs | keys[0]")" = "$way" ]
	check "nothing is in flight" [ "$(agent_status .in_flight)" = 0 ]
	stop_agent
done
finish
