"""The two sorts of checked tables that recipes and studies are made of: the core's own, and those that name a plugin.

A table that names a plugin has ``use`` and the plugin's options side by side; the keys that its class declares are the
core's, everything else is handed to the plugin's own constructor.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Section(BaseModel):
    """A table whose keys all belong to the core."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Use(BaseModel):
    """A table that names a plugin; keys that the core does not know are the plugin's options."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    use: str

    @property
    def options(self) -> dict[str, Any]:
        """The plugin's own keys."""
        return dict(self.model_extra or {})


def as_table(value: Any) -> Any:
    """Return the table that a bare name stands for; anything else as it is."""
    return {"use": value} if isinstance(value, str) else value


PluginTable = Annotated[Use, BeforeValidator(as_table)]
"""A plugin and its options; a bare name is a plugin with its defaults."""
