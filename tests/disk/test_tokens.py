"""A file that one process leaves for others to see."""

from __future__ import annotations

import threading
from pathlib import Path

from robustcl.disk import leave_token, sees


def test_a_token_is_seen_where_it_is_left(tmp_path: Path) -> None:
    token = tmp_path / "room" / "token"
    with leave_token(token):
        assert sees(token, 0.0)
        assert not sees(tmp_path / "elsewhere" / "token", 0.05)
    assert not sees(token, 0.0)


def test_what_comes_late_is_seen(tmp_path: Path) -> None:
    late = threading.Timer(0.2, (tmp_path / "token").touch)
    late.start()
    assert sees(tmp_path / "token", 30.0)
    late.join()
