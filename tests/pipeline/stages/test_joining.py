"""What a process of a stage takes for the loss of the others."""

import pytest
import torch.distributed as dist

from pipeline.stages.joining import LAUNCHED, is_loss_of_others

LOST = "[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:2345"


@pytest.mark.parametrize(
    ("error", "is_loss"),
    [
        (RuntimeError(LOST), True),
        (RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting"), True),
        (dist.DistNetworkError("the server socket is gone"), True),
        (RuntimeError("shape mismatch in gloomy_net.head"), False),
        (ValueError(LOST), False),
    ],
)
def test_an_error_of_its_own_is_not_taken_for_the_loss_of_others(
    monkeypatch: pytest.MonkeyPatch, error: Exception, is_loss: bool
) -> None:
    monkeypatch.setenv(LAUNCHED, "x")
    assert is_loss_of_others(error) is is_loss
    monkeypatch.delenv(LAUNCHED)
    assert not is_loss_of_others(error)
