"""What a plugin of each kind must offer. A plugin is a class with these members; it inherits from nothing.

Options are the keyword-only, annotated parameters of ``__init__``, which only stores them under the same names. A
number may be given as a schedule in the recipe; the core sets the attribute before each step.

Optional members, which the core looks for: ``build(dims)`` is called once before the first step; a plugin that is an
``nn.Module`` and makes parameters there has them covered by the optimiser, the checkpoint and DDP. ``remember(scene)``
is called after the optimiser and is the only place where state may change; state that must survive a resume lives in
buffers of an ``nn.Module``. ``available()`` returns ``None``, or a sentence saying why the plugin cannot run here.
``rows = True`` on an objective asks for rows and columns where no pairs are read. ``preset`` names the option that
``name:VALUE`` fills. ``constants`` on a generator names the embeddings that the recipe must bind for it. ``lockstep =
False`` on a generator: how often it looks at the model depends on what it sees row by row, so that it works in the
batch-norm mode "eval" alone. An option ``target`` (int or None) on a generator or an attack: it can be aimed at a
class, which ``attack.target`` holds for each row at evaluation, where the objective and the verdict are then those of
the target; where the option is missing, a target is refused. ``defaults(classes, ball)`` on a generator or an attack:
what options that are left open (None) come to, by name, for a model of so many classes in a ball. ``grow(times)`` on a
generator whose step has another name than ``step_size``: the options for a ball ``times`` as large. ``known_clusters =
True`` on an objective: its parameters depend on the numbers of clusters, so they cannot be chosen by silhouette.
``check_item(item)`` on a generator raises ``UsageError`` for inputs of a shape that it cannot perturb, before an
evaluation has spent its first pass.
``check_clusters(sizes)`` on a plugin that reads clusters, and ``check_images(labels, batch)`` on a sampler, raise
``UsageError`` before anything is trained where it cannot work with clusterings of these sizes, or with these labels
(n,) and this batch.

The file is long because it is the whole contract, which whoever writes a plugin reads in one go.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from robustcl.rng import Rng
from robustcl.tasks import Event, Task
from robustcl.threat import Ball
from robustcl.types import Attack, Batch, Clustering, Pairs, Scene


class Need(enum.Enum):
    """What a plugin reads and the composition must provide; the value says it in words."""

    FEATURES = "the encoder's features h"
    PROJECTION = "the projector's output z"
    PREDICTIONS = "a classifier's logits"
    LABELS = "labels"
    INDEX = "each image's position in the data set"
    TEACHER = "a frozen teacher encoder"
    CLUSTERS = "cluster targets"
    PAIRS = "a sample selector"
    OBJECTIVE = "a term to maximise"
    TARGET = "a view that makes a pretext target"
    VALUES = "the values of the stage's earlier terms"


@runtime_checkable
class Plugin(Protocol):
    """What every kind has in common."""

    needs: ClassVar[frozenset[Need]]
    citation: ClassVar[str]
    """Authors, title, venue and year, with the equation that is implemented."""


@runtime_checkable
class PerturbationGenerator(Plugin, Protocol):
    """Moves inputs within the ball. The same generators serve training and evaluation."""

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        """Return perturbed inputs of x's shape, detached, inside ``attack.ball`` around x (R, *item)."""
        ...


@runtime_checkable
class ContrastiveObjective(Plugin, Protocol):
    """One or several loss terms over a scene.

    ``views``: the roles that the recipe binds to views; ``("*",)`` takes any number of views, in the recipe's order,
    under their own names. ``terms``: the names of what ``per_sample`` returns; the recipe's ``mix`` weighs them.
    ``separable`` (optional, False): row i of every term depends on row i of the inputs alone. ``patches`` (optional):
    how many patches an image of its views has, where embeddings are (B, patches, ...).
    """

    views: ClassVar[tuple[str, ...]]
    terms: ClassVar[tuple[str, ...]]

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        """Return term name -> unreduced values: any number of rows on this rank, or () for a scalar of the batch."""
        ...


@runtime_checkable
class SampleSelector(Plugin, Protocol):
    """Chooses positives and negatives; called without gradient, and pure."""

    def select(self, scene: Scene) -> Pairs:
        """Return which of the scene's columns attract and which repel each row."""
        ...


@runtime_checkable
class ClusterTarget(Plugin, Protocol):
    """Clusters the features of the whole data set."""

    def fit(self, features: Tensor, clusters: tuple[int, ...], rng: Rng) -> Clustering:
        """Cluster features (n, F) once for each number of clusters."""
        ...


@runtime_checkable
class View(Plugin, Protocol):
    """Draws one augmented version of each image.

    ``range`` (optional, (0, 1)): the core clamps to it; ``None`` for values that are not pixels. ``makes_target``
    (optional, False): it returns a pretext target as well.
    """

    def draw(self, x: Tensor, rng: Rng) -> Tensor | tuple[Tensor, Tensor]:
        """Return the view (B, *item) of images x in [0, 1]; with it, a pretext target (B, ...) if it makes one.

        ``rng`` has one stream per row.
        """
        ...


@runtime_checkable
class EncoderPlugin(Plugin, Protocol):
    """Builds a backbone: inputs of shape item -> features (R, F)."""

    def backbone(self, item: tuple[int, ...]) -> tuple[nn.Module, int]:
        """Return the backbone, freshly initialised from torch's global generator, and F."""
        ...


@runtime_checkable
class Source(Protocol):
    """The images of one split, in fixed order.

    A source may also have, and most have none of it:

    ``decodes = True``: fetching is work, such as reading image files, and is shared out among processes.
    ``on_disk = True``: rows are read quickly where they lie; such a split takes no second place in memory.
    ``remarks``: sentences about what was left out, said where the split is used. ``left_out``: why -> ``count`` and
    ``names``, the same for tools. ``name(index)``: where an image stands, its file. ``check()``: look at all images
    without decoding them, and raise DataError for the first that is broken. ``identity()``: text that is another where
    other images lie there, for splits too large to be read for it.
    """

    item: tuple[int, ...]
    labels: Tensor
    """(n,) int64, -1 for none."""

    def fetch(self, index: Tensor) -> Tensor:
        """Return images (B, *item) for index (B,) int64: uint8, or float in [0, 1]."""
        ...


@runtime_checkable
class DatasetPlugin(Plugin, Protocol):
    """Opens a data set's splits.

    ``encoder``: the encoder plugin that suits its images, taken where the recipe names none. ``corrupted`` (optional):
    the folder, beside its own in the option ``path``, of stored corrupted copies of its test split as
    ``robustcl.corruption.load`` reads them, "CIFAR-10-C". ``adaptation`` (optional): rules for recipes that were
    written for other data, as ``robustcl.recipe.adaptation`` reads them. ``shapes()`` (optional): (n, *item) of each
    split, where they are published, for what is to be known before the files are there.
    """

    encoder: ClassVar[str]

    def open(self, split: str) -> Source:
        """Return the split: ``"pretrain"`` (may be unlabeled), ``"train"`` or ``"test"``."""
        ...

    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes."""
        ...

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation per channel in [0, 1], for the model's normalisation layer."""
        ...


@runtime_checkable
class OptimizerPlugin(Plugin, Protocol):
    """Makes a torch optimizer; ``lr`` is one of its options and may be a schedule."""

    lr: float

    def make(self, parameters: list[nn.Parameter]) -> Any:
        """Return a ``torch.optim.Optimizer`` over the parameters."""
        ...


@runtime_checkable
class Survey(Protocol):
    """The model and the data as a sampler may see them between steps; leaves no trace.

    With several ranks every rank sees the same and must ask for the same; the first one's choice counts.
    """

    rng: Rng
    """The stream of this choice."""
    lasting: Rng
    """A stream that is the same at every choice of the stage, for what must not change between them."""
    samples: int
    batch: int
    """Images a training step, on all ranks."""
    labels: Tensor
    """(n,) int64, -1 for none."""

    @property
    def ball(self) -> Ball:
        """The ball of the stage's first generator; raises ``NeedNotMet`` where there is none."""
        ...

    def take(self, rows: Tensor) -> Batch:
        """Return the images of some indices, with the stage's views."""
        ...

    def originals(self, rows: Tensor) -> Tensor:
        """Return the images (S, *item) of some indices as they are, without a view."""
        ...

    def embed(self, view: str, path: str, rows: Tensor) -> Tensor:
        """Return features (S, F) of a view through ``encoder:route``."""
        ...

    def parameters(self, part: str) -> dict[str, Tensor]:
        """Return copies of one encoder part's parameters, by name, detached and requiring gradient."""
        ...

    def encode(self, x: Tensor, path: str, layer: str, parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return one layer (S, ...) of inputs x (S, *item) through ``encoder:route``, in eval mode, with a graph.

        ``parameters``, by name, stand in for the encoder's own.
        """
        ...

    def gradient(self, rows: Tensor, parameters: str, mode: str = "batch") -> list[Tensor]:
        """Return the gradient of the stage's mixed loss on these images for the parameters of one encoder part.

        They stand in the order of ``parameters(part)``. ``mode``: "batch" or running statistics, "eval".
        """
        ...


@runtime_checkable
class Sampler(Plugin, Protocol):
    """Chooses the images of the coming epochs."""

    def select(self, survey: Survey, epoch: int) -> Tensor:
        """Return indices (S,) int64, which the core shuffles; or whole batches in their order, (batches, B)."""
        ...


@runtime_checkable
class Attacks(Plugin, Protocol):
    """A named evaluation attack: one generator, or several of which each sees what the earlier ones left.

    One generator and its constants need no class: they are a preset in TOML, of the group ``robustcl.presets``.
    """

    def members(self, classes: int, ball: Ball) -> Sequence[tuple[str, PerturbationGenerator]]:
        """Return the members in order, each with its name in the journal."""
        ...


@runtime_checkable
class EvaluationProtocol(Plugin, Protocol):
    """How an encoder is judged: training stages in the recipe's own grammar, then attacks on the result.

    ``version`` (optional, the name and "-v0"): what its author calls what it does, "slf-v1"; it changes whenever the
    same options come to mean something else, so that numbers measured by different versions are told apart.
    ``head(features, label, classes)`` (optional): a classifier that is made and not trained. After the stages it gets
    the features (n, F) of the labelled training images as they are, through the judged route in eval mode, their
    labels (n,) and L, and returns an ``nn.Module`` h (R, F) -> logits (R, L), differentiable in h and without
    parameters to train; it takes the place of the encoder's classifier. Where its signature has the keyword
    ``validation``, it gets features and labels of the run's validation split, or None where there is none; ``rng`` is a
    stream of the run's seed. The module's optional ``outcome`` (a mapping that JSON can hold) stands in every row of
    results.json that it brought about, its optional ``remarks`` are sentences for who reads these numbers.
    """

    def stages(self, route: str) -> Sequence[Mapping[str, Any]]:
        """Return the stage tables that prepare the classifier, for features through ``route``.

        None of them where the run's own classifier is judged; such a protocol needs ``PREDICTIONS``, or a ``head``.
        """
        ...


@runtime_checkable
class Launcher(Plugin, Protocol):
    """Brings tasks to where they run: processes of this machine, a cluster's queue. Its options say how many at once.

    ``slots`` (optional, an option): how many tasks run at once; the command line sets it by ``--slots``.
    """

    def launch(self, tasks: Sequence[Task], folder: Path) -> Iterator[Event]:
        """Run tasks, each after those that it waits for, and yield what becomes of each until all have ended.

        A task runs as a process of its own (``robustcl.tasks.attend``), so that it gets the signals that are meant for
        it; one that a signal or a lost machine has ended begins again; what waits for one that failed is left out, and
        all others go on (``robustcl.tasks.Agenda`` decides it). Where the iterator is closed, tasks of this machine are
        asked to end, and those in a cluster's queue stay there. The same call with the same folder goes on after a
        death of this process: nothing that is done or still runs is begun once more.

        Args:
            tasks: with unique names, in the order in which they would run one after the other.
            folder: takes what the launcher itself has to remember; it is there.

        Raises:
            UsageError: tasks that it can never run, such as one of more devices than any machine has.
        """
        ...


KINDS: Mapping[str, type] = {
    "generator": PerturbationGenerator,
    "objective": ContrastiveObjective,
    "selector": SampleSelector,
    "target": ClusterTarget,
    "view": View,
    "encoder": EncoderPlugin,
    "dataset": DatasetPlugin,
    "optimizer": OptimizerPlugin,
    "sampler": Sampler,
    "attack": Attacks,
    "protocol": EvaluationProtocol,
    "launcher": Launcher,
}
"""The plugin kinds; the entry-point group of each is ``robustcl.`` and the plural, e.g. ``robustcl.generators``."""
