"""What ``make`` installs for which command, and what runs with only that: the extras are imported by what needs them alone."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RUNNING = ("setup", "demo", "outpaint", "refine-proposals", "build", "train-weak", "bundled-models", "eval", "report")
DEVELOPING = ("setup-dev", "test", "test-long", "check", "bench")
# Import names of what only the extras install.
EXTRAS = (
    "torchvision", "timm", "segment_anything", "ray", "s3fs", "gcsfs", "onnx", "onnxscript", "gradio", "cv2", "datasets",
    "megatron", "moto", "playwright", "hypothesis", "pytest",
)  # fmt: skip


def dry_run(target: str, tmp_path: Path, *options: str) -> str:
    """The commands of a make target with a virtual environment that does not exist yet."""
    words = ["make", "--dry-run", target, f"VENV={tmp_path / 'venv'}", *options]
    return subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def python(
    code: str, *words: str, cwd: Path = ROOT, without: tuple[str, ...] = EXTRAS
) -> subprocess.CompletedProcess[str]:
    """A Python process in which the packages of the extras cannot be imported."""
    block = f"import sys; sys.modules.update(dict.fromkeys({without!r}))\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", block + code, *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("target", RUNNING)
def test_targets_that_run_install_no_extra(target, tmp_path):
    commands = dry_run(target, tmp_path)
    (install,) = [line for line in commands.splitlines() if "pip install" in line]
    assert install.endswith("--constraint constraints.txt --editable .") and ".ready-dev" not in commands


@pytest.mark.parametrize("target", DEVELOPING)
def test_targets_that_test_install_the_dev_extra_once(target, tmp_path):
    (install,) = [line for line in dry_run(target, tmp_path).splitlines() if "pip install" in line]
    assert install.endswith("--constraint constraints.txt --editable '.[dev]'")


def test_make_keeps_compiled_modules(tmp_path):
    """Without them, each process that a run or a test starts compiles torch's modules again."""
    (tmp_path / "makefile").write_text("include Makefile\nshow: ; @env\n")
    words = ["make", "--silent", "--file", str(tmp_path / "makefile"), "show"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    shown = subprocess.run(words, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
    assert "PATH=" in shown and "PYTHONDONTWRITEBYTECODE" not in shown


def test_setup_names_no_host_and_takes_own_constraints(tmp_path):
    own = tmp_path / "own.txt"
    own.touch()
    commands = dry_run("setup", tmp_path, f"CONSTRAINTS={own}")
    assert f"--constraint {own}" in commands and "-index-url" not in commands and "http" not in commands


def test_a_virtual_environment_that_is_ready_stays(tmp_path):
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / ".ready").touch()
    assert "pip" not in dry_run("demo", tmp_path) and "pip" in dry_run("test", tmp_path)


def test_every_dependency_has_a_pinned_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    groups = [project["dependencies"], *(project["optional-dependencies"][name] for name in ("models", "dev"))]
    names = {line.partition("[")[0].partition(">")[0].lower() for group in groups for line in group}
    assert names - {"procrop-data"} <= pinned


def test_help_and_crop_run_without_the_extras(tmp_path):
    main = "from pipeline.cli import main; main()"
    assert python(main, "--help", without=(*EXTRAS, "torch", "diffusers", "transformers")).returncode == 0
    photo = ROOT / "assets" / "photos" / "seeding.jpg"
    more = ("diffusers", "transformers", "accelerate", "matplotlib", "tensorboard")
    done = python(main, "crop", str(photo), "--out", str(tmp_path), "--quiet", without=(*EXTRAS, *more))
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("seeding*.jpg"))


@pytest.mark.parametrize(
    "code",
    [
        "from procrop_model.network.backbone import load_backbone; load_backbone('resnet50', False)",
        "from stages.backends.scorers import aesthetic, aesthetic_engine as engine\n"
        "engine.AestheticEngine(aesthetic.AestheticSettings(kind='nima', model='resnet50', head='none', device='cpu'))",
    ],
    ids=["backbone", "nima"],
)
def test_a_model_that_needs_an_extra_names_it(code):
    done = python(code)
    assert done.stderr.splitlines()[-1].startswith("pipeline.core.errors.ModelError")
    assert done.stderr.splitlines()[-1].endswith("pip install 'procrop-data[models]'")
