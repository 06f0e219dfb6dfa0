"""Each module has a test file of its name, or its place in the table below; names of tests say behaviour and stay short."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
PACKAGES = ("pipeline", "stages", "procrop_model")
LONGEST_NAME = 60

COVERED = """
# Test file, and the modules whose behaviour it tests: parts that are one behaviour with their caller, as the sections of a
# page, the steps of a painter or the layers of a network; and what a user reaches by a command, which is tested as a command.
faults/test_bad_input.py: pipeline.core errors settings; pipeline.runs plan
faults/test_bad_photos.py: pipeline.core resources
faults/test_failed_samples.py: pipeline.engine shard_runner
pipeline/app/bundled_model/test_train.py: pipeline.app.bundled_model photograph_list
pipeline/app/crop_folders/test_crop_folder.py: pipeline.app.crop_folders crop_stage
pipeline/app/test_takedown_leftovers.py: pipeline.app refresh_sources training_lock; pipeline.runs final_shard_diff
pipeline/checks/lint/test_linter.py: pipeline.checks.lint content json_schema names provenance tar
pipeline/checks/test_verify.py: pipeline.app verify_run
pipeline/checks/test_verify.py: pipeline.checks byte_audit receipt_audit repair; pipeline.cli verify; pipeline.storage open_store
pipeline/cli/test_audit.py: pipeline.app audit_canvases
pipeline/cli/test_audit.py: stages.audits paint subject; stages.audits.seam canvas_samples heat_map
pipeline/cli/test_crop.py: pipeline.app.crop_files inputs outputs resume; procrop_model crop
pipeline/cli/test_crop.py: pipeline.app.crop_files crop_photos entries
pipeline/cli/test_doctor.py: pipeline.app machine_checks; stages.backends catalogue smoke_test
procrop_model/faces/test_detector.py: stages.backends.vision faces
stages/backends/base/test_plugin_models.py: stages.backends.base plugin_settings
pipeline/cli/test_eval.py: pipeline.app calibrate_scorers; pipeline.app.public_sets convert
pipeline/cli/test_eval.py: pipeline.app result_stamp; pipeline.app.public_sets cad_writer to_shards
pipeline/cli/test_eval.py: pipeline.app.cropper evaluate evaluate_public_set evaluation_report evaluation_request measured_models
pipeline/cli/test_eval.py: pipeline.app.cropper reliability_diagram size_scatter train_overlap; pipeline.cli eval_tables
pipeline/cli/test_eval.py: pipeline.cli convert
pipeline/cli/test_run.py: pipeline.app run_stages
pipeline/cli/test_run.py: pipeline.cli app; pipeline.app execute session worker_count
pipeline/core/test_escaping.py: pipeline.core console
pipeline/engine/executors/ray/test_cluster.py: pipeline.core actor_resources
pipeline/engine/executors/ray/test_executor.py: pipeline.engine.executors shard_dispatch
pipeline/engine/executors/ray/test_executor.py: pipeline.engine.executors.ray actor_pool mailbox shard_actor
pipeline/engine/test_completion.py: pipeline.engine run_level_steps
pipeline/engine/test_crash_isolation.py: pipeline.engine.executors local process_worker; pipeline.runs crash_list
pipeline/planning/test_wall_clock.py: pipeline.app plan_run; pipeline.app.plans plan_fleet
pipeline/app/plans/test_before_work.py: pipeline.app.plans photo_count run_forecast
pipeline/planning/test_wall_clock.py: pipeline.cli plan
pipeline/report/test_page.py: pipeline.report album canvases charts cropper flow leaks overview paint reader rejects scores
pipeline/report/test_page.py: pipeline.report seam section strip; pipeline.shards contact_sheet
pipeline/shards/test_dataset.py: pipeline.shards write_shard
pipeline/shards/test_provenance.py: pipeline.shards jpeg_xmp
pipeline/storage/test_object_store.py: pipeline.storage base fsspec_client retry s3 stale_uploads
pipeline/storage/test_webhdfs.py: pipeline.storage hdfs
procrop_model/datasets/test_readers.py: procrop_model.datasets cad checks cpc fcdb flms gaicd labelled registry sacd tree
procrop_model/evaluation/test_baselines.py: procrop_model.evaluation smartcrop
procrop_model/evaluation/test_evaluate_set.py: procrop_model.evaluation judges
procrop_model/evaluation/test_metrics.py: procrop_model.evaluation rank_metrics
procrop_model/faces/test_detector.py: procrop_model.faces decode heads
procrop_model/inference/test_limit_scoring.py: procrop_model.inference crop_options
procrop_model/inference/test_onnx_export.py: procrop_model.inference onnx_engine
procrop_model/model_folder/test_build_network.py: procrop_model.network decoder heads text token_mlp
procrop_model/network/published/test_network.py: procrop_model.network.published coco decoder encoder positions
procrop_model/network/test_crop_network.py: procrop_model.network backbone boxes config encoder fusion lite0 lite0_files
procrop_model/network/test_crop_network.py: procrop_model.network positions
procrop_model/network/test_crop_network.py: procrop_model.network reference_matching
procrop_model/network/test_preprocess.py: procrop_model.network resize
procrop_model/retrieval/test_database.py: procrop_model.retrieval entries index writer
procrop_model/test_cropper.py: procrop_model.inference engine evidence explanation_image predictor torch_engine
procrop_model/test_cropper.py: procrop_model.model_folder cropper_config digest
procrop_model/training/test_losses.py: procrop_model.training hungarian_matcher
procrop_model/training/test_targets.py: procrop_model.training samples
procrop_model/training/test_train.py: procrop_model.evaluation evaluate_run; procrop_model.model_folder trained_on
procrop_model/training/test_train.py: procrop_model.training batches checkpoint checkpoint_state config data_sources
procrop_model/training/test_train.py: procrop_model.training validate
procrop_model/training/test_train.py: procrop_model.training prefetch run_files signals train_step trainer
procrop_model/training/test_train.py: procrop_model.training training_report
procrop_model/training/test_train_options.py: procrop_model.training ema_teacher
stages/audits/seam/test_probes.py: stages.audits.seam features run
stages/backends/base/test_backend_settings.py: stages.backends.base protocols
stages/backends/captioners/test_chat.py: stages.backends.captioners chat_client
stages/backends/captioners/test_hub.py: stages.backends.captioners hub_engine
stages/backends/encoders/test_hub.py: stages.backends.encoders hub_engine
stages/backends/outpainters/diffusion/test_backend.py: stages.backends.base checkpoint_backend
stages/backends/outpainters/diffusion/test_backend.py: stages.backends.outpainters.diffusion engine loading lora
stages/backends/outpainters/diffusion/test_backend.py: stages.backends.outpainters.diffusion pipeline_types safety
stages/backends/outpainters/patch_diffusion/test_pipeline.py: stages.backends.outpainters.patch_diffusion backend denoiser
stages/backends/outpainters/patch_diffusion/test_pipeline.py: stages.backends.outpainters.patch_diffusion matches membrane painting
stages/backends/outpainters/patch_diffusion/test_pipeline.py: stages.backends.outpainters.patch_diffusion patches pyramid scene
stages/backends/outpainters/patch_diffusion/test_pipeline.py: stages.backends.outpainters.patch_diffusion search sources tuning
stages/backends/outpainters/small_diffusion/test_backend.py: stages.backends.outpainters.small_diffusion network painting
stages/backends/outpainters/small_diffusion/test_backend.py: stages.backends.outpainters.small_diffusion pipeline
stages/backends/scorers/test_aesthetic.py: stages.backends.base weight_files
stages/backends/scorers/test_aesthetic.py: stages.backends.scorers aesthetic_engine
stages/backends/scorers/test_composition.py: stages.backends.scorers composition_engine composition_features composition_files
stages/backends/vision/test_sam.py: stages.backends.vision sam_engine sam_model
stages/near_duplicates/test_split_leaks.py: stages.near_duplicates build_leak_report excluded_sets signatures similarity
stages/photos/test_remote_readers.py: stages.photos source_scan
stages/photos/test_url_list.py: stages.photos list_access web_reader
stages/photos/test_source_readers.py: stages.photos archive_reader credits file_names local_files sidecar_credits
stages/test_build.py: stages.publishing attribution contents croissant data_sheet dataset_files final_sample licence_report
stages/publishing/test_dataset_card.py: stages.publishing dataset_facts
stages/test_refine.py: stages.backends.proposers cropper
stages/training/outpainter/test_train.py: stages.training.outpainter card fitting
stages/training/scorer/test_train.py: stages.training.scorer canvas_examples card cross_validation paint_canvases report_text
test_docs.py: pipeline.app train_backends
test_docs.py: pipeline.cli bench export
test_end_to_end.py: pipeline.app progress_bar run_report; pipeline.app.cropper train
test_end_to_end.py: pipeline.cli train
whole_chain/test_chain.py: pipeline.core records release_memory stage; pipeline.engine runner
whole_chain/test_chain.py: stages caption dedup embed outpaint propose retrieve recipe
whole_chain/test_chain_s3.py: pipeline.runs download_cache
whole_chain/test_production_run.py: pipeline.app recipe_for_run
"""
WITHOUT_CODE = {"pipeline.core.json_types"}  # a type


def modules() -> dict[str, Path]:
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths if path.name != "__init__.py"
    }


MODULES = modules()


def own_test(module: str) -> Path:
    *folders, name = module.split(".")
    return TESTS.joinpath(*folders, f"test_{name}.py")


def covered() -> dict[str, str]:
    """Module -> test file, of the table."""
    found = {}
    for line in COVERED.strip().splitlines():
        if line and not line.startswith("#"):
            test, _, rest = line.partition(": ")
            for group in rest.split("; "):
                folder, *names = group.split()
                for name in names:
                    assert f"{folder}.{name}" not in found, f"{folder}.{name} is listed twice"
                    found[f"{folder}.{name}"] = test
    return found


@cache
def named_in(path: Path) -> frozenset[str]:
    """Modules that a file imports, or names in a string, as commands and backends are loaded."""
    text = path.read_text(encoding="utf-8")
    names = set(re.findall(rf"\b(?:{'|'.join(PACKAGES)}|tests|benchmarks)(?:\.\w+)+", text))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    if "procrop-data" in text or "pipeline.cli" in text:  # commands are loaded by their name
        names |= {f"pipeline.cli.{module.stem}" for module in (ROOT / "pipeline" / "cli").glob("*.py")}
    return frozenset(names)


@cache
def path_of(name: str) -> Path | None:
    base = ROOT.joinpath(*name.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


@cache
def imported_by(path: Path) -> frozenset[Path]:
    """Files of the modules that a file names, and of the packages that hold them."""
    parts = [name.split(".") for name in named_in(path)]
    paths = {path_of(".".join(names[:n])) for names in parts for n in range(1, len(names) + 1)}
    return frozenset(path for path in paths if path)


def reached_from(test: str) -> set[Path]:
    """Files that a test imports, directly or through others."""
    reached, waiting = set(), [TESTS / test]
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting += imported_by(path) - reached
    return reached


def test_each_module_has_a_test_file_or_is_in_the_table():
    known = covered().keys() | WITHOUT_CODE
    assert [name for name in MODULES if not own_test(name).is_file() and name not in known] == []


def test_the_table_lists_modules_without_a_test_of_their_own():
    assert [name for name in covered() if name not in MODULES or own_test(name).is_file()] == []


@pytest.mark.parametrize("test", sorted(set(covered().values())))
def test_a_test_of_the_table_reaches_its_modules(test):
    reached = reached_from(test)
    assert [name for name, by in covered().items() if by == test and MODULES.get(name) not in reached] == []


def functions():
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield path.relative_to(TESTS), node.name


def test_names_of_tests_are_short():
    assert [f"{path}::{name}" for path, name in functions() if len(name) > LONGEST_NAME] == []


def test_tests_are_no_package():
    assert list(TESTS.rglob("__init__.py")) == []  # with it, tests/pipeline would be imported instead of pipeline
