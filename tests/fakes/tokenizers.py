"""A small tokenizer of every family, trained on the spot, each with a template of its kind."""

from functools import cache
from typing import Any

LLAMA2 = (  # a space before and after an answer, and no token of its own for [INST]
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}{% else %}"
    "{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{% if loop.index0 % 2 != 0 %}{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{{ '[INST]' + message['content'] + '[/INST]' }}{% elif message['role'] == 'system' %}"
    "{{ raise_exception('No system turns') }}{% else %}"
    "{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
)
ROLES = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + "
    "eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
COLON = (  # the prompt ends with a space, which tokenizers give to the next word
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
TEMPLATES = {"llama2": LLAMA2, "mistral": MISTRAL, "roles": ROLES, "colon": COLON}
FAMILIES = (
    *("byte-level", "byte-level-space", "metaspace-first", "metaspace-always", "metaspace-never"),
    *("prepend", "unigram-first", "unigram-always", "wordpiece", "folding"),
)
_TEXT = [
    "What is 7 + 5? Name a bird. Hello, how can I help? A line. And another. yes no 12.",
    "the user and the assistant, the system, def f(): return 1 ünïcödé 数字",
    "</s> <s> [INST] [/INST] <|user|> <|assistant|>",
] * 5
# all special, but for the tags of roles, as in Phi-3 and Gemma
_SPECIAL = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
_TAGS = ["<|user|>", "<|assistant|>", "<|system|>"]


@cache
def of_family(family: str, template: str = "roles", size: int = 400) -> Any:
    """Return a tokenizer such as a student has; all have <s>, </s>, <unk>, and tags of roles."""
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast

    model, trainer, normalizer, pre, decoder = _parts(family, size)
    raw = Tokenizer(model)
    if normalizer is not None:
        raw.normalizer = normalizer
    if pre is not None:
        raw.pre_tokenizer = pre
    raw.decoder = decoder
    raw.train_from_iterator(_TEXT, trainer)
    folds = family == "folding"
    inst = _SPECIAL[3:] if template == "mistral" else []
    raw.add_special_tokens(
        [AddedToken(each, special=True, normalized=folds) for each in (*_SPECIAL[:3], *inst)]
    )
    raw.add_tokens([AddedToken(each, special=False, normalized=folds) for each in _TAGS])
    raw.add_tokens([AddedToken("    ", special=False, normalized=False)])  # Phi, GPT-NeoX
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = TEMPLATES[template]
    return made


def _parts(family: str, size: int) -> Any:
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    common = {"vocab_size": size, "show_progress": False, "special_tokens": _SPECIAL[:3]}
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe = models.BPE(unk_token="<unk>", fuse_unk=True)
    if family.startswith(("byte-level", "folding")):
        space = family == "byte-level-space"
        lower = normalizers.Lowercase() if family == "folding" else None
        return (
            models.BPE(),
            trainers.BpeTrainer(initial_alphabet=alphabet, **common),
            lower,
            pre_tokenizers.ByteLevel(add_prefix_space=space),
            decoders.ByteLevel(),
        )
    if family == "wordpiece":
        return (
            models.WordPiece(unk_token="<unk>"),
            trainers.WordPieceTrainer(**common),
            normalizers.BertNormalizer(lowercase=True),
            pre_tokenizers.BertPreTokenizer(),
            decoders.WordPiece(cleanup=False),
        )
    if family == "prepend":  # Llama 2 as it was converted at first
        return (
            bpe,
            trainers.BpeTrainer(**common),
            normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
            None,
            decoders.Metaspace(),
        )
    scheme = family.rpartition("-")[2]
    pre = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=True)
    decoder = decoders.Metaspace(prepend_scheme=scheme)
    if family.startswith("unigram"):
        trainer = trainers.UnigramTrainer(unk_token="<unk>", **common)
        return models.Unigram(), trainer, normalizers.NFKC(), pre, decoder
    return bpe, trainers.BpeTrainer(**common), None, pre, decoder
