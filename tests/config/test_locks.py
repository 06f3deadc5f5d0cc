"""`uv.lock` and `constraints.txt` say the same, and name no place but PyPI's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
LOCK = tomllib.loads((ROOT / "uv.lock").read_text())
PINS = {
    re.sub(r"[-_.]+", "-", name).lower(): version
    for name, version in re.findall(
        r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M
    )
}


def test_the_lock_has_the_versions_of_the_constraints() -> None:
    locked = {p["name"]: p["version"] for p in LOCK["package"] if "registry" in p["source"]}
    both = set(locked) & set(PINS)
    assert {name: locked[name] for name in both} == {name: PINS[name] for name in both}
    assert locked["torch"] == "2.13.0"
    assert set(PINS) <= set(locked)
    # of other systems than Linux, for which the constraints are not made
    assert set(locked) - set(PINS) <= {"appnope", "colorama", "tomlkit"}


def test_the_lock_names_no_place_but_pypi() -> None:
    text = (ROOT / "uv.lock").read_text()
    hosts = {urlsplit(url).netloc for url in re.findall(r'"([a-z+]+://[^"]*)"', text)}
    assert hosts == {"pypi.org", "files.pythonhosted.org"}
    paths = [p["source"] for p in LOCK["package"] if "registry" not in p["source"]]
    assert paths == [{"editable": "."}]


@pytest.mark.slow
def test_the_lock_is_that_of_the_project() -> None:
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed: pip install uv")
    environment = {"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt", **os.environ}
    if not Path(environment["SSL_CERT_FILE"]).is_file():
        del environment["SSL_CERT_FILE"]
    checked = subprocess.run(
        ["uv", "lock", "--check"], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    if "error sending request" in checked.stderr or "Network" in checked.stderr:
        pytest.skip("the registry is not reached")
    assert checked.returncode == 0, checked.stderr
