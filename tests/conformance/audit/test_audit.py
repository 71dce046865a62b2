# SPDX-License-Identifier: MIT
"""The audit of a kernel tree: a small one that is made here, and the real ones where they are."""

import json

import pytest
from click.testing import CliRunner

from arch import backends
from conformance.audit import pins
from conformance.audit.cli import audit_command
from conformance.audit.pins import Pin, TreeError, audit, collect, kernel_of, named, record_pins, resolve, rule_pins
from conformance.audit.places import digest
from conformance.cli import main
from conformance.oracle.source import find
from conformance.rules import load_rules

F = "int f(void)\n{\n\treturn 1;\n}\n"
G = "int g(void)\n{\n\treturn 2;\n}\n"


def real(version):
    """The unpacked tree of a kernel."""
    source = find(version)
    if source is None or not source.path.is_dir():
        pytest.skip(f"no unpacked source of Linux {version} (DMA_CONFORMANCE_LINUX, /usr/src)")
    return source.path


@pytest.fixture
def tree(tmp_path):
    """A kernel of two files."""
    for folder in ("kernel/dma", "include/linux"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "Makefile").write_text("# SPDX\nVERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 3\n")
    (tmp_path / "kernel/dma/a.c").write_text(F + G)
    return tmp_path


def pin(name="f", text=F, file="kernel/dma/a.c", **more):
    return Pin(file, name, digest([text]) if text else "", ("DMA-01",), **more)


def status(one, tree):
    return [(finding.status, finding.where) for finding in audit([one], tree)]


def test_unchanged(tree):
    (tree / "kernel/dma/a.c").write_text("/* new */\n" + G + F.replace("\t", "  /* more */ "))
    assert status(pin(), tree) == [("unchanged", "")]


def test_changed(tree):
    (tree / "kernel/dma/a.c").write_text(F.replace("1", "3") + G)
    assert status(pin(), tree) == [("changed", "")]
    assert status(pin("g", G), tree) == [("unchanged", "")]


@pytest.mark.parametrize("where", ["kernel/dma/b.c", "include/linux/a.h"])
def test_moved(tree, where):
    (tree / "kernel/dma/a.c").write_text(G)
    (tree / where).write_text(F)
    assert status(pin(), tree) == [("moved", where)]
    (tree / where).write_text(F.replace("1", "3"))
    assert status(pin(), tree) == [("changed", where)]


def test_gone(tree):
    assert status(pin("h"), tree) == [("gone", "")]
    assert status(pin(file="arch/ia64/a.c", name="h"), tree) == [("gone", "")]


def test_two_names_are_one_place(tree):
    both = Pin("kernel/dma/a.c", "f, g", digest([F, G]), ("DMA-01",))
    assert status(both, tree) == [("unchanged", "")]
    (tree / "kernel/dma/a.c").write_text(F)
    assert status(both, tree) == [("gone", "")]


def test_a_rule_of_a_later_kernel_is_left_out(tree):
    assert status(pin("h", since="6.13"), tree) == []
    assert status(pin("h", since="6.12"), tree) == [("gone", "")]


def test_what_was_never_hashed_is_said(tree):
    assert status(pin(text=""), tree) == [("unpinned", "")]


def test_no_tree(tmp_path):
    with pytest.raises(TreeError, match="no tree of the kernel"):
        audit([], tmp_path)


def call(tree, *words):
    done = CliRunner().invoke(main, ["audit", "--kernel-source", str(tree), *words])
    return done.exit_code, done.output


@pytest.fixture
def only(monkeypatch, tree):
    """Let these be all pins there are."""

    def only(*found):
        monkeypatch.setattr("conformance.audit.cli.rule_pins", lambda _: list(found))
        monkeypatch.setattr("conformance.audit.cli.record_pins", tuple)

    return only


def test_command(only, tree):
    only(pin(), pin("g", G))
    assert call(tree) == (0, "Linux 6.12, 2 places: 2 unchanged, 0 moved, 0 changed, 0 gone, 0 unpinned\n")
    assert "unchanged kernel/dma/a.c: f: DMA-01\n" in call(tree, "--all")[1]
    (tree / "kernel/dma/a.c").write_text(F.replace("1", "3"))
    (tree / "kernel/dma/b.c").write_text(G)
    code, said = call(tree)
    assert code == 1
    assert said.splitlines()[:2] == [
        "moved     kernel/dma/a.c: g (now kernel/dma/b.c): DMA-01", "changed   kernel/dma/a.c: f: DMA-01",
    ]
    code, said = call(tree, "--json")
    row = json.loads(said)
    assert code == 1 and row["kernel"] == "6.12" and row["counts"]["moved"] == row["counts"]["changed"] == 1
    assert row["findings"][0] == {
        "status": "changed", "file": "kernel/dma/a.c", "name": "f", "used_by": ["DMA-01"], "where": "",
    }


def test_a_move_alone_is_0(only, tree):
    only(pin())
    (tree / "kernel/dma/a.c").rename(tree / "kernel/dma/b.c")
    assert call(tree)[0] == 0


def test_wrong_uses_are_2(tmp_path):
    assert call(tmp_path)[0] == 2
    assert call(tmp_path / "none")[0] == 2
    assert CliRunner().invoke(audit_command, []).exit_code == 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("kernel/dma/a.c: f_one, g_*", [("kernel/dma/a.c", ["f_one", "g_*"])]),
        ("a.c: sg_fill; b.c: sg_map, IOPERM", [("a.c", ["sg_fill"]), ("b.c", ["sg_map", "IOPERM"])]),
        ("a.c: all of it", [("a.c", [])]),
        ("a.c: a_ops and what it calls", [("a.c", ["a_ops"])]),
        ("tests", []),
    ],
)
def test_what_a_record_names(text, found):
    assert list(named(text)) == found


def test_short_names_of_files(tree):
    near = ["kernel/dma/a.c"]
    assert resolve(tree, "kernel/dma/a.c", near) == resolve(tree, "a.c", near) == "kernel/dma/a.c"
    assert resolve(tree, "dma/a.c", near) == "kernel/dma/a.c"
    assert resolve(tree, "b.c", near) == ""


def test_every_rule_is_pinned_that_can_be():
    lost = [rule.id for rule in load_rules().values() if bool(rule.source.sha256) != bool(kernel_of(rule))]
    assert lost == []
    assert [rule.id for rule in load_rules().values() if not rule.source.symbol] == []


def test_every_backend_is_pinned():
    assert set(backends()) == {one for pin in record_pins() for one in pin.used_by}


@pytest.mark.parametrize("version", pins.KERNELS)
def test_the_real_trees(version):
    found = audit([*rule_pins(load_rules().values()), *record_pins()], real(version))
    bad = {str(finding.pin) for finding in found if finding.status in pins.BAD}
    if version == pins.KERNELS[0]:
        assert bad == set()
    else:
        assert {"kernel/dma/mapping.c: dma_pci_p2pdma_supported", "kernel/dma/swiotlb.c: swiotlb_do_find_slots"} <= bad
        fresh = {finding.pin.used_by for finding in found if finding.pin.since in ("6.2", "6.12")}
        assert fresh and not {f.pin.used_by for f in found if f.status in pins.BAD} & fresh


def test_pins_are_what_update_writes():
    assert collect(backends().values(), real(pins.KERNELS[0])) == json.loads(pins.PINS.read_text())
