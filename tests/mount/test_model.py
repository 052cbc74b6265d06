# SPDX-License-Identifier: Apache-2.0
"""What docs/semantics.md promises of each level of coherency, on a real mount with the kernel's caches.

A seed chooses operations through larder and behind its back on the share, a plain directory, with remounts and
kills in between. The share is the truth: what it held under each name, and when, is written down behind every
operation, and what the mount shows is measured against that:

  strict, cto    what is opened shows what the share holds at that moment, whole
  strict         a handle that was opened before does too
  ttl            what is opened shows what the share held within that time, and the present when it is over
  all            a page that a handle shows was the share's in that place; our own changes show at once;
                 what is written reaches the share

tests/vfs/model_test.cc does the same on a simulated share, with faults and every order of events.
LARDER_SEED chooses the first seed, LARDER_LONG makes it hundreds. A failure prints the seed and the story.
"""
import collections
import errno
import mmap
import os
import random
import time

import pytest

from support import Larder, LocalShare, wait_until
from support.trees import seed

SEEDS = 200 if os.environ.get("LARDER_LONG") else 3
STEPS = 60
NAMES = ("a", "b", "c", "s/a", "s/b")
PAGE = 4096
LARGEST = 40_000
TTL_S = 2.0
LATE_S = 5.0
# Two changes that are nearer to each other may bear one time stamp (docs/semantics.md).
TELLABLE_S = 0.015


def is_page_of(shown, held):
    """The last one may end with another version's size, and be zeros behind its own end."""
    return held.startswith(shown) or shown.rstrip(b"\0") == held.rstrip(b"\0")


class Level:
    def __init__(self, name, options, exact=True, exact_names=True, exact_handles=False, maps=True):
        self.name = name
        self.options = options
        self.exact = exact                  # what is opened is what the share holds
        self.exact_names = exact_names      # no name is trusted
        self.exact_handles = exact_handles  # each read asks
        self.maps = maps                    # shared mappings are to be had


LEVELS = [
    Level("strict", "coherency=strict", exact_handles=True, maps=False),
    Level("cto", "", exact_names=False),
    Level("cto, nothing trusted", "attr_timeout=0,entry_timeout=0"),
    Level("ttl", f"coherency=ttl={TTL_S}", exact=False, exact_names=False),
]


class Handle:
    """A descriptor of the mount, and one of the share on the same file: what it shows is to be seen there."""

    def __init__(self, fd, truth, writes):
        self.fd = fd
        self.truth = truth
        self.writes = writes
        self.file = os.fstat(truth).st_ino
        self.behind = False  # the file was changed behind our back since

    def held(self):
        return os.pread(self.truth, 1 << 20, 0)


class Run:
    def __init__(self, larder, share, level):
        self.larder, self.share, self.level = larder, share, level
        self.random, self.story = None, []
        self.handles = []
        # (when, what was held: bytes or None), of names, and of files that are open here
        self.moments = collections.defaultdict(list)
        self.pages = collections.defaultdict(set)         # file -> (page, its bytes) that it ever held
        self.untold = set()                               # files that changed without any stamp's telling
        self.written = collections.defaultdict(float)     # file -> when it was last written through the mount

    def begin(self, number):
        """What was seen in the runs before may be trusted still."""
        self.random = random.Random(number)
        self.story = [f"LARDER_SEED={number}, {self.level.name}"]
        for name in NAMES:
            self.put(name)
        self.record()

    # -- what was done, and what the share held --------------------------------------------------

    def tell(self, *words):
        self.story.append(" ".join(map(str, words)))

    def fail(self, *words):
        raise AssertionError("\n".join([self.story[0], *self.story[1:][-60:], " ".join(map(str, words))]))

    def check(self, holds, *words):
        if not holds:
            self.fail(*words)

    def at_share(self, name):
        return self.share.source / name

    def at_mount(self, name):
        return self.larder.path / name

    def truth(self, name):
        try:
            return self.at_share(name).read_bytes()
        except FileNotFoundError:
            return None

    def file_of(self, name):
        try:
            return os.stat(self.at_share(name)).st_ino
        except FileNotFoundError:
            return None

    def note_pages(self, file, held):
        for at in range(0, len(held), PAGE):
            self.pages[file].add((at // PAGE, held[at:at + PAGE]))

    def note_moment(self, what, held):
        moments = self.moments[what]
        if not moments or moments[-1][1] != held:
            moments.append((time.monotonic(), held))

    def record(self):
        for name in NAMES:
            held = self.truth(name)
            self.note_moment(name, held)
            if held is not None:
                self.note_pages(self.file_of(name), held)
        for handle in self.handles:
            held = handle.held()
            self.note_moment(handle.file, held)
            self.note_pages(handle.file, held)

    def lately(self, since):
        """What any name held at some moment since then, and any file that is open here, whose last name may
        have gone: names are trusted apart from what files hold."""
        for moments in self.moments.values():
            for when, held in reversed(moments):
                yield held
                if when < since:
                    break

    def held_since(self, shown, since):
        """The kernel keeps pages and a size of its own: where larder has learned of another version, one
        read may show a page of before beside one of that, up to the size of before."""
        lately = list(self.lately(since))
        if shown is None or shown in lately:
            return shown in lately
        held = [content for content in lately if content is not None]
        return all(any(is_page_of(shown[at:at + PAGE], content[at:at + PAGE]) for content in held)
                   for at in range(0, len(shown), PAGE))

    # -- behind the back -------------------------------------------------------------------------

    def text(self):
        return self.random.randbytes(self.random.randrange(LARGEST))

    def put(self, name, text=None):
        with open(self.at_share(name), "wb") as file:
            file.write(self.text() if text is None else text)

    def is_written_here(self, file):
        return any(handle.writes and handle.file == file for handle in self.handles)

    def behind_the_back(self):
        name, other = self.random.choice(NAMES), self.random.choice(NAMES)
        file = self.file_of(name)
        if self.is_written_here(file) or self.is_written_here(self.file_of(other)):
            return  # who writes at the same time as others is promised nothing
        # Nor is a change that could bear the stamp of our own last one.
        time.sleep(max(0.0, self.written[file] + TELLABLE_S - time.monotonic()))
        change = self.random.choice((self.put_behind, self.replace_behind, self.same_size_behind,
                                     self.erase_behind, self.move_behind, self.link_behind))
        change(name, other)
        for handle in self.handles:
            handle.behind = handle.behind or handle.file == file

    def put_behind(self, name, _):
        self.tell("share: other content in", name)
        self.put(name)

    def replace_behind(self, name, _):
        self.tell("share: another file is", name)
        self.put("new")
        os.rename(self.at_share("new"), self.at_share(name))

    def same_size_behind(self, name, _):
        """As rsync does it: size and time of modification are as they were, where that can be."""
        held = self.truth(name)
        if not held:
            return
        before = os.stat(self.at_share(name))
        at = self.random.randrange(len(held))
        with open(self.at_share(name), "r+b") as file:
            file.seek(at)
            file.write(bytes([held[at] ^ 1]))
        if self.random.random() < 0.5:
            os.utime(self.at_share(name), ns=(before.st_atime_ns, before.st_mtime_ns))
        after = os.stat(self.at_share(name))
        told = (before.st_mtime_ns, before.st_ctime_ns) != (after.st_mtime_ns, after.st_ctime_ns)
        self.tell("share: another byte in", name, "" if told else "untold")
        (self.untold.discard if told else self.untold.add)(after.st_ino)

    def erase_behind(self, name, _):
        self.tell("share: removes", name)
        if self.file_of(name) is not None:
            os.unlink(self.at_share(name))

    def move_behind(self, name, other):
        if self.file_of(name) is not None:
            self.tell("share: renames", name, other)
            os.rename(self.at_share(name), self.at_share(other))

    def link_behind(self, name, other):
        if self.file_of(name) is not None and self.file_of(other) is None:
            self.tell("share: links", name, other)
            os.link(self.at_share(name), self.at_share(other))

    # -- through the mount -----------------------------------------------------------------------

    def through(self, words, call):
        """What the call brings, or None where it fails as it may: a name is gone or there already."""
        try:
            result = call()
        except OSError as error:
            may = (errno.ENOENT, errno.EEXIST) + (() if self.level.exact_names else (errno.ESTALE,))
            self.check(error.errno in may, words, "fails with", error)
            self.tell(words, error.strerror)
            return None
        self.tell(words)
        return result

    def open_one(self):
        if len(self.handles) == 4:
            return
        name = self.random.choice(NAMES)
        writes = self.random.random() < 0.5
        flags = os.O_RDWR if writes else os.O_RDONLY
        if writes:
            flags |= self.random.choice((0, 0, 0, os.O_TRUNC, os.O_CREAT, os.O_APPEND))
        fd = self.through(f"open {name} {flags:o}", lambda: os.open(self.at_mount(name), flags, 0o644))
        if fd is None:
            return
        truth = self.open_truth(os.fstat(fd).st_ino)
        if truth is None:  # its last name went while it was still trusted
            os.close(fd)
            return
        handle = Handle(fd, truth, writes)
        handle.behind = not self.level.exact
        self.handles.append(handle)
        self.written[handle.file] = time.monotonic() if writes else self.written[handle.file]

    def open_truth(self, file):
        for name in NAMES:
            if self.file_of(name) == file:
                return os.open(self.at_share(name), os.O_RDONLY)
        return None

    def writer(self):
        writers = [handle for handle in self.handles if handle.writes]
        return self.random.choice(writers) if writers else None

    def write_one(self):
        handle = self.writer()
        if handle is None:
            return
        before, at = handle.held(), self.random.randrange(LARGEST)
        data = self.random.randbytes(self.random.randrange(1, 20_000))
        kind = self.random.choice(("write", "write", "map", "punch", "copy", "cut"))
        self.tell(kind, "in", handle.file, at, len(data))
        wanted = self.change(kind, handle, before, at, data)
        self.written[handle.file] = time.monotonic()
        self.untold.discard(handle.file)
        if wanted is not None:
            self.check(handle.held() == wanted, "the share does not hold what was written")
            # A change of our own shows at once; what others did before this handle's open does too.
            if not handle.behind:
                self.check(os.fstat(handle.fd).st_size == len(wanted), "another size is shown")
                self.check(os.pread(handle.fd, 1 << 20, 0) == wanted, "what was written is not shown")

    def change(self, kind, handle, before, at, data):
        """Returns what the file holds then; None: that was not to be had."""
        grown = before.ljust(at, b"\0")
        if kind == "map":
            return self.write_mapped(handle, before, at, data) if self.level.maps else None
        if kind == "punch":
            os.posix_fallocate(handle.fd, at, len(data))
            return before.ljust(at + len(data), b"\0")
        if kind == "cut":
            os.ftruncate(handle.fd, at)
            return grown[:at]
        if kind == "copy":
            source = self.random.choice(self.handles)
            if source.file == handle.file or source.behind:
                return None
            taken = source.held()[:len(data)]
            left, target = len(taken), at
            appends = self.appends(handle)
            if appends:
                return None
            while left:
                try:
                    done = os.copy_file_range(source.fd, handle.fd, left, len(taken) - left, target)
                except OSError as error:
                    self.check(self.may_be_lost(source, error), "copy fails with", error)
                    return None
                self.check(done > 0, "copy_file_range copies nothing")
                left, target = left - done, target + done
            return (grown[:at] + taken + before[at + len(taken):]) if taken else before
        if self.appends(handle):
            os.write(handle.fd, data)
            return before + data
        os.pwrite(handle.fd, data, at)
        return grown[:at] + data + before[at + len(data):]

    @staticmethod
    def appends(handle):
        with open(f"/proc/self/fdinfo/{handle.fd}", encoding="ascii") as file:
            flags = next(int(line.split()[1], 8) for line in file if line.startswith("flags:"))
        return bool(flags & os.O_APPEND)

    @staticmethod
    def write_mapped(handle, before, at, data):
        if not before:
            return None
        at %= len(before)
        data = data[:len(before) - at]
        with mmap.mmap(handle.fd, len(before)) as mapped:
            mapped[at:at + len(data)] = data
            mapped.flush()
        return before[:at] + data + before[at + len(data):]

    def truncate_one(self):
        name, size = self.random.choice(NAMES), self.random.randrange(30_000)
        file = self.file_of(name)
        self.through(f"truncate {name} {size}", lambda: os.truncate(self.at_mount(name), size))
        self.written[file] = time.monotonic()
        for handle in self.handles:
            handle.behind = handle.behind or (not self.level.exact_names and handle.file == file)

    def rename_or_remove(self):
        name, other = self.random.choice(NAMES), self.random.choice(NAMES)
        path, to = self.at_mount(name), self.at_mount(other)
        kind = self.random.choice(("rename", "remove", "link", "mode"))
        files = self.file_of(name), self.file_of(other)
        if kind == "rename":
            self.through(f"rename {name} {other}", lambda: os.rename(path, to))
        elif kind == "remove":
            self.through(f"remove {name}", lambda: os.unlink(path))
        elif kind == "link":
            self.through(f"link {name} {other}", lambda: os.link(path, to))
        else:
            self.through(f"chmod {name}", lambda: os.chmod(path, self.random.choice((0o600, 0o644))))
        for file in files:
            self.written[file] = time.monotonic()

    def close_one(self):
        if self.handles:
            handle = self.handles.pop(self.random.randrange(len(self.handles)))
            self.tell("close", handle.file)
            if handle.writes:
                self.written[handle.file] = time.monotonic()
            os.close(handle.fd)
            os.close(handle.truth)

    def close_all(self):
        while self.handles:
            self.close_one()

    def restart(self):
        if self.random.random() > 0.1:
            return
        self.close_all()
        if self.random.random() < 0.5:
            self.tell("remount")
            self.larder.umount()
        else:
            self.tell("kill and mount")
            self.larder.kill9()
        self.larder.mount()

    # -- the promises ----------------------------------------------------------------------------

    def may_be_lost(self, handle, error):
        """It was opened without asking the share, and no name that is known leads to the file any more."""
        return not self.level.exact and not handle.writes and error.errno == errno.ESTALE

    def read_open(self):
        for handle in self.handles:
            if handle.file in self.untold:
                continue
            held = handle.held()
            try:
                shown = os.pread(handle.fd, 1 << 20, 0)
            except OSError as error:
                self.check(self.may_be_lost(handle, error), "handle on", handle.file, "fails with", error)
                continue
            if self.level.exact_handles or not handle.behind:
                self.check(shown == held, "handle on", handle.file, "shows", len(shown), "bytes, not",
                           len(held))
                continue
            for at in range(0, len(shown), PAGE):
                page = shown[at:at + PAGE]
                known = any(number == at // PAGE and is_page_of(page, bytes_then)
                            for number, bytes_then in self.pages[handle.file])
                self.check(known, "handle on", handle.file, "shows a page that never was, at", at)

    def show(self, name):
        try:
            return self.at_mount(name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            # Within its time a name leads to a file that is gone.
            self.check(not self.level.exact and error.errno == errno.ESTALE, name, "fails with", error)
            return "stale"

    def is_another_link(self, name, shown):
        """A name that is still trusted leads to the file under its other names."""
        young = time.monotonic() - self.moments[name][-1][0] < 5
        return not self.level.exact_names and young and any(self.truth(other) == shown for other in NAMES)

    def check_one(self, name):
        since = time.monotonic()
        shown, held = self.show(name), self.truth(name)
        if shown == "stale" or shown == held or self.file_of(name) in self.untold:
            return
        if self.level.exact:
            if shown is not None and self.is_another_link(name, shown):
                return
            self.fail(name, "shows", self.size_of(shown), "and holds", self.size_of(held))
        # Kernel and larder are given time to be late in, and the end of a run waits for the rest.
        self.check(self.held_since(shown, since - TTL_S - LATE_S), name, "shows", self.size_of(shown),
                   "which was never held;", self.nearest(name, shown))

    def nearest(self, name, shown):
        """For who reads a failure: beside which version does it stand?"""
        text = []
        for when, held in self.moments[name][-6:]:
            alike = held is not None and shown is not None and \
                sum(a == b for a, b in zip(held, shown))
            text.append(f"{time.monotonic() - when:.3f} s ago {self.size_of(held)}, {alike} alike")
        return "; ".join(text)

    @staticmethod
    def size_of(content):
        return content if content in (None, "stale") else f"{len(content)} bytes"

    def check_all(self):
        self.tell("-- all is read")
        for name in NAMES:
            self.check_one(name)
        if not self.level.exact:
            return
        for below in ("", "s"):
            shown = set(os.listdir(self.larder.path / below)) - {".larder"}
            held = set(os.listdir(self.share.source / below))
            self.check(shown == held, "lists", shown, "and holds", held)
        if self.level.exact_names:
            for name in NAMES:
                self.check_attributes(name)

    def check_attributes(self, name):
        def told(path):
            try:
                is_ = os.stat(path)
            except FileNotFoundError:
                return None
            return is_.st_ino, is_.st_mode, is_.st_nlink, is_.st_size, is_.st_mtime_ns

        shown, held = told(self.at_mount(name)), told(self.at_share(name))
        self.check(shown == held, "attributes of", name, "show", shown, "and are", held)

    def check_the_end(self):
        """What was trusted is over some time."""
        self.close_all()
        self.record()
        self.untold.clear()
        for name in NAMES:
            try:
                wait_until(lambda name=name: self.show(name) == self.truth(name), "it shows what it holds")
            except AssertionError:
                self.fail(name, "goes on to show", self.size_of(self.show(name)), "and holds",
                          self.size_of(self.truth(name)))

    def step(self):
        act = self.random.choice((self.behind_the_back, self.behind_the_back, self.open_one, self.open_one,
                                  self.write_one, self.write_one, self.write_one, self.close_one,
                                  self.truncate_one, self.rename_or_remove, self.read_open, self.restart))
        act()
        self.record()
        if self.random.random() < 0.2:
            time.sleep(self.random.random() / 50)
        if self.random.random() < 0.25:
            self.check_all()

    def steps(self, count):
        try:
            for _ in range(count):
                self.step()
            self.check_all()
            self.check_the_end()
        except OSError as error:
            self.fail("fails:", error)
        finally:
            self.close_all()


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)
def test_what_is_read_is_what_the_level_promises(workspace, level):
    share = LocalShare(workspace)
    (share.source / "s").mkdir()
    larder = Larder(workspace, share, level.options)
    run = Run(larder, share, level)
    for number in range(seed(), seed() + SEEDS):
        run.begin(number)
        run.steps(STEPS)
