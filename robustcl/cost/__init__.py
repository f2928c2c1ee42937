"""What a composition will take before it starts: steps, passes, operations, memory, and hours on this machine."""

from robustcl.cost.estimate import Cost, StageCost, estimate, passes

__all__ = ["Cost", "StageCost", "estimate", "passes"]
