"""The Dockerfile: linted, in step with the project, and carried out stage by stage by k8s/image_check.py."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from tests.manifests import CHECKOUT

DOCKERFILE = CHECKOUT / "Dockerfile"
TARGETS = ("cpu", "cuda", "sbom-cpu", "sbom-cuda")


def hadolint(text: str) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).parent / "hadolint"
    return subprocess.run([str(command), "-"], input=text, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def image_check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("image_check", CHECKOUT / "k8s" / "image_check.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["image_check"] = module
    spec.loader.exec_module(module)
    return module


def test_the_linter_has_nothing_to_say() -> None:
    done = hadolint(DOCKERFILE.read_text(encoding="utf-8"))
    assert done.returncode == 0, done.stdout


def test_the_linter_would_say_what_is_wrong() -> None:
    done = hadolint(DOCKERFILE.read_text(encoding="utf-8") + "\nRUN sudo apt-get install wget\n")
    assert done.returncode == 1
    assert "DL3004" in done.stdout


def test_every_target_is_made_of_stages_that_are_there(image_check: ModuleType) -> None:
    found = image_check.stages(DOCKERFILE.read_text(encoding="utf-8"))
    assert set(TARGETS) <= found.keys()
    for target in TARGETS:
        order = image_check.order(found, target)
        assert order[-1] == target
        for place, name in enumerate(order):
            parent = found[name].parent
            assert parent in order[:place] or parent in ("scratch", "python:3.11-slim-bookworm")
            for word, rest in found[name].steps:
                if word == "COPY" and (source := re.match(r"--from=(\S+)", rest)):
                    assert source[1] in order[:place]
    assert not {"dependencies-cuda", "build-cuda"} & set(image_check.order(found, "cpu"))


def test_what_runs_is_not_root_and_has_no_installer_step_of_its_own(image_check: ModuleType) -> None:
    found = image_check.stages(DOCKERFILE.read_text(encoding="utf-8"))
    for target in ("cpu", "cuda"):
        assert found[target].steps[-1] == ("USER", "10001:10001")
        assert not [step for step in (*found[target].steps, *found["runtime"].steps) if step[0] == "RUN"]
    words = [word for stage in found.values() for word, _ in stage.steps]
    assert "ADD" not in words
    assert not re.search(r"(?i)(password|token|secret)\s*=", DOCKERFILE.read_text(encoding="utf-8"))


def test_every_version_comes_from_the_constraints(image_check: ModuleType) -> None:
    found = image_check.stages(DOCKERFILE.read_text(encoding="utf-8"))
    for stage in found.values():
        for word, rest in stage.steps:
            if word == "RUN":
                for install in re.findall(r"pip install ([^&]*)", rest):
                    assert "-c constraints.txt" in install or "--no-deps" in install, install
    pins = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8")
    for name in ("torch", "dagster", "dagster-k8s", "cyclonedx-bom"):
        assert re.search(rf"(?m)^{name}==", pins), name
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    for wanted in re.findall(r'"\.\[([^\]]*)\]"', DOCKERFILE.read_text(encoding="utf-8")):
        assert set(wanted.split(",")) <= extras.keys()


def test_everything_that_is_copied_is_sent_to_the_builder_and_nothing_else(image_check: ModuleType) -> None:
    lines = (CHECKOUT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    sent = {line[1:] for line in rules if line.startswith("!")}
    copied = set()
    for stage in image_check.stages(DOCKERFILE.read_text(encoding="utf-8")).values():
        for word, rest in stage.steps:
            if word == "COPY" and not rest.startswith("--from"):
                copied |= {source.split("/")[0] for source in rest.split()[:-1]}
    assert copied == sent
    assert all((CHECKOUT / name).exists() for name in sent)


def test_every_copy_finds_its_files_and_corpora_stay_out(image_check: ModuleType) -> None:
    rules = (CHECKOUT / ".dockerignore").read_text(encoding="utf-8")
    for stage in image_check.stages(DOCKERFILE.read_text(encoding="utf-8")).values():
        for word, rest in stage.steps:
            if word != "COPY" or rest.startswith("--from"):
                continue
            for source in rest.split()[:-1]:
                matching = list(CHECKOUT.glob(source))
                files = [file for path in matching for file in (path.rglob("*.py") if path.is_dir() else [path])]
                assert files, rest
                for file in files:
                    assert image_check.sent(file.relative_to(CHECKOUT).as_posix(), rules), file
    for name in ("assets/handbook/defs.yaml", "assets/handbook/documents/a/b.pdf", ".env", ".headwater/ledger.db"):
        assert not image_check.sent(name, rules), name
    for name in ("headwater/__pycache__/cli.cpython-311.pyc", "assets/__pycache__/corpus.cpython-311.pyc"):
        assert not image_check.sent(name, rules), name
    # Docker takes the slash away, so this says assets/*, which is every file there.
    assert not image_check.sent("assets/corpus.py", "*\n!assets\nassets/*/\n")
    assert image_check.sent("assets/corpus.py", "*\n!assets\nassets/*/**\n")


def test_the_check_copies_what_docker_would(image_check: ModuleType, tmp_path: Path) -> None:
    context = tmp_path / "context"
    (context / "assets" / "handbook").mkdir(parents=True)
    (context / "assets" / "corpus.py").touch()
    (context / "assets" / "handbook" / "defs.yaml").touch()
    root = image_check.Root(tmp_path / "root", {})
    (context / ".dockerignore").write_text("*\n!assets\nassets/*/**\n")
    root.copy(["assets", "./all/"], context, {})
    assert [file.name for file in (tmp_path / "root/all").rglob("*.*")] == ["corpus.py"]
    (context / ".dockerignore").write_text("*\n!assets\nassets/*/\n")
    with pytest.raises(FileNotFoundError, match=r"COPY assets/\*\.py"):
        root.copy(["assets/*.py", "./assets/"], context, {})
