"""For each alert, series that make it fire and series that come close and do not.

Values are in promtool's notation, one each minute: ``0+2x30`` begins at 0 and grows by 2 each time,
``_x5`` is absent five times, ``stale`` ends a series. Labels that Prometheus adds when it
scrapes (:data:`SCRAPED`); tests/cluster/test_alerts.py holds that each was recorded with exactly
these labels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SCRAPED = {
    "genie_agent": {
        "job": "genie-system/genie-agent",
        "namespace": "genie-system",
        "node": "n1",
        "pod": "genie-agent-x",
    },
    "genie_webhook": {
        "job": "genie-webhook",
        "namespace": "genie-system",
        "pod": "genie-webhook-a",
    },
    "apiserver": {"job": "apiserver"},
    "kubelet": {"job": "kubelet", "node": "n1"},
}
SCRAPED["up"] = SCRAPED["genie_agent"]
SCRAPED["genie_certificate"] = SCRAPED["genie_webhook"]

Series = dict[str, str]


@dataclass(frozen=True, slots=True)
class AlertCase:
    """One alert: it fires ``at`` this time with the first series, and never with the others.

    An alert with several reasons has several cases.
    """

    alert: str
    firing: Series
    silent: Series
    summary: str
    labels: dict[str, str] = field(default_factory=dict)
    """Labels of the alert, without its severity; those of an unaggregated series are all."""
    at: str = "20m"


NODE = {"node": "n1"}
WEAVE = {**NODE, "network": "weave"}
POD = {"pod": "genie-webhook-a"}
AGENT = SCRAPED["genie_agent"]
MISSING_AGENT = {key: AGENT[key] for key in ("job", "namespace", "node")}
COUNT = "genie_agent_attachment_duration_seconds_count"
BUCKET = "genie_agent_attachment_duration_seconds_bucket"
INVALID = "max-attachments: many"
FAIL_OPEN = "apiserver_admission_webhook_fail_open_count"
CONDITION = "apiserver_admission_match_condition_evaluation_errors_total"
POLICY = "apiserver_validating_admission_policy_check_total"


def slow_attachments(fast: str, slow: str) -> Series:
    """Return ADDs of weave: *fast* within 2 s, *slow* within 10 s."""
    labels = 'code="0",command="ADD",network="weave"'
    bounds = {"2.0": fast, "5.0": fast, "10.0": slow, "+Inf": slow}
    return {f'{BUCKET}{{{labels},le="{le}"}}': values for le, values in bounds.items()}


def slow_decisions(fast: str, slow: str) -> Series:
    """Return decisions about pods: *fast* within 0.1 s, *slow* within 0.5 s."""
    name = "genie_webhook_request_duration_seconds_bucket"
    bounds = {"0.1": fast, "0.25": fast, "0.5": slow, "+Inf": slow}
    return {f'{name}{{endpoint="pods",le="{le}"}}': values for le, values in bounds.items()}


CASES = (
    AlertCase(
        "GenieAgentDown",
        {"up": "0x60"},
        {"up": "0x8 1x60"},
        "The Genie agent on n1 does not answer",
        AGENT,
    ),
    AlertCase(  # the pod is missing, so Prometheus has no target
        "GenieAgentDown",
        {"up": "1x5 stale", "kubelet_node_name": "1x60"},
        {"up": "1x5 stale", 'up{pod="genie-agent-y"}': "_x8 1x60", "kubelet_node_name": "1x60"},
        "The Genie agent on n1 does not answer",
        MISSING_AGENT,
    ),
    AlertCase(  # the pod is missing; silent: so is its node
        "GenieAgentDown",
        {"up": "0x5 stale", "kubelet_node_name": "1x60"},
        {"up": "1x5 stale", "kubelet_node_name": "1x5 stale"},
        "The Genie agent on n1 does not answer",
        MISSING_AGENT,
    ),
    AlertCase(
        "GenieNodeNotInstalled",
        {'genie_agent_problem{problem="no default network is set"}': "1x60"},
        {'genie_agent_problem{problem="no default network is set"}': "1x8 stale"},
        "New pods on n1 are not attached as the settings say",
        {**AGENT, "problem": "no default network is set"},
    ),
    AlertCase(
        "GenieSettingsRefused",
        {f'genie_agent_settings_refused{{problem="{INVALID}"}}': "1x60"},
        {f'genie_agent_settings_refused{{problem="{INVALID}"}}': "1x4 stale"},
        "The settings of the ConfigMap genie are invalid (nodes that refuse them: 1)",
        {"problem": INVALID},
    ),
    AlertCase(
        "GenieNetworkGone",
        {
            'genie_agent_network_available{network="weave"}': "1x5 0x60",
            'genie_agent_network_unavailable{network="weave",reason="gone"}': "_x5 1x60",
        },
        {  # never available
            'genie_agent_network_available{network="weave"}': "0x60",
            'genie_agent_network_unavailable{network="weave",reason="gone"}': "1x60",
        },
        "Network weave can no longer be attached on n1",
        {**AGENT, "network": "weave", "reason": "gone"},
    ),
    AlertCase(
        "GenieAttachmentsFail",
        {f'{COUNT}{{code="107",command="ADD",network="weave"}}': "0+2x60"},
        {
            f'{COUNT}{{code="107",command="ADD",network="weave"}}': "0+1x60",
            f'{COUNT}{{code="107",command="DEL",network="weave"}}': "0+9x60",
            f'{COUNT}{{code="0",command="ADD",network="weave"}}': "0+9x60",
        },
        "Attachments to weave fail on n1 (code 107)",
        {**WEAVE, "code": "107"},
    ),
    AlertCase(
        "GenieDetachmentsFail",
        {'genie_agent_retries_total{command="DEL"}': "0+1x60"},
        {
            'genie_agent_retries_total{command="DEL"}': "0+1x4 4x56",
            'genie_agent_retries_total{command="ADD"}': "0+9x60",
        },
        "Networks of pods on n1 are released only after several retries, or not at all",
        {**AGENT, "command": "DEL"},
        at="40m",
    ),
    AlertCase(
        "GenieAttachSlow",
        slow_attachments(fast="0x60", slow="0+1x60"),
        slow_attachments(fast="0+95x60", slow="0+100x60"),
        "Attaching to weave takes 9.5s or more on n1",
        WEAVE,
    ),
    AlertCase(
        "GenieParked",
        {'genie_agent_parked_attachments{network="weave"}': "2x90"},
        {'genie_agent_parked_attachments{network="weave"}': "2x50 stale"},
        "2 attachments to weave wait to be released on n1",
        WEAVE,
        at="70m",
    ),
    AlertCase(
        "GenieLeftBehind",
        {'genie_agent_records{state="failed"}': "1x90"},
        {
            'genie_agent_records{state="failed"}': "1x50 0x40",
            'genie_agent_records{state="attached"}': "9x90",
            'genie_agent_records{state="parked"}': "9x90",
        },
        "1 records on n1 are of attachments that failed",
        NODE,
        at="70m",
    ),
    AlertCase(
        "GenieNothingFreed",
        {'genie_agent_reaper_problem{problem="no answer"}': "1x60"},
        {'genie_agent_reaper_problem{problem="no answer"}': "1x10 stale"},
        "The reaper releases nothing on n1",
        {**AGENT, "problem": "no answer"},
    ),
    AlertCase(
        "GenieRecordsUnreadable",
        {'genie_agent_records{state="unreadable"}': "1x60"},
        {'genie_agent_records{state="unreadable"}': "1x4 0x60"},
        "1 attachment records on n1 cannot be read",
        NODE,
    ),
    AlertCase(
        "GenieFilesChanged",
        {"genie_agent_restored_total": "0+1x60"},
        {"genie_agent_restored_total": "0x5 1x5 2x50"},
        "Another program keeps changing Genie's files on n1",
        AGENT,
        at="40m",
    ),
    AlertCase(
        "GenieWebhookFailOpen",
        {f'{FAIL_OPEN}{{name="pods.cni-genie.io",type="admit"}}': "0+1x60"},
        {
            f'{FAIL_OPEN}{{name="pods.cni-genie.io",type="admit"}}': "5x60",
            f'{FAIL_OPEN}{{name="another.example.com",type="admit"}}': "0+9x60",
        },
        "Requests are admitted without the Genie webhook (pods.cni-genie.io)",
        {"name": "pods.cni-genie.io"},
    ),
    AlertCase(
        "GenieConditionFails",
        {
            f'{CONDITION}{{kind="policy",name="cni-genie-pods",operation="CREATE",type="admit"}}': (
                "0+1x60"
            )
        },
        {
            f'{CONDITION}{{kind="policy",name="cni-genie-pods",operation="CREATE",type="admit"}}': (
                "5x60"
            ),
            f'{CONDITION}{{kind="policy",name="another",operation="CREATE",type="admit"}}': (
                "0+9x60"
            ),
        },
        "A matchCondition of cni-genie-pods cannot be evaluated",
        {"name": "cni-genie-pods"},
    ),
    AlertCase(
        "GeniePolicyFails",
        {
            f'{POLICY}{{enforcement_action="deny",error_type="compile_error",'
            'policy="cni-genie-pods",policy_binding="cni-genie-binding"}': "0+1x60"
        },
        {
            f'{POLICY}{{enforcement_action="deny",error_type="no_error",'
            'policy="cni-genie-pods",policy_binding="cni-genie-binding"}': "0+9x60"
        },
        "The policy cni-genie-pods cannot be evaluated (compile_error)",
        {"policy": "cni-genie-pods", "error_type": "compile_error"},
    ),
    AlertCase(
        "GenieWebhookDown",
        {},
        {"genie_webhook_known_networks": "2x60"},
        "No replica of the Genie webhook reports metrics",
    ),
    AlertCase(
        "GenieNetworksDropped",
        {"genie_webhook_dropped_networks": "3x60"},
        {"genie_webhook_dropped_networks": "3x8 0x60"},
        "The Genie webhook drops 3 networks, because nodes name too many",
    ),
    AlertCase(
        "GenieWebhookErrors",
        {
            'genie_webhook_decisions_total{endpoint="pods",outcome="error",reason="internal"}': (
                "0+10x60"
            )
        },
        {
            'genie_webhook_decisions_total{endpoint="pods",outcome="error",reason="internal"}': (
                "0+5x60"
            ),
            'genie_webhook_decisions_total{endpoint="pods",outcome="error",reason="malformed"}': (
                "0+99x60"
            ),
            'genie_webhook_decisions_total{endpoint="pods",outcome="denied",reason="syntax"}': (
                "0+99x60"
            ),
        },
        "The Genie webhook answers reviews without a decision (internal)",
        {"reason": "internal"},
    ),
    AlertCase(
        "GenieWebhookSlow",
        slow_decisions(fast="0x60", slow="0+10x60"),
        slow_decisions(fast="0+1000x60", slow="0+1005x60"),
        "One in a hundred admission decisions takes 497.5ms or more",
        at="30m",
    ),
    AlertCase(
        "GenieWebhookStaleCache",
        {"genie_webhook_namespace_cache_age_seconds": "700x60"},
        {
            "genie_webhook_namespace_cache_age_seconds": "500x60",
            "genie_webhook_node_cache_age_seconds": "NaN NaN NaN NaN 1x60",
        },
        "The informer cache of genie-webhook-a is 11m 40s old",
        POD,
    ),
    AlertCase(
        "GenieWebhookNoNetworks",
        {"genie_webhook_known_networks": "0x60"},
        {"genie_webhook_known_networks": "0x8 1x60"},
        "The Genie webhook knows no network, so it does not decide about pods that name one",
    ),
    AlertCase(
        "GenieCertificateExpiring",  # promtool's clock begins in 1970
        {"genie_certificate_leaf_expiry_timestamp_seconds": "80000x60"},
        {
            "genie_certificate_leaf_expiry_timestamp_seconds": "90001x60",
            "genie_certificate_ca_expiry_timestamp_seconds": "270000x60",
        },
        "A certificate of the Genie webhook expires in 21h 53m 20s",
    ),
    AlertCase(
        "GenieCertificateNotTrusted",
        {"genie_certificate_uncovered_entries": "1x60"},
        {"genie_certificate_uncovered_entries": "1x4 0x60"},
        "Entries of the webhook configurations do not trust genie-webhook-a",
        POD,
    ),
)
