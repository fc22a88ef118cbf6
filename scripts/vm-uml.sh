# shellcheck shell=bash disable=SC2034,SC2086,SC2154 # the variables are vm-boot's
# A test machine under User Mode Linux; for vm-boot, to be sourced. The guest's serial lines ttyS0 to ttyS2 are the command's
# input, output and errors, its console is a log. UML makes what it is given non-blocking, which must not happen to the
# caller's descriptors: hence pipes, and the terminal opened anew.
grace=15

# A serial line has no end of file but the control character for it; text in base64 has no such characters.
send_input() {
	base64
	printf '\004'
}

boot_on_terminal() {
	boot_uml ssl0=fd:3,fd:4 3<>/dev/tty 4>&3
}

boot_on_pipes() {
	boot_uml ssl0=fd:3,null ssl1=null,fd:4 ssl2=null,fd:5 3<>$scratch/in 4>$scratch/out 5>$scratch/err
}

# Takes a processor that no other machine has. UML has but one, and is several times slower when the host moves it about.
choose_cpu() {
	local number
	for number in $(seq 0 $(($(nproc) - 1))); do
		exec 7>"$(dirname "$tree")/cpu-$number.lock"
		if flock --nonblock 7; then
			cpu=$number
			return
		fi
	done
	cpu=0-$((number))
}

# The machine's memory is a file in /tmp. What the shell says about UML's end belongs to the console, too.
boot_uml() {
	share_devices
	mount -t tmpfs -o size=0 tmpfs $root/tmp
	ulimit -n "$(ulimit -Hn)"
	choose_cpu
	{
		in_time taskset -c "$cpu" chroot $root /usr/bin/env -i HOME=/tmp TMPDIR=/tmp "/boot/$kernel" mem="$mem" seccomp=on \
			root=/dev/root rootfstype=hostfs rootflags=/ rw init=/src/ktlsd/scripts/vm-init machine=uml \
			con=null con0=null,fd:1 ssl=null "$@" || ended=$?
	} </dev/null >$scratch/console 2>&1
}
