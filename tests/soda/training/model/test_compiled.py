"""Functions that are compiled on first use."""

import subprocess
import sys

import pytest

from soda.training.model.compiled import compiled


def double(x):
    return 2 * x


@pytest.mark.filterwarnings("ignore")  # importing the compiler warns of its own use of torch
def test_a_function_is_compiled_once():
    assert compiled(double) is compiled(double)


def test_importing_it_does_not_load_the_compiler():
    code = "import sys, soda.training.model.compiled as c; print('torch._inductor' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
