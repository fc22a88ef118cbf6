# shellcheck shell=sh
# What is fetched from Debian: from which mirror, where it is kept, single packages from any suite. To be sourced.

# The directory that keeps what took long to fetch or make: trees of test machines, the kernel's selftests.
cache_dir() {
	echo "${KTLSD_VM_DIR:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ktlsd}"
}

# The URL of the Debian mirror in this machine's apt sources.
debian_mirror() {
	cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null | awk '
		function consider(url, suite) {
			if (!found && url ~ /^https?:/ && suite ~ /^(bookworm|trixie|forky|sid|stable|testing|unstable)$/)
				found = url
		}
		$1 == "deb" {
			gsub(/\[[^]]*\]/, "")
			consider($2, $3)
		}
		$1 == "URIs:" { urls = $2 }
		$1 == "Suites:" { suite = $2 }
		urls && suite {
			consider(urls, suite)
			urls = suite = ""
		}
		END {
			if (found)
				print found
			else
				exit 1
		}' || {
		echo "this machine's apt sources name no Debian mirror; expected one in /etc/apt/sources.list.d" >&2
		return 1
	}
}

# fetch_package SUITE PACKAGE: downloads the package's newest version in SUITE into the current directory, whatever
# suites this machine itself uses. Sid's index may be older than it admits to on a mirror that is not kept fresh.
fetch_package() {
	fetch_options=check-valid-until=yes
	[ "$1" != sid ] || fetch_options=check-valid-until=no
	mkdir -p "apt-$1/lists/partial"
	: >"apt-$1/status"
	printf 'deb [%s signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
		"$fetch_options" "$(debian_mirror)" "$1" >"apt-$1/sources.list"
	for fetch_action in update "download $2"; do
		# shellcheck disable=SC2086 # an action may have an argument
		apt-get -q -o APT::Sandbox::User=root \
			-o Dir::Etc::sourcelist="$PWD/apt-$1/sources.list" -o Dir::Etc::sourceparts=- \
			-o Dir::State="$PWD/apt-$1" -o Dir::State::status="$PWD/apt-$1/status" \
			-o Dir::Cache="$PWD/apt-$1" $fetch_action || return
	done
}
