"""Rules about images, and what is put into them too late."""

import re
from collections.abc import Iterator

from ..findings import Fault, Faults, Rule
from ..spec import Place, Spec

__all__ = ["RULES"]

_CHANNEL = re.compile(r"^\{\{\$\.inputs\.parameters\['(?:pipelinechannel--)?([^']+)'\]\}\}$")
# A command that installs, options between its words, and what downloads a script to run it.
_TOOLS = r"(?:uv )?pip[\d.]*|uv|conda|mamba|micromamba|apt|apt-get|yum|dnf|microdnf|apk|poetry|npm"
_INSTALL = re.compile(
    rf"(?<![\w/.-])(?:{_TOOLS}) (?:-\S+ )*(?:install|add|sync)\b"
    r"|(?<![\w.-])(?:curl|wget) [^|\n]*\|\s*(?:sudo )?(?:ba|z)?sh\b"
)


def _images(spec: Spec) -> Iterator[tuple[Place, str, str]]:
    """Yield each image; for one that a parameter names, the parameter's default."""
    for executor in spec.executors.values():
        if parameter := _CHANNEL.match(executor.image):
            name = parameter.group(1)
            if default := spec.root.parameters.get(name, {}).get("defaultValue"):
                keys = spec.root.place.at("inputDefinitions", "parameters", name).keys
                yield Place(executor.place.name, keys), str(default), f"the default of '{name}', "
        elif "{{" not in executor.image:
            yield executor.place.at("container", "image"), executor.image, ""


def _unpinned_image(spec: Spec) -> Faults:
    """An image without a tag, or with 'latest', is another one tomorrow.

    The reference is part of KFP's cache key: while it stays the same, yesterday's results are
    reused for today's code. Where an image is a parameter, its default is looked at.
    """
    for place, image, whose in _images(spec):
        tag = image.rpartition("/")[2].partition(":")[2]
        if "@" not in image and tag in ("", "latest"):
            yield Fault(place, f"{whose}image '{image}' can change under its name")


def _image_not_allowed(spec: Spec) -> Faults:
    """An image comes from a place that is not on the list (--allow-image; without it, no rule).

    A prefix ends where a part of the name ends: 'ghcr.io/acme' allows 'ghcr.io/acme/x:1', and not
    'ghcr.io/acme-evil/x:1'.
    """
    for place, image, whose in _images(spec) if spec.allow_images else ():
        names = (image, _whole(image))
        if not any(_begins(name, prefix) for name in names for prefix in spec.allow_images):
            yield Fault(place, f"{whose}image '{image}' is not allowed")


def _whole(image: str) -> str:
    """Write out what a short name stands for: 'python:3.11' is docker.io/library/python:3.11."""
    first, slash, _ = image.partition("/")
    if not slash:
        return f"docker.io/library/{image}"
    return image if "." in first or ":" in first or first == "localhost" else f"docker.io/{image}"


def _begins(image: str, prefix: str) -> bool:
    rest = image.removeprefix(prefix)
    return image.startswith(prefix) and (prefix[-1:] in "/:@" or rest[:1] in ("", "/", ":", "@"))


def _runtime_pip(spec: Spec) -> Faults:
    """Packages are installed each time the task starts.

    Without the package index the task fails, versions move between runs with one cache key, and
    every pod waits. kfp does it by default: it installs itself.
    """
    for executor in spec.executors.values():
        # A Python component's source is left out: it may only speak of installing.
        if _INSTALL.search(re.sub(r"\s+", " ", " ".join(executor.words).replace("\\\n", " "))):
            yield Fault(executor.place.at("container"), "installs packages when it starts")


RULES = (
    Rule(
        "unpinned-image",
        "warning",
        "an image without a version changes under its name, while cached results stay",
        "name a version or a digest: the image reference is part of the cache key",
        _unpinned_image,
    ),
    Rule(
        "image-not-allowed",
        "error",
        "an image is not from a place that --allow-image names",
        "copy it to a registry on the list, or add its prefix",
        _image_not_allowed,
    ),
    Rule(
        "runtime-pip",
        "note",
        "packages are installed when the task starts: it needs the index, and versions move",
        "put the packages into the image and set install_kfp_package=False",
        _runtime_pip,
        style=True,
    ),
)
