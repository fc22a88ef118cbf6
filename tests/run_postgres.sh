#!/bin/sh
# SPDX-License-Identifier: MIT
# PostgreSQL as Debian has it, TLS off, under ktls-run, with psql's sslnegotiation=direct: it forks for each connection.
# shellcheck disable=SC2016,SC2317 # expanded later; functions are called by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=run_lib.sh
. "$(dirname "$0")/run_lib.sh"

for programs in /usr/lib/postgresql/*/bin; do
	export PATH="$PATH:$programs"
done
export PGHOST=localhost PGHOSTADDR=127.0.0.1 PGUSER=postgres PGDATABASE=postgres PGSSLNEGOTIATION=direct PGSSLMODE=verify-full \
	PGSSLROOTCERT="$dir/pki/ca.pem" PGCONNECT_TIMEOUT=10

# PostgreSQL's own word for TLS: a client that negotiates directly has to offer it.
make_pki
start_agent <<END
$(server_service default)
alpn = postgresql
allow_users = postgres
END

# It refuses to be root.
as_postgres() {
	setpriv --reuid postgres --regid postgres --clear-groups "$@"
}

start_postgres() {
	in_background "$dir/postgres.log" setpriv --reuid postgres --regid postgres --clear-groups ktls-run --verbose -- \
		postgres -D "$dir/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off \
		-c shared_buffers=16MB
	postgres=$!
	wait_for 20 grep -q 'ready to accept connections' "$dir/postgres.log" || bail_out "PostgreSQL: $(cat "$dir/postgres.log")"
}

sql() {
	timeout 20 psql -At -c "$1"
}

mkdir "$dir/data" && chown postgres "$dir/data"
chmod 666 "$dir/handoff"
as_postgres initdb -D "$dir/data" -A trust --no-sync >"$dir/initdb.log" 2>&1 || bail_out "initdb: $(cat "$dir/initdb.log")"
next_port
export PGPORT="$port"
start_postgres
check "its listener is handed over" handed "$dir/postgres.log"
says "TLS is off in the server" '^off' -- sql 'SHOW ssl'
says "psql connects over TLS" 'SSL connection' -- timeout 20 psql -c '\conninfo'
says "PostgreSQL knows the peer's address" '^127\.0\.0\.1' -- sql 'SELECT inet_client_addr()'
says "a table is made" 'CREATE TABLE' -- sql 'CREATE TABLE files (name text, content bytea)'

base64 -w 0 "$dir/www/large" >"$dir/large.base64"
stored() {
	printf "INSERT INTO files VALUES ('large', decode('%s', 'base64'));\n" "$(cat "$dir/large.base64")" | timeout 30 psql -q -v ON_ERROR_STOP=1
}
fetched() {
	sql "SELECT translate(encode(content, 'base64'), E'\n', '') FROM files" | tr -d '\n' | cmp - "$dir/large.base64"
}
check "3 MB are stored" stored
check "and fetched" fetched
copied() {
	seq 50000 | timeout 30 psql -q -c 'CREATE TABLE numbers (n int)' -c 'COPY numbers FROM STDIN' &&
		[ "$(sql 'SELECT sum(n) FROM numbers')" = 1250025000 ] && [ "$(sql 'COPY numbers TO STDOUT' | wc -l)" = 50000 ]
}
check "50000 rows are copied in and out" copied

timeout 60 pgbench -i -q >"$dir/pgbench.log" 2>&1
says "pgbench, 4 connections" 'number of failed transactions: 0 ' -- timeout 60 pgbench -c 4 -t 50
says "pgbench, a connection for each transaction" 'number of failed transactions: 0 ' -- timeout 60 pgbench -C -c 2 -t 20 -S

sleeps() {
	[ "$(sql "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep($1)%' AND pid <> pg_backend_pid()")" = 1 ]
}

cancel() {
	timeout 20 psql -c 'SELECT pg_sleep(15)' >"$dir/sleep.log" 2>&1 &
	canceled=$!
	wait_for 10 sleeps 15
	sql "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%sleep(15)%' AND pid <> pg_backend_pid()"
	wait "$canceled"
	grep -q 'canceling statement' "$dir/sleep.log"
}
check "a query is canceled, its connection told" cancel
says "a server that throws a client out says so" 'terminating connection' -- timeout 20 psql -c 'SELECT pg_terminate_backend(pg_backend_pid())'

kill -HUP $postgres
says "after a reload" '^1$' -- sql 'SELECT 1'
timeout 30 psql -At -c 'SELECT pg_sleep(3), 42' >"$dir/slow.log" 2>&1 &
slow=$!
wait_for 10 sleeps 3
# Who inserts rows, and comes again until he gets through.
sql 'CREATE TABLE visits (n int)' >/dev/null
visiting() {
	while [ ! -e "$dir/stop" ]; do
		sql 'INSERT INTO visits VALUES (1)'
	done
}
for i in 1 2; do
	visiting >"$dir/visits.$i" 2>&1 &
	jobs="$jobs $!" visitors="${visitors:-} $!"
done
visits() {
	cat "$dir"/visits.* | grep -c 'INSERT 0 1'
}
wait_for 10 eval '[ "$(visits)" -ge 4 ]'
kill -TERM $postgres # smart: who is connected may finish
check "a graceful restart waits for who is connected" wait $slow
check "and its query has its answer" grep -q '42' "$dir/slow.log"
wait $postgres
before=$(visits)
start_postgres
wait_for 20 eval '[ "$(visits)" -ge $((before + 4)) ]'
touch "$dir/stop"
# shellcheck disable=SC2086 # a list
wait $visitors
check "who came meanwhile gets through afterwards" [ "$(visits)" -gt "$before" ]
check "every row that was acknowledged is there" [ "$(sql 'SELECT count(*) FROM visits')" -ge "$(visits)" ]
says "after it everything is there" '^50000$' -- sql 'SELECT count(*) FROM numbers'
check "nothing to complain of" eval '! grep -E "could not|Connection reset|PANIC|unexpected" "$dir/postgres.log"'
kill -INT $postgres
check "it ends in order" wait $postgres
finish
