"""A version as a commit and a tag of a Hugging Face model repository."""

import json
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

    api, tag = HfApi(), f"v{version}"
    where = f"hub {repository} {tag}"
    text = json.dumps(lineage, indent=2, sort_keys=True).encode()
    try:
        api.create_repo(repository, private=True, exist_ok=True)
        if tag in {ref.name for ref in api.list_repo_refs(repository).tags}:
            _check(api, repository, tag, lineage, where)
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
        made = api.create_commit(repository, operations, commit_message=f"soda version {version}")
        api.create_tag(repository, tag=tag, revision=made.oid, exist_ok=True)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        said = " ".join(str(error).split())[:300]
        raise RegistryError(f"{where}: expected an answer, found {said}") from error
    return f"{api.endpoint}/{repository}/tree/{tag}"


def _check(api: Any, repository: str, tag: str, lineage: Mapping[str, Any], where: str) -> None:
    """Compare the lineage that is there with ours.

    Raises:
        RegistryError: it is another model's.
    """
    there = json.loads(Path(api.hf_hub_download(repository, _LINEAGE, revision=tag)).read_bytes())
    found, expected = there.get("model_digest"), lineage["model_digest"]
    if found != expected:
        raise RegistryError(
            f"{where}: expected model_digest {expected}, found {found}: the tag is another model's"
        )
