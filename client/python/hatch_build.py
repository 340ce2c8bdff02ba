"""Generates `downlink.v1`, the messages and stubs of the API, from the proto files whenever the package is built."""

import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "downlink/v1"


class GenerateStubs(BuildHookInterface[Any]):
    """Lays the generated files among the sources, where an editable install finds them too; git ignores them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Is called by the build, before it collects the files."""
        # Only here: a source distribution is made without this.
        from grpc_tools import protoc  # noqa: PLC0415

        protos = self.protos()
        sources = Path(self.root, "src")
        package = sources / PACKAGE
        shutil.rmtree(package, ignore_errors=True)
        package.mkdir(parents=True)
        (package / "__init__.py").write_text('"""The API as it is on the wire, generated from its proto files."""\n')
        outputs = [f"--{kind}_out={sources}" for kind in ("python", "pyi", "grpc_python")]
        includes = [f"-I{protos}", f"-I{files('grpc_tools') / '_proto'}"]
        names = sorted(str(path) for path in (protos / PACKAGE).glob("*.proto"))
        if protoc.main(["protoc", *includes, *outputs, *names]) != 0:
            raise RuntimeError(f"the proto files in {protos} do not compile")

    def protos(self) -> Path:
        """Where the proto files are: inside a source distribution, or at the root of the repository."""
        for place in (Path(self.root, "proto"), Path(self.root, "../../proto").resolve()):
            if (place / PACKAGE).is_dir():
                return place
        raise RuntimeError("there are no proto files: build from the repository or from a source distribution")
