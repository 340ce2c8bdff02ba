"""The examples in the documentation work as written."""

import re
from pathlib import Path
from typing import Any

import pytest

from conftest import Server

PACKAGE = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("readme", [PACKAGE / "README.md", PACKAGE.parents[1] / "README.md"], ids=["package", "main"])
def test_the_examples_run_one_after_the_other(readme: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOWNLINK_URL", server.url)
    blocks = BLOCK.findall(readme.read_text())
    assert blocks
    namespace: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(readme), "exec"), namespace)
    namespace["client"].close()
