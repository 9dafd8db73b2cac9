"""A keyring that holds one entry, which keyring finds as it finds all others."""

import json

from tests.fakes import MemoryKeyring, jwt


class Fixed(MemoryKeyring):
    priority = 9

    def get_password(self, service: str, username: str) -> str | None:
        return json.dumps({"token": jwt(), "user": "demo", "account": "ABCD", "roles": []})
