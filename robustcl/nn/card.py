"""The model card beside an encoder's weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def render_card(config: Mapping[str, Any], about: Mapping[str, str]) -> str:
    """Return the README of a saved encoder in Markdown: what it is, how it reads images, how it is loaded."""
    encoder = {"use": "unnamed", **config.get("encoder", {})}
    options = ", ".join(f"{key} = {value}" for key, value in encoder.items() if key != "use" and value is not None)
    rows = {
        "encoder": encoder["use"] + (f" ({options})" if options else ""),
        "stem and strides": _table(config.get("geometry", {})),
        "projector": _table(config.get("projector", {})),
        "input": " x ".join(map(str, config["item"])) + ", values in [0, 1]",
        "normalisation (inside the model)": f"mean {config['mean']}, std {config['std']}",
        "features, projection, classes": f"{config['features']}, {config['projection']}, {config['classes']}",
        "batch-norm routes": ", ".join(config["routes"]) + f" ({config['routes'][0]} holds the plain keys)",
        "SHA-256 of model.safetensors": f"`{config['sha256']}`",
        **about,
    }
    lines = [f"| {key} | {str(value).replace('|', '&#124;')} |" for key, value in rows.items()]
    return _TEXT.format(use=encoder["use"], table="\n".join(lines))


def _table(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in values.items()) or "none"


_TEXT = """\
---
library_name: robustcl
---

# {use}, trained with robustcl

| | |
|---|---|
{table}

Images enter as they are, in [0, 1]: do not normalise them. Say which batch-norm route you use, in
training, attack and evaluation alike: the routes are different functions. Robust accuracy holds for the
threat model under which it was measured and for no other.

```python
from robustcl.nn.weights import load

load(encoder, "this folder")  # strict; config.json says how the encoder is built
```
"""
