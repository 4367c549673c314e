"""Why an app cannot start, as an error for people."""

from __future__ import annotations

from onegai.config.entry import AppSpec
from onegai.errors import Deadlock, KeptInTheWay, NoGpu, NotEnoughMemory, OneGAIError, TooLarge
from onegai.memory.policy import Refuse


def refusal(spec: AppSpec, decision: Refuse) -> OneGAIError:
    """The error that says why an app cannot start, with the numbers in GB."""
    app, kind, key = spec.app, decision.kind, decision.kind.lower()
    need, free, total = (mib / 1024 for mib in (decision.need, decision.free, decision.total))
    figures = {"need": decision.need, "free": decision.free, "total": decision.total}
    kept = " and ".join(decision.apps)
    match decision.why:
        case "gpu":
            return NoGpu(app=app, need_gb=need)
        case "large":
            return TooLarge(
                app=app, kind=kind, key=key, need_gb=need, total_gb=total, detail=figures
            )
        case "held":
            return Deadlock(app=app, held=kept)
        case "kept" | "port":
            what = f"port {spec.port}" if decision.why == "port" else "the memory"
            do = "; ".join(f"bash run.sh config apps.{name}.keep 0" for name in decision.apps)
            return KeptInTheWay(app=app, kept=kept, what=what, do=do)
        case "others":
            return NotEnoughMemory(
                app=app,
                kind=kind,
                key=key,
                need_gb=need,
                free_gb=free,
                total_gb=total,
                detail=figures,
            )
