"""RoBERTa on token ids: the formulas, padding, where weights come from, and everything that trains and measures it."""

import math
import subprocess
import sys

import huggingface_hub
import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from torch import nn
from torch.nn import functional

from tasktrace.config.declarations import declaration
from tasktrace.config.options import check_options
from tasktrace.errors import ConfigError, DataError
from tasktrace.measures import fisher, sharpness
from tasktrace.measures.base import Sample, Subject, TaskModel
from tasktrace.measures.norms import SampleGradients
from tasktrace.measures.session import MeasureJob, measure
from tasktrace.models import MultiTaskModel, build_model
from tasktrace.settings.prepared import read_prepared, write_prepared
from tasktrace.tasks import Task
from tasktrace.training.assembly import assemble
from tasktrace.training.device import configure
from tasktrace.training.engine import Engine
from tasktrace.training.session import Job, run
from tasktrace.training.updates.base import Batch
from tasktrace.training.updates.jacobian import TaskJacobian

TASKS = [Task(name="cola", outputs=2), Task(name="stsb", outputs=1, loss="mse", metric="pearson")]
SPEC = {"name": "roberta", "version": 1, "layers": 2, "width": 8, "heads": 2, "vocabulary": 40, "positions": 12}
DATA = {"name": "glue", "version": 1, "tasks": ["cola", "stsb"], "tokenizer": "bytes"}


@pytest.fixture(autouse=True)
def _torch_as_it_was(torch_as_it_was):
    """After every test that trains; and one thread in all of them."""
    torch.set_num_threads(1)


def make_tokens(count, length=12, seed=0):
    """Rows of 3 to ``length`` ids, padded on the right; int64."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(4, 40, (count, length))
    for row, used in zip(ids, rng.integers(3, length + 1, count), strict=True):
        row[used:] = 1
        row[[0, used - 1]] = (0, 2)
    return torch.from_numpy(ids)


def build(seed=0, **options):
    return build_model({**SPEC, **options}, TASKS, seed)


def numbers(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def slowly(weights, ids, heads):
    """Features of one input without padding, from RoBERTa's formulas (Liu et al. 2019, after BERT), (D,).

    Args:
        weights: The network's state.
        ids: Shape (L,).
        heads: Attention heads.
    """

    def linear(name, values):
        return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name, values):
        centred = values - values.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    places = torch.arange(2, 2 + len(ids))  # 0 and 1 are the start's and the padding's
    states = weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.token_type_embeddings.weight"][0]
    states = norm("embeddings.LayerNorm", states + weights["embeddings.position_embeddings.weight"][places])
    for layer in range(SPEC["layers"]):
        here = f"encoder.layer.{layer}"
        queries, keys, values = (linear(f"{here}.attention.self.{name}", states) for name in ("query", "key", "value"))
        size = states.shape[1] // heads
        mixed = torch.zeros_like(states)
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            scores = queries[:, own] @ keys[:, own].T / math.sqrt(size)
            mixed[:, own] = torch.exp(scores - scores.logsumexp(1, keepdim=True)) @ values[:, own]
        states = norm(f"{here}.attention.output.LayerNorm", states + linear(f"{here}.attention.output.dense", mixed))
        inner = linear(f"{here}.intermediate.dense", states)
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        states = norm(f"{here}.output.LayerNorm", states + linear(f"{here}.output.dense", inner))
    return states[0]


def scrambled(model):
    """The model with all parameters drawn anew, so that no bias is zero and no scale is one; float64, eval mode."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.double().parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 3)
    return model.eval()


# The network


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_features_are_roberta_of_each_input_without_its_padding(heads):
    model = scrambled(build(heads=heads))
    tokens = make_tokens(10)
    features = model.encoder(tokens)
    weights = model.encoder.network.state_dict()
    expected = torch.stack([slowly(weights, row[row != 1], heads) for row in tokens])
    torch.testing.assert_close(features, expected, rtol=1e-12, atol=1e-12)


def test_padding_in_common_changes_nothing(tmp_path):
    model = scrambled(build())
    tokens = make_tokens(6, 7)
    padded = functional.pad(tokens, (0, 5), value=1)
    assert torch.equal(model.encoder(padded), model.encoder(tokens))
    looked_at = torch.func.vmap(lambda row: model.encoder(row[None])[0])(padded)  # where it cannot be taken off
    torch.testing.assert_close(looked_at, model.encoder(tokens), rtol=1e-12, atol=1e-12)


def test_sizes_are_the_options_and_every_parameter_is_trained():
    model = build()
    width, inner = 8, 32
    embeddings = (40 + (12 + 2) + 1) * width + 2 * width
    layer = 4 * (width + 1) * width + (width + 1) * inner + (inner + 1) * width + 4 * width
    assert numbers(model.encoder).numel() == embeddings + 2 * layer
    assert model.encoder(make_tokens(4)).shape == (4, width)
    loss = model(make_tokens(4), "cola").sum()
    gradients = torch.autograd.grad(loss, [*model.encoder.parameters(), *model.heads["cola"].parameters()])
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert not model.uses_batch_statistics


def test_the_defaults_are_roberta_base():
    published = {"vocab_size": 50265, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
    published.update(intermediate_size=3072, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5)
    published.update(pad_token_id=1, hidden_act="gelu")
    spec = {"name": "roberta", "version": 1}
    with torch.device("meta"):
        model = build_model(spec, TASKS, seed=0)
    config = model.encoder.network.config
    assert {name: getattr(config, name) for name in published} == published
    assert sum(own.numel() for own in model.encoder.parameters()) == 124_055_040  # roberta-base without its pooler


def test_a_model_starts_from_its_seed_alone():
    torch.manual_seed(11)
    first = build(seed=3)
    drawn = torch.rand(3)
    torch.manual_seed(11)
    assert torch.equal(drawn, torch.rand(3))
    torch.manual_seed(12)
    again, other = build(seed=3), build(seed=4)
    assert torch.equal(numbers(first), numbers(again))
    drawn_weights = [name for name, own in first.named_parameters() if own.unique().numel() > 1]
    state, others = dict(first.named_parameters()), dict(other.named_parameters())
    assert "encoder.network.encoder.layer.1.output.dense.weight" in drawn_weights
    assert all((state[name] != others[name]).float().mean() > 0.7 for name in drawn_weights)
    alone = build_model(SPEC, TASKS[1:], seed=3)
    assert torch.equal(numbers(alone.encoder), numbers(first.encoder))


def test_dropout_draws_from_the_global_generator_while_training():
    model, tokens = build(dropout=0.3), make_tokens(6)

    def features(seed):
        torch.manual_seed(seed)
        return model.encoder(tokens)

    assert torch.equal(features(0), features(0))
    assert (features(0) != features(1)).all()
    model.eval()
    assert torch.equal(features(0), features(1))
    without = build(dropout=0.0)
    assert torch.equal(without.encoder(tokens), features(0))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.tensor([[0, 40, 2]]), "an input has the token id 40, but the model's vocabulary is 40; set it to that"),
        (
            torch.full((1, 13), 5),
            "inputs have up to 13 tokens, but the model has 12 positions; set the model's positions",
        ),
    ],
)
def test_a_network_too_small_for_the_data_is_named(tokens, message):
    with pytest.raises(ConfigError, match=message):
        build().encoder(tokens)


# Where weights come from


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a masked language model's weights, as the hub has RoBERTa's."""
    folder = tmp_path_factory.mktemp("weights")
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.RobertaConfig(vocab_size=40, max_position_embeddings=14, type_vocab_size=1, **sizes)
    with torch.random.fork_rng():
        torch.manual_seed(8)
        transformers.RobertaForMaskedLM(config).save_pretrained(folder)
    return folder


def test_published_weights_are_taken_whatever_the_seed(saved, capfd):
    models = [build_model({"name": "roberta", "version": 1, "weights": str(saved)}, TASKS, seed) for seed in (0, 1)]
    assert capfd.readouterr().err == ""
    assert torch.equal(numbers(models[0].encoder), numbers(models[1].encoder))
    assert not torch.equal(numbers(models[0].heads), numbers(models[1].heads))
    tokens = make_tokens(5)
    full = transformers.RobertaForMaskedLM.from_pretrained(saved).roberta.eval()
    expected = full(tokens, attention_mask=(tokens != 1).long()).last_hidden_state[:, 0]
    torch.testing.assert_close(models[0].eval().encoder(tokens), expected, rtol=1e-5, atol=1e-6)
    assert models[0].encoder.network.config.attention_probs_dropout_prob == 0.1


def test_without_network_and_folder_the_message_names_both_ways(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError) as caught:
        build_model({"name": "roberta", "version": 1, "weights": "roberta-base"}, TASKS, seed=0)
    message = str(caught.value)
    assert message.startswith("the weights 'roberta-base' are neither a folder with a RoBERTa nor to be had from the")
    assert "`hf download roberta-base`" in message
    assert "a folder that save_pretrained wrote" in message


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(DataError, match="needs the package transformers, which is not installed; run `pip install"):
        build()


def test_nothing_imports_transformers_until_the_model_is_built():
    script = (
        "import sys\n"
        "import tasktrace.models.roberta, tasktrace.settings.glue, tasktrace.training.session\n"
        "import tasktrace.measures.session, tasktrace.check\n"
        "from tasktrace.models import build_model\n"
        "from tasktrace.tasks import Task\n"
        "tasks = [Task(name='a', outputs=2)]\n"
        "build_model({'name': 'small_cnn', 'version': 1}, tasks, 0)\n"
        "before = {'transformers', 'tokenizers', 'huggingface_hub'} & set(sys.modules)\n"
        "build_model({'name': 'roberta', 'version': 1, 'layers': 1, 'width': 4, 'heads': 1}, tasks, 0)\n"
        "print(sorted(before), 'transformers' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[] True\n"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"width": 10, "heads": 3}, "width must be a multiple of heads, found 10 and 3"),
        ({"layers": 0}, "layers must be at least 1"),
        ({"vocabulary": 3}, "vocabulary must be at least 4"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        (
            {"weights": "roberta-base", "layers": 2},
            "layers is that of the weights 'roberta-base'; leave one of them out",
        ),
    ],
)
def test_options_out_of_their_range_are_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        check_options(declaration("model", "roberta").options, given, "settings/x.yaml: model")


def test_weights_take_a_dropout_of_their_own(saved):
    given = {"weights": str(saved), "dropout": 0.25}
    assert check_options(declaration("model", "roberta").options, given, "x") == given
    model = build_model({"name": "roberta", "version": 1, **given}, TASKS, seed=0)
    assert {own.p for own in model.modules() if isinstance(own, nn.Dropout)} == {0.25}


# Training and measuring on token ids


@pytest.fixture(scope="module")
def prepared_file(tmp_path_factory):
    """48 training samples of either task."""
    path = tmp_path_factory.mktemp("prepared") / "glue.safetensors"
    sizes = {"train": 48, "validation": 6, "test": 6}
    inputs = make_tokens(120).numpy().astype(np.int32)
    tensors, start = {"inputs": inputs}, 0
    for task in TASKS:
        for split, size in sizes.items():
            index = np.arange(start, start + size)
            lengths = (inputs[index] != 1).sum(1)
            start += size
            tensors[f"{task.name}/{split}/index"] = index
            is_class = task.name == "cola"
            tensors[f"{task.name}/{split}/target"] = lengths % 2 if is_class else lengths.astype(np.float32) / 12
    write_prepared(path, tensors, DATA)
    return path


@pytest.fixture
def data(prepared_file):
    return read_prepared(prepared_file, DATA)


def make_spec(method="umtg", epochs=2, **options):
    return {
        "training": 2,
        "setting": "glue",
        "group": "mtl.all",
        "tasks": ["cola", "stsb"],
        "data": DATA,
        "model": {**SPEC, **options},
        "method": {"name": method, "version": 1},
        "optimizer": {"name": "adam", "version": 1},
        "point": {"learning_rate": 0.01, "batch_size": 16},
        "epochs": epochs,
        "checkpoint_every": 1,
        "seed": 0,
    }


def train(spec, data, steps):
    engine = Engine(spec, data, configure("cpu", 1))
    engine.begin_epoch(0)
    for step in range(steps):
        engine.step(step)
    return engine


@pytest.mark.parametrize("method", ["umtg", "mgda", "pcgrad", "gradnorm"])
def test_every_method_of_study_a_trains_it_alike_twice(data, method):
    first, second = (train(make_spec(method), data, 3) for _ in range(2))
    assert torch.equal(numbers(first.model), numbers(second.model))
    assert first.losses.isfinite().all()
    start = build_model(SPEC, first.tasks, seed=0)
    moved = [not torch.equal(own, old) for own, old in zip(first.model.parameters(), start.parameters(), strict=True)]
    assert all(moved)


def test_a_run_continues_with_the_dropout_that_it_would_have_drawn(data):
    engine = train(make_spec(), data, 3)
    half = train(make_spec(), data, 2)
    state = {name: value.clone() for name, value in half.state_dict().items()}
    continued = Engine(make_spec(), data, configure("cpu", 1))
    continued.begin_epoch(0)
    continued.load_state_dict(state)
    continued.step(2)
    assert torch.equal(numbers(continued.model), numbers(engine.model))


def test_task_gradients_are_those_of_each_tasks_own_loss(data):
    parts = assemble(make_spec(dropout=0.0), data, torch.device("cpu")).parts
    parts.model.double()
    tokens, targets = make_tokens(8, seed=3), [torch.arange(4) % 2, torch.linspace(0, 5, 4, dtype=torch.float64)]
    jacobian = TaskJacobian(parts)
    losses = jacobian.fill(Batch(tokens, targets, shared=False))
    model: MultiTaskModel = parts.model
    own = [
        functional.cross_entropy(model(tokens[:4], "cola"), targets[0]),
        (model(tokens[4:], "stsb").squeeze(1) - targets[1]).square().mean(),
    ]
    for row, loss, found in zip(jacobian.matrix, own, losses, strict=True):
        gradient = torch.autograd.grad(loss, parts.shared)
        torch.testing.assert_close(row, torch.cat([part.flatten() for part in gradient]), rtol=1e-10, atol=1e-13)
        torch.testing.assert_close(found, loss.detach())


def test_channels_last_leaves_its_parameters_as_they_are(data):
    parts = assemble(make_spec(), data, torch.device("cpu")).parts
    assert all(own.is_contiguous() for own in parts.model.parameters())
    assert torch.equal(numbers(parts.model), numbers(build(0)))


def test_the_chunked_jacobian_says_that_it_cannot(data):
    with pytest.raises(
        ConfigError, match=r"chunked needs an encoder that is an nn.Sequential, found Encoder; use full"
    ):
        Engine({**make_spec("mgda"), "jacobian": "chunked"}, data, configure("cpu", 1))


@pytest.mark.parametrize("forms_gradients", [False, True])
def test_squared_norms_of_single_samples_are_those_of_a_loop(forms_gradients):
    model = TaskModel(scrambled(build()), "cola").eval()
    tokens, labels = make_tokens(9), torch.arange(9) % 2
    gradients = SampleGradients(model, tokens)
    assert gradients.fallback == ""
    gradients.fallback = "asked for" if forms_gradients else ""
    leaf = gradients.outputs.clone().requires_grad_()
    functional.cross_entropy(leaf, labels, reduction="sum").backward()
    expected = []
    for row, label in zip(tokens, labels, strict=True):
        loss = functional.cross_entropy(model(row[None]), label[None])
        own = torch.autograd.grad(loss, list(model.parameters()))
        expected.append(torch.stack([part.square().sum() for part in own]).sum())
    torch.testing.assert_close(gradients.squared_norms(leaf.grad), torch.stack(expected), rtol=1e-10, atol=0)


def test_sharpness_in_parallel_and_one_by_one_are_the_same():
    model = TaskModel(scrambled(build()), "stsb").eval()
    tokens, targets = make_tokens(8), torch.linspace(0, 5, 8, dtype=torch.float64)
    batches = [(tokens[:4], targets[:4]), (tokens[4:], targets[4:])]
    options = sharpness.Options(samples=8, batch_size=4, rhos=(0.002, 0.05), iterations=4)

    def loss(outputs, targets):
        return (outputs.squeeze(1) - targets).square().mean()

    def seeded(number):
        return torch.Generator().manual_seed(number)

    found = [
        sharpness.rises(model, model.chosen("model"), loss, batches, options, seeded, together)
        for together in (False, True)
    ]
    torch.testing.assert_close(found[0], found[1], rtol=1e-8, atol=1e-10)
    assert (found[0] > 0).all()


def test_fisher_of_a_regression_has_the_datas_labels():
    model = TaskModel(scrambled(build()), "stsb").eval()
    tokens, targets = make_tokens(6), torch.linspace(0, 5, 6, dtype=torch.float64)
    subject = Subject(TASKS[1], model, Sample(tokens, targets, 6), lambda _: torch.Generator().manual_seed(0))
    (trace, _) = fisher.Measure(fisher.Options(samples=6, batch_size=3, labels="true")).measure(subject)
    squares = []
    for row, value in zip(tokens, targets, strict=True):
        gradient = torch.autograd.grad((model(row[None])[0, 0] - value).square(), list(model.parameters()))
        squares.append(sum(float(part.square().sum()) for part in gradient))
    assert trace.value == pytest.approx(np.mean(squares), rel=1e-9)


def test_a_run_from_its_data_to_its_factors(tmp_path, prepared_file):
    spec = make_spec("pcgrad", epochs=1)
    record = run(Job("glue/all/adam/lr/seed0", spec, prepared_file, tmp_path, "cpu"))
    assert record["outcome"] == {"status": "finished"}
    measures = {
        "sharpness": {"name": "sharpness", "version": 1, "samples": 16, "batch_size": 8, "iterations": 2},
        "fisher": {"name": "fisher", "version": 1, "samples": 16, "batch_size": 8},
        "coherence": {"name": "coherence", "version": 1, "batch_size": 8},
        "conflict": {"name": "conflict", "version": 1},
        "curvature": {"name": "curvature", "version": 1, "samples": 8, "probes": 2, "deflated": 0, "tolerance": 0.1},
    }
    job = MeasureJob("glue/all/adam/lr/seed0", {"every": 1, "measures": measures}, prepared_file, tmp_path, "cpu")
    content = measure(job)
    factors = pd.read_parquet(job.folder / "factors.parquet")
    assert set(content["sample"]) == {"cola", "stsb"}
    assert {name.partition(".")[0] for name in factors["measure"]} == set(measures)
    assert set(factors["task"]) == {"cola", "stsb"}
    # A squared gradient's estimate may be negative, which leaves no scale of the noise.
    assert np.isfinite(factors.loc[factors["measure"] != "coherence.noise_scale", "value"]).all()
