"""The schema's table says what kfp's own packages say."""

from kfp.kubernetes import kubernetes_executor_config_pb2 as kubernetes
from kfp.pipeline_spec import pipeline_spec_pb2 as pipeline

from soda.lint.schema import ENUMS, FORMS

SCALARS = {1: "number", 3: "integer", 5: "integer", 8: "bool", 9: "text"}
KNOWN = {"Struct": "mapping", "Value": "any", "ListValue": "list", "Duration": "duration"}
# What KFP's backend has, and kfp 2.17.3 cannot write yet.
NEWER = {"KubernetesExecutorConfig": {"initContainers"}}


def messages():
    waiting = [
        each.DESCRIPTOR
        for each in (
            pipeline.PipelineSpec,
            pipeline.PipelineDeploymentConfig,
            pipeline.PlatformSpec,
            kubernetes.KubernetesExecutorConfig,
        )
    ]
    found = {}
    while waiting:
        message = waiting.pop()
        if message.full_name in found or message.full_name.startswith("google.protobuf."):
            continue
        found[message.full_name] = message
        waiting += [field.message_type for field in message.fields if field.message_type]
    return {n: m for n, m in found.items() if not m.GetOptions().map_entry}


def scalar(field):
    """Return the form of a field that is neither a list nor a mapping; None for a message."""
    if field.enum_type:
        names = {value.name for value in field.enum_type.values}
        return next(name for name, words in ENUMS.items() if set(words.split()) == names)
    if field.message_type is None:
        return SCALARS[field.type]
    if field.message_type.full_name.startswith("google.protobuf."):
        return KNOWN[field.message_type.name]
    return None


def form_of(field):
    kind = field.message_type
    if kind and kind.GetOptions().map_entry:
        value = kind.fields_by_name["value"]
        return "{", scalar(value), value.message_type
    return ("[" if field.is_repeated else ""), scalar(field), kind


def test_every_message_has_its_fields_and_their_types():
    names = {full: full.split(".", 1)[1] for full in messages()}
    by_form = {}  # its last word, or two where that is not enough
    for full, name in names.items():
        *_, before, last = ("", *name.split("."))
        by_form[full] = last if last in FORMS else f"{before}.{last}"
    for full, message in messages().items():
        fields = dict(FORMS[by_form[full]])
        for field in message.fields:
            wrap, plain, kind = form_of(field)
            inner = plain or by_form[kind.full_name]
            close = {"{": "}", "[": "]", "": ""}[wrap]
            assert fields.pop(field.json_name) == f"{wrap}{inner}{close}", f"{full}.{field.name}"
        assert fields.keys() == NEWER.get(by_form[full], set())
