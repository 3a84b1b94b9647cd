"""Training in bfloat16: where it acts, and what stays float32."""

import torch

from tasktrace.training.engine import Engine


def engine_of(spec, prepared):
    return Engine(spec, prepared, torch.device("cpu"))


def test_evaluation_is_that_of_the_float32_weights(make_spec, prepared, torch_as_it_was):
    plain, lowered = (engine_of(make_spec(**changes), prepared) for changes in ({}, {"precision": "bf16"}))
    inputs = plain.data.normalised(plain.data.rows[plain.tasks[0].name, "test"][:20])
    for engine in (plain, lowered):
        engine.model.eval()
    assert torch.equal(plain.model(inputs, plain.tasks[0].name), lowered.model(inputs, plain.tasks[0].name))


def test_features_outputs_and_gradients_are_float32_but_rounded(make_spec, prepared, torch_as_it_was):
    plain, lowered = (engine_of(make_spec(**changes), prepared) for changes in ({}, {"precision": "bf16"}))
    name = plain.tasks[0].name
    inputs = plain.data.normalised(plain.data.rows[name, "test"][:20])
    exact = plain.model.encoder(inputs)
    features = lowered.model.encoder(inputs)
    assert features.dtype == lowered.model(inputs, name).dtype == torch.float32
    torch.testing.assert_close(features, exact, rtol=0.05, atol=0.05)
    assert not torch.equal(features, exact)
    features.square().sum().backward()
    assert {parameter.grad.dtype for parameter in lowered.model.encoder.parameters()} == {torch.float32}


def test_a_run_trains_in_bf16_with_a_method_that_combines_task_gradients(make_spec, prepared, torch_as_it_was):
    ends = []
    for changes in ({}, {"precision": "bf16"}):
        engine = engine_of(make_spec(method="pcgrad", **changes), prepared)
        engine.begin_epoch(0)
        for step in range(engine.steps):
            engine.step(step)
        assert torch.isfinite(engine.losses).all()
        ends.append(engine.losses.clone())
    torch.testing.assert_close(ends[0], ends[1], rtol=0.1, atol=0.05)
    assert not torch.equal(ends[0], ends[1])
