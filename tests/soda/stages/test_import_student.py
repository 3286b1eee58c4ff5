"""Students from folders and GGUF files, and the ones that are refused."""

import json
import shutil

import pytest

import soda
from soda.errors import ModelError, SodaError
from tests.fakes.student import save_student


@pytest.fixture
def source(tmp_path):
    return save_student(tmp_path / "source")


def bring_in(tmp_path, source, out="out", **config):
    config = {"source": str(source), **config}
    return soda.run("import-student", inputs={}, config=config, out=tmp_path / out)


def edit_config(source, **changes):
    values = {**json.loads((source / "config.json").read_text()), **changes}
    (source / "config.json").write_text(json.dumps(values))


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def test_a_folder_is_brought_in_and_loads(tmp_path, source):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (source / "modeling_evil.py").write_text("raise SystemExit")
    (source / "pytorch_model.bin").write_bytes(b"a pickle")
    model = bring_in(tmp_path, source)
    AutoModelForCausalLM.from_pretrained(model.path)
    assert AutoTokenizer.from_pretrained(model.path).chat_template
    assert not list(model.path.glob("*.py")) and not list(model.path.glob("*.bin"))
    assert model.manifest.facts["end_of_turn"] == "<|im_end|>"


def test_the_same_folder_elsewhere_gives_the_same_digest(tmp_path, source):
    one = bring_in(tmp_path, source)
    shutil.copytree(source, tmp_path / "copy")
    other = bring_in(tmp_path, tmp_path / "copy", "other")
    assert one.digest == other.digest and one.weights_digest == other.weights_digest
    another = bring_in(tmp_path, save_student(tmp_path / "another", seed=1), "third")
    assert another.weights_digest != one.weights_digest


def test_an_artifact_can_be_brought_in_again(tmp_path, source):
    one = bring_in(tmp_path, source)
    again = bring_in(tmp_path, one.path, "again")
    assert again.weights_digest == one.weights_digest


def test_generation_is_made_to_stop_at_the_end_of_turn(tmp_path):
    source = save_student(tmp_path / "source", "llama3")
    (source / "generation_config.json").write_text('{"eos_token_id": 4}')
    model = bring_in(tmp_path, source)
    stops = json.loads((model.path / "generation_config.json").read_text())["eos_token_id"]
    assert stops == [4, 7]  # <|end_of_text|>, and the template's <|eot_id|>


def test_a_gguf_becomes_safetensors(tmp_path, source):
    import numpy as np
    from gguf import GGUFWriter
    from safetensors.numpy import load_file
    from transformers import AutoModelForCausalLM

    weights = load_file(source / "model.safetensors")
    writer = GGUFWriter(tmp_path / "tiny.gguf", "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(512)
    words = json.loads((source / "tokenizer.json").read_text())
    vocabulary = sorted(words["model"]["vocab"], key=words["model"]["vocab"].get)
    vocabulary += [f"<unused{number}>" for number in range(512 - len(vocabulary))]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    special = {token["content"] for token in words["added_tokens"]}
    writer.add_token_types([3 if token in special else 1 for token in vocabulary])
    writer.add_token_merges([" ".join(pair) for pair in words["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template((source / "chat_template.jinja").read_text())
    names = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
    }
    parts = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    for layer in range(2):
        for ours, theirs in parts.items():
            names[f"model.layers.{layer}.{ours}.weight"] = f"blk.{layer}.{theirs}.weight"
    for ours, theirs in names.items():
        writer.add_tensor(theirs, weights[ours].astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    model = bring_in(tmp_path, tmp_path / "tiny.gguf")
    assert [path.name for path in model.path.glob("*.safetensors")] == ["model.safetensors"]
    loaded = AutoModelForCausalLM.from_pretrained(model.path)
    embedding = loaded.get_input_embeddings().weight.detach().float().numpy()
    np.testing.assert_allclose(embedding, weights["model.embed_tokens.weight"], atol=1e-2)
    assert model.manifest.facts["end_of_turn"] == "<|im_end|>"

    whole = (tmp_path / "tiny.gguf").read_bytes()
    for size in (4, 2000, len(whole) - 5000):  # in the header, the tokenizer, the weights
        (tmp_path / "cut.gguf").write_bytes(whole[:size])
        with pytest.raises(ModelError, match="expected a whole GGUF model"):
            bring_in(tmp_path, tmp_path / "cut.gguf", "cut")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda source: edit_config(source, auto_map={"AutoModel": "x.Y"}), "its own code"),
        (lambda source: edit_config(source, quantization_config={}), "found quantised ones"),
        (lambda source: edit_config(source, model_type="t5"), "expected a causal language model"),
        (lambda source: edit_config(source, model_type="nonsense"), "found 'nonsense'"),
        (lambda source: edit_config(source, vocab_size=100), "expected at most 100 tokens"),
        (lambda source: (source / "config.json").unlink(), "expected config.json"),
        (lambda source: (source / "chat_template.jinja").unlink(), "a chat template, found none"),
        (lambda source: (source / "tokenizer.json").unlink(), "expected a tokenizer"),
        (lambda source: (source / "tokenizer.json").write_text("{"), "expected a tokenizer"),
        (lambda source: (source / "config.json").write_text("[]"), "an object in config.json"),
        (
            lambda source: (source / "generation_config.json").write_text("{"),
            "expected generation_config.json",
        ),
        (
            lambda source: cut(source / "model.safetensors"),
            "expected weights in model.safetensors",
        ),
        (
            lambda source: (source / "model.safetensors.index.json").write_text(
                '{"weight_map": {"lm_head.weight": "model-00002.safetensors"}}'
            ),
            "expected weights in model-00002.safetensors",
        ),
        (
            lambda source: (source / "model.safetensors").rename(source / "pytorch_model.bin"),
            "found only pickled ones: pytorch_model.bin",
        ),
        (lambda source: (source / "model.safetensors").unlink(), "found no weights"),
    ],
)
def test_students_that_cannot_be_trained_are_refused(tmp_path, source, damage, problem):
    damage(source)
    with pytest.raises(ModelError, match=problem) as refusal:
        bring_in(tmp_path, source)
    assert not (tmp_path / "out").exists() and str(refusal.value)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"source": "org/model"}, "revision: expected the commit"),
        ({"source": "no such"}, "found nothing"),
        ({"source": "a--b/model..x", "revision": "0" * 40}, "expected a hub model, found: "),
        ({"source": "package:soda/x.gguf"}, "expected 'x.gguf' in soda, found none"),
        ({"source": "SOURCE", "source_digest": "0" * 64}, "expected sha256 000000000000"),
    ],
)
def test_wrong_sources_are_refused(tmp_path, source, config, problem):
    config = {**config, "source": config["source"].replace("SOURCE", str(source))}
    with pytest.raises(SodaError, match=problem):
        soda.run("import-student", inputs={}, config=config, out=tmp_path / "out")


def test_files_that_are_no_models_are_refused(tmp_path):
    for name, problem in (("x.gguf", "a whole GGUF model"), ("x.txt", "found '.txt'")):
        (tmp_path / name).write_text("no model")
        with pytest.raises(ModelError, match=problem):
            bring_in(tmp_path, tmp_path / name)


def test_a_tokenizer_with_code_of_its_own_is_refused_and_nobody_is_asked(
    tmp_path, source, monkeypatch
):
    def ask(*_):
        raise AssertionError("asked whether to run the code")

    monkeypatch.setattr("builtins.input", ask)
    path = source / "tokenizer_config.json"
    values = {"auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}, "tokenizer_class": "Own"}
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    (source / "evil.py").write_text("raise SystemExit")
    with pytest.raises(ModelError, match="expected a tokenizer, found"):
        bring_in(tmp_path, source)
