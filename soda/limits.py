"""How much of what comes from outside is taken: one name for each limit, all in this file.

Whatever a server, a dataset, a model folder or a recipe holds, memory and time stay bounded.
"""

__all__ = [
    "ANSWER_TOKENS",
    "BATCH_FILE_BYTES",
    "EPOCHS",
    "GGUF_PARTS",
    "HEADER_BYTES",
    "MODEL_JSON_BYTES",
    "RECIPE_BYTES",
    "RECIPE_NODES",
    "RESPONSE_BYTES",
    "ROW_BYTES",
    "SAMPLES",
    "SCORED_TOKENS",
    "SHOWN_CELL_CHARACTERS",
    "SHOWN_CHARACTERS",
    "SHOWN_VALUE_CHARACTERS",
    "TEMPLATE_CHARACTERS",
    "TEMPLATE_SECONDS",
    "TOKENS",
]

# An HTTP body after decompression: an answer of 128,000 tokens with thoughts has about 1 MiB.
RESPONSE_BYTES = 16 * 2**20
BATCH_FILE_BYTES = 64 * 2**30  # one file of a batch's results, which goes to a disk
TOKENS = 10**9  # the most that a server may say one answer had

ANSWER_TOKENS = 131_072  # of a student's answer: a random number is drawn ahead for each
SAMPLES = 1000  # a student's answers to one prompt
EPOCHS = 1000  # the order of all their steps is drawn ahead

RECIPE_BYTES = 4 * 2**20
RECIPE_NODES = 100_000  # keys and values, with what its aliases stand for

ROW_BYTES = 64 * 2**20  # of a dataset's row, line or cell

GGUF_PARTS = 1000
HEADER_BYTES = 100_000_000  # of a file of weights: safetensors' own limit
MODEL_JSON_BYTES = 256 * 2**20  # the largest tokenizer.json in use has a tenth of it
TEMPLATE_SECONDS = 10.0  # for one conversation; real templates take a millisecond
TEMPLATE_CHARACTERS = 16 * 2**20  # of what a template writes for one conversation

SCORED_TOKENS = 65_536  # of one answer in a report: a longer one is dropped, with the reason

SHOWN_CHARACTERS = 2000  # of a message
SHOWN_VALUE_CHARACTERS = 200  # of a value in a message
SHOWN_CELL_CHARACTERS = 80  # of one in a dataset: its place is told too
