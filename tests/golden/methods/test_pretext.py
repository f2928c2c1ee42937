"""Adversarial pretext tasks (Chen et al., CVPR 2020): views, objectives and recipes against naked loops."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcl.errors import UsageError
from robustcl.nn.routing import Norm
from robustcl.rng import Rng
from robustcl.testing.builders import DIMS, make_scene
from robustcl.types import Batch, Embedding, Scene
from robustcl_plugins.objectives.gradient_diversity import GradientDiversity
from robustcl_plugins.objectives.pretext import Pretext
from robustcl_plugins.objectives.selfie import AttentionLayer, Selfie
from robustcl_plugins.views.jigsaw import Jigsaw, orders
from robustcl_plugins.views.patches import Patches
from robustcl_plugins.views.rotation import Rotation
from tests.shared.one_step import Seen, one_step

MANY = 20_000


def images(n: int, item: tuple[int, ...]) -> Tensor:
    return Rng(7, "images").uniform((n, *item))


def rows(n: int) -> Rng:
    return Rng(0, "view").for_rows(torch.arange(n))


def log_softmax(scores: list[float]) -> list[float]:
    top = max(scores)
    total = sum(math.exp(s - top) for s in scores)
    return [s - top - math.log(total) for s in scores]


# ------------------------------------------------------------------------------------------------------------- views


@pytest.mark.golden("view", "rotation")
def test_rotation_turns_by_its_target_and_each_angle_equally_often() -> None:
    x = images(40, (2, 5, 5))
    turned, target = Rotation().draw(x, rows(40))
    assert set(target.tolist()) == {0, 1, 2, 3}
    for i, c, row, column in itertools.product(range(40), range(2), range(5), range(5)):
        # Anticlockwise: what stands in the last column comes to stand in the first row.
        source = {0: (row, column), 1: (column, 4 - row), 2: (4 - row, 4 - column), 3: (4 - column, row)}
        assert turned[i, c, row, column] == x[i, c, *source[int(target[i])]]
    _, many = Rotation().draw(torch.zeros(MANY, 1, 2, 2), rows(MANY))
    assert (torch.bincount(many, minlength=4) / MANY - 0.25).abs().max() < 5 * math.sqrt(0.1875 / MANY)
    with pytest.raises(UsageError, match="turns square images only, not 4 x 6 pixels: crop them square first"):
        Rotation().draw(images(2, (1, 4, 6)), rows(2))


@pytest.mark.golden("view", "jigsaw")
def test_jigsaw_shows_the_patches_in_the_order_of_its_target() -> None:
    x, table = images(60, (2, 8, 12)), orders(16, 30, 0).tolist()
    view, target = Jigsaw().draw(x, rows(60))
    assert table[0] == list(range(16))
    assert len({tuple(order) for order in table}) == 31
    assert all(sorted(order) == list(range(16)) for order in table)
    assert (target == 0).any()
    for i, place in itertools.product(range(60), range(16)):
        shown = table[int(target[i])][place]
        top, left, there, aside = 2 * (place // 4), 3 * (place % 4), 2 * (shown // 4), 3 * (shown % 4)
        assert torch.equal(view[i, :, top : top + 2, left : left + 3], x[i, :, there : there + 2, aside : aside + 3])


@pytest.mark.golden("view", "jigsaw")
def test_jigsaw_leaves_13_percent_untouched_and_repeats_its_permutations() -> None:
    _, target = Jigsaw().draw(torch.zeros(MANY, 1, 4, 4), rows(MANY))
    shares = torch.bincount(target, minlength=31) / MANY
    untouched = 0.1 + 0.9 / 31
    assert abs(float(shares[0]) - untouched) < 5 * math.sqrt(untouched * (1 - untouched) / MANY)
    assert (shares[1:] - 0.9 / 31).abs().max() < 5 * math.sqrt(0.9 / 31 / MANY)
    assert torch.equal(orders(16, 30, 0), orders(16, 30, 0))
    assert not torch.equal(orders(16, 30, 0), orders(16, 30, 1))
    assert len(orders(4, 23, 0)) == 24
    with pytest.raises(UsageError, match="4 patches have only 23 permutations beside the identity, not 30"):
        Jigsaw(grid=2).draw(images(2, (1, 4, 4)), rows(2))


@pytest.mark.golden("view", "patches")
def test_patches_are_the_pixels_of_their_places_and_pass_the_gradient() -> None:
    x = images(20, (2, 6, 9)).requires_grad_()
    patches, places = Patches(grid=3).draw(x, rows(20))
    assert patches.shape == (20, 9, 2, 2, 3)
    assert all(sorted(order) == list(range(9)) for order in places.tolist())
    assert len({tuple(order) for order in places.tolist()}) > 15  # every image has an order of its own
    for i, number in itertools.product(range(20), range(9)):
        top, left = 2 * (int(places[i, number]) // 3), 3 * (int(places[i, number]) % 3)
        assert torch.equal(patches[i, number], x[i, :, top : top + 2, left : left + 3])
    gradient = torch.autograd.grad((patches**2).sum(), x)[0]
    torch.testing.assert_close(gradient, 2 * x.detach())


@pytest.mark.parametrize("view", [Jigsaw(), Patches()])
def test_a_grid_that_does_not_divide_the_image_is_refused(view: Jigsaw | Patches) -> None:
    said = "cuts 4 x 4 patches, which does not go into images of 8 x 10 pixels: choose a grid .* e.g. grid = 2"
    with pytest.raises(UsageError, match=said):
        view.draw(images(2, (1, 8, 10)), rows(2))


# -------------------------------------------------------------------------------------------------------- objectives


def pretext_loss(head: nn.Linear, views: list[Tensor], target: Tensor) -> list[float]:
    """Return the mean over the views of -log softmax(W h + b)[t], in loops."""
    weight, bias = head.weight.tolist(), head.bias.tolist()
    losses = []
    for i, answer in enumerate(target.tolist()):
        total = 0.0
        for h in views:
            row = h[i].tolist()
            scores = [
                sum(w * x for w, x in zip(line, row, strict=True)) + b for line, b in zip(weight, bias, strict=True)
            ]
            total -= log_softmax(scores)[answer]
        losses.append(total / len(views))
    return losses


def built(objective: Pretext | Selfie) -> Pretext | Selfie:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        objective.build(DIMS)
    return objective.double()


def scene_of(views: dict[str, Tensor], target: dict[str, Tensor]) -> Scene:
    return make_scene({name: Embedding(h=h) for name, h in views.items()}, target=target)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return Rng(seed, "h").normal(shape, dtype=torch.float64)


@pytest.mark.golden("objective", "pretext")
def test_pretext_is_the_cross_entropy_of_its_own_head() -> None:
    objective = built(Pretext(classes=5))
    assert isinstance(objective, Pretext)
    clean, adversarial, target = drawn(6, 6), drawn(6, 6, seed=1), torch.tensor([0, 4, 2, 2, 1, 3])
    values = objective.per_sample(scene_of({"t": clean, "t_adv": adversarial}, {"t": target}))["ce"]
    expected = pretext_loss(objective.head, [clean, adversarial], target)
    torch.testing.assert_close(values, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)
    nn.init.zeros_(objective.head.weight)
    nn.init.zeros_(objective.head.bias)
    blank = objective.per_sample(scene_of({"t": clean}, {"t": target}))["ce"]
    torch.testing.assert_close(blank, torch.full((6,), math.log(5), dtype=torch.float64))


def test_pretext_finds_the_target_that_counts_or_says_what_is_missing() -> None:
    objective = built(Pretext())
    a, b, first, second = drawn(4, 6), drawn(4, 6, seed=1), torch.tensor([0, 1, 2, 3]), torch.tensor([3, 3, 3, 3])

    def value(views: dict[str, Tensor], target: dict[str, Tensor], **options: str) -> Tensor:
        objective.task = options.get("task")  # type: ignore[assignment]
        return objective.per_sample(scene_of(views, target))["ce"]

    alone = value({"a": a}, {"a": first})
    assert torch.equal(value({"a": a}, {"a": first, "b": second}), alone)  # its own
    assert torch.equal(value({"a_adv": a}, {"a": first}), alone)  # the stage's only one
    assert torch.equal(value({"a_adv": a}, {"a": first, "b": second}, task="a"), alone)
    both = value({"a": a, "a_adv": b}, {"a": first, "b": second})  # the term's only one
    torch.testing.assert_close(both, (alone + value({"b": b}, {"b": first})) / 2)
    with pytest.raises(UsageError, match="'a_adv' made no pretext target, and those that did are a, b: say which"):
        value({"a_adv": a}, {"a": first, "b": second})
    with pytest.raises(UsageError, match="task = 'c': that view made no target; those that did are a"):
        value({"a": a}, {"a": first}, task="c")
    with pytest.raises(UsageError, match="the answer 4, but the head only 4: set classes = 5 or more"):
        value({"a": a}, {"a": first + 1})
    with pytest.raises(UsageError, match="views of patches belong to the objective selfie"):
        value({"a": drawn(4, 9, 6)}, {"a": first})


def test_attention_is_that_of_torch() -> None:
    mine = AttentionLayer(6, 2, 3, 10).double()
    theirs = nn.TransformerEncoderLayer(
        6, 2, 10, dropout=0.0, activation=lambda x: F.gelu(x, approximate="tanh"), batch_first=True, dtype=torch.float64
    )
    names = ["self_attn.in_proj", "self_attn.out_proj.", "linear1.", "linear2.", "norm1.", "norm2."]
    layers = [mine.qkv, mine.out, mine.first, mine.second, *mine.norms]
    state = {}
    for name, layer in zip(names, layers, strict=True):
        for kind, value in layer.named_parameters():
            value.data += 0.1 * drawn(*value.shape, seed=len(state))
            state[f"{name}_{kind}" if name.endswith("proj") else f"{name}{kind}"] = value.detach()
    theirs.load_state_dict(state)
    x = drawn(3, 5, 6)
    torch.testing.assert_close(mine(x), theirs(x), rtol=1e-10, atol=1e-12)


def selfie_loss(objective: Selfie, h: Tensor, places: Tensor) -> list[float]:
    """Return sum_i -log softmax_j((u + R + C) . h_j)[i], in loops but for the attention, which is torch's (above)."""
    hidden, grid = objective.hidden, objective.grid
    r, c = objective.row_places.tolist(), objective.column_places.tolist()
    losses = []
    for i in range(len(h)):
        x = torch.cat([objective.query[None], h[i, hidden:]])[None]
        for layer in objective.pooling:
            x = layer(x)
        u, patches, total = x[0, 0].tolist(), h[i, :hidden].tolist(), 0.0
        for asked in range(hidden):
            place = int(places[i, asked])
            query = [a + b + d for a, b, d in zip(u, r[place // grid], c[place % grid], strict=True)]
            scores = [sum(q * y for q, y in zip(query, patch, strict=True)) for patch in patches]
            if objective.softmax == "twice":
                scores = [math.exp(s) for s in log_softmax(scores)]
            total -= log_softmax(scores)[asked]
        losses.append(total)
    return losses


@pytest.mark.golden("objective", "selfie")
@pytest.mark.parametrize("softmax", ["once", "twice"])
def test_selfie_places_the_hidden_patches(softmax: str) -> None:
    objective = built(Selfie(grid=3, hidden=4, depth=2, heads=2, width=3, inner=5, softmax=softmax))  # type: ignore[arg-type]
    assert isinstance(objective, Selfie)
    objective.column_places.data += drawn(3, 6, seed=5)
    objective.query.data += drawn(6, seed=6)
    views = {"p": drawn(4, 9, 6), "p_adv": drawn(4, 9, 6, seed=1)}
    target = {name: torch.stack([Rng(i, name).permutation(9) for i in range(4)]) for name in views}
    values = objective.per_sample(scene_of(views, target))["ce"]
    each = [selfie_loss(objective, views[name], target[name]) for name in views]
    expected = torch.tensor(each, dtype=torch.float64).mean(0)
    torch.testing.assert_close(values, expected, rtol=1e-9, atol=0)
    if softmax == "twice":  # softmax of numbers in [0, 1]: each of the four losses lies within 1 of log 4
        assert bool((values > 4 * (math.log(4) - 1)).all())
        assert bool((values < 4 * (math.log(4) + 1)).all())


def test_selfie_says_what_does_not_fit() -> None:
    with pytest.raises(UsageError, match=r"hidden = 4 leaves no context of 4 patches: hide fewer, e\.g\. hidden = 2"):
        Selfie(grid=2, hidden=4, depth=1).build(DIMS)
    objective = built(Selfie(grid=2, hidden=2, depth=1))
    places = torch.zeros(4, 9, dtype=torch.int64)
    with pytest.raises(UsageError, match="instead of 4 patches and their places for each image: bind a view"):
        objective.per_sample(scene_of({"p": drawn(4, 9, 6)}, {"p": places}))
    with pytest.raises(UsageError, match="instead of 4 patches"):
        objective.per_sample(scene_of({"p": drawn(4, 6)}, {"p": places[:, 0]}))


def determinant(matrix: list[list[float]]) -> float:
    if not matrix:
        return 1.0
    return sum((-1) ** j * a * determinant([line[:j] + line[j + 1 :] for line in matrix[1:]])
               for j, a in enumerate(matrix[0]))  # fmt: skip


def volume(gradients: list[list[float]], ridge: float) -> float:
    """Return log det(G^T G + ridge I) of gradients, normalised here, in loops."""
    lengths = [math.sqrt(sum(a * a for a in g)) for g in gradients]
    units = [[a / length for a in g] for g, length in zip(gradients, lengths, strict=True)]
    gram = [[sum(a * b for a, b in zip(g, other, strict=True)) + ridge * (i == j) for j, other in enumerate(units)]
            for i, g in enumerate(units)]  # fmt: skip
    return math.log(determinant(gram))


def scene_with_gradients(*gradients: Tensor) -> Scene:
    """Return a scene whose earlier terms have these gradients (B, D) toward the views a, b, ..."""
    names = "abcdef"[: len(gradients)]
    leaves = {name: drawn(*g.shape, seed=9).requires_grad_() for name, g in zip(names, gradients, strict=True)}
    values = {f"{name}/ce": (x * g).sum(1) for (name, x), g in zip(leaves.items(), gradients, strict=True)}
    numbers = torch.arange(len(gradients[0]))
    batch = Batch(views=leaves, index=numbers, label=numbers, target={}, position=numbers)
    return Scene(views={name: Embedding() for name in names}, batch=batch, values=values)


@pytest.mark.golden("objective", "gradient-diversity")
def test_gradient_diversity_is_the_log_determinant_of_unit_gradients() -> None:
    gradients = [drawn(5, 7, seed=i) * (i + 1) for i in range(3)]
    values = GradientDiversity().per_sample(scene_with_gradients(*gradients))["volume"]
    expected = [volume([g[i].tolist() for g in gradients], 1e-5) for i in range(5)]
    torch.testing.assert_close(values, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=0)
    diverse = GradientDiversity(aim="diverse").per_sample(scene_with_gradients(*gradients))["volume"]
    assert torch.equal(diverse, -values)


def test_gradient_diversity_by_hand() -> None:
    right, up = torch.tensor([[2.0, 0.0]]).double(), torch.tensor([[0.0, 0.1]]).double()
    orthogonal = GradientDiversity(ridge=0.5).per_sample(scene_with_gradients(right, up))["volume"]
    aligned = GradientDiversity(ridge=0.5).per_sample(scene_with_gradients(right, 3 * right))["volume"]
    assert float(orthogonal) == pytest.approx(math.log(1.5**2), rel=1e-12)
    assert float(aligned) == pytest.approx(math.log(1.5**2 - 1), rel=1e-12)


def test_gradient_diversity_has_the_gradient_of_its_gradients() -> None:
    x, y = drawn(3, 4).requires_grad_(), drawn(3, 4, seed=1).requires_grad_()
    numbers = torch.arange(3)
    batch = Batch(views={"a": x, "b": y}, index=numbers, label=numbers, target={}, position=numbers)

    def total(weight: Tensor) -> Tensor:
        values = {"first/ce": (x @ weight).sin().sum(1) + ((y @ weight) ** 2).sum(1)}
        scene = Scene(views={"a": Embedding(), "b": Embedding()}, batch=batch, values=values)
        return GradientDiversity(ridge=0.1).per_sample(scene)["volume"].sum()

    assert torch.autograd.gradcheck(total, drawn(4, 4, seed=2).requires_grad_())


def test_gradient_diversity_says_which_view_has_no_gradient() -> None:
    scene = scene_with_gradients(drawn(3, 4), drawn(3, 4, seed=1))
    batch = scene.batch
    fixed = Batch(views={**batch.views, "b": batch.views["b"].detach()}, index=batch.index, label=batch.label,
                  target={}, position=batch.position)  # fmt: skip
    with pytest.raises(UsageError, match=r"the view 'b' carries no gradient; add it to differentiable = \[...\]"):
        GradientDiversity().per_sample(scene.but(batch=fixed))
    with pytest.raises(UsageError, match="no earlier term reads the view 'b'"):
        GradientDiversity().per_sample(scene.but(values={"a/ce": scene.values["a/ce"]}))
    with pytest.raises(UsageError, match=r"gradients of shapes \(4,\) and \(5,\) cannot be compared"):
        GradientDiversity().per_sample(scene_with_gradients(drawn(3, 4), drawn(3, 5)))


# ----------------------------------------------------------------------------------------------------------- recipes

STILL = ("stage.pretrain.mode=eval", "stage.pretrain.generator.mode=eval", "stage.pretrain.generator.steps=1",
         "stage.pretrain.generator.start=none")  # fmt: skip
"""One step of the attack from the clean image, through running statistics that nothing moves: it can be redone."""


def objective_of(seen: Seen, term: str = "task") -> nn.Module:
    found: nn.Module = seen.run.step.heads[f"{term}-objective"]  # type: ignore[assignment]
    return found


def features(seen: Seen, x: Tensor) -> Tensor:
    return seen.run.encoders.embed(x, "online", "clean", frozenset({"h"}), "eval").h


def stepped(x: Tensor, loss: Tensor, leaf: Tensor) -> Tensor:
    """Return FGSM's step by hand: 8/255 along the sign, on digits, within the pixel range."""
    return (x + 8 / 255 * torch.autograd.grad(loss, leaf)[0].sign()).clamp(0, 1)


@pytest.mark.golden("recipe", "rotation")
@pytest.mark.golden("recipe", "jigsaw")
@pytest.mark.parametrize(("recipe", "answers"), [("rotation", 4), ("jigsaw", 31)])
def test_a_step_of_rotation_and_jigsaw(recipe: str, answers: int) -> None:
    seen = one_step(recipe)
    scene, head = seen.scenes["task"], objective_of(seen).head
    assert head.weight.shape[0] == answers
    expected = pretext_loss(head, [scene.views["t"].h, scene.views["t_adv"].h], scene.batch.target["t"])
    assert float(seen.losses["total"].detach()) == pytest.approx(sum(expected) / len(expected), rel=1e-9)
    moved = (seen.batch.views["t_adv"] - seen.batch.views["t"]).abs().amax()
    assert 0.9 * 32 / 255 < float(moved) <= 32 / 255 + 1e-12
    # Published: the attack looks in train mode, so its ten forwards move the statistics beside the step's two.
    norm = next(m for m in seen.run.encoders.online.modules() if isinstance(m, Norm))
    assert int(norm.num_batches_tracked) == 12  # type: ignore[arg-type]


@pytest.mark.parametrize("recipe", ["rotation", "jigsaw"])
def test_rotation_and_jigsaw_perturb_the_changed_image_against_the_head(recipe: str) -> None:
    seen = one_step(recipe, overrides=STILL)
    batch, head = seen.batch, objective_of(seen).head
    leaf = batch.views["t"].clone().requires_grad_()
    loss = F.cross_entropy(head(features(seen, leaf)), batch.target["t"])
    torch.testing.assert_close(batch.views["t_adv"], stepped(batch.views["t"], loss, leaf), rtol=0, atol=1e-12)


@pytest.mark.golden("recipe", "selfie")
@pytest.mark.parametrize("softmax", ["once", "twice"])
def test_a_step_of_selfie(softmax: str) -> None:
    seen = one_step("selfie", overrides=(f"stage.pretrain.term.task.softmax={softmax}",))
    scene, objective = seen.scenes["task"], objective_of(seen)
    assert isinstance(objective, Selfie)
    each = [selfie_loss(objective, scene.views[v].h, scene.batch.target[v]) for v in ("p", "p_adv")]
    expected = sum(sum(losses) / len(losses) for losses in each) / 2
    assert float(seen.losses["total"].detach()) == pytest.approx(expected, rel=1e-9)
    # The patches of the perturbed view are cut from what the generator wrote.
    whole, patches, places = (seen.batch.views["w_adv"], seen.batch.views["p_adv"], seen.batch.target["p_adv"])
    assert patches.shape[1:] == (16, 1, 2, 2)
    for i, number in itertools.product(range(len(whole)), range(16)):
        top, left = 2 * (int(places[i, number]) // 4), 2 * (int(places[i, number]) % 4)
        assert torch.equal(patches[i, number], whole[i, :, top : top + 2, left : left + 2])


@pytest.mark.parametrize("softmax", ["once", "twice"])
def test_selfie_is_attacked_through_the_patches_that_are_trained_on(softmax: str) -> None:
    seen = one_step("selfie", overrides=(*STILL, f"stage.pretrain.term.task.softmax={softmax}"))
    batch, objective = seen.batch, objective_of(seen)
    assert isinstance(objective, Selfie)
    leaf, places = batch.views["w"].clone().requires_grad_(), batch.target["p_adv"]
    cut = torch.stack([
        torch.stack([leaf[i, :, 2 * (p // 4) : 2 * (p // 4) + 2, 2 * (p % 4) : 2 * (p % 4) + 2] for p in order])
        for i, order in enumerate(places.tolist())
    ])  # fmt: skip
    h = features(seen, cut.flatten(0, 1)).reshape(len(cut), 16, -1)
    loss = objective.per_sample(scene_of({"p_adv": h}, {"p_adv": places}))["ce"].sum()
    torch.testing.assert_close(batch.views["w_adv"], stepped(batch.views["w"], loss, leaf), rtol=0, atol=1e-12)


@pytest.mark.golden("recipe", "pretext-ensemble")
@pytest.mark.parametrize("aim", ["align", "diverse"])
def test_a_step_of_the_ensemble(aim: str) -> None:
    seen = one_step("pretext-ensemble", overrides=(f"stage.pretrain.term.diversity.aim={aim}",))
    scenes, target, images_ = seen.scenes, seen.batch.target, seen.batch.views
    heads = {name: objective_of(seen, name) for name in ("rotation", "jigsaw", "selfie")}
    assert isinstance(heads["selfie"], Selfie)
    six = [
        *(pretext_loss(heads["rotation"].head, [scenes["rotation"].views[v].h], target["r"]) for v in ("r", "r_adv")),
        *(pretext_loss(heads["jigsaw"].head, [scenes["jigsaw"].views[v].h], target["j"]) for v in ("j", "j_adv")),
        *(selfie_loss(heads["selfie"], scenes["selfie"].views[v].h, target[v]) for v in ("p", "p_adv")),
    ]
    tasks = sum(sum(losses) / len(losses) for losses in six) / 6
    # The three gradients of the paper: of each adversarial loss alone, toward its own adversarial image.
    adversarial = {
        "r_adv": F.cross_entropy(heads["rotation"].head(scenes["rotation"].views["r_adv"].h), target["r"]),
        "j_adv": F.cross_entropy(heads["jigsaw"].head(scenes["jigsaw"].views["j_adv"].h), target["j"]),
        "w_adv": heads["selfie"]._loss("p_adv", scenes["selfie"].views["p_adv"].h, target["p_adv"]).sum(),
    }
    gradients = [torch.autograd.grad(loss, images_[view], retain_graph=True)[0].flatten(1).tolist()
                 for view, loss in adversarial.items()]  # fmt: skip
    volumes = [volume([g[i] for g in gradients], 1e-5) for i in range(len(gradients[0]))]
    expected = tasks + (0.1 if aim == "align" else -0.1) * sum(volumes) / len(volumes)
    assert float(seen.losses["total"].detach()) == pytest.approx(expected, rel=1e-9)
    weights = [p for p in seen.run.encoders.online.backbone.parameters() if p.dim() == 4]
    assert all(bool(g.any()) for g in torch.autograd.grad(seen.losses["diversity/volume"], weights))
    # Ten attack steps and two forwards of each task: the uncut image, of which only a gradient is read, has none.
    norm = next(m for m in seen.run.encoders.online.modules() if isinstance(m, Norm))
    assert int(norm.num_batches_tracked) == 36  # type: ignore[arg-type]
