#!/bin/sh
# SPDX-License-Identifier: MIT
# docs/servers.md, as it is written there: each recipe's command, with Debian's own configuration and the changes that the recipe
# names, serves over TLS; what it says of ports that stay in clear, too. In folders and a network of its own.
# shellcheck disable=SC2016,SC2317 # expanded later, or by nginx; functions are called by name
[ -n "${RECIPES_APART:-}" ] || RECIPES_APART=yes exec unshare --mount --net "$0" "$@"
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=run_lib.sh
. "$(dirname "$0")/run_lib.sh"

guide=$tests/servers.md
[ -e "$guide" ] || guide=$tests/../docs/servers.md
ip link set lo up

# What servers change and write is gone with this script.
for place in /etc/nginx /etc/redis /etc/lighttpd /etc/apache2; do
	cp -a "$place" "$dir/"
	mount --bind "$dir/${place##*/}" "$place"
done
for place in /run /var/log /var/lib/redis; do
	mount -t tmpfs -o mode=755 tmpfs "$place"
done
mkdir /run/lock /run/redis /var/log/nginx /var/log/redis /var/log/lighttpd /var/log/apache2
chown www-data /var/log/lighttpd

make_pki
start_agent <<END
$(server_service web)
ca = $dir/pki/ca.pem
client_certificate = request
alpn = http/1.1
$(server_service default)
$(server_service redis)
$(server_service postgres)
alpn = postgresql
allow_users = postgres
$(server_service cache)
allow_users = memcache
END
chmod 666 "$dir/handoff"

# recipe NAME [SED-EXPRESSION]: its command.
recipe() {
	awk -F ' [|] ' -v name="| $1" '$1 == name { print $2; exit }' "$guide" | sed -e 's/`//g' -e "${2:-}"
}

# cook NAME PORT [SED-EXPRESSION]: $UNDER runs it.
cook() {
	name=$1 port=$2
	recipe "$1" "${3:-}" >"$dir/recipe"
	[ -s "$dir/recipe" ] || bail_out "no recipe \"$1\" in $guide"
	echo "# $(cat "$dir/recipe")"
	# shellcheck disable=SC2086 # a command and its options
	in_background "$dir/server.log" ${UNDER:-} sh -c "exec $(cat "$dir/recipe")"
	server=$!
	wait_for 15 listens_on "$port" || bail_out "$name does not listen: $(cat "$dir/server.log" /var/log/*/error.log)"
	ok "$name: it listens"
	sleep 0.3
}

# done_with PID
done_with() {
	kill "$1"
	check "$name: it ends, and the port is free" wait_for 10 eval '! listens_on "$port"'
	end "$server"
}

is_in_clear() {
	curl -sS --max-time 10 -o "$dir/got" "http://localhost:$1/small" && cmp "$dir/got" "$dir/www/small"
}

# ---- nginx ----

cat >"$dir/nginx/sites-enabled/default" <<END
server {
	listen 80;
	listen 443;
	root $dir/www;
}
END
cook nginx 443
check "$name: a file" fetch small
check "$name: 3 MB" fetch large
check "$name: port 80 stays in clear" is_in_clear 80
refused "$name: port 443 does not" is_in_clear 443
done_with "$(cat /run/nginx.pid)"

cat >"$dir/nginx/sites-enabled/default" <<'END'
server {
	listen 443 proxy_protocol;
	location / {
		return 200 "cn=$proxy_protocol_tlv_ssl_cn verify=$proxy_protocol_tlv_ssl_verify $proxy_protocol_tlv_ssl_version $proxy_protocol_tlv_ssl_cipher sni=$proxy_protocol_tlv_authority alpn=$proxy_protocol_tlv_alpn id=$proxy_protocol_tlv_unique_id\n";
	}
}
END
cook "nginx, and who the client is" 443
says "$name: all of the names" '^cn=client verify=0 TLSv1.3 TLS_[A-Z0-9_]* sni=localhost alpn=http/1.1 id=[0-9a-f]{16}$' -- \
	https --cert "$dir/pki/client.pem" --key "$dir/pki/client.key" "$(url '')"
done_with "$(cat /run/nginx.pid)"

# ---- the others ----

cook Redis 6379
says "$name: redis-cli --tls" PONG -- timeout 10 redis-cli --tls --cacert "$dir/pki/ca.pem" ping
done_with "$(cat /run/redis/redis-server.pid)"

mkdir "$dir/data" && chown postgres "$dir/data"
for programs in /usr/lib/postgresql/*/bin; do
	setpriv --reuid postgres --regid postgres --clear-groups "$programs/initdb" -D "$dir/data" -A trust --no-sync >"$dir/initdb.log" 2>&1
done
printf 'unix_socket_directories = %s\nfsync = off\n' "''" >>"$dir/data/postgresql.conf"
UNDER='setpriv --reuid postgres --regid postgres --clear-groups'
cook 'PostgreSQL 17' 5432 "s,/usr/lib/postgresql/17/bin,$programs,; s,DATA,$dir/data,"
UNDER=''
wait_for 10 grep -q 'ready to accept' "$dir/server.log"
says "$name: psql" '^42$' -- env PGSSLROOTCERT="$dir/pki/ca.pem" timeout 10 psql -At -c 'SELECT 42' \
	'host=localhost hostaddr=127.0.0.1 user=postgres sslmode=verify-full sslnegotiation=direct'
done_with "$server"

cd "$dir/www" || exit
cook Python 8443
check "$name: a file" fetch small
done_with "$server"
cd "$tests" || exit

UNDER='setpriv --reuid memcache --regid memcache --clear-groups'
cook memcached 11211
UNDER=''
check "$name: a value" timeout 20 tls_script "$port" "$dir/pki" 'say:set key 0 0 5\r\nhello\r\n' flush 'hear:STORED\r\n' 'say:get key\r\n' \
	flush 'hear:VALUE key 0 5\r\nhello\r\nEND\r\n' 'say:quit\r\n' flush hear_end
done_with "$server"

sed -i -e 's/^server.port .*/server.port = 443/' -e "s,^server.document-root .*,server.document-root = \"$dir/www\"," \
	-e 's/^include_shell .*use-ipv6.*/$SERVER["socket"] == "[::]:443" { }/' "$dir/lighttpd/lighttpd.conf"
cook lighttpd 443
check "$name: a file" fetch small
check "$name: 3 MB" fetch large
done_with "$server"

printf 'Listen 443 http\n' >"$dir/apache2/ports.conf"
printf '<VirtualHost *:443>\nDocumentRoot %s\n<Directory %s>\nRequire all granted\n</Directory>\n</VirtualHost>\n' "$dir/www" "$dir/www" \
	>"$dir/apache2/sites-enabled/000-default.conf"
cook Apache 443
check "$name: a file" fetch small
check "$name: 3 MB" fetch large
done_with "$(cat /run/apache2/apache2.pid)"

in_background "$dir/back.log" python3 -u -m http.server --directory "$dir/www" 8080
wait_for 10 listens_on 8080
cat >"$dir/haproxy.conf" <<END
defaults
	timeout connect 5s
	timeout client 20s
	timeout server 20s
listen front
	bind :443
	server back 127.0.0.1:8080
END
cook HAProxy 443 "s,FILE,$dir/haproxy.conf,"
check "$name: a file" fetch small
check "$name: 3 MB" fetch large
done_with "$server"

# ---- what was run ----

# "script", a tab, and a check of its, for each that the guide names.
named_checks() {
	awk -F ' [|] ' '
		function each(script, checks, i, n, list) {
			n = split(checks, list, "; ")
			for (i = 1; i <= n; i++)
				print script "\t" list[i]
		}
		{ sub(/ [|]$/, "") }
		$3 ~ /^`[a-z_]+`$/ { each(substr($3, 2, length($3) - 2), $4) }
		$4 ~ /^`[a-z_]+`: / { split($4, parts, "`"); each(parts[2], substr($4, length(parts[2]) + 5)) }' "$guide"
}

no_check_is_invented() {
	named_checks >"$dir/named"
	[ "$(wc -l <"$dir/named")" -gt 40 ] || return
	while IFS='	' read -r script words; do
		[ ! -e "$tests/$script.sh" ] || grep -qF "$words" "$tests/$script.sh" || echo "$script: $words"
	done <"$dir/named" >"$dir/invented"
	! grep . "$dir/invented"
}
check "every check that the guide names is there" no_check_is_invented
finish
