# SPDX-License-Identifier: Apache-2.0
"""Shares to mount larder over: a plain directory, slowshare, and sshfs to an sshd of our own."""
import json
import os
import pathlib
import pwd
import shutil
import socket
import subprocess

from .processes import PATIENCE_S, SLOWSHARE, wait_until
from .workspace import is_mounted


class LocalShare:
    """A directory of this machine. `source` is where tests change things behind larder's back."""

    def __init__(self, workspace, name="share"):
        self.source = workspace.folder(name)
        self.path = self.source


class Slowshare:
    """tools/slowshare over `source`, mounted at `path`, told what to do by its control socket."""

    def __init__(self, workspace, options="", name="slow"):
        self.workspace = workspace
        self.source = workspace.folder(f"{name}-source")
        self.path = workspace.folder(name)
        self.control = workspace / f"{name}.ctl"
        self.options = options
        self.process = None
        self.start()

    def start(self):
        self.control.unlink(missing_ok=True)
        words = [f"control={self.control}", self.options or "latency=0"]
        self.process = self.workspace.spawn(
            [SLOWSHARE, "-f", "-o", ",".join(words), self.source, self.path])
        wait_until(lambda: self.process.poll() is not None or self._answers(), "slowshare is mounted")
        assert self.process.poll() is None, self.process.log.read_text()
        self.workspace.on_leave.append(self._let_go)

    def _answers(self):
        try:
            return bool(self.ctl("stats")) and is_mounted(self.path)
        except OSError:
            return False

    def _let_go(self):
        if self.process.poll() is None:
            self.ctl("clear")

    def ctl(self, *command):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.settimeout(PATIENCE_S)
            server.connect(str(self.control))
            server.sendall((" ".join(command) + "\n").encode())
            answer = b"".join(iter(lambda: server.recv(65536), b"")).decode()
        assert answer.startswith("ok\n"), answer
        return answer[3:]

    def stats(self):
        return json.loads(self.ctl("stats", "json"))

    def wait_for_parked(self, count):
        wait_until(lambda: self.stats()["parked"] >= count, f"{count} requests hang in slowshare")


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _password_is_locked():
    done = subprocess.run(["getent", "shadow", pwd.getpwuid(os.geteuid()).pw_name], check=False,
                          capture_output=True, text=True)
    return done.stdout.split(":")[1:2] != [] and done.stdout.split(":")[1].startswith("!")


class SshShare:
    """An sshd with keys, port and configuration of its own, and `source` mounted over it by sshfs."""

    OPTIONS = "dcache_timeout=0,attr_timeout=0"

    def __init__(self, workspace, name="ssh"):
        for program in ("sshfs", "ssh", "ssh-keygen", "/usr/sbin/sshd"):
            assert shutil.which(program), f"{program} is missing"
        self.workspace = workspace
        self.source = workspace.folder(f"{name}-source")
        self.path = workspace.folder(name)
        self.home = workspace.folder(f"{name}-sshd")
        os.chmod(self.home, 0o700)
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.port = 0
        self.server = None
        self.process = None
        self._make_keys()
        self._start_server()
        self.mount()

    def _make_keys(self):
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "larder-test", "-f",
                            self.home / key], check=True)
        shutil.copy(self.home / "user.pub", self.home / "authorized_keys")

    def _configuration(self):
        # A locked password refuses keys too, unless PAM is asked.
        pam = "yes" if _password_is_locked() else "no"
        lines = [f"Port {self.port}", "ListenAddress 127.0.0.1", f"HostKey {self.home}/host",
                 f"AuthorizedKeysFile {self.home}/authorized_keys", "PidFile none", "StrictModes no",
                 f"UsePAM {pam}", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
                 "PermitRootLogin prohibit-password", "UseDNS no", "Subsystem sftp internal-sftp"]
        return "\n".join(lines) + "\n"

    def _start_server(self):
        privileges = pathlib.Path("/run/sshd")
        if os.geteuid() == 0 and not privileges.exists():
            privileges.mkdir(mode=0o755)
            self.workspace.on_leave.append(lambda: privileges.rmdir())
        for _ in range(5):  # somebody else may take the port first
            self.port = _free_port()
            (self.home / "config").write_text(self._configuration())
            self.server = self.workspace.spawn(
                ["/usr/sbin/sshd", "-D", "-e", "-f", self.home / "config"])
            wait_until(lambda: self.server.poll() is not None or self._listens(), "sshd listens")
            if self.server.poll() is None:
                break
        assert self.server.poll() is None, self.server.log.read_text()
        host = (self.home / "host.pub").read_text().split()
        (self.home / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host[0]} {host[1]}\n")

    def _listens(self):
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def mount(self):
        words = [f"port={self.port}", f"IdentityFile={self.home}/user", "IdentitiesOnly=yes",
                 f"UserKnownHostsFile={self.home}/known_hosts", "StrictHostKeyChecking=yes",
                 "BatchMode=yes", self.OPTIONS]
        self.process = self.workspace.spawn(
            ["sshfs", "-f", "-F", "/dev/null", "-o", ",".join(words),
             f"{self.user}@127.0.0.1:{self.source}", self.path])
        wait_until(lambda: self.process.poll() is not None or is_mounted(self.path), "sshfs is mounted")
        assert self.process.poll() is None, \
            self.process.log.read_text() + self.server.log.read_text()

    def go_away(self):
        """As when the connection dies and the share is unmounted: an empty local directory is left."""
        self.process.kill()
        self.process.wait()
        subprocess.run(["umount", "-l", self.path], check=True)
        assert not is_mounted(self.path)
