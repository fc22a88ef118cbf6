#!/bin/sh
# SPDX-License-Identifier: MIT
# The baseline: the kernel's own test of kTLS (tools/testing/selftests/net/tls.c), as it was released with this kernel's
# version. What fails here is no fault of ours, and what we need of it won't work either. No agent takes part.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"

has_cipher() {
	modprobe -q "crypto-$1"
	grep -q "^name *: $1\$" /proc/crypto
}

# Each is left out if the kernel is built without its cipher, because not one of its tests could then do a thing.
variants_with_ciphers() {
	cat <<-END
		tls.13_sm4_gcm sm4
		tls.13_sm4_ccm sm4
		tls.12_aria_gcm aria
		tls.12_aria_gcm_256 aria
	END
}

without_ciphers() {
	variants_with_ciphers | while read -r variant cipher; do
		has_cipher "$cipher" || echo "$variant $cipher"
	done
}

# how_many PATTERN: results of the kernel's program.
how_many() {
	grep -c "^$1" "$dir/program"
}

# left_out VARIANT CIPHER: that the reason is the true one, its first test shows.
left_out() {
	if "$program" -r "$1.sendfile" >"$dir/check" 2>&1; then
		not_ok "$1 fails, as there is no $2" "$dir/check"
	else
		skip "$1, $each tests" "this kernel is built without $2"
	fi
}

version=$(uname -r | grep -o '^[0-9]*\.[0-9]*')
program=kernel_tls-$version
command -v "$program" >/dev/null ||
	skip_all "Debian's mirror had no source of Linux $version to take the test from (build/check/selftests.log)"

without_ciphers >"$dir/without"
# shellcheck disable=SC2046 # options
run_program "the kernel's own net/tls" "$program" $(sed 's/^tls\.\([^ ]*\).*/-V \1/' "$dir/without")
good=$(how_many 'ok .*') bad=$(how_many 'not ok ')
check "every planned test has a result" grep -qx "1\.\.$((good + bad))" "$dir/program"
each=$(how_many '.*ok [0-9]* tls\.13_aes_gcm\.')
while read -r variant cipher; do
	left_out "$variant" "$cipher"
done <"$dir/without"
lacking=$(sed 's/.* //' "$dir/without" | sort -u | paste -sd ' ')
echo "# baseline: Linux $(uname -r), the kernel's own net/tls of $(cat "$tests/$program.source"): $good passed, $bad failed" \
	"${lacking:+and $((each * $(wc -l <"$dir/without"))) left out for want of $lacking}"
finish
