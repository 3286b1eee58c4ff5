"""Pack this folder into a wheel, `soda-lint`: what pip calls to install the lint by itself.

Nothing has to be downloaded for it, as setuptools would; that is most of the time of an install.
"""

import base64
import hashlib
import tomllib
import zipfile
from pathlib import Path

__all__ = ["build_wheel"]


def build_wheel(
    wheel_directory: str, config_settings: object = None, metadata_directory: str | None = None
) -> str:
    """Write the wheel there, and return its name (PEP 517; the folder is the current one)."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    release = f"{project['name'].replace('-', '_')}-{project['version']}"
    metadata = ["Metadata-Version: 2.1", f"Name: {project['name']}"]
    metadata += [f"Version: {project['version']}", f"Summary: {project['description']}"]
    metadata += [f"Requires-Python: {project['requires-python']}"]
    metadata += [f"Requires-Dist: {each}" for each in project["dependencies"]]
    scripts = [f"{name} = {where}" for name, where in project["scripts"].items()]
    about = {
        "METADATA": [*metadata, ""],
        "WHEEL": ["Wheel-Version: 1.0", "Root-Is-Purelib: true", "Tag: py3-none-any", ""],
        "entry_points.txt": ["[console_scripts]", *scripts, ""],
    }
    files = {f"soda_lint/{path.as_posix()}": path.read_bytes() for path in _modules()}
    files |= {f"{release}.dist-info/{n}": "\n".join(lines).encode() for n, lines in about.items()}
    record = f"{release}.dist-info/RECORD"
    rows = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in files.items()]
    files[record] = "\n".join([*rows, f"{record},,", ""]).encode()
    with zipfile.ZipFile(Path(wheel_directory, f"{release}-py3-none-any.whl"), "w") as wheel:
        for name, data in files.items():
            wheel.writestr(name, data, zipfile.ZIP_DEFLATED)
    return f"{release}-py3-none-any.whl"


def _modules() -> list[Path]:
    return sorted([*Path().glob("*.py"), *Path().glob("rules/*.py")])


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
