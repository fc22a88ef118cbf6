# shellcheck shell=bash disable=SC2034,SC2154 # for the script; $out and $kernels are its own
# SPDX-License-Identifier: MIT
# For check and check-kernel, to be sourced: where tests run, and what they said, which is kept in the folder $out.

say() { echo "${0##*/}: $*" >&2; }

# choose_kernels DEFAULT...: what is built and where, and on which kernels tests run if none are asked for.
choose_kernels() {
	if [ "${NATIVE:-}" = 1 ]; then
		here=native there=native
		kernels=(native)
	else
		here=host there=vm
		[ ${#kernels[@]} -gt 0 ] || kernels=("$@")
	fi
}

begin() {
	mkdir -p "$out"
	rm -f "$out"/*.tap "$out"/*.log
	[ "$here" = host ] || scripts/deps native
}

# on KERNEL COMMAND...
on() {
	if [ "$1" = native ]; then
		NATIVE=1 scripts/vm "${@:2}"
	else
		scripts/vm --kernel "$@"
	fi
}

# loudly_if_bad LOG COMMAND...: what it says is kept, and shown if it fails.
loudly_if_bad() {
	"${@:2}" >"$1" 2>&1 || {
		tail -n 40 "$1" >&2
		say "$2 failed; all of it is in $1"
		echo "0 passed, 1 failed, 0 skipped"
		exit 1
	}
}

# One line for each test program as it ends, and what the kernel's own test found.
show_progress() {
	local line began=$SECONDS
	while IFS= read -r line; do
		case $line in
		"# selftests: "*) began=$SECONDS ;;
		"# # baseline: "*) printf '%-11s %s\n' "$1" "${line#\# \# }" ;;
		"ok "*" selftests: "* | "not ok "*" selftests: "*)
			printf '%-11s %3d s  %s\n' "$1" $((SECONDS - began)) "${line/selftests: ktlsd: /}"
			;;
		esac
	done
}

# run KERNEL COLLECTION: what it prints goes to $out/NAME.tap, what is printed around it to NAME.log.
run() {
	local name=$1 build=$there
	[ "$2" != units ] || { name=$2 build=sanitize; }
	# shellcheck disable=SC2016 # for the shell over there
	on "$1" --timeout 2400 -- sh -c 'KTLSD_BUILD=$PWD/build/$1 exec $2/run_kselftest.sh -c ktlsd' sh "$build" "$out/$2" \
		2>"$out/$name.log" </dev/null | tee "$out/$name.tap" | show_progress "$name"
	sed -n 's/^vm: Linux/# Linux/p' "$out/$name.log" >>"$out/$name.tap"
}

# All results of all files, the failed ones with what was said around them; then the line that counts.
summarize() {
	awk '
	function result(good, name) {
		good ? passed++ : failed++
		if (!good) {
			printf "\nFAILED  %s: %s: %s\n", machine, program, name
			if (before ~ /RUN  / || name ~ /^died/)
				printf "%s", before
		}
		explain = !good
		before = ""
	}
	function bad(why) {
		program = program ? program : "(start)"
		result(0, why)
		explain = 0
	}
	function end_of_machine() {
		if (machine && running)
			bad("the machine or its time ended in the middle of this")
		else if (machine && ended != wanted)
			bad("only " ended + 0 " of " wanted + 0 " test programs ran")
		running = ended = wanted = 0
	}
	FNR == 1 {
		end_of_machine()
		machine = FILENAME
		gsub(/.*\/|\.tap$/, "", machine)
	}
	/^1\.\.[0-9]+/ { wanted += substr($1, 4) }
	/^# selftests: / {
		program = $NF
		plan = -1
		results = failures = 0
		running = 1
		explain = 0
		before = ""
		next
	}
	/^(not )?ok [0-9]+ selftests: / {
		ended++
		running = 0
		good = $1 == "ok"
		if (plan == 0 && results == 0)
			next
		if (good && plan != results)
			bad("planned " plan ", ran " results)
		else if (!good && failures == 0)
			bad("died after " results " results: " substr($0, index($0, "#")))
		next
	}
	/^# 1\.\.[0-9]+/ {
		plan = substr($2, 4) + 0
		if (plan == 0) {
			skipped++
			printf "skipped %s: %s: %s\n", machine, program, substr($0, index($0, "SKIP") + 5)
		}
		next
	}
	/^# ok [0-9]+.*# SKIP/ {
		results++
		skipped++
		explain = 0
		before = ""
		printf "skipped %s: %s: %s\n", machine, program, substr($0, index($0, $4))
		next
	}
	/^# (not )?ok [0-9]+/ {
		results++
		failures += $2 == "not"
		result($2 == "ok", substr($0, index($0, "ok ") + 3))
		next
	}
	/RUN  / {
		explain = 0
		before = ""
	}
	explain { print "        " substr($0, 3) }
	{ before = before "        " substr($0, 3) "\n" }
	END {
		end_of_machine()
		if (passed + failed + skipped == 0) {
			machine = "check"
			bad("nothing ran")
		}
		printf "\n%d passed, %d failed, %d skipped\n", passed, failed, skipped
		exit failed > 0
	}' "$@"
}
