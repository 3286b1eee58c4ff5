"""The local runner: what kfp leaves behind in the process that ran a pipeline."""

import contextlib
import logging

from kfp.local import logging_utils

from soda_pipelines.local import start_runner


def test_after_steps_that_overlapped_the_process_prints_and_logs_as_before(tmp_path, capsys):
    handlers = logging.getLogger().handlers[:]
    with start_runner(tmp_path):
        for context in (logging_utils.indented_print, logging_utils.local_logger_context):
            with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
                first.enter_context(context())
                second.enter_context(context())
                first.close()
        print("within")
    print("after")
    assert capsys.readouterr().out == "    within\nafter\n"
    assert logging.getLogger().handlers == handlers
