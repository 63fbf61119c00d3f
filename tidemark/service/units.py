"""What systemd reads: the units, of the templates beside this module, and the file with their environment."""

import os
import pwd
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template

from tidemark.errors import ConfigurationError
from tidemark.process_environment import OF_S3
from tidemark.proxies import PROXIES
from tidemark.secrets import VARIABLE
from tidemark.settings import Settings

TEMPLATES = Path(__file__).parent / "units"
OF_A_SERVICE = (
    *OF_S3, "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NO_PROXY", "no_proxy",
    *PROXIES, *map(str.upper, PROXIES),
)  # fmt: skip


def unit_files(settings: Settings, name: str, system: bool) -> dict[str, str]:
    """Each unit's file name and text; `name` is the target's, and what the services' names begin with."""
    owner = pwd.getpwuid(settings.home.stat().st_uid if settings.home.exists() else os.getuid()).pw_name
    common = [reads_environment(settings), "UMask=0077"]
    if system:
        common.append(f"User={owner}")
    words = {
        "name": name,
        "tidemark": f'"{quoted(sys.executable)}" -m tidemark.cli',
        "wanted_by": "multi-user.target" if system else "default.target",
        "common": "\n".join(common),
    }
    return {
        path.name.replace("tidemark", name, 1): Template(path.read_text()).substitute(words)
        for path in sorted(TEMPLATES.iterdir())
    }


def escaped(text: str) -> str:
    """A path as a setting takes it, where % begins a specifier."""
    return text.replace("%", "%%")


def quoted(text: str) -> str:
    """The same between the double quotes of a command, where $ begins a variable too."""
    return escaped(text).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")


def environment_file(settings: Settings) -> Path:
    """Where the services' environment is kept, secrets too: in the state folder, for its owner alone."""
    return settings.home.resolve() / "service.env"


def reads_environment(settings: Settings) -> str:
    """The line by which a unit reads it."""
    return f"EnvironmentFile={escaped(str(environment_file(settings)))}"


def environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """What of a shell's environment the services are to have: settings, the variables of sources, S3 and proxies.

    A path is absolute, as a service runs in no folder of a person.
    """
    paths = {name for name, field in Settings.model_fields.items() if field.annotation in (Path, Path | None)}
    files = (settings.sources_file, settings.destinations_file)
    used = {name for path in files if path.exists() for name in VARIABLE.findall(path.read_text(errors="replace"))}
    wanted = {*OF_A_SERVICE, *used, *(f"{name}_FILE" for name in used)}
    found = {name: value for name, value in environ.items() if name in wanted or name.startswith("TIDEMARK_")}
    for name in paths & {name.removeprefix("TIDEMARK_").lower() for name in found}:
        found[f"TIDEMARK_{name.upper()}"] = str(getattr(settings, name).resolve())
    return found | {"TIDEMARK_HOME": str(settings.home.resolve())}


def environment_text(variables: Mapping[str, str]) -> str:
    """The variables as systemd's EnvironmentFile has them; `read_environment` is its reverse."""
    lines = [f'{name}="{re.sub(_SPECIAL, _escape, value)}"' for name, value in sorted(variables.items())]
    return "\n".join(
        ["# Written by `tidemark service install`, of the shell that ran it. It holds secrets.", *lines, ""]
    )


_SPECIAL = r'[\\"$`]'


def _escape(found: re.Match[str]) -> str:
    return f"\\{found[0]}"


_LINE = re.compile(r'(?:#[^\n]*|(\w+)="((?:[^\\"]|\\.)*)"|[ \t]*)(?:\n|\Z)', flags=re.DOTALL)


def read_environment(text: str, where: str) -> dict[str, str]:
    """The variables of a file that `environment_text` wrote; ConfigurationError for a line that it does not write."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        line = _LINE.match(text, at)
        if line is None:  # it may hold a secret: its number alone is said
            number = text.count("\n", 0, at) + 1
            raise ConfigurationError(
                f'{where}, line {number}: expected NAME="value", with \\ before each of \\ " $ `, '
                "received something else: mend the line, or remove it and set the variable where you install"
            )
        if line[1]:
            found[line[1]] = re.sub(r"\\(.)", r"\1", line[2], flags=re.DOTALL)
        at = line.end()
    return found
