"""Carries out a Dockerfile's steps for real in a clean Debian, without a container engine: ``make image-check``.

    python k8s/image_check.py Dockerfile TARGET FOLDER

Every stage that TARGET is made of becomes a root file system in FOLDER, made with mmdebstrap and entered with chroot. The
base image, Debian with Python, is stood in for by Debian's own python3. Then the image is tried: as its user, with a
project mounted, it must run its commands and load its definitions. Needs root, Debian's mmdebstrap, and pip's sources.

What it can't tell: whether the base image can be had, and what an engine's layers would weigh.
"""

import json
import os
import posixpath
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

SUITE = "bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"
READ_ONLY = """
mount --bind "$0" "$0"; mount -o remount,ro,bind "$0"; mount -t proc proc "$0/proc"
for folder in tmp var/lib/headwater; do mount -t tmpfs -o mode=1777 tmpfs "$0/$folder"; done
mkdir -m 1777 "$0/tmp/documents"
"""
WILD = {"**/": "(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
PASSED_ON = (
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_CERT",
    "PIP_INDEX_URL",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)


@dataclass
class Stage:
    """One stage of a Dockerfile: what it starts from, and its instructions."""

    name: str
    parent: str
    steps: list[tuple[str, str]] = field(default_factory=list)


def stages(dockerfile: str) -> dict[str, Stage]:
    """Return the stages of a Dockerfile by name. Raises ValueError for an instruction before the first FROM."""
    found: dict[str, Stage] = {}
    current: Stage | None = None
    text = "\n".join(line for line in dockerfile.splitlines() if not line.lstrip().startswith("#"))
    for line in filter(None, (line.strip() for line in re.sub(r"\\\n", " ", text).splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            parent, _, name = rest.partition(" AS ")
            current = found[name.strip()] = Stage(name.strip(), parent.strip())
        elif current is None:
            raise ValueError(f"{word} stands before the first FROM")
        else:
            current.steps.append((word, rest.strip()))
    return found


def order(found: dict[str, Stage], target: str) -> list[str]:
    """Return the stages that ``target`` needs, each after those that it needs."""
    done: list[str] = []

    def need(name: str) -> None:
        if name not in found or name in done:
            return
        need(found[name].parent)
        for word, rest in found[name].steps:
            if word == "COPY" and (source := re.match(r"--from=(\S+)", rest)):
                need(source[1])
        done.append(name)

    need(target)
    return done


def sent(path: str, rules: str) -> bool:
    """Return whether a .dockerignore lets a file into the build: of the rules that match it or a folder above, the last."""
    parts = path.split("/")
    places = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    kept = True
    for rule in (line.strip() for line in rules.splitlines() if line.strip() and not line.startswith("#")):
        # As Docker does it: a slash at the end goes, so that x/*/ is x/*, files and all.
        pattern = posixpath.normpath(rule.removeprefix("!").strip()).lstrip("/")
        wanted = "".join(WILD.get(part) or re.escape(part) for part in re.findall(r"\*\*/|\*\*|\*|\?|[^*?]+", pattern))
        if any(re.fullmatch(wanted, place) for place in places):
            kept = rule.startswith("!")
    return kept


class Root:
    """The root file system of one stage, and what its instructions have set."""

    def __init__(self, path: Path, env: dict[str, str], folder: str = "/", user: str = "0:0") -> None:
        self.path, self.env, self.folder, self.user = path, env, folder, user

    def carry_out(self, stage: Stage, context: Path, roots: dict[str, "Root"]) -> None:
        """Carry out the stage's instructions."""
        for word, rest in stage.steps:
            print(f"  {word} {rest[:100]}", flush=True)
            match word:
                case "RUN":
                    self.run(rest)
                case "ENV":
                    self.env.update(pair.split("=", 1) for pair in shlex.split(rest))
                case "WORKDIR":
                    self.folder = rest
                    self.inside(rest).mkdir(parents=True, exist_ok=True)
                case "USER":
                    self.user = rest
                case "COPY":
                    self.copy(shlex.split(rest), context, roots)
                case "SHELL" | "ARG" | "EXPOSE" | "CMD":
                    pass  # the shell is ours already, and arguments come from the environment
                case _:
                    raise ValueError(f"{word} is not known here")

    def run(self, command: str) -> None:
        """Run a shell command inside, as the stage's user. Raises CalledProcessError when it fails."""
        subprocess.run(self._inside(command, 'mount -t proc proc "$0/proc"'), env=self._env(), check=True)

    def tried(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a shell command as a pod would: the root file system can't be written, but for /tmp and the home."""
        return subprocess.run(
            self._inside(command, READ_ONLY),
            env=self._env(),
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def _inside(self, command: str, mounts: str) -> list[str]:
        # Mounts are made in a namespace of their own, so none of them is left behind.
        chroot = f'{mounts}\nexec chroot --userspec="$1" "$0" /bin/sh -euc "$2"'
        shell = f"cd {shlex.quote(self.folder)}; {command}"
        return [
            "unshare",
            "--mount",
            "/bin/sh",
            "-euc",
            chroot,
            str(self.path),
            self.user,
            shell,
        ]

    def _env(self) -> dict[str, str]:
        return {**{name: value for name in PASSED_ON if (value := os.environ.get(name))}, **self.env}

    def copy(self, words: list[str], context: Path, roots: dict[str, "Root"]) -> None:
        """Copy from the build context, or from another stage."""
        source = roots[words.pop(0).removeprefix("--from=")].path if words[0].startswith("--from=") else context
        *patterns, to = words
        target = self.inside(to if to.startswith("/") else f"{self.folder}/{to}")
        rules = (context / ".dockerignore").read_text(encoding="utf-8") if source == context else ""

        def left_out(folder: str, names: list[str]) -> set[str]:
            places = {name: Path(folder) / name for name in names}
            unsent = {
                name
                for name, place in places.items()
                if place.is_file() and not sent(place.relative_to(source).as_posix(), rules)
            }
            return unsent | {"__pycache__"}

        for pattern in patterns:
            matching = sorted(source.glob(pattern.lstrip("/")))
            found = [path for path in matching if path.name not in left_out(str(path.parent), [path.name])]
            if not found:
                raise FileNotFoundError(f"COPY {pattern}: the build context has no such file")
            for path in found:
                if path.is_dir():
                    shutil.copytree(path, target, symlinks=True, dirs_exist_ok=True, ignore=left_out)
                else:
                    place = target / path.name if to.endswith("/") or target.is_dir() else target
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, place)

    def inside(self, path: str) -> Path:
        """Return where a path of the stage lies here."""
        return self.path / path.lstrip("/")


def debian(path: Path) -> None:
    """Make the clean system that stands in for the base image."""
    hooks = []
    for file in ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt"):
        if Path(file).exists():
            hooks += [f"--customize-hook=mkdir -p $1{Path(file).parent}; cp -L {file} $1{file}"]
    subprocess.run(["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", *hooks, SUITE, str(path)], check=True)


CHECKS = {
    "the command runs": "headwater --version",
    "nothing is missing": "headwater doctor",
    "the endpoint can be imported": "python3 -c 'import serving.app'",
    "the definitions load": "python3 -c 'import definitions; assert definitions.defs().executor'",
    "with a pod per step, too": "HEADWATER_EXECUTOR=k8s python3 -c 'import definitions; definitions.defs()'",
    "Dagster's programs are there": "dagster --version && dagster-daemon --version && dagster-webserver --version",
    "the ledger can be migrated": "headwater ledger upgrade && headwater ledger status --check",
    "documents become answers": (
        "printf 'The heating is switched on below twelve degrees, as the janitor of the house has always done it.' "
        "> /tmp/documents/a.md && headwater reindex handbook && headwater search handbook heating"
    ),
    "the endpoint answers": (
        "HEADWATER_API_TOKEN=only-here headwater serve --port 18080 & "
        "python3 -c 'import time, urllib.request as u\n"
        "for _ in range(600):\n"
        '    try: print(u.urlopen("http://127.0.0.1:18080/healthz").read()); break\n'
        "    except OSError: time.sleep(0.2)\n"
        "else: raise SystemExit(1)'; answered=$?; kill $!; exit $answered"
    ),
    "nothing of it can be changed": "! touch /opt/headwater/app/definitions.py 2>/dev/null",
    "scans can be read": "tesseract --version",
}


def main(dockerfile: Path, target: str, folder: Path) -> int:
    """Build ``target`` and try it; return the number of checks that failed."""
    if os.geteuid() != 0 or not shutil.which("mmdebstrap"):
        sys.exit("This needs root, and Debian's mmdebstrap (apt-get install mmdebstrap).")
    started = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = stages(dockerfile.read_text(encoding="utf-8"))
    roots: dict[str, Root] = {}
    for name in order(found, target):
        stage = found[name]
        print(f"== {name}", flush=True)
        path = folder / name
        parent = roots.get(stage.parent)
        if parent is None:
            debian(path)
            roots[name] = Root(path, {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"})
        else:
            subprocess.run(["cp", "-a", "--reflink=auto", f"{parent.path}", str(path)], check=True)
            roots[name] = Root(path, dict(parent.env), parent.folder, parent.user)
        _links_in(path)
        roots[name].carry_out(stage, dockerfile.parent, roots)
    print(f"built in {time.monotonic() - started:.0f} s", flush=True)
    failed = _tried(roots[target])
    size = subprocess.run(["du", "-sm", str(roots[target].path)], capture_output=True, text=True, check=True).stdout
    print(f"{size.split()[0]} MiB, {len(_materials(roots[target]))} components in its bill of materials")
    return failed


def _links_in(path: Path) -> None:
    """Let pip see a folder of wheels that the machine names, at the same place."""
    for link in os.environ.get("PIP_FIND_LINKS", "").split():
        if Path(link).is_dir() and not (path / link.lstrip("/")).exists():
            shutil.copytree(link, path / link.lstrip("/"))


def _tried(root: Root) -> int:
    corpus = root.inside("/project/assets/handbook/defs.yaml")
    corpus.parent.mkdir(parents=True, exist_ok=True)
    corpus.write_text("type: assets.corpus.Corpus\nattributes:\n  source: {uri: /tmp/documents}\n")
    failed = 0
    for name, command in CHECKS.items():
        done = root.tried(command)
        failed += done.returncode != 0
        print(f"{'ok    ' if done.returncode == 0 else 'FAILED'} {name}: {command}")
        if done.returncode:
            print(done.stdout[-3000:])
    return failed


def _materials(root: Root) -> list[dict[str, str]]:
    components: list[dict[str, str]] = json.loads(root.inside("/opt/headwater/sbom.json").read_text())["components"]
    assert {"dagster", "torch", "qdrant-client"} <= {component["name"] for component in components}
    return components


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2], Path(sys.argv[3]).resolve()))
