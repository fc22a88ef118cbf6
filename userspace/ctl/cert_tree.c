/* SPDX-License-Identifier: MIT */
/* Who issued whom. */
#include <stdlib.h>
#include <json-c/json.h>
#include <openssl/err.h>

#include "cert.h"

#define TRIES 4 /* signatures that are tried for one certificate: who makes a thousand namesakes gets no thousand */
#define NOBODY (-1)

struct place {
	X509 *certificate;
	int issuer;  /* a place, or NOBODY: it was not given */
	int same_as; /* an earlier one, or NOBODY */
	bool self_signed;
};

struct tree {
	struct given *given;
	struct place *places;
	int count;
};

static bool above(const struct tree *tree, int high, int low)
{
	while (low != NOBODY && low != high)
		low = tree->places[low].issuer;
	return low == high;
}

/* NULL if it is, or why not. */
static const char *why_not_issuer(const struct tree *tree, int child, int candidate)
{
	X509 *below = tree->places[child].certificate, *above_it = tree->places[candidate].certificate;
	EVP_PKEY *key = X509_get0_pubkey(above_it);
	int error = X509_check_issued(above_it, below);

	if (error != X509_V_OK)
		return X509_verify_cert_error_string(error);
	if (!key)
		return "its key can't be read";
	if (X509_verify(below, key) != 1)
		return "its key did not make the signature";
	return candidate != child && above(tree, child, candidate) ? "it was itself issued below" : NULL;
}

static void find_issuer(struct tree *tree, int child)
{
	struct place *place = &tree->places[child];
	const X509_NAME *name = X509_get_issuer_name(place->certificate);
	const char *why = NULL;
	int namesake = NOBODY;

	for (int i = 0, tries = 0; i < tree->count && tries < TRIES; i++) {
		int candidate = (child + i) % tree->count;
		const struct place *other = &tree->places[candidate];

		if (other->same_as != NOBODY || X509_NAME_cmp(X509_get_subject_name(other->certificate), name) != 0)
			continue;
		tries++;
		why = why_not_issuer(tree, child, candidate);
		if (!why) {
			place->self_signed = candidate == child;
			place->issuer = candidate == child ? NOBODY : candidate;
			return;
		}
		namesake = candidate;
	}
	if (namesake != NOBODY)
		given_remark(tree->given, "certificate %d has the name of certificate %d's issuer, but is not it: %s",
			     namesake + 1, child + 1, why);
}

static void find_same(struct tree *tree, int later)
{
	for (int i = 0; i < later; i++) {
		if (X509_cmp(tree->places[i].certificate, tree->places[later].certificate) != 0)
			continue;
		tree->places[later].same_as = i;
		given_remark(tree->given, "certificate %d is the same as certificate %d", later + 1, i + 1);
		return;
	}
}

static struct json_object *list_name(struct json_object *lines, const X509_NAME *name, int depth)
{
	struct json_object *line = json_object_new_object();

	add(line, "depth", json_object_new_int(depth));
	add(line, "name", text_of_name(name));
	json_object_array_add(lines, line);
	return line;
}

static void list_branch(struct json_object *lines, const struct tree *tree, int root, int depth)
{
	const struct place *place = &tree->places[root];
	struct json_object *line = list_name(lines, X509_get_subject_name(place->certificate), depth);

	add(line, "certificate", json_object_new_int(root + 1));
	add(line, "self_signed", json_object_new_boolean(place->self_signed));
	for (int i = 0; i < tree->count; i++)
		if (tree->places[i].issuer == root)
			list_branch(lines, tree, i, depth + 1);
}

/* An issuer that was not given has a line without certificate. */
static struct json_object *list_tree(const struct tree *tree)
{
	struct json_object *lines = json_object_new_array();

	for (int i = 0; i < tree->count; i++) {
		const struct place *place = &tree->places[i];

		if (place->issuer != NOBODY || place->same_as != NOBODY)
			continue;
		if (!place->self_signed)
			list_name(lines, X509_get_issuer_name(place->certificate), 0);
		list_branch(lines, tree, i, !place->self_signed);
	}
	return lines;
}

/* TLS 1.2 wants each certificate right behind the one that it issued; TLS 1.3 only the server's own in front. */
static void check_order(const struct tree *tree)
{
	for (int i = 0; i < tree->count; i++) {
		int issuer = tree->places[i].issuer;

		if (issuer == NOBODY || issuer > i)
			continue;
		given_remark(tree->given,
			     "the order is wrong for a server or a client: certificate %d, the issuer, stands before "
			     "certificate %d; expected its own first, then the issuer of that, and so on (in a list of "
			     "trusted certificates the order does not matter)",
			     issuer + 1, i + 1);
		return;
	}
}

struct json_object *describe_tree(struct given *given)
{
	struct tree tree = {.given = given, .count = sk_X509_num(given->certificates)};
	struct json_object *lines;

	tree.places = calloc(tree.count, sizeof(*tree.places));
	if (!tree.places)
		return NULL;
	for (int i = 0; i < tree.count; i++)
		tree.places[i] = (struct place){sk_X509_value(given->certificates, i), NOBODY, NOBODY, false};
	for (int i = 0; i < tree.count; i++)
		find_same(&tree, i);
	for (int i = 0; i < tree.count; i++)
		if (tree.places[i].same_as == NOBODY)
			find_issuer(&tree, i);
	check_order(&tree);
	lines = list_tree(&tree);
	free(tree.places);
	ERR_clear_error();
	return lines;
}
