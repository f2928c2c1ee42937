"""Tasks: commands whose state lies on disk, their order, and what became of each; what launchers are made of."""

from robustcl.tasks.agenda import Agenda
from robustcl.tasks.attendance import GRACE, attend, command_of
from robustcl.tasks.task import Event, State, Task, decode_task, encode_task

__all__ = ["GRACE", "Agenda", "Event", "State", "Task", "attend", "command_of", "decode_task", "encode_task"]
