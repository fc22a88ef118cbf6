#!/bin/sh
# SPDX-License-Identifier: MIT
# Life after the handshake: stream*.c, with an agent that has a service for each suite that they use.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

services() {
	while read -r name cipher; do
		cat <<-END
			[service $name]
			role = server
			certificate = $dir/pki/server-ecdsa.pem
			key = $dir/pki/server-ecdsa.key
			ciphers = $cipher
		END
	done <<-END
		tls13_aes_128_gcm TLS_AES_128_GCM_SHA256
		tls13_aes_256_gcm TLS_AES_256_GCM_SHA384
		tls13_chacha20    TLS_CHACHA20_POLY1305_SHA256
		tls13_aes_128_ccm TLS_AES_128_CCM_SHA256
		tls12_aes_128_gcm ECDHE-ECDSA-AES128-GCM-SHA256
		tls12_aes_256_gcm ECDHE-ECDSA-AES256-GCM-SHA384
		tls12_chacha20    ECDHE-ECDSA-CHACHA20-POLY1305
	END
}

make_pki
programs='stream stream_keys stream_limits stream_splice'
for way in $(install_ways); do
	start_agent <<END
install = $way
[service client]
role = client
ca = $dir/pki/ca.pem
$(services)
END
	for program in $programs; do
		run_program "$program, keys by $way" "$program" "$@"
	done
	stop_agent
	programs=stream # what streams do does not depend on the way
	set -- -t information
done
finish
