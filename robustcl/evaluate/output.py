"""What of a stranger's output are the logits, and the sentence where none are or the forward fails."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from robustcl.errors import UsageError, words


def logits_of(output: Any, rows: int) -> Tensor:
    """Return the logits (R, L) in what a model returned; raises ``UsageError`` that says how to get at them."""
    found = output if isinstance(output, Tensor) else getattr(output, "logits", output)
    if isinstance(found, Tensor) and found.dim() == 2 and len(found) == rows and not found.is_complex():
        return found if found.is_floating_point() else found.double()
    if isinstance(found, Tensor) and found.is_complex():
        raise UsageError("the model returns complex numbers, which have no largest one: return their real part or abs")
    shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    raise UsageError(f"the model must return logits (R, L) for {rows} inputs, but it returned {shape}{_remedy(found)}")


def failure(error: Exception, module: nn.Module, x: Tensor, why: str = "") -> UsageError:
    """Return the error of a model that fails on inputs x (R, *item); ``why`` they are as they are, in a few words."""
    kinds = {tensor.dtype for tensor in module.parameters() if tensor.is_floating_point()}
    if len(kinds) == 1 and x.dtype not in kinds:
        (kind,) = kinds
        return UsageError(f"the inputs are {x.dtype} and the model's weights {kind}: give x.to({kind})")
    rows = f"{len(x)} input{'s' if len(x) > 1 else ''} of shape {tuple(x.shape[1:])}"
    advice = "give it data of the shape that it was built for, or mend its forward"
    return UsageError(f"the model fails on {rows}{why}, {words(error)}; {advice}")


def _remedy(output: Any) -> str:
    if isinstance(output, Tensor):
        if output.dim() == 1:
            return ": of one logit z for each input make two columns, torch.stack([torch.zeros_like(z), z], 1)"
        return ": flatten it to two dimensions with out.flatten(1)" if output.dim() > 2 else ""
    places = output.items() if isinstance(output, dict) else enumerate(output) if _is_row(output) else ()
    names = [f"out[{place!r}]" for place, value in places if isinstance(value, Tensor) and value.dim() == 2]
    return f": wrap it in a module whose forward returns {' or '.join(names[:3])}" if names else ""


def _is_row(output: Any) -> bool:
    return isinstance(output, (tuple, list))
