"""A sound spec as data, and edits of it: what kfp does not write, people and other tools do."""

import copy
from typing import Any

__all__ = ["clean", "put", "settings"]

_SPEC: dict[str, Any] = {
    "pipelineInfo": {"name": "clean", "description": "Count, then tell."},
    "schemaVersion": "2.1.0",
    "sdkVersion": "kfp-2.17.3",
    "deploymentSpec": {
        "executors": {
            name: {
                "container": {
                    "image": "ghcr.io/acme/work:1",
                    "command": ["work", name],
                    "args": args,
                    "resources": {"resourceCpuLimit": "1", "resourceMemoryLimit": "1Gi"},
                }
            }
            for name, args in (
                ("exec-count", ["{{$.inputs.parameters['word']}}"]),
                ("exec-tell", ["--number", "{{$.inputs.parameters['number']}}"]),
            )
        }
    },
    "components": {
        "comp-count": {
            "executorLabel": "exec-count",
            "inputDefinitions": {"parameters": {"word": {"parameterType": "STRING"}}},
            "outputDefinitions": {"parameters": {"Output": {"parameterType": "NUMBER_INTEGER"}}},
        },
        "comp-tell": {
            "executorLabel": "exec-tell",
            "inputDefinitions": {
                "parameters": {
                    "number": {"parameterType": "NUMBER_INTEGER"},
                    "loud": {"parameterType": "BOOLEAN", "isOptional": True},
                }
            },
        },
    },
    "root": {
        "dag": {
            "tasks": {
                "count": {
                    "taskInfo": {"name": "count"},
                    "componentRef": {"name": "comp-count"},
                    "cachingOptions": {"enableCache": True},
                    "retryPolicy": {"maxRetryCount": 2},
                    "inputs": {"parameters": {"word": {"componentInputParameter": "word"}}},
                },
                "tell": {
                    "taskInfo": {"name": "tell"},
                    "componentRef": {"name": "comp-tell"},
                    "dependentTasks": ["count"],
                    "retryPolicy": {"maxRetryCount": 2},
                    "inputs": {
                        "parameters": {
                            "number": {
                                "taskOutputParameter": {
                                    "producerTask": "count",
                                    "outputParameterKey": "Output",
                                }
                            }
                        }
                    },
                },
            }
        },
        "inputDefinitions": {
            "parameters": {
                "word": {
                    "parameterType": "STRING",
                    "defaultValue": "a",
                    "isOptional": True,
                    "description": "what to count",
                }
            }
        },
    },
}
_SETTINGS: dict[str, Any] = {
    "securityContext": {"runAsUser": 1000, "runAsNonRoot": True},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "podMetadata": {
        "labels": {"team.example/name": "a-b_c.d"},
        "annotations": {"note": "any text"},
    },
    "nodeSelector": {"labels": {"zone": "north"}},
    "secretAsVolume": [{"secretName": "keys", "mountPath": "/keys"}],
    "emptyDirMounts": [{"volumeName": "tmp", "mountPath": "/tmp/work", "sizeLimit": "10Gi"}],
}


def settings() -> dict[str, Any]:
    """Return a document of sound Kubernetes settings for both executors."""
    executors = {name: copy.deepcopy(_SETTINGS) for name in ("exec-count", "exec-tell")}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def clean() -> list[dict[str, Any]]:
    """Return a sound pipeline and its Kubernetes settings."""
    return [copy.deepcopy(_SPEC), settings()]


def put(tree: Any, path: str, value: Any) -> None:
    """Set what stands at a path of keys and indices, with dots between them."""
    *above, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in above:
        tree = tree[key] if isinstance(key, int) else tree.setdefault(key, {})
    tree[last] = value
