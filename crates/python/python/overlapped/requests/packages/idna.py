"""`idna` itself."""

from . import stand_in

stand_in(__name__, "idna")
