import pickle
import sys

import pytest

from stages.backends.base.plugin_code import (
    BACKENDS,
    PluginCode,
    PluginError,
    installed_plugins,
    plugin_named,
    source_files,
)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of sys.path; what a test imports from it is forgotten afterwards."""
    known = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def put(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def install(site, name, version, points):
    put(site / f"{name}-{version}.dist-info" / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    put(site / f"{name}-{version}.dist-info" / "entry_points.txt", f"[{BACKENDS}]\n{points}\n")


def test_the_digest_covers_address_version_and_all_source(site):
    put(site / "plug_a" / "__init__.py")
    put(site / "plug_a" / "inner" / "maker.py", "class Maker: ...")
    put(site / "plug_a" / "notes.txt", "not source")
    digests = [PluginCode("plug_a.inner.maker:Maker").digest, PluginCode("plug_a.inner.maker:Other").digest]
    put(site / "plug_a" / "notes.txt", "still not")
    assert PluginCode("plug_a.inner.maker:Maker").digest == digests[0] and digests[0].startswith("plug_a-")
    put(site / "plug_a" / "__init__.py", "# changed")
    digests.append(PluginCode("plug_a.inner.maker:Maker").digest)
    install(site, "plug_a", "1.2", "")
    digests.append(PluginCode("plug_a.inner.maker:Maker").digest)
    assert len(set(digests)) == 4 and digests[-1].startswith("plug_a-1.2-")


def test_source_is_of_the_outermost_package_that_is_no_namespace(site):
    put(site / "shared_space" / "mine" / "__init__.py")
    put(site / "shared_space" / "mine" / "maker.py")
    put(site / "shared_space" / "theirs" / "__init__.py")
    put(site / "single_file.py")
    assert [name for name, _ in source_files("shared_space.mine.maker")] == ["__init__.py", "maker.py"]
    assert [name for name, _ in source_files("single_file")] == ["single_file.py"]
    with pytest.raises(PluginError, match="does not import"):
        list(source_files("nowhere_at_all.mine"))


def test_each_process_hashes_the_source_that_it_runs(site):
    put(site / "plug_b.py", "class Maker: ...")
    code = PluginCode("plug_b:Maker")
    before = code.digest
    put(site / "plug_b.py", "class Maker: pass")
    assert code.digest == before != pickle.loads(pickle.dumps(code)).digest


@pytest.mark.parametrize(
    ("text", "address", "message"),
    [
        ("", "plug_c", "no address of a plug-in: give package.module:Name"),
        ("", "../plug_c:Maker", "no address"),
        (
            "import no_such_library",
            "plug_c:Maker",
            "does not import .ModuleNotFoundError: No module named 'no_such_lib",
        ),
        ("raise RuntimeError('a\\nb')", "plug_c:Maker", "does not import .RuntimeError: a b.: install its package"),
        ("def broken(:", "plug_c:Maker", "does not import .SyntaxError"),
        ("class Maker: ...", "plug_c:Makr", r"has no 'Makr' \(did you mean 'Maker'\?\)"),
        ("Maker = 3", "plug_c:Maker", "is a int, want a class"),
    ],
)
def test_code_that_cannot_be_loaded_is_one_line(site, text, address, message):
    put(site / "plug_c.py", text)
    with pytest.raises(PluginError, match=message) as caught:
        PluginCode(address).load()
    assert "\n" not in str(caught.value)


def test_entry_points_are_found_by_name_and_not_twice(site):
    install(site, "first_plug", "1", "scorer.one = first_plug:One\nscorer.two = first_plug:Two")
    install(site, "second_plug", "3", "scorer.two = second_plug:Two")
    assert plugin_named(BACKENDS, "scorer.one") == PluginCode("first_plug:One", "first_plug")
    assert plugin_named(BACKENDS, "scorer.none") is None
    assert [name for name, _ in installed_plugins(BACKENDS)][-3:] == ["scorer.one", "scorer.two", "scorer.two"]
    with pytest.raises(PluginError, match=r"'scorer.two' is a plug-in of first_plug-1 and second_plug-3"):
        plugin_named(BACKENDS, "scorer.two")
