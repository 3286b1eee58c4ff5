"""A version as a commit and a tag of a Hugging Face model repository."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soda.errors import RegistryError

__all__ = ["push_to_hub"]

_LINEAGE = "lineage.json"


def push_to_hub(
    repository: str, *, folder: Path, version: int, card: str, lineage: Mapping[str, Any]
) -> str:
    """Push a model as one commit, tag it v3 or the like, and return its address.

    A version whose tag is there already is no change. A new repository is private. The hub is the
    one of HF_ENDPOINT, the token HF_TOKEN.

    Args:
        repository: such as my-team/my-student.
        folder: the model's files.

    Raises:
        RegistryError: a refusal, no answer, or the tag is there with another model.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api, tag = HfApi(endpoint=os.environ.get("HF_ENDPOINT")), f"v{version}"
    where = f"hub {repository} {tag}"
    text = json.dumps(lineage, indent=2, sort_keys=True).encode()
    try:
        api.create_repo(repository, private=True, exist_ok=True)
        if tag in {ref.name for ref in api.list_repo_refs(repository).tags}:
            _check(api, repository, tag, _title(version, lineage), where)
            return f"{api.endpoint}/{repository}/tree/{tag}"
        files: dict[str, bytes | str] = {
            path.relative_to(folder).as_posix(): str(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        files |= {_LINEAGE: text, "README.md": card.encode()}
        operations = [
            CommitOperationAdd(path_in_repo=name, path_or_fileobj=data)
            for name, data in files.items()
        ]
        title = _title(version, lineage)
        made = api.create_commit(repository, operations, commit_message=title)
        api.create_tag(repository, tag=tag, revision=made.oid, exist_ok=True)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        said = " ".join(str(error).split())[:300]
        raise RegistryError(f"{where}: expected an answer, found {said}") from error
    return f"{api.endpoint}/{repository}/tree/{tag}"


def _title(version: int, lineage: Mapping[str, Any]) -> str:
    """Return the commit's title: it says which model the tag is of."""
    return f"soda version {version}: {lineage['model_digest']}"


def _check(api: Any, repository: str, tag: str, title: str, where: str) -> None:
    """Look whether a tag is of our model.

    Raises:
        RegistryError: it is another model's.
    """
    commits = api.list_repo_commits(repository, revision=tag)
    found = commits[0].title if commits else "no commit"
    if found != title:
        raise RegistryError(
            f"{where}: expected '{title}', found '{found}': the tag is another model's"
        )
