"""What `make setup` leaves under npm/: the anvil binary and the contracts' creation code."""

import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from core.errors import BadConfig

# anvil's packages are named after Go's architectures.
ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


class _Artifact(msgspec.Struct):
    bytecode: str


@dataclass(frozen=True, slots=True)
class Artifacts:
    """The npm folder of a checkout; nothing in it is part of an installed wheel."""

    npm: Path = Path(__file__).resolve().parent.parent / "npm"

    def anvil(self) -> Path:
        """Return the path of the anvil binary; BadConfig if it is not installed."""
        machine = platform.machine().lower()
        package = f"anvil-{sys.platform}-{ARCHITECTURES.get(machine, machine)}"
        binary = self.npm / "node_modules" / "@foundry-rs" / package / "bin" / "anvil"
        if not binary.is_file():
            raise BadConfig("anvil not found under npm/node_modules; run `make setup` (npm ci in npm/)")
        return binary

    def bytecode(self, name: str) -> bytes:
        """Return the creation code of a contract; BadConfig if it has not been compiled."""
        path = self.npm / "build" / f"{name}.json"
        try:
            artifact = msgspec.json.decode(path.read_bytes(), type=_Artifact)
            return bytes.fromhex(artifact.bytecode.removeprefix("0x"))
        except FileNotFoundError as error:
            raise BadConfig(f"{name} not found under npm/build; run `make setup` (npm run compile in npm/)") from error
        except (msgspec.DecodeError, ValueError) as error:
            raise BadConfig(f"npm/build/{name}.json: {error}; delete npm/build and run `make setup`") from error

    def stamp(self) -> str:
        """Return the fingerprint of sources and versions that npm/build was made from."""
        try:
            return (self.npm / "build" / ".stamp").read_text(encoding="ascii")
        except FileNotFoundError as error:
            raise BadConfig("npm/build is missing or half made; run `make setup` (npm run compile in npm/)") from error
