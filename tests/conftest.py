"""Settings of every test.

``@pytest.mark.golden("objective", "info-nce")`` marks a test that holds a plugin against its paper: an oracle
of loops, hand numbers or a library. Every plugin of this distribution needs one;
``golden/test_golden_exists.py`` reads the marks from the files' text, so kind and name are written out.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import hypothesis
import pytest
import torch

pytest_plugins = ["tests.shared.trained_runs"]

# A deadline is a timing, and a slow machine is no failure.
hypothesis.settings.register_profile("robustcl", deadline=None, derandomize=True)
hypothesis.settings.load_profile("robustcl")

# A study takes stages from the person's own store; the processes that tests start are told so as well.
os.environ["ROBUSTCL_STORE"] = "none"

# The tensors here are tiny: threads cost more than they bring.
torch.set_num_threads(1)

# A shell's background job ignores Ctrl-C, and what nohup starts a lost terminal: so would every process that a test
# starts and stops.
for each, standard in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(each) is signal.SIG_IGN:
        signal.signal(each, standard)


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """Give a test the same draws whatever ran before it, and let one that leaves gradients off fail itself alone."""
    torch.manual_seed(0)
    yield
    left = torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    torch.set_grad_enabled(True)
    assert left, "the test left torch's gradients off"
