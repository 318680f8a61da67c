"""Owns the one use of Ansible's library within a worker: what ansible-vault encrypted is decrypted.

Importing it takes most of a second, so it is done at the first use. It must not know references or settings.
"""


class NotDecrypted(Exception):
    """The bytes are not ansible-vault's, or the password is another one; one sentence without either."""


def decrypt(data: bytes, password: str) -> bytes:
    from ansible.errors import AnsibleError
    from ansible.parsing.vault import VaultLib, VaultSecret, is_encrypted

    if not is_encrypted(data):
        raise NotDecrypted("it is not encrypted by ansible-vault")
    try:
        plain: bytes = VaultLib([("default", VaultSecret(password.encode()))]).decrypt(data)
    except AnsibleError:
        raise NotDecrypted("it is damaged, or its password is another one") from None
    return plain
