"""A plugin of pytest: `import requests` gives `overlapped.requests`, and `import requests.NAME` its module of that name."""

from __future__ import annotations

import overlapped.requests

overlapped.requests.install()
