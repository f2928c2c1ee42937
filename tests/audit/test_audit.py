"""The audit: masked models of the zoo are caught, honest ones are not blamed, and each check sees what it is for."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest
import torch
from scipy.stats import binom
from torch import nn

from robustcl import registry
from robustcl.audit import Audit, Finding, as_json, audit, chance, slopes
from robustcl.audit.arms import CHEAP, DEEP, Arm, Effort
from robustcl.audit.bench import Bench
from robustcl.audit.shown import headline, lines
from robustcl.audit.values import TITLES
from robustcl.errors import UsageError
from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.journal import Outcome
from robustcl.evaluate.judge import Judge
from robustcl.rng import Rng
from robustcl.threat import Ball
from tests.audit.zoo import CAUGHT, specimens
from tests.audit.zoo.honest import trained
from tests.audit.zoo.images import Tensors, digits
from tests.audit.zoo.masked import Quantised, Scaled

SAMPLES = 60
QUICK = replace(
    CHEAP,
    black_box=Arm("Square", "square", {"queries": 80}, white=False),
    second=(
        CHEAP.second[0].but("PGD-30 with 2 restarts", steps=30, restarts=2),
        CHEAP.second[1].but("APGD-T", steps=15, targets=3),
    ),
    noise=20,
    sweep=(0.5, 1.0, 2.0),
)
BALL = Ball("Linf", 0.1)
EXPENSIVE = ("CNN", "robust", "residual", "attention")
CHEAP_ONES = [s for s in specimens() if s.masked or not any(word in s.name for word in EXPENSIVE)]
HONEST = [s for s in CHEAP_ONES if not s.masked] + [
    s for s in specimens() if s.name in ("CNN ReLU", "CNN batch norm", "robust MLP", "robust linear", "residual")
]
MASKED = [s for s in CHEAP_ONES if s.masked]


def audited(model: nn.Module, effort: Effort = QUICK, images: Tensors | None = None, **more: object) -> Audit:
    images = images or digits()[1]
    index = more.pop("index", torch.arange(SAMPLES))
    return audit(of_model(model), images, index, BALL, Rng(0), effort=effort, **more)


@pytest.fixture(scope="module")
def fragile() -> Audit:
    return audited(trained("MLP 64"))


def opened(specimen) -> Audit:
    cage = specimen.open()
    index = torch.arange(SAMPLES)
    return audit(of_model(cage.model, cage.mode), cage.images, index, cage.ball, Rng(0), effort=QUICK)


@pytest.mark.parametrize("specimen", MASKED, ids=lambda s: s.name)
def test_a_masked_model_is_caught_by_the_check_that_is_for_it(specimen):
    found = opened(specimen)
    failed = {finding.code for finding in found.findings if finding.verdict == "fail"}
    assert found.verdict == "fail"
    assert failed >= CAUGHT[specimen.name], {f.code: f.evidence for f in found.findings}


def test_at_most_one_honest_model_in_twenty_is_blamed():
    blamed = [specimen.name for specimen in HONEST if opened(specimen).verdict == "fail"]
    assert len(HONEST) >= 20
    assert len(blamed) <= len(HONEST) // 20, blamed


def test_every_check_answers_in_the_order_of_the_record(fragile):
    assert [finding.code for finding in fragile.findings] == list(TITLES)
    assert all(finding.evidence for finding in fragile.findings)
    passed = {finding.code for finding in fragile.findings if finding.verdict == "pass"}
    assert passed >= {"H1", "H2", "H3", "H4", "C1", "C4", "C5", "C6", "C7", "C12", "C13", "C14"}
    assert fragile.find("C6").attack["Square"] == {"use": "square", "queries": 80}
    assert fragile.find("C1").attack["PGD-20"] == {"use": "pgd", "steps": 20, "step_size": pytest.approx(0.025)}


def test_the_same_audit_twice_says_the_same_and_leaves_no_traces():
    model = trained("MLP GELU")
    state = {name: value.clone() for name, value in model.state_dict().items()}
    before = torch.get_rng_state()
    first = audited(model)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert as_json(first) == as_json(audited(model))


def test_the_worst_case_is_counted_sample_by_sample(fragile):
    """The last number is an upper bound that plain PGD, written out, cannot undercut by much."""
    test = digits()[1]
    x, y = test.x[:SAMPLES], test.labels[:SAMPLES]
    adv = x
    for _ in range(40):
        leaf = adv.detach().requires_grad_()
        (toward,) = torch.autograd.grad(nn.functional.cross_entropy(trained("MLP 64")(leaf), y), leaf)
        adv = (leaf + 0.025 * toward.sign()).clamp(x - 0.1, x + 0.1).clamp(0, 1).detach()
    plain = float((trained("MLP 64")(adv).argmax(1) == y).float().mean())
    assert fragile.worst <= plain
    assert plain - fragile.worst < 0.1
    assert f"{fragile.worst:.1%}".replace("%", " %") in fragile.find("C11").evidence


class Lazy:
    """An attack that does nothing."""

    needs = frozenset()
    citation = "none"

    def perturb(self, x, attack):
        return x.clone()


class Clumsy(Lazy):
    """An attack that works in small balls alone."""

    def perturb(self, x, attack):
        leaf = x.detach().requires_grad_()
        with torch.enable_grad():
            (toward,) = torch.autograd.grad(attack.objective(attack.encode(leaf)).sum(), leaf)
        small = float(attack.ball.eps) <= 0.1
        return attack.ball.project(x + float(attack.ball.eps) * toward.sign(), x) if small else x.clone()


def test_an_attack_that_does_nothing_is_found_out():
    """The model is honest; what fails is the attack, and that is what the audit is for."""
    lazy = Arm("lazy", "lazy", stream="pgd")
    effort = replace(QUICK, iterative=lazy, longer=lazy, restarts=lazy, unbounded=lazy, targeted=lazy, second=())
    with registry.local("generator", "lazy", Lazy):
        alone = audited(trained("MLP 64"), effort)
        blind = audited(trained("MLP 64"), replace(effort, single=lazy))
    assert alone.find("C1").verdict == "fail"
    assert alone.find("C5").verdict == "fail"
    assert alone.find("C14").verdict == "pass"
    assert blind.find("C1").verdict == "pass"
    assert blind.find("C6").verdict == "fail"
    assert len(blind.find("C6").samples) > 5


def test_an_attack_that_weakens_with_the_budget_is_found_out():
    with registry.local("generator", "clumsy", Clumsy):
        found = audited(trained("MLP 64"), replace(QUICK, iterative=Arm("clumsy", "clumsy")))
    assert found.find("C4").verdict == "fail"
    assert found.find("C4").samples


def test_too_few_steps_and_restarts_are_told():
    short = QUICK.iterative.but("PGD-2", steps=2)
    effort = replace(QUICK, iterative=replace(short, step=0.2), longer=replace(QUICK.longer, step=0.2))
    found = audited(trained("MLP 64"), effort).find("C2")
    assert found.verdict == "warn"
    assert len(found.samples) >= 2
    assert "PGD-40 broke" in found.evidence


def test_longer_attacks_go_on_where_shorter_ones_ended(fragile):
    """PGD-40 breaks whatever PGD-20 broke: both begin at the same point."""
    test, index = digits()[1], torch.arange(SAMPLES)
    bench = Bench(of_model(trained("MLP 64")), test.x[index], test.labels[index], index, BALL, Rng(0), QUICK, 17)
    short, long = bench.strike(QUICK.iterative), bench.strike(QUICK.longer)
    assert bool((long | ~short).all())
    assert bool((bench.strike(QUICK.restarts) | ~short).all())


def test_a_missing_attack_is_not_run_and_says_why():
    absent = Arm("RayS", "no-such-attack", white=False)
    found = audited(trained("MLP 32"), replace(QUICK, hard_label=absent, black_box=absent))
    for code in ("C6", "C8"):
        assert found.find(code).verdict == "not run"
        assert "no-such-attack" in found.find(code).evidence
    assert audited(trained("MLP 32")).find("C8").verdict == "not run"


@pytest.mark.parametrize("effort", [CHEAP, DEEP])
def test_a_model_of_few_classes_is_attacked_toward_all_wrong_ones(effort: Effort) -> None:
    targeted = [arm for arm in (effort.targeted, *effort.second) if arm.label == "APGD-T"]
    assert len(targeted) == 2
    model, ball = nn.Linear(4, 3).eval(), Ball("Linf", 0.1)
    x = torch.rand(4, 4)
    label = model(x).argmax(1)
    for arm in targeted:
        judge = Judge(of_model(model), ball, Rng(0), contextlib.nullcontext)
        judge.attack(x, label, torch.arange(4), "apgd-t", arm.members(3, ball))
    ((_, of_two),) = effort.second[-1].members(2, ball)
    assert of_two.targets == 1
    assert effort.second[-1].members(10, ball)[0][1].targets == effort.second[-1].options["targets"]


def test_a_hard_label_attack_is_compared_sample_by_sample():
    lazy = Arm("lazy", "lazy")
    with registry.local("generator", "lazy", Lazy), registry.local("generator", "votes", Clumsy):
        plain = replace(QUICK, hard_label=Arm("votes", "votes", white=False), second=())
        honest = audited(trained("MLP 64"), plain).find("C8")
        blind = audited(
            trained("MLP 64"),
            replace(plain, single=lazy, iterative=lazy, longer=lazy, restarts=lazy, targeted=lazy),
        ).find("C8")
    assert honest.verdict == "pass"
    assert blind.verdict == "fail"


def test_an_attack_that_is_not_made_for_the_norm_is_not_run():
    effort = replace(QUICK, hard_label=Arm("RayS", "rays", {"queries": 20}, white=False))
    classifier, images, index = of_model(trained("MLP 32")), digits()[1], torch.arange(10)
    inside = audit(classifier, images, index, BALL, Rng(0), effort=effort).find("C8")
    outside = audit(classifier, images, index, Ball("L2", 0.5), Rng(0), effort=effort).find("C8")
    assert inside.verdict == "pass"
    assert outside.verdict == "not run"
    assert "Linf" in outside.evidence


def test_images_of_another_model_are_tried_where_one_is_given():
    surrogate = ("MLP 32", of_model(trained("MLP 32")))
    masked = audited(Quantised(trained("MLP 64"), 16), surrogates=[surrogate]).find("C9")
    honest = audited(trained("MLP 64"), surrogates=[surrogate]).find("C9")
    assert masked.verdict == "fail"
    assert len(masked.samples) >= 2
    assert honest.verdict == "pass"
    assert audited(trained("MLP 64")).find("C9").verdict == "not run"


def test_a_surrogate_is_attacked_to_the_end_where_it_is_fooled_already():
    class Partial(nn.Module):
        """Says class 0 of everything; its gradients are those of an honest model."""

        def __init__(self):
            super().__init__()
            self.body = trained("MLP 32")

        def forward(self, x):
            return self.body(x) + 100 * nn.functional.one_hot(torch.tensor(0), 10)

    surrogate = ("class 0", of_model(Partial()))
    found = audited(Quantised(trained("MLP 64"), 16), surrogates=[surrogate]).find("C9")
    assert found.verdict == "fail"
    others = digits()[1].labels[list(found.samples)] != 0
    assert int(others.sum()) >= 5, "images that the surrogate gets wrong from the start"


def test_a_budget_of_other_units_than_the_pixels_is_told():
    model = trained("MLP 32")

    class Bytes(nn.Module):
        def forward(self, x):
            return model(x / 255)

    test, index = digits()[1], torch.arange(10)
    images, wide = Tensors(test.x * 255, test.labels), (0.0, 255.0)
    fitting = audit(of_model(Bytes()), images, index, Ball("Linf", 8.0, wide), Rng(0), effort=QUICK).find("H4")
    tiny = audit(of_model(Bytes()), images, index, Ball("Linf", 8 / 255, wide), Rng(0), effort=QUICK).find("H4")
    assert fitting.verdict == "pass"
    assert tiny.verdict == "warn"
    assert "grey level" in tiny.evidence


def test_samples_carry_their_numbers_in_the_split():
    index = torch.arange(300, 340)
    found = audited(Quantised(trained("MLP 64"), 16), index=index)
    dead = found.find("C14")
    assert set(dead.samples) <= set(range(300, 340))
    assert len(dead.samples) > 30


def test_bad_luck_of_short_attacks_is_not_called_masking():
    """The model is honest and its gradient attacks are short: what random search finds first, longer ones find too."""
    short = Arm("PGD-1", "pgd", {"steps": 1}, step=0.1, stream="pgd")
    search = Arm("Square", "square", {"queries": 200}, white=False)
    effort = replace(QUICK, single=short, iterative=short, longer=short, restarts=short, unbounded=short,
                     targeted=short, black_box=search)  # fmt: skip
    fair, once = audited(trained("MLP 64"), effort), audited(trained("MLP 64"), replace(effort, second=()))
    assert once.find("C6").verdict == "fail"
    disputed = len(once.find("C6").samples)
    assert disputed >= 5
    assert f"alone broke {disputed} samples, 0 of which no gradient attack breaks (0.0 %)" in fair.find("C6").evidence
    assert fair.find("C6").verdict == "pass"
    assert fair.find("C6").samples == ()
    assert effort.second[0].label in fair.find("C6").attack


def test_what_the_reported_attack_left_standing_is_held_against_the_audit(fragile):
    claim = [Outcome(i, 0, 0, True, 0, "", "pgd-20") for i in range(SAMPLES)]
    found = audited(trained("MLP 64"), known=claim).find("C11")
    assert found.verdict == "fail"
    assert len(found.samples) == round((fragile.clean - fragile.worst) * SAMPLES)
    broken = [replace(outcome, correct=False) for outcome in claim]
    assert audited(trained("MLP 64"), known=broken).find("C11").verdict == "pass"


@pytest.mark.parametrize("standing", [10, 8])
def test_samples_that_were_never_reported_are_no_part_of_the_share(standing):
    """A tenth of the audited samples were judged and stood; most of them fall, whatever became of the others."""
    claim = [Outcome(i, 0, 0, True, 0, "", "pgd-20") for i in range(standing)]
    found = audited(trained("MLP 64"), known=claim).find("C11")
    assert 4 <= len(found.samples) <= 0.1 * SAMPLES, "few of all, many of those that were reported"
    assert set(found.samples) <= set(range(standing))
    assert found.verdict == "fail"
    assert f"{standing} of {SAMPLES} samples were reported at all" in found.evidence


def test_outcomes_of_other_samples_alone_report_nothing(fragile):
    claim = [Outcome(i, 0, 0, True, 0, "", "pgd-20") for i in range(SAMPLES, SAMPLES + 10)]
    assert audited(trained("MLP 64"), known=claim).find("C11") == fragile.find("C11")


def test_a_targeted_attack_is_held_against_the_reported_samples_alone():
    tempered = Scaled(trained("MLP 64"), 1e-3)
    standing = [Outcome(i, 0, 0, True, 0, "", "pgd-20") for i in range(12)]
    broken = [Outcome(i, 0, 1, False, 0, "", "pgd-20") for i in range(12, SAMPLES)]
    few, all_of_them = audited(tempered, known=standing), audited(tempered, known=standing + broken)
    assert few.find("C10").samples == all_of_them.find("C10").samples
    assert (few.find("C10").verdict, all_of_them.find("C10").verdict) == ("fail", "report")


def test_a_targeted_attack_is_held_against_what_was_reported():
    """Where the reported attack broke them already, cross-entropy that fails on small logits overstates nothing."""
    tempered = Scaled(trained("MLP 64"), 1e-3)
    broken = [Outcome(i, 0, 1, False, 0, "", "autoattack") for i in range(SAMPLES)]
    assert audited(tempered).find("C10").verdict == "fail"
    assert audited(tempered, known=broken).find("C10").verdict == "report"


def slopes_of(function, ball: Ball = BALL) -> tuple[Bench, slopes.Slopes]:
    """Return the bench of a two-class model whose margin is ``function`` of four pixels."""

    class Two(nn.Module):
        def forward(self, x):
            value = function(x)
            return torch.stack([value, torch.zeros_like(value)], 1)

    x = torch.linspace(0.3, 0.7, 12).view(3, 4)
    index = torch.arange(3)
    bench = Bench(of_model(Two()), x, torch.zeros(3, dtype=torch.int64), index, ball, Rng(0), QUICK, 2)
    return bench, slopes.measure_slopes(bench, index)


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_a_linear_margin_keeps_every_promise_of_its_gradient(norm):
    weight = torch.tensor([1.0, -2.0, 3.0, 0.5])
    bench, at = slopes_of(lambda x: x @ weight + 5.0, Ball(norm, 0.1))
    torch.testing.assert_close(at.margin, weight.expand(3, 4))
    torch.testing.assert_close(slopes.local_error(bench, at), torch.zeros(3), rtol=0, atol=1e-3)
    torch.testing.assert_close(slopes.share_kept(bench, at), torch.ones(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(slopes.jumps(bench, at), torch.full((3,), 0.25), rtol=0, atol=1e-3)
    torch.testing.assert_close(slopes.reach(bench, at), 6.5 / bench.logits[:, 0])


def test_kinks_are_no_jumps_and_jumps_are():
    kinked = slopes_of(lambda x: 2.0 - (x - 0.31).abs().sum(1) + 0.01 * x.sum(1))
    stepped = slopes_of(lambda x: 2.0 + 0.1 * x.sum(1) + (10 * x.mean(1)).floor())
    assert float(slopes.jumps(*kinked).max()) < 0.35
    assert float(slopes.jumps(*stepped).min()) > 0.5


def test_a_gradient_of_the_wrong_sign_is_wrong_twice_over():
    class Turned(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return -gradient

    bench, at = slopes_of(lambda x: Turned.apply(x).sum(1))
    torch.testing.assert_close(slopes.local_error(bench, at), torch.full((3,), 2.0), rtol=0, atol=1e-2)
    torch.testing.assert_close(slopes.share_kept(bench, at), torch.full((3,), -1.0), rtol=0, atol=1e-3)


def test_chance_is_the_binomial_s():
    for more, less in ((0, 0), (3, 0), (5, 2), (7, 7), (2, 9)):
        assert chance.mcnemar(more, less) == pytest.approx(binom.sf(more - 1, more + less, 0.5))
    assert not chance.beyond(1, 100)
    assert chance.beyond(2, 100)
    assert not chance.beyond(2, 1000)
    assert chance.beyond(3, 1000)
    assert chance.above(20, 100, 0.1)
    for count, n, share in ((0, 4, 0.05), (1, 1, 0.05), (6, 10, 0.05), (3, 10, 0.5), (10, 10, 0.2), (90, 5000, 0.05)):
        assert chance.at_least(count, n, share) == pytest.approx(binom.sf(count - 1, n, share))
    everyone = torch.ones(100, dtype=torch.bool)
    shares = [chance.say_overstatement(torch.arange(100) < fallen, everyone) for fallen in (0, 5, 6, 7, 15, 16)]
    assert shares == ["pass", "pass", "pass", "warn", "warn", "fail"]
    few = torch.arange(100) < 10
    assert [chance.say_overstatement(torch.arange(100) < fallen, few) for fallen in (0, 1, 3, 4, 6)] == [
        *["pass"] * 3,
        *["fail"] * 2,
    ]
    assert chance.say_overstatement(~few, ~everyone) == "pass"
    assert not chance.above(12, 100, 0.1)


def test_json_and_text_hold_the_whole_audit(fragile):
    told = json.loads(json.dumps(as_json(fragile)))
    assert told["verdict"] == fragile.verdict
    assert told["threat"] == {"norm": "Linf", "eps": 0.1, "range": [0.0, 1.0]}
    assert [entry["code"] for entry in told["findings"]] == list(TITLES)
    assert all(entry["title"] == TITLES[entry["code"]] for entry in told["findings"])
    assert len(told["questions"]) == 4
    text = "\n".join(lines(fragile))
    assert all(finding.evidence in text for finding in fragile.findings)
    assert all(question in text for question in told["questions"])
    assert text.endswith(headline(fragile))


def test_the_worst_verdict_is_the_audit_s_and_reports_do_not_count():
    def whole(*verdicts):
        return Audit(tuple(Finding("C1", each, "") for each in verdicts), 1, 1.0, 1.0, {}).verdict

    assert whole("pass", "report", "not run") == "pass"
    assert whole("pass", "warn", "report") == "warn"
    assert whole("warn", "fail", "pass") == "fail"
    assert whole("report") == "pass"


def test_a_check_that_breaks_down_is_a_warning_and_not_a_pass():
    class Moody(nn.Module):
        def forward(self, x):
            if len(x.unique(dim=0)) < max(len(x), 2):  # so that no batch of one can be filled with what was seen
                raise KeyError("no batch of one")
            return trained("MLP 32")(x)

    found = audited(Moody()).find("H3")
    assert found.verdict == "warn"
    assert "could not be checked" in found.evidence
    assert "no batch of one" in found.evidence


def test_mistakes_are_explained():
    with pytest.raises(UsageError, match="an audit needs samples"):
        audited(trained("MLP 32"), index=torch.arange(0))
    images, classifier = digits()[1], of_model(trained("MLP 32"))
    with pytest.raises(UsageError, match="not both"):
        audited(trained("MLP 32"), deep=True)
    for eps in (0.0, torch.tensor([0.1, 0.2])):
        with pytest.raises(UsageError, match="one threat of a size above 0"):
            audit(classifier, images, torch.arange(4), Ball("Linf", eps), Rng(0))
