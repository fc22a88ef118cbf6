#!/bin/sh
# SPDX-License-Identifier: MIT
# The systemd unit, alone and with what it takes for the kernel's requests: systemd understands every line of it.
# shellcheck disable=SC2317 # called by name
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"

dist=$tests
[ -e "$dist/ktlsd.service" ] || dist=$tests/../dist
command -v systemd-analyze >/dev/null || skip_all "no systemd-analyze"
mkdir "$dir/units"
sed "s,/usr/sbin/ktlsd,$(realpath "$build/ktlsd")," "$dist/ktlsd.service" >"$dir/units/ktlsd.service"

understood() {
	SYSTEMD_UNIT_PATH="$dir/units:" systemd-analyze verify --man=no "$dir/units/ktlsd.service" >"$dir/verified" 2>&1 &&
		[ ! -s "$dir/verified" ] && return
	cat "$dir/verified"
	return 1
}

check "ktlsd.service" understood
mkdir "$dir/units/ktlsd.service.d"
sed 's/^#\([A-Z][A-Za-z]*=.*\)/\1/' "$dist/ktlsd-kernel.conf" >"$dir/units/ktlsd.service.d/kernel.conf"
check "with what is commented out in ktlsd-kernel.conf, for NVMe" understood
cp "$dist/ktlsd-kernel.conf" "$dir/units/ktlsd.service.d/kernel.conf"
check "with ktlsd-kernel.conf" understood
sed -i 's/^AmbientCapabilities=/AmbientCapability=/' "$dir/units/ktlsd.service.d/kernel.conf"
refused "a fault would be found" understood
finish
