"""What every model of the zoo does."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from common.config import build_config
from common.model_files.programs import save_torch_export
from common.saved_model import read_model, write_model
from tests.common.zoo.cases import CASES, Case, make_metadata

ALL = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@ALL
def test_there_is_an_output_for_each_class(case: Case) -> None:
    inputs = case.draw_inputs(5)
    assert case.build(("a", "b", "c", "d"))(inputs).shape == (5, 4)


@ALL
def test_there_is_one_output_when_data_has_no_classes(case: Case) -> None:
    assert case.build(classes=())(case.draw_inputs(5)).shape == (5, 1)


@ALL
def test_there_are_as_many_outputs_as_params_say(case: Case) -> None:
    config = dataclasses.replace(case.config, outputs=7)
    assert case._replace(config=config).build()(case.draw_inputs(5)).shape == (5, 7)


@ALL
def test_a_batch_is_learned_by_heart(case: Case) -> None:
    model, inputs, targets = case.build(), case.draw_inputs(6), torch.arange(6) % 3
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    model.eval()
    assert functional.cross_entropy(model(inputs), targets) < 0.1


@ALL
def test_every_parameter_is_learned(case: Case) -> None:
    model, inputs = case.build(), case.draw_inputs(6)
    for parameter in model.parameters():  # some begin with zeros, and let nothing through
        nn.init.normal_(parameter)
    (model(inputs) ** 2).sum().backward()
    assert [name for name, parameter in model.named_parameters() if not parameter.grad.any()] == []


@ALL
def test_outputs_of_a_sample_are_the_same_when_it_is_alone(case: Case) -> None:
    model, inputs = case.build(), case.draw_inputs(6)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    model(inputs)  # moves the running statistics of batch norm
    model.eval()
    together = model(inputs)
    assert not torch.allclose(together[0], together[1], atol=1e-3)
    alone = torch.cat([model(inputs[row : row + 1]) for row in range(6)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@ALL
def test_model_comes_back_to_the_bit(case: Case, tmp_path: Path) -> None:
    model, inputs = case.build(), case.draw_inputs(5)
    model(inputs)
    write_model(model, case.config, make_metadata(case.input_shape, case.input_dtype), tmp_path)
    torch.manual_seed(1)
    read = read_model(case.model, tmp_path)
    assert torch.equal(read.eval()(inputs), model.eval()(inputs))


# Rows of tokens that end at different places are packed for a GRU, which no program can say.
@pytest.mark.parametrize("case", [case for name, case in CASES.items() if name != "gru of tokens"])
@pytest.mark.filterwarnings("ignore:The tensor attributes .* were assigned during export:UserWarning")
@pytest.mark.slow
def test_program_of_a_model_takes_batches_of_any_size(case: Case, tmp_path: Path) -> None:
    model = case.build().eval()
    save_torch_export(model, case.draw_inputs(3), tmp_path / "m.pt2")
    program = torch.export.load(tmp_path / "m.pt2").module()
    for num_samples in (2, 6):
        torch.testing.assert_close(program(case.draw_inputs(num_samples)), model(case.draw_inputs(num_samples)))


@ALL
def test_config_comes_from_params_as_it_is(case: Case) -> None:
    assert build_config(case.model, dataclasses.asdict(case.config)) == case.config


@ALL
def test_initialisation_is_the_same_when_the_seed_is(case: Case) -> None:
    ours, theirs = case.build().state_dict(), case.build().state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


@pytest.mark.parametrize(
    ("name", "changes"),
    [("transformer of tokens", {}), ("transformer of tokens", {"pooling": "cls"}), ("gru of tokens", {})],
)
def test_more_padding_changes_nothing(name: str, changes: dict[str, str]) -> None:
    case = CASES[name]
    model = case._replace(config=dataclasses.replace(case.config, **changes)).build().eval()
    tokens = torch.tensor([[3, 1, 4, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0]])
    torch.testing.assert_close(model(tokens), model(tokens[:, :3]))
    assert not torch.allclose(model(tokens), model(tokens.flip(0)), atol=1e-4)


@pytest.mark.parametrize("name", ["transformer of tokens", "gru of tokens"])
def test_padding_is_a_token_as_others_when_params_say_that_none_is(name: str) -> None:
    case = CASES[name]
    model = case._replace(config=dataclasses.replace(case.config, padding=None)).build().eval()
    tokens = torch.tensor([[3, 1, 4, 0, 0, 0, 0]])
    assert not torch.allclose(model(tokens), model(tokens[:, :3]), atol=1e-5)


@pytest.mark.parametrize("name", ["transformer of tokens", "gru of tokens"])
def test_outputs_are_finite_when_a_sequence_is_padding_alone(name: str) -> None:
    assert CASES[name].build()(torch.zeros(2, 7, dtype=torch.int64)).isfinite().all()
