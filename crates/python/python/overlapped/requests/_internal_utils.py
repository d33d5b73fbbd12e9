"""Here for code that imports from it."""

from .utils import to_native_string as to_native_string
from .utils import unicode_is_ascii as unicode_is_ascii
