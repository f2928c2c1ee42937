"""Tasks: commands whose state lies on disk, their order, and what became of each; what launchers are made of."""

from robustcl.tasks.agenda import Agenda
from robustcl.tasks.attendance import GRACE, attend, command_of
from robustcl.tasks.records import Record, attend_on_record, read_record
from robustcl.tasks.task import Event, State, Task, decode_task, encode_task

__all__ = [
    "GRACE",
    "Agenda",
    "Event",
    "Record",
    "State",
    "Task",
    "attend",
    "attend_on_record",
    "command_of",
    "decode_task",
    "encode_task",
    "read_record",
]
