"""Files inside of installed Python packages, as `package:NAME/FILE` names them."""

import importlib.util
import re
from pathlib import Path

from soda.errors import StorageError
from soda.storage.place import Place

__all__ = ["local_file", "packaged_file"]


def local_file(location: str) -> Path:
    """Return where a file is on this machine; one in a bucket is fetched.

    Raises:
        StorageError: it should be in a package that is not there, or in a bucket out of reach.
    """
    return packaged_file(location) or Place.of(location).fetch()


def packaged_file(location: str) -> Path | None:
    """Return the file that `package:NAME/FILE` names; None for another kind of location.

    Raises:
        StorageError: there is no such package, or no such file in it.
    """
    if not location.startswith("package:"):
        return None
    package, _, file = location.removeprefix("package:").partition("/")
    spec = importlib.util.find_spec(package) if re.fullmatch(r"\w+", package) else None
    if spec is None or spec.origin is None:
        raise StorageError(f"{location}: expected the package '{package}', found none")
    folder = Path(spec.origin).parent
    path = folder / file
    if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        raise StorageError(f"{location}: expected '{file}' in {package}, found none")
    return path
