// SPDX-License-Identifier: MIT
/*
 * own_flight ROUNDS: what is to be had below OpenSSL's own handshake, from two prototypes that serve nobody; a line for each round:
 *
 * floor: microseconds of CPU for the server's side of a full handshake in OpenSSL, in memory.
 *
 * flight: every cryptographic operation of a TLS 1.3 server's full handshake (X25519, P-256, AES-128-GCM, two tickets),
 * called on libcrypto's primitives with all that can be prepared prepared, and nothing else: no parsing, no state machine. An
 * own implementation of the server's side would lie between this and the floor, which is OpenSSL's in memory.
 *
 * one, eight: nanoseconds for a key agreement with X25519, one at a time in OpenSSL, and eight at a time with the 52-bit
 * multiplications of AVX-512 (IFMA), checked against it; 0 on a processor that has not got them.
 */
#include <err.h>
#include <immintrin.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HANDSHAKES 200 /* in a round */
#define LANES 8

static void must(int good, const char *what)
{
	if (good <= 0)
		errx(1, "%s", what);
}

static double cpu_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

/* ---- the floor ---- */

static SSL_CTX *server_context, *client_context;
static EVP_PKEY *certificate_key;

static SSL *speaker(SSL_CTX *context, BIO *in, BIO *out)
{
	SSL *ssl = SSL_new(context);

	must(ssl != NULL && in && out, "SSL_new");
	SSL_set_bio(ssl, in, out);
	return ssl;
}

static BIO *pipe_end(void)
{
	BIO *bio = BIO_new(BIO_s_mem());

	BIO_set_mem_eof_return(bio, -1);
	return bio;
}

static void one_floor(double *spent)
{
	BIO *to_server = pipe_end(), *to_client = pipe_end();
	SSL *client = speaker(client_context, to_client, to_server), *server;
	double began;

	SSL_set_connect_state(client);
	SSL_do_handshake(client);
	began = cpu_us();
	BIO_up_ref(to_server);
	BIO_up_ref(to_client);
	server = speaker(server_context, to_server, to_client);
	SSL_set_accept_state(server);
	SSL_do_handshake(server);
	*spent += cpu_us() - began;
	must(SSL_do_handshake(client), "the client's side");
	began = cpu_us();
	must(SSL_do_handshake(server), "the server's side");
	SSL_free(server);
	*spent += cpu_us() - began;
	SSL_free(client);
}

static void prepare_floor(void)
{
	X509 *certificate = X509_new();
	SSL_CTX **contexts[] = {&server_context, &client_context};
	size_t i;

	certificate_key = EVP_EC_gen("P-256");
	X509_set_version(certificate, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC, (unsigned char *)"localhost",
				   -1, -1, 0);
	X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
	X509_set_pubkey(certificate, certificate_key);
	must(X509_sign(certificate, certificate_key, EVP_sha256()), "X509_sign");
	for (i = 0; i < 2; i++) {
		SSL_CTX *context = *contexts[i] = SSL_CTX_new(TLS_method());

		must(SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION), "TLS 1.3");
		must(SSL_CTX_set1_groups_list(context, "X25519"), "X25519");
		must(SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256"), "AES-128-GCM");
		SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	}
	must(SSL_CTX_use_certificate(server_context, certificate), "the certificate");
	must(SSL_CTX_use_PrivateKey(server_context, certificate_key), "its key");
	SSL_CTX_set_session_id_context(server_context, (const unsigned char *)"floor", 5);
	X509_free(certificate);
}

/* ---- an own flight ---- */

#define TRANSCRIPT 1100 /* bytes of the messages up to the server's Finished, with a certificate of 500 */
#define FLIGHT 800	/* of them, under the handshake keys */
#define TICKET 200	/* what a ticket holds */

static EVP_PKEY *peer_key;
static EVP_PKEY_CTX *generator, *signer;
static EVP_MD_CTX *hash;
static EVP_MAC_CTX *hmac;
static EVP_CIPHER_CTX *sealer;
static uint8_t secret[48], traffic[FLIGHT + 16];

static void prepare_flight(void)
{
	OSSL_PARAM digest[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
			       OSSL_PARAM_construct_end()};
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);

	peer_key = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
	generator = EVP_PKEY_CTX_new_from_name(NULL, "X25519", NULL);
	signer = EVP_PKEY_CTX_new(certificate_key, NULL);
	hash = EVP_MD_CTX_new();
	hmac = EVP_MAC_CTX_new(mac);
	sealer = EVP_CIPHER_CTX_new();
	must(peer_key && generator && signer && hash && hmac && sealer, "preparation");
	must(EVP_PKEY_keygen_init(generator), "X25519");
	must(EVP_PKEY_sign_init(signer), "ECDSA");
	must(EVP_MAC_CTX_set_params(hmac, digest), "HMAC");
	must(EVP_DigestInit_ex2(hash, EVP_MD_fetch(NULL, "SHA256", NULL), NULL), "SHA-256");
	must(EVP_EncryptInit_ex2(sealer, EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL), secret, secret, NULL), "AES-GCM");
}

static void exchange_keys(void)
{
	EVP_PKEY *own = NULL;
	EVP_PKEY_CTX *context;
	size_t length = 32;

	must(EVP_PKEY_generate(generator, &own), "keygen");
	context = EVP_PKEY_CTX_new(own, NULL);
	must(EVP_PKEY_derive_init(context) && EVP_PKEY_derive_set_peer_ex(context, peer_key, 0) &&
		     EVP_PKEY_derive(context, secret, &length),
	     "derive");
	EVP_PKEY_CTX_free(context);
	EVP_PKEY_free(own);
}

/* Extract or expand: an HMAC under a key of its own over a short text. */
static void schedule(unsigned int count)
{
	size_t length;

	while (count-- > 0)
		must(EVP_MAC_init(hmac, secret, 32, NULL) && EVP_MAC_update(hmac, traffic, 50) &&
			     EVP_MAC_final(hmac, secret, &length, sizeof(secret)),
		     "HMAC");
}

static void digest(size_t length, unsigned int looks)
{
	uint8_t value[32];
	EVP_MD_CTX *copy = EVP_MD_CTX_new();

	must(EVP_DigestInit_ex2(hash, NULL, NULL) && EVP_DigestUpdate(hash, traffic, length % sizeof(traffic)) &&
		     EVP_DigestUpdate(hash, traffic, length > sizeof(traffic) ? sizeof(traffic) : 0),
	     "SHA-256");
	while (looks-- > 0)
		must(EVP_MD_CTX_copy_ex(copy, hash) && EVP_DigestFinal_ex(copy, value, NULL), "SHA-256");
	EVP_MD_CTX_free(copy);
}

static void seal(int length)
{
	uint8_t tag[16];
	int done;

	must(EVP_EncryptInit_ex2(sealer, NULL, secret, secret, NULL) &&
		     EVP_EncryptUpdate(sealer, traffic, &done, traffic, length) &&
		     EVP_EncryptFinal_ex(sealer, traffic + done, &done) &&
		     EVP_CIPHER_CTX_ctrl(sealer, EVP_CTRL_AEAD_GET_TAG, sizeof(tag), tag),
	     "AES-GCM");
}

static void one_flight(void)
{
	uint8_t signature[80], numbers[64];
	size_t length = sizeof(signature);

	must(RAND_bytes(numbers, sizeof(numbers)), "random numbers");
	exchange_keys();
	digest(TRANSCRIPT, 6);
	schedule(2 + 2 + 4 + 2 + 2 +
		 2); /* handshake secret, traffic secrets, keys, Finished keys, Finished both, next */
	must(EVP_PKEY_sign(signer, signature, &length, secret, 32), "ECDSA");
	seal(FLIGHT);
	seal(36);		     /* the client's Finished; opening costs as much */
	schedule(1 + 2 + 4 + 1 + 2); /* master secret, traffic secrets, keys, resumption secret, one for each ticket */
	seal(TICKET), seal(TICKET);  /* what is in the tickets */
	seal(TICKET + 40), seal(TICKET + 40); /* and their records */
}

/* ---- X25519, eight at a time ---- */

#define VECTOR __attribute__((target("avx512f,avx512ifma")))
#define MASK51 ((1ULL << 51) - 1)

/* Five limbs of 51 bits, of eight numbers. */
typedef struct {
	__m512i limb[5];
} field;

static VECTOR inline __m512i all(uint64_t value)
{
	return _mm512_set1_epi64((long long)value);
}

static VECTOR inline __m512i times19(__m512i value)
{
	return _mm512_add_epi64(_mm512_add_epi64(_mm512_slli_epi64(value, 4), _mm512_slli_epi64(value, 1)), value);
}

static VECTOR inline field carried(field a)
{
	int i;

#pragma GCC unroll 10
	for (i = 0; i < 4; i++) {
		a.limb[i + 1] = _mm512_add_epi64(a.limb[i + 1], _mm512_srli_epi64(a.limb[i], 51));
		a.limb[i] = _mm512_and_epi64(a.limb[i], all(MASK51));
	}
	a.limb[0] = _mm512_add_epi64(a.limb[0], times19(_mm512_srli_epi64(a.limb[4], 51)));
	a.limb[4] = _mm512_and_epi64(a.limb[4], all(MASK51));
	a.limb[1] = _mm512_add_epi64(a.limb[1], _mm512_srli_epi64(a.limb[0], 51));
	a.limb[0] = _mm512_and_epi64(a.limb[0], all(MASK51));
	return a;
}

static VECTOR inline field plus(field a, field b)
{
	int i;

#pragma GCC unroll 10
	for (i = 0; i < 5; i++)
		a.limb[i] = _mm512_add_epi64(a.limb[i], b.limb[i]);
	return carried(a);
}

static VECTOR inline field minus(field a, field b)
{
	const uint64_t twice_p[5] = {2 * (MASK51 - 18), 2 * MASK51, 2 * MASK51, 2 * MASK51, 2 * MASK51};
	int i;

#pragma GCC unroll 10
	for (i = 0; i < 5; i++)
		a.limb[i] = _mm512_sub_epi64(_mm512_add_epi64(a.limb[i], all(2 * twice_p[i])), b.limb[i]);
	return carried(a);
}

/* A product's upper half is worth 2^52: twice a limb. */
static VECTOR inline field folded(const __m512i low[9], const __m512i high[9])
{
	__m512i sum[10];
	field result;
	int i;

#pragma GCC unroll 10
	for (i = 0; i < 10; i++)
		sum[i] = _mm512_add_epi64(i < 9 ? low[i] : all(0), i > 0 ? _mm512_slli_epi64(high[i - 1], 1) : all(0));
#pragma GCC unroll 10
	for (i = 0; i < 5; i++)
		result.limb[i] = _mm512_add_epi64(sum[i], times19(sum[i + 5]));
	return carried(result);
}

static VECTOR inline field times(field a, field b)
{
	__m512i low[9], high[9];
	int i, j;

#pragma GCC unroll 10
	for (i = 0; i < 9; i++)
		low[i] = high[i] = all(0);
#pragma GCC unroll 10
	for (i = 0; i < 5; i++) {
#pragma GCC unroll 10
		for (j = 0; j < 5; j++) {
			low[i + j] = _mm512_madd52lo_epu64(low[i + j], a.limb[i], b.limb[j]);
			high[i + j] = _mm512_madd52hi_epu64(high[i + j], a.limb[i], b.limb[j]);
		}
	}
	return folded(low, high);
}

static VECTOR inline field small_times(field a, uint64_t factor)
{
	__m512i high[5];
	int i;

#pragma GCC unroll 10
	for (i = 0; i < 5; i++) {
		high[i] = _mm512_slli_epi64(_mm512_madd52hi_epu64(all(0), a.limb[i], all(factor)), 1);
		a.limb[i] = _mm512_madd52lo_epu64(all(0), a.limb[i], all(factor));
	}
#pragma GCC unroll 10
	for (i = 0; i < 4; i++)
		a.limb[i + 1] = _mm512_add_epi64(a.limb[i + 1], high[i]);
	a.limb[0] = _mm512_add_epi64(a.limb[0], times19(high[4]));
	return carried(a);
}

static VECTOR field power(field a, int squarings, field b)
{
	while (squarings-- > 0)
		a = times(a, a);
	return times(a, b);
}

/* a^(p-2) */
static VECTOR field inverse(field z)
{
	field z2 = times(z, z), z9 = power(z2, 2, z), z11 = times(z9, z2), z5 = power(z11, 1, z9);
	field z10 = power(z5, 5, z5), z20 = power(z10, 10, z10), z40 = power(z20, 20, z20), z50 = power(z40, 10, z10);
	field z100 = power(z50, 50, z50), z200 = power(z100, 100, z100), z250 = power(z200, 50, z50);

	return power(z250, 5, z11);
}

static VECTOR inline void swap(field *a, field *b, __mmask8 which)
{
	int i;

#pragma GCC unroll 10
	for (i = 0; i < 5; i++) {
		__m512i kept = a->limb[i];

		a->limb[i] = _mm512_mask_blend_epi64(which, a->limb[i], b->limb[i]);
		b->limb[i] = _mm512_mask_blend_epi64(which, b->limb[i], kept);
	}
}

static VECTOR field load(uint8_t numbers[LANES][32])
{
	uint64_t limbs[5][LANES];
	field result;
	int lane, i;

	for (lane = 0; lane < LANES; lane++) {
		uint64_t words[5] = {0};

		memcpy(words, numbers[lane], 32);
		for (i = 0; i < 5; i++) {
			int bit = 51 * i, word = bit / 64, shift = bit % 64;
			uint64_t value = words[word] >> shift;

			if (shift > 13 && word < 4)
				value |= words[word + 1] << (64 - shift);
			limbs[i][lane] = value & MASK51;
		}
	}
	for (i = 0; i < 5; i++)
		result.limb[i] = _mm512_loadu_si512(limbs[i]);
	return result;
}

static VECTOR void store(uint8_t numbers[LANES][32], field a)
{
	uint64_t limbs[5][LANES];
	int lane, i;

	a = carried(carried(a));
	for (i = 0; i < 5; i++)
		_mm512_storeu_si512(limbs[i], a.limb[i]);
	for (lane = 0; lane < LANES; lane++) {
		unsigned __int128 carry = 19; /* to see whether it is p or more */
		uint64_t l[5];

		for (i = 0; i < 5; i++) {
			carry += limbs[i][lane];
			l[i] = limbs[i][lane];
			carry >>= 51;
		}
		carry = 19 * (uint64_t)carry;
		for (i = 0; i < 5; i++) {
			carry += l[i];
			l[i] = (uint64_t)carry & MASK51;
			carry >>= 51;
		}
		uint64_t words[4] = {l[0] | l[1] << 51, l[1] >> 13 | l[2] << 38, l[2] >> 26 | l[3] << 25,
				     l[3] >> 39 | l[4] << 12};
		memcpy(numbers[lane], words, 32);
	}
}

/* RFC 7748 §5, for eight scalars and points. */
static VECTOR void x25519_eight(uint8_t out[LANES][32], uint8_t scalars[LANES][32], uint8_t points[LANES][32])
{
	field one = {{all(1), all(0), all(0), all(0), all(0)}}, zero = {{all(0), all(0), all(0), all(0), all(0)}};
	field x1 = load(points), x2 = one, z2 = zero, x3 = x1, z3 = one;
	__mmask8 swapped = 0;
	int bit, lane;

	for (bit = 254; bit >= 0; bit--) {
		__mmask8 bits = 0;
		field a, b, aa, bb, e, c, d, da, cb;

		for (lane = 0; lane < LANES; lane++) {
			uint8_t byte = scalars[lane][bit / 8];

			if (bit / 8 == 0)
				byte &= 248;
			if (bit / 8 == 31)
				byte = (byte & 127) | 64;
			bits |= (byte >> bit % 8 & 1) << lane;
		}
		swap(&x2, &x3, swapped ^ bits);
		swap(&z2, &z3, swapped ^ bits);
		swapped = bits;
		a = plus(x2, z2), aa = times(a, a), b = minus(x2, z2), bb = times(b, b);
		e = minus(aa, bb), c = plus(x3, z3), d = minus(x3, z3), da = times(d, a), cb = times(c, b);
		x3 = plus(da, cb), x3 = times(x3, x3);
		z3 = minus(da, cb), z3 = times(times(z3, z3), x1);
		x2 = times(aa, bb);
		z2 = times(e, plus(aa, small_times(e, 121665)));
	}
	swap(&x2, &x3, swapped);
	swap(&z2, &z3, swapped);
	store(out, times(x2, inverse(z2)));
}

static double one_at_a_time(uint8_t out[LANES][32], uint8_t scalars[LANES][32], uint8_t points[LANES][32])
{
	double spent = 0, began;
	int lane;

	for (lane = 0; lane < LANES; lane++) {
		EVP_PKEY *own = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, scalars[lane], 32);
		EVP_PKEY *peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, points[lane], 32);
		EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(own, NULL);
		size_t length = 32;

		must(EVP_PKEY_derive_init(context) && EVP_PKEY_derive_set_peer_ex(context, peer, 0), "derive");
		began = cpu_us();
		must(EVP_PKEY_derive(context, out[lane], &length), "derive");
		spent += cpu_us() - began;
		EVP_PKEY_CTX_free(context);
		EVP_PKEY_free(own);
		EVP_PKEY_free(peer);
	}
	return spent;
}

/* ---- rounds ---- */

static void agree(double *one, double *eight)
{
	uint8_t scalars[LANES][32], points[LANES][32], single[LANES][32], batch[LANES][32];
	double began;
	int i;

	for (i = 0; i < HANDSHAKES / LANES; i++) {
		RAND_bytes(scalars[0], sizeof(scalars));
		RAND_bytes(points[0], sizeof(points));
		*one += one_at_a_time(single, scalars, points);
		began = cpu_us();
		x25519_eight(batch, scalars, points);
		*eight += cpu_us() - began;
		if (memcmp(single, batch, sizeof(single)) != 0)
			errx(1, "eight at a time compute something else");
	}
}

int main(int argc, char **argv)
{
	int rounds = argc == 2 ? atoi(argv[1]) : 0, i;

	prepare_floor();
	prepare_flight();
	while (rounds-- > 0) {
		double floor = 0, one = 0, eight = 0, began;

		for (i = 0; i < HANDSHAKES; i++)
			one_floor(&floor);
		began = cpu_us();
		for (i = 0; i < HANDSHAKES; i++)
			one_flight();
		began = cpu_us() - began;
		if (__builtin_cpu_supports("avx512ifma"))
			agree(&one, &eight);
		printf("%.1f %.1f %.0f %.0f\n", floor / HANDSHAKES, began / HANDSHAKES, one * 1000 / HANDSHAKES,
		       eight * 1000 / HANDSHAKES);
	}
	return 0;
}
