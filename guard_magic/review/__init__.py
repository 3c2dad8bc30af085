"""Front ends in the output of a cell: values in, decisions out. They know no session and ask no guard.

anywidget and ipywidgets are imported when a widget is made, and nowhere else in the package.
"""

from guard_magic.review.reviewer import Reviewer
from guard_magic.review.rows import ORDERS
from guard_magic.review.static_view import StaticReview

__all__ = ["ORDERS", "Reviewer", "StaticReview"]
