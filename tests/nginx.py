"""nginx in front of servers, with the lines that a document has."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time

import pytest
from support import missing

PATIENCE = 20
AROUND = """daemon off; master_process off; pid nginx.pid; error_log stderr;
events {{}}
http {{
    access_log off; client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    {}
}}
"""
CERTIFICATE = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key -out pem"


def blocks(document):
    """Return the blocks of nginx's configuration in a document."""
    return re.findall(r"^```nginx\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL)


def free_port():
    """Return a port that nobody listens on: nginx cannot choose one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextlib.contextmanager
def proxied(folder, block, ports, at):
    """Run nginx with a block of a document, on the port `at` of this machine, until the end.

    The block keeps all its lines, but for ports and files. `ports` has the port of a server for
    each one that is in the block.
    """
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        missing("nginx is not installed")
    block = re.sub(r"listen (80|443)", f"listen 127.0.0.1:{at}", block)
    block = re.sub(r"127\.0\.0\.1:(3\d\d\d)\b", lambda name: f"127.0.0.1:{ports[name[1]]}", block)
    block = re.sub(r"/etc/ssl/chat.example.(pem|key)", r"\1", block)
    folder.mkdir()
    (folder / "nginx.conf").write_text(AROUND.format(block))
    if "ssl" in block:
        command = ["openssl", *CERTIFICATE.split()]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    command = [nginx, "-p", folder, "-c", "nginx.conf", "-e", "stderr"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            _await_port(at)
            yield
        finally:
            process.terminate()


def _await_port(at):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with (
            contextlib.suppress(ConnectionRefusedError),
            socket.create_connection(("127.0.0.1", at)),
        ):
            return
        time.sleep(0.02)
    pytest.fail("nginx does not listen")
