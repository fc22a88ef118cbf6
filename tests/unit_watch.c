// SPDX-License-Identifier: MIT
/* What is heard of a file, and whether it looks changed: one thing after the other is done to it. */
#include <limits.h>
#include <unistd.h>

#include "source.h"
#include "unit.h"
#include "watch.h"

struct event {
	const char *what, *command;
	bool heard;
	enum source_news news;
};

static const struct event to_file[] = {
	{"nothing", "true", false, SOURCE_SAME},
	{"its neighbour is written", "echo 1 >real/neighbour", false, SOURCE_SAME},
	{"it is read", "cat real/file >/dev/null", false, SOURCE_SAME},
	{"it is written in place", "echo 2 >>real/file", true, SOURCE_CHANGED},
	{"another takes its place", "echo 3 >real/new && mv real/new real/file", true, SOURCE_CHANGED},
	{"other permissions", "chmod 600 real/file", true, SOURCE_CHANGED},
	{"the link on its way leads elsewhere",
	 "mkdir other && echo 4 >other/file && ln -s ../folders/other new && mv -T new link", true, SOURCE_CHANGED},
	{"where it was before", "echo 5 >real/file", false, SOURCE_SAME},
	{"where it is now", "echo 6 >other/file", true, SOURCE_CHANGED},
	{"it becomes a link", "ln -s ../real/file other/new && mv other/new other/file", true, SOURCE_CHANGED},
	{"behind that", "echo 7 >>real/file", true, SOURCE_CHANGED},
	{"an absolute one", "ln -s \"$PWD/real/neighbour\" new && mv new other/file", true, SOURCE_CHANGED},
	{"behind that, too", "echo 8 >>real/neighbour", true, SOURCE_CHANGED},
	{"it is gone", "rm real/neighbour", true, SOURCE_GONE},
	{"it stays gone", "echo 9 >real/stranger", false, SOURCE_SAME},
	{"it comes back", "echo 10 >real/neighbour", true, SOURCE_CHANGED},
	{"a folder on its way is gone", "mv other away", true, SOURCE_GONE},
	{"it comes back, too", "mv away other", true, SOURCE_CHANGED},
	{"the root of it all is swapped", "cp -a ../folders ../copy && mv ../folders ../old && mv ../copy ../folders",
	 true, SOURCE_CHANGED},
	{"in the new one", "cd ../folders && echo 11 >>real/neighbour", true, SOURCE_CHANGED},
	{"links in a circle", "cd ../folders && rm other/file && ln -s file other/file", true, SOURCE_GONE},
	{0},
};

static const struct event to_folder[] = {
	{"nothing", "true", false, SOURCE_SAME},
	{"a file comes", "echo 1 >real/a", true, SOURCE_CHANGED},
	{"it is written in place", "echo 2 >>real/a", true, SOURCE_CHANGED},
	{"it gets another name", "mv real/a real/b", true, SOURCE_CHANGED},
	{"other permissions", "chmod 600 real/b", true, SOURCE_CHANGED},
	{"it is gone", "rm real/b", true, SOURCE_CHANGED},
	{"the folder is gone", "rm -r real", true, SOURCE_GONE},
	{"a file in its place", "echo 3 >real", true, SOURCE_CHANGED},
	{0},
};

static void look_around(const struct source *source)
{
	watch_begin();
	watch_path(source->path, source->folder);
	watch_end();
}

static void go_through(const struct event *event, const char *path)
{
	struct watched watched = {.sources = TAILQ_HEAD_INITIALIZER(watched.sources)};
	struct source *source;

	source_add(&watched.sources, path);
	source = TAILQ_FIRST(&watched.sources);
	for (; event->what; event++) {
		bool heard;
		enum source_news news;

		look_around(source);
		watch_heard(); /* what came in between */
		must(system(event->command) == 0);
		heard = watch_heard();
		news = source_look(source);
		check(heard == event->heard, "%s: %s: heard", path, event->what);
		check(news == event->news, "%s: %s: seen", path, event->what);
	}
	watched_clear(&watched);
}

/* Ways that lead nowhere: none of them may do harm. */
static void test_odd_paths(void)
{
	static char longest[2 * PATH_MAX];
	const char *const odd[] = {"", "/", "//", ".", "..", "/../..", "real/file/below", longest};

	memset(longest, 'a', sizeof(longest) - 1);
	watch_begin();
	for (size_t i = 0; i < COUNT(odd); i++)
		watch_path(odd[i], i % 2);
	for (size_t i = 0; i < PATH_MAX - 1; i++)
		longest[i] = i % 2 ? 'a' : '/';
	longest[PATH_MAX - 1] = '\0';
	watch_path(longest, true);
	watch_end();
	check(!watch_heard(), "odd paths");
}

static void make_folders(const char *name)
{
	char command[256];

	snprintf(command, sizeof(command), "mkdir -p %s/folders/real && echo 0 >%s/folders/real/file", name, name);
	must(system(command) == 0);
	snprintf(command, sizeof(command), "%s/folders", name);
	must(chdir(command) == 0 && symlink("real", "link") == 0);
}

int main(void)
{
	char directory[] = "/tmp/unit_watch.XXXXXX", path[PATH_MAX];

	must(mkdtemp(directory) && watch_open() >= 0);
	make_folders(directory);
	snprintf(path, sizeof(path), "%s/folders/real/../link/./file", directory);
	go_through(to_file, path);
	snprintf(path, sizeof(path), "%s/second", directory);
	make_folders(path);
	go_through(to_file, "link/file");
	snprintf(path, sizeof(path), "%s/third", directory);
	make_folders(path);
	go_through(to_folder, "link");
	test_odd_paths();
	remove_folder(directory);
	return finish();
}
