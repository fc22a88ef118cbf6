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

# fetch_package SUITE PACKAGE...: downloads the packages' newest versions in SUITE into the current directory, whatever
# suites this machine itself uses.
fetch_package() {
	fetch_suite=$1
	shift
	from_suite "$fetch_suite" /dev/null update && from_suite "$fetch_suite" /dev/null download "$@"
}

# fetch_missing SUITE TREE PACKAGE...: downloads what has to be installed in the Debian machine at TREE for the packages, into
# apt-SUITE/archives.
fetch_missing() {
	fetch_suite=$1
	fetch_status=$2/var/lib/dpkg/status
	shift 2
	from_suite "$fetch_suite" "$fetch_status" update &&
		from_suite "$fetch_suite" "$fetch_status" -y --no-install-recommends --download-only install "$@"
}

# from_suite SUITE STATUS ARGUMENT...: apt-get that knows SUITE and dpkg's file STATUS and nothing else. Sid's index may be
# older than it admits to on a mirror that is not kept fresh.
from_suite() {
	fetch_suite=$1 fetch_status=$2 fetch_dir=$PWD/apt-$1
	shift 2
	fetch_options=check-valid-until=yes
	[ "$fetch_suite" != sid ] || fetch_options=check-valid-until=no
	mkdir -p "$fetch_dir/lists/partial" "$fetch_dir/archives/partial"
	printf 'deb [%s signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
		"$fetch_options" "$(debian_mirror)" "$fetch_suite" >"$fetch_dir/sources.list"
	apt-get -q -o APT::Sandbox::User=root \
		-o Dir::Etc::sourcelist="$fetch_dir/sources.list" -o Dir::Etc::sourceparts=- \
		-o Dir::State="$fetch_dir" -o Dir::State::status="$fetch_status" -o Dir::Cache="$fetch_dir" "$@"
}
