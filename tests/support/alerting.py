"""For each alert of docs/alerts.yml: series of metrics that make it fire, and such that do not, in promtool's notation.

`a+bxN` starts at a and grows by b, N times; one value a minute (Prometheus documentation, "Unit testing for rules").
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """`fires`, `quiet`: series by name. `at`: minutes after which is looked; `labels`: of the alert that fires."""

    fires: dict[str, str]
    quiet: dict[str, str]
    at: int = 90
    labels: tuple[tuple[str, str], ...] = ()


_WRONG, _GOOD = '{event="unknown",result="bad_signature"}', '{event="push",result="stored"}'
_DELIVERIES, _VERDICTS, _CALLS = (
    "stepgate_deliveries_total",
    "stepgate_verdicts_total",
    "stepgate_github_requests_total",
)
_LATENCY, _LAG = "stepgate_report_latency_seconds_bucket", "stepgate_event_loop_lag_seconds"
_QUEUE = "stepgate_queue_oldest_seconds"
_ALL = "0+100x200"

CASES: dict[str, Case] = {
    "StepgateDown": Case(
        {'up{job="stepgate",instance="a"}': "0x200"},
        {'up{job="stepgate",instance="a"}': "1x200"},
        labels=(("job", "stepgate"), ("instance", "a")),
    ),
    "StepgateDatabaseDown": Case(
        {"stepgate_database_up": "0x200"},
        {'stepgate_database_up{instance="a"}': "0x200", "stepgate_database_up": "1x200"},
    ),
    "StepgateSignatureFailures": Case(
        {_DELIVERIES + _WRONG: "0+2x200", _DELIVERIES + _GOOD: "0+1x200"},
        {_DELIVERIES + _WRONG: "0+2x200", _DELIVERIES + _GOOD: "0+3x200"},
    ),
    "StepgateNoDelivery": Case(
        {"stepgate_last_delivery_seconds": "170000+60x200"}, {"stepgate_last_delivery_seconds": "100000+60x200"}
    ),
    "StepgateDeliveryGap": Case(
        {"stepgate_delivery_gap_seconds": "900x200"}, {"stepgate_delivery_gap_seconds": "90x200"}
    ),
    "StepgateDeliveryLogUnread": Case(
        {"stepgate_delivery_log_age_seconds": "1000x200"},
        {
            'stepgate_delivery_log_age_seconds{instance="a"}': "1000x200",
            'stepgate_delivery_log_age_seconds{instance="b"}': "60x200",
        },
    ),
    "StepgateQueueOld": Case({_QUEUE + '{state="due"}': "61x200"}, {_QUEUE + '{state="put_off"}': "61x200"}),
    "StepgateRetriesOld": Case({_QUEUE + '{state="put_off"}': "7300x200"}, {_QUEUE + '{state="put_off"}': "6000x200"}),
    "StepgateDeadLetters": Case({"stepgate_dead_letters": "4x80 5x120"}, {"stepgate_dead_letters": "5x80 4x120"}),
    "StepgateReportsOverdue": Case(
        {"stepgate_outbox_overdue_seconds": "301x200"}, {"stepgate_outbox_overdue_seconds": "299x200"}
    ),
    "StepgateReportsGivenUp": Case(
        {'stepgate_outbox_reports{state="failed"}': "0x80 1x120"},
        {'stepgate_outbox_reports{state="wanted"}': "0x80 1x120"},
    ),
    "StepgateSlowReports": Case(
        {
            _LATENCY + '{le="60.0"}': "0+9x200",
            _LATENCY + '{le="300.0"}': "0+10x200",
            _LATENCY + '{le="+Inf"}': "0+10x200",
        },
        {_LATENCY + '{le="60.0"}': "0+99x200", _LATENCY + '{le="300.0"}': _ALL, _LATENCY + '{le="+Inf"}': _ALL},
    ),
    "StepgateGitHubErrors": Case(
        {_CALLS + '{class="read",outcome="transient"}': "0+3x200", _CALLS + '{class="read",outcome="fine"}': "0+7x200"},
        {_CALLS + '{class="read",outcome="transient"}': "0+1x200", _CALLS + '{class="read",outcome="fine"}': "0+9x200"},
    ),
    "StepgateLowBudget": Case(
        {
            'stepgate_github_budget_left_ratio{of="app"}': "0.9x200",
            'stepgate_github_budget_left_ratio{of="installations"}': "0.05x200",
        },
        {'stepgate_github_budget_left_ratio{of="installations"}': "0.2x200"},
    ),
    "StepgateRateLimited": Case(
        {'stepgate_installations_paused{limit="primary",instance="a"}': "1x200"},
        {'stepgate_installations_paused{limit="secondary",instance="a"}': "0x70 1x10 0x120"},
    ),
    "StepgateClockSkew": Case({"stepgate_clock_skew_seconds": "-31x200"}, {"stepgate_clock_skew_seconds": "-29x200"}),
    "StepgateCannotVerify": Case(
        {_VERDICTS + '{outcome="cannot_verify"}': "0+1x200", _VERDICTS + '{outcome="accepted"}': "0+9x200"},
        {_VERDICTS + '{outcome="cannot_verify"}': "0+1x200", _VERDICTS + '{outcome="accepted"}': "0+99x200"},
    ),
    "StepgateStatusForged": Case(
        {'stepgate_statuses_forged_total{answer="restored"}': "0x80 1x120"},
        {'stepgate_statuses_forged_total{answer="restored"}': "7x200"},
    ),
    "StepgateSwept": Case(
        {'stepgate_swept_total{kind="lane"}': "0x80 1x120"}, {'stepgate_swept_total{kind="lane"}': "3x200"}
    ),
    "StepgateAuditUnsealed": Case(
        {"stepgate_audit_unsealed_seconds": "1300x200"}, {"stepgate_audit_unsealed_seconds": "600x200"}
    ),
    "StepgateScheduleStopped": Case(
        {'stepgate_schedule_age_seconds{schedule="stepgate-audit"}': "8000x200"},
        {'stepgate_schedule_age_seconds{schedule="stepgate-audit"}': "3600x200"},
        labels=(("schedule", "stepgate-audit"),),
    ),
    "StepgateEventLoopBlocked": Case(
        {
            _LAG + '_count{instance="a"}': "0+120x80 9601+120x120",
            _LAG + '_bucket{le="3.0",instance="a"}': "0+120x80 9600+120x120",
        },
        {_LAG + '_count{instance="a"}': "0+120x200", _LAG + '_bucket{le="3.0",instance="a"}': "0+120x200"},
        labels=(("instance", "a"),),
    ),
}
