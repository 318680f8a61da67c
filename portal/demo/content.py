"""The demo's state repository: the files under `state/`, with the connections of the servers that were started."""

from pathlib import Path
from string import Template

import yaml

from playbooks.servers import Testbed

STATE = Path(__file__).parent / "state"


def system_types() -> dict[str, str]:
    """System -> type, as the files under `state/systems` say."""
    return {file.stem: yaml.safe_load(file.read_text())["type"] for file in sorted(STATE.glob("systems/*.yml"))}


def members() -> dict[str, list[str]]:
    """Team -> its members' usernames."""
    return {file.stem: yaml.safe_load(file.read_text())["members"] for file in sorted(STATE.glob("teams/*.yml"))}


def given(beds: dict[str, Testbed]) -> dict[str, str]:
    """What documents may name: `edge_test_blue_port` is the `blue_port` of the test bed of `edge-test`."""
    return {
        f"{system.replace('-', '_')}_{name}": str(value)
        for system, bed in beds.items()
        for name, value in bed.extra.items()
    }


def files(beds: dict[str, Testbed]) -> dict[str, bytes]:
    """Path -> content of the first commit. `$name` in a document is a value that a server's test bed gives."""
    values, found = given(beds), {}
    for file in sorted(STATE.rglob("*.yml")):
        path = file.relative_to(STATE).as_posix()
        text = Template(file.read_text()).substitute(values)
        if path.startswith("systems/"):
            text += _connection(file.stem, beds[file.stem])
        found[path] = text.encode()
    return found


def _connection(system: str, bed: Testbed) -> str:
    block: dict[str, object] = {"connection": bed.connection}
    if bed.secrets:
        block["secrets"] = {name: f"file:systems/{system}/{name}" for name in bed.secrets}
    return yaml.safe_dump(block, sort_keys=False)


def write_secrets(beds: dict[str, Testbed], directory: Path) -> None:
    """The systems' own credentials, where the `file:` provider reads them; never in git."""
    for system, bed in beds.items():
        for name, value in bed.secrets.items():
            file = directory / "systems" / system / name
            file.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
            file.touch(mode=0o600)
            file.write_text(value)


def people() -> list[dict[str, str]]:
    """The demo's logins, one per role: name, first, last, role."""
    found: list[dict[str, str]] = yaml.safe_load((STATE.parent / "people.yml").read_text())
    return found
