"""Look at a registry, and move its champion: list, show, promote, rollback, diff, verify."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from soda.errors import ConfigError, MissingObject, RegistryError
from soda.registry.kubeflow import flat
from soda.registry.provenance import FILE, SIGNED, verify
from soda.registry.registry import Registry

__all__ = ["add_arguments", "run_command"]

_CHAMPION = "champion"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.description = "Look at a registry, and move its champion."
    parser.add_argument("--registry", required=True, metavar="PLACE", help="its folder or bucket")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="every version, and which is the champion")
    listing.add_argument("name", nargs="?", help="of one model only")
    show = _action(actions, "show", "a version's card, or its lineage as JSON")
    show.add_argument("version", type=int, help="its number")
    show.add_argument("--json", action="store_true", help="the lineage, in place of the card")
    promote = _action(actions, "promote", "make a version the champion, whatever its report says")
    promote.add_argument("version", type=int, help="its number")
    _action(actions, "rollback", "make the champion before the champion again")
    diff = _action(actions, "diff", "what differs in the lineage and figures of two versions")
    diff.add_argument("one", type=int, help="a version's number")
    diff.add_argument("other", type=int, help="another's")
    check = _action(actions, "verify", "whether a version's provenance is signed, and by whom")
    check.add_argument("version", type=int, help="its number")
    check.add_argument(
        "--key", required=True, type=Path, metavar="FILE", help="Ed25519 public key, PEM"
    )


def _action(actions: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text)
    parser.add_argument("name", help="the model's name")
    return parser


def run_command(parsed: argparse.Namespace) -> int:
    """Do it, and print what came of it."""
    registry = Registry(parsed.registry)
    try:
        for line in _ACTIONS[parsed.action](registry, parsed):
            print(line)
    except MissingObject as error:
        raise RegistryError(f"{parsed.registry}: expected such a version, found {error}") from error
    return 0


def _list(registry: Registry, parsed: argparse.Namespace) -> Iterator[str]:
    names = [parsed.name] if parsed.name else registry.names()
    if not names:
        yield "no models are registered here"
    for name in names:
        champion = registry.alias(name, _CHAMPION)
        for version in registry.versions(name):
            lineage = registry.lineage(name, version)
            methods = "+".join(one["method"] for one in lineage.get("trainings", [])) or "untrained"
            mark = "  champion" if version == champion else ""
            yield f"{name} {version:>4}  {lineage['model_digest'][:12]}  {methods}{mark}"


def _show(registry: Registry, parsed: argparse.Namespace) -> Iterator[str]:
    registry.versions(parsed.name)
    file = "lineage.json" if parsed.json else "README.md"
    yield registry.read(parsed.name, parsed.version, file).decode().rstrip()


def _promote(registry: Registry, parsed: argparse.Namespace) -> Iterator[str]:
    before = registry.promote(parsed.name, _CHAMPION, parsed.version)
    yield f"{parsed.name}: champion is {parsed.version}, was {before or 'none'}"


def _roll_back(registry: Registry, parsed: argparse.Namespace) -> Iterator[str]:
    before, after = registry.roll_back(parsed.name, _CHAMPION)
    yield f"{parsed.name}: champion is {after} again, was {before}"


def _diff(registry: Registry, parsed: argparse.Namespace) -> Iterator[str]:
    registry.versions(parsed.name)
    one, other = (_known(registry, parsed.name, each) for each in (parsed.one, parsed.other))
    for key in sorted(one.keys() | other.keys()):
        if one.get(key) != other.get(key):
            yield f"{key}: {one.get(key, 'none')} -> {other.get(key, 'none')}"


def _known(registry: Registry, name: str, version: int) -> dict[str, Any]:
    """Return a version's lineage and its figures after training, flat."""
    report = json.loads(registry.read(name, version, "report/report.json"))
    scores = {key: metric["after"]["mean"] for key, metric in report["metrics"].items()}
    return {**flat(registry.lineage(name, version)), **flat(scores, "score.")}


def _verify(registry: Registry, parsed: argparse.Namespace) -> Iterator[str]:
    registry.versions(parsed.name)
    try:
        key = parsed.key.read_bytes()
    except OSError as error:
        raise ConfigError(f"--key: expected a file, found {error}") from error
    try:
        envelope = json.loads(registry.read(parsed.name, parsed.version, SIGNED))
    except MissingObject as error:
        raise RegistryError(
            f"{parsed.name} {parsed.version}: expected a signature, found none"
        ) from error
    statement = verify(envelope, key)
    if statement != json.loads(registry.read(parsed.name, parsed.version, FILE)):
        raise RegistryError(f"{FILE}: expected the signed statement, found another")
    yield f"{parsed.name} {parsed.version}: signed by this key"
    for subject in statement["subject"]:
        yield f"  {subject['digest']['sha256']}  {subject['name']}"


_ACTIONS = {
    "list": _list,
    "show": _show,
    "promote": _promote,
    "rollback": _roll_back,
    "diff": _diff,
    "verify": _verify,
}
