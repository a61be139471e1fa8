"""Who may call: API keys, compared in constant time, and what is allowed without any."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path

from finerank.errors import Forbidden, InvalidSetting, Unauthorized
from finerank.settings import ServeSettings

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Keys:
    """The keys that callers may show. Without any, everybody may call who reaches the server under a loopback name."""

    def __init__(self, keys: Iterable[str], *, open_to_all: bool = False) -> None:
        self._digests = [_digest(key) for key in keys]
        self._open_to_all = open_to_all

    def __len__(self) -> int:
        return len(self._digests)

    def check(self, headers: Mapping[str, str]) -> None:
        """Raises `Unauthorized` without a right key in `Authorization` (with or without `Bearer`), `X-API-Key` or
        Azure's `api-key`.

        Where no key is asked for, `Forbidden` for a Host that is no loopback name: else any web page that has its own
        name point here could read the answers.
        """
        if not self._digests:
            if not self._open_to_all and not _is_loopback(_host_name(headers.get("host", "localhost"))):
                raise Forbidden(
                    f"this server answers to localhost only, and was called {headers['host']!r}; set an API key "
                    "(api_keys_file) to open it to other names"
                )
            return
        shown = [headers[name] for name in ("authorization", "x-api-key", "api-key") if headers.get(name)]
        digests = [_digest(_key(header)) for header in shown]
        # All of them: no early end.
        matches = [hmac.compare_digest(digest, known) for digest in digests for known in self._digests]
        if not any(matches):
            raise Unauthorized("this key is not known" if shown else "a key is needed, as `Authorization: Bearer KEY`")

    def check_administrator(self, headers: Mapping[str, str]) -> None:
        """As `check`; and where no keys are set nobody may."""
        if not self._digests:
            raise Forbidden("this needs an API key, and the server has none; start it with api_keys_file")
        self.check(headers)


def load_keys(settings: ServeSettings) -> Keys:
    """The keys of the settings and of their file. Raises `InvalidSetting` when a network could call without any."""
    keys = [*settings.api_keys, *(_read(Path(settings.api_keys_file)) if settings.api_keys_file else ())]
    if not keys and settings.auth == "auto" and not _is_loopback(settings.host):
        raise InvalidSetting(
            f"host={settings.host!r}: other machines reach this server, and it asks for no key. Set api_keys_file, or "
            "FINERANK_SERVE_API_KEYS; or auth='off', if that is what you want"
        )
    if settings.auth == "off":
        return Keys([], open_to_all=True)
    return Keys(keys)


def _read(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"api_keys_file={str(path)!r}: cannot be read: {error}") from error
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise InvalidSetting(f"api_keys_file={str(path)!r}: holds no key; put one on each line")
    return keys


def _key(header: str) -> str:
    scheme, _, rest = header.partition(" ")
    return (rest if scheme.lower() == "bearer" else header).strip()


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _host_name(host: str) -> str:
    """The name in a Host header: without port and brackets."""
    name = host[1 : host.index("]")] if host.startswith("[") and "]" in host else host.rpartition(":")[0] or host
    return name.lower()


def _is_loopback(name: str) -> bool:
    try:
        return name in LOOPBACK or ip_address(name).is_loopback
    except ValueError:
        return False
