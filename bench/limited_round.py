"""A round that takes more memory than its share, under a kernel that limits it: is it ended, and it alone?

    python bench/limited_round.py --kernel VMLINUZ [--json FILE]

Many machines have memory in another hierarchy than cgroup v2, or none to give away. So this boots a kernel under QEMU
(Debian: linux-image-cloud-amd64, qemu-system-x86, busybox-static, cpio) with an initial file system of this Python's
standard library, pytest, `daemon/cgroups.py` and `tests/test_cgroups.py`, and runs these tests there. Exits with 1
unless every one of them passed and none was skipped.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("pytest", "pluggy", "iniconfig", "packaging", "pygments")
FILES = ("daemon/__init__.py", "daemon/cgroups.py", "tests/test_cgroups.py")
SECONDS = 600
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo "+memory +pids +cpu" > /sys/fs/cgroup/cgroup.subtree_control
cd /work
PATH=/bin PYTHONPATH=/work:/packages PYTHONDONTWRITEBYTECODE=1 \\
  PYTHON -m pytest -q -rA --color=no --noconftest -c /dev/null -p no:cacheprovider tests/test_cgroups.py 2>&1
poweroff -f
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        said = _booted(given.kernel, _initial(Path(folder)))
    found = re.findall(r"^(PASSED|FAILED|ERROR|SKIPPED) .*", said, re.MULTILINE)
    print("\n".join(line for line in said.splitlines() if line.startswith(tuple(found) or "-")) or said[-3000:])
    if given.json:
        given.json.write_text(json.dumps(Counter(found), indent=1))
    return 0 if set(found) == {"PASSED"} else 1


def _initial(folder: Path) -> Path:
    """The initial file system, as the kernel takes it."""
    tree = folder / "tree"
    python = Path(sys.executable).resolve()
    standard = Path(sysconfig.get_path("stdlib"))
    for name in ("bin", "proc", "sys", "dev", "tmp", "packages", "work/daemon", "work/tests"):
        (tree / name).mkdir(parents=True)
    shutil.copy2(shutil.which("busybox") or sys.exit("expected busybox"), tree / "bin" / "busybox")
    _copied(python, tree)
    skipped = shutil.ignore_patterns(
        "site-packages", "test", "idlelib", "lib2to3", "ensurepip", "__pycache__", "config-*"
    )
    shutil.copytree(standard, tree / standard.relative_to("/"), ignore=skipped)
    for binary in (python, *standard.glob("lib-dynload/*.so")):
        for line in subprocess.run(["ldd", binary], capture_output=True, text=True, check=False).stdout.splitlines():
            if library := re.search(r"(/\S+) \(0x", line):
                _copied(Path(library[1]), tree)
    for package in PACKAGES:
        for file in metadata.files(package) or ():
            if file.suffix == ".py":
                target = tree / "packages" / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(Path(str(file.locate())), target)
    for name in FILES:
        shutil.copy2(ROOT / name, tree / "work" / name)
    (tree / "init").write_text(INIT.replace("PYTHON -m", f"{python} -m"))
    (tree / "init").chmod(0o755)
    image = folder / "initial.cpio"
    names = "\n".join(str(path.relative_to(tree)) for path in [tree, *tree.rglob("*")]).encode()
    with image.open("wb") as archive:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=tree, input=names, stdout=archive, check=True)
    return image


def _copied(path: Path, tree: Path) -> None:
    target = tree / path.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy2(path.resolve(), target)


def _booted(kernel: Path, image: Path) -> str:
    """What the machine said until it switched itself off."""
    command = [
        "qemu-system-x86_64",
        "-kernel",
        str(kernel),
        "-initrd",
        str(image),
        "-m",
        "2048",
        "-nographic",
        "-no-reboot",
    ]
    command += ["-append", "console=ttyS0 quiet panic=-1 cgroup_no_v1=all"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False)
    return done.stdout.replace("\r", "") + done.stderr


if __name__ == "__main__":
    raise SystemExit(main())
