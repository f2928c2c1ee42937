"""What every view, data set and sampler must satisfy, beside the checks common to all kinds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from robustcl import hooks, registry
from robustcl.data.streamed import fetch
from robustcl.errors import UsageError, near
from robustcl.hooks import PluginHooks, ViewHooks
from robustcl.options import describe
from robustcl.recipe import adaptation
from robustcl.rng import Rng
from robustcl.testing.builders import make_images
from robustcl.testing.streams import another_key_draws_other_numbers, record_draws
from robustcl.testing.subject import Check, PluginSubject, Skip, global_rng_untouched
from robustcl.testing.survey import SAMPLES, TinySurvey

ITEMS = {3: (3, 16, 16), 4: (3, 4, 16, 16)}
"""What a view is tried on: images, or clips where its ``item_dim`` is 4."""
_ROWS = 6


def draws_one_row_per_image(subject: PluginSubject) -> None:
    """The view, and the pretext target if there is one, have a row per image; the view is finite."""
    plugin, x = subject.make(), _images(subject)
    view, target = _draw(plugin, x)
    assert view.is_floating_point(), f"the view is {view.dtype}"
    assert len(view) == len(x), f"{len(x)} images gave {len(view)} rows"
    assert bool(view.isfinite().all()), "the view is not finite"
    assert target is None or len(target) == len(x), "the pretext target has not one row per image"


def is_random_only_through_the_rng(subject: PluginSubject) -> None:
    """The same stream gives the same view, the global random state and the images stay as they were."""
    plugin, x = subject.make(), _images(subject)
    with global_rng_untouched():
        first, second = _draw(plugin, x)[0], _draw(plugin, x)[0]
    assert torch.equal(first, second), "two draws from the same stream differ"
    assert torch.equal(x, _images(subject)), "the images were changed in place"


def draws_from_the_stream_it_is_given(subject: PluginSubject) -> None:
    """Another stream, another epoch's for example, gives other views, and one image other views in two rows."""
    plugin, x = subject.make(), _images(subject)
    rows = torch.arange(len(x))
    another_key_draws_other_numbers(lambda rng: partial(plugin.draw, x, rng), rows)
    with record_draws() as found:
        first = _draw(plugin, x)[0]
    if not found:
        raise Skip("it draws nothing")
    second = plugin.draw(x, Rng(1, "view").for_rows(rows))
    second = second[0] if isinstance(second, tuple) else second
    assert not torch.equal(first, second), "the views of two streams are the same"
    same = _draw(plugin, x[:1].expand_as(x).clone())[0]
    assert any(not torch.equal(same[0], view) for view in same[1:]), "one image has the same view in every row"


def rows_are_independent(subject: PluginSubject) -> None:
    """A row's view depends on its image and its own stream alone, not on the rest of the batch."""
    plugin, x, rows = subject.make(), _images(subject), torch.tensor([4, 1])
    whole, target = _draw(plugin, x)
    part, part_target = _draw(plugin, x, rows)
    assert torch.allclose(whole[rows], part, atol=1e-5), "a row's view depends on the other rows"
    if target is not None and part_target is not None:
        assert torch.equal(target[rows], part_target), "a row's pretext target depends on the other rows"


def keeps_its_range(subject: PluginSubject) -> None:
    """``range`` is (low, high) or None; a view of pixels stays there, but for interpolation's overshoot."""
    plugin = subject.make()
    bounds = hooks.of(plugin, ViewHooks).range
    if bounds is None:
        raise Skip("its values are not pixels")
    low, high = bounds
    assert low < high, f"the range {bounds} holds no values"
    view = _draw(plugin, _images(subject))[0]
    slack = 0.6 * (high - low)
    found = float(view.min()), float(view.max())
    assert low - slack <= found[0] <= found[1] <= high + slack, f"the view's values {found} are far outside {bounds}"


def describes_itself(subject: PluginSubject) -> None:
    """Classes are distinct names, mean and deviation have an entry per channel, ``encoder`` is text."""
    plugin = subject.make()
    assert isinstance(plugin.encoder, str), "encoder is not the name of an encoder plugin"
    assert plugin.encoder, "encoder names no encoder plugin"
    try:
        classes, (mean, deviation) = plugin.classes(), plugin.statistics()
    except UsageError as error:
        raise Skip(str(error)) from error
    assert isinstance(classes, tuple), f"classes() returned a {type(classes).__name__}, not a tuple"
    assert all(isinstance(name, str) and name for name in classes), "a class has no name"
    assert len(set(classes)) == len(classes), "two classes have the same name"
    assert len(mean) == len(deviation) > 0, f"{len(mean)} means but {len(deviation)} deviations"
    assert all(0 <= m <= 1 and 0 < s <= 1 for m, s in zip(mean, deviation, strict=True)), "statistics are not of [0, 1]"


def its_sources_keep_their_word(subject: PluginSubject) -> None:
    """Every split that opens here has the shape, range and optional members that a source may have."""
    plugin, opened = subject.make(), 0
    for split in ("train", "pretrain", "test"):
        try:
            source = plugin.open(split)
        except UsageError:
            continue  # its files are not here
        opened += 1
        n = len(source.labels)
        assert source.labels.dtype == torch.int64, f"the labels of {split} are {source.labels.dtype}"
        assert source.labels.shape == (n,), f"the labels of {split} have the shape {tuple(source.labels.shape)}"
        assert n, f"{split} holds no image"
        fetch(source, torch.tensor([n - 1, 0]))
        first = fetch(source, torch.tensor([0]))
        assert torch.equal(fetch(source, torch.tensor([n - 1, 0]))[1:], first), "an image depends on its neighbours"
        _check_members(source)
    if not opened:
        raise Skip("none of its splits can be opened here")


def _check_members(source: Any) -> None:
    remarks = getattr(source, "remarks", ())
    assert not isinstance(remarks, str), "remarks is a text and not several"
    assert all(isinstance(remark, str) for remark in remarks), "a remark is no text"
    for why, entry in getattr(source, "left_out", {}).items():
        assert isinstance(why, str), "left_out says why in other than text"
        assert entry["count"] >= len(entry["names"]), f"left_out names more than it counts: {why}"
    for member in ("decodes", "on_disk"):
        assert isinstance(getattr(source, member, False), bool), f"{member} is neither True nor False"
    if hasattr(source, "name"):
        assert isinstance(source.name(0), str), "name(0) is no text"
    if hasattr(source, "identity"):
        assert source.identity() == source.identity(), "identity() changes from call to call"
    if hasattr(source, "check"):
        assert source.check() is None, "check() returns something: it raises DataError, or nothing"


def its_encoder_exists(subject: PluginSubject) -> None:
    """The encoder it suggests is registered."""
    known = registry.names("encoder")
    if not known:
        raise Skip("no encoder is registered")
    assert registry.origin("encoder", subject.make().encoder)


def its_rules_for_recipes_can_be_read(subject: PluginSubject) -> None:
    """``adaptation`` holds rules, and each is about an option that some installed plugin of its kind has."""
    rules = adaptation.read(subject.cls, subject.name)
    if not rules:
        raise Skip("recipes stay as they are")
    for key in {key for each in rules.values() for key in each.about()}:
        kind, _, option = key.partition(".")
        known = {*adaptation.KINDS[kind].model_fields, *_options_of(kind)}
        assert option in known, f"the rule {key!r} is about no option of any installed {kind}{near(option, known)}"


def _options_of(kind: str) -> set[str]:
    """Return the options of all installed plugins of a kind; a generator may be an attack."""
    found: set[str] = set()
    for each in (kind, "generator") if kind == "attack" else (kind,):
        for name in registry.names(each) if each in registry.KINDS else ():
            with contextlib.suppress(UsageError):  # a stranger's, that cannot be imported
                found |= {option.name for option in describe(registry.get(each, name))}
    return found


def selects_indices(subject: PluginSubject) -> None:
    """The result is (S,), or whole batches (batches, B), int64 within the data set, not empty."""
    chosen = _select(subject.make())
    assert chosen.dtype == torch.int64, f"the indices are {chosen.dtype}"
    assert chosen.dim() in (1, 2), f"the indices have the shape {tuple(chosen.shape)}"
    assert chosen.numel(), "no image was selected"
    assert 0 <= int(chosen.min()) <= int(chosen.max()) < SAMPLES, "an index lies outside the data set"
    if chosen.dim() == 2:
        assert all(len(batch.unique()) == len(batch) for batch in chosen), "a batch holds an image twice"


def draws_from_the_survey_s_stream(subject: PluginSubject) -> None:
    """Another survey's streams give other random numbers, and none of them serves twice."""
    plugin = subject.make()

    def prepare(rng: Rng) -> Callable[[], Tensor]:
        survey = TinySurvey()
        survey.rng, survey.lasting = rng.child("survey"), rng.child("lasting")
        return partial(plugin.select, survey, 1)

    another_key_draws_other_numbers(prepare)


def selects_by_the_rng(subject: PluginSubject) -> None:
    """The same survey gives the same indices, and the global random state stays."""
    plugin = subject.make()
    with global_rng_untouched():
        first, second = _select(plugin), _select(plugin)
    assert torch.equal(first, second), "two selections from the same survey differ"


VIEW: tuple[Check, ...] = (
    draws_one_row_per_image,
    is_random_only_through_the_rng,
    draws_from_the_stream_it_is_given,
    rows_are_independent,
    keeps_its_range,
)
DATASET: tuple[Check, ...] = (
    describes_itself,
    its_sources_keep_their_word,
    its_encoder_exists,
    its_rules_for_recipes_can_be_read,
)
SAMPLER: tuple[Check, ...] = (selects_indices, draws_from_the_survey_s_stream, selects_by_the_rng)


def _images(subject: PluginSubject) -> Tensor:
    return make_images(_ROWS, ITEMS[hooks.of(subject.cls, PluginHooks).item_dim])


def _draw(plugin: Any, x: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    rows = torch.arange(len(x)) if rows is None else rows
    drawn = plugin.draw(x[rows].clone() if len(rows) < len(x) else x, Rng(0, "view").for_rows(rows))
    return drawn if isinstance(drawn, tuple) else (drawn, None)


def _select(plugin: Any) -> Tensor:
    chosen: Tensor = plugin.select(TinySurvey(), 1)
    return chosen
