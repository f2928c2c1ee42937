"""What a sampler sees of a stage in progress: it is what training sees, it leaves no trace, and ranks agree on it."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from robustcl.errors import NeedNotMet, UsageError
from robustcl.nn.traces import Traces
from robustcl.options.schedule import Progress
from robustcl.rng import Rng
from robustcl.train.loop import StageRun
from robustcl.train.step import Moment
from robustcl.train.survey import RunSurvey
from tests.shared import tiny
from tests.shared.forks import Asked, fork_all
from tests.shared.one_step import one_step

NO_GLOO = 77
ROWS = torch.arange(20, 28)
MODES = ("batch", "eval")


def _run(recipe: str = "acl-rcs", *overrides: str) -> StageRun:
    return one_step(recipe, overrides=overrides).run


def _survey(run: StageRun) -> RunSurvey:
    return RunSurvey(run, Rng(0, "survey"))


def test_encode_is_what_the_encoder_says_in_eval_mode() -> None:
    run = _run()
    survey = _survey(run)
    x = survey.originals(ROWS)
    torch.testing.assert_close(x, run.images.fetch(ROWS).double(), rtol=0, atol=0)
    for route in ("clean", "adv"):
        expected = run.encoders.embed_constant(x, "online", route, frozenset({"z"})).z
        found = survey.encode(x, f"online:{route}", "z")
        assert found.requires_grad
        torch.testing.assert_close(found.detach(), expected)
    assert not torch.allclose(survey.encode(x, "online", "z"), survey.encode(x, "online:adv", "z"))


def test_other_parameters_stand_in_and_take_the_gradient() -> None:
    run = _run()
    survey = _survey(run)
    head = survey.parameters("projector")
    own = dict(run.encoders.online.named_parameters())
    assert list(head) == [name for name in own if name.startswith("projector.")]
    assert all(value.is_leaf and value.requires_grad and value is not own[name] for name, value in head.items())
    x = survey.originals(ROWS)
    with torch.no_grad():
        changed = {name: (2 * value).requires_grad_() for name, value in head.items()}
    found = survey.encode(x, "online:adv", "z", changed)
    gradients = torch.autograd.grad(found.square().sum(), list(changed.values()), allow_unused=True)
    assert any(gradient is not None and bool(gradient.any()) for gradient in gradients)
    assert not torch.allclose(found, survey.encode(x, "online:adv", "z"))
    torch.testing.assert_close(survey.encode(x, "online:adv", "z", head), survey.encode(x, "online:adv", "z"))


@pytest.mark.parametrize("mode", MODES)
def test_the_gradient_is_that_of_the_stages_loss(mode: str) -> None:
    run = _run("acl-rcs", f"stage.pretrain.mode={mode}") if mode == "eval" else _run()
    survey = _survey(run)
    found = survey.gradient(ROWS, "projector", mode)
    run.step.moment = Moment(Progress(0, 1000, 0.0, 1000.0), survey.rng, None)
    losses = run.step(**run.inputs(ROWS, run.images.fetch(ROWS), survey.rng.child("gradient")))
    wanted = list(run.encoders.online.projector.parameters())
    for mine, expected in zip(found, torch.autograd.grad(losses["total"], wanted), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-9, atol=1e-12)


def test_what_the_loss_does_not_reach_has_gradient_zero() -> None:
    run = _run("simclr")
    run.encoders.online.projector[0].weight.requires_grad_(False)
    first, *others = _survey(run).gradient(ROWS, "projector")
    assert not bool(first.any())
    assert any(bool(gradient.any()) for gradient in others)


@pytest.mark.parametrize("attack", ["eval", "train"])
@pytest.mark.parametrize("mode", MODES)
def test_looking_leaves_no_trace(attack: str, mode: str) -> None:
    run = _run("acl-rcs", f"stage.pretrain.generator.pair.mode={attack}")
    plan, online = run.step.plan, run.encoders.online
    before = {name: value.clone() for name, value in online.state_dict().items()}
    traces = Traces([online], buffers=True, randomness=True)
    survey = _survey(run)
    survey.gradient(ROWS, "projector", mode)
    survey.embed("a", "online:adv", ROWS)
    x = survey.originals(ROWS).requires_grad_()
    survey.encode(x, "online:adv", "z", survey.parameters("projector"))
    assert not list(traces.found())
    assert run.step.plan is plan
    assert not run.step.scenes
    assert all(parameter.grad is None for parameter in online.parameters())
    for name, value in online.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_schedules_are_those_of_the_epoch_that_begins() -> None:
    run = _run("dynacl-rcs")
    run.epoch = 500
    late = _survey(run).gradient(ROWS, "projector", "eval")
    assert {view.part.plugin.strength for view in run.plan.views} == {0.5}
    run.epoch = 0
    early = _survey(run).gradient(ROWS, "projector", "eval")
    assert {view.part.plugin.strength for view in run.plan.views} == {1.0}
    assert not torch.allclose(early[0], late[0])


def test_one_stream_lasts_and_the_other_is_of_this_choice() -> None:
    run = _run()
    one, two = (RunSurvey(run, run.rng.child("survey", epoch)) for epoch in (0, 20))
    assert torch.equal(one.lasting.permutation(9), two.lasting.permutation(9))
    assert not torch.equal(one.rng.permutation(9), two.rng.permutation(9))
    assert one.batch == 512


def test_a_ball_and_a_part_that_are_not_there_are_named() -> None:
    with pytest.raises(NeedNotMet, match="asks for a ball, but the stage has no generator"):
        _ = _survey(_run("simclr")).ball
    with pytest.raises(UsageError, match="asks for the part 'head', which the encoder lacks"):
        _survey(_run()).gradient(ROWS, "head")


def _gradients(run: StageRun) -> dict[str, list[Tensor]]:
    survey = _survey(run)
    return {mode: survey.gradient(ROWS, "projector", mode) for mode in MODES}


def test_two_ranks_share_the_images_and_have_the_gradient_of_one(tmp_path: Path) -> None:
    ranks = [Asked([str(rank)], tmp_path, tiny.environment(), "tests.train.test_survey:one_rank") for rank in range(2)]
    ends = fork_all(ranks)
    alone = _gradients(_run())
    said = [ended.stderr for ended in ends]
    if NO_GLOO in {ended.returncode for ended in ends}:
        pytest.skip(f"gloo does not start: {said}")
    assert [ended.returncode for ended in ends] == [0, 0], said
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert "which 2 processes cannot share equally" in found.pop("odd")
        for mode, gradients in alone.items():
            for mine, expected in zip(found[mode], gradients, strict=True):
                torch.testing.assert_close(mine, expected, rtol=1e-7, atol=1e-10)


RESUMED = """
name = "tiny-rcs"
extends = "acl-rcs"
drop = ["evaluate.slf"]
[set]
"data.validation" = 0.8
"encoder.use" = "resnet-small"
"encoder.width" = 2
"stage.pretrain.epochs" = 3
"stage.pretrain.batch" = 64
"stage.pretrain.generator.pair.steps" = 1
"stage.pretrain.sampler.fraction" = 0.5
"stage.pretrain.sampler.warmup" = 1
"stage.pretrain.sampler.every" = 1
"run.checkpoint" = "1 steps"
"run.log_every" = 1
[adapt.digits]
"encoder.projector.widths" = [8, 4]
"""


def test_a_coreset_survives_a_resume(tmp_path: Path) -> None:
    """Cut within an epoch the choice comes from the checkpoint, cut before one it is made again; both end alike."""
    (tmp_path / "rcs.toml").write_text(RESUMED, encoding="utf-8")
    start = ("run", "rcs.toml", "--device", "cpu", "--out")
    legs = [tiny.Leg((*start, "whole")), tiny.Leg((*start, "cut"), "Ctrl-C", 4)]
    legs += [tiny.Leg(("resume", "cut"), "Ctrl-C", 1), tiny.Leg(("resume", "cut"))]
    ends = tiny.run_legs(tmp_path, legs)
    assert [ended.code for ended in ends] == [0, 130, 130, 0], ends
    assert "stopped at step 4 of" in ends[1].said, "at the end of the warm-up's epoch"
    assert "stopped at step 5 of" in ends[2].said, "in the middle of an epoch"
    files = sorted(path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").glob("**/model.safetensors"))
    assert files
    for path in files:
        assert (tmp_path / "cut" / path).read_bytes() == (tmp_path / "whole" / path).read_bytes(), path
    whole, cut = (tiny.lines(tmp_path / name / "metrics.jsonl", "seconds") for name in ("whole", "cut"))
    assert whole == cut
    assert [line["step"] for line in whole] == list(range(1, 9)), "four steps on all images, then two on half of them"


def one_rank() -> None:
    """Be one of two processes, whose number is the argument, and keep what it found in the working folder."""
    rank, folder = int(sys.argv[1]), Path.cwd()
    run = _run()
    try:
        meeting, limit = f"file://{folder}/meeting", datetime.timedelta(seconds=120)
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=limit)
    except (RuntimeError, ValueError, OSError) as error:
        print(f"gloo does not start: {error}", file=sys.stderr)
        sys.exit(NO_GLOO)
    found: dict[str, object] = dict(_gradients(run))
    try:
        _survey(run).gradient(ROWS[:7], "projector")
    except UsageError as error:
        found["odd"] = str(error)
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()
