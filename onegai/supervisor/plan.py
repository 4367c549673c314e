"""What a start would do now, in words and numbers."""

from __future__ import annotations

from collections.abc import Iterable

from onegai.errors import OneGAIError
from onegai.memory.policy import Decision, Evict, Refuse, Start, Wait
from onegai.memory.probe import Memory
from onegai.memory.refusal import refusal
from onegai.schema import Plan, State
from onegai.supervisor.admission import Admission
from onegai.supervisor.service import Service


async def plan_for(service: Service, admission: Admission) -> Plan:
    """The plan for one service. Changes nothing."""
    decision, memory = await admission.plan(service.tenancy)
    app = service.spec.app
    ready = service.state is State.READY
    gpu = None if isinstance(decision, Refuse) else decision.gpu
    card = next((one for one in memory.gpus or () if one.index == gpu), None)
    need = service.spec.vram_mib
    if need and gpu is not None:
        need = max(need, service.tenancy.target().learnt.get(gpu, 0))
    plan = Plan(
        app=app,
        action="none",
        text=f"{app} is ready: nothing has to be done",
        need=need,
        need_ram=service.spec.ram_mib,
        gpu=gpu,
        free=card.free if card else None,
        total=card.total if card else None,
        free_ram=memory.ram_free,
    )
    if ready:
        return plan
    if service.spec.url is not None:
        text = f"{app} runs elsewhere: it would only be asked whether it answers"
        return plan.model_copy(update={"action": "start", "text": text, "gpu": None})
    said = _said(service, decision, memory)
    if need > service.spec.vram_mib:
        took, declared = f"{need / 1024:.1f} GB", f"{service.spec.vram_mib / 1024:g}"
        said["text"] = (
            f"{said['text']}; its recent runs took {took} of VRAM, it declares {declared}"
        )
    return plan.model_copy(update=said)


def _said(service: Service, decision: Decision, memory: Memory) -> dict[str, object]:
    app = service.spec.app
    where = _where(decision, memory)
    match decision:
        case Start():
            return {"action": "start", "text": f"{app} would start at once{where}"}
        case Evict(apps, release):
            done = "release its memory" if release else "be stopped"
            if len(apps) > 1:
                done = "release their memory" if release else "be stopped"
            text = f"{_and(apps)} would {done}, being idle, and {app} would start{where}"
            key = "release" if release else "stop"
            return {"action": "evict", "text": text, key: list(apps)}
        case Wait(busy, changing, idle):
            names = [*busy, *idle, *changing]
            why = []
            if busy:
                why.append(f"until the calls of {_and(busy)} end, which would be stopped then")
            if changing:
                why.append(f"for {_and(changing)}, which starts or stops right now")
            text = f"{app} would wait {' and '.join(why) or 'for those that came before it'}{where}"
            return {"action": "wait", "text": text, "wait_for": names}
        case Refuse():
            error: OneGAIError = refusal(service.spec, decision)
            text = f"{error.message}: {error.advice}"
            return {
                "action": "refuse",
                "text": text,
                "error": error.code,
                "free": decision.free or None,
                "total": decision.total or None,
            }


def _where(decision: Decision, memory: Memory) -> str:
    if isinstance(decision, Refuse) or decision.gpu is None or len(memory.gpus or ()) < 2:
        return ""
    return f" on GPU {decision.gpu}"


def _and(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
