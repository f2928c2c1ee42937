"""Data sets held on the device or streamed, their splits and order, and the views drawn from them."""

from robustcl.data.draw import DrawnViews, ViewSpec, draw_views, drawable
from robustcl.data.held import Held, keep, open_source
from robustcl.data.order import epoch_batches
from robustcl.data.split import holdout
from robustcl.data.streamed import Streamed

__all__ = [
    "DrawnViews",
    "Held",
    "Streamed",
    "ViewSpec",
    "draw_views",
    "drawable",
    "epoch_batches",
    "holdout",
    "keep",
    "open_source",
]
