"""What else identifies a run: seed, hash, times, sizes, threat, and the model where it came from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustcl.recipe.made import of_results


def list_facts(results: Mapping[str, Any]) -> dict[str, str]:
    """Return the facts by name, in the order of the page; what is not said is left out."""
    data, threat, timing = (results.get(key) or {} for key in ("data", "threat", "timing"))
    model = results["model"] if isinstance(results.get("model"), Mapping) else {}
    sizes = [key for key in ("train", "validation", "test") if data.get(key) is not None]
    made = of_results(results)
    found: dict[str, Any] = {
        "model": model.get("spec"),
        "its weights": model.get("weights") or None,
        "hash of its weights": model.get("hash"),
        "run whose classifiers are judged": results.get("judged"),
        "seed": results.get("seed"),
        "base recipe": made.recipe if made is not None else None,
        "source of the base": made.cite or None if made is not None else None,
        "finished": results.get("finished"),
        "data set": data.get("use"),
        f"images ({' / '.join(sizes)})": " / ".join(str(data[key]) for key in sizes) or None,
        "threat": f"{threat.get('norm')}, eps {threat.get('eps')}" if threat else None,
        "recipe hash": results.get("recipe_hash"),
        **{
            key.replace("_", " "): f"{value:.1f}" if isinstance(value, float) else value
            for key, value in timing.items()
            if not (model and key == "train_seconds")
        },
    }
    return {key: str(value) for key, value in found.items() if value is not None}
