"""KFP's own sample pipelines, written down again: nothing is found but what they truly lack."""

import functools
from typing import NamedTuple, Optional

import pytest
from kfp import compiler, dsl

from soda.lint import lint, load

# What the samples leave out, as samples may. They install kfp at run time: kfp's default.
LACKING = {"missing-description", "no-retry", "no-limits", "no-requests"}
LACKING |= {"no-security-context", "runtime-pip"}

component = functools.partial(dsl.component, base_image="python:3.11")


@component
def print_text(text: str) -> str:
    print(text)
    return text


@component
def fail_op(message: str):
    raise RuntimeError(message)


@component
def exit_op(user_input: str, status: dsl.PipelineTaskFinalStatus):
    print(user_input, status.state)


@component
def flip_coin(force: str = "") -> str:
    return force or "heads"


@component
def random_number(low: int, high: int) -> int:
    return low + high


@component
def args_generator() -> list:
    return [{"A_a": "1", "B_b": "2"}, {"A_a": "10", "B_b": "20"}]


@component
def double(number: int) -> int:
    return 2 * number


@component
def add(numbers: list[int]) -> int:
    return sum(numbers)


@component
def split(text: str) -> NamedTuple("Halves", [("first", str), ("second", str)]):
    return text, text


@component
def preprocess(
    message: str,
    output_dataset_one: dsl.Output[dsl.Dataset],
    output_parameter_path: dsl.OutputPath(str),
    output_bool_parameter_path: dsl.OutputPath(bool),
    output_dict_parameter_path: dsl.OutputPath(dict[str, int]),
    output_list_parameter_path: dsl.OutputPath(list[str]),
):
    pass


@component
def train(
    dataset: dsl.InputPath("Dataset"),
    message: str,
    input_bool: bool,
    input_dict: dict[str, int],
    input_list: list[str],
    model: dsl.Output[dsl.Model],
    num_steps: int = 100,
):
    pass


@component
def train_on(dataset: dsl.Input[dsl.Dataset], model: dsl.Output[dsl.Model]):
    pass


@component
def optional_inputs(required: str, text: Optional[str] = None, number: int = 3, flag: bool = True):  # noqa: UP045 (kfp knows no other form)
    pass


@dsl.container_component
def container_io(text: str, output_path: dsl.OutputPath(str)):
    return dsl.ContainerSpec(
        image="alpine:3.20",
        command=["sh", "-c", 'mkdir -p "$(dirname "$1")" && echo "$0" > "$1"'],
        args=[text, output_path],
    )


@dsl.container_component
def container_optional(text: str = "hello"):
    return dsl.ContainerSpec(
        image="python:3.11-slim",
        command=["echo", dsl.IfPresentPlaceholder("text", then=["--text", text], else_=["none"])],
    )


@dsl.pipeline(name="exit-handler")
def exit_handler(message: str = "Hello World!"):
    with dsl.ExitHandler(exit_op(user_input=message)):
        print_text(text=message)
        fail_op(message="Task failed.")


@dsl.pipeline(name="conditional-execution")
def flip_coins(text: str = "condition test", force_flip_result: str = ""):
    flip = flip_coin(force=force_flip_result)
    print_text(text=flip.output)
    with dsl.If(flip.output == "heads"):
        number = random_number(low=0, high=9)
        with dsl.If(number.output > 5):
            print_text(text=f"heads and {number.output} > 5!")
        with dsl.Else():
            print_text(text="heads and <= 5!")
    with dsl.Elif(flip.output == "tails"):
        print_text(text=text)
    with dsl.Else():
        print_text(text="edge")


@dsl.pipeline(name="outputs-of-one")
def one_of(force: str = "heads") -> str:
    flip = flip_coin(force=force)
    with dsl.If(flip.output == "heads"):
        heads = print_text(text="heads")
    with dsl.Elif(flip.output == "tails"):
        tails = print_text(text="tails")
    with dsl.Else():
        edge = print_text(text="edge")
    chosen = dsl.OneOf(heads.output, tails.output, edge.output)
    print_text(text=chosen)
    return chosen


@dsl.pipeline(name="loops-and-conditions")
def loops(my_pipe_param: list[int] = [1, 2, 3], greeting: str = "this is a test"):  # noqa: B006
    with dsl.ParallelFor(args_generator().output, parallelism=10) as item:
        print_text(text=item.A_a)
        print_text(text=item.B_b)
    with dsl.ParallelFor(["1", "2"]) as outer:
        with dsl.If(outer == "1"):
            print_text(text=outer)
        with dsl.ParallelFor([{"a": "x", "b": "y"}]) as inner:
            print_text(text=inner.a)
            print_text(text=inner.b)
        print_text(text=f"{outer} {greeting}")
    with dsl.ParallelFor(my_pipe_param) as number:
        double(number=number)


@dsl.pipeline(name="collected")
def collected() -> int:
    with dsl.ParallelFor([1, 2, 3]) as number:
        first = double(number=number)
        with dsl.ParallelFor([1, 2, 3]) as other:
            double(number=other)
    return add(numbers=dsl.Collected(first.output)).output


@dsl.pipeline(name="producer-and-consumer")
def artifacts(message: str = "message"):
    made = preprocess(message=message).set_display_name("my pre-processing")
    train(
        dataset=made.outputs["output_dataset_one"],
        message=made.outputs["output_parameter_path"],
        input_bool=made.outputs["output_bool_parameter_path"],
        input_dict=made.outputs["output_dict_parameter_path"],
        input_list=made.outputs["output_list_parameter_path"],
        num_steps=2,
    )
    halves = split(text=message)
    print_text(text=halves.outputs["second"]).after(made)


@dsl.pipeline(name="inner")
def inner(text: str) -> str:
    return print_text(text=print_text(text=text).output).output


@dsl.pipeline(name="nested")
def nested(text: str = "hi") -> str:
    first = inner(text=text)
    with dsl.If(first.output == "hi"):
        inner(text=first.output)
    return inner(text=first.output).output


@dsl.pipeline(name="importer")
def importing(uri: str = "gs://ml-pipeline-playground/shakespeare1.txt", other: str = "z"):
    data = dsl.importer(
        artifact_uri=uri, artifact_class=dsl.Dataset, reimport=False, metadata={"key": "value"}
    )
    train_on(dataset=data.output)
    with dsl.If(other == "z"):
        again = dsl.importer(artifact_uri=uri, artifact_class=dsl.Dataset, reimport=True)
        train_on(dataset=again.output)


@dsl.pipeline(name="optional-inputs")
def optional(required: str = "x", text: Optional[str] = None, number: int = 2):  # noqa: UP045 (kfp knows no other form)
    optional_inputs(required=required)
    optional_inputs(required=required, text=text, number=number, flag=False)


@dsl.pipeline(name="containers")
def containers(text: str = "hello"):
    made = container_io(text=text)
    container_optional(text=made.outputs["output_path"]).set_caching_options(False)
    container_optional()


@dsl.pipeline(name="ignore-upstream-failure")
def clean_up(text: str = "message"):
    made = fail_op(message=text)
    print_text(text="clean up").after(made).ignore_upstream_failure()


@dsl.pipeline(name="resource-spec")
def resources(gpu: str = "", memory: str = "1G"):
    print_text(text=gpu).set_cpu_request("1").set_cpu_limit("2").set_memory_limit(memory)
    print_text(text="x").set_env_variable("ENV", "test").set_retry(2)


SAMPLES = [exit_handler, flip_coins, one_of, loops, collected, artifacts, nested, importing]
SAMPLES += [optional, containers, clean_up, resources, print_text, container_io, train]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_nothing_is_found_in_kfps_samples_but_what_they_lack(sample, tmp_path):
    compiler.Compiler().compile(sample, str(tmp_path / "sample.yaml"))
    found = lint(load(tmp_path / "sample.yaml"))
    assert [each for each in found if each.rule not in LACKING] == []
    assert [each for each in found if each.severity == "error"] == []
