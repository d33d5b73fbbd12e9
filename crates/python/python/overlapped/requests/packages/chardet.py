"""`chardet` itself, or `charset_normalizer`, which has the same functions."""

from . import stand_in

stand_in(__name__, "chardet", "charset_normalizer")
