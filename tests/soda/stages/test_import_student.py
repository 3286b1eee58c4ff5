"""Students from folders and GGUF files, and the ones that are refused."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import soda
from soda.errors import ModelError, SodaError, StorageError
from soda.stages.import_student import ImportStudentConfig, look_at_source
from soda.student.chat import ChatFormat
from tests.fakes.student import save_base_model, save_student, tokenizer
from tests.fakes.weights import (
    add,
    convert,
    edit_config,
    logits,
    rename,
    save_adapter,
    save_gguf,
    split,
    split_gguf,
)

ADAPTER = "adapter_model.safetensors"


def edit_weights(folder, drop):
    tensors = {name: value.clone() for name, value in load_file(folder / ADAPTER).items()}
    save_file(
        {name: value for name, value in tensors.items() if drop not in name}, folder / ADAPTER
    )


@pytest.fixture
def source(tmp_path):
    return save_student(tmp_path / "source")


def bring_in(tmp_path, source, out="out", **config):
    config = {"source": str(source), **config}
    return soda.run("import-student", inputs={}, config=config, out=tmp_path / out)


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


def test_weights_may_be_of_any_plain_precision(tmp_path, source):
    for kind in (torch.float64, torch.float16):
        model = bring_in(tmp_path, convert(source, kind), str(kind))
        assert model.manifest.facts["tensors"]["used"] == 20


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


def test_a_base_model_without_a_template_answers_in_plain_text(tmp_path):
    base = save_base_model(tmp_path / "base")
    with pytest.raises(ModelError, match=r"found none; import-student.template: plain gives"):
        bring_in(tmp_path, base)
    made = bring_in(tmp_path, base, template="plain")
    assert ChatFormat.load(made.path).headings
    assert made.manifest.facts["end_of_turn"] == "</s>"
    assert made.manifest.facts["model_type"] == "gpt2"


def test_plain_text_may_take_the_place_of_a_template(tmp_path, source):
    own, plain = bring_in(tmp_path, source), bring_in(tmp_path, source, "plain", template="plain")
    assert own.weights_digest == plain.weights_digest
    assert not ChatFormat.load(own.path).headings and ChatFormat.load(plain.path).headings


def test_a_gguf_becomes_safetensors(tmp_path, source):
    path = save_gguf(source, tmp_path / "tiny.gguf", **{"rope_freqs.weight": (4,)})
    model = bring_in(tmp_path, path)
    assert [path.name for path in model.path.glob("*.safetensors")] == ["model.safetensors"]
    assert (logits(model.path) - logits(source)).abs().max() < 1e-2
    assert model.manifest.facts["end_of_turn"] == "<|im_end|>"

    whole = path.read_bytes()
    for size in (4, 2000, len(whole) - 5000):  # in the header, the tokenizer, the weights
        (tmp_path / "cut.gguf").write_bytes(whole[:size])
        with pytest.raises(ModelError, match="expected a whole GGUF model"):
            bring_in(tmp_path, tmp_path / "cut.gguf", "cut")


def test_a_split_gguf_is_read_whole_by_any_of_its_parts(tmp_path, source):
    path = save_gguf(source, tmp_path / "tiny.gguf")
    alone = bring_in(tmp_path, path)
    parts = split_gguf(path, 3)
    for part in (parts[0], parts[2]):
        made = bring_in(tmp_path, part, part.stem)
        assert made.weights_digest == alone.weights_digest
        assert not list(made.path.glob("*.gguf"))
    parts[1].rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="found no tiny-00002-of-00003"):
        bring_in(tmp_path, parts[0], "two")
    parts[0].rename(tmp_path / "first.gguf")
    with pytest.raises(ModelError, match="expected 3 parts, each called NAME-00001-of-00003"):
        bring_in(tmp_path, tmp_path / "first.gguf", "one")


@pytest.mark.parametrize(
    ("gguf", "problem"),
    [
        ({"drop": "blk.1.attn_q.weight"}, "found none for model.layers.1.self_attn.q_proj.weight"),
        ({"drop": "token_embd.weight"}, "found none for"),
        ({"blk.0.attn_q.bias": (32,)}, "no place for: blk.0.attn_q.bias"),
    ],
)
def test_a_gguf_whose_tensors_are_not_those_of_its_kind_is_refused(tmp_path, source, gguf, problem):
    with pytest.raises(ModelError, match=problem):
        bring_in(tmp_path, save_gguf(source, tmp_path / "tiny.gguf", **gguf))
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_of_its_own_code_beside_a_gguf_is_refused(tmp_path, source):
    path = save_gguf(source, tmp_path / "tiny.gguf")
    edit_config(tmp_path, "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.X", None]})
    with pytest.raises(ModelError, match="its own code: auto_map in tokenizer_config"):
        bring_in(tmp_path, path)


WRAPPERS = {
    "_orig_mod.": lambda name: f"_orig_mod.{name}",
    "module.": lambda name: f"module.{name}",
    "module._orig_mod.": lambda name: f"module._orig_mod.{name}",
    "base_model.model.": lambda name: f"base_model.model.{name}",
    "model.": lambda name: f"model.{name}",
    "_forward_module.": lambda name: f"_forward_module.{name}",
    "student.lm.": lambda name: f"student.lm.{name}",
    "_fsdp_wrapped_module": lambda name: (
        "_fsdp_wrapped_module." + name.replace("layers.", "_fsdp_wrapped_module.layers.")
    ),
    "_checkpoint_wrapped_module": lambda name: name.replace(
        "self_attn", "_checkpoint_wrapped_module.self_attn"
    ),
    "base_model": lambda name: name.removeprefix("model."),
}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("what", "change"), WRAPPERS.items(), ids=WRAPPERS)
def test_what_tools_put_into_names_is_taken_off_and_said(tmp_path, capfd, what, change, tied):
    source = save_student(tmp_path / "source", tied=tied)
    expected = logits(source)
    model = bring_in(tmp_path, rename(source, change))
    assert (logits(model.path) == expected).all()
    assert len(model.manifest.facts["tensors"]) == 3
    assert what == "base_model" or f"took '{what}" in capfd.readouterr().err
    assert "module" not in (model.path / "model.safetensors").read_bytes()[:5000].decode("latin1")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda name: None if name == "lm_head.weight" else name, "found none for lm_head.weight"),
        (lambda name: None if "layers.1" in name else name, "input_layernorm.weight.*and 6 more"),
        (lambda name: None if "norm" not in name else name, "found none for lm_head.weight, model"),
        (lambda name: name.replace("q_proj", "query"), "found none for .*q_proj"),
        (
            lambda name: f"_orig_mod.{name}" if "norm" not in name else None,
            "found none for model.layers.0.input_layernorm.weight, .* and 2 more",
        ),
    ],
)
def test_missing_tensors_are_refused_by_name(tmp_path, damage, problem):
    source = rename(save_student(tmp_path / "source", tied=False), damage)
    with pytest.raises(ModelError, match=problem) as refusal:
        bring_in(tmp_path, source)
    assert not (tmp_path / "out").exists() and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        ({"model.layers.0.self_attn.q_proj.bias": (32,)}, "no place for: .*q_proj.bias"),
        ({"model.layers.2.input_layernorm.weight": (32,)}, "no place for: model.layers.2"),
        ({"model.layers.0.self_attn.q_proj.lora_A.weight": (2, 32)}, "no place for: .*lora_A"),
        ({"norm.weight": (32,)}, "norm.weight twice"),
        ({"_orig_mod.model.norm.weight": (32,)}, "no place for: _orig_mod.model.norm"),
    ],
)
def test_tensors_that_the_model_has_no_place_for_are_refused(tmp_path, source, extra, problem):
    with pytest.raises(ModelError, match=problem):
        bring_in(tmp_path, add(source, **extra))


def test_parts_that_a_student_of_text_does_without_are_left_out_by_name(tmp_path, source, capfd):
    expected = logits(source)
    add(source, **{"v_head.summary.weight": (1, 32), "mtp.layers.0.norm.weight": (32,)})
    add(source, **{"model.layers.0.self_attn.rotary_emb.inv_freq": (4,)})
    add(source, **{"vision_tower.a.weight": (4,), "vision_tower.b.weight": (4,)})
    model = bring_in(tmp_path, source)
    assert model.manifest.facts["tensors"] == {
        "used": 20,
        "left_out": {"v_head": 1, "mtp": 1, "inv_freq": 1, "vision_tower": 2},
        "removed_from_names": "",
    }
    assert "left out vision_tower, 2 tensors" in capfd.readouterr().err
    assert (logits(model.path) == expected).all()


def test_an_expert_that_is_missing_is_named(tmp_path):
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        "qwen3_moe",
        vocab_size=512,
        hidden_size=32,
        moe_intermediate_size=16,
        num_experts=4,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        mlp_only_layers=[],
        num_experts_per_tok=2,
    )
    source = tmp_path / "source"
    AutoModelForCausalLM.from_config(config).save_pretrained(source)
    tokenizer().save_pretrained(source)
    made = bring_in(tmp_path, source)
    assert (logits(made.path) == logits(source)).all()
    gone = "model.layers.1.mlp.experts.2.up_proj.weight"
    rename(source, lambda name: None if name == gone else name)
    with pytest.raises(ModelError, match=f"found none for {gone}$"):
        bring_in(tmp_path, source, "again")


def test_a_model_that_also_sees_becomes_its_text_part(tmp_path, capfd):
    from soda.student.weights import load_causal_lm

    model = bring_in(tmp_path, save_seeing(tmp_path / "source"))
    facts = model.manifest.facts
    assert facts["model_type"] == "qwen3_5_text"
    assert list(facts["tensors"]["left_out"]) == ["model.visual"]
    assert "left out model.visual, " in capfd.readouterr().err
    assert load_causal_lm(model.path, None).config.model_type == "qwen3_5_text"


def save_seeing(folder):
    from transformers import AutoConfig, AutoModelForImageTextToText

    text = {
        "vocab_size": 512,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "layer_types": ["full_attention"],
    }
    vision = {
        "depth": 1,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_heads": 2,
        "out_hidden_size": 32,
        "patch_size": 4,
        "num_position_embeddings": 16,
    }
    config = AutoConfig.for_model("qwen3_5", text_config=text, vision_config=vision)
    AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("names", "index"),
    [
        (["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"], False),
        (["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"], True),
        (["weights.safetensors"], False),
        (["checkpoint.b.safetensors", "checkpoint.a.safetensors", "c.safetensors"], False),
    ],
)
def test_weights_are_found_in_files_of_any_name(tmp_path, source, names, index):
    expected = logits(source)
    model = bring_in(tmp_path, split(source, *names, index=index))
    assert (logits(model.path) == expected).all()
    files = sorted(path.name for path in model.path.glob("model*"))
    assert files[0] == "model.safetensors" if len(names) == 1 else len(files) == len(names) + 1


def test_of_two_sets_of_weights_the_usual_one_is_taken_and_the_other_named(tmp_path, source, capfd):
    import torch
    from safetensors.torch import save_file

    save_file({"step": torch.ones(3)}, source / "optimizer.safetensors")
    expected = logits(source)
    model = bring_in(tmp_path, source)
    assert (logits(model.path) == expected).all()
    assert [path.name for path in model.path.glob("*.safetensors")] == ["model.safetensors"]
    assert "left out optimizer.safetensors; model.safetensors is whole" in capfd.readouterr().err


def test_a_part_of_the_files_is_no_model(tmp_path, source):
    split(source, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    (source / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"found none for .* and \d+ more"):
        bring_in(tmp_path, source)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ({"vocab_size": 500}, r"embed_tokens.weight \[512, 32\] in the place of \[500, 32\]"),
        ({"vocab_size": 600}, r"embed_tokens.weight \[512, 32\] in the place of \[600, 32\]"),
        ({"intermediate_size": 63}, "found other shapes: .* and 3 more"),
        ({"num_hidden_layers": 3}, "found none for model.layers.2"),
        ({"num_hidden_layers": 1}, "no place for: model.layers.1"),
        ({"hidden_size": "wide"}, "expected a config"),
        ({"num_attention_heads": 0}, "expected a config"),
    ],
)
def test_a_config_of_another_size_is_refused(tmp_path, source, rows, problem):
    with pytest.raises(ModelError, match=problem):
        bring_in(tmp_path, edit_config(source, **rows))


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path, source):
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(source)
    words.add_tokens([f"<extra_{number}>" for number in range(600)])
    words.save_pretrained(source)
    with pytest.raises(ModelError, match=r"expected at most 512 tokens, the tokenizer has \d+"):
        bring_in(tmp_path, source)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_dora": True},
        {"use_rslora": True, "lora_alpha": 3},
        {"target_modules": ["lm_head", "q_proj"]},
        {"modules_to_save": ["lm_head"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("tied", [True, False])
def test_an_adapter_is_merged_into_its_base(tmp_path, options, tied):
    base = save_student(tmp_path / "base", tied=tied)
    folder = save_adapter(base, tmp_path / "adapter", **options)
    made = bring_in(tmp_path, folder, base=str(base))
    expected = logits(base, adapter=folder)
    if not (tied and options.get("target_modules")):  # peft changes the embedding, too
        assert (logits(made.path) - expected).abs().max() < 1e-4
    assert (logits(made.path) - logits(base)).abs().max() > 1e-3
    assert not (made.path / "adapter_config.json").exists()
    config = made.manifest.config
    assert len(config["base_digest"]) == 64 and "base" not in config


def test_an_adapter_brings_its_own_tokenizer(tmp_path, source):
    folder = save_adapter(source, tmp_path / "adapter")
    tokenizer("qwen2.5").save_pretrained(folder)
    made = bring_in(tmp_path, folder, base=str(source))
    assert "You are Qwen" in (made.path / "chat_template.jinja").read_text()


def test_adapters_without_a_base_are_refused(tmp_path, source):
    folder = save_adapter(source, tmp_path / "adapter")
    with pytest.raises(ModelError, match=r"found an adapter of .*/source; name that model in imp"):
        bring_in(tmp_path, folder)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(folder / name, source)
    with pytest.raises(ModelError, match="found an adapter beside them; keep one of the two"):
        bring_in(tmp_path, source)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (
            lambda folder: edit_weights(folder, drop="layers.0.self_attn.q_proj.lora_B"),
            "found none for .*layers.0.self_attn.q_proj.lora_B",
        ),
        (lambda folder: edit_weights(folder, drop=""), "expected tensors in .*, found none"),
        (lambda folder: cut(folder / ADAPTER), f"expected weights in {ADAPTER}, found: "),
        (lambda folder: (folder / ADAPTER).unlink(), f"expected {ADAPTER}, found no such file"),
        (
            lambda folder: edit_config(folder, "adapter_config.json", peft_type=None),
            "expected peft_type in adapter_config.json",
        ),
    ],
)
def test_damaged_adapters_are_refused_by_preflight_and_import(tmp_path, source, damage, problem):
    adapter = save_adapter(source, tmp_path / "adapter")
    damage(adapter)
    config = ImportStudentConfig.parse({"source": str(adapter), "base": str(source)})
    with pytest.raises(ModelError, match=problem):
        look_at_source(config)
    with pytest.raises(ModelError, match=problem):
        bring_in(tmp_path, adapter, base=str(source))


def test_adapters_of_another_base_are_refused(tmp_path, source):
    folder = save_adapter(source, tmp_path / "adapter")
    with pytest.raises(ModelError, match=r"expected an adapter beside import-student.base"):
        bring_in(tmp_path, source, base=str(source))
    short = save_student(tmp_path / "short", hidden_size=16)
    with pytest.raises(ModelError, match="expected an adapter of base, found: "):
        bring_in(tmp_path, folder, base=str(short))
    shallow = save_student(tmp_path / "shallow", num_hidden_layers=1)
    with pytest.raises(ModelError, match=r"no place for: .*layers.1"):
        bring_in(tmp_path, folder, base=str(shallow))
    deep = save_student(tmp_path / "deep", num_hidden_layers=3)
    with pytest.raises(ModelError, match=r"found none for .*layers.2"):
        bring_in(tmp_path, folder, base=str(deep))
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"expected adapter_model.safetensors, found no such"):
        bring_in(tmp_path, folder, base=str(source))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda source: edit_config(source, auto_map={"AutoModel": "x.Y"}), "its own code"),
        (lambda source: edit_config(source, quantization_config={}), "found quantised ones"),
        (lambda source: edit_config(source, model_type="t5"), "expected a causal language model"),
        (lambda source: edit_config(source, model_type="nonsense"), "found 'nonsense'"),
        (
            lambda source: edit_config(source, vocab_size=100),
            "other shapes: model.embed_tokens.weight",
        ),
        (lambda source: (source / "config.json").unlink(), "expected config.json"),
        (lambda source: (source / "chat_template.jinja").unlink(), "a chat template, found none"),
        (lambda source: (source / "tokenizer.json").unlink(), "expected a tokenizer, found no"),
        (
            lambda source: (source / "tokenizer.json").write_text("{"),
            "expected tokenizer.json in JSON",
        ),
        (
            lambda source: (source / "tokenizer.json").write_text("{}"),
            "expected a tokenizer that transformers can read, found no 'added_tokens' in it",
        ),
        (lambda source: (source / "config.json").write_text("[]"), "an object in config.json"),
        (
            lambda source: (source / "generation_config.json").write_text("{"),
            "expected generation_config.json",
        ),
        (
            lambda source: edit_config(source, "generation_config.json", eos_token_id="</s>"),
            "expected token ids as eos_token_id in generation_config.json, found",
        ),
        (
            lambda source: edit_config(
                source, "generation_config.json", cache_implementation="nonsense"
            ),
            "expected generation_config.json of transformers",
        ),
        (lambda source: convert(source, torch.int32), "no place for: .*gate_proj.weight of type I"),
        (
            lambda source: convert(source, torch.float8_e4m3fn),
            "no place for: .*gate_proj.weight of type F8_E4M3",
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
        ({"source": "SOURCE", "revision": "main"}, "student.revision: expected no value, .*'main'"),
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


@pytest.mark.parametrize(
    ("file", "values", "problem"),
    [
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.X", None]}}, "auto_map"),
        ("config.json", {"auto_map": {"AutoConfig": "evil.X"}}, "auto_map"),
        ("config.json", {"text_config": {"auto_map": {"AutoConfig": "evil.X"}}}, "auto_map"),
        ("generation_config.json", {"custom_generate": "evil/repo"}, "custom_generate"),
        ("config.json", {"attn_implementation": "evil/kernel"}, "attn_implementation"),
        ("config.json", {"_attn_implementation": "evil/kernel@v1:x"}, "_attn_implementation"),
        ("config.json", {"attn_implementation": {"": "flash|evil/kernel"}}, "attn_implementation"),
        ("config.json", {"experts_implementation": "evil/kernel"}, "experts_implementation"),
        ("config.json", {"text_config": {"attn_implementation": "a/b"}}, "attn_implementation"),
    ],
)
def test_code_and_kernels_from_elsewhere_are_refused_and_nobody_is_asked(
    tmp_path, source, monkeypatch, file, values, problem
):
    def ask(*_):
        raise AssertionError("asked whether to run the code")

    monkeypatch.setattr("builtins.input", ask)
    edit_config(source, file, **values)
    (source / "evil.py").write_text("raise SystemExit")
    with pytest.raises(ModelError, match=problem):
        bring_in(tmp_path, source)


def test_which_attention_a_machine_has_is_no_part_of_the_model(tmp_path, source):
    edit_config(source, attn_implementation="flash_attention_2", transformers_weights="x.bin")
    made = bring_in(tmp_path, source)
    values = json.loads((made.path / "config.json").read_text())
    assert not {"attn_implementation", "transformers_weights"} & values.keys()


@pytest.mark.parametrize("name", ["LICENSE", "model.safetensors", "tokenizer.json", "notes.json"])
def test_links_are_not_followed(tmp_path, source, name):
    secret = tmp_path / "secret"
    if (source / name).exists():
        (source / name).rename(secret)
    else:
        secret.write_text("private")
    (source / name).symlink_to(secret)
    with pytest.raises(ModelError, match=f"found a link: {name}"):
        bring_in(tmp_path, source)


def test_a_folder_of_the_hubs_cache_is_taken_though_it_has_links(tmp_path, source):
    blobs = tmp_path / "models--a--b/blobs"
    commit = tmp_path / "models--a--b/snapshots/0123"
    blobs.mkdir(parents=True)
    commit.mkdir(parents=True)
    for number, path in enumerate(sorted(source.iterdir())):
        path.rename(blobs / f"{number:040x}")
        (commit / path.name).symlink_to(f"../../blobs/{number:040x}")
    bring_in(tmp_path, commit)
    (blobs / "evil").symlink_to("/etc/hostname")
    (commit / "LICENSE").symlink_to("../../blobs/evil")
    with pytest.raises(ModelError, match="found a link: LICENSE"):
        bring_in(tmp_path, commit, "again")


@pytest.mark.parametrize("shard", ["/etc/passwd", "../other.safetensors", "a/b.safetensors", 5])
def test_an_index_that_leads_elsewhere_is_refused(tmp_path, source, shard):
    index = {"weight_map": {"model.norm.weight": shard}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(
        ModelError, match=r"expected files of the folder in model.safetensors.index"
    ):
        bring_in(tmp_path, source)


def test_pipes_are_not_opened(tmp_path, source):
    import os

    os.mkfifo(source / "vocab.json")
    with pytest.raises(ModelError, match=r"found a device or pipe: vocab.json"):
        bring_in(tmp_path, source)
    os.mkfifo(tmp_path / "x.gguf")
    with pytest.raises(StorageError, match=r"x\.gguf: expected a file or folder, found a pipe"):
        bring_in(tmp_path, tmp_path / "x.gguf")


TURNS = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def put_templates(source, as_list, **templates):
    """Write named templates as transformers 5 does, or as 4 did."""
    (source / "chat_template.jinja").unlink()
    if as_list:
        listed = [{"name": name, "template": text} for name, text in templates.items()]
        edit_config(source, "tokenizer_config.json", chat_template=listed)
        return
    (source / "additional_chat_templates").mkdir()
    for name, text in templates.items():
        path = source / f"additional_chat_templates/{name}.jinja"
        path = source / "chat_template.jinja" if name == "default" else path
        path.write_text(text)


@pytest.mark.parametrize("as_list", [True, False])
def test_one_of_several_templates_is_chosen_by_name(tmp_path, source, as_list):
    from transformers import AutoTokenizer

    put_templates(source, as_list, rag="[rag]" + TURNS, tools="[tools]" + TURNS)
    with pytest.raises(ModelError, match=r"import-student.template to name one of (rag, tools|t)"):
        bring_in(tmp_path, source)
    with pytest.raises(ModelError, match="expected a template 'rga', found "):
        bring_in(tmp_path, source, template="rga")
    made = bring_in(tmp_path, source, template="rag")
    assert AutoTokenizer.from_pretrained(made.path).chat_template == "[rag]" + TURNS


@pytest.mark.parametrize("as_list", [True, False])
def test_of_several_templates_the_default_is_taken(tmp_path, source, as_list):
    from transformers import AutoTokenizer

    put_templates(source, as_list, default=TURNS, tools="[tools]" + TURNS)
    made = bring_in(tmp_path, source)
    assert AutoTokenizer.from_pretrained(made.path).chat_template == TURNS


def test_a_template_with_a_date_keeps_the_one_of_the_recipe(tmp_path, source):
    from transformers import AutoTokenizer

    dated = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y, %-d') }}{% endif %}"
    (source / "chat_template.jinja").write_text(dated + TURNS)
    made = bring_in(tmp_path, source)
    other = bring_in(tmp_path, source, "other", template_date="2031-02-03")
    hello = [{"role": "user", "content": "hello"}]
    for model, day in ((made, "26 Jul 2024, 26"), (other, "03 Feb 2031, 3")):
        words = AutoTokenizer.from_pretrained(model.path)
        text = words.apply_chat_template(hello, tokenize=False)
        assert text.startswith(f"{day}<|im_start|>user\nhello")
    facts = made.manifest.facts, other.manifest.facts
    assert facts[0]["template_digest"] != facts[1]["template_digest"]


@pytest.mark.parametrize("switch", ["enable_thinking", "thinking"])
def test_the_switch_for_thinking_is_set_for_whoever_renders_the_template(tmp_path, source, switch):
    from transformers import AutoTokenizer

    with pytest.raises(ModelError, match=r"a chat template with enable_thinking or thinking"):
        bring_in(tmp_path, source, thinking=False)
    thinks = f"{{% if {switch} is defined and {switch} is false %}}[off]{{% endif %}}"
    (source / "chat_template.jinja").write_text(thinks + TURNS)
    hello = [{"role": "user", "content": "hello"}]
    for name, value, begin in (("a", None, "<|im"), ("b", True, "<|im"), ("c", False, "[off]")):
        words = AutoTokenizer.from_pretrained(bring_in(tmp_path, source, name, thinking=value).path)
        assert words.apply_chat_template(hello, tokenize=False).startswith(begin)


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{% set f = '%Y' %}{{ strftime_now(f) }}" + TURNS, r"writes a date as strftime_now"),
        ("{% set now = strftime_now %}{{ now('%Y') }}" + TURNS, r"writes a date as strftime_now"),
        ("{{ raise_exception('no') }}" + TURNS, "the chat template refused a prompt: no"),
        ("{% if %}" + TURNS, "the chat template refused a prompt: "),
    ],
)
def test_templates_that_cannot_be_used_are_refused(tmp_path, source, template, problem):
    (source / "chat_template.jinja").write_text(template)
    with pytest.raises(ModelError, match=problem):
        bring_in(tmp_path, source)


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
    with pytest.raises(ModelError, match="with its own code: auto_map in tokenizer_config"):
        bring_in(tmp_path, source)
