"""Archives as strangers send them, made in code: good ones of odd kinds, hostile and damaged ones, and what becomes of each."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

from pets import photo, two_classes

EIGHT = {"cat": 4, "dog": 4}
PETS = two_classes(4)


@dataclass(frozen=True)
class Case:
    """`make` gives the bytes. Either the import finds `images` in classes and skips `skipped`, or it refuses with `words`."""

    make: Callable[[], bytes]
    images: dict[str, int] | None = None
    skipped: int = 0
    words: str = ""


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, **rest: bool) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for path, data in files.items():
            with archive.open(zipfile.ZipInfo(path) if not method else path, "w", **rest) as member:
                member.write(data)
    return out.getvalue()


def tar_of(files: dict[str, bytes], format: int = tarfile.PAX_FORMAT, more: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for member in more:
            archive.addfile(member)
    return out.getvalue()


def odd(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def streamed() -> bytes:
    """Sizes stand behind the data, as tools write that cannot seek."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise io.UnsupportedOperation

    out = Pipe()
    with zipfile.ZipFile(out, "w") as archive:
        for path, data in PETS.items():
            archive.writestr(path, data)
    return out.getvalue()


def patched(data: bytes, mark: bytes, at: int, new: bytes) -> bytes:
    """`new` at `at` bytes behind the beginning of each record that begins with `mark`."""
    changed, place = bytearray(data), data.find(mark)
    while place >= 0:
        changed[place + at : place + at + len(new)] = new
        place = data.find(mark, place + 1)
    return bytes(changed)


def lying_size() -> bytes:
    """One member that says 100 bytes and unpacks to 19 MB."""
    data = zip_of({"cat/bomb.jpg": b"\xff\xd8\xff" + bytes(19_000_000)})
    small = struct.pack("<L", 100)
    one = patched(patched(data, b"PK\1\2", 24, small), b"PK\3\4", 22, small)
    return joined(one, PETS)


def joined(first: bytes, files: dict[str, bytes]) -> bytes:
    out = io.BytesIO(first)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return out.getvalue()


def special_modes() -> bytes:
    out = io.BytesIO(zip_of(PETS))
    with zipfile.ZipFile(out, "a") as archive:
        for name, kind in (("link", stat.S_IFLNK), ("pipe", stat.S_IFIFO), ("disk", stat.S_IFBLK)):
            member = zipfile.ZipInfo(f"cat/{name}.jpg")
            member.create_system, member.external_attr = 3, (kind | 0o4755) << 16
            archive.writestr(member, photo(8))
    return out.getvalue()


def nested(levels: int) -> bytes:
    data = zip_of(PETS)
    for _ in range(levels):
        data = zip_of({f"cat/{i}.zip": data for i in range(3)})
    return data


def long_name_lie() -> bytes:
    """A GNU header that announces a name of 8 GB, as far as its octal digits go."""
    header = bytearray(odd("././@LongLink", tarfile.GNUTYPE_LONGNAME).tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"77777777777\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + tar_of(PETS)


ODD = (odd("cat/link.jpg", tarfile.SYMTYPE, "/etc/passwd"), odd("cat/hard.jpg", tarfile.LNKTYPE, "../../x"),
       odd("dog/pipe.jpg", tarfile.FIFOTYPE), odd("dog/disk.jpg", tarfile.BLKTYPE))  # fmt: skip
UNSAFE = {name: photo(7) for name in ("../../x.jpg", "/tmp/x.jpg", "C:/x.jpg", "cat/../../../x.jpg")}
GBK = {path.replace("cat", "小猫").replace("dog", "小狗"): data for path, data in PETS.items()}
CSV = {f"images/{path.replace('/', '_')}": data for path, data in PETS.items()}
TABLE = b"file,label,split\n" + b"".join(b"cat_%d.jpg,cat,train\ndog_%d.jpg,dog,test\n" % (i, i) for i in range(4))

CASES: dict[str, Case] = {
    "plain.zip": Case(lambda: zip_of(PETS), EIGHT),
    "stored.zip": Case(lambda: zip_of(PETS, zipfile.ZIP_STORED), EIGHT),
    "bzip2.zip": Case(lambda: zip_of(PETS, zipfile.ZIP_BZIP2), EIGHT),
    "lzma.zip": Case(lambda: zip_of(PETS, zipfile.ZIP_LZMA), EIGHT),
    "zip64.zip": Case(lambda: zip_of(PETS, force_zip64=True), EIGHT),
    "streamed.zip": Case(streamed, EIGHT),
    "prefix.zip": Case(lambda: b"#!/bin/sh\nexit\n" + zip_of(PETS), EIGHT),
    "utf8.zip": Case(lambda: zip_of(GBK), {"小狗": 4, "小猫": 4}),
    "wrapped.zip": Case(lambda: zip_of({f"a/b/{path}": data for path, data in PETS.items()}), EIGHT),
    "plain.tar": Case(lambda: tar_of(PETS), EIGHT),
    "dots.tar": Case(lambda: tar_of({f"./{path}": data for path, data in PETS.items()}, tarfile.USTAR_FORMAT), EIGHT),
    "gnu.tar": Case(lambda: tar_of({"w" * 150 + "/" + path: data for path, data in PETS.items()}, tarfile.GNU_FORMAT), EIGHT),
    "plain.tar.gz": Case(lambda: gzip.compress(tar_of(PETS)), EIGHT),
    "plain.tgz": Case(lambda: gzip.compress(tar_of(PETS)), EIGHT),
    "tar called.zip": Case(lambda: gzip.compress(tar_of(PETS)), EIGHT),
    "zip called.tar.gz": Case(lambda: zip_of(PETS), EIGHT),
    "csv.zip": Case(lambda: zip_of(CSV | {"labels.csv": TABLE}), EIGHT),
    "csv.tar.gz": Case(lambda: gzip.compress(tar_of(CSV | {"labels.csv": TABLE})), EIGHT),
    "unsafe.zip": Case(lambda: zip_of(UNSAFE | PETS), EIGHT, skipped=4),
    "unsafe.tar.gz": Case(lambda: gzip.compress(tar_of(UNSAFE | PETS)), EIGHT, skipped=4),
    "modes.zip": Case(special_modes, EIGHT, skipped=3),
    "links.tar": Case(lambda: tar_of(PETS, more=ODD), EIGHT, skipped=4),
    "size lie.zip": Case(lying_size, EIGHT, skipped=1),
    "size claim.zip": Case(lambda: joined(patched(zip_of({"cat/x.jpg": photo(9)}), b"PK\1\2", 24, b"\xff\xff\xff\x7f"), PETS),
                           EIGHT, skipped=1),
    "nested.zip": Case(lambda: nested(2), words="an archive inside"),
    "flat bomb.zip": Case(lambda: zip_of({f"cat/{i}.jpg": b"\xff\xd8\xff" + bytes(8_000_000) for i in range(4)}),
                          words="when unpacked"),
    "gzip bomb.tar.gz": Case(lambda: gzip.compress(bytes(50_000_000), 1), words="damaged, or not a tar|unpacked"),
    "empty.zip": Case(lambda: zip_of({}), words="empty.zip is empty"),
    "empty.tar.gz": Case(lambda: gzip.compress(tar_of({})), words="empty.tar.gz is empty"),
    "no names.zip": Case(lambda: zip_of({p.replace("cat", "ü"): d for p, d in PETS.items()}).replace("ü".encode(), b"\xff\xfe"),
                         words="names that cannot be read"),
    "bomb.tar.gz": Case(lambda: gzip.compress(tar_of({"cat/1.jpg": bytes(50_000_000)}), 1), words="when unpacked"),
    "many.tar.gz": Case(lambda: gzip.compress(tar_of({f"cat/{i}.jpg": b"" for i in range(5_001)}), 1), words="more than 5,000"),
    "many.zip": Case(lambda: zip_of({f"cat/{i}.jpg": b"" for i in range(5_001)}), words="more than 5,000"),
    "long name.tar": Case(long_name_lie, words="damaged, or not a tar"),
    "cut.tar.gz": Case(lambda: gzip.compress(tar_of(PETS))[:-300], words="damaged or incomplete"),
    "cut.tar": Case(lambda: tar_of(PETS)[:3_000], words="damaged, or not a tar"),
    "gzip of text.gz": Case(lambda: gzip.compress(b"hello " * 500), words="damaged, or not a tar"),
    "password.zip": Case(lambda: patched(zip_of(PETS), b"PK\1\2", 8, b"\1"), words="password"),
    "deflate64.zip": Case(lambda: patched(patched(zip_of(PETS), b"PK\1\2", 10, b"\x09"), b"PK\3\4", 8, b"\x09"),
                          words="not supported"),
    "wrong sums.zip": Case(lambda: patched(patched(zip_of(PETS), b"PK\1\2", 16, b"\0" * 4), b"PK\3\4", 14, b"\0" * 4),
                           words="damaged"),
    "half.zip": Case(lambda: zip_of(PETS)[:2_000], words="damaged or incomplete"),
    "text.zip": Case(lambda: b"<html>404</html>", words="not a zip"),
    "seven.7z": Case(lambda: b"7z\xbc\xaf\x27\x1c" + bytes(100), words="7z archive"),
    "xz.tar.xz": Case(lambda: b"\xfd7zXZ\0" + bytes(100), words="an xz archive"),
    "two tables.zip": Case(lambda: zip_of(CSV | {"a.csv": TABLE, "b.csv": TABLE}), words="2 tables of labels"),
}  # fmt: skip
