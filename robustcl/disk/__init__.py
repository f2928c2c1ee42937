"""Files that others may have damaged, filled up or laid as a trap: written whole or not at all, read within limits."""

from robustcl.disk.appending import Appender
from robustcl.disk.folders import check_inside, make_folder, root_of
from robustcl.disk.leases import Leases
from robustcl.disk.parsing import parse_json, parse_toml
from robustcl.disk.reading import Limits, open_file, read_bytes, read_json, read_lines, read_text, read_toml
from robustcl.disk.tokens import leave_token, sees
from robustcl.disk.trouble import as_usage, say_why
from robustcl.disk.writing import replacing, write_atomically

__all__ = [
    "Appender",
    "Leases",
    "Limits",
    "as_usage",
    "check_inside",
    "leave_token",
    "make_folder",
    "open_file",
    "parse_json",
    "parse_toml",
    "read_bytes",
    "read_json",
    "read_lines",
    "read_text",
    "read_toml",
    "replacing",
    "root_of",
    "say_why",
    "sees",
    "write_atomically",
]
