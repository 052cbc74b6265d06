# SPDX-License-Identifier: Apache-2.0
"""The control files and larderctl, asked wrongly."""
import os
import subprocess

import pytest

from support import LARDERCTL, Larder, hash_tree, is_mounted, wait_until


def ctl(*arguments):
    done = subprocess.run([LARDERCTL, *map(str, arguments)], check=False, capture_output=True, text=True,
                          timeout=30)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("command", ["status", "stats", "objects", "options", "version"])
def test_larderctl_on_what_is_no_larder(workspace, command):
    for place in (workspace.path, workspace / "gone", "/dev/null", ""):
        code, out, line = ctl(command, place)
        assert code == 1 and out == ""
        assert line.startswith("larderctl: ") and line.count("\n") == 1, line


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["stats"], ["stats", "a", "b"],
                                       ["stats", "--nonsense", "x"]], ids=repr)
def test_larderctl_with_a_wrong_command_line(arguments):
    code, out, line = ctl(*arguments)
    assert code == 1 and out == ""
    assert 0 < len(line) < 400


def test_unknown_filter_letters(workspace, share):
    larder = Larder(workspace, share)
    hash_tree(larder.path)
    plain = (larder.path / ".larder" / "objects:K").read_text()
    assert plain
    odd = (larder.path / ".larder" / "objects:K!?9\u00e4").read_text()
    assert len(odd.splitlines()) == len(plain.splitlines()), "unknown letters mean nothing"
    code, out, line = ctl("objects", larder.path, "--filter", "KX")
    assert code == 1 and out == ""
    assert "X" in line and line.count("\n") == 1
    code, out, line = ctl("objects", larder.path, "--filter", "KB")
    assert code == 0 and line == ""


def test_control_files_cannot_be_changed(workspace, share):
    larder = Larder(workspace, share)
    control = larder.path / ".larder"
    attempts = [lambda: (control / "new").write_bytes(b"x"), lambda: os.unlink(control / "stats"),
                lambda: os.rename(control / "stats", control / "other"), lambda: os.rmdir(control),
                lambda: os.rename(control, larder.path / "moved"), lambda: os.mkdir(control / "d"),
                lambda: os.rename(larder.path / "large", control / "large"),
                lambda: os.link(larder.path / "large", control / "large"),
                lambda: os.link(control / "stats", larder.path / "stats"),
                lambda: os.symlink("x", control / "x"), lambda: os.truncate(control / "stats", 0),
                lambda: os.chmod(control / "stats", 0o777), lambda: (control / "stats").write_bytes(b""),
                lambda: os.mkdir(larder.path / ".larder"),
                lambda: os.rename(larder.path / "large", larder.path / ".larder"),
                lambda: os.listdir(control / "stats"), lambda: (control / "gone").read_bytes(),
                lambda: (control / "objectsX").read_bytes(), lambda: os.setxattr(control, "user.x", b"")]
    for n, attempt in enumerate(attempts):
        try:
            attempt()
        except OSError:
            continue
        pytest.fail(f"attempt {n} went through")
    assert sorted(os.listdir(share.source)) == ["folder", "large"]
    for name in os.listdir(control):
        assert (control / name).read_bytes() is not None
    assert ".larder" not in os.listdir(larder.path)
    wait_until(lambda: is_mounted(larder.path), "it is still there")


def test_a_file_of_the_share_that_is_called_as_the_control_directory(workspace, share):
    (share.source / ".larder").write_bytes(b"hidden by the control files")
    larder = Larder(workspace, share)
    assert os.path.isdir(larder.path / ".larder")
    larder.remount("control=.elsewhere")
    assert (larder.path / ".larder").read_bytes() == b"hidden by the control files"
    assert (larder.path / ".elsewhere" / "version").read_text().startswith("larder ")
