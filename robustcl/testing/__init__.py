"""The public conformance suite: what every plugin must satisfy, ours and anybody's.

    from robustcl.testing import check_distribution

    def test_plugins():
        broken = [str(report) for report in check_distribution("robustcl-hello") if not report.ok]
        assert not broken, "\\n".join(broken)

``check_plugin("objective", "info-nce")`` runs one plugin, ``check_class("objective", Mine)`` a class that is
not yet registered, and ``checks("objective")`` lists the checks to parametrise a test with. Plugins whose
``available()`` returns a sentence, and options without a default, are reported as skipped with the reason.
The ``make_...`` builders are the tiny scenes and attacks that the checks run on; golden tests may use them
too.
"""

from robustcl.testing.builders import (
    DIMS,
    ITEM,
    TinyEncoder,
    make_attack,
    make_clustering,
    make_embedding,
    make_images,
    make_pairs,
    make_scene,
)
from robustcl.testing.subject import Check, PluginSubject, Report, Skip, unavailable
from robustcl.testing.suite import (
    CHECKS,
    check_class,
    check_distribution,
    check_plugin,
    check_subject,
    checks,
    run,
)
from robustcl.testing.survey import TinySurvey

__all__ = [
    "CHECKS",
    "DIMS",
    "ITEM",
    "Check",
    "PluginSubject",
    "Report",
    "Skip",
    "TinyEncoder",
    "TinySurvey",
    "check_class",
    "check_distribution",
    "check_plugin",
    "check_subject",
    "checks",
    "make_attack",
    "make_clustering",
    "make_embedding",
    "make_images",
    "make_pairs",
    "make_scene",
    "run",
    "unavailable",
]
