"""A keyring that holds one entry, for machines without one."""

import json

from tests.fakes import MemoryKeyring, jwt


class Fixed(MemoryKeyring):
    """Named by PYTHON_KEYRING_BACKEND; keyring doesn't search for others then."""

    def get_password(self, service: str, username: str) -> str | None:
        return json.dumps({"token": jwt(), "user": "demo", "account": "ABCD", "roles": []})
