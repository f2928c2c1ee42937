"""Methods and members of other libraries' attacks, and what is done here in their place."""

from __future__ import annotations

INSTEAD = {
    **dict.fromkeys(
        ("apgd", "apgd_targeted", "fab", "square"),
        "attack by one member with settings of its own, robustcl.attacks.APGD(model, eps=..., restarts=2)",
    ),
    "attacks_to_run": "give attacks_to_run=[...] when the attack is made",
    "version": "give version=... when the attack is made",
    "epsilon": "give eps=... when the attack is made",
    "set_version": "give version=... when the attack is made",
    "get_seed": "seed is a number that stays, attack.seed",
    "set_normalization_used": "put the normalisation inside the model, and give pixels in the range",
    "set_mode_default": "attacks are untargeted as long as no target is given",
    "set_mode_targeted_by_label": "give the classes to reach beside the labels, attack(x, y, target=...)",
    "set_mode_targeted_by_function": "give the classes to reach beside the labels, attack(x, y, target=...)",
    "set_mode_targeted_random": "give the classes to reach beside the labels, attack(x, y, target=...)",
    "set_mode_targeted_least_likely": "give the classes to reach, attack(x, y, target=model(x).argmin(1))",
    "set_mode_training": 'give mode = "train" or "batch" when the attack is made',
    "set_return_type": "adversarial inputs have the type of the inputs",
    "generate": "call the attack, attack(x, y)",
}
"""Methods of other libraries' attacks -> what is done here in their place."""
