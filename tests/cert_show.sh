#!/bin/sh
# SPDX-License-Identifier: MIT
# ktlsctl cert show: what it says of all kinds of certificates, files and servers, hostile ones included. No agent, no
# kernel TLS.
# shellcheck disable=SC2317 # functions are called by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
cd "$dir" || bail_out "$dir"

# ---- certificates ----

make_key() {
	openssl genpkey -out "$1.key" -algorithm "$2" ${3:+-pkeyopt "$3"} 2>/dev/null || bail_out "a key $*"
}
make_key ec EC ec_paramgen_curve:P-256

# issue NAME ISSUER SUBJECT [OPTION...] <EXTENSIONS: NAME.pem, signed by ISSUER, or by itself if that is -. All have the key
# of $key (ec if it is empty); all issuers have ec.
key=''
issue() {
	issue_name=$1 issue_issuer=$2 issue_subject=$3
	shift 3
	cat >extensions
	case $* in *-not_after*) ;; *) set -- "$@" -days 100 ;; esac
	if [ "$issue_issuer" = - ]; then
		set -- -key "${key:-ec}.key" "$@"
	else
		set -- -force_pubkey "${key:-ec}.key" -CA "$issue_issuer.pem" -CAkey ec.key "$@"
	fi
	openssl x509 -new -subj "$issue_subject" -extfile extensions -out "$issue_name.pem" "$@" 2>issue.log ||
		bail_out "a certificate: $issue_name: $(cat issue.log)"
}

# at WORDS: a time as openssl wants it, such as "3 days ago"
at() {
	date -u -d "$1" +%Y%m%d%H%M%SZ
}

authority() {
	echo "basicConstraints = critical, CA:true${1:+, pathlen:$1}"
	echo "keyUsage = critical, keyCertSign, cRLSign"
}

show() {
	timeout 20 ktlsctl cert show "$@"
}

# fact NAME FILTER: of the only certificate in NAME.pem
fact() {
	show --json "$1.pem" >fact.json
	check "$1: $2" jq -e ".certificates[0] | $2" fact.json
}

authority >ca.ext
issue root - "/CN=root" <ca.ext
issue inter root "/CN=inter" <<END
$(authority 3)
END
issue leaf inter "/C=NL/O=Maker/CN=leaf.example" -set_serial 0x00DEAD01 <<END
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature, keyAgreement
extendedKeyUsage = serverAuth, clientAuth, anyExtendedKeyUsage, 1.2.3.4.5
subjectAltName = DNS:leaf.example, DNS:*.leaf.example, IP:192.0.2.1, IP:2001:db8::1, URI:spiffe://example/leaf, email:leaf@example, RID:1.2.3
certificatePolicies = 2.23.140.1.2.1, 1.3.6.1.4.1.99999.1
crlDistributionPoints = URI:http://crl.example/inter.crl
authorityInfoAccess = OCSP;URI:http://ocsp.example/, caIssuers;URI:http://ca.example/inter.der
tlsfeature = status_request
END
says "issued to, by, serial" "issued to +CN=leaf.example,O=Maker,C=NL$" "issued by +CN=inter$" "serial +DEAD01$" -- show leaf.pem
says "validity" "valid until .* UTC \(99 d 23 h left\)$|valid until .* UTC \(100 d 0 h left\)$" "valid from .* UTC$" -- show leaf.pem
says "names" "names +DNS:leaf.example$" " DNS:\*.leaf.example$" " IP:192.0.2.1$" " IP:2001:db8::1$" " URI:spiffe://example/leaf$" \
	" email:leaf@example$" " registered id:1.2.3$" -- show leaf.pem
says "key and signature" "key +EC P-256, 256 bits$" "signature +ecdsa-with-SHA256$" -- show leaf.pem
says "usage" "key usage +digitalSignature, keyAgreement$" "purposes +TLS server \(1.3.6.1.5.5.7.3.1\)$" \
	" TLS client \(1.3.6.1.5.5.7.3.2\)$" " any purpose \(2.5.29.37.0\)$" " +1.2.3.4.5$" "CA +no$" -- show leaf.pem
says "addresses" "policies +2.23.140.1.2.1$" "^ +1.3.6.1.4.1.99999.1$" "must-staple +yes$" "CRL +http://crl.example/inter.crl$" \
	"OCSP +http://ocsp.example/$" "issuer's address +http://ca.example/inter.der$" -- show leaf.pem
says "an authority" "CA +yes, path length 3$" "purposes +no extendedKeyUsage$" "names +no subjectAltName$" \
	"key usage +keyCertSign, cRLSign$" -- show inter.pem
sha256=$(openssl x509 -in leaf.pem -outform DER | sha256sum | cut -d ' ' -f 1)
key_sha256=$(openssl x509 -in leaf.pem -pubkey -noout | openssl pkey -pubin -outform DER | sha256sum | cut -d ' ' -f 1)
says "fingerprints" "fingerprint +sha256:$sha256$" "key fingerprint +key-sha256:$key_sha256$" -- show leaf.pem
fact leaf ".sha256 == \"sha256:$sha256\" and .key_sha256 == \"key-sha256:$key_sha256\""
fact leaf '.serial == "DEAD01" and .validity == "valid" and .must_staple and (.ca | not)'
fact leaf '.names | length == 7'
fact leaf '.purposes | map(.oid) == ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2", "2.5.29.37.0", "1.2.3.4.5"]'
fact leaf '.key == {"algorithm": "EC", "curve": "P-256", "bits": 256}'
fact leaf '(.not_after | fromdate) - (.not_before | fromdate) == 100 * 86400'
fact inter '.ca and .path_length == 3 and .purposes == null'

# Dates
issue past root "/CN=past" -not_before "$(at '10 days ago')" -not_after "$(at '3 days ago')" </dev/null
issue future root "/CN=future" -not_before "$(at '1 hour 59 minutes 30 seconds')" -not_after "$(at '5 days')" </dev/null
issue old root "/CN=old" -not_before 19600101000000Z -not_after 20990101000000Z </dev/null
says "expired" "valid until .*\(expired 3 d 0 h ago\)$" -- show past.pem
says "not yet valid" "not valid before .*\(in 1 h 59 min\)$" "valid until .*left\)$" -- show future.pem
openssl x509 -in old.pem -outform DER | LC_ALL=C sed 's/20990101000000Z/19500101000000Z/' >never.der
openssl x509 -in old.pem -outform DER | LC_ALL=C sed 's/20990101000000Z/20990101999999Z/' >sometime.der
says "never valid" "FAULTS +validity ends before it begins" -- show never.der
says "a time that is none" "FAULTS +validity is damaged" "valid until +-$" -- show sometime.der
says "old" "valid from +1960-01-01 00:00:00 UTC" "valid until +2099-01-01 00:00:00 UTC" -- show old.pem
fact past '.validity == "expired" and .time_left_s < -3 * 86400 + 10'
fact future '.validity == "not yet valid" and .begins_in_s > 7000'

# Keys and signatures: name, algorithm and option; what is said.
while read -r kind algorithm option said <&3; do
	make_key "$kind" "$algorithm" "$option"
	key=$kind
	issue "$kind" root "/CN=$kind" </dev/null
	says "a key: $kind" "key +$said$" -- show "$kind.pem"
done 3<<END
rsa  RSA rsa_keygen_bits:1024        RSA, 1024 bits
p384 EC  ec_paramgen_curve:P-384     EC P-384, 384 bits
k256 EC  ec_paramgen_curve:secp256k1 EC secp256k1, 256 bits
END
for kind in ED25519 ML-DSA-65; do
	if openssl genpkey -algorithm $kind -out $kind.key 2>/dev/null; then
		key=$kind
		issue $kind - "/CN=$kind" </dev/null
		says "a key and a signature: $kind" "key +$kind, [0-9]+ bits$" "signature +$kind$" "\(1, self-signed\)$" -- show $kind.pem
	fi
done
key=rsa
issue pss - "/CN=pss" -sigopt rsa_padding_mode:pss -sha384 </dev/null
issue sha1 - "/CN=sha1" -sha1 </dev/null
key=''
says "a signature: RSASSA-PSS" "signature +rsassaPss with SHA384$" -- show pss.pem
says "a signature: SHA-1" "signature +sha1WithRSAEncryption$" -- show sha1.pem

# Constraints, extensions
issue constrained root "/CN=constrained" <<END
$(authority)
nameConstraints = critical, permitted;DNS:example, permitted;IP:10.0.0.0/255.0.0.0, excluded;email:bad.example
1.2.3.4 = critical, ASN1:NULL
1.2.3.5 = ASN1:NULL
END
says "name constraints" "permitted names +DNS:example$" "^ +IP:10.0.0.0/255.0.0.0$" "excluded names +email:bad.example$" -- show constrained.pem
fact constrained '.unknown_critical == ["1.2.3.4"]'
says "unknown critical extensions" "unknown critical +1.2.3.4$" -- show constrained.pem
issue odd root "/" <<END
subjectAltName = otherName:1.2.3.4;UTF8:who, dirName:directory
subjectKeyIdentifier = none
[directory]
CN = who
END
says "names of other kinds, and none" "issued to +\(an empty name\)$" "names +other name:1.2.3.4$" "directory name:CN=who$" \
	"CA +no, without basicConstraints$" "key usage +no keyUsage$" -- show odd.pem
issue broken root "/CN=broken" <<END
subjectAltName = DER:30:03:82:09:61
extendedKeyUsage = DER:05:00
keyUsage = DER:ff
END
says "extensions that can't be read" "FAULTS +subjectAltName is damaged" "keyUsage is damaged" "extendedKeyUsage is damaged" -- show broken.pem

# ---- files ----

cat leaf.pem inter.pem root.pem >chain.pem
cat leaf.pem root.pem inter.pem >disorder.pem
cat leaf.pem leaf.pem inter.pem >twice.pem
cat leaf.pem ec.key inter.pem >keyed.pem
openssl req -new -key ec.key -subj /CN=request -out request.pem 2>/dev/null
openssl x509 -in leaf.pem -outform DER -out leaf.der
openssl x509 -in inter.pem -outform DER | cat leaf.der - >two.der
openssl crl2pkcs7 -nocrl -certfile chain.pem -out chain.p7b
openssl crl2pkcs7 -nocrl -certfile chain.pem -outform DER -out chain.p7c
openssl pkcs12 -export -in leaf.pem -inkey ec.key -passout pass:x -out leaf.p12
openssl pkey -in ec.key -outform DER -out ec.der
openssl pkey -in ec.key -aes256 -passout pass:x -out locked.key
openssl x509 -in leaf.pem -addtrust serverAuth -trustout -out trusted.pem

tree_of() {
	show --json "$1" | jq -c '[.tree[] | [.depth, .name, .certificate, .self_signed]]'
}

# same_tree NAME FILE JSON
same_tree() {
	tree_of "$2" >tree
	printf '%s\n' "$3" >expected
	check "$1" diff expected tree
}
whole='[[0,"CN=root",3,true],[1,"CN=inter",2,false],[2,"CN=leaf.example,O=Maker,C=NL",1,false]]'
says "a tree" "^  CN=root \(3, self-signed\)$" "^    CN=inter \(2\)$" "^      CN=leaf.example,O=Maker,C=NL \(1\)$" -- show chain.pem
same_tree "PEM" chain.pem "$whole"
same_tree "PKCS#7" chain.p7b "$whole"
same_tree "PKCS#7 in DER" chain.p7c "$whole"
same_tree "DER" two.der '[[0,"CN=root",null,null],[1,"CN=inter",2,false],[2,"CN=leaf.example,O=Maker,C=NL",1,false]]'
check "standard input is the same" sh -c 'ktlsctl cert show - <chain.pem | tail -n +2 >a; ktlsctl cert show chain.pem | tail -n +2 >b; cmp a b && test -s a'
same_tree "PEM with trust settings" trusted.pem '[[0,"CN=inter",null,null],[1,"CN=leaf.example,O=Maker,C=NL",1,false]]'
says "an issuer that was not given" "^  CN=inter \(not given" "^    CN=leaf.example,O=Maker,C=NL \(1\)$" -- show leaf.pem
same_tree "disorder" disorder.pem '[[0,"CN=root",2,true],[1,"CN=inter",3,false],[2,"CN=leaf.example,O=Maker,C=NL",1,false]]'
says "disorder is said" "order is wrong .*certificate 2, the issuer, stands before certificate 3" -- show disorder.pem
says "duplicates are said" "certificate 2 is the same as certificate 1" -- show twice.pem
same_tree "and are in the tree once" twice.pem '[[0,"CN=root",null,null],[1,"CN=inter",3,false],[2,"CN=leaf.example,O=Maker,C=NL",1,false]]'
check "an orderly chain has no remarks" jq -e '.remarks == []' <<END
$(show --json chain.pem)
END

# Somebody else with the issuer's name; authorities that issued each other.
make_key other EC ec_paramgen_curve:P-256
key=other
issue impostor - "/CN=inter" <<END
$(authority)
authorityKeyIdentifier = none
subjectKeyIdentifier = none
END
key=''
issue plain inter "/CN=plain" <<END
authorityKeyIdentifier = none
END
cat plain.pem impostor.pem >impostors.pem
says "a namesake is no issuer" "certificate 2 has the name of certificate 1's issuer, but is not it: its key did not make the signature" \
	"^  CN=inter \(not given" -- show impostors.pem
issue circle_a - "/CN=a" <ca.ext
issue circle_b circle_a "/CN=b" <ca.ext
issue circle_a circle_b "/CN=a" <ca.ext
cat circle_a.pem circle_b.pem >circle.pem
same_tree "a circle" circle.pem '[[0,"CN=a",null,null],[1,"CN=b",2,false],[2,"CN=a",1,false]]'

# What else is in files.
says "a key is passed over" "passed over: PRIVATE KEY \(behind 1 certificates\)" "certificate 2 of 2" -- show keyed.pem
check "and not shown" sh -c "! grep -aF \"\$(sed -n 2p ec.key)\" said"
says "a key alone" "ec.key holds no certificate, but something else" "expected PEM" -- show ec.key
says "a key in DER" "ec.der holds no certificate, but something else" -- show ec.der
says "a locked key" "locked.key holds no certificate, but something else" -- show locked.key
says "a request" "request.pem holds no certificate, but something else" -- show request.pem
says "PKCS#12" "leaf.p12 is a PKCS#12 file; show it with: openssl pkcs12" -- show leaf.p12
: >empty
says "nothing" "empty holds no certificate; expected PEM" -- show empty
says "text" "extensions holds no certificate; expected PEM" -- show extensions
says "no file" "nix.pem can't be opened: No such file or directory; is the path right\?" -- show nix.pem
says "a directory" "can't be read: Is a directory; name a file in it" -- show .
head -c 17000000 /dev/zero >huge
says "a huge file" "huge is longer than 16 MiB" -- show huge
refused "all of these fail" show ec.key

# damaged NUMBER FILE
damaged() {
	says "damaged: $2" "^ktlsctl: $2: certificate $1.* is damaged \(.*\); expected" -- show "$2"
	refused "damaged: $2: the status" show "$2"
}
pem_of() {
	echo "-----BEGIN CERTIFICATE-----"
	base64
	echo "-----END CERTIFICATE-----"
}
{ cat leaf.pem; head -c 100 leaf.der | pem_of; cat inter.pem; } >short.pem
{ cat leaf.pem inter.pem; { cat leaf.der; echo more; } | pem_of; } >long.pem
{ cat leaf.pem; sed 's/^MI/!!/' inter.pem; } >base64.pem
{ cat leaf.pem; head -n 4 inter.pem; } >cut.pem
{ head -c 100 chain.p7c | sed 's/^/x/' | pem_of; } >no.pem
head -c 300 leaf.der >short.der
{ cat leaf.der; head -c 100 leaf.der; } >second.der
damaged 2 short.pem
damaged 3 long.pem
damaged 2 base64.pem
damaged 2 cut.pem
damaged 1 no.pem
damaged 1 short.der
damaged 2 second.der

# ---- hostile certificates ----

# harmless NAME FILE [OPTION...]: nothing but printable ASCII and ends of lines, in both forms
harmless() {
	harmless_name=$1
	shift
	show "$@" >harmless.text 2>&1 && show --json "$@" >harmless.json 2>&1
	check "$harmless_name: it is shown" [ $? = 0 ]
	check "$harmless_name: as plain text" sh -c '! LC_ALL=C grep -an "[^ -~]" harmless.text harmless.json'
	check "$harmless_name: and JSON" jq -e .certificates harmless.json
}

escape=$(printf '\033') bell=$(printf '\007') csi=$(printf '\233') delete=$(printf '\177')
issue terminal - "/CN=${escape}]0;mine${bell}${escape}[2J\\\\back/O=${delete}del" </dev/null
harmless "escapes in a name" terminal.pem
says "and they can be read" "issued to +O=.7Fdel,CN=.1B\]0\\\\;mine.07.1B\[2J.*back$" -- show terminal.pem
issue unicode - "/CN=M$(printf '\303\274')ller $(printf '\342\200\256')gpj.exe" -nameopt utf8 </dev/null
harmless "letters and their direction" unicode.pem

# der_string TAG TEXT: of less than 128 bytes
der_string() {
	printf '%s:%02x%s' "$1" "$(printf %s "$2" | wc -c)" "$(printf %s "$2" | od -An -v -tx1 | tr -d '\n' | tr ' ' :)"
}
# sequence BODY: of less than 128 bytes
sequence() {
	printf '30:%02x:%s' $(($(printf %s "$1" | tr -d : | wc -c) / 2)) "$1"
}
names=$(der_string 82 "${csi}2Jx${escape}c")
issue names root "/CN=names" <<END
subjectAltName = DER:$(sequence "$names:82:09:61:2e:65:78:00:2e:62:61:64:$(der_string 86 'http://x\1B
new line'):87:03:01:02:03")
crlDistributionPoints = DER:$(sequence "$(sequence "a0:$(printf %02x $((2 + 9))):a0:09:$(der_string 86 "u${escape}[1m:/")")")
END
harmless "bytes in names" names.pem
says "and they can be read" 'DNS:\\9B2Jx\\1Bc$' 'DNS:a.ex\\00.bad$' 'URI:http://x\\\\1B\\0Anew line$' 'IP:\(damaged\)$' 'CRL +u\\1B\[1m:/' -- show names.pem
{ echo "-----BEGIN ${escape}[31mRED-----"; echo AAAA; echo "-----END ${escape}[31mRED-----"; cat leaf.pem; } >label.pem
harmless "a PEM label" label.pem

# A megabyte of names
{
	printf 'subjectAltName = @names\n[names]\n'
	seq 25000 | sed 's/.*/DNS.& = host-&.with-quite-a-long-name.example/'
} >many.ext
issue many root "/CN=many" <many.ext
check "it is a megabyte" [ "$(openssl x509 -in many.pem -outform DER | wc -c)" -gt 1000000 ]
says "many names are cut" "DNS:host-20.with" "\.\.\. and 24980 more \(--all shows all\)" -- show many.pem
check "to few lines" [ "$(wc -l <said)" -lt 60 ]
says "and shown all" "DNS:host-24999.with" -- show --all many.pem
fact many '.names | length == 25000'
issue long root "/CN=$(printf '%060d' 0)/OU=$(printf '%060d' 1)/OU=$(printf '%060d' 2)/OU=$(printf '%060d' 3)/OU=$(printf '%060d' 4)" </dev/null
says "a long name is cut" "issued to .*\.\.\. and [0-9]+ more characters$" -- show long.pem
says "and shown whole" "issued to .*CN=0{60}$" -- show --all long.pem

# A hundred below each other
cp root.pem level-0.pem
cp root.pem deep.pem
for level in $(seq 100); do
	issue "level-$level" "level-$((level - 1))" "/CN=level $level" <ca.ext
	cat "level-$level.pem" deep.pem >deeper.pem
	mv deeper.pem deep.pem
done
says "100 levels" "^  CN=root \(101, self-signed\)$" "\(level 101\) CN=level 100 \(1\)$" "certificate 101 of 101" -- show deep.pem
check "all of them" [ "$(show --json deep.pem | jq '[.tree[].depth] | max')" = 100 ]
check "in order" [ "$(show --json deep.pem | jq -c .remarks)" = "[]" ]
for _ in $(seq 20); do cat deep.pem; done >too-many.pem
says "too many" "too-many.pem holds more than 2000 certificates" -- show too-many.pem

# One byte of each is another: whatever comes of it, it is an answer.
cat >mutate.py <<'END'
import random, subprocess, sys
random.seed(7)
good = open("constrained.der", "rb").read(), open("leaf.der", "rb").read(), open("chain.p7c", "rb").read()
for i in range(int(sys.argv[1])):
    bad = bytearray(good[i % 3])
    for _ in range(random.choice((1, 1, 2, 8))):
        bad[random.randrange(len(bad))] = random.choice((0, 1, 0x7f, 0x80, 0xff, random.randrange(256)))
    run = subprocess.run(["ktlsctl", "cert", "show", "-"], input=bytes(bad), capture_output=True, timeout=20)
    text = run.stdout + run.stderr
    if run.returncode not in (0, 1) or any(c != 10 and not 32 <= c <= 126 for c in text) or not text:
        open("bad.der", "wb").write(bad)
        sys.exit(f"round {i}: status {run.returncode}: {text[-2000:]!r}: {bad.hex()}")
END
openssl x509 -in constrained.pem -outform DER -out constrained.der
check "mutated certificates" timeout 40 python3 mutate.py 100

# ---- servers ----

# serve_tls OPTION...: on $port, ending with the script
serve_tls() {
	next_port
	in_background server.log openssl s_server -accept "$port" -key ec.key -quiet "$@"
	server=$!
	wait_for 10 listens_on "$port" || bail_out "s_server: $(cat server.log)"
}

# serve_raw COMMAND: what a connection on $port gets
serve_raw() {
	next_port
	in_background raw.log socat "TCP-LISTEN:$port,reuseaddr,fork" "SYSTEM:$1"
	server=$!
	wait_for 10 listens_on "$port" || bail_out "socat: $(cat raw.log)"
}

cat inter.pem root.pem >above.pem
serve_tls -cert leaf.pem -cert_chain above.pem -tls1_3
says "a server" "server localhost port $port \((127.0.0.1|::1)\); nothing is verified" "asked for +localhost$" "version +TLS 1.3$" \
	"cipher +TLS_AES_256_GCM_SHA384$" "staple +none given$" "certificate 1 of 3" "CN=root \(3, self-signed\)" -- show "localhost:$port"
says "by address" "asked for +no name" "issued to +CN=leaf.example" -- show "127.0.0.1:$port"
says "by URL" "asked for +localhost$" "issued to +CN=leaf.example" -- show "https://localhost:$port/path?query"
says "as JSON" '"staple":null' '"version":"TLS 1.3"' '"address":"127.0.0.1"' -- show --json "127.0.0.1:$port"
end "$server"
serve_tls -cert leaf.pem -cert_chain inter.pem -tls1_2 -6
says "an IPv6 address" "server ::1 port $port \(::1\)" "version +TLS 1.2$" "cipher +TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384$" \
	"CN=root \(not given" -- show "[::1]:$port"
end "$server"
serve_tls -cert leaf.pem -cert2 inter.pem -key2 ec.key -servername inter.example
says "another name" "asked for +inter.example$" "issued to +CN=inter$" -- show --servername inter.example "127.0.0.1:$port"
says "and no name" "issued to +CN=leaf.example" -- show "127.0.0.1:$port"
end "$server"
serve_tls -cert leaf.pem -tls1 -cipher ALL@SECLEVEL=0
says "a server of old" "version +TLSv1$" "issued to +CN=leaf.example" -- show "localhost:$port"
end "$server"
serve_tls -cert leaf.pem -tls1_2 -Verify 1 -verify_return_error -CAfile root.pem
says "a server that wants a certificate" "issued to +CN=leaf.example" "the handshake failed behind the certificates: .*handshake failure" -- \
	show "localhost:$port"
end "$server"
serve_tls -cert many.pem -cert_chain inter.pem
says "a server with a megabyte" "issued to +CN=many$" "and 24980 more" -- show "localhost:$port"
end "$server"

# Staples: the responder is the intermediate itself.
# staple NAME STATUS [OPTION...]: STATUS as in openssl's index: V or R and a time
staple() {
	staple_name=$1 staple_status=$2
	shift 2
	case $staple_status in
	V) staple_revoked='' ;;
	R) staple_revoked="$(date -u -d '2 days ago' +%y%m%d%H%M%SZ),keyCompromise" ;;
	esac
	printf '%s\t%s\t%s\tDEAD01\tunknown\t/CN=leaf.example\n' "$staple_status" 491231235959Z "$staple_revoked" >index
	: >index.attr
	openssl ocsp -issuer inter.pem -cert leaf.pem -no_nonce -reqout "$staple_name.request" >ocsp.log 2>&1
	openssl ocsp -index index -rsigner inter.pem -rkey ec.key -CA inter.pem -reqin "$staple_name.request" \
		-respout "$staple_name.staple" "$@" >>ocsp.log 2>&1
	[ -s "$staple_name.staple" ] || bail_out "no OCSP response: $(cat ocsp.log)"
}

# stapled FILE PATTERN...
stapled() {
	stapled_file=$1
	shift
	serve_tls -cert leaf.pem -cert_chain inter.pem -status_file "$stapled_file"
	says "a staple: $stapled_file" "$@" -- show "localhost:$port"
	end "$server"
}
staple good V -ndays 2
staple revoked R -nmin 90
staple endless V
printf '\060\030\012\001\000\240\023\060\021\006\011\053\006\001\005\005\007\060\001\001\004\004junk' >nonsense.staple
printf '\060\003\012\001\003' >later.staple
stapled good.staple "staple +good$" "  about +certificate 1$" "  serial +DEAD01$" "this update +2.* UTC$" \
	"next update +2.* UTC \((1 d 23 h|2 d 0 h) left\)$"
stapled revoked.staple "staple +revoked$" "revoked +2.* UTC, keyCompromise$" "next update +2.* UTC \(1 h (29|30) min left\)$"
stapled endless.staple "staple +good$" "next update +-$"
stapled nonsense.staple "staple +damaged$" "issued to +CN=leaf.example"
stapled later.staple "staple +trylater$"
serve_tls -cert plain.pem -cert_chain inter.pem -status_file good.staple
says "a staple for another" "  about +another certificate$" -- show "localhost:$port"
check "as JSON" jq -e '.connection.staple.answers[0] | .status == "good" and (.about_certificate_1 | not) and .serial == "DEAD01"' <<END
$(show --json "localhost:$port")
END
end "$server"

# Where no certificate comes from.
next_port
says "nobody there" "can't connect to localhost port $port: Connection refused; nobody listens there" -- show "localhost:$port"
says "an unknown host" "nobody.invalid port 443 can't be looked up: .*; is it written right\?" -- show nobody.invalid:443
serve_raw "echo SSH-2.0-server; sleep 10"
says "a server without TLS" "no certificate came: it does not answer in TLS .*is the port right" -- show "localhost:$port"
end "$server"
serve_raw "head -c 1"
says "a server that hangs up" "no certificate came: .*(closed the connection|reset)" -- show "localhost:$port"
end "$server"

# within_time NAME PATTERN -- COMMAND...
within_time() {
	within_began=$(date +%s)
	says "$@"
	check "$1: after five seconds" [ $(($(date +%s) - within_began)) -le 8 ]
}
serve_raw "sleep 20"
within_time "a silent server" "no certificate came: no answer in time" -- show "localhost:$port"
end "$server"
in_background dns.log socat UDP-RECV:53,bind=127.0.0.77 -
echo "nameserver 127.0.0.77" >resolv.conf
within_time "a silent name server" "www.example port 443 can't be looked up: (no name server answers|Temporary failure)" -- \
	unshare -m sh -c 'mount --bind resolv.conf /etc/resolv.conf && exec timeout 20 ktlsctl cert show www.example:443'

# ---- the command ----

says "--help" "^usage: ktlsctl cert show" -- show --help
says "subcommands" "^usage: ktlsctl cert COMMAND" "^  show" -- ktlsctl cert --help
usage_error() {
	timeout 10 ktlsctl cert "$@" >check 2>&1
	check "usage: $*" [ $? = 2 ]
}
usage_error
usage_error dance
usage_error show
usage_error show leaf.pem inter.pem
usage_error show --dance leaf.pem
usage_error show --servername x leaf.pem
usage_error show https://
finish
