"""Archives are read without unpacking them, and refused as a whole when they are made to do harm."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest

from prorl_mega.data.canonical import Domain
from prorl_mega.data.schemas import read
from prorl_mega.errors import DataError

LINE = b'{"prompt": "1+1?", "answer": "2"}\n'
ESCAPES = ["../evil.jsonl", "data/../../evil.jsonl", "/etc/evil.jsonl", "..\\evil.jsonl", "C:\\evil.jsonl"]


def load(path: Path) -> list[str]:
    return [row.place for row in read(str(path), Domain.math).rows]


def zipped(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, **files: bytes) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def test_files_in_archives_are_read(tmp_path: Path) -> None:
    files = {"data/a.jsonl": LINE * 2, "data/b.jsonl": LINE, "data/README.md": b"x"}
    for path in (zipped(tmp_path / "x.zip", **files), tarred(tmp_path / "x.tar", **files),
                 tarred(tmp_path / "x.tar.gz", **files)):  # fmt: skip
        assert load(path) == [f"{path}/data/a.jsonl:1", f"{path}/data/a.jsonl:2", f"{path}/data/b.jsonl:1"]
    single = tmp_path / "one.jsonl.gz"
    single.write_bytes(gzip.compress(LINE))
    assert load(single) == [f"{single}/one.jsonl:1"]
    assert {path.name for path in tmp_path.iterdir()} == {"x.zip", "x.tar", "x.tar.gz", "one.jsonl.gz"}


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_names_outside_are_refused(tmp_path: Path, name: str, pack: object) -> None:
    path = (zipped if pack is zipped else tarred)(
        tmp_path / ("x.zip" if pack is zipped else "x.tar"), **{"good.jsonl": LINE, name: LINE}
    )
    with pytest.raises(DataError, match=r"the archive names .*evil\.jsonl', a place outside of it"):
        load(path)


def test_links_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        entry = tarfile.TarInfo("data.jsonl")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    with pytest.raises(DataError, match=r"holds 'data\.jsonl', which is a link or a device"):
        load(tmp_path / "x.tar")


def test_pickles_and_broken_archives_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pickled objects"):
        load(zipped(tmp_path / "x.zip", **{"a.jsonl": LINE, "b.pkl": b"x"}))
    with pytest.raises(DataError, match=r"has no \.jsonl"):
        load(zipped(tmp_path / "y.zip", **{"a.txt": LINE}))
    whole = tarred(tmp_path / "x.tar.gz", **{"a.jsonl": LINE * 100_000}).read_bytes()
    (tmp_path / "x.tar.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "z.zip").write_bytes(b"PK nothing")
    (tmp_path / "g.jsonl.gz").write_bytes(gzip.compress(LINE * 100)[:-12])
    for name in ("x.tar.gz", "z.zip", "g.jsonl.gz"):
        with pytest.raises(DataError, match=rf"{name}: not an archive that can be read"):
            load(tmp_path / name)


BLANKS = b"[" + b" " * (96 << 20)  # JSON so far, a thousandth of it when it is compressed


@pytest.mark.parametrize("name", ["x.zip", "x.json.gz", "x.tar.gz", "x.tar.xz", "x.tar.bz2", "names.tar.gz"])
def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path, name: str) -> None:
    """Also in the list of names, of which a tar archive has to unpack everything between them."""
    path = tmp_path / name
    if name == "x.zip":
        zipped(path, **{"a.json": BLANKS})
    elif name == "x.json.gz":
        path.write_bytes(gzip.compress(BLANKS))
    else:
        kinds = {"gz": gzip.compress, "xz": lambda each: lzma.compress(each, preset=0), "bz2": bz2.compress}
        entries = {"long": BLANKS, "a.json": b"[]"} if name.startswith("names") else {"a.json": BLANKS}
        plain = tarred(tmp_path / "plain.tar", **entries)
        path.write_bytes(kinds[name.rpartition(".")[2]](plain.read_bytes()))
    with pytest.raises(DataError, match=rf"{name}: unpacks to more than \d+ bytes, 100 times its size and 64 MiB"):
        load(path)


def test_what_compresses_well_and_is_small_is_no_bomb(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", **{"a.jsonl": LINE * 100_000})
    assert path.stat().st_size * 200 < len(LINE) * 100_000
    assert len(load(path)) == 100_000


def test_holes_are_refused(tmp_path: Path) -> None:
    """A file of some bytes that says that it has a terabyte of zeros."""
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        entry = tarfile.TarInfo("data.jsonl")
        entry.type = tarfile.GNUTYPE_SPARSE
        block = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
        block[483:495] = b"%011o\0" % (1 << 32)  # its real size
        block[148:156] = b"%06o\0 " % (256 + sum(block[:148]) + sum(block[156:512]))
        assert archive.fileobj is not None
        archive.fileobj.write(bytes(block))
        archive.offset += 512
    with pytest.raises(DataError, match=r"holds 'data\.jsonl', which is a link or a device, or full of holes"):
        load(tmp_path / "x.tar")
