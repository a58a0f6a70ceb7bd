"""Read and validate the configuration of the plugin ``genie`` itself, from standard input.

This is Genie's entry in its own conflist, with what the runtime adds to it: the pod's annotations,
the capability arguments, and for GC the valid attachments. Pure: it reads no file.
"""

from __future__ import annotations

from dispatcher import cni_errors, keys
from dispatcher.annotation import closest_name, quote
from dispatcher.cni_errors import CNIError
from dispatcher.conf import VERSIONS, is_cni_name
from dispatcher.jsontext import InvalidJSONError, parse
from dispatcher.networks import DIRECTORIES
from dispatcher.plugin.request import COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


class PluginSettings:
    """The options of Genie's own entry in its conflist.

    ``default``: the network of pods without a choice, "" for none.
    ``conf_dirs``: the directories with network configurations, in order.
    ``state_dir``: the directory of records, locks and the journal.
    ``agent_socket``: the agent's socket, for runtimes that pass no annotations, or "".
    ``deadline``: the time for a whole call, in seconds.
    ``park_after``: how long a delegate that cannot run makes DEL fail, in seconds.
    ``max_attachments``, ``max_per_network``: the limits of static pods, 0 for none.
    ``attaches_definitions``: whether pods are attached to NetworkAttachmentDefinitions.
    ``allows_cni_args``: whether ``ips`` and ``mac`` of a definition may be passed in CNI_ARGS.
    ``excluded_namespaces``: the namespaces whose pods admission does not validate.
    ``multus_namespace``: the namespace of the definitions that are Multus' default networks.
    """

    __slots__ = (
        "agent_socket",
        "allows_cni_args",
        "attaches_definitions",
        "conf_dirs",
        "deadline",
        "default",
        "excluded_namespaces",
        "max_attachments",
        "max_per_network",
        "multus_namespace",
        "park_after",
        "state_dir",
    )

    def __init__(self, conf: Mapping[str, Any]) -> None:
        self.default: str = conf.get("default", "")
        self.conf_dirs: list[str] = conf.get("confDirs", list(DIRECTORIES))
        self.state_dir: str = conf.get("stateDir", "/var/lib/cni/genie")
        self.agent_socket: str = conf.get("agentSocket", "")
        self.deadline: int = conf.get("deadlineSeconds", 90)
        self.park_after: int = conf.get("parkAfterSeconds", 600)
        args = _own_args(conf)
        self.max_attachments: int = args.get("maxAttachments", 0)
        self.max_per_network: int = args.get("maxPerNetwork", 0)
        self.attaches_definitions: bool = args.get("attachmentDefinitions") == "enforce"
        self.allows_cni_args: bool = args.get("missingCapability") == "cni-args"
        self.excluded_namespaces: list[str] = args.get("excludedNamespaces", [])
        self.multus_namespace: str = args.get("multusNamespace", keys.MULTUS_NAMESPACE)


def _own_args(conf: Mapping[str, Any]) -> dict[str, Any]:
    """Return Genie's part of ``args``; other keys in there belong to the runtime.

    Every version of the plugin accepts ``args``, whose content the specification leaves open. So no
    version refuses what the agent writes there, whichever of the two is upgraded first.
    """
    args = conf.get("args")
    own = args.get(keys.CONF_ARGS) if isinstance(args, dict) else None
    return own if isinstance(own, dict) else {}


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("/") and "\0" not in value


def _is_limit(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 24 * 3600


_DEFINITION_MODES = ["off", "observe", "enforce"]

_OPTIONS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "default": (lambda value: isinstance(value, str), "the name of a network"),
    "confDirs": (
        lambda value: isinstance(value, list) and bool(value) and all(map(_is_path, value)),
        "a list of absolute paths",
    ),
    "stateDir": (_is_path, "an absolute path"),
    "agentSocket": (lambda value: value == "" or _is_path(value), 'an absolute path, or ""'),
    "deadlineSeconds": (_is_seconds, "a whole number of seconds, from 1 to 86400"),
    "parkAfterSeconds": (_is_seconds, "a whole number of seconds, from 1 to 86400"),
}
_ARGS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "maxAttachments": (_is_limit, "a whole number, 0 for no limit"),
    "maxPerNetwork": (_is_limit, "a whole number, 0 for no limit"),
    "attachmentDefinitions": (_DEFINITION_MODES.__contains__, '"off", "observe" or "enforce"'),
    "missingCapability": (["deny", "cni-args"].__contains__, '"deny" or "cni-args"'),
    "excludedNamespaces": (
        lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
        "a list of namespaces",
    ),
    "multusNamespace": (lambda value: isinstance(value, str), "a namespace"),
}
"""Options in Genie's part of ``args``."""

_STANDARD = frozenset(
    {"cniVersion", "name", "type", "capabilities", "runtimeConfig", "prevResult", "args"}
)
"""Keys that the specification and runtimes use in every plugin's configuration."""


class GenieConf:
    """The validated configuration from standard input.

    ``runtime_config`` are the capability arguments. ``annotations`` are the pod's, None if the
    runtime does not pass them. ``valid_attachments`` is GC's list, as the runtime wrote it.
    """

    __slots__ = ("annotations", "cni_version", "runtime_config", "settings", "valid_attachments")

    def __init__(self, conf: Mapping[str, Any], cni_version: str) -> None:
        self.cni_version = cni_version
        self.settings = PluginSettings(conf)
        self.runtime_config: dict[str, Any] = conf.get("runtimeConfig") or {}
        self.annotations: dict[str, Any] | None = None
        if keys.POD_ANNOTATIONS in self.runtime_config:
            self.annotations = self.runtime_config[keys.POD_ANNOTATIONS] or {}
        self.valid_attachments: Any = None
        for key in ("cni.dev/attachments", "cni.dev/valid-attachments"):
            if key in conf:
                # libcni writes an empty list as null, and leaves out a list that is missing
                self.valid_attachments = [] if conf[key] is None else conf[key]


def stated_version(data: bytes) -> str:
    """Return the cniVersion to answer in: the one in *data*, or the oldest if it has none."""
    try:
        value = parse(data)
    except InvalidJSONError:
        version: Any = _version_of_invalid_json(data)
    else:
        version = value.get("cniVersion") if isinstance(value, dict) else None
    return version if version in VERSIONS else VERSIONS[0]


def _version_of_invalid_json(data: bytes) -> str | None:
    """Return what seems to be the cniVersion in *data*, which is invalid elsewhere."""
    _, _, rest = data.partition(b'"cniVersion"')
    colon, _, rest = rest.partition(b'"')
    return rest.partition(b'"')[0].decode("ascii", "replace") if colon.strip() == b":" else None


def read_conf(data: bytes, command: str) -> GenieConf:
    """Return the validated configuration in *data*.

    Raises :class:`CNIError` with code 6 (not decodable), 1 (version) or 7 (content).
    """
    try:
        value = parse(data)
    except InvalidJSONError as error:
        raise CNIError(
            cni_errors.DECODING_FAILURE, f"the configuration on standard input is not JSON: {error}"
        ) from None
    if not isinstance(value, dict):
        raise CNIError(
            cni_errors.DECODING_FAILURE, "the configuration on standard input is not a JSON object"
        )

    version = _validate_version(value.get("cniVersion", ""), command)
    if command == "ADD" and value.get("prevResult"):
        raise CNIError(
            cni_errors.INVALID_CONF,
            "genie must be the first plugin in its conflist, but the configuration contains "
            '"prevResult"',
        )
    _validate_name(value.get("name"))
    validate_options(value)
    return GenieConf(value, version)


def _validate_name(name: Any) -> None:
    if name is None:
        raise CNIError(cni_errors.INVALID_CONF, 'the configuration has no "name"')
    if not isinstance(name, str):
        raise CNIError(cni_errors.INVALID_CONF, 'the configuration\'s "name" must be a string')
    if not is_cni_name(name):
        raise CNIError(
            cni_errors.INVALID_CONF,
            f'the configuration\'s "name" {quote(name)} must consist of letters, digits, "_", "." '
            'and "-", and start with a letter or digit',
        )


def _validate_version(stated: Any, command: str) -> str:
    if not isinstance(stated, str):
        raise CNIError(cni_errors.DECODING_FAILURE, '"cniVersion" must be a string')
    version = stated or VERSIONS[0]
    if version not in VERSIONS:
        raise CNIError(
            cni_errors.INCOMPATIBLE_VERSION,
            f"cniVersion {quote(version)} is not supported",
            f"supported: {', '.join(VERSIONS)}",
        )
    oldest = COMMANDS[command]
    if VERSIONS.index(version) < VERSIONS.index(oldest):
        raise CNIError(
            cni_errors.INCOMPATIBLE_VERSION,
            f"cniVersion {quote(version)} has no command {command}: it was added in {oldest}",
        )
    return version


def validate_options(value: Mapping[str, Any]) -> None:
    """Validate the options in Genie's own entry *value*. Raises :class:`CNIError` with code 7."""
    for key, option in value.items():
        if key in _OPTIONS:
            is_valid, expected = _OPTIONS[key]
            if not is_valid(option):
                raise CNIError(cni_errors.INVALID_CONF, f'the option "{key}" must be {expected}')
        elif key not in _STANDARD and not key.startswith("cni.dev/"):
            near = closest_name(key, _OPTIONS)
            hint = f"; did you mean {quote(near)}?" if near else ""
            raise CNIError(
                cni_errors.INVALID_CONF,
                f"unknown option {quote(key)}{hint}",
                f"Genie's options: {', '.join(_OPTIONS)}",
            )

    args = _own_args(value)
    for key, (is_valid, expected) in _ARGS.items():
        if key in args and not is_valid(args[key]):
            raise CNIError(cni_errors.INVALID_CONF, f'"{key}" in "args" must be {expected}')

    runtime_config = value.get("runtimeConfig")
    if runtime_config is None:
        return
    if not isinstance(runtime_config, dict):
        raise CNIError(cni_errors.INVALID_CONF, '"runtimeConfig" must be an object')
    annotations = runtime_config.get(keys.POD_ANNOTATIONS)
    if annotations is not None and not isinstance(annotations, dict):
        raise CNIError(
            cni_errors.INVALID_CONF,
            f'"{keys.POD_ANNOTATIONS}" in "runtimeConfig" must be an object',
        )
