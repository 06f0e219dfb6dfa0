import pickle
import subprocess
import sys

import pytest

from pipeline.core.lazy_import import LazyImport


def test_an_address_gives_the_object():
    loaded = LazyImport("collections:OrderedDict").load()
    assert loaded([("a", 1)])["a"] == 1
    assert pickle.loads(pickle.dumps(LazyImport("collections:OrderedDict"))).load() is loaded


def test_what_is_missing_is_an_import_error():
    with pytest.raises(ImportError, match="no_such_module"):
        LazyImport("no_such_module:anything").load()


def test_the_registry_imports_neither_torch_nor_diffusers():
    code = (
        "import sys; import stages.backends.registry; print({'torch', 'diffusers', 'transformers'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
