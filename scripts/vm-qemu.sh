# shellcheck shell=bash disable=SC2034,SC2086,SC2154 # the variables are vm-boot's
# A test machine under QEMU without KVM, which emulates every instruction; for vm-boot, to be sourced. virtiofsd gives it the
# root tree, three virtio ports are the command's input, output and errors, or the first serial line its terminal; the second
# one is the console, a log. All that it needs for its start is built into Debian's kernels: no initramfs.
grace=60

send_input() {
	cat
}

boot_on_terminal() {
	boot_qemu -chardev stdio,id=line,signal=off -serial chardev:line 7<>/dev/tty
}

# A pipe that ends before it is opened by its name has no other end to wait for: the input is handed on as it is.
boot_on_pipes() {
	boot_qemu -serial null -device virtio-serial-pci -add-fd fd=3,set=1 \
		-chardev file,id=in,path=/dev/null,input-path=/dev/fdset/1 -device virtserialport,chardev=in,nr=1 \
		-chardev file,id=out,path=/proc/self/fd/4 -device virtserialport,chardev=out,nr=2 \
		-chardev file,id=err,path=/proc/self/fd/5 -device virtserialport,chardev=err,nr=3 \
		3<$scratch/in 4>$scratch/out 5>$scratch/err 7<>/dev/null
}

# Once in a while an emulated processor does not come up. A machine that never got to its first process gets a second try.
boot_qemu() {
	local watcher
	for _ in first second; do
		give_up_slow_start 3>&- 4>&- 5>&- &
		watcher=$!
		run_qemu "$@"
		kill $watcher 2>/dev/null || true
		[ ! -e $root/vm/booted ] || return 0
	done
}

give_up_slow_start() {
	sleep 120
	[ -e $root/vm/booted ] || kill "$(cat $root/vm/qemu)"
}

# What the kernel does about flaws of real processors takes long on emulated ones, which don't have them.
run_qemu() {
	{
		chroot $root /usr/libexec/virtiofsd --sandbox=none --shared-dir=/ --cache=always --inode-file-handles=prefer \
			--log-level=error --socket-path=/vm/files &
		until [ -S $root/vm/files ]; do
			kill -0 $! || return 0
			sleep 0.01
		done
		in_time chroot $root qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -display none -pidfile /vm/qemu \
			-accel tcg -cpu max -smp 1 -m "$mem" -machine q35,memory-backend=memory \
			-object "memory-backend-memfd,id=memory,size=$mem,share=on" \
			"$@" -chardev socket,id=files,path=/vm/files -device vhost-user-fs-pci,chardev=files,tag=root \
			-chardev file,id=console,path=/proc/self/fd/2,append=on -serial chardev:console -kernel "/boot/$kernel" -append \
			"rootfstype=virtiofs root=root rw init=/src/ktlsd/scripts/vm-init machine=qemu console=ttyS1 quiet panic=-1 mitigations=off" \
			<&7 >&7 || ended=$?
		rm -f $root/vm/files
	} >>$scratch/console 2>&1
}
