"""How clients of ours speak to Kafka where it is not in plain text: TLS, and who we are.

One description, and one function that gives the keyword arguments of kafka-python's and aiokafka's
clients, so that worker, API and every verb connect alike (Faust wants objects of its own:
streams/agents.py). Secrets come from the environment or from files, and are shown
nowhere: their fields are marked (streams/secret.py).
"""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streams.secret import SECRET

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityConfig:
    """As the settings of the same name in Kafka's own clients; files are PEM."""

    protocol: str = "PLAINTEXT"
    """PLAINTEXT, SSL (TLS), SASL_PLAINTEXT (a password in clear text, or SCRAM) or SASL_SSL. The
    default is that of Kafka's clients, and of the broker that `rluf up` starts."""
    mechanism: str = ""
    """PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; needed by the protocols with SASL."""
    username: str = ""
    """Who we are; needed by the protocols with SASL."""
    password: str = field(default="", repr=False, metadata=SECRET)
    """The user's password, where it does not lie in a file."""
    password_file: str = ""
    """File that holds the password alone; a line break at its end does not count."""
    ca_file: str = ""
    """Certificates of those who may have signed the brokers'. Empty: those the system trusts."""
    cert_file: str = ""
    """Our certificate, for brokers that ask for one (mutual TLS), and those that vouch for it."""
    key_file: str = ""
    """Its key. Empty: it stands in `cert_file`."""
    key_password: str = field(default="", repr=False, metadata=SECRET)
    """What the key is encrypted with, where that does not lie in a file."""
    key_password_file: str = ""
    """File that holds the same, like `password_file`."""
    check_hostname: bool = True
    """Whether the broker's certificate must be of the host that we call. Off, anybody with a
    certificate of the same authority can pass for the broker; the authority is checked always."""

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ValueError(
                f"protocol is {self.protocol!r}, must be one of {', '.join(PROTOCOLS)}"
            )
        for name in ("password", "key_password"):
            if getattr(self, name) and getattr(self, f"{name}_file"):
                raise ValueError(f"{name} and {name}_file are both set; give one of them")
        if self.has_sasl:
            if self.mechanism not in MECHANISMS:
                raise ValueError(
                    f"mechanism is {self.mechanism!r}, must be one of {', '.join(MECHANISMS)}"
                    f" where protocol is {self.protocol}"
                )
            if not self.username:
                raise ValueError(f"username is empty; {self.mechanism} needs one")
            if self.mechanism.startswith("SCRAM") and set(self.username) & {",", "="}:
                raise ValueError(
                    f"username is {self.username!r}, must hold neither a comma nor an equals sign:"
                    " client libraries do not escape them as SCRAM wants (RFC 5802)"
                )
            if not (self.password or self.password_file):
                raise ValueError(
                    f"neither password nor password_file is set; {self.mechanism} needs one"
                )
        elif self.mechanism or self.username or self.password or self.password_file:
            raise ValueError(
                f"mechanism, username or password is set, but protocol is {self.protocol}, which"
                " has no use for them; must be SASL_SSL or SASL_PLAINTEXT"
            )
        tls = ("ca_file", "cert_file", "key_file", "key_password", "key_password_file")
        named = [name for name in tls if getattr(self, name)]
        if named and not self.has_tls:
            raise ValueError(
                f"{', '.join(named)} is set, but protocol is {self.protocol}, which has no use for"
                " it; must be SSL or SASL_SSL"
            )
        if not self.cert_file and (self.key_file or self.key_password or self.key_password_file):
            raise ValueError("a key is set without its cert_file")

    @property
    def has_tls(self) -> bool:
        """Whether what we say is encrypted."""
        return self.protocol in ("SSL", "SASL_SSL")

    @property
    def has_sasl(self) -> bool:
        """Whether we say who we are by name and password."""
        return self.protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    @property
    def who(self) -> str:
        """What errors call us."""
        if self.has_sasl:
            return f"user {self.username!r}"
        return f"the user of {self.cert_file}" if self.cert_file else "the anonymous user"


def require_usable(config: SecurityConfig) -> None:
    """Read every file that is named. Raises ValueError saying which cannot be used, and why."""
    for_tls(config)
    password_of(config)


def password_of(config: SecurityConfig) -> str:
    """The user's password; empty where there is none. Raises ValueError."""
    return config.password or _read_secret("password_file", config.password_file)


def for_tls(config: SecurityConfig) -> ssl.SSLContext | None:
    """What a connection is wrapped in; None where it is not. Raises ValueError."""
    if not config.has_tls:
        return None
    try:
        context = ssl.create_default_context(cafile=config.ca_file or None)
    except (OSError, ssl.SSLError) as fault:
        raise ValueError(f"ca_file {config.ca_file} cannot be used: {_said(fault)}") from None
    context.check_hostname = config.check_hostname
    if config.cert_file:
        password = config.key_password or _read_secret(
            "key_password_file", config.key_password_file
        )
        try:
            # Always a password: without one OpenSSL would ask the terminal for it, and wait.
            context.load_cert_chain(config.cert_file, config.key_file or None, password or "-")
        except (OSError, ssl.SSLError) as fault:
            names = " and ".join(filter(None, (config.cert_file, config.key_file)))
            raise ValueError(
                f"cert_file and key_file, {names}, cannot be used: {_said(fault)}"
            ) from None
    return context


def client_settings(config: SecurityConfig) -> dict[str, Any]:
    """Keyword arguments of the clients of kafka-python and of aiokafka. Raises ValueError."""
    settings: dict[str, Any] = {"security_protocol": config.protocol}
    if config.has_tls:
        settings["ssl_context"] = for_tls(config)
    if config.has_sasl:
        settings["sasl_mechanism"] = config.mechanism
        settings["sasl_plain_username"] = config.username
        settings["sasl_plain_password"] = password_of(config)
    return settings


def _read_secret(name: str, path: str) -> str:
    """The content of a file that holds a secret; empty where none is named."""
    if not path:
        return ""
    try:
        secret = Path(path).read_text("utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as fault:
        raise ValueError(f"{name} {path} cannot be read: {_said(fault)}") from None
    if not secret:
        raise ValueError(f"{name} {path} is empty")
    return secret


def _said(fault: Exception) -> str:
    return getattr(fault, "strerror", None) or getattr(fault, "reason", None) or str(fault)
