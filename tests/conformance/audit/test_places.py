# SPDX-License-Identifier: MIT
# ruff: noqa: E101
"""A place is found by its name, and its hash follows what it says, not how it is set."""

import pytest

from conformance.audit.places import digest, find, matching

C = r"""
/* int wanted(int a) { not this one } */
#include <linux/wanted.h>
#define LIMIT	(1 << 4)
#define BOTH(a, b) \
	((a) + \
	 (b))

struct state {
	int (*wanted)(int a);
	int depth;
};

enum kind { KIND_NONE, KIND_SOME = 4 };

static int wanted(int a);			/* a declaration */
extern struct state wanted_state;

static int caller(void)
{
	return wanted(3) + LIMIT;
}

static __always_inline int
wanted(int a)
{
	if (a == '}')
		return printk("{ %s //", "x");
#ifdef CONFIG_A
	if (a) {
#else
	if (!a) {
#endif
		a++;
	}
	return a;
}
EXPORT_SYMBOL(wanted);

const struct state ops = {
	.wanted = wanted,
	.depth = 2,
};
static const char *const names[] = { "wanted(", "}" };
#ifdef CONFIG_B
int twice(void) { return 1; }
#else
int twice(void) { return 2; }
#endif
"""


@pytest.fixture
def file(tmp_path):
    def file(text, name="a.c"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return file


@pytest.mark.parametrize(
    ("name", "begins", "ends"),
    [
        ("wanted", "static __always_inline int", "return a;\n}"),
        ("caller", "static int caller", "LIMIT;\n}"),
        ("LIMIT", "#define LIMIT", "(1 << 4)"),
        ("BOTH", "#define BOTH", "(b))"),
        ("struct state", "struct state {", "};"),
        ("struct state.depth", "struct state {", "};"),
        ("state", "struct state {", "};"),
        ("enum kind", "enum kind {", "};"),
        ("KIND_SOME", "enum kind {", "};"),
        ("ops", "const struct state ops", "};"),
        ("names", "static const char", "};"),
    ],
)
def test_what_is_found(file, name, begins, ends):
    (text,) = find(file(C), name)
    assert begins in text and text.rstrip().endswith(ends)
    assert "EXPORT_SYMBOL" not in text and "not this one" not in text


def test_what_is_defined_twice_is_both(file):
    assert [text.split()[-2] for text in find(file(C), "twice")] == ["1;", "2;"]


@pytest.mark.parametrize("name", ["want", "wanted_state", "wanted_not", "depth", "x", "struct states"])
def test_what_is_not_there(file, name):
    assert find(file(C), name) == []
    assert find(file(C).parent / "none.c", name) == []


def test_globs(file):
    assert matching(file(C), "*w*") == ["wanted", "twice"]
    assert matching(file(C), "[LB]*") == ["LIMIT", "BOTH"]


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("\t\ta++;", "  a++; /* why */ // really", True),
        ("static __always_inline int\nwanted(int a)", "static __always_inline int wanted( int a )", True),
        ("return wanted(3)", "return wanted(4)", True),             # another function
        ("a++;", "a--;", False),
        ("a++;", "++a;", False),
        ('"{ %s //"', '"{ %d //"', False),
        ("#ifdef CONFIG_A", "#ifdef CONFIG_C", False),
        ("static __always_inline int\n", "static __always_inline long\n", False),
    ],
)
def test_the_hash(file, old, new, same):
    assert old in C
    before, after = (digest(find(file(text), "wanted")) for text in (C, C.replace(old, new)))
    assert (before == after) == same


RST = """
============
 The title
============

Part I
======

::

	int
	map_it(struct device *dev,
	       int dir)

Maps it. See unmap_it(dev).

::

	void unmap_it(struct device *dev)

Unmaps it.

Part Ie - More
--------------

Words.

DMA_ATTR_X
----------

Said of X.
"""


@pytest.mark.parametrize(
    ("name", "words", "without"),
    [
        ("map_it", "Maps it.", "Unmaps it."),
        ("unmap_it", "Unmaps it.", "Maps it. See"),
        ("Part Ie", "Words.", "Said of X."),
        ("DMA_ATTR_X", "Said of X.", "Words."),
    ],
)
def test_prose(file, name, words, without):
    (text,) = find(file(RST, "a.rst"), name)
    assert words in text and without not in text


@pytest.mark.parametrize("name", ["it", "Part", "DMA_ATTR", "Words"])
def test_no_such_section(file, name):
    assert find(file(RST.replace("Part I\n======", ""), "a.rst"), name) in ([], find(file(RST, "a.rst"), "Part Ie"))


def test_an_option(file):
    path = file("config A\n\tbool\n\nconfig AB\n\tbool \"x\"\n\tdepends on A\n\nendmenu\n", "Kconfig")
    assert "depends on A" in find(path, "AB")[0] and "depends" not in find(path, "A")[0]
    assert find(path, "B") == []
