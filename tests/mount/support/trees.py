# SPDX-License-Identifier: Apache-2.0
"""Trees of files: made, aged, hashed, compared.

Aged: larder keeps only versions whose time stamp is older than the share's granularity (2 s where it shows
whole seconds), so files that shall be cached are dated into the past.
"""
import concurrent.futures
import hashlib
import multiprocessing
import os
import pathlib
import shutil
import time
import stat

WORKERS = 4
FEW = 100  # files for which processes of their own do not pay
_CHUNK = 1 << 20
_OLD_S = 1_600_000_000


def seed():
    return int(os.environ.get("LARDER_SEED", "20240607"))


def pseudo_random(size, salt=0):
    """Content that is the same for the same seed and salt."""
    return hashlib.shake_128(f"{seed()}/{salt}".encode()).digest(size)


def write_pseudo_random(path, size, salt=0):
    """Large content, nowhere the same within."""
    with open(path, "wb") as file:
        for done in range(0, size, _CHUNK):
            file.write(pseudo_random(min(_CHUNK, size - done), f"{salt}/{done}"))


def date(path, seconds=0):
    os.utime(path, (_OLD_S + seconds, _OLD_S + seconds), follow_symlinks=False)


def let_ctime_pass(path):
    """Nobody can set a change time: until the step that it bears has passed, a version is not kept."""
    while time.time_ns() - os.lstat(path).st_ctime_ns < 20_000_000:
        pass


def age(path, seconds=0):
    """Dates a file into the past; a larger number is a later date."""
    date(path, seconds)
    let_ctime_pass(path)


def age_tree(root):
    for folder, folders, files in os.walk(root, topdown=False):
        for name in files + folders:
            date(os.path.join(folder, name))
    age(root)


def copy_tree(source, target, most):
    """At most that many files of `source`, with the folders they are in, time stamps and links."""
    copied = 0
    for folder, folders, files in os.walk(source):
        folders.sort()
        place = pathlib.Path(target) / os.path.relpath(folder, source)
        place.mkdir(parents=True, exist_ok=True)
        for name in sorted(files):
            path = os.path.join(folder, name)
            kind = os.lstat(path).st_mode
            if copied == most or not (stat.S_ISREG(kind) or stat.S_ISLNK(kind)):
                continue
            shutil.copy2(path, place / name, follow_symlinks=False)
            copied += 1
        for name in list(folders):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                os.symlink(os.readlink(path), place / name)
                folders.remove(name)
        if copied == most:
            break
    return copied


def hash_file(path, forget=False):
    """SHA-256. `forget`: the kernel's pages of it go first, so that the reads reach the file system."""
    with open(path, "rb", buffering=0) as file:
        if forget:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        digest = hashlib.sha256()
        buffer = bytearray(_CHUNK)
        view = memoryview(buffer)
        while count := file.readinto(buffer):
            digest.update(view[:count])
    return digest.hexdigest()


def _hash_some(paths, forget):
    found = []
    for path in paths:
        try:
            found.append(hash_file(path, forget))
        except OSError as error:
            found.append(f"error {error.errno}: {error.strerror}")
    return found


def _entries(root):
    """path below root -> "dir", "link TARGET" or None for files, in order."""
    found = {}
    waiting = [""]
    while waiting:
        below = waiting.pop()
        with os.scandir(os.path.join(root, below)) as entries:
            for entry in entries:
                name = os.path.join(below, entry.name)
                if entry.is_symlink():
                    found[name] = "link " + os.readlink(entry.path)
                elif entry.is_dir(follow_symlinks=False):
                    found[name] = "dir"
                    waiting.append(name)
                else:
                    found[name] = None
    return found


def hash_tree(root, forget=False):
    """Path below root -> what it is; files by SHA-256, read by several processes."""
    root = str(root)
    found = _entries(root)
    files = sorted(name for name, what in found.items() if what is None)
    paths = [os.path.join(root, name) for name in files]
    if len(files) < FEW:
        for name, digest in zip(files, _hash_some(paths, forget)):
            found[name] = digest
        return found
    # Interleaved, so that the large ones of one folder are not one worker's.
    parts = [paths[n::WORKERS * 4] for n in range(WORKERS * 4)]
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(WORKERS, mp_context=context) as workers:
        for part, hashes in zip(parts, workers.map(_hash_some, parts, [forget] * len(parts))):
            for path, digest in zip(part, hashes):
                found[path[len(root) + 1:]] = digest
    return found


def differences(expected, found):
    """Lines that tell what differs; empty: nothing."""
    lines = []
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            lines.append(f"{name}: {expected.get(name, 'not there')} became {found.get(name, 'not there')}")
    return lines


def read_all(path):
    with open(path, "rb", buffering=0) as file:
        return file.readall()
