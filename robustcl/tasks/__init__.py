"""Tasks: commands whose state lies on disk, their order, and what became of each; what launchers are made of."""

from robustcl.tasks.agenda import Agenda
from robustcl.tasks.attendance import GRACE, attend, command_of
from robustcl.tasks.records import Record, attend_on_record, read_record
from robustcl.tasks.sight import Sight, explain_blind, explain_unanswered, leave_sights, probe_command, take_away
from robustcl.tasks.task import Event, SharedFolder, State, Task, decode_task, encode_task

__all__ = [
    "GRACE",
    "Agenda",
    "Event",
    "Record",
    "SharedFolder",
    "Sight",
    "State",
    "Task",
    "attend",
    "attend_on_record",
    "command_of",
    "decode_task",
    "encode_task",
    "explain_blind",
    "explain_unanswered",
    "leave_sights",
    "probe_command",
    "read_record",
    "take_away",
]
