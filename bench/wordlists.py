"""Makes the word lists of `privacy/detectors`, from three pinned packages on PyPI; run it only to renew them.

    python bench/wordlists.py FOLDER

FOLDER holds `pyspellchecker-0.9.1-py3-none-any.whl` (MIT), `jieba-0.42.1.tar.gz` (MIT) and
`opencc_python_reimplemented-0.1.7-py2.py3-none-any.whl` (Apache-2.0), as `pip download --no-deps` leaves them.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
import tarfile
import zipfile
from pathlib import Path

from privacy.detectors.gazetteer import plain, surnames
from privacy.detectors.words import CHINESE_FILE, LATIN_FILE

LANGUAGES = ("de", "en", "es", "fr", "it", "nl", "pt")
COMMON = 10_000
"""Words of each language, by how often films say them."""


def latin(wheel: Path) -> list[str]:
    found: set[str] = set()
    with zipfile.ZipFile(wheel) as files:
        for language in LANGUAGES:
            counts = json.loads(gzip.decompress(files.read(f"spellchecker/resources/{language}.json.gz")))
            found |= {plain(word) for word in sorted(counts, key=counts.get, reverse=True)[:COMMON]}
    return sorted(word for word in found if word.isalpha() and len(word) > 1)


def chinese(archive: Path) -> list[str]:
    with tarfile.open(archive) as files:
        member = files.extractfile("jieba-0.42.1/jieba/dict.txt")
        assert member is not None
        rows = [row.split() for row in member.read().decode().splitlines()]
    kept = [w for w, count, tag in rows if len(w) >= 2 and int(count) >= 5 and not tag.startswith("nr")]
    also = [w for w, count, tag in rows if len(w) == 2 and int(count) >= 1000]  # "王朝", tagged as a name
    return sorted({w for w in [*kept, *also] if all("\u4e00" <= c <= "\u9fff" for c in w)})


def given_names(archive: Path) -> list[str]:
    """What follows a surname in the names that jieba knows."""
    with tarfile.open(archive) as files:
        member = files.extractfile("jieba-0.42.1/jieba/dict.txt")
        assert member is not None
        rows = [row.split() for row in member.read().decode().splitlines()]
    return sorted({w[1:] for w, _, tag in rows if tag == "nr" and len(w) == 3 and w[0] in surnames()})


def simplified(wheel: Path) -> list[str]:
    """Pairs of a traditional character and its simplified one."""
    with zipfile.ZipFile(wheel) as files:
        rows = files.read("opencc/dictionary/TSCharacters.txt").decode().splitlines()
    pairs = (row.split("\t") for row in rows if "\t" in row)
    return sorted(
        a + b[0] for a, b in pairs if len(a) == 1 and "\u4e00" <= a <= "\u9fff" and "\u4e00" <= b[0] <= "\u9fff"
    )


def write(path: Path, rows: list[str]) -> None:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=9, mtime=0) as packed:
        packed.write("\n".join(rows).encode())
    path.write_bytes(buffer.getvalue())
    print(f"{path.name}: {len(rows)} rows, {len(buffer.getvalue())} bytes")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    write(LATIN_FILE, latin(folder / "pyspellchecker-0.9.1-py3-none-any.whl"))
    pairs = simplified(folder / "opencc_python_reimplemented-0.1.7-py2.py3-none-any.whl")
    write(
        CHINESE_FILE,
        [
            "".join(pairs),
            "".join(given_names(folder / "jieba-0.42.1.tar.gz")),
            *chinese(folder / "jieba-0.42.1.tar.gz"),
        ],
    )


if __name__ == "__main__":
    main()
